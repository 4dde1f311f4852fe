"""One watch of what happens at the broker, for all browsers at once, and a stream for each browser.

However much happens, a browser gets a message each quarter of a second at most. However slowly it reads,
the rest is kept as one set of changes, of a bounded size. The broker is watched only while somebody looks.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from dagorama import (
    BrokerRefused,
    BrokerUnavailable,
    CursorExpired,
    DagoramaError,
    Event,
    InstanceState,
    InstanceStatus,
    attach,
    events,
    instances,
)
from dagorama.logging import get_logger
from dagorama.ui.changes import INSTANCES_MAX, Changes

#: Between two messages to a browser.
INTERVAL_S = 0.25
#: A broker that is away is asked again so often.
RETRY_S = 1.0
#: A browser hears of us so often where nothing happens, so that a broken connection is noticed.
QUIET_S = 15.0
#: The broker is watched for so long after the last browser has gone: another page of it may be on its way.
LINGER_S = 30.0
#: The nodes of an instance are counted once in this time, and those of so many instances with each message.
COUNT_S, COUNTED_MAX = 1.0, 20
#: So often it is looked at how far the newest running instances are, and those that somebody watches: no event tells
#: that a worker has begun a node.
LOOK_S, LOOKED_AT_MAX = 1.0, 20
#: A browser that comes back is told what it has missed among so many messages.
KEPT_MAX = 240


class Stream(Protocol):
    """The events after a cursor, as `dagorama.events` gives them."""

    @property
    def cursor(self) -> str:
        """Return the cursor of the last event."""
        ...

    def abegin(self) -> Awaitable[str]:
        """Begin now where there is no cursor."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they come."""
        ...


class Told(NamedTuple):
    """Changes that all browsers were told of."""

    #: That of the last event before or in them.
    cursor: str
    changes: Changes
    counts: Mapping[UUID, dict[str, int]]


#: A part of the watch, done again and again.
Part = Callable[[], Awaitable[None]]


async def _look_at(instance_id: UUID) -> InstanceStatus:
    return (await attach(instance_id).arefresh()).status


async def _running() -> Sequence[InstanceStatus]:
    return [one.status async for one in instances(state=InstanceState.RUNNING, limit=LOOKED_AT_MAX)]


class Live:
    """The one watch of the page's process, and its viewers."""

    def __init__(
        self,
        watch: Callable[[str], Stream] = lambda after: events(after=after),
        look_at: Callable[[UUID], Awaitable[InstanceStatus]] = _look_at,
        running: Callable[[], Awaitable[Sequence[InstanceStatus]]] = _running,
    ) -> None:
        """Watch nothing as yet.

        `watch` gives the events after a cursor, `look_at` how an instance stands, `running` the newest that run.
        """
        self._watch = watch
        self._look_at = look_at
        self._running = running
        self._viewers: set[Viewer] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._gathered = Changes()
        self._kept: deque[Told] = deque(maxlen=KEPT_MAX)
        #: Instances whose nodes are to be counted, and when they were last.
        self._uncounted: dict[UUID, None] = {}
        self._counted_at: dict[UUID, float] = {}
        #: The counts of a look that are to be told, and those that were, of instances that run.
        self._looked: dict[UUID, dict[str, int]] = {}
        self._known: dict[UUID, dict[str, int]] = {}
        #: The counts when it was last said that any nodes of an instance may have changed.
        self._known_whole: dict[UUID, dict[str, int]] = {}
        self.cursor = ""
        #: Why the broker is away, empty where it is there, None as long as that is not known.
        self.lost: str | None = None
        #: The same by the parts of the watch, of which each may fail.
        self._why: dict[Part, str] = {}
        self.is_closed = False

    @contextmanager
    def viewing(self, watched: Collection[UUID] = (), after: str = "") -> Iterator[Viewer]:
        """Give a viewer of the nodes of these instances, for a block; `after` is the cursor that it has been told."""
        viewer = Viewer(self, watched)
        if after:
            viewer.resume(self._since(after))
        self._viewers.add(viewer)
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if not self._tasks and not self.is_closed:
            parts = self._read, self._look, self._tell
            self._tasks = [asyncio.create_task(self._go_on(each)) for each in parts]
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            if not self._viewers and self._tasks and self._ending is None:
                self._ending = asyncio.get_running_loop().call_later(LINGER_S, self._end)

    def close(self) -> None:
        """End all streams, and the watch. Nothing begins anew."""
        self.is_closed = True
        for viewer in self._viewers:
            viewer.wake()
        self._end()

    def _end(self) -> None:
        """Watch no longer. A browser that comes later begins from then on."""
        for task in self._tasks:
            task.cancel()
        self._tasks, self._ending = [], None
        self.cursor, self.lost = "", None
        self._gathered = Changes()
        self._why.clear()
        self._kept.clear()
        self._uncounted.clear()
        self._looked, self._known, self._known_whole = {}, {}, {}

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

    # -- from the broker -----------------------------------------------------------------------------------------------

    async def _go_on(self, part: Part) -> None:
        """Do a part of the watch for as long as somebody looks, whatever becomes of it."""
        while True:
            try:
                await part()
                self._say_lost(part, None)
            except CursorExpired:
                self.cursor = ""
                self._gathered.stale = True
                self._news.set()
            except (BrokerUnavailable, BrokerRefused) as error:
                self._say_lost(part, error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:
                get_logger().error("a defect in the watch of the page", exc_info=error)
                self._say_lost(part, error)
                await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        """Gather events until that raises. They are watched before anybody is told that the broker is there."""
        begun = await self._watch("").abegin()
        stream = self._watch(self.cursor or begun)
        self.cursor = self.cursor or begun
        self._say_lost(self._read, None)
        async for event in stream:
            self._gathered.take(event)
            self.cursor = event.cursor
            self._news.set()

    async def _look(self) -> None:
        """Look, after a while, how far instances are that run."""
        await asyncio.sleep(LOOK_S)
        if self._why.get(self._read) == "":
            self._compare(await self._looked_at())

    async def _looked_at(self) -> list[InstanceStatus]:
        """Return how the newest running instances stand, and the watched ones."""
        try:
            async with asyncio.timeout(LOOK_S):
                found = {each.instance_id: each for each in await self._running()}
        except (DagoramaError, TimeoutError):  # others say so
            return []
        watched = dict.fromkeys(each for viewer in self._viewers for each in viewer.watched if each not in found)
        looks = await asyncio.gather(*map(self._counts_of, [*watched][:LOOKED_AT_MAX]))
        return [*found.values(), *(each for each in looks if each is not None)]

    def _compare(self, looked_at: Collection[InstanceStatus]) -> None:
        """Gather the instances whose nodes are counted otherwise than before.

        Events name the nodes that they are about. Where there have been none for a while, other nodes may have changed
        since that was last said.
        """
        now = asyncio.get_running_loop().time()
        for status in looked_at:
            one, counts = status.instance_id, status.counts
            is_quiet = now - self._counted_at.get(one, -inf) >= COUNT_S and one not in self._gathered.instances
            if counts != self._known.get(one) or (is_quiet and counts != self._known_whole.get(one)):
                self._gathered.count(one, status.state)
                if is_quiet:
                    self._gathered.change_all(one)
                    self._known_whole[one] = counts
                self._looked[one] = self._known[one] = counts
                self._news.set()
        ids = {each.instance_id for each in looked_at}
        for known in (self._known, self._known_whole):
            for gone in known.keys() - ids:
                del known[gone]

    def _say_lost(self, part: Part, error: Exception | None) -> None:
        """Tell all browsers that a part of the watch has failed, as the broker is away, or that all is well again."""
        why = "" if error is None else str(error) if isinstance(error, DagoramaError) else "the page has a defect"
        self._why[part] = why
        lost = next(filter(None, self._why.values()), self._why.get(self._read))
        if lost != self.lost:
            self.lost = lost
            for viewer in self._viewers:
                viewer.wake()

    # -- to the browsers -----------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Hand out what was gathered, as soon as there is something."""
        if not self._gathered and not self._uncounted:
            self._news.clear()
            await self._news.wait()
        changes, self._gathered = self._gathered, Changes()
        cursor = self.cursor
        try:
            counts = await self._count(changes)
        except Exception:
            self._gathered.stale = True  # what was to be told is gone
            raise
        if changes:
            told = Told(cursor, changes, counts)
            self._kept.append(told)
            for viewer in self._viewers:
                viewer.take(told)
        await asyncio.sleep(INTERVAL_S)

    async def _count(self, changes: Changes) -> dict[UUID, dict[str, int]]:
        """Count the nodes of changed instances; of some of them, where they are many or were counted just now."""
        now = asyncio.get_running_loop().time()
        self._counted_at = {each: at for each, at in self._counted_at.items() if now - at < COUNT_S}
        counts, self._looked = self._looked, {}
        self._uncounted |= dict.fromkeys(each for each in changes.instances if each not in counts)
        for each in [*self._uncounted][:-INSTANCES_MAX]:  # more change than are counted: they are read again
            del self._uncounted[each]
            changes.stale = True
        due = [each for each in self._uncounted if each not in self._counted_at][:COUNTED_MAX]
        looks = await asyncio.gather(*map(self._counts_of, due))
        for each, status in zip(due, looks, strict=True):
            del self._uncounted[each]
            self._counted_at[each] = now
            if status is not None:
                changes.count(each, status.state)
                counts[each] = self._known[each] = status.counts
        return counts

    async def _counts_of(self, instance_id: UUID) -> InstanceStatus | None:
        try:
            async with asyncio.timeout(COUNT_S):
                return await self._look_at(instance_id)
        except (DagoramaError, TimeoutError):  # it has gone, or the broker has: others say so
            return None


class Viewer:
    """A browser, and the changes that it has not been told of."""

    def __init__(self, live: Live, watched: Collection[UUID]) -> None:
        """Begin with nothing to tell but whether the broker is there."""
        self._live = live
        self.watched = tuple(watched)
        self._news = asyncio.Event()
        self._changes = Changes()
        self._counts: dict[UUID, dict[str, int]] = {}
        self._cursor = live.cursor
        self._told_lost: str | None = None
        self.wake()

    def wake(self) -> None:
        """Have it look whether there is something to tell."""
        self._news.set()

    def take(self, told: Told) -> None:
        """Take in what all are told."""
        self._changes.add(told.changes)
        self._counts |= {each: counts for each, counts in told.counts.items() if each in self._changes.instances}
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
        changes, counts = self._changes, self._counts
        self._changes, self._counts = Changes(), {}
        if changes.stale:
            yield self._message("stale", {})
        elif changes:
            yield self._message("change", changes.told(self.watched, counts))

    def _message(self, event: str, data: object) -> str:
        """Return a message: its data is in one line, as JSON escapes the ends of lines."""
        place = f"id: {self._cursor}\n" if self._cursor else ""
        return f"event: {event}\n{place}data: {json.dumps(data)}\n\n"
