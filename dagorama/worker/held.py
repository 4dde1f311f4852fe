"""A node in the hands of this worker, and how its attempt ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from time import monotonic
from typing import NamedTuple, Protocol

from dagorama.capture import CapturedCall
from dagorama.v1.graph_pb2 import Failure


class Function(NamedTuple):
    """Which function a node runs, as far as the worker needs to know."""

    name: str
    definition_arguments: bytes
    timeout_s: float = 0.0  #: how long an attempt may take; 0: no limit
    code_version: str = ""  #: that which the node was made with; empty: any
    release: str = ""  #: the versions that the calls which it makes are to have; empty: those that there are here
    at_most_once: bool = False  #: an attempt that is cut off fails the node


class Rejected(NamedTuple):
    """Why a node goes back: the worker has its function in another version, or lacks something."""

    code_version: str = ""  #: that which this worker has, where that is the reason
    problem: str = ""  #: what it lacks, for people; empty where it is only the version
    lacks: str = ""  #: names that; empty where it lacks the function


class Report(NamedTuple):
    """How one attempt ended: exactly one of `value`, `alias_id` and `failure` is set."""

    duration_us: int
    value: bytes | None = None
    alias_id: bytes | None = None
    failure: Failure | None = None
    promise_ids: Sequence[bytes] = ()
    children: Sequence[CapturedCall] = ()


class Values(Protocol):
    """Payloads by the nodes whose values they are, in the order in which they are to be decoded."""

    @property
    def node_ids(self) -> Sequence[bytes]:
        """The nodes."""
        ...

    @property
    def payloads(self) -> Sequence[bytes]:
        """Their payloads."""
        ...


class ValueTable:
    """The values that came in one message, for all its grants."""

    __slots__ = ("_payloads", "_values")

    def __init__(self, values: Values) -> None:
        """Keeps `values` as they are until the first of them is asked for."""
        self._values = values
        self._payloads: dict[bytes, bytes] | None = None

    def payload(self, node_id: bytes) -> bytes:
        """Returns the payload of a node's value; `KeyError` where it did not come."""
        payloads = self._payloads
        if payloads is None:
            payloads = self._payloads = dict(zip(self._values.node_ids, self._values.payloads, strict=True))
        return payloads[node_id]

    def before(self, node_id: bytes) -> Iterator[bytes]:
        """Yields the nodes whose values came before that of this one, among them all that its payload refers to."""
        return takewhile(lambda other_id: other_id != node_id, self._values.node_ids)


class Held:
    """One node from its grant until its report is acknowledged, or the lease is lost.

    The slots write `report`, `progress`, `running` and `abandoned`; the thread that receives writes `token`, `dropped`
    and `revoked`; the one that sends, `stream_sent`.
    """

    __slots__ = (
        "abandoned",
        "arguments",
        "attempt",
        "deadline",
        "dropped",
        "function",
        "granted_at",
        "instance_id",
        "node_id",
        "place",
        "progress",
        "report",
        "revoked",
        "running",
        "stream_sent",
        "token",
        "values",
    )

    def __init__(
        self,
        node_id: bytes,
        token: int,
        instance_id: bytes,
        function: Function,
        arguments: bytes,
        attempt: int,
        values: ValueTable | None,
    ) -> None:
        """`values` is None where the message had none."""
        #: When it was first granted, by `time.monotonic()`: from then on its time counts, whatever connections break.
        self.granted_at = monotonic()
        self.node_id = node_id
        self.token = token
        self.instance_id = instance_id
        self.attempt = attempt
        self.function = function
        self.arguments = arguments
        self.values = values
        self.report: Report | None = None
        self.progress: tuple[float, str] | None = None
        #: When its time is over, by `time.monotonic()`; None for never.
        self.deadline = self.granted_at + function.timeout_s if function.timeout_s else None
        #: Some thread, or a task on the event loop, is at it.
        self.running = False
        #: Where it stands on the board, while it runs; -1 for nowhere.
        self.place = -1
        #: Its thread has lost its slot.
        self.abandoned = False
        #: The lease is lost: a report would be refused, so none is sent.
        self.dropped = False
        #: It is lost because the broker has ended it: somebody cancelled the node, or its time is over.
        self.revoked = False
        #: Number of the stream that the report went out on; 0 for none.
        self.stream_sent = 0

    @property
    def function_name(self) -> str:
        """The name of its function."""
        return self.function.name

    def renew(self, token: int) -> None:
        """Goes on under another lease. It is the same attempt, so its time does not count anew."""
        self.token = token
