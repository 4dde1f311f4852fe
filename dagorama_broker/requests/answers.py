"""Define what requests are answered with, where the core has no type for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.values import (
    AnnouncedDefinition,
    Control,
    FailedAttempt,
    Failure,
    FunctionSpec,
    InstanceId,
    NodeId,
    Progress,
    UndoneAttempt,
    WorkerId,
)
from dagorama_broker.core.why import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """Tell how a node stands. Times are seconds since the epoch, 0 where they do not apply."""

    id: NodeId
    instance_id: InstanceId
    function: FunctionSpec
    state: NodeState
    dependency_ids: Sequence[NodeId]
    parent_id: NodeId | None  #: the node whose function made this call; None for calls from outside
    attempts: int  #: those that have started, in all its life
    failures: Sequence[FailedAttempt]
    undone: Sequence[UndoneAttempt]  #: those whose values are no more, as it has begun anew since
    worker: str  #: name of the one that holds the lease, or that ran the attempt that it has ended in; empty for none
    created_at: float
    ready_at: float  #: when all that it depends on was there
    granted_at: float  #: when its worker was granted it
    started_at: float  #: when that worker began with it; while it runs, the same as `granted_at`
    duration_s: float  #: how long that took; 0 while it runs, and where it is not known
    label: str
    arguments: bytes  #: as much of them as is given out
    arguments_bytes: int  #: how much there is; 0 where nothing is given out
    parameters: str  #: as in the function's spec; empty where nothing is given out
    inputs: str  #: the text of its arguments, where it came with one
    value: bytes  #: as much of it as is given out
    value_bytes: int  #: how much there is; 0 where nothing is given out
    finished_at: float
    retry_at: float
    cause_id: NodeId | None  #: for a node without a value, the root cause
    change: Change | None
    progress: Progress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """Tell how a connected worker stands."""

    id: WorkerId
    name: str
    include_queues: Sequence[str]
    exclude_queues: Sequence[str]
    tolerations: Sequence[str]
    slots: int
    leases: int
    draining: bool
    unfit_functions: Sequence[str]  #: those that it has in another version than nodes here need, or cannot run


@dataclass(slots=True, kw_only=True)
class QueueInfo:
    """Tell how the nodes of one queue and taint stand."""

    queue: str
    taint: str
    ready: int = 0  #: whether they may be granted or not
    active: int = 0  #: leased, started or backing off
    workers: int = 0  #: connected ones that serve and tolerate it, draining ones left out
    paused: bool = False
    running_max: int = 0  #: 0: any number
    held: int = 0  #: of the ready ones


class Cause(NamedTuple):
    """The failed node that is the reason for a node without a value; it may be that node."""

    node_id: NodeId
    function: str
    attempts: int
    failure: Failure | None  #: the last; None where there was no attempt


class Outcome(NamedTuple):
    """Tell how a node has ended: by its value, or by the root cause of its having none."""

    node_id: NodeId
    state: NodeState
    values: Sequence[tuple[NodeId, bytes]] = ()  #: its payload, after those that it refers to
    cause: Cause | None = None


class Submitted(NamedTuple):
    """Name the instance that was started under a key before, and its first node."""

    instance_id: InstanceId
    node_id: NodeId


class Explanation(NamedTuple):
    """Tell what holds a node."""

    node: NodeInfo
    reasons: Sequence[Reason]  #: the most telling first


class FunctionCheck(NamedTuple):
    """Tell what keeps the nodes of a function from the connected workers."""

    reasons: Sequence[Reason]  #: empty where some worker takes them
    unsure_workers: Sequence[str]  #: names of those that do, where none of them has said which version it has


class FunctionCount(NamedTuple):
    """Tell how many nodes of an instance call a function."""

    function: str
    counts: Mapping[NodeState, int]  #: by state, those without nodes left out


class ShapeGroup(NamedTuple):
    """Tell of the nodes that call one function, and were made by nodes of one."""

    function: str
    maker: str  #: empty for calls from outside
    counts: Mapping[NodeState, int]  #: by state, those without nodes left out


@dataclass(frozen=True, slots=True)
class ShapeEdge:
    """Tell how many edges lead from nodes of a group to those of another, both by their places in the list."""

    source: int
    target: int
    is_call: bool  #: nodes of the source made them; else its values went into them
    count: int


class Shape(NamedTuple):
    """Hold the graph of an instance, folded; the groups in the order of their first nodes."""

    groups: Sequence[ShapeGroup]
    edges: Sequence[ShapeEdge]


@dataclass(slots=True, kw_only=True)
class NodeTimes:
    """Hold the nodes of a part of an instance in columns. Times are 0 where they are not known, or have not come."""

    began_at: float  #: when the instance was created
    revived_at: Sequence[float] = ()  #: when nodes of it began anew, after it had ended
    functions: dict[str, int] = field(default_factory=dict)  #: the names, each with its place
    workers: dict[str, int] = field(default_factory=lambda: {"": 0})  #: the same; the first stands for none
    node_ids: bytearray = field(default_factory=bytearray)  #: of all, one after the other
    numbers: list[int] = field(default_factory=list)
    function_places: list[int] = field(default_factory=list)
    worker_places: list[int] = field(default_factory=list)
    states: list[NodeState] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  #: by number; 0 for none
    dependency_counts: list[int] = field(default_factory=list)
    dependencies: list[int] = field(default_factory=list)  #: by number, of all nodes, one after the other
    labels: list[str] = field(default_factory=list)
    created_at: list[float] = field(default_factory=list)
    granted_at: list[float] = field(default_factory=list)
    started_at: list[float] = field(default_factory=list)
    returned_at: list[float] = field(default_factory=list)
    finished_at: list[float] = field(default_factory=list)
    #: Of the attempts before the last: the node, by number, its worker, and when it was granted, began and ended.
    attempt_numbers: list[int] = field(default_factory=list)
    attempt_worker_places: list[int] = field(default_factory=list)
    attempt_granted_at: list[float] = field(default_factory=list)
    attempt_started_at: list[float] = field(default_factory=list)
    attempt_ended_at: list[float] = field(default_factory=list)
    next_page_token: str = ""


class EventKind(Enum):
    """Name the things that watchers are told of."""

    INSTANCE_CREATED = "instance_created"  #: Somebody has started it.
    INSTANCE_CONTROLLED = "instance_controlled"  #: Its priority, pause or cap has changed.
    INSTANCE_REOPENED = "instance_reopened"  #: One that had ended goes on: a retry, a rerun, further calls.
    INSTANCE_FINISHED = "instance_finished"  #: It has ended, in the state that is told.
    INSTANCE_PRUNED = "instance_pruned"  #: It had ended, and is no more.
    NODES_CREATED = "nodes_created"  #: So many calls were made.
    NODES_RESET = "nodes_reset"  #: So many nodes begin anew.
    NODE_COMPLETED = "node_completed"  #: It has its value.
    NODE_FAILED = "node_failed"  #: It has no attempts left.
    NODE_DEPENDENCY_FAILED = "node_dependency_failed"  #: Something that it depends on will have no value.
    ATTEMPT_FAILED = "attempt_failed"  #: It raised, or took too long.
    ATTEMPT_LOST = "attempt_lost"  #: Its worker was lost.
    WORKER_JOINED = "worker_joined"  #: It has connected.
    WORKER_LEFT = "worker_left"  #: It has gone in order.
    WORKER_LOST = "worker_lost"  #: It has gone otherwise.
    WORKER_DRAINING = "worker_draining"  #: It takes no more nodes, and ends when those that it runs have.


class InstanceHappening(NamedTuple):
    """Tell what has happened to an instance."""

    kind: EventKind
    at: float
    instance_id: InstanceId
    definition: str
    state: InstanceState = InstanceState.RUNNING
    node_count: int = 0  #: where it is about nodes
    control: Control | None = None  #: where that has changed


class NodeHappening(NamedTuple):
    """Tell what has happened to a node."""

    kind: EventKind
    at: float
    instance_id: InstanceId
    node_id: NodeId
    function: str
    attempt: int = 0  #: 0 where it is about none
    worker: str = ""
    error_type: str = ""
    error_message: str = ""
    cause_id: NodeId | None = None


class WorkerHappening(NamedTuple):
    """Tell what has happened to a worker."""

    kind: EventKind
    at: float
    worker_id: WorkerId
    worker: str  #: its name; empty where that is not known
    instance_id: None = None  #: it has none


Happening = InstanceHappening | NodeHappening | WorkerHappening


class EventBatch(NamedTuple):
    """Hold what has happened after a cursor."""

    events: Sequence[tuple[str, Happening]]  #: each with its cursor
    cursor: str  #: for the next batch
    skipped: int = 0  #: so many before the cursor are not kept any more


class InstanceChange(NamedTuple):
    """Tell how an instance stands that has changed."""

    instance_id: InstanceId
    state: InstanceState | None  #: None: not known as yet
    counts: Mapping[NodeState, int]  #: of its nodes; empty: not known
    node_ids: Sequence[NodeId]  #: those that have changed, where they are named
    others: bool  #: further ones may have changed
    grown: bool  #: it has got nodes


class ChangeBatch(NamedTuple):
    """Hold what has changed after a cursor, once, as it stands."""

    instances: Sequence[InstanceChange]  #: in the order in which they changed last
    cursor: str  #: for the next batch
    workers: bool  #: workers have changed
    queues: bool  #: anything has that queues and limits depend on
    missed: bool  #: further instances have changed

    def __bool__(self) -> bool:
        """Return whether anything has changed."""
        return bool(self.instances or self.workers or self.queues or self.missed)


class LimitHolder(NamedTuple):
    """Tell of a node that holds a place of a limit."""

    instance_id: InstanceId
    node_id: NodeId
    function: str
    worker: str  #: empty where its worker is away
    granted_at: float


class LimitInfo(NamedTuple):
    """Tell how a limit stands."""

    key: str  #: of a cap, "queue NAME" or "instance ID"
    running_max: int  #: 0: any number
    in_use: int
    waiting: int
    rate_per_s: float  #: 0: any rate
    burst: int
    opens_at: float  #: when its rate lets the next node start; 0: now
    holders: Sequence[LimitHolder]  #: the first ones


class SettingInfo(NamedTuple):
    """Tell of a setting that the broker runs with."""

    name: str  #: the variable that sets it
    value: str  #: without secrets
    source: str  #: "command line", "environment" or "default"


class NodeArguments(NamedTuple):
    """Tell the arguments of a node, as `NodeInfo` has them."""

    arguments: bytes
    arguments_bytes: int
    parameters: str


class DefinitionInfo(NamedTuple):
    """Tell of a definition that connected workers have."""

    definition: AnnouncedDefinition  #: as the worker has told that connected last
    workers: Sequence[str]  #: names of all that have it


class HistoryEntry(NamedTuple):
    """Tell what somebody has done, or what happened to an instance as a whole."""

    at: float
    action: str
    by: str  #: empty: nobody, or it is not known
    instance_id: InstanceId | None  #: None: it was done to the subject
    subject: str
    details: str  #: an object of JSON


class Page(NamedTuple, Generic[T]):
    """Hold a part of a long list."""

    items: Sequence[T]
    next_token: str  #: asks for the page after it; empty on the last
