"""Worker processes that are none: a test says what they tell, and how they end."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import pytest

from dagorama.worker.processes import supervisor
from dagorama.worker.processes.news import News
from dagorama.worker.processes.supervisor import Child


class Board:
    """Stands for a board."""

    def __init__(self, *, has_ended_some: bool = False, worker_ends: bool = True) -> None:
        self.has_ended_some = has_ended_some
        self._worker_ends = worker_ends

    def is_meant(self, exitcode: int | None) -> bool:
        """Say that the worker itself has ended the process, if anything in it has."""
        return self._worker_ends and exitcode is not None

    def running(self) -> list[str]:
        """Name no node."""
        return []


class FakeProcess:
    """Stands for a worker process."""

    def __init__(self, pid: int, status: Connection | None = None) -> None:
        self.pid = pid
        self.exitcode: int | None = None
        self.board = Board()
        self.is_told_to_end = False
        self.told: list[str] = []
        self.sentinel, self._alive = Pipe(duplex=False)
        #: An end of its own, as a process has that was started with one.
        self.status = Connection(os.dup(status.fileno()), readable=False) if status is not None else None
        #: With what it ends when it is told to; None where it does not.
        self.ends_with: int | None = 0

    def tell(self, news: News, text: str = "") -> None:
        """Tell the parent something."""
        assert self.status is not None
        self.status.send((news, text))

    def end(self, exitcode: int) -> None:
        """End."""
        if self.exitcode is None:
            self.exitcode = exitcode
            self._alive.close()
            if self.status is not None:
                self.status.close()

    def is_alive(self) -> bool:
        """Return whether it has not ended."""
        return self.exitcode is None

    def terminate(self) -> None:
        """Take note, and end where the test says so."""
        self.told.append("terminate")
        if self.ends_with is not None:
            self.end(self.ends_with)

    def kill(self) -> None:
        """End."""
        self.told.append("kill")
        self.end(-9)

    def join(self) -> None:
        """Have ended."""
        assert self.exitcode is not None, f"{self.pid} still runs"
        self.told.append("join")


class Starter:
    """Stands for `start_worker`: keeps whom it has started."""

    def __init__(self) -> None:
        self.started: list[FakeProcess] = []
        self.now = 1000.0
        self.mains: list[object] = []
        self.begun: SimpleQueue[int] = SimpleQueue()

    def __call__(self, options: object, *, status: Connection, main: object, asked: Connection | None = None) -> Any:
        """Start a process that does nothing."""
        self.started.append(FakeProcess(len(self.started) + 1, status))
        self.mains.append(main)
        self.begun.put(len(self.started))
        return self.started[-1]


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Starter:
    """Have crews start such processes, by a clock that stands still."""
    made = Starter()
    monkeypatch.setattr(supervisor, "start_worker", made)
    monkeypatch.setattr(supervisor, "monotonic", lambda: made.now)
    monkeypatch.setattr(supervisor, "Child", lambda **properties: Child(**properties, started_at=made.now))
    return made
