"""The core's decisions. The durable events go to the journal, in order; the others only to the shells.

The journal reads only those fields of a node in an event that never change (see `Node`); all else that it needs stands
in the event itself, because the core may have moved on by the time the journal writes. The events that come with every
node are not frozen: freezing costs more than the rest of making one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagorama_broker.core.model.entities import Function, Instance, Node, Worker
from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import (
    Action,
    Control,
    FailedAttempt,
    InstanceId,
    LimitWord,
    NodeId,
    Note,
    PruneReason,
    QueueControl,
    Request,
    Run,
    WorkerId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceCreated:
    """A new instance, still without nodes. The journal reads only those fields of `instance` that never change."""

    instance: Instance
    control: Control = Control()  # noqa: RUF009 - a tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceControlled:
    """People have changed how an instance is to be run."""

    instance: Instance
    control: Control


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueControlled:
    """People have changed how a queue is to be run. Nothing need be kept of a queue that is back at the defaults."""

    queue: str
    control: QueueControl


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTaken:
    """Somebody has done this, to an instance or to something else; or an instance that goes on now had ended before.

    It changes nothing: it is for the history. The journal reads only the id and the number of the instance.
    """

    action: Action
    instance: Instance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanged:
    """A call gives the limit of its key another spec than earlier calls did. It holds after the call is gone, too."""

    key: str
    word: LimitWord


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReopened:
    """A finished instance runs again: it gets further nodes, or some of its nodes begin anew."""

    instance: Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFinished:
    """All nodes of the instance are terminal; the core has forgotten it."""

    instance: Instance
    state: InstanceState
    at: float
    counts: Mapping[NodeState, int] | None = None  #: how many of its nodes ended in which state; None: not known
    ends: int = 0  #: how often it has ended by now, if it has hooks
    lived_s: float = 0.0  #: lived time at its end, see `core.model.keeping`
    kept_until: float | None = None  #: lived time until which its own option keeps it; None: as the broker is set
    held_bytes: int = 0  #: of the large values that it refers to, each counted once


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesPruned:
    """Instances that had ended, and had left memory, are no more; their numbers are never given again.

    The journal shows nothing of them from here on but their tombstones. `Journal.sweep` removes the rest bit by bit.
    """

    instances: Sequence[EndedInstance]
    at: float
    lived_s: float
    reason: PruneReason
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeNoted:
    """So long the storage has been in use by now, see `core.model.keeping`."""

    at: float
    lived_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesCreated:
    """New nodes of one instance, in creation order, all in state waiting (to the journal ready is the same)."""

    nodes: Sequence[Node]
    labels: Sequence[str] = ()  #: of each node, for people, empty for none; no column where none has any
    inputs: Sequence[str] = ()  #: likewise, their arguments as text where they are not to be given out themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesNoted:
    """People are to be shown something else of these nodes. An empty text in a note leaves the one before."""

    notes: Sequence[tuple[Node, Note]]


@dataclass(slots=True, kw_only=True)
class NodeCompleted:
    """The node has its final value: `payload`, or the payload stored by `NodeJoining` before where that is None."""

    node: Node
    payload: bytes | None
    at: float
    run: Run | None = None  #: the attempt that gave the value; None where `NodeJoining` has told it
    source_seq: int = 0  #: for an alias, the node that its value comes from


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCompared:
    """The value of a node that has completed, having been run again, compared with the one before."""

    node: Node
    change: Change


@dataclass(slots=True, kw_only=True)
class NodeJoining:
    """The node's function returned promises that have not all completed.

    `payload` is None for an alias: the node's value will be that of the only promise. With a payload, the promises are
    the nodes that it refers to. A node that returns promises which are all complete goes through this state too.
    """

    node: Node
    payload: bytes | None
    promises: tuple[Node, ...]
    at: float = 0.0  #: when its attempt ended
    run: Run | None = None  #: that attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed. With `retry_at` the node backs off until then; else `NodeFailed` follows.

    Where a node failed while no attempt ran, `attempt` has the number and says why there was no further one.
    """

    node: Node
    attempt: FailedAttempt
    retry_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed:
    """The node has failed for good; the `AttemptFailed` before says of what."""

    node: Node
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyFailed:
    """Something that the node waits for ended without a value; `cause` is where that began."""

    node: Node
    cause: Node
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesCancelled:
    """All nodes of an instance that were live have been stopped on request."""

    nodes: Sequence[Node]
    at: float
    runs: Mapping[int, Run] = field(default_factory=dict)  #: of the nodes that were leased, by number


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost:
    """A worker was lost with the node in its hands, for the `losses`-th time; one that was only silent is not counted.

    Now the node is ready again, or quarantined soon.
    """

    node: Node
    attempt: FailedAttempt
    losses: int


class Reset(NamedTuple):
    """A node that begins anew: the function that it calls now, and whether it joins again with the value it returned.

    With `previous`, the digest of the value that it had, empty for none: it was to be run again. Its next value will be
    compared with that; any earlier comparison is void. With `arguments` it has these from now on. `tries` attempts
    of its whole life are over; the last gave the value that is no more, if it had one.
    """

    node: Node
    function: Function
    joins: bool
    previous: bytes | None = None
    arguments: bytes | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesRemoved:
    """Nodes are forgotten, because the nodes whose functions made these calls are run again and make new ones."""

    instance: Instance
    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesReset:
    """Nodes that had ended begin anew: waiting, or joining again, with no cause and no attempts that count.

    Their instance, which was reopened before, has no deadline any more. `request`, or None, takes the place of its
    earlier one. Leases up to `void_token` are over, even where a worker comes back with one.
    """

    instance: Instance
    resets: Sequence[Reset]
    at: float
    request: Request | None = None
    void_token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesStarted:
    """Nodes have been leased whose functions have their starts recorded. The grants come in the same batch."""

    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesHandedBack:
    """Nodes whose start was recorded were not started after all, or people would not wait for their backoffs: they are
    ready again.
    """

    nodes: Sequence[Node]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJoined:
    """A worker process has connected that was not known. After a restart its leases are waited for.

    Workers that pull come and go without: they cannot say after a restart what they hold.
    """

    worker_id: WorkerId
    name: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLeft:
    """A worker process has gone, in order or not."""

    worker_id: WorkerId
    name: str = ""
    lost: bool = False  #: its connection broke, it was silent, or it did not come back after a restart


DurableEvent = (
    InstanceCreated
    | InstanceControlled
    | QueueControlled
    | ActionTaken
    | LimitChanged
    | InstanceReopened
    | InstanceFinished
    | InstancesPruned
    | LifeNoted
    | NodesCreated
    | NodesNoted
    | NodeCompleted
    | ValueCompared
    | NodeJoining
    | AttemptFailed
    | NodeFailed
    | DependencyFailed
    | NodesCancelled
    | LeaseLost
    | NodesReset
    | NodesRemoved
    | NodesStarted
    | NodesHandedBack
    | WorkerJoined
    | WorkerLeft
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkGranted:
    """Nodes that a worker may run now, each with its fencing token."""

    worker: Worker
    leases: Sequence[tuple[Node, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerWelcomed:
    """A worker is connected, and goes on with these of the nodes it held, under these new fencing tokens."""

    worker: Worker
    leases: Sequence[tuple[Node, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallRequested:
    """Others are idle: the worker is asked for the nodes, among these, that it has not started."""

    worker: Worker
    leases: Sequence[tuple[Node, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesRevoked:
    """A worker's leases on these nodes have ended before it reported: it is to stop running them."""

    worker: Worker
    leases: Sequence[tuple[Node, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRefused:
    """A result changed nothing, because the lease that it names is not live."""

    worker_id: WorkerId
    node_id: NodeId
    presented: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDrained:
    """No connected worker can bring anything further, so nothing can come for this one.

    `mismatch` is a function, with its code version, that nodes are left of and that this worker has in another version.
    """

    worker: Worker
    mismatch: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDraining:
    """A worker takes no more nodes: people want that, so it is to be told, or it has said so itself."""

    worker: Worker
    at: float
    is_asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvicted:
    """The worker was silent for a lease duration."""

    worker: Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRepeated:
    """The request was done before. These nodes of the instance, which may have left memory, began anew then."""

    instance: Instance
    seqs: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRepeated:
    """Nothing was made: this instance was started under the key before, with this first node."""

    instance_id: InstanceId
    node_id: NodeId


VolatileEvent = (
    WorkGranted
    | WorkerWelcomed
    | RecallRequested
    | LeasesRevoked
    | ResultRefused
    | RequestRepeated
    | StartRepeated
    | WorkerDrained
    | WorkerDraining
    | WorkerEvicted
)

Event = DurableEvent | VolatileEvent
