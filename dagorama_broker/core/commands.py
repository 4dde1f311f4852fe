"""The commands: all that can be asked of the core. `Scheduler.handle` takes one of these and the time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import (
    AnnouncedDefinition,
    Failure,
    HookCall,
    InstanceId,
    Keep,
    KnownStart,
    NewCall,
    NodeId,
    Progress,
    PruneReason,
    RequestId,
    Start,
    Tags,
    WorkerId,
)


class Command:
    """One thing that the core can be asked. `Scheduler` has a row for each."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """How an instance is to be run; read when it is made."""

    priority: int = 0  #: higher ones go first; equal ones in the order in which they were made
    group: str = ""  #: it shares the workers' time fairly with instances of other groups
    running_max: int = 0  #: so many of its nodes may run at once; 0: any number
    deadline_s: float = 0.0  #: how long after its start it is to have ended; 0: no limit
    tags: Tags = ()  #: names and values for people, sorted by name
    key: str = ""  #: what it is started once under; empty: none
    keep: Keep | None = None  #: for how long it is kept after its end; None: as the broker is set
    definition_digest: bytes = b""  #: for the body of a start under a key; empty: that of the payload
    arguments_digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitNodes(Command):
    """Make an instance, where the id is new, and nodes in it. Repeating it is a no-op.

    With a `start`, nothing is made where another instance was started under the key: `known`, where that has left
    memory. Raises `ConflictingNode`, `DuplicateCall`, `UnknownDependency`, `ConflictingKey`, `TooManyCalls`,
    `TooManyNodes` or `TooManyBytes`.
    """

    instance_id: InstanceId
    definition: str
    calls: Sequence[NewCall]
    options: InstanceOptions = InstanceOptions()
    start: Start | None = None
    known: KnownStart | None = None
    hooks: tuple[HookCall, ...] = ()  #: read when the instance is made
    by: str = ""  #: who asks, for people; so it is in all commands that they give


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """A node and the fencing token under which a worker holds, or held, it."""

    node_id: NodeId
    token: int
    instance_id: InstanceId | None = (
        None  #: only where the token may be that of an earlier connection, or none is known
    )
    held_s: float = 0.0  #: the same: for how long the worker has had the node; 0: it does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectWorker(Command):
    """Take a worker in, or take it in again over a new connection with what it still holds."""

    worker_id: WorkerId
    name: str
    include_queues: frozenset[str] = frozenset()  #: empty: all
    exclude_queues: frozenset[str] = frozenset()
    tolerations: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()  #: only functions of these and of modules inside them; empty: of all
    versions: Sequence[tuple[str, str]] = ()  #: functions, and the only code version in which it takes each
    slots: int = 1  #: 0: it has no stream that grants could be sent over, and asks for each node with `PullNode`
    held: Sequence[HeldLease] = ()
    exit_when_drained: bool = False
    definitions: tuple[AnnouncedDefinition, ...] = ()  #: those that it tells of
    exit_when_mismatched: bool = False  #: the same, but only where nodes are left that it has in another version


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectWorker(Command):
    """Take all leases of a worker back. Where it `left` in order that is no fault of the nodes it held."""

    worker_id: WorkerId
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseWorker(Command):
    """Take down that a worker's process has ended, and how, from its supervisor. It may have been let go by then."""

    worker_id: WorkerId
    how: str  #: such as "it was killed by SIGSEGV"
    is_loss: bool = True  #: False: it was ended on purpose, so what it held is not to blame


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Command):
    """The worker lives: its leases are good for another lease duration."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportProgress(Command):
    """Remember how far the attempts under these tokens have got, until they end. Stale tokens are ignored."""

    worker_id: WorkerId
    progress: Sequence[tuple[int, Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNodes(Command):
    """Label the nodes that a worker runs under these tokens. Stale tokens are ignored."""

    worker_id: WorkerId
    labels: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceDefinitions(Command):
    """Remember the definitions that a worker tells of, in the place of those before."""

    worker_id: WorkerId
    definitions: tuple[AnnouncedDefinition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainWorker(Command):
    """Grant nothing further to this worker; where people ask for it, have it told to end. Raises `UnknownWorker`."""

    worker_id: WorkerId
    is_asked: bool = False  #: by people; else the worker itself says that it takes no more
    by: str = ""


@dataclass(slots=True, kw_only=True)
class NodeResult:
    """How one attempt ended: with a payload, an alias or a failure."""

    node_id: NodeId
    token: int
    payload: bytes | None = None
    alias_id: NodeId | None = None
    failure: Failure | None = None
    promise_ids: Sequence[NodeId] = ()
    children: Sequence[NewCall] = ()
    duration_s: float = 0.0
    waited_s: float = 0.0  #: how long before this was written it ended
    #: Of large values in it, by digests, as its worker tells them: the first call that has one, from 1, or 0 for the
    #: payload alone, and the path in that.
    places: Mapping[bytes, tuple[int, str]] | None = None


#: An attempt that gave a value without promises and made no calls: node, token, payload, duration in seconds, and how
#: many seconds before this was written it ended, if it was before. Most are like that, so it is no more than a tuple.
Completion = tuple[NodeId, int, bytes, float] | tuple[NodeId, int, bytes, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteNodes(Command):
    """Take the results of a worker, each with the children that its function made. Stale ones are refused, singly."""

    worker_id: WorkerId
    results: Sequence[NodeResult] = ()
    completions: Iterable[Completion] = ()
    clock_s: float = 0.0  #: the worker's as it wrote this, from any moment on; 0: it does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class HandBack(Command):
    """Take back leases on nodes that the worker has not started, or has stopped running after they were revoked.

    One that pulls knows no tokens. With 0 for the token it says of a node that it has reported what it had of it.
    """

    worker_id: WorkerId
    leases: Sequence[HeldLease]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullNode(Command):
    """Grant this worker the first node that it may run, now, if there is one. It is also a heartbeat."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectVersion(Command):
    """Take back a lease, because the worker has the function in this version; it is granted no more such nodes."""

    worker_id: WorkerId
    lease: HeldLease
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectUnable(Command):
    """Take back a lease, because the worker lacks what it takes to run the node; it is granted no more such nodes."""

    worker_id: WorkerId
    lease: HeldLease
    problem: str  #: what it lacks, for people
    lacks: str = ""  #: names that, where not every node of the function needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelInstance(Command):
    """Stop an instance: its nodes that have not started never do, and its nodes that run lose their leases.

    Raises `UnknownInstance`, also for one that has ended and so left memory, or `InstanceEnded`.
    """

    instance_id: InstanceId
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryInstance(Command):
    """Let a failed instance go on from where it failed, in the version of the code that workers have now.

    Restore it first if it has left memory. Repeating it by the same id is a no-op. Raises `UnknownInstance`,
    `UnfitInstance`, `NodeInUse` or `ConflictingRequest`.
    """

    instance_id: InstanceId
    request_id: RequestId | None = None  #: None: it is not repeated
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunNode(Command):
    """Run a node of a finished instance again, and all that its value went into.

    The calls that these nodes made are forgotten, since they make new ones. Restore the instance first if it has left
    memory. Repeating it by the same id is a no-op. Raises `UnknownInstance`, `UnknownNode`, `UnfitInstance`,
    `NodeInUse` or `ConflictingRequest`.
    """

    instance_id: InstanceId
    node_id: NodeId
    request_id: RequestId | None = None  #: None: it is not repeated
    by: str = ""
    edits: bytes = b""  #: what is put before the payload of its arguments
    edits_shown: str = ""  #: the same for people


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneInstances(Command):
    """Remove instances that have ended and left memory, as the journal has them now, and note lived time.

    Instances in memory are left out and, where the reason is age, also those to be kept for longer. No instance may be
    brought back between the reading of the journal and this command.
    """

    reason: PruneReason
    instances: Sequence[EndedInstance] = ()  #: filled in by the host, which locks them before it reads them
    by: str = ""
    asked: tuple[tuple[str, object], ...] = ()  #: what was asked for, for the history, where many go by request


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNode(Command):
    """Have a node that backs off be ready now. Raises `UnknownInstance`, `UnknownNode` or `UnfitNode`."""

    instance_id: InstanceId
    node_id: NodeId
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlInstance(Command):
    """Change the priority of an instance, pause it or let it go on, or cap it; None leaves a thing as it is.

    Workers finish the nodes that they have begun, and are asked for the rest of their grants. Raises `UnknownInstance`,
    also for one that has ended and so left memory, or `InstanceEnded`.
    """

    instance_id: InstanceId
    priority: int | None = None
    paused: bool | None = None
    running_max: int | None = None  #: 0: any number
    by: str = ""

    @property
    def wanted(self) -> str:
        """Return what it is to do, for the message that says that it cannot be done."""
        words = []
        if self.paused is not None:
            words.append("paused" if self.paused else "resumed")
        if self.priority is not None:
            words.append("given another priority")
        if self.running_max is not None:
            words.append("capped")
        return " and ".join(words) or "controlled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlQueue(Command):
    """Pause a queue or let it go on, or cap it; None leaves a thing as it is. The queue need not be known."""

    queue: str
    paused: bool | None = None
    running_max: int | None = None  #: 0: any number
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWork(Command):
    """Grant ready nodes to workers that may run them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginGrace(Command):
    """Count from now on the time in which the workers from before a restart may come back: now they can connect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Command):
    """Do all that has become due. `Scheduler.next_wakeup` tells when that is."""

    late_s: float = 0.0  #: for how long nothing was heard: the broker was stopped or held up, its machine suspended
