"""Promises: decorated calls return them while the graph is being drawn.

A promise may be passed to other decorated calls, put into any object, shown, compared with other promises, and asked
for a part of its value (`p["k"]`, `p[0]`, `p.field`), which is a promise again. Everything else that one does with a
value is refused at once (`dagorama.calls.misuse`), because a promise that quietly passed for one would send nonsense
on its way.

While `dagorama.calls.payload` encodes, each promise that pickle meets leaves a *placeholder*: a call of `promised` or
`lifted` below. Their names are part of every stored payload, so they must stay what and where they are; so must
`stored_part`, and `distinct_keys` and `stored_value`, which are had from elsewhere (`dagorama.calls.placeholders`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from dagorama.calls.misuse import NoValue, refuse
from dagorama.calls.placeholders import SOME_ARE_KEYS, exchange
from dagorama.calls.placeholders import distinct_keys as distinct_keys
from dagorama.calls.placeholders import stored_value as stored_value
from dagorama.calls.questions import caller, takes_apart
from dagorama.calls.references import is_referring, total_size
from dagorama.errors import PayloadError
from dagorama.models.arguments import DAGArguments

#: One step into a value: (ITEM, key) or (ATTRIBUTE, name).
Step = tuple[str, object]
ITEM = "[]"
ATTRIBUTE = "."

#: A promise keeps the arguments of its call up to this size, so that it costs no more memory than it looks like.
ARGUMENT_BYTES_MAX = 64 * 1024


class Promise(NoValue):
    """The base of promises and of parts of them: they can be lifted, pickled, and not misused."""

    __slots__ = ("_is_hashed",)

    #: Whether it was hashed, as whatever is a key was, or a part of one.
    _is_hashed: bool

    def __getitem__(self, key: object) -> Promise:
        """Promise the item of the value; for `...` the whole value, as a part."""
        return self._lift() if key is ... else self._lift((ITEM, key))

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Promise the attribute of the value. Private names are refused: mostly tools probe for those."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return self._lift((ATTRIBUTE, name))

    def _lift(self, *steps: Step) -> Promise:
        """Promise the part of the value to which `steps` lead."""
        raise NotImplementedError


class NodePromise(Promise):
    """The promise of a node's value, or of a part of it."""

    __slots__ = ("_node_id",)

    _node_id: bytes

    def _lift(self, *steps: Step) -> LiftedPromise:
        """Promise the part of the value to which `steps` lead."""
        path = self._path if isinstance(self, LiftedPromise) else ()
        return LiftedPromise(base_of(self), (*path, *steps))

    def same(self, other: NoValue) -> bool:
        """Return whether both promise the same."""
        raise NotImplementedError

    def number(self) -> int:
        """Return the hash: equal promises have equal ids."""
        self._is_hashed = True
        return hash(node_id_of(self))


class Arguments(Enum):
    """The word of a promise in place of the arguments of its call."""

    #: A running node called, and for its code every name is that of a part.
    OF_A_NODE = "of a node"


@dataclass(init=False, repr=False, eq=False)
class DAGPromise(NodePromise):
    """The promise of a node's value. `identifier` is the node's id; the rest is for people and may be missing.

    These three are to be had outside of nodes. To the code of a node, as in a part of a promise, they are what every
    other name is: a field of the value. Outside, such a field is `promise[...].arguments`.
    """

    __slots__ = ("_arguments", "_function_name", "_identifier")

    identifier: UUID
    function_name: str | None
    #: What the call was given. The promises in it know their identifier only.
    arguments: DAGArguments | None

    def __init__(
        self, identifier: UUID, function_name: str | None = None, arguments: DAGArguments | None = None
    ) -> None:
        """Make the promise of a node that is known by its id."""
        self._is_hashed = False
        self._identifier = identifier
        self._function_name = function_name
        #: As they are, or as payload; or the size of a payload that is too large to keep.
        self._arguments: DAGArguments | bytes | int | Arguments | None = arguments

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Return what is known of the node, or promise a part."""
            own = _OWN.get(name)
            if own is None or (self._arguments is Arguments.OF_A_NODE and name != "_identifier"):
                return Promise.__getattr__(self, name)
            return own(self)

    def same(self, other: NoValue) -> bool:
        """Return whether they are equal by field."""
        if not isinstance(other, DAGPromise) or self._identifier != other._identifier:
            return False
        if self._function_name != other._function_name:
            return False
        mine, its = self._arguments, other._arguments
        return mine is its or mine == its or _arguments_of(self) == _arguments_of(other)

    def __repr__(self) -> str:
        """Show which node it is the promise of."""
        return f"DAGPromise({self._identifier}, {self._function_name or '?'})"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leave a placeholder in a payload; pickle as itself elsewhere."""
        recorded = exchange.recorded
        if recorded is None:
            return DAGPromise, (self._identifier, self._function_name, self._arguments)
        node_id = node_id_of(self)
        recorded[node_id] = None
        if self._is_hashed:
            recorded[SOME_ARE_KEYS] = None
        return promised, (node_id,)


def _identifier_of(promise: DAGPromise) -> UUID:
    """Make the UUID when it is first asked for: a promise that is only passed on never needs it."""
    promise._identifier = UUID(bytes=promise._node_id)
    return promise._identifier


def _arguments_of(promise: DAGPromise) -> DAGArguments | None:
    """Return the arguments of the call, new objects each time; `PayloadError` where they were too large to keep."""
    match promise._arguments:
        case bytes() as payload:
            return DAGArguments.from_server_bytes(payload)
        case int() as size_bytes:
            raise PayloadError(
                what=f"the arguments of {promise!r}",
                problem=f"they have {size_bytes} bytes, and a promise keeps no more than {ARGUMENT_BYTES_MAX}",
                way_out="Keep what you passed.",
            )
        case DAGArguments() as arguments:
            return arguments
    return None


#: What is known of a node; the first is a slot that is filled when it is first read.
_OWN: dict[str, Callable[[DAGPromise], object]] = {
    "_identifier": _identifier_of,
    "identifier": lambda promise: promise._identifier,
    "function_name": lambda promise: promise._function_name,
    "arguments": _arguments_of,
}


class _Fields:
    """The fields of the dataclass. Functions that take objects apart have to take a promise as one."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.fields = fields

    def __get__(self, promise: DAGPromise | None, owner: type) -> dict[str, object]:
        if promise is not None:
            apart = takes_apart(caller(1))
            if apart is None:
                raise AttributeError("only dataclasses.fields() is told the fields of a promise")
            if apart:
                raise refuse(promise, "dataclasses.asdict(), astuple() or replace()", TAKE_FIELDS)
        return self.fields


TAKE_FIELDS = "Write out the fields that you need: `{'part': order.part}` may have promises in it."

setattr(DAGPromise, "__dataclass_fields__", _Fields(cast(Any, DAGPromise).__dataclass_fields__))  # noqa: B010


class LiftedPromise(NodePromise):
    """The promise of a part of a node's value. It costs no node: the part is taken where the value is used."""

    __slots__ = ("_base", "_path")

    _base: DAGPromise
    _path: tuple[Step, ...]

    def __init__(self, base: DAGPromise, path: tuple[Step, ...]) -> None:
        """Promise the part to which `path` leads from the value of `base`."""
        self._is_hashed = False
        self._node_id = node_id_of(base)
        self._base = base
        self._path = path

    def same(self, other: NoValue) -> bool:
        """Return whether it is the same part of the same node's value."""
        return isinstance(other, LiftedPromise) and (self._node_id, self._path) == (other._node_id, other._path)

    def __repr__(self) -> str:
        """Show the way from the node's value to the part."""
        return f"{self._base!r}{shown(self._path)}"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leave a placeholder in a payload; pickle as itself elsewhere. Promises in the path are found as well."""
        recorded = exchange.recorded
        if recorded is None:
            return LiftedPromise, (self._base, self._path)
        recorded[self._node_id] = None
        if self._is_hashed:
            recorded[SOME_ARE_KEYS] = None
        return lifted, (self._node_id, self._path)


#: The slot's own setter: `object.__new__` leaves the slots empty, and the dataclass's `__init__` wants a UUID.
_set_node_id = NodePromise.__dict__["_node_id"].__set__


def new_promise(
    node_id: bytes, function_name: str | None = None, arguments: bytes | Arguments | None = None
) -> DAGPromise:
    """Make the promise of a node's value; quicker than the class itself. `arguments` are the payload of its call's."""
    promise = object.__new__(DAGPromise)
    _set_node_id(promise, node_id)
    promise._is_hashed = False
    promise._function_name = function_name
    promise._arguments = arguments
    return promise


def submitted_promise(node_id: bytes, function_name: str, arguments: bytes) -> DAGPromise:
    """Make the promise of a call that was made outside of nodes."""
    promise = new_promise(node_id, function_name, arguments)
    if len(arguments) > ARGUMENT_BYTES_MAX or is_referring(arguments):
        promise._arguments = total_size(arguments)
    return promise


def node_id_of(promise: NodePromise) -> bytes:
    """Return the id of the node whose value, or a part of it, is promised."""
    try:
        return promise._node_id
    except AttributeError:
        promise._node_id = base_of(promise)._identifier.bytes
        return promise._node_id


def base_of(promise: NodePromise) -> DAGPromise:
    """Return the promise of the whole value."""
    if isinstance(promise, LiftedPromise):
        return promise._base
    assert isinstance(promise, DAGPromise)
    return promise


def part_of(promise: NodePromise, value: object) -> object:
    """Return the promised part of the whole `value`."""
    return follow(value, promise._path, node_id_of(promise)) if isinstance(promise, LiftedPromise) else value


def shown(path: tuple[Step, ...]) -> str:
    """Write a path as one would in Python."""
    return "".join(f".{key}" if kind == ATTRIBUTE else f"[{key!r}]" for kind, key in path)


def follow(value: object, path: tuple[Step, ...], node_id: bytes) -> object:
    """Take the part of `value` to which `path` leads; `PayloadError` where there is none.

    It is the value of node `node_id`, or one that was put where that is empty.
    """
    for done, (kind, key) in enumerate(path):
        try:
            # A promise has __getitem__ whatever its value; the value itself may turn out to have none.
            value = getattr(value, str(key)) if kind == ATTRIBUTE else value[key]  # type: ignore[index]
        except Exception as error:
            whose = f"node {UUID(bytes=node_id)}" if node_id else "of a value that was put"
            raise PayloadError(
                what=f"promise{shown(path)} ({whose})",
                problem=f"the value of promise{shown(path[:done])} is a {type(value).__qualname__}, "
                f"and taking {shown(path[done : done + 1])} of it gave {type(error).__name__}: {error}",
                way_out="Take only parts that the value has.",
            ) from error
    return value


def promised(node_id: bytes) -> object:
    """Stand for a promise: return its value while a payload is decoded, the bare promise otherwise."""
    value_of = exchange.value_of
    return new_promise(node_id) if value_of is None else value_of(node_id)


def lifted(node_id: bytes, path: tuple[Step, ...]) -> object:
    """Stand for a lifted promise: return a part of the value while a payload is decoded."""
    value_of = exchange.value_of
    return LiftedPromise(new_promise(node_id), path) if value_of is None else follow(value_of(node_id), path, node_id)


def stored_part(value: object, path: tuple[Step, ...]) -> object:
    """Stand for a part of a value that was put."""
    return follow(value, path, b"")
