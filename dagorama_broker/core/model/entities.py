"""The entities of the core: instances, nodes, workers, and the lanes, views and limits between nodes and workers.

They hold one another, so they stand in one module. It has what each does with what it holds; the parts of the core
that bring nodes from one to the next come after it.

Nodes are made by the hundred thousand, so they are slotted, share their `Function`, and hold no empty container.

A *lane* holds the ready nodes of one queue, taint, function version and group in order. A *view* is what workers with
the same filters see: the lanes that they may take from, ordered by their first nodes. A limit is a view over live
leases: its holders are the leases of its nodes, so a place cannot stay taken after its holder is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from weakref import WeakSet

from dagorama_broker.core.containers.lines import Line, Merge, Roster
from dagorama_broker.core.containers.waiters import Waiters
from dagorama_broker.core.errors import IllegalMove
from dagorama_broker.core.model.filters import Filter
from dagorama_broker.core.model.order import Group, base_of
from dagorama_broker.core.model.states import LIVE, MOVES, WAITING, InstanceState, NodeState
from dagorama_broker.core.model.values import (
    AnnouncedDefinition,
    Control,
    FailedAttempt,
    FunctionSpec,
    HookCall,
    InstanceId,
    Keep,
    LimitSpec,
    NodeId,
    Park,
    Pause,
    Progress,
    Request,
    Start,
    Tags,
    WorkerId,
)

#: Room where there is no limit: more than there can be nodes.
_ANY = 1 << 40

#: Two clocks differ by no more than this after each second.
_DRIFT = 1e-4
#: Where a message seems to have been under way for longer, its worker's clock stood, as that of a machine that slept.
_STOOD_S = 1.0


class Timing:
    """How long the attempts of a function take, as far as its workers have told."""

    __slots__ = ("duration_s",)

    def __init__(self) -> None:
        self.duration_s: float | None = None  #: None before the first attempt has ended

    def observe(self, duration_s: float) -> None:
        """Take in one more attempt. It rises at once and falls slowly: prefetching too little costs microseconds."""
        known = self.duration_s
        if known is None or duration_s > known:
            self.duration_s = duration_s
        else:
            self.duration_s = known + 0.1 * (duration_s - known)


class Function:
    """A `FunctionSpec` as the core knows it, in a group. It lives as long as some node refers to it."""

    __slots__ = ("__weakref__", "is_recorded", "lane", "spec", "timing")

    def __init__(self, spec: FunctionSpec, *, lane: Lane, timing: Timing) -> None:
        self.spec = spec
        self.lane = lane
        self.timing = timing  #: shared by all functions of the same name
        #: Whether each lease of its nodes is made durable before the worker hears of it: a restart must tell a node
        #: that was never granted from one that was.
        self.is_recorded = spec.at_most_once or spec.start_timeout_s > 0


class Instance:
    """One start of a definition. All that its constructor takes but the control never changes.

    Only the deadline ends where nodes are reset, see `NodesReset`.
    """

    __slots__ = (
        "__weakref__",
        "base",
        "blamed",
        "cancelled",
        "control",
        "counts",
        "created_at",
        "deadline_at",
        "definition",
        "ends",
        "failed",
        "finished_at",
        "group",
        "halted",
        "held",
        "held_bytes",
        "hooks",
        "id",
        "keep",
        "limit",
        "live",
        "nodes",
        "pauses",
        "request",
        "seq",
        "start",
        "started_by",
        "state",
        "tags",
        "tells_of",
        "void_token",
        "whole",
    )

    def __init__(
        self,
        *,
        seq: int,
        id: InstanceId,
        definition: str,
        created_at: float,
        deadline_at: float = 0.0,
        group: str = "",
        control: Control = Control(),  # noqa: B008 - a tuple
        start: Start | None = None,
        tags: Tags = (),
        hooks: tuple[HookCall, ...] = (),
        started_by: str = "",
        keep: Keep | None = None,
    ) -> None:
        self.seq = seq  #: grows with creation, from 1; the unit of FIFO order
        self.id = id
        self.definition = definition
        self.created_at = created_at
        self.deadline_at = deadline_at  #: when whatever of it has not ended fails; 0: never
        self.group = group  #: it shares the workers' time fairly with instances of other groups; empty: none
        self.start = start  #: where it has a key
        self.tags = tags
        self.hooks = hooks
        self.keep = keep  #: for how long it is kept after its end; None: as the broker is set
        self.started_by = started_by  #: as its client has said; empty: it has not
        self.ends = 0  #: how often it has ended, if it has hooks
        self.blamed: Node | None = None  #: the first of its nodes that failed, if it has hooks
        self.tells_of: InstanceId | None = None  #: the ended instance whose hooks it was made to call
        self.state = InstanceState.RUNNING
        self.nodes: dict[NodeId, Node] = {}
        self.whole = True  #: False: of the nodes that had ended when it was restored, `nodes` has those in use only
        self.counts: defaultdict[NodeState, int] = defaultdict(int)  #: how many nodes it has in each state
        self.live = 0  #: nodes that are not terminal
        self.held_bytes = 0  #: of the large values that it refers to, each counted once
        self.held: set[bytes] = set()  #: their digests; where it is not whole, some of them
        self.failed = False  #: some node ended unsuccessfully
        self.cancelled = False  #: it was stopped on request
        self.halted = False  #: nothing of it is granted any more: it was cancelled, or its deadline has passed
        self.finished_at = 0.0
        self.pauses: tuple[Pause, ...] = ()  #: when it was over, before nodes of it began anew
        self.limit: Limit | None = None  #: its cap, where it has one
        self.request: Request | None = None  #: the last one to begin anew, if it had an id
        self.void_token = 0  #: the last fencing token that was given before nodes of it began anew
        self.set_control(control)

    def set_control(self, control: Control) -> None:
        """Note the settings that people want; the caller moves the nodes accordingly."""
        self.control = control
        self.base = base_of(self.seq, control.priority)

    def __repr__(self) -> str:
        return f"<Instance {self.seq} {self.definition} {self.state}>"


class Node:
    """One captured call.

    `seq`, `id`, `instance`, `function`, `arguments`, `dependencies`, `parent_seq`, `created_at` and `limits` (of their
    contents the keys alone) never change after creation; the journal, which works in another thread, reads no other
    fields. Only `function` changes: to one of the same spec where a worker lacks something for the node; and where an
    ended node is reset, but that event carries it, and all that came before it has been committed, because the node was
    restored for it. So it is with `arguments`, of a node that is run again with others.
    """

    __slots__ = (
        "arguments",
        "attempts",
        "cause",
        "charge_s",
        "created_at",
        "dependencies",
        "dependents",
        "failures",
        "finished_at",
        "function",
        "id",
        "instance",
        "leased_at",
        "limits",
        "losses",
        "missing",
        "parent_seq",
        "parked",
        "payload",
        "place",
        "promises",
        "ready_at",
        "retry_at",
        "seq",
        "source",
        "state",
        "token",
        "tries",
        "worker",
    )

    def __init__(
        self,
        *,
        seq: int,
        id: NodeId,
        instance: Instance,
        function: Function,
        arguments: bytes,
        dependencies: tuple[Node, ...],
        parent_seq: int,
        created_at: float,
        limits: tuple[Limit, ...] = (),
    ) -> None:
        self.seq = seq  #: grows with creation over all instances, from 1
        self.id = id
        self.instance = instance
        self.function = function
        self.arguments = arguments
        self.dependencies = dependencies
        self.parent_seq = parent_seq  #: the node whose function made this call; 0 for calls from outside
        self.created_at = created_at
        self.limits = limits
        self.state = WAITING
        self.missing = 0  #: how many of `dependencies` (waiting) or `promises` (joining) have not completed
        self.dependents: list[Node] | None = None  #: who counts this node in `missing`
        self.attempts = 0  #: attempts that have failed since it began, or last began anew: retries go by it
        self.tries = 0  #: attempts in all its life that are over, lost ones and those before a reset too
        self.losses = 0  #: leases that ended because the worker was lost
        self.token = 0  #: fencing token of the live or last lease
        self.worker: Worker | None = None
        self.leased_at = 0.0  #: when the live or last lease began
        self.charge_s = 0.0  #: what the live lease adds to its worker's `load_s`
        self.parked: Park | Limit | None = None  #: for a ready node, what keeps it out of its lane
        self.place = (
            0  #: for a ready node, where it stands in its line: `order`, but for a while after that has changed
        )
        self.ready_at = 0.0  #: since when it has been ready, or was when its lease began; after a restart, since that
        self.retry_at = 0.0
        self.payload: bytes | None = None
        self.promises: tuple[Node, ...] = ()  #: what `payload` refers to
        self.source: Node | None = None  #: for a completed alias, the node whose value it has, never itself an alias
        self.failures: list[FailedAttempt] | None = None
        self.cause: Node | None = None  #: for an unsuccessful node, the root cause; None: it is its own
        self.finished_at = 0.0

    def __repr__(self) -> str:
        return f"<Node {self.seq} {self.function.spec.name} {self.state}>"

    @property
    def order(self) -> int:
        """Return its place within its group: by the priority of its instance, then by instance, then by creation."""
        return self.instance.base + self.seq

    @property
    def void_token(self) -> int:
        """Return the last token whose attempt is over or was before a reset: no worker goes on under it."""
        return max([self.instance.void_token, *(attempt.token for attempt in self.failures or ())])

    def move(self, target: NodeState) -> None:
        """Change the state; the only place where that happens, but for `end_all`."""
        state = self.state
        if target not in MOVES[state]:
            raise IllegalMove(node_id=self.id, state=state, target=target)
        counts = self.instance.counts
        counts[state] -= 1
        counts[target] += 1
        self.state = target


def end_all(instance: Instance, live: Sequence[Node], target: NodeState, now: float) -> None:
    """End all live nodes of an instance like `Node.move`, in a fraction of the time."""
    counts = instance.counts
    for state in LIVE:
        if target not in MOVES[state]:
            raise IllegalMove(node_id=live[0].id, state=state, target=target)
        counts[state] = 0
    counts[target] += len(live)
    instance.live = 0
    for node in live:
        node.state = target
        node.finished_at = now


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """A connected worker process and what it holds."""

    id: WorkerId
    name: str
    view: View
    slots: int  #: 0: it pulls, that is, it is granted a node only when it asks for one
    lease_duration_s: float
    expires_at: float
    forgiven_until: float = 0.0  #: to when `expires_at` was put off last, for a silence that was the broker's
    exit_when_drained: bool = False
    exit_when_mismatched: bool = False
    draining: bool = False
    number: int = 0  #: grows with each connection
    stirred: bool = False  #: what it could take may have changed since the last grant
    leases: dict[int, Node] = field(default_factory=dict)  #: by fencing token; ids differ only within an instance
    load_s: float = 0.0  #: how long it will be busy with what it holds, as far as known
    suspect: Node | None = (
        None  #: it holds this node, which an earlier worker was lost with; no second one, no prefetch
    )
    overdue: bool = False  #: it was asked for nodes and has finished nothing since, so it is granted none ahead
    reported_at: float = 0.0  #: when it last finished something or got its first node
    #: Of functions, by name, the only code versions in which it takes them: what the view's filter goes by.
    versions: dict[str, frozenset[str]] = field(default_factory=dict)
    #: What it lacks, with the worker's own words for people: names of functions, and of what some nodes need.
    lacking: dict[str, str] = field(default_factory=dict)
    recalled: set[int] = field(default_factory=set)  #: tokens of leases that were asked for
    progress: dict[int, Progress] = field(default_factory=dict)  #: by token, of those whose functions tell it
    #: The definitions that it has told of.
    definitions: tuple[AnnouncedDefinition, ...] = ()
    #: Tokens of leases that were revoked, and whose nodes it may still be at work on: each takes a slot until it is
    #: handed back. What is granted to a worker that hangs would be lost with it.
    stopping: dict[int, Node] = field(default_factory=dict)
    #: For one that pulls, what was revoked and it has not reported since. Its reports show no token, so it gets none of
    #: these again before: what it says of an earlier attempt would be taken for the later one's.
    unreported: set[tuple[InstanceId, NodeId]] = field(default_factory=set)

    ahead_s: float = inf  #: how far our clock is ahead of its own, as its quickest message has shown
    compared_at: float = 0.0

    def written_at(self, clock_s: float, now: float) -> float:
        """Return when the worker wrote a message, given its own clock then; now where that is 0.

        A minimum filter, as NTP has (RFC 5905, section 10): the quickest message tells best how the clocks differ.
        """
        if not 0 < clock_s < inf:
            return now
        ahead_s, known_s = now - clock_s, self.ahead_s + _DRIFT * (now - self.compared_at)
        if not known_s <= ahead_s < known_s + _STOOD_S:
            known_s = ahead_s
        self.ahead_s, self.compared_at = known_s, now
        return min(clock_s + known_s, now)  # a clock of 1e17 s tells seconds no more

    @property
    def has_free_slot(self) -> bool:
        """Return whether it could start a node at once."""
        return len(self.leases) + len(self.stopping) < self.slots


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


class View:
    """The lanes that workers with the same filter see, and those workers."""

    __slots__ = ("ahead", "clock", "filter", "free", "lanes", "merges", "workers")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self.lanes: WeakSet[Lane] = WeakSet()
        #: Of those lanes that have something; as `Lane.lines`.
        self.merges: tuple[Merge[Lane, Node], Merge[Lane, Node]] = (Merge(), Merge())
        self.workers: dict[Worker, None] = {}
        self.free: Roster[Worker] = Roster()  #: those that have a free slot
        self.ahead: Roster[Worker] = Roster()  #: those that have none, and may be granted something ahead
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


class Limit:
    """One key's limit: the leases that hold its places, and the nodes that wait for one.

    A rate is kept by GCRA, the generic cell rate algorithm (ITU-T I.371; "virtual scheduling"): only one moment is
    stored, the theoretical arrival time, here `whole_at`, when the burst will be whole again. Each start puts it off by
    1 / rate, and a node may start as long as it is no further ahead than the burst allows.
    """

    __slots__ = ("__weakref__", "due_at", "holders", "key", "said_by", "sorting", "spec", "waiting", "whole_at")

    def __init__(self, key: str, spec: LimitSpec, *, whole_at: float = 0.0) -> None:
        self.key = key
        self.spec = spec  #: the one that was given last
        self.said_by = 0  #: number of the node whose call gave it; only a later one is heeded
        self.holders: dict[int, Node] = {}  #: by fencing token: live leases, and revoked ones whose nodes may still run
        self.waiting: dict[Audience, Waiters[Lane, Node]] = {}  #: parked nodes, by who could take them
        self.sorting = 0  #: which sorting of lanes by audiences that is, see `ReadyQueues.sorting`
        self.whole_at = whole_at  #: when its burst is whole, if nothing starts until then
        self.due_at = 0.0  #: when those that wait for its rate or its new spec are let in; 0: that is not planned

    def __repr__(self) -> str:
        return f"<Limit {self.key} {len(self.holders)} of {self.spec.max or 'any'}>"

    def room(self, now: float) -> int:
        """Return how many nodes may start now."""
        spec = self.spec
        room = max(0, spec.max - len(self.holders)) if spec.max else _ANY
        if spec.rate_per_s:
            passed_s = now - self.opens_at
            room = min(room, spec.burst, 1 + int(passed_s * spec.rate_per_s)) if passed_s >= 0 else 0
        return room

    @property
    def opens_at(self) -> float:
        """Return when its rate lets a node start; 0 for a limit without a rate."""
        spec = self.spec
        return self.whole_at - (spec.burst - 1) / spec.rate_per_s if spec.rate_per_s else 0.0

    def enter(self, node: Node, token: int, now: float) -> None:
        """Take a place for a lease that begins."""
        self.holders[token] = node
        if self.spec.rate_per_s:
            self.whole_at = max(self.whole_at, now) + 1 / self.spec.rate_per_s

    def respecify(self, spec: LimitSpec, now: float) -> None:
        """Change the spec. The part of the burst that is spent stays spent, but comes back at the new rate."""
        spent = min((self.whole_at - now) * self.spec.rate_per_s, spec.burst)
        if spent > 0 and spec.rate_per_s:
            self.whole_at = now + spent / spec.rate_per_s
        self.spec = spec

    def wait(self, order: int, node: Node, sorting: int) -> None:
        """Note a node that is parked for this limit."""
        if self.sorting != sorting:
            self.sort(sorting)
        lane = node.function.lane
        waiters = self.waiting.get(lane.audience)
        if waiters is None:
            waiters = self.waiting[lane.audience] = Waiters()
        waiters.add(order, lane, node)

    def leave(self, order: int, lane: Lane, sorting: int) -> None:
        """Forget a node that is parked for this limit."""
        if self.sorting != sorting:
            self.sort(sorting)
        waiters = self.waiting[lane.audience]
        waiters.drop(order, lane)
        if not waiters:
            del self.waiting[lane.audience]

    def sort(self, sorting: int) -> None:
        """Sort the waiting lanes by their audiences again, since workers came or went."""
        self.sorting = sorting
        waiting, self.waiting = self.waiting, {}
        for waiters in waiting.values():
            for lane, line in waiters.lanes.items():
                self.waiting.setdefault(lane.audience, Waiters()).take(lane, line)
