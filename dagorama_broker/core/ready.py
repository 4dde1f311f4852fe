"""Where ready nodes wait, and who may take which.

A *lane* holds the ready nodes of one queue, taint and function version in FIFO order. A *view* is what workers with the
same filters see: the lanes that they may take from, ordered by their first nodes. Taking the first node of a view is
O(log n) in its ready nodes and lanes, whatever else there is.

Both heaps are lazy. A lane's heap may hold nodes that are no longer ready; a lane's key in a view's heap may be too
small, never too large. `View.peek` mends what it meets.
"""

from __future__ import annotations

from enum import StrEnum
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

from dagorama_broker.core.model import FunctionSpec, Node, Worker
from dagorama_broker.core.states import NodeState


class Obstacle(StrEnum):
    """What keeps the nodes of a lane from a worker for good."""

    TAINT = "taint"  #: The worker does not tolerate it.
    QUEUE = "queue"  #: The worker does not serve it.
    CODE_VERSION = "code_version"  #: The worker has the function in another version.


class Filter(NamedTuple):
    """Which lanes a worker serves."""

    include_queues: frozenset[str]  #: empty: all
    exclude_queues: frozenset[str]
    tolerations: frozenset[str]
    unfit: frozenset[tuple[str, str]] = frozenset()  #: functions, by name and code version, that it has in another one

    def obstacle(self, lane: Lane) -> Obstacle | None:
        """Tell what keeps the nodes of a lane from these workers, None where nothing does."""
        if lane.taint and lane.taint not in self.tolerations:
            return Obstacle.TAINT
        if self.include_queues and lane.queue not in self.include_queues:
            return Obstacle.QUEUE
        if lane.queue in self.exclude_queues:
            return Obstacle.QUEUE
        if (lane.function, lane.code_version) in self.unfit:
            return Obstacle.CODE_VERSION
        return None

    def admits(self, lane: Lane) -> bool:
        """Tell whether nodes of this lane may be granted."""
        return self.obstacle(lane) is None


class Lane:
    """The ready nodes of one queue, taint and version of a function: whoever may take one of them may take any.

    Suspects, nodes that an earlier worker was lost with, wait apart, because not every worker may take one: `heaps` is
    indexed by `is_suspect`.
    """

    __slots__ = ("active", "code_version", "function", "heaps", "queue", "ready", "taint", "views")

    def __init__(self, queue: str, taint: str, function: str = "", code_version: str = "") -> None:
        self.queue = queue
        self.taint = taint
        self.function = function
        self.code_version = code_version
        self.heaps: tuple[list[tuple[int, Node]], list[tuple[int, Node]]] = ([], [])
        self.views: list[View] = []
        self.ready = 0  #: nodes in state ready
        self.active = 0  #: nodes that are ready, leased or backing off

    def __repr__(self) -> str:
        return f"<Lane {self.queue}{f' taint={self.taint}' if self.taint else ''} ready={self.ready}>"

    def first(self, *, suspect: bool) -> tuple[int, Node] | None:
        """Give the first entry that still holds, dropping stale ones before it."""
        heap = self.heaps[suspect]
        while heap:
            entry = heap[0]
            node = entry[1]
            if node.state is NodeState.READY and is_suspect(node) is suspect:
                return entry
            heappop(heap)
            node.queued &= ~(1 << suspect)
        return None


def is_suspect(node: Node) -> bool:
    """Tell whether an earlier worker was lost with this node in its hands."""
    return node.losses > 0


class View:
    """What workers with the same filter see."""

    __slots__ = ("filter", "heaps", "keys", "lanes", "workers")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self.lanes: list[Lane] = []
        self.heaps: tuple[list[tuple[int, Lane]], list[tuple[int, Lane]]] = ([], [])
        #: Each lane's key in `heaps`. Others that are there for the lane have been overtaken by a smaller one.
        self.keys: tuple[dict[Lane, int], dict[Lane, int]] = ({}, {})
        self.workers: dict[Worker, None] = {}

    @property
    def ready(self) -> int:
        """How many nodes are ready for it."""
        return sum(lane.ready for lane in self.lanes)

    def peek(self, *, with_suspects: bool) -> Node | None:
        """Give the first ready node, without taking it; suspects only if asked for."""
        trusted = self._first(suspect=False)
        suspect = self._first(suspect=True) if with_suspects and self.heaps[True] else None
        if suspect is not None and (trusted is None or suspect[0] < trusted[0]):
            return suspect[1]
        return trusted[1] if trusted is not None else None

    def offer(self, lane: Lane, order: int, *, suspect: bool) -> None:
        """Learn that a lane has a node of this order. Larger ones are left out, or an idle view would grow."""
        keys = self.keys[suspect]
        if lane not in keys or order < keys[lane]:
            keys[lane] = order
            heappush(self.heaps[suspect], (order, lane))

    def _first(self, *, suspect: bool) -> tuple[int, Node] | None:
        heap = self.heaps[suspect]
        keys = self.keys[suspect]
        while heap:
            order, lane = heap[0]
            if keys.get(lane) != order:
                heappop(heap)
                continue
            entry = lane.first(suspect=suspect)
            if entry is None:
                heappop(heap)
                del keys[lane]
            elif entry[0] == order:
                return entry
            else:
                keys[lane] = entry[0]
                heapreplace(heap, (entry[0], lane))
        return None


class ReadyQueues:
    """All lanes and views."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, str, str, str], Lane] = {}
        self.views: dict[Filter, View] = {}

    def lane(self, spec: FunctionSpec) -> Lane:
        """Give the lane of a function's nodes, making it if need be."""
        key = (spec.queue, spec.taint, spec.name, spec.code_version)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(*key)
            for view in self.views.values():
                self._connect(view, lane)
        return lane

    def enter(self, worker: Worker) -> None:
        """Let a worker take part in its view."""
        worker.view.workers[worker] = None

    def leave(self, worker: Worker) -> None:
        """Take a worker out of its view, which goes with its last worker."""
        view = worker.view
        view.workers.pop(worker, None)
        if not view.workers and self.views.pop(view.filter, None) is not None:
            for lane in view.lanes:
                lane.views.remove(view)

    def view(self, filter: Filter) -> View:
        """Give the view for a filter, making it if need be."""
        view = self.views.get(filter)
        if view is None:
            view = self.views[filter] = View(filter)
            for lane in self.lanes.values():
                self._connect(view, lane)
        return view

    def push(self, node: Node) -> None:
        """Put a node that has just become ready in its place."""
        lane = node.function.lane
        lane.ready += 1
        suspect = is_suspect(node)
        if node.queued & (1 << suspect):
            return  # its old entry holds again
        node.queued |= 1 << suspect
        order = node.order
        heap = lane.heaps[suspect]
        heappush(heap, (order, node))
        if heap[0][1] is node:
            for view in lane.views:
                view.offer(lane, order, suspect=suspect)

    @staticmethod
    def _connect(view: View, lane: Lane) -> None:
        if not view.filter.admits(lane):
            return
        view.lanes.append(lane)
        lane.views.append(view)
        for suspect in (False, True):
            if lane.heaps[suspect]:
                view.offer(lane, lane.heaps[suspect][0][0], suspect=suspect)
