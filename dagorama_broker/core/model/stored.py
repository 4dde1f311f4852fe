"""The journal's view: instances and nodes as they were last committed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.values import (
    Action,
    Control,
    FailedAttempt,
    FunctionSpec,
    HookCall,
    InstanceId,
    Keep,
    LimitWord,
    NodeId,
    Note,
    Pause,
    PruneReason,
    QueueControl,
    Request,
    Run,
    Start,
    Tags,
    UndoneAttempt,
    WorkerId,
)


@dataclass(slots=True, kw_only=True)
class StoredNode:
    """A node as it was last committed. Of the live states storage tells only waiting (which stands for ready and leased
    too, as both are memory only), started (leased, for functions whose starts are recorded), joining and backoff.
    """

    seq: int
    id: NodeId
    function: FunctionSpec
    parent_seq: int
    arguments: bytes
    dependency_seqs: tuple[int, ...]
    limit_keys: tuple[str, ...] = ()
    created_at: float
    state: NodeState = NodeState.WAITING
    finished_at: float = 0.0
    run: Run | None = None  #: the attempt that gave its value, or that was cancelled; None for none that is known
    attempts: int = 0
    losses: int = 0
    tries: int = 0  #: attempts in all its life that have ended without a value, or have a value that a rerun undid
    retry_at: float = 0.0
    waiting_since: float = 0.0  #: for waiting nodes that were reset, or handed back, when that was; 0 for others
    payload: bytes | None = None
    payload_bytes: int = 0  #: its size, also where it was not read
    promise_seqs: tuple[int, ...] = ()  #: with no payload: the one node that this is an alias of
    source_seq: int = 0  #: for a completed alias, the node that its value comes from; 0: follow `promise_seqs`
    cause_seq: int = 0  #: for unsuccessful nodes
    note: Note | None = None
    arguments_bytes: int = 0  #: their size, also where they were not read
    failures: list[FailedAttempt] = field(default_factory=list)
    undone: list[UndoneAttempt] = field(default_factory=list)  #: those whose values a rerun, or a retry, undid
    previous: bytes | None = None  #: digest of the value before the last rerun, empty for none; None: no rerun
    change: Change | None = None  #: how its value compares with that; None while it has none


@dataclass(slots=True, kw_only=True)
class StoredInstance:
    """An instance as it was last committed."""

    seq: int
    id: InstanceId
    definition: str
    state: InstanceState
    created_at: float
    finished_at: float = 0.0
    deadline_at: float = 0.0
    group: str = ""
    control: Control = Control()  # noqa: RUF009 - a tuple
    request: Request | None = None
    void_token: int = 0  #: the last fencing token that was given before nodes of it began anew
    start: Start | None = None  #: where it has a key
    tags: Tags = ()
    hooks: tuple[HookCall, ...] = ()
    ends: int = 0  #: how often it has ended, if it has hooks
    started_by: str = ""
    keep: Keep | None = None  #: None: as the broker is set
    pauses: tuple[Pause, ...] = ()
    nodes: list[StoredNode] = field(default_factory=list)  #: in creation order
    #: How many nodes it has in each state, where `nodes` has only some of them, all of which have ended.
    counts: dict[NodeState, int] | None = None
    held_bytes: int = 0  #: of the large values that it refers to, each counted once; 0 where it runs
    held: Collection[bytes] = ()  #: with `counts`, some of these that are not counted again, by their digests


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSummary:
    """An instance without its nodes."""

    seq: int
    id: InstanceId
    definition: str
    state: InstanceState
    created_at: float
    finished_at: float
    deadline_at: float = 0.0
    counts: dict[NodeState, int]
    group: str = ""
    control: Control = Control()  # noqa: RUF009 - a tuple
    key: str = ""  #: empty: none
    tags: Tags = ()
    started_by: str = ""
    pauses: tuple[Pause, ...] = ()  #: when it was over, before nodes of it began anew
    held_bytes: int = 0  #: of its large values, each counted once; 0 where it runs and was read from the journal


class Lived(NamedTuple):
    """How long a storage had been in use at some time, see `core.model.keeping`."""

    at: float  #: wall time then
    lived_s: float


class EndedInstance(NamedTuple):
    """An instance that has ended, with what decides for how long it is kept."""

    seq: int
    id: InstanceId
    definition: str
    state: InstanceState
    finished_at: float
    ended_on: float = 0.0  #: lived time at its end
    kept_until: float | None = None  #: lived time until which its own option keeps it; None: as the broker is set
    key: str = ""  #: that it was started once under; empty: none


class Tombstone(NamedTuple):
    """The remains of an instance that was pruned."""

    id: InstanceId
    definition: str
    state: InstanceState
    finished_at: float
    pruned_at: float
    reason: PruneReason
    by: str = ""  #: who wanted that, where somebody has said so
    key: str = ""


class Usage(NamedTuple):
    """The room that a storage takes, in bytes."""

    used: int
    free: int  #: that it has on the disk and does not use
    gives_back: bool = True  #: whether that can be given back to the file system


class StoredAction(NamedTuple):
    """An action as it was stored."""

    seq: int  #: grows
    action: Action
    instance_id: InstanceId | None  #: None: it was done to something else


class StoredEnd(NamedTuple):
    """The state of a node as it was stored, and when it ended."""

    id: NodeId
    state: NodeState
    finished_at: float  #: 0: not yet


class NodeCounts(NamedTuple):
    """The numbers of nodes of a part of an instance."""

    #: By function's name, in the order in which its first node was made, and by state.
    counts: dict[str, dict[NodeState, int]]
    seq_last: int  #: of the last node of the part; 0 where there is none


class ShapePart(NamedTuple):
    """The numbers of nodes and edges of a part of an instance, folded.

    A group of nodes is the name of their function, and that of the function whose nodes made them, empty for none.
    """

    #: In the order in which the first node of each was made.
    counts: dict[tuple[str, str], dict[NodeState, int]]
    #: By the groups at both ends, and whether the first made the call; else its value went into the second.
    edges: dict[tuple[tuple[str, str], tuple[str, str], bool], int]
    seq_last: int  #: of the last node of the part; 0 where there is none


#: So many attempts of a node are told with its times.
ATTEMPTS_TOLD_MAX = 20


class StoredTimes(NamedTuple):
    """When things happened to a node, as it was last committed; times that have not come are 0."""

    seq: int
    id: NodeId
    function: str
    parent_seq: int
    dependency_seqs: Sequence[int]
    label: str
    created_at: float
    state: NodeState  #: as in `StoredNode`
    finished_at: float
    run: Run | None  #: the last attempt: of a failed node the one that failed it
    attempts: Sequence[Run] = ()  #: those before it that gave no value, the latest `ATTEMPTS_TOLD_MAX`, oldest first


#: So many ids of instances a broker knows from its start, in about a megabyte: clocks of clients may differ by the time
#: in which so many instances begin, and so many may have ids that are none of a time.
INSTANCE_IDS_MAX = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state that a broker starts from."""

    epoch: int  #: how often this storage has been opened by a broker, this time included
    instance_seq_last: int  #: highest ever given, 0 for none
    node_seq_last: int  #: the same, also where that node has been removed since
    instance_ids_last: tuple[InstanceId, ...] = ()  #: the greatest, in any order: all, or `INSTANCE_IDS_MAX` of them
    instances: list[StoredInstance]  #: those that run, in creation order, with all their nodes
    lived: Lived | None = None  #: as it was noted last; None: the storage is new
    workers: dict[WorkerId, str]  #: those that had not left, with their names
    queues: dict[str, QueueControl] = field(default_factory=dict)  #: those that people want otherwise
    limits: dict[str, LimitWord] = field(
        default_factory=dict
    )  #: by key, the last words that differed from those before


class ValueUse(NamedTuple):
    """A part of a node that refers to a value of the value store."""

    instance_seq: int
    node_seq: int  #: 0: it is for the instance itself
    part: str  #: "arguments", "result", "definition", "exception" or "hook"
    digest: bytes
    size: int  #: of the value, in bytes
