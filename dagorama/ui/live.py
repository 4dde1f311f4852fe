"""One watch of the broker's changes, for all browsers at once, and a stream for each browser.

However much happens, the broker tells of it four times a second at most, once for all. However slowly a browser reads,
the rest is kept as one set of changes, of a bounded size. The broker is watched only while somebody looks.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, Protocol
from uuid import UUID

from dagorama import BrokerRefused, BrokerUnavailable, ChangeSet, CursorExpired, DagoramaError, changes
from dagorama.logging import get_logger
from dagorama.ui.changes import Changes

#: A broker that is away is asked again so often.
RETRY_S = 1.0
#: A browser hears of us so often where nothing happens, so that a broken connection is noticed.
QUIET_S = 15.0
#: The broker is watched for so long after the last browser has gone: another page of it may be on its way.
LINGER_S = 30.0
#: The changed nodes of so many instances are named; of others it is said that there are many.
NAMED_MAX = 100
#: A browser that comes back is told what it has missed among so many messages.
KEPT_MAX = 240


class Stream(Protocol):
    """The changes after a cursor, as `dagorama.changes` gives them."""

    def abegin(self) -> Awaitable[str]:
        """Begin now where there is no cursor."""
        ...

    def name_nodes_of(self, *instances: UUID) -> None:
        """Have the changed nodes of these instances named."""
        ...

    def __aiter__(self) -> AsyncIterator[ChangeSet]:
        """Yield sets of changes as they come."""
        ...


class Told(NamedTuple):
    """Changes that all browsers were told of."""

    cursor: str
    changes: Changes


class Live:
    """The one watch of the page's process, and its viewers."""

    def __init__(self, watch: Callable[[str], Stream] = lambda after: changes(after=after)) -> None:
        """Watch nothing as yet; `watch` gives the changes after a cursor."""
        self._watch = watch
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._kept: deque[Told] = deque(maxlen=KEPT_MAX)
        self.cursor = ""
        #: Why the broker is away, empty where it is there, None as long as that is not known.
        self.lost: str | None = None
        #: How often anything was told.
        self.told = 0
        self.is_closed = False

    @contextmanager
    def viewing(self, watched: Collection[UUID] = (), after: str = "") -> Iterator[Viewer]:
        """Give a viewer of the nodes of these instances, for a block; `after` is the cursor that it has been told."""
        viewer = Viewer(self, watched)
        if after:
            viewer.resume(self._since(after))
        self._viewers.add(viewer)
        self._name()
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._task is None and not self.is_closed:
            self._task = asyncio.create_task(self._go_on())
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._name()
            if not self._viewers and self._task is not None and self._ending is None:
                self._ending = asyncio.get_running_loop().call_later(LINGER_S, self._end)

    @property
    def is_hearing(self) -> bool:
        """Return whether it would tell of a change."""
        return self._task is not None and self.lost == ""

    def close(self) -> None:
        """End all streams, and the watch. Nothing begins anew."""
        self.is_closed = True
        for viewer in self._viewers:
            viewer.wake()
        self._end()

    def _end(self) -> None:
        """Watch no longer. A browser that comes later begins from then on."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._stream = self._ending = None
        self.cursor, self.lost = "", None
        self._kept.clear()

    def _since(self, cursor: str) -> list[Told] | None:
        """Return all that was told after a cursor; None where that is not known any more."""
        if cursor == self.cursor:
            return []
        later: list[Told] = []
        for told in reversed(self._kept):
            if told.cursor == cursor:
                return later[::-1]
            later.append(told)
        return None

    def _name(self) -> None:
        """Have those nodes named that somebody watches."""
        if self._stream is not None:
            watched = dict.fromkeys(each for viewer in self._viewers for each in viewer.watched)
            self._stream.name_nodes_of(*islice(watched, NAMED_MAX))

    # -- from the broker -----------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Watch for as long as somebody looks, whatever becomes of it."""
        while True:
            try:
                await self._read()
            except CursorExpired:
                self.cursor = ""
                self._tell(Changes(stale=True))
            except (BrokerUnavailable, BrokerRefused) as error:
                self._say_lost(str(error))
                await asyncio.sleep(RETRY_S)
            except Exception as error:
                get_logger().error("a defect in the watch of the page", exc_info=error)
                self._say_lost(str(error) if isinstance(error, DagoramaError) else "the page has a defect")
                await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        """Hand out changes until that raises. They are watched before anybody is told that the broker is there."""
        begun = await self._watch("").abegin()
        self._stream = self._watch(self.cursor or begun)
        self._name()
        self.cursor = self.cursor or begun
        self._say_lost("")
        async for told in self._stream:
            self.cursor = told.cursor
            gathered = Changes()
            gathered.take(told)
            self._tell(gathered)

    def _say_lost(self, why: str) -> None:
        """Tell all browsers that the broker is away, and why, or with no reason that all is well again."""
        if why != self.lost:
            self.lost = why
            self.told += 1
            for viewer in self._viewers:
                viewer.wake()

    def _tell(self, gathered: Changes) -> None:
        """Hand out changes to all browsers, and keep them for browsers that come back."""
        self.told += 1
        told = Told(self.cursor, gathered)
        self._kept.append(told)
        for viewer in self._viewers:
            viewer.take(told)


class Viewer:
    """A browser, and the changes that it has not been told of."""

    def __init__(self, live: Live, watched: Collection[UUID]) -> None:
        """Begin with nothing to tell but whether the broker is there."""
        self._live = live
        self.watched = tuple(watched)
        self._news = asyncio.Event()
        self._changes = Changes()
        self._cursor = live.cursor
        self._told_lost: str | None = None
        self.wake()

    def wake(self) -> None:
        """Have it look whether there is something to tell."""
        self._news.set()

    def take(self, told: Told) -> None:
        """Take in what all are told."""
        self._changes.add(told.changes)
        self._cursor = told.cursor
        self.wake()

    def resume(self, missed: list[Told] | None) -> None:
        """Take in what a browser has missed; None where that is not known."""
        for told in missed or ():
            self.take(told)
        if missed is None:
            self._changes.stale = True

    async def messages(self) -> AsyncGenerator[str, None]:
        """Yield what there is to tell, as the stream of server-sent events has it, until the page stops."""
        while not self._live.is_closed:
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._news.wait()
            except TimeoutError:
                yield ": nothing has happened\n\n"
                continue
            self._news.clear()
            told = "".join(self._untold())
            if told:
                yield told

    def _untold(self) -> Iterator[str]:
        """Yield the messages that there are now."""
        lost = self._live.lost
        if lost != self._told_lost and lost is not None:
            is_first, self._told_lost = self._told_lost is None, lost
            self._cursor = self._cursor or self._live.cursor
            yield self._message("lost", {"detail": lost}) if lost else self._message("back", {"first": is_first})
        changes, self._changes = self._changes, Changes()
        if changes.stale:
            yield self._message("stale", {})
        elif changes:
            yield self._message("change", changes.told(self.watched))

    def _message(self, event: str, data: object) -> str:
        """Return a message: its data is in one line, as JSON escapes the ends of lines."""
        place = f"id: {self._cursor}\n" if self._cursor else ""
        return f"event: {event}\n{place}data: {json.dumps(data)}\n\n"
