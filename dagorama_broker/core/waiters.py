"""Waiters: the nodes that wait for a limit, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagorama_broker.core.lines import Line, Merge
from dagorama_broker.core.model import Node

if TYPE_CHECKING:
    from dagorama_broker.core.lanes import Lane


class Waiters:
    """Parked nodes of lanes that the same workers serve: each may take any of them, so the first is let in."""

    __slots__ = ("_merge", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[Lane, Line[Node]] = {}
        self._merge = Merge()

    def __len__(self) -> int:
        """Return how many nodes wait."""
        return sum(map(len, self.lanes.values()))

    def __bool__(self) -> bool:
        """Return whether any node waits; asked at each wake, so it does not count them."""
        return bool(self.lanes)

    def add(self, order: int, node: Node) -> None:
        """Let a node wait."""
        lane = node.function.lane
        line = self.lanes.get(lane)
        if line is None:
            line = self.lanes[lane] = Line()
        line.add(order, node)
        self._merge.offer(lane, line, order)

    def take(self, lane: Lane, line: Line[Node]) -> None:
        """Take over from others all that wait of a lane."""
        first = line.first()
        if first is not None:
            self.lanes[lane] = line
            self._merge.offer(lane, line, first)

    def drop(self, order: int, lane: Lane) -> None:
        """Let a node of this lane and order wait no longer."""
        line = self.lanes[lane]
        line.drop(order)
        if not line:
            del self.lanes[lane]
            self._merge.forget(lane)

    def first(self) -> Node | None:
        """Return the node whose turn it is."""
        entry = self._merge.first()
        return entry[1] if entry else None
