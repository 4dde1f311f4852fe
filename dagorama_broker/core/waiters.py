"""Who waits for a limit, in order."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from dagorama_broker.core.model import Instance, Node

if TYPE_CHECKING:
    from dagorama_broker.core.lanes import Lane


class Waiters:
    """Parked nodes of one kind of lane: whoever may take one may take any, so the first is the one to let in.

    The lanes of a kind differ in their groups, whose ranks grow while nodes wait. As in a view, a lane's key in the
    heap may so be too small, and is mended when it comes to its turn.
    """

    __slots__ = ("_heap", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[Lane, list[tuple[int, Node]]] = {}  #: heaps of nodes, and of stale entries
        self._heap: list[tuple[int, Lane]] = []

    def __len__(self) -> int:
        """How many entries there are, stale ones too."""
        return sum(map(len, self.lanes.values()))

    def add(self, node: Node) -> None:
        """Have a node wait."""
        lane = node.function.lane
        nodes = self.lanes.setdefault(lane, [])
        heappush(nodes, (node.order, node))
        if nodes[0][1] is node:
            heappush(self._heap, (node.order + lane.group.rank, lane))

    def pop(self) -> Node | None:
        """Take the first entry; whether its node still waits is for the caller to see."""
        while self._heap:
            key, lane = self._heap[0]
            nodes = self.lanes.get(lane)
            if not nodes:
                heappop(self._heap)
                self.lanes.pop(lane, None)
                continue
            found = nodes[0][0] + lane.group.rank
            if found != key:
                heapreplace(self._heap, (found, lane))
                continue
            node = heappop(nodes)[1]
            if nodes:
                heapreplace(self._heap, (nodes[0][0] + lane.group.rank, lane))
            else:
                heappop(self._heap)
                del self.lanes[lane]
            return node
        return None

    def forget(self, instance: Instance) -> None:
        """Drop the entries of an instance, whose order has changed."""
        for nodes in self.lanes.values():
            nodes[:] = [entry for entry in nodes if entry[1].instance is not instance]
            heapify(nodes)
