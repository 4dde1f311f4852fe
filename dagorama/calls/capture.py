"""Captured calls: the traces of decorated calls, inside a running node or on their way to the broker."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # for types alone: a retry policy brings protobuf along
    from logging import LogRecord

    from dagorama.calls.large import ValueStore
    from dagorama.errors import PromiseMisuse
    from dagorama.limits import Limit
    from dagorama.retry import RetryConfiguration


@dataclass(frozen=True, slots=True, eq=False)
class FunctionSpec:
    """The properties that all calls of a decorated function share. There is one object per function and definition."""

    #: "module:Qualified.name".
    name: str
    #: Digest over the function's code.
    code_version: str
    queue: str
    #: Empty for none.
    taint: str
    retry: RetryConfiguration | None
    #: Payload of the constructor arguments of the definition, `(args, kwargs)`; empty for none.
    definition_arguments: bytes
    #: Longest time that an attempt may take; 0 for no limit.
    timeout_s: float = 0.0
    limits: tuple[Limit, ...] = ()
    #: Longest time that a node may be ready before a worker takes it; 0 for no limit.
    start_timeout_s: float = 0.0
    #: An attempt that is cut off fails the node, instead of being followed by another.
    at_most_once: bool = False
    #: The versions that calls made inside are to have: see `dagorama.calls.release`; empty: those of the caller.
    release: str = ""
    #: The names of its parameters, for those who look at arguments: see `dagorama.calls.showing`.
    parameters: str = ""
    #: Whether the broker may give arguments to people who look.
    shows_inputs: bool = False


class CapturedCall(NamedTuple):
    """One decorated call: a node to be."""

    node_id: bytes
    function: FunctionSpec
    #: Payload of `(args, kwargs)`.
    arguments: bytes
    #: Each promise in the arguments, once.
    dependency_ids: tuple[bytes, ...]
    #: One for each limit of the function.
    limit_keys: tuple[str, ...] = ()
    #: A text for people; empty for none.
    label: str = ""
    #: The arguments as a text for people, where they are not to be given out themselves; empty for none.
    inputs: str = ""


#: Makes one of all its fields; the class itself takes twice as long.
captured_call: Callable[[tuple[object, ...]], CapturedCall] = partial(tuple.__new__, CapturedCall)


class Process:
    """Stands for this process. A forked child is another one."""


#: This process.
here = Process()


def _forked() -> None:
    global here
    here = Process()


os.register_at_fork(after_in_child=_forked)


#: Calls of asynchronous functions that were made and are not awaited as yet.
Begun = dict[int, Coroutine[object, object, object]]


class Caller(Protocol):
    """A running node, as far as it makes calls."""

    #: None before the first.
    begun: Begun | None
    #: The latest misuse of a promise, and where. A function that has caught it has taken a branch that no value has
    #: decided.
    misuse: tuple[PromiseMisuse, str] | None

    @property
    def process(self) -> Process:
        """Return the process that it runs in."""
        ...


class RunningNode(Protocol):
    """A running node, as its worker or inline mode knows it."""

    @property
    def instance_id(self) -> bytes:
        """Return the instance that it belongs to."""
        ...

    @property
    def node_id(self) -> bytes:
        """Return its id, the same in all its attempts."""
        ...

    @property
    def function_name(self) -> str:
        """Return its function, as "module:Class.method"."""
        ...

    @property
    def attempt(self) -> int:
        """Return which attempt this is, from 1."""
        ...

    @property
    def token(self) -> int:
        """Return the fencing token of its lease, which may be renewed."""
        ...

    @property
    def dropped(self) -> bool:
        """Return whether the lease has ended."""
        ...

    @property
    def deadline(self) -> float | None:
        """Return when its time is over, by `time.monotonic()`; None for never."""
        ...

    #: How far its function says that it has got, with a few words; None before it does.
    progress: tuple[float, str] | None
    #: The label that this attempt has given it; empty for none.
    label: str


class RunningInline(RunningNode, Caller, Protocol):
    """A running node, as inline mode knows it."""


class NodeLog(Protocol):
    """All that a running node prints and logs."""

    def printed(self, descriptor: int, text: str | bytes) -> None:
        """Take what it prints to a stream: 1 is standard output, 2 standard error."""
        ...

    def recorded(self, record: LogRecord) -> None:
        """Take a record of `logging`."""
        ...

    def end(self) -> None:
        """Take note that its function has ended."""
        ...


class Logs(Protocol):
    """The logs of the nodes that one worker runs; or one of them, once its node has written something."""

    def of(self, scope: Scope) -> NodeLog:
        """Return the log of a node."""
        ...


class Scope:
    """The calls that a running node has made so far. They come into being together with its result."""

    __slots__ = (
        "__weakref__",
        "begun",
        "calls",
        "cause",
        "instance_id",
        "logs",
        "misuse",
        "node",
        "places",
        "process",
        "progressed",
        "shown_as",
        "store",
    )

    def __init__(
        self,
        instance_id: bytes,
        node: RunningNode | None = None,
        progressed: Callable[[int], None] | None = None,
        logs: Logs | None = None,
        store: ValueStore | None = None,
    ) -> None:
        """Begin without calls. `instance_id` is the instance of the running node, which its children join; `node` the
        node itself.

        `progressed` is to be called with the node's token when its `progress` has changed. `logs` are given what it
        prints; without them that is only shown. `store` takes the large values in its calls; None: that of the broker
        which this process asks.
        """
        self.instance_id = instance_id
        self.node = node
        self.process = here
        self.progressed = progressed
        #: Another object once the node has written something: then it is the node's own.
        self.logs = logs
        self.store = store
        #: The name before its lines in the worker's own output, where names are shown; empty for that of its function.
        self.shown_as = ""
        self.calls: list[CapturedCall] = []
        #: Where large values stand in the arguments of calls, by digests, as far as that is known: by the names of
        #: functions and payloads. None before the first.
        self.places: dict[tuple[str, bytes], dict[bytes, str]] | None = None
        self.begun: Begun | None = None
        #: What has ended the node from outside of its own coroutine, such as an exit in a callback.
        self.cause: BaseException | None = None
        self.misuse: tuple[PromiseMisuse, str] | None = None


#: The scope of the node that runs in this context; None outside of nodes.
current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)


#: The node that runs inline in this context; None outside of such nodes.
inline_node: ContextVar[RunningInline | None] = ContextVar("inline_node", default=None)
