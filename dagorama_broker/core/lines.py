"""Things in the order of their numbers; any of them may leave.

A *line* is a heap of numbers beside a dictionary of what they stand for. Where a thing leaves from the middle only its
number stays in the heap, until it surfaces or more than half of the heap is like that. So the order in which a node
once stood does not keep it in memory.

A *merge* has the lanes whose lines are not empty, in the order of their first nodes. Its keys are lazy: groups' ranks
grow, and first nodes leave, so a lane's key may be too small, never too large, and is mended when it comes to its turn.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from dagorama_broker.core.lanes import Lane
    from dagorama_broker.core.model import Node

T = TypeVar("T")

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
        passed_max = _STALE_MIN + len(self.things) // 8  # to pass more over takes longer than to make the heap anew
        while (number := self.heap[0]) not in self.things:
            heappop(self.heap)
            passed_max -= 1
            if not passed_max:
                self._tidy()
        return number


class Merge:
    """Lanes in the order of the first nodes of their lines."""

    __slots__ = ("_lines", "keys", "lanes")

    def __init__(self) -> None:
        self.lanes: Line[Lane] = Line()
        self.keys: dict[Lane, int] = {}
        self._lines: dict[Lane, Line[Node]] = {}

    def offer(self, lane: Lane, line: Line[Node], number: int) -> None:
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

    def forget(self, lane: Lane) -> None:
        """Take a lane out, if it is there."""
        key = self.keys.pop(lane, None)
        if key is not None:
            self.lanes.drop(key)
            del self._lines[lane]

    def first(self) -> tuple[int, Node] | None:
        """Return the node whose turn it is, with its key."""
        lanes = self.lanes
        while (key := lanes.first()) is not None:
            lane = lanes.things[key]
            line = self._lines[lane]
            number = line.first()
            if number is None:
                self.forget(lane)
                continue
            found = number + lane.group.rank
            if found != key:
                self.keys[lane] = found
                if not lanes.renumber(key, found):
                    continue
            return found, line.things[number]
        return None

    def count(self, limit: int) -> int:
        """Count the nodes, but no further than it takes to see that there are as many as `limit`."""
        nodes = 0
        for line in self._lines.values():
            nodes += len(line)
            if nodes >= limit:
                break
        return nodes
