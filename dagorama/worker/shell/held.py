"""A node in the hands of this worker, and how its attempt ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dagorama.calls.capture import CapturedCall
from dagorama.calls.json_form import is_json
from dagorama.calls.references import is_referring
from dagorama.worker.kernel.node import Function, Node, Rejected
from dagorama.worker.kernel.states import GIVEN

if TYPE_CHECKING:
    from dagorama.tracing.spans import AttemptSpan

__all__ = ["Failure", "Function", "Held", "Rejected", "Report", "ValueTable", "report_of"]


class Failure(NamedTuple):
    """Why an attempt gave no value."""

    #: "ValueError" for builtins, "module:Qualified.name" for others.
    type: str
    message: str
    traceback: str = ""
    #: Payload of the exception itself; empty where it cannot be encoded.
    exception: bytes = b""
    #: Whether no further attempt is to follow, whatever the retry policy says.
    permanent: bool = False


class Report(NamedTuple):
    """How one attempt ended: exactly one of `value`, `alias_id` and `failure` is set."""

    duration_us: int
    value: bytes | None = None
    alias_id: bytes | None = None
    failure: Failure | None = None
    promise_ids: Sequence[bytes] = ()
    children: Sequence[CapturedCall] = ()
    #: What the function raised, where somebody wants it itself.
    error: BaseException | None = None
    #: When it ended, by `time.monotonic()`; 0 for just now.
    ended_at: float = 0.0


#: Makes one of all its fields; the class itself takes twice as long.
report_of: Callable[[tuple[object, ...]], Report] = partial(tuple.__new__, Report)


class Values(Protocol):
    """Payloads by the nodes whose values they are, in the order in which they are to be decoded."""

    @property
    def node_ids(self) -> Sequence[bytes]:
        """Return the nodes."""
        ...

    @property
    def payloads(self) -> Sequence[bytes]:
        """Return their payloads."""
        ...


class ValueTable:
    """The values that came in one message, for all its grants."""

    __slots__ = ("_attempt_of", "_attempts", "_has_references", "_payloads", "_values")

    def __init__(self, values: Values, attempts: Sequence[int] = ()) -> None:
        """Keep `values` as they are until the first of them is asked for; `attempts` is empty where all were first."""
        self._values = values
        self._attempts = attempts
        self._payloads: dict[bytes, bytes] | None = None
        self._attempt_of: dict[bytes, int] | None = None
        self._has_references: bool | None = None

    @property
    def has_references(self) -> bool:
        """Return whether any of the values refers to large ones."""
        if self._has_references is None:
            self._has_references = any(map(is_referring, self._values.payloads))
        return self._has_references

    def payload(self, node_id: bytes) -> bytes:
        """Return the payload of a node's value; `KeyError` where it did not come."""
        payloads = self._payloads
        if payloads is None:
            # As lists: a loop over a field of a message ends with an error inside of protobuf, which takes long.
            node_ids, values = self._values.node_ids[:], self._values.payloads[:]
            payloads = self._payloads = dict(zip(node_ids, values, strict=True))
        return payloads[node_id]

    def attempt(self, node_id: bytes) -> int:
        """Return the attempt that gave a node's value, for its trace."""
        if not self._attempts:
            return 1
        if self._attempt_of is None:
            self._attempt_of = dict(zip(self._values.node_ids, self._attempts, strict=True))
        return self._attempt_of[node_id]

    def before(self, node_id: bytes) -> Iterator[bytes]:
        """Yield the nodes whose values came before that of this one, among them all that its payload refers to."""
        return takewhile(lambda other_id: other_id != node_id, self._values.node_ids)


class Held(Node):
    """A node with what it takes to run it, and how that ended."""

    __slots__ = (
        "__weakref__",
        "arguments",
        "granted_at",
        "has_printed",
        "place",
        "places",
        "span",
        "traceparent",
        "values",
    )

    report: Report | None
    progress: tuple[float, str] | None
    label: str

    def __init__(
        self,
        node_id: bytes,
        token: int,
        instance_id: bytes,
        function: Function,
        arguments: bytes,
        attempt: int,
        values: ValueTable | None,
        granted_at: float | None = None,
    ) -> None:
        """Begin with a grant just now, unless it came before. `values` is None where the message had none."""
        #: By the clock of the kernel, `time.monotonic()`: from then on its time counts, whatever connections break.
        self.granted_at = monotonic() if granted_at is None else granted_at
        self.node_id = node_id
        self.token = token
        self.instance_id = instance_id
        self.attempt = attempt
        self.function = function
        self.arguments = arguments
        self.values = values
        self.state = GIVEN
        self.report = None
        self.rejected = None
        self.progress = None
        self.label = ""
        #: Whether its log has something, whose end is on a way of its own.
        self.has_printed = False
        self.deadline = self.granted_at + function.timeout_s if function.timeout_s else None
        #: The trace of its instance, if that has one; and the span of this attempt, while it runs.
        self.traceparent = ""
        self.span: AttemptSpan | None = None
        #: Where large values stand in what is reported, by digests: the first call that has one, from 1, or 0 for the
        #: result alone, and the path in that. None for none.
        self.places: dict[bytes, tuple[int, str]] | None = None
        #: Where it stands on the board, while it runs; -1 for nowhere.
        self.place = -1

    @property
    def has_large_values(self) -> bool:
        """Return whether large values may have to be fetched before it can begin."""
        arguments = self.arguments
        if is_json(arguments) or is_referring(arguments) or is_referring(self.function.definition_arguments):
            return True
        return self.values is not None and self.values.has_references
