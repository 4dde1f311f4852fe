"""Times at which something falls due for things that may have moved on by then."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

#: So many entries are kept before those that mean nothing any more are looked for.
_ENTRIES_MIN = 1024


class Timers(Generic[T]):
    """One time for each thing; setting it again replaces it.

    What moves on need not be taken out: `holds` tells of a thing whether its time still means something.
    """

    def __init__(self, holds: Callable[[T], bool]) -> None:
        self._holds = holds
        self._at: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._entries_max = _ENTRIES_MIN

    def set(self, thing: T, at: float) -> None:
        """Give a thing its time."""
        self._at[thing] = at
        heappush(self._heap, (at, next(self._numbers), thing))
        if len(self._heap) > self._entries_max:
            self._at = {thing: at for thing, at in self._at.items() if self._holds(thing)}
            self._heap = [(at, next(self._numbers), thing) for thing, at in self._at.items()]
            heapify(self._heap)
            self._entries_max = max(_ENTRIES_MIN, 2 * len(self._heap))

    def at(self, thing: T) -> float | None:
        """Give a thing's time, None for one that has none."""
        return self._at.get(thing)

    @property
    def next_at(self) -> float | None:
        """When the next thing falls due."""
        heap = self._heap
        while heap:
            at, _, thing = heap[0]
            if self._at.get(thing) == at:
                if self._holds(thing):
                    return at
                del self._at[thing]
            heappop(heap)
        return None

    def take_due(self, now: float) -> Iterator[T]:
        """Give, and forget, the things whose time has come."""
        while (at := self.next_at) is not None and at <= now:
            thing = heappop(self._heap)[2]
            del self._at[thing]
            yield thing
