"""How instances, nodes, workers and queues stand, for those who show it to people: made of what the broker tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from dagorama.capture import FunctionSpec
from dagorama.states import InstanceState
from dagorama.v1 import dag_pb2, graph_pb2
from dagorama.v1.graph_pb2 import NodeState
from dagorama.why import Reason, Why


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """An instance at one moment. States are in small letters, such as "running" and "dependency_failed"."""

    instance_id: UUID
    #: "module:Class" of the definition.
    definition: str
    state: InstanceState
    created_at: datetime
    #: None while it runs.
    finished_at: datetime | None
    #: When whatever of it has not ended fails; None for never.
    deadline_at: datetime | None
    #: How many nodes are in a state; states without nodes are left out.
    counts: dict[str, int]
    #: Workers take nodes of instances with a higher one first.
    priority: int
    #: With whose instances it shares the workers' time; empty for none.
    group: str
    #: Whether workers are to take none of its nodes.
    paused: bool
    #: How many of its nodes may run at once; None for any number.
    running_max: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStatus:
    """One attempt that gave no value."""

    #: From 1.
    number: int
    worker: str
    ended_at: datetime
    #: The exception's type and message, and its traceback on the worker.
    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressStatus:
    """How far a running function says that it has got."""

    #: From 0 to 1.
    fraction: float
    #: Empty for none.
    message: str

    def __str__(self) -> str:
        """Shows percent and message in one line."""
        return " ".join([f"{self.fraction:.0%}", *self.message.split()])


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node at one moment."""

    node_id: UUID
    instance_id: UUID
    function: str
    queue: str
    #: Empty for none.
    taint: str
    state: str
    dependency_ids: tuple[UUID, ...]
    #: The node whose function made this call; None for calls from outside.
    parent_id: UUID | None
    #: Attempts started so far.
    attempts: int
    failures: tuple[AttemptStatus, ...]
    #: Name of the worker that holds the lease, empty for none.
    worker: str
    created_at: datetime
    #: None until it has ended.
    finished_at: datetime | None
    #: When a node that backs off may run again; None for others.
    retry_at: datetime | None
    #: The node that failed, for this one and for what depends on it; None where nothing has.
    cause_id: UUID | None
    #: What the running function told last; None where it told nothing, and once the attempt has ended.
    progress: ProgressStatus | None

    #: What the last rerun that it was part of has changed: "same", "changed", "new"; empty for nothing as yet.
    change: str

    @property
    def failure(self) -> str:
        """The traceback of the last attempt that failed, empty for none."""
        return self.failures[-1].traceback if self.failures else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A connected worker process at one moment."""

    worker_id: UUID
    name: str
    #: Empty: all.
    include_queues: tuple[str, ...]
    exclude_queues: tuple[str, ...]
    tolerations: tuple[str, ...]
    #: How many nodes it runs at once, and how many it has, started or not.
    slots: int
    leases: int
    draining: bool
    #: Functions that it has in another version than nodes here need.
    unfit_functions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """The nodes of one queue and taint at one moment."""

    queue: str
    #: Empty for none.
    taint: str
    #: How many are ready, held or not, and how many run or back off.
    ready: int
    active: int
    #: How many connected workers take them, draining ones left out.
    workers: int
    #: Whether workers are to take nothing of the queue.
    paused: bool
    #: How many of the queue's nodes may run at once, whatever their taint; None for any number.
    running_max: int | None
    #: How many of the ready ones a pause holds, or a limit that was full when it was their turn.
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatus:
    """Whether some connected worker would run a function at one moment. `str` of it is for people."""

    function: str
    code_version: str
    queue: str
    #: Empty for none.
    taint: str
    #: Empty where some worker would.
    reasons: tuple[Reason, ...]
    #: Who would, where none of them has told the broker which version it has: it may be another.
    unsure_workers: tuple[str, ...]

    def __str__(self) -> str:
        """Tells each reason on a line of its own."""
        return "\n".join([self.function, *(f"  {reason.kind}: {reason.text}" for reason in self.reasons)])


# -- messages to what stands above -------------------------------------------------------------------------------------


def why_in(response: dag_pb2.WhyResponse) -> Why:
    """Returns what a broker has answered about a node."""
    return Why(
        instance_id=UUID(bytes=response.node.instance_id),
        node_id=UUID(bytes=response.node.node_id),
        function=response.node.function,
        state=_state_name(response.node.state),
        reasons=tuple(map(_reason, response.reasons)),
    )


def _reason(message: dag_pb2.Reason) -> Reason:
    return Reason(
        kind=message.kind,
        text=message.text,
        node_ids=_ids(message.node_ids),
        workers=tuple(message.workers),
        until=_moment(message.until),
        expected_at=_moment(message.expected_at),
        because=tuple(map(_reason, message.because)),
    )


def instance_status(info: dag_pb2.InstanceInfo) -> InstanceStatus:
    """Returns an instance as the broker tells of it."""
    return InstanceStatus(
        instance_id=UUID(bytes=info.instance_id),
        definition=info.definition,
        state=instance_state(info.state),
        created_at=_time(info.created_at),
        finished_at=_moment(info.finished_at),
        deadline_at=_moment(info.deadline_at),
        counts={_state_name(count.state): count.count for count in info.counts},
        priority=info.priority,
        group=info.group,
        paused=info.paused,
        running_max=info.running_max or None,
    )


def node_status(info: dag_pb2.NodeInfo) -> NodeStatus:
    """Returns a node as the broker tells of it."""
    return NodeStatus(
        node_id=UUID(bytes=info.node_id),
        instance_id=UUID(bytes=info.instance_id),
        function=info.function,
        queue=info.queue,
        taint=info.taint,
        state=_state_name(info.state),
        dependency_ids=_ids(info.dependency_ids),
        parent_id=_id(info.parent_id),
        attempts=info.attempts,
        failures=tuple(map(_attempt_status, info.failures)),
        worker=info.worker,
        created_at=_time(info.created_at),
        finished_at=_moment(info.finished_at),
        retry_at=_moment(info.retry_at),
        cause_id=_id(info.cause_id),
        change=dag_pb2.Change.Name(info.change).removeprefix("CHANGE_").lower() if info.change else "",
        progress=_progress_status(info.progress) if info.HasField("progress") else None,
    )


def _progress_status(message: dag_pb2.Progress) -> ProgressStatus:
    return ProgressStatus(fraction=message.fraction, message=message.message)


def _attempt_status(info: dag_pb2.AttemptInfo) -> AttemptStatus:
    return AttemptStatus(
        number=info.number,
        worker=info.worker,
        ended_at=_time(info.ended_at),
        type=info.failure.type,
        message=info.failure.message,
        traceback=info.failure.traceback,
    )


def worker_status(info: dag_pb2.WorkerInfo) -> WorkerStatus:
    """Returns a worker as the broker tells of it."""
    return WorkerStatus(
        worker_id=UUID(bytes=info.worker_id),
        name=info.name,
        include_queues=tuple(info.include_queues),
        exclude_queues=tuple(info.exclude_queues),
        tolerations=tuple(info.tolerations),
        slots=info.slots,
        leases=info.leases,
        draining=info.draining,
        unfit_functions=tuple(info.unfit_functions),
    )


def queue_status(info: dag_pb2.QueueInfo) -> QueueStatus:
    """Returns a queue as the broker tells of it."""
    return QueueStatus(
        queue=info.queue,
        taint=info.taint,
        ready=info.ready,
        active=info.active,
        workers=info.workers,
        paused=info.paused,
        running_max=info.running_max or None,
        held=info.held,
    )


def function_status(function: FunctionSpec, check: dag_pb2.FunctionCheck) -> FunctionStatus:
    """Returns a function with what the broker says of it and the workers."""
    return FunctionStatus(
        function=function.name,
        code_version=function.code_version,
        queue=function.queue,
        taint=function.taint,
        reasons=tuple(map(_reason, check.reasons)),
        unsure_workers=tuple(check.unsure_workers),
    )


def instance_state(state: graph_pb2.InstanceState.ValueType) -> InstanceState:
    """Returns the state of an instance as users see it."""
    return InstanceState(graph_pb2.InstanceState.Name(state).removeprefix("INSTANCE_STATE_").lower())


def _state_name(state: NodeState.ValueType) -> str:
    return NodeState.Name(state).removeprefix("NODE_STATE_").lower()


def _ids(raw: Sequence[bytes]) -> tuple[UUID, ...]:
    return tuple(UUID(bytes=one) for one in raw)


def _id(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if raw else None


def _time(seconds: float) -> datetime:
    """Returns a time; the first or the last that there is for what is beyond, so that one does not hide all others."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return (datetime.min if seconds < 0 else datetime.max).replace(tzinfo=UTC)


def _moment(seconds: float) -> datetime | None:
    return _time(seconds) if seconds else None
