"""Waiters: the things that wait for the same room, in order."""

from __future__ import annotations

from typing import Generic, TypeVar

from dagorama_broker.core.containers.lines import Grouped, Line, Merge

T = TypeVar("T")
L = TypeVar("L", bound=Grouped)


class Waiters(Generic[L, T]):
    """Parked things of lanes that the same workers serve: each may take any of them, so the first is let in."""

    __slots__ = ("_merge", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[L, Line[T]] = {}
        self._merge: Merge[L, T] = Merge()

    def __len__(self) -> int:
        """Return how many things wait."""
        return sum(map(len, self.lanes.values()))

    def __bool__(self) -> bool:
        """Return whether anything waits; asked at each wake, so it does not count."""
        return bool(self.lanes)

    def add(self, order: int, lane: L, thing: T) -> None:
        """Let a thing of this lane wait."""
        line = self.lanes.get(lane)
        if line is None:
            line = self.lanes[lane] = Line()
        line.add(order, thing)
        self._merge.offer(lane, line, order)

    def take(self, lane: L, line: Line[T]) -> None:
        """Take over from others all that wait of a lane."""
        first = line.first()
        if first is not None:
            self.lanes[lane] = line
            self._merge.offer(lane, line, first)

    def drop(self, order: int, lane: L) -> None:
        """Let the thing of this lane and order wait no longer."""
        line = self.lanes[lane]
        line.drop(order)
        if not line:
            del self.lanes[lane]
            self._merge.forget(lane)

    def first(self) -> T | None:
        """Return the thing whose turn it is."""
        entry = self._merge.first()
        return entry[1] if entry else None
