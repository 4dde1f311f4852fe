"""The stream of what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from dagorama.client.asking import broker
from dagorama.client.events import Event, EventBatch, EventsSkipped
from dagorama.client.port import WatchEvents
from dagorama.client.steps import Steps, run, run_async
from dagorama.instance.handle import check_is_no_inline, instance_id_in
from dagorama.instance.twins import asking, later

if TYPE_CHECKING:
    from typing import Any

    from dagorama.definition import DAGInstance
    from dagorama.instance.instance import Instance

#: The broker is asked again after so long without an event.
WAIT_S = 20.0


class EventPage(NamedTuple):
    """Some events."""

    events: tuple[Event, ...]
    #: Give it to `events(after=...)` to go on after them.
    cursor: str


class Events:
    """The events from a moment on, read with `for`, or with `async for` where an event loop runs.

    It has no end: leave the loop. Reading it again goes on where reading ended.
    """

    def __init__(self, instance_id: bytes | None, after: str) -> None:
        """Watch an instance, None for all, from after a cursor, "" for now."""
        self._instance_id = instance_id
        self._cursor = after

    @asking
    def begin(self) -> Steps[str]:
        """Return the cursor that it goes on after; where there is none as yet, begin now.

        Nothing that happens after this call is missed: list what there is, and then read on.
        """
        return _begin(self)

    abegin = later(begin)

    @asking
    def page(self, wait_s: float = 0.0) -> Steps[EventPage]:
        """Return what comes next, as soon as there is something, or nothing after `wait_s` seconds, 60 at most.

        Where there is no cursor as yet, it begins now, and returns nothing.
        """
        return _page(self, wait_s)

    apage = later(page)

    @property
    def cursor(self) -> str:
        """Return the cursor of the last event that was read, or where it began; empty before that."""
        return self._cursor

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they come, which blocks until then."""
        run(_begin(self))
        while True:
            batch = run(self._following())
            for event in _events_in(batch):
                self._cursor = event.cursor
                yield event
            self._cursor = batch.cursor
            if batch.is_last:
                return

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they come, without blocking the event loop."""
        await run_async(_begin(self))
        while True:
            batch = await run_async(self._following())
            for event in _events_in(batch):
                self._cursor = event.cursor
                yield event
            self._cursor = batch.cursor
            if batch.is_last:
                return

    def _following(self) -> Steps[EventBatch]:
        return broker().ask(WatchEvents(self._cursor, self._instance_id, WAIT_S))


def events(instance: Instance | DAGInstance[Any] | UUID | str | None = None, *, after: str | None = None) -> Events:
    """Return what happens from now on, to an instance or at all, to be read with `for` or `async for`.

    `after` is the cursor of an event, from which it is to go on, also in another process. The broker keeps the last
    50,000 events, for ten minutes after somebody has last watched; a reader who is slower gets an `EventsSkipped`
    with their number. As it is read it raises `BrokerUnavailable`, and `CursorExpired` where a cursor is too old, or
    the broker has been started again: watch from now on then, with `begin()`, and list what there is.
    """
    check_is_no_inline("to watch events")
    return Events(None if instance is None else instance_id_in(instance, "events()"), after or "")


def _begin(stream: Events) -> Steps[str]:
    if not stream._cursor:
        batch = yield from broker().ask(WatchEvents("", stream._instance_id, 0.0))
        stream._cursor = batch.cursor
    return stream._cursor


def _page(stream: Events, wait_s: float) -> Steps[EventPage]:
    if not stream._cursor:
        return EventPage((), (yield from _begin(stream)))
    batch = yield from broker().ask(WatchEvents(stream._cursor, stream._instance_id, wait_s))
    stream._cursor = batch.cursor
    return EventPage(tuple(_events_in(batch)), batch.cursor)


def _events_in(batch: EventBatch) -> Iterator[Event]:
    if batch.skipped:
        yield EventsSkipped(number=batch.skipped, cursor=batch.cursor)
    yield from batch.events
