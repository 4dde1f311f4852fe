"""Real journals whose commits a test can hold, count and fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Semaphore

from dagorama_broker.core.events import DurableEvent
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.storage.sqlite import SqliteJournal

#: A test that forgets to let a commit through fails after so long.
_PATIENCE_S = 60.0


class Gate:
    """Stands before the commits of a journal, in the journal's thread."""

    def __init__(self) -> None:
        self.log: list[str] = []  #: "committing" and "durable", beside what the test notes
        self.commits: list[list[str]] = []  #: of each commit the names of its events
        self.failure: Exception | None = None  #: raised by the next commit that is let through
        self._held = False
        self._begun = Semaphore(0)
        self._permits = Semaphore(0)

    def hold(self) -> None:
        """Let every commit from now on wait for `let_through`."""
        self._held = True

    def let_one_through(self) -> None:
        """Let the commit that is held go on; the next is held again."""
        self._permits.release()

    def let_through(self) -> None:
        """Let the commit that is held go on, and those after it too."""
        self._held = False
        self._permits.release()

    async def begun(self) -> None:
        """Return when a commit is held."""
        begun = await asyncio.to_thread(self._begun.acquire, timeout=_PATIENCE_S)
        assert begun, "no commit has begun"

    def enter(self, events: Sequence[DurableEvent]) -> None:
        """Note a commit, and wait if commits are held."""
        self.log.append("committing")
        self.commits.append([type(event).__name__ for event in events])
        if self._held:
            self._begun.release()
            assert self._permits.acquire(timeout=_PATIENCE_S), "the commit was not let through"
        if self.failure is not None:
            raise self.failure

    def leave(self) -> None:
        """Note that a commit is done."""
        self.log.append("durable")


class GatedMemory(MemoryJournal):
    """The journal in memory, with commits in a thread, as if it could block."""

    blocking = True

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Commit, when the gate lets it through."""
        self._gate.enter(events)
        super().commit(events)
        self._gate.leave()


class GatedSqlite(SqliteJournal):
    """The journal on a disk."""

    def __init__(self, gate: Gate, path: Path) -> None:
        super().__init__(path)
        self._gate = gate

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Commit, when the gate lets it through."""
        self._gate.enter(events)
        super().commit(events)
        self._gate.leave()
