"""The stream of the latest changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from dagorama.client.asking import broker
from dagorama.client.changes import ChangeSet
from dagorama.client.port import WatchChanges
from dagorama.client.steps import Steps, run, run_async
from dagorama.instance.handle import check_is_no_inline, instance_id_in
from dagorama.instance.twins import asking, later

if TYPE_CHECKING:
    from typing import Any

    from dagorama.definition import DAGInstance
    from dagorama.instance.instance import Instance

#: The broker is asked again after so long without a change.
WAIT_S = 20.0


class Changes:
    """The changes from a moment on, read with `for`, or with `async for` where an event loop runs.

    It has no end: leave the loop. Reading it again goes on where reading ended.
    """

    def __init__(self, nodes_of: Collection[bytes], after: str) -> None:
        """Watch everything from after a cursor, "" for now, and name changed nodes of these instances."""
        self._nodes_of = tuple(dict.fromkeys(nodes_of))
        self._cursor = after

    @asking
    def begin(self) -> Steps[str]:
        """Return the cursor that it goes on after; where there is none as yet, begin now.

        No change after this call is missed: read what there is, and then read on.
        """
        return _begin(self)

    abegin = later(begin)

    def name_nodes_of(self, *instances: Instance | DAGInstance[Any] | UUID | str) -> None:
        """Have the changed nodes of these instances named, and of no others, from the next set but one on."""
        self._nodes_of = tuple(dict.fromkeys(instance_id_in(one, "name_nodes_of()") for one in instances))

    @property
    def cursor(self) -> str:
        """Return the cursor of the last set that was read, or where it began; empty before that."""
        return self._cursor

    def __iter__(self) -> Iterator[ChangeSet]:
        """Yield sets of changes as they come, which blocks until then."""
        run(_begin(self))
        while True:
            found = run(self._following())
            self._cursor = found.cursor
            if found:
                yield found
            if found.is_last:
                return

    async def __aiter__(self) -> AsyncIterator[ChangeSet]:
        """Yield sets of changes as they come, without blocking the event loop."""
        await run_async(_begin(self))
        while True:
            found = await run_async(self._following())
            self._cursor = found.cursor
            if found:
                yield found
            if found.is_last:
                return

    def _following(self) -> Steps[ChangeSet]:
        return broker().ask(WatchChanges(self._cursor, self._nodes_of, WAIT_S))


def changes(
    *, nodes_of: Collection[Instance | DAGInstance[Any] | UUID | str] = (), after: str | None = None
) -> Changes:
    """Return what changes from now on, for programs that show it: four sets a second at most, however much happens.

    A set has each instance that has changed once, as it stands, and the changed nodes of the instances `nodes_of`, 200
    at most, where `events()` tells each thing that happens. `after` is the cursor of a set, from which it is to go on,
    also in another process; the broker keeps the last 500 instances that have changed, for ten minutes after somebody
    has last watched. As it is read it raises `BrokerUnavailable`, and `CursorExpired` where a cursor is too old, or the
    broker has been started again: watch from now on then, with `begin()`, and read what there is.
    """
    check_is_no_inline("to watch changes")
    return Changes([instance_id_in(one, "changes()") for one in nodes_of], after or "")


def _begin(stream: Changes) -> Steps[str]:
    if not stream._cursor:
        stream._cursor = (yield from broker().ask(WatchChanges("", stream._nodes_of, 0.0))).cursor
    return stream._cursor
