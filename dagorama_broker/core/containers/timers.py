"""Timers: times at which something falls due, for things that may have moved on by then.

A heap whose entries are deleted lazily, as the `heapq` documentation describes for priority queues.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

#: So many numbers of entries that mean nothing any more are let stand before the heap is made anew.
_STALE_MIN = 64


class Timers(Generic[T]):
    """One time for each thing; setting it again replaces it.

    `discard` a thing whose time means nothing any more: it is let go at once. In the heap only a number stays of it,
    until it surfaces or more than half of the heap is like that.
    """

    def __init__(self) -> None:
        self._entries: dict[T, tuple[float, int]] = {}
        self._things: dict[int, T] = {}  #: by the number of the entry that holds
        self._heap: list[tuple[float, int]] = []
        self._numbers = count()

    def __len__(self) -> int:
        """Return how many things have a time."""
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        """Return an iterator over the things that have a time."""
        return iter(self._entries)

    def set(self, thing: T, at: float) -> None:
        """Give a thing its time."""
        self.discard(thing)
        entry = at, next(self._numbers)
        self._entries[thing] = entry
        self._things[entry[1]] = thing
        heappush(self._heap, entry)

    def discard(self, thing: T) -> None:
        """Take a thing's time away, if it has one."""
        entry = self._entries.pop(thing, None)
        if entry is None:
            return
        del self._things[entry[1]]
        if len(self._heap) > _STALE_MIN + 2 * len(self._things):
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def at(self, thing: T) -> float | None:
        """Return a thing's time, None for one that has none."""
        entry = self._entries.get(thing)
        return entry[0] if entry else None

    @property
    def next_at(self) -> float | None:
        """Return when the next thing falls due."""
        heap = self._heap
        while heap:
            if heap[0][1] in self._things:
                return heap[0][0]
            heappop(heap)
        return None

    def take_due(self, now: float) -> Iterator[T]:
        """Yield, and forget, the things whose time has come."""
        while (at := self.next_at) is not None and at <= now:
            thing = self._things.pop(heappop(self._heap)[1])
            del self._entries[thing]
            yield thing
