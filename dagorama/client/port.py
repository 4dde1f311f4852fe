"""The port of a process to its broker: each request once, and what answers them.

A request is a dataclass that names its call on the wire (`rpc`), and has a name for errors (`what`). All else follows
from it: the form that blocks and the one for event loops (`asking`), the message (`messages`), and its use case in the
broker's requests' room (`verb`), which an in-process broker calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.calls.edits import ArgumentsTold
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.ids import new_id
from dagorama.calls.large import ValueStore
from dagorama.client.changes import ChangeSet
from dagorama.client.counts import FunctionProgress
from dagorama.client.definitions import DefinitionInfo
from dagorama.client.events import EventBatch
from dagorama.client.history import HistoryEntry
from dagorama.client.log_lines import LogChunk
from dagorama.client.shape import InstanceShape
from dagorama.client.silence import Silence
from dagorama.client.status import (
    BrokerSetting,
    FunctionCheck,
    InstanceStatus,
    LimitStatus,
    NodeStatus,
    Outcome,
    QueueStatus,
    WorkerStatus,
)
from dagorama.client.steps import Deadline, Steps
from dagorama.client.times import TimesPage
from dagorama.options import InstanceOptions
from dagorama.settings import actor
from dagorama.why import Why

#: The broker gives no larger pages.
PAGE_SIZE = 1000

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Page(NamedTuple, Generic[T]):
    """A part of a long list."""

    items: Sequence[T]
    #: Asks for the page after it; empty on the last.
    next_token: str


class Submitted(NamedTuple):
    """The instance that was started under a key before, and its first node."""

    instance_id: bytes
    node_id: bytes


@dataclass(frozen=True)
class Request(Generic[T_co]):
    """Something that the broker answers with a `T_co` as soon as it can. It may be repeated."""

    rpc: ClassVar[str]
    #: In the words of the broker's use cases: "retry_instance" for "RetryInstance".
    verb: ClassVar[str]
    #: With the names of fields in braces; those that are ids appear as such.
    what: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Name the use case as the call."""
        cls.verb = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.rpc).lower()

    def __str__(self) -> str:
        """Say what is asked, for errors."""
        return self.what.format(**{name: _shown(value) for name, value in self.values().items()})

    def values(self) -> dict[str, object]:
        """Return the fields by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def _shown(value: object) -> object:
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == 16 else value


# -- changing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cancel(Request[None]):
    """Stop an instance. Refused for one that is not known or has ended."""

    rpc = "CancelInstance"
    what = "to cancel instance {instance_id}"

    instance_id: bytes
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class ControlInstance(Request[InstanceStatus]):
    """Change how an instance is run, and tell how it stands then. Refused for one that is not known or has ended.

    None leaves a thing as it is, and a `running_max` of 0 lifts the cap. Repeating it changes nothing.
    """

    rpc = "ControlInstance"
    what = "to control instance {instance_id}"

    instance_id: bytes
    priority: int | None = field(default=None, kw_only=True)
    paused: bool | None = field(default=None, kw_only=True)
    running_max: int | None = field(default=None, kw_only=True)
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class ControlQueue(Request[Sequence[QueueStatus]]):
    """Change how a queue is run, which need not be known, and tell how it stands then, by taint.

    None leaves a thing as it is, and a `running_max` of 0 lifts the cap. Repeating it changes nothing.
    """

    rpc = "ControlQueue"
    what = "to control queue {queue}"

    queue: str
    paused: bool | None = field(default=None, kw_only=True)
    running_max: int | None = field(default=None, kw_only=True)
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class Retry(Request[None]):
    """Let a failed instance go on from where it failed. Refused for one that is not known or has not failed."""

    rpc = "RetryInstance"
    what = "to retry instance {instance_id}"

    instance_id: bytes
    request_id: bytes = field(default_factory=new_id, kw_only=True)
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class Rerun(Request[Sequence[bytes]]):
    """Run a node of a finished instance again, and what its value went into; tell all nodes that begin anew.

    Refused for what is not known or has not ended.
    """

    rpc = "RerunNode"
    what = "to rerun node {node_id}"

    instance_id: bytes
    node_id: bytes
    request_id: bytes = field(default_factory=new_id, kw_only=True)
    by: str = field(default_factory=actor, kw_only=True)
    #: Other arguments, see `json_form`, and the same for people.
    edits: bytes = field(default=b"", kw_only=True)
    edits_shown: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Delete(Request[None]):
    """Remove an instance that has ended. Refused for one that is not known or runs."""

    rpc = "DeleteInstance"
    what = "to delete instance {instance_id}"

    instance_id: bytes
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class Prune(Request[Page[InstanceStatus]]):
    """Remove instances of a selection that have ended, newest first, page by page, and tell how they stood.

    A page may be empty and not the last.
    """

    rpc = "PruneInstances"
    what = "to prune instances"

    page_size: int
    page_token: str = ""
    #: How they ended, in small letters; none: in any way.
    states: Sequence[str] = ()
    #: "module:Class" or its end, such as "Class"; empty: any.
    definition: str = ""
    #: They ended before that, in seconds since the epoch; 0: at any time.
    ended_until: float = 0.0
    #: Only tell which they are.
    dry_run: bool = False
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class RetryNode(Request[None]):
    """Have a node that backs off be tried at once. Refused for one that is not known or does not back off."""

    rpc = "RetryNode"
    what = "to try node {node_id} at once"

    instance_id: bytes
    node_id: bytes
    by: str = field(default_factory=actor, kw_only=True)


@dataclass(frozen=True)
class DrainWorker(Request[None]):
    """Have a worker take no more nodes, and end. Refused for one that is not connected."""

    rpc = "DrainWorker"
    what = "to drain worker {worker_id}"

    worker_id: bytes
    by: str = field(default_factory=actor, kw_only=True)


# -- looking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GetInstance(Request[InstanceStatus]):
    """Tell how an instance stands."""

    rpc = "GetInstance"
    what = "a look at instance {instance_id}"

    instance_id: bytes


@dataclass(frozen=True)
class GetNode(Request[NodeStatus]):
    """Tell how a node stands."""

    rpc = "GetNode"
    what = "a look at node {node_id}"

    instance_id: bytes
    node_id: bytes


@dataclass(frozen=True)
class ListInstances(Request[Page[InstanceStatus]]):
    """Tell of instances, newest first, page by page: of all, or of a selection by the other fields.

    Of a selection a page may be empty and not the last.
    """

    rpc = "ListInstances"
    what = "the list of instances"

    page_size: int
    page_token: str = ""
    #: In small letters, such as "failed"; none: any.
    states: Sequence[str] = ()
    #: "module:Class" or its end, such as "Class"; empty: any.
    definition: str = ""
    #: Each of these is one of its tags.
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    #: When it was made, in seconds since the epoch: from the first on, and before the second; 0: any time.
    created_since: float = 0.0
    created_until: float = 0.0

    def is_chosen(self, status: InstanceStatus) -> bool:
        """Return whether an instance is of the selection. An earlier broker, which does not know it, gives all."""
        created_at = status.created_at.timestamp()  # rounded to microseconds
        return (
            (not self.states or status.state in self.states)
            and _is_end(self.definition, status.definition)
            and self.tags.items() <= status.tags.items()
            and (not self.key or status.key == self.key)
            and created_at > self.created_since - 1e-6
            and (not self.created_until or created_at < self.created_until + 1e-6)
        )


@dataclass(frozen=True)
class GetArguments(Request[ArgumentsTold]):
    """Tell the arguments of a node, so that it can be run again with others."""

    rpc = "GetArguments"
    what = "to tell the arguments of node {node_id}"

    instance_id: bytes
    node_id: bytes


@dataclass(frozen=True)
class ListNodes(Request[Page[NodeStatus]]):
    """Tell of nodes of an instance in creation order, page by page: of all, or of a selection by the other fields.

    Of a selection a page may be empty and not the last.
    """

    rpc = "ListNodes"
    what = "the nodes of instance {instance_id}"

    instance_id: bytes
    page_size: int
    page_token: str = ""
    #: In small letters, such as "dependency_failed"; none: any.
    states: Sequence[str] = ()
    #: One of these, "module:Class.method" or its end, such as "method"; none: any.
    functions: Sequence[str] = ()
    #: Whether to tell of their arguments, as far as these are short.
    with_inputs: bool = False
    #: The whole label; empty: any.
    label: str = ""

    def is_chosen(self, status: NodeStatus) -> bool:
        """Return whether a node is of the selection. An earlier broker, which does not know it, gives all."""
        return (
            (not self.states or status.state in self.states)
            and (not self.functions or any(_is_end(each, status.function) for each in self.functions))
            and (not self.label or status.label == self.label)
        )


def _is_end(wanted: str, name: str) -> bool:
    """Return whether a name, such as "module:Class.method", is wanted whole or by its end at a colon or dot."""
    return not wanted or name == wanted or name.endswith((f":{wanted}", f".{wanted}"))


@dataclass(frozen=True)
class CountNodes(Request[Sequence[FunctionProgress]]):
    """Tell how many nodes an instance has, by function and state."""

    rpc = "CountNodes"
    what = "to count the nodes of instance {instance_id}"

    instance_id: bytes


@dataclass(frozen=True)
class GetShape(Request[InstanceShape]):
    """Tell the graph of an instance, folded by function and maker's function."""

    rpc = "GetShape"
    what = "to tell the shape of instance {instance_id}"

    instance_id: bytes


@dataclass(frozen=True)
class ListTimes(Request[TimesPage]):
    """Tell the times of the nodes of an instance, in creation order; 0 is for as many as a page can have."""

    rpc = "ListTimes"
    what = "to list the times of instance {instance_id}"

    instance_id: bytes
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True)
class ListHistory(Request[Page[HistoryEntry]]):
    """Tell what was done, page by page: to an instance from its start on; else to a subject or all, newest first."""

    rpc = "ListHistory"
    what = "the history"

    page_size: int
    page_token: str = ""
    instance_id: bytes | None = None
    subject: str = ""

    def is_chosen(self, entry: object) -> bool:
        """Return whether an entry is asked for: each is."""
        return True


@dataclass(frozen=True)
class WatchEvents(Request[EventBatch]):
    """Tell what has happened after a cursor, as soon as there is something; with no cursor, the cursor of now."""

    rpc = "WatchEvents"
    what = "to watch events"

    after: str
    #: None for all.
    instance_id: bytes | None
    #: It is answered after so long where nothing has happened.
    wait_s: float


@dataclass(frozen=True)
class WatchChanges(Request[ChangeSet]):
    """Tell what has changed after a cursor, each thing once, as it stands; with no cursor, the cursor of now."""

    rpc = "WatchChanges"
    what = "to watch changes"

    after: str
    #: The changed nodes of these are to be told.
    instance_ids: Sequence[bytes]
    #: It is answered after so long where nothing has changed.
    wait_s: float


@dataclass(frozen=True)
class ListWorkers(Request[Sequence[WorkerStatus]]):
    """Tell who is connected, in the order in which they came."""

    rpc = "ListWorkers"
    what = "the list of workers"


@dataclass(frozen=True)
class ListDefinitions(Request[Sequence[DefinitionInfo]]):
    """Tell the definitions that the connected workers have told of: all, or any that end in a name."""

    rpc = "ListDefinitions"
    what = "the list of definitions"

    name: str = ""


@dataclass(frozen=True)
class ListLimits(Request[Sequence[LimitStatus]]):
    """Tell the limits and caps, with their holders, by how many nodes wait for them."""

    rpc = "ListLimits"
    what = "the list of limits"


@dataclass(frozen=True)
class ListSettings(Request[Sequence[BrokerSetting]]):
    """Tell the settings that the broker runs with."""

    rpc = "ListSettings"
    what = "the settings of the broker"


@dataclass(frozen=True)
class ListQueues(Request[Sequence[QueueStatus]]):
    """Tell what is ready and running, by queue and taint."""

    rpc = "ListQueues"
    what = "the list of queues"


@dataclass(frozen=True)
class CheckFunctions(Request[Sequence[FunctionCheck]]):
    """Tell for each function what would keep its nodes from every connected worker, in the same order."""

    rpc = "CheckFunctions"
    what = "to check functions"

    functions: Sequence[FunctionSpec]


@dataclass(frozen=True)
class WhyNot(Request[Why]):
    """Tell what holds a node; without one, the first node of the instance that has not ended."""

    rpc = "Why"

    instance_id: bytes
    node_id: bytes | None = None

    def __str__(self) -> str:
        """Say what is asked, for errors."""
        whose = f"node {UUID(bytes=self.node_id)}" if self.node_id else f"instance {UUID(bytes=self.instance_id)}"
        return f"to say why {whose} does not run"


@dataclass(frozen=True)
class ReadLogs:
    """Tell the next part of what an instance has printed, or one of its nodes, or attempts of this number.

    A reader who follows is answered when there is something, or when nothing further comes.
    """

    instance_id: bytes
    #: Empty for all; 0 for all.
    node_id: bytes = b""
    attempt: int = 0
    follow: bool = False
    #: The place after which to go on.
    after: int = 0

    def __str__(self) -> str:
        """Say what is asked, for errors."""
        whose = f"node {UUID(bytes=self.node_id)}" if self.node_id else f"instance {UUID(bytes=self.instance_id)}"
        return f"to read the logs of {whose}"


# -- who answers -------------------------------------------------------------------------------------------------------


class Broker(Protocol):
    """The counterpart of this process: it answers requests.

    Where the broker says no, `BrokerRefused` is raised, naming the request.
    """

    def ask(self, request: Request[T], deadline: Deadline | None = None) -> Steps[T]:
        """Return what the broker answers. At the deadline it is `BrokerUnavailable`."""
        ...

    def submit(
        self,
        instance_id: bytes,
        definition: str,
        calls: Sequence[CapturedCall],
        options: InstanceOptions,
        what: str,
        hooks: Sequence[HookCall] = (),
    ) -> Steps[Submitted | None]:
        """Make an instance, if it is new, with these options and hooks, and nodes in it.

        Return the other instance that was started under the key of the options, None where there is none. Raises
        `KeyConflict`.
        """
        ...

    def outcomes(
        self, instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None, silence: Silence
    ) -> Steps[Sequence[Outcome]]:
        """Wait until nodes have ended, not beyond the deadline (`ResultTimeout`); return outcomes in their order.

        There is one at least, and none after the first without a value. The rest is to be asked for again.
        """
        ...

    def have_ended(self, instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[bool]:
        """Tell whether all these nodes have ended by now."""
        ...

    def end(self, instance_id: bytes, deadline: Deadline | None, silence: Silence) -> Steps[InstanceStatus]:
        """Wait until the instance runs no longer, not beyond the deadline (`ResultTimeout`); return how it stands."""
        ...

    def changes(self, instance_id: bytes) -> Iterator[InstanceStatus]:
        """Yield how the instance stands now and after each change, until it is no longer running."""
        ...

    def read_logs(self, request: ReadLogs) -> Steps[LogChunk]:
        """Return the next part of what nodes have printed."""
        ...

    def values(self) -> ValueStore:
        """Return what keeps the large values in payloads."""
        ...

    def deadline(self, timeout_s: float) -> Deadline:
        """Return the deadline that is so long from now by the broker's clock."""
        ...
