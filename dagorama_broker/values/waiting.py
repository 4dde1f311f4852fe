"""The nodes that wait for the store: for room, or for it to answer.

Their workers ask again every second or so, each time for a node that they name. So one of which nothing was heard for
a while does not wait any more.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

#: A node of which nothing was heard for so long does not wait any more: its worker may be busy for a while.
_SILENT_S = 30.0
#: No more are remembered: the oldest of many are forgotten.
_COUNT_MAX = 10_000


class StoreWait(NamedTuple):
    """The wait of a node."""

    since: float  #: in seconds since the epoch
    said: str  #: by the store, with its place and what is wrong


class Waiting:
    """Nodes, each with since when it waits and what the store said last."""

    def __init__(self, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell people times by `now`, which may be set; `clock` says for how long nothing was heard."""
        self._now = now
        self._clock = clock
        self._waits: dict[bytes, tuple[StoreWait, float]] = {}

    def note(self, node_id: bytes, said: str) -> None:
        """Note that the store could not do what was asked for a node."""
        found = self.find(node_id)
        self._waits.pop(node_id, None)
        self._waits[node_id] = StoreWait(found.since if found else self._now(), said), self._clock()
        if len(self._waits) > _COUNT_MAX:
            del self._waits[next(iter(self._waits))]

    def end(self, node_id: bytes) -> None:
        """Note that the store did what was asked for a node."""
        self._waits.pop(node_id, None)

    def find(self, node_id: bytes) -> StoreWait | None:
        """Return the wait of a node; None for one that does not wait."""
        wait, heard_at = self._waits.get(node_id, (None, 0.0))
        if wait is not None and self._clock() - heard_at > _SILENT_S:
            self._waits.pop(node_id)
            return None
        return wait
