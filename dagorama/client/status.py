"""How instances, nodes, workers and queues stand, as this side of the port tells it: to people, and to our own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from dagorama.calls.previews import ValuePreview
from dagorama.states import InstanceState
from dagorama.why import Reason

#: The states of nodes after which nothing changes.
TERMINAL = frozenset({"completed", "failed", "dependency_failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A time in which an instance was over, before a retry or a rerun had nodes of it begin anew."""

    ended_at: datetime
    revived_at: datetime

    @property
    def duration_s(self) -> float:
        """Return how long it was over, in seconds."""
        return (self.revived_at - self.ended_at).total_seconds()


#: The definition that makes runs of workflows of files, and the tags that say of which.
WORKFLOW_RUN = "dagorama.workflows.running:RunWorkflow"
NAME_TAG, VERSION_TAG, FILE_TAG = "workflow", "workflow_version", "workflow_file"
DESCRIPTION_TAG = "workflow_description"
#: So many digits of a version are shown.
VERSION_CHARS = 8


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
    #: What it is started once under; empty for none.
    key: str
    #: What its starter has said of it, by name.
    tags: dict[str, str]
    #: Who started it, as that program has said, which proves nothing; empty where it has not.
    started_by: str = ""
    #: When it was over, before a retry or a rerun had nodes of it begin anew: that is no time that it took.
    pauses: tuple[Pause, ...] = ()
    #: Bytes that its large values come to, each counted once.
    held_bytes: int = 0

    @property
    def workflow(self) -> str:
        """Return the name of the workflow that it is a run of; empty for all else."""
        return self.tags.get(NAME_TAG, "") if self.definition == WORKFLOW_RUN else ""

    @property
    def title(self) -> str:
        """Return its name for people: that of its workflow, or of its definition."""
        return self.workflow or self.definition

    @property
    def own_tags(self) -> dict[str, str]:
        """Return the tags that its starter has given it, without the ones about its workflow."""
        told = (NAME_TAG, VERSION_TAG, FILE_TAG, DESCRIPTION_TAG) if self.workflow else ()
        return {name: value for name, value in self.tags.items() if name not in told}

    @property
    def workflow_version(self) -> str:
        """Return the first digits of the version of its workflow; empty for all else."""
        return self.tags.get(VERSION_TAG, "")[:VERSION_CHARS] if self.workflow else ""

    @property
    def workflow_description(self) -> str:
        """Return what its workflow says that it is, cut where that is long; empty for nothing."""
        return self.tags.get(DESCRIPTION_TAG, "") if self.workflow else ""

    @property
    def workflow_file(self) -> str:
        """Return the file that its workflow was read from; empty for none."""
        return self.tags.get(FILE_TAG, "") if self.workflow else ""

    @property
    def counted_from(self) -> datetime:
        """Return when it would have been created to take as long without having been over in between."""
        return self.created_at + timedelta(seconds=sum(pause.duration_s for pause in self.pauses))


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneStatus:
    """One attempt that gave a value, which is no more since its node began anew."""

    #: From 1, over the whole life of its node.
    number: int
    worker: str
    ended_at: datetime
    granted_at: datetime | None = None
    started_at: datetime | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStatus:
    """One attempt that gave no value."""

    #: From 1, over the whole life of its node.
    number: int
    worker: str
    ended_at: datetime
    #: The exception's type and message, and its traceback on the worker.
    type: str
    message: str
    traceback: str
    #: When its worker was granted it, when the function began, and how many seconds it took. None where none ran.
    granted_at: datetime | None = None
    started_at: datetime | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressStatus:
    """How far a running function says that it has got."""

    #: From 0 to 1.
    fraction: float
    #: Empty for none.
    message: str

    def __str__(self) -> str:
        """Show percent and message in one line."""
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
    #: Attempts started so far, in the whole life of the node: a retry or a rerun counts on, and a lost one counts too.
    attempts: int
    failures: tuple[AttemptStatus, ...]
    #: Name of the worker that holds the lease, or that ran the attempt which it has ended in; empty for none.
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

    #: Attempts that gave values which are no more, since it began anew.
    undone: tuple[UndoneStatus, ...] = ()
    #: When all that it depends on was there, or it began anew where that was later; None before.
    ready_at: datetime | None = None
    #: When `worker` was granted it; None where no attempt is under way and none has ended it.
    granted_at: datetime | None = None
    #: When the function began; while it runs, when it was granted.
    started_at: datetime | None = None
    #: How many seconds the function took; None while it runs, and where that is not known.
    duration_s: float | None = None
    #: What its decorator or its function calls it, for people; empty for none.
    label: str = ""
    #: Its arguments as a text; None where they are not to be shown, and where it was not asked for them.
    inputs: str | None = None
    #: What can be shown of its value; None where it has none or it is not to be shown, and in lists.
    value_preview: ValuePreview | None = None

    @property
    def failure(self) -> str:
        """Return the traceback of the last attempt that failed, empty for none."""
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
class LimitHolder:
    """A node that holds a place of a limit."""

    instance_id: UUID
    node_id: UUID
    function: str
    #: Name of its worker; empty while that is away.
    worker: str
    granted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus:
    """A limit, or a cap, at one moment."""

    #: As calls have it; of a cap, "queue NAME" or "instance ID".
    key: str
    #: How many may run at once; None for any number.
    running_max: int | None
    #: How many run, or were told to stop and have not yet.
    in_use: int
    #: How many ready nodes wait for it, as was seen when it was their turn.
    waiting: int
    #: How many may start in a second, and at once after a while; None for any number.
    rate_per_s: float | None
    burst: int | None
    #: When its rate lets the next one start; None for now.
    opens_at: datetime | None
    #: The nodes that hold its places: the first 100.
    holders: tuple[LimitHolder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSetting:
    """A setting that the broker runs with."""

    #: The variable of the environment that sets it.
    name: str
    #: Without passwords.
    value: str
    #: "command line", "environment" or "default".
    source: str


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
        """Tell each reason on a line of its own."""
        return "\n".join([self.function, *(f"  {reason.kind}: {reason.text}" for reason in self.reasons)])


class FunctionCheck(NamedTuple):
    """The broker's word on a function and the connected workers."""

    #: Empty where some worker would run it.
    reasons: tuple[Reason, ...]
    #: Who would, where none of them has told the broker which version it has: it may be another.
    unsure_workers: tuple[str, ...]


class Failed(NamedTuple):
    """How the last attempt of a node failed. Empty where there was none."""

    type: str = ""
    message: str = ""
    traceback: str = ""
    #: Payload of the exception itself; empty where it could not be encoded.
    exception: bytes = b""


class Cause(NamedTuple):
    """The failed node that is the reason for a node without a value; it may be that node."""

    node_id: bytes
    function: str
    attempts: int
    failure: Failed


class Outcome(NamedTuple):
    """How a node has ended: by its value, or by the root cause of its having none."""

    node_id: bytes
    state: str
    #: Node ids and payloads: its own, after those that it refers to.
    values: Sequence[tuple[bytes, bytes]] = ()
    #: None for a node that has completed.
    cause: Cause | None = None
