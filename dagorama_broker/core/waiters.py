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

    __slots__ = ("_heap", "_keys", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[Lane, list[tuple[int, Node]]] = {}  #: heaps of nodes, and of stale entries
        self._heap: list[tuple[int, Lane]] = []
        #: Each lane's key in the heap. Others that are there for the lane have been overtaken by a smaller one.
        self._keys: dict[Lane, int] = {}

    def __len__(self) -> int:
        """How many entries there are, stale ones too."""
        return sum(map(len, self.lanes.values()))

    def __bool__(self) -> bool:
        """Whether there is any entry; asked at each wake, so it does not count them."""
        return any(self.lanes.values())

    def add(self, node: Node) -> None:
        """Have a node wait."""
        lane = node.function.lane
        nodes = self.lanes.setdefault(lane, [])
        heappush(nodes, (node.order, node))
        key = nodes[0][0] + lane.group.rank
        if lane not in self._keys or key < self._keys[lane]:
            self._keys[lane] = key
            heappush(self._heap, (key, lane))

    def pop(self) -> Node | None:
        """Take the first entry; whether its node still waits is for the caller to see."""
        while self._heap:
            key, lane = self._heap[0]
            if self._keys.get(lane) != key:
                heappop(self._heap)
                continue
            nodes = self.lanes[lane]
            if not nodes:
                heappop(self._heap)
                del self._keys[lane], self.lanes[lane]
                continue
            found = nodes[0][0] + lane.group.rank
            if found == key:
                return heappop(nodes)[1]  # what comes after it is found later
            self._keys[lane] = found
            heapreplace(self._heap, (found, lane))
        return None

    def forget(self, instance: Instance) -> None:
        """Drop the entries of an instance, whose order has changed."""
        for nodes in self.lanes.values():
            nodes[:] = [entry for entry in nodes if entry[1].instance is not instance]
            heapify(nodes)
