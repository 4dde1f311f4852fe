"""Lanes of ready nodes, and the views that workers have of them.

A *lane* holds the ready nodes of one queue, taint, function version and group in order. A *view* is what workers with
the same filters see: the lanes that they may take from, ordered by their first nodes. Taking the first node of a view
is O(log n) in its ready nodes and lanes, whatever else there is.

A view knows which of its workers could take something. A worker that holds all that it may is not looked at again
before something about it has changed (`ReadyQueues.stir`), so a grant does not cost more where there are more of
them.||Groups share the workers by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): each group has a
virtual time, which grows by the cost of each node that it is granted; the group that has had least comes first; and a
group that was idle begins at the virtual time of the group served last, so idleness earns it nothing. It is exact where
the costs are: these are estimates, see `Timing`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple
from weakref import WeakSet

from dagorama_broker.core.limits import Limit
from dagorama_broker.core.lines import Line, Merge
from dagorama_broker.core.model import RANK_SHIFT, Node, Worker


class Obstacle(StrEnum):
    """Why a worker never gets the nodes of a lane."""

    TAINT = "taint"  #: The worker does not tolerate it.
    QUEUE = "queue"  #: The worker does not serve it.
    MODULE = "module"  #: The worker runs functions of other modules only.
    CODE_VERSION = "code_version"  #: The worker has the function in another version.
    LACKS = "lacks"  #: The worker has said that it lacks what it takes to run them.


class Filter(NamedTuple):
    """The lanes that a worker serves, by their kinds."""

    include_queues: frozenset[str]  #: empty: all
    exclude_queues: frozenset[str]
    tolerations: frozenset[str]
    modules: frozenset[str] = frozenset()  #: only functions of these and of modules inside them; empty: of all
    functions: frozenset[str] = frozenset()  #: by name, those that it takes in some code versions only
    versions: frozenset[tuple[str, str]] = frozenset()  #: which those are
    lacking: frozenset[str] = frozenset()  #: names of functions that it lacks, and of what some nodes need

    def obstacle(self, lane: Lane) -> Obstacle | None:
        """Return what keeps the nodes of a lane from these workers, None where nothing does."""
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
        """Return the filter of workers that take these functions in these code versions only."""
        pairs = frozenset((name, version) for name, taken in versions.items() for version in taken)
        return self._replace(functions=frozenset(versions), versions=pairs)

    def admits(self, lane: Lane) -> bool:
        """Return whether nodes of this lane may be granted."""
        return self.obstacle(lane) is None


#: What the lanes of a kind have in common: queue, taint, function, code version, needs.
Kind = tuple[str, str, str, str, frozenset[str]]


class Group:
    """Instances that share the workers' time with other groups: each group gets as much as the others."""

    __slots__ = ("__weakref__", "lanes", "name", "rank", "served_us")

    def __init__(self, name: str) -> None:
        self.name = name
        self.served_us = 0  #: time on workers that it was granted, and no less than the others had when it came
        self.rank = 0  #: that, as the part of a key in a view's heap
        self.lanes = 0  #: lanes of this group with nodes that may be granted, or wait for a limit

    def __repr__(self) -> str:
        return f"<Group {self.name or '(none)'} served={self.served_us} us>"

    def serve(self, served_us: int) -> None:
        """Note how much time the group was granted in all."""
        self.served_us = served_us
        self.rank = served_us << RANK_SHIFT


class Lane:
    """The ready nodes of one queue, taint, version of a function and group: a worker that may take one may take any.

    Nodes that need something which some worker lacked, and which not all nodes of their function need, have lanes of
    their own.

    *Suspects*, nodes that an earlier worker was lost with, wait apart, because not every worker may take one: `lines`
    is indexed by `is_suspect`.
    """

    __slots__ = (
        "__weakref__",
        "_audience",
        "active",
        "code_version",
        "function",
        "group",
        "held",
        "limit",
        "lines",
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
        self.group = group or Group("")
        self.lines: tuple[Line[Node], Line[Node]] = (Line(), Line())
        self.views: list[View] = []
        self._audience: Audience | None = None
        self.ready = 0  #: nodes in state ready, but for those that are parked
        self.parked = 0  #: nodes in state ready that are parked
        self.held = 0  #: those of them that wait for a limit
        self.active = 0  #: nodes that are ready, leased, started or backing off
        self.paused = False  #: its queue is paused: nothing of it is granted
        self.limit: Limit | None = None  #: the cap of its queue

    def __repr__(self) -> str:
        return f"<Lane {self.queue}{f' taint={self.taint}' if self.taint else ''} ready={self.ready}>"

    @property
    def audience(self) -> Audience:
        """Return the views that have it, none while its queue is paused."""
        if self._audience is None:
            self._audience = frozenset() if self.paused else frozenset(self.views)
        return self._audience

    def set_audience(self) -> None:
        """Note that `views` or `paused` has changed; see `ReadyQueues.sorting`."""
        self._audience = None


def is_suspect(node: Node) -> bool:
    """Return whether an earlier worker was lost with this node in its hands."""
    return node.losses > 0


class Roster:
    """Workers in the order in which they connected: the first to come gets something first, whatever it did since."""

    __slots__ = ("_numbers", "_workers")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._workers: dict[int, Worker] = {}

    def __len__(self) -> int:
        """Return how many workers there are."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Worker]:
        """Return an iterator over the workers, in order. None may come or go meanwhile."""
        return map(self._workers.__getitem__, self._numbers)

    def __contains__(self, worker: Worker) -> bool:
        """Return whether a worker is among them."""
        return worker.number in self._workers

    def add(self, worker: Worker) -> None:
        """Take a worker in."""
        if worker.number not in self._workers:
            self._workers[worker.number] = worker
            insort(self._numbers, worker.number)

    def discard(self, worker: Worker) -> None:
        """Take a worker out, if it is there."""
        if self._workers.pop(worker.number, None) is not None:
            del self._numbers[bisect_left(self._numbers, worker.number)]


class View:
    """The lanes that workers with the same filter see, and those workers."""

    __slots__ = ("ahead", "clock", "filter", "free", "lanes", "merges", "workers")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self.lanes: WeakSet[Lane] = WeakSet()
        self.merges: tuple[Merge, Merge] = (Merge(), Merge())  #: of those lanes that have something; as `Lane.lines`
        self.workers: dict[Worker, None] = {}
        self.free = Roster()  #: those that have a free slot
        self.ahead = Roster()  #: those that have none, and may be granted something ahead
        self.clock: dict[int, int] = {}  #: by priority, what the group had been served that was granted a node last

    @property
    def has_ready(self) -> bool:
        """Return whether there may be something to be granted."""
        return bool(self.merges[False].keys or self.merges[True].keys)

    def peek(self, *, with_suspects: bool) -> Node | None:
        """Return the first ready node, without taking it; suspects only if asked for."""
        merge, suspects = self.merges
        trusted = merge.first()
        suspect = suspects.first() if with_suspects and suspects.keys else None
        if suspect is not None and (trusted is None or suspect[0] < trusted[0]):
            return suspect[1]
        return trusted[1] if trusted is not None else None

    def count(self, limit: int) -> int:
        """Count the ready nodes, but no further than it takes to see that there are as many as `limit`."""
        nodes = self.merges[False].count(limit)
        return nodes if nodes >= limit else nodes + self.merges[True].count(limit - nodes)

    def place(self, worker: Worker) -> None:
        """Note whether a worker could take something."""
        self.free.discard(worker)
        self.ahead.discard(worker)
        if worker.slots and not worker.draining:
            (self.free if worker.has_free_slot else self.ahead).add(worker)

    def forget(self, worker: Worker) -> None:
        """Take a worker out, which takes no part any more."""
        self.workers.pop(worker, None)
        self.free.discard(worker)
        self.ahead.discard(worker)


#: The views that have a lane. Lanes of one audience are served by the same workers: who may take one may take any.
Audience = frozenset[View]
