"""The objects that the core keeps in memory: functions, instances, nodes and workers.

Nodes are made by the hundred thousand, so they are slotted, share their `Function`, and hold no empty container.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol

from dagorama_broker.core.errors import IllegalMove
from dagorama_broker.core.states import LIVE, MOVES, WAITING, InstanceState, NodeState

if TYPE_CHECKING:
    from dagorama_broker.core.digests import Comparison
    from dagorama_broker.core.lanes import Lane, View
    from dagorama_broker.core.limits import Limit

NodeId = NewType("NodeId", bytes)
InstanceId = NewType("InstanceId", bytes)
WorkerId = NewType("WorkerId", bytes)
RequestId = NewType("RequestId", bytes)


#: A place in the order of ready nodes is one number: the priority, then what the group has had (64 bits), then the
#: instance (40 bits), then the node (40 bits).
_INSTANCE_SHIFT = 40
RANK_SHIFT = 80
_PRIORITY_SHIFT = 144

#: Without a cap, intervals that grow stop growing here: at a year.
_BACKOFF_MAX_S = 365 * 86400.0


class Rng(Protocol):
    """The source of the core's randomness: a seeded `random.Random`, passed in."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another."""

    max_attempts: int = 1  #: total, the first included
    interval_s: float = 0.0
    multiplier: float = 1.0
    interval_max_s: float = 0.0  #: 0: no cap
    jitter: float = 0.0  #: share of the interval, 0 to 1, that is added at random

    def delay_s(self, attempt: int, rng: Rng) -> float:
        """Return the backoff after attempt `attempt` (from 1)."""
        try:
            delay = self.interval_s * self.multiplier ** (attempt - 1)
        except OverflowError:
            delay = _BACKOFF_MAX_S if self.interval_s else 0.0
        delay = min(delay, self.interval_max_s or _BACKOFF_MAX_S)
        return delay * (1 + self.jitter * rng.random()) if self.jitter else delay


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """How many nodes of one key may run at once, and how many may start in a second."""

    max: int = 0  #: 0: any number
    rate_per_s: float = 0.0  #: 0: any rate
    burst: int = 1  #: so many may start at once after a while without a start


class LimitWord(NamedTuple):
    """The spec that a call gave the limit of its key."""

    said_by: int  #: number of its node
    spec: LimitSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """The properties that all calls of a function share; equal specs are one `Function` in the core."""

    name: str  #: "module:Qualified.name"
    code_version: str = ""
    queue: str
    taint: str = ""  #: empty: none
    retry: RetryPolicy = RetryPolicy()
    timeout_s: float = 0.0  #: longest time that an attempt may take; 0: no limit
    start_timeout_s: float = 0.0  #: longest time that a node may be ready before a worker takes it; 0: no limit
    at_most_once: bool = False  #: an attempt that is cut off fails the node, so that no second one can come
    definition_arguments: bytes = b""
    limits: tuple[LimitSpec, ...] = ()  #: each call has a key for each
    release: str = ""  #: the versions that the calls which its nodes make are to have, for the workers to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt gave no value."""

    type: str
    message: str
    traceback: str = ""
    exception: bytes = b""  #: payload of the exception itself; empty where it could not be encoded
    permanent: bool = False  #: no further attempt, whatever the retry policy says


class NewCall(NamedTuple):
    """A captured call on its way in. A tuple, because one is made for every node."""

    node_id: NodeId
    function: FunctionSpec
    arguments: bytes
    dependency_ids: tuple[NodeId, ...]
    limit_keys: tuple[str, ...] = ()  #: one for each limit of the function


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


class Park(StrEnum):
    """Why a ready node is kept out of its lane, other than by a limit."""

    PAUSED = "paused"  #: Its instance is paused.


class Node:
    """One captured call.

    `seq`, `id`, `instance`, `function`, `arguments`, `dependencies`, `parent_seq`, `created_at` and `limits` (of their
    contents the keys alone) never change after creation; the journal, which works in another thread, reads no other
    fields. Only `function` changes: to one of the same spec where a worker lacks something for the node; and where an
    ended node is reset, but that event carries it, and all that came before it has been committed, because the node was
    restored for it.
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
        "retry_at",
        "seq",
        "source",
        "state",
        "token",
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
        self.attempts = 0  #: attempts that have failed
        self.losses = 0  #: leases that ended because the worker was lost
        self.token = 0  #: fencing token of the live or last lease
        self.worker: Worker | None = None
        self.leased_at = 0.0  #: when the live or last lease began
        self.charge_s = 0.0  #: what the live lease adds to its worker's `load_s`
        self.parked: Park | Limit | None = None  #: for a ready node, what keeps it out of its lane
        self.place = (
            0  #: for a ready node, where it stands in its line: `order`, but for a while after that has changed
        )
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
        if target not in MOVES[self.state]:
            raise IllegalMove(node_id=self.id, state=self.state, target=target)
        counts = self.instance.counts
        counts[self.state] -= 1
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


class FailedAttempt(NamedTuple):
    """One attempt that gave no value."""

    number: int
    worker: str
    ended_at: float
    failure: Failure
    token: int = (
        0  #: leases up to this one are of attempts that are over; 0 where that says nothing, as of a lost worker
    )


class Control(NamedTuple):
    """The settings of an instance that people may change while it runs."""

    priority: int = 0  #: higher ones go first
    paused: bool = False  #: nothing of it is granted
    running_max: int = 0  #: so many of its nodes may run at once; 0: any number


class QueueControl(NamedTuple):
    """The settings of a queue that people may change."""

    paused: bool = False  #: nothing in it is granted
    running_max: int = 0  #: so many of its nodes may run at once; 0: any number


class Request(NamedTuple):
    """A request to retry or to rerun that has been done, so that repeating it does nothing."""

    id: RequestId
    node_id: NodeId | None  #: what was to be run again; None for a retry
    seqs: tuple[int, ...]  #: for a rerun, the nodes that began anew


class Instance:
    """One start of a definition. `seq`, `id`, `definition`, `created_at`, `deadline_at` and `group` never change.

    Only the deadline ends where nodes are reset, see `NodesReset`.
    """

    __slots__ = (
        "__weakref__",
        "base",
        "cancelled",
        "comparison",
        "control",
        "counts",
        "created_at",
        "deadline_at",
        "definition",
        "failed",
        "finished_at",
        "group",
        "halted",
        "id",
        "limit",
        "live",
        "nodes",
        "request",
        "seq",
        "state",
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
    ) -> None:
        self.seq = seq  #: grows with creation, from 1; the unit of FIFO order
        self.id = id
        self.definition = definition
        self.created_at = created_at
        self.deadline_at = deadline_at  #: when whatever of it has not ended fails; 0: never
        self.group = group  #: it shares the workers' time fairly with instances of other groups; empty: none
        self.state = InstanceState.RUNNING
        self.nodes: dict[NodeId, Node] = {}
        self.whole = True  #: False: of the nodes that had ended when it was restored, `nodes` has those in use only
        self.counts: defaultdict[NodeState, int] = defaultdict(int)  #: how many nodes it has in each state
        self.live = 0  #: nodes that are not terminal
        self.failed = False  #: some node ended unsuccessfully
        self.cancelled = False  #: it was stopped on request
        self.halted = False  #: nothing of it is granted any more: it was cancelled, or its deadline has passed
        self.finished_at = 0.0
        self.limit: Limit | None = None  #: its cap, where it has one
        self.request: Request | None = None  #: the last one to begin anew, if it had an id
        self.void_token = 0  #: the last fencing token that was given before nodes of it began anew
        self.comparison: Comparison | None = None  #: of values with those of before, where nodes were run again
        self.set_control(control)

    def set_control(self, control: Control) -> None:
        """Note the settings that people want; the caller moves the nodes accordingly."""
        self.control = control
        self.base = (self.seq << _INSTANCE_SHIFT) - (control.priority << _PRIORITY_SHIFT)

    def __repr__(self) -> str:
        return f"<Instance {self.seq} {self.definition} {self.state}>"


class Progress(NamedTuple):
    """How far a running function says that it has got."""

    fraction: float  #: from 0 to 1
    message: str


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
    #: Tokens of leases that were revoked, and whose nodes it may still be at work on: each takes a slot until it is
    #: handed back. What is granted to a worker that hangs would be lost with it.
    stopping: dict[int, Node] = field(default_factory=dict)
    #: For one that pulls, what was revoked and it has not reported since. Its reports show no token, so it gets none of
    #: these again before: what it says of an earlier attempt would be taken for the later one's.
    unreported: set[tuple[InstanceId, NodeId]] = field(default_factory=set)

    @property
    def has_free_slot(self) -> bool:
        """Return whether it could start a node at once."""
        return len(self.leases) + len(self.stopping) < self.slots
