"""Lanes of ready nodes, and the views that workers have of them.

A *lane* holds the ready nodes of one queue, taint, function version and group in order. A *view* is what workers with
the same filters see: the lanes that they may take from, ordered by their first nodes. Taking the first node of a view
is O(log n) in its ready nodes and lanes, whatever else there is.

Both heaps are lazy. A lane's heap may hold nodes that are no longer ready; a lane's key in a view's heap may be too
small, never too large: keys grow, as nodes are taken and as groups get their share. `View.peek` mends what it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple
from weakref import WeakSet

from dagorama_broker.core.limits import Limit
from dagorama_broker.core.model import RANK_SHIFT, Node, Worker
from dagorama_broker.core.states import NodeState


class Obstacle(StrEnum):
    """What keeps the nodes of a lane from a worker for good."""

    TAINT = "taint"  #: The worker does not tolerate it.
    QUEUE = "queue"  #: The worker does not serve it.
    MODULE = "module"  #: The worker runs functions of other modules only.
    CODE_VERSION = "code_version"  #: The worker has the function in another version.
    LACKS = "lacks"  #: The worker has said that it lacks what it takes to run them.


class Filter(NamedTuple):
    """Which lanes a worker serves."""

    include_queues: frozenset[str]  #: empty: all
    exclude_queues: frozenset[str]
    tolerations: frozenset[str]
    modules: frozenset[str] = frozenset()  #: only functions of these and of modules inside them; empty: of all
    functions: frozenset[str] = frozenset()  #: by name, those that it takes in some code versions only
    versions: frozenset[tuple[str, str]] = frozenset()  #: which those are
    lacking: frozenset[str] = frozenset()  #: names of functions that it lacks, and of what some nodes need

    def obstacle(self, lane: Lane) -> Obstacle | None:
        """Tell what keeps the nodes of a lane from these workers, None where nothing does."""
        if lane.taint and lane.taint not in self.tolerations:
            return Obstacle.TAINT
        if self.include_queues and lane.queue not in self.include_queues:
            return Obstacle.QUEUE
        if lane.queue in self.exclude_queues:
            return Obstacle.QUEUE
        if self.modules and not self._has_module(lane.function.partition(":")[0]):
            return Obstacle.MODULE
        if lane.function in self.functions and (lane.function, lane.code_version) not in self.versions:
            return Obstacle.CODE_VERSION
        if self.lacking and (lane.function in self.lacking or not self.lacking.isdisjoint(lane.needs)):
            return Obstacle.LACKS
        return None

    def _has_module(self, module: str) -> bool:
        while module not in self.modules:
            module, dot, _ = module.rpartition(".")
            if not dot:
                return False
        return True

    def taking(self, versions: Mapping[str, frozenset[str]]) -> Filter:
        """Give the filter of such workers that take these functions in these code versions only."""
        pairs = frozenset((name, version) for name, taken in versions.items() for version in taken)
        return self._replace(functions=frozenset(versions), versions=pairs)

    def admits(self, lane: Lane) -> bool:
        """Tell whether nodes of this lane may be granted."""
        return self.obstacle(lane) is None


#: What the lanes of a kind have in common: queue, taint, function, code version, needs. Whoever serves one serves all.
Kind = tuple[str, str, str, str, frozenset[str]]


class Group:
    """Instances that share what workers give them with other groups: each gets as much time as the others."""

    __slots__ = ("__weakref__", "lanes", "name", "rank", "served_us")

    def __init__(self, name: str) -> None:
        self.name = name
        self.served_us = 0  #: time on workers that it was granted, and no less than the others had when it came
        self.rank = 0  #: that, as the part of a key in a view's heap
        self.lanes = 0  #: lanes of this group with nodes that may be granted, or wait for a limit

    def __repr__(self) -> str:
        return f"<Group {self.name or '(none)'} served={self.served_us} us>"

    def serve(self, served_us: int) -> None:
        """Note how much it was granted in all."""
        self.served_us = served_us
        self.rank = served_us << RANK_SHIFT


class Lane:
    """The ready nodes of one queue, taint, version of a function and group: who may take one may take any.

    Nodes that need what some worker lacked, and not all of their function do, have lanes of their own.

    Suspects, nodes that an earlier worker was lost with, wait apart, because not every worker may take one: `heaps` is
    indexed by `is_suspect`.
    """

    __slots__ = (
        "__weakref__",
        "active",
        "code_version",
        "function",
        "group",
        "heaps",
        "held",
        "kind",
        "limit",
        "needs",
        "parked",
        "paused",
        "queue",
        "ready",
        "taint",
        "views",
    )

    def __init__(
        self,
        queue: str,
        taint: str,
        function: str = "",
        code_version: str = "",
        needs: frozenset[str] = frozenset(),
        *,
        group: Group | None = None,
    ) -> None:
        self.queue = queue
        self.taint = taint
        self.function = function
        self.code_version = code_version
        self.needs = needs  #: what its nodes need that some worker lacked, by name
        self.kind: Kind = (queue, taint, function, code_version, needs)
        self.group = group or Group("")
        self.heaps: tuple[list[tuple[int, Node]], list[tuple[int, Node]]] = ([], [])
        self.views: list[View] = []
        self.ready = 0  #: nodes in state ready, but for those that are parked
        self.parked = 0  #: nodes in state ready that are parked
        self.held = 0  #: those of them that wait for a limit
        self.active = 0  #: nodes that are ready, leased, started or backing off
        self.paused = False  #: its queue is paused: nothing of it is granted
        self.limit: Limit | None = None  #: the cap of its queue

    def __repr__(self) -> str:
        return f"<Lane {self.queue}{f' taint={self.taint}' if self.taint else ''} ready={self.ready}>"

    def __lt__(self, other: Lane) -> bool:
        """Tell that it makes no difference. Heaps ask where a stale key is of a node that was reset since."""
        return False

    def first(self, *, suspect: bool) -> tuple[int, Node] | None:
        """Give the first entry that still holds, dropping stale ones before it."""
        heap = self.heaps[suspect]
        while heap:
            entry = heap[0]
            node = entry[1]
            # As `is_suspect`, but this is asked once or more for every node.
            if (
                node.state is NodeState.READY
                and node.parked is None
                and (node.losses > 0) is suspect
                and node.function.lane is self
            ):
                return entry
            heappop(heap)
            if node.function.lane is self:
                node.queued &= ~(1 << suspect)
        return None


def is_suspect(node: Node) -> bool:
    """Tell whether an earlier worker was lost with this node in its hands."""
    return node.losses > 0


class View:
    """What workers with the same filter see."""

    __slots__ = ("clock", "filter", "heaps", "keys", "lanes", "ready", "workers")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self.lanes: WeakSet[Lane] = WeakSet()
        self.heaps: tuple[list[tuple[int, Lane]], list[tuple[int, Lane]]] = ([], [])
        #: Each lane's key in `heaps`. Others that are there for the lane have been overtaken by a smaller one.
        self.keys: tuple[dict[Lane, int], dict[Lane, int]] = ({}, {})
        self.ready = 0  #: how many nodes it may be granted
        self.workers: dict[Worker, None] = {}
        self.clock: dict[int, int] = {}  #: by priority, what the group had been served that was granted a node last

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
        key = order + lane.group.rank
        if lane not in keys or key < keys[lane]:
            keys[lane] = key
            heappush(self.heaps[suspect], (key, lane))

    def _first(self, *, suspect: bool) -> tuple[int, Node] | None:
        heap = self.heaps[suspect]
        keys = self.keys[suspect]
        while heap:
            key, lane = heap[0]
            if keys.get(lane) != key:
                heappop(heap)
                continue
            entry = None if lane.paused else lane.first(suspect=suspect)
            if entry is None:
                heappop(heap)
                del keys[lane]
                continue
            found = entry[0] + lane.group.rank
            if found == key:
                return key, entry[1]
            keys[lane] = found
            heapreplace(heap, (found, lane))
            if heap[0][1] is lane and heap[0][0] == found:  # mostly so, as lanes have runs of nodes
                return found, entry[1]
        return None
