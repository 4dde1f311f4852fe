"""Things in the order of their numbers; any of them may leave.

A *line* is a heap of numbers beside a dictionary of what they stand for. Where a thing leaves from the middle only its
number stays in the heap, until it surfaces or more than half of the heap is like that. So the order in which a node
once stood does not keep it in memory.

A *merge* has the lanes whose lines are not empty, in the order of their first things. Its keys are lazy: groups' ranks
grow, and first things leave, so a lane's key may be too small, never too large, and is mended when it comes to its
turn.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar


class Ranked(Protocol):
    """A group of lanes, as far as their order goes."""

    @property
    def rank(self) -> int:
        """Return what comes on top of the numbers in its lanes. It grows."""


class Grouped(Protocol):
    """A lane, as far as its order goes."""

    @property
    def group(self) -> Ranked:
        """Return its group."""


class Numbered(Protocol):
    """A thing that has its number itself."""

    number: int


T = TypeVar("T")
L = TypeVar("L", bound=Grouped)
N = TypeVar("N", bound=Numbered)

#: So many numbers that stand for nothing are let be before a heap is made anew.
_STALE_MIN = 32


class Line(Generic[T]):
    """Things by number, each number once."""

    __slots__ = ("heap", "things")

    def __init__(self) -> None:
        self.heap: list[int] = []  #: the numbers of `things`, and of some that have left
        self.things: dict[int, T] = {}

    def __len__(self) -> int:
        """Return how many things there are."""
        return len(self.things)

    def add(self, number: int, thing: T) -> bool:
        """Put a thing in its place; return whether it is the first."""
        self.things[number] = thing
        heappush(self.heap, number)
        front = self.heap[0]
        return front == number or (front not in self.things and self.first() == number)

    def drop(self, number: int) -> None:
        """Take the thing with this number out."""
        del self.things[number]
        heap = self.heap
        if heap[0] == number:
            heappop(heap)
        elif len(heap) > _STALE_MIN + 2 * len(self.things):
            self._tidy()

    def _tidy(self) -> None:
        self.heap = list(self.things)
        heapify(self.heap)

    def renumber(self, number: int, later: int) -> bool:
        """Move the first thing to a larger number; return whether it is the first all the same."""
        self.things[later] = self.things.pop(number)
        heapreplace(self.heap, later)
        return self.heap[0] == later

    def first(self) -> int | None:
        """Return the lowest number, None where there is nothing."""
        if not self.things:
            self.heap.clear()
            return None
        return self.tidy_first()

    def tidy_first(self) -> int:
        """Return the lowest number where there is something, and let go of the numbers before it."""
        passed_max = _STALE_MIN + len(self.things) // 8  # to pass more over takes longer than to make the heap anew
        while (number := self.heap[0]) not in self.things:
            heappop(self.heap)
            passed_max -= 1
            if not passed_max:
                self._tidy()
        return number


class Merge(Generic[L, T]):
    """Lanes in the order of the first things of their lines."""

    __slots__ = ("_lines", "keys", "lanes")

    def __init__(self) -> None:
        self.lanes: Line[L] = Line()
        self.keys: dict[L, int] = {}
        self._lines: dict[L, Line[T]] = {}

    def offer(self, lane: L, line: Line[T], number: int) -> None:
        """Learn that this is the lowest number of a lane's line."""
        key = number + lane.group.rank
        known = self.keys.get(lane)
        if known is None:
            self._lines[lane] = line
        elif known <= key:
            return
        else:
            self.lanes.drop(known)
        self.keys[lane] = key
        self.lanes.add(key, lane)

    def forget(self, lane: L) -> None:
        """Take a lane out, if it is there."""
        key = self.keys.pop(lane, None)
        if key is not None:
            self.lanes.drop(key)
            del self._lines[lane]

    def first(self) -> tuple[int, T] | None:
        """Return the thing whose turn it is, with its key."""
        lanes = self.lanes
        while lanes.things:
            # Asked for each node that is granted: a line is only called where its first number stands for nothing.
            key = lanes.heap[0]
            lane = lanes.things.get(key)
            if lane is None:
                key = lanes.tidy_first()
                lane = lanes.things[key]
            line = self._lines[lane]
            if not line.things:
                self.forget(lane)
                continue
            number = line.heap[0]
            if number not in line.things:
                number = line.tidy_first()
            found = number + lane.group.rank
            if found != key:
                self.keys[lane] = found
                if not lanes.renumber(key, found):
                    continue
            return found, line.things[number]
        return None

    def count(self, limit: int) -> int:
        """Count the things, but no further than it takes to see that there are as many as `limit`."""
        things = 0
        for line in self._lines.values():
            things += len(line)
            if things >= limit:
                break
        return things


class Roster(Generic[N]):
    """Things in the order of their numbers, to go over again and again: few come or go."""

    __slots__ = ("_numbers", "_things")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._things: dict[int, N] = {}

    def __len__(self) -> int:
        """Return how many things there are."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[N]:
        """Return an iterator over the things, in order. None may come or go meanwhile."""
        return map(self._things.__getitem__, self._numbers)

    def __contains__(self, thing: N) -> bool:
        """Return whether a thing is among them."""
        return thing.number in self._things

    def add(self, thing: N) -> None:
        """Take a thing in."""
        if thing.number not in self._things:
            self._things[thing.number] = thing
            insort(self._numbers, thing.number)

    def discard(self, thing: N) -> None:
        """Take a thing out, if it is there."""
        if self._things.pop(thing.number, None) is not None:
            del self._numbers[bisect_left(self._numbers, thing.number)]
