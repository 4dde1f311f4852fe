"""Promises: what a decorated call returns while the graph is being drawn.

A promise may be passed to other decorated calls, put into any object, and asked for a part of its value (`p["k"]`,
`p[0]`, `p.field`), which is a promise again. Everything else that one does with a value is refused at once, because a
promise that quietly passed for one would send nonsense on its way.

While `dagorama.payload` encodes, each promise that pickle meets leaves a *placeholder*: a call of `promised` or
`lifted` below. Their names are part of every stored payload, so they must stay what and where they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

from dagorama.errors import PayloadError, PromiseMisuse

if TYPE_CHECKING:
    from dagorama.models.arguments import DAGArguments

#: One step into a value: (ITEM, key) or (ATTRIBUTE, name).
Step = tuple[str, object]
ITEM = "[]"
ATTRIBUTE = "."

PASS_IT_ON = (
    "Pass the promise to a decorated method and use the value there; outside of the graph, wait for the value with "
    "instance.result() or resolve(instance, promise, wait_for_results=True)."
)


class Exchange(threading.local):
    """What promises and placeholders do in this thread at present: None of both unless a payload is in the works."""

    #: While encoding: the ids of the promises met so far, in order.
    recorded: dict[bytes, None] | None = None
    #: While decoding: gives the value for an id.
    value_of: Callable[[bytes], object] | None = None


exchange = Exchange()


class Promise:
    """What a promise and a part of one have in common: they can be lifted, pickled, and not misused."""

    __slots__ = ("_node_id",)

    _node_id: bytes

    def __getitem__(self, key: object) -> LiftedPromise:
        """Promises the item of the value."""
        return _lift(self, (ITEM, key))

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Promises the attribute of the value. Private names are refused: mostly tools probe for those."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return _lift(self, (ATTRIBUTE, name))

    def __hash__(self) -> int:
        """Equal promises have equal ids."""
        return hash(node_id_of(self))


@dataclass(slots=True, repr=False)
class DAGPromise(Promise):
    """The promise of a node's value. `identifier` is the node's id; the rest is for people and may be missing."""

    identifier: UUID
    function_name: str | None = None
    arguments: DAGArguments | None = None

    __hash__ = Promise.__hash__

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Makes the UUID when it is first asked for: a promise that is only passed on never needs it."""
            if name == "identifier":
                self.identifier = UUID(bytes=self._node_id)
                return self.identifier
            return Promise.__getattr__(self, name)

    def __repr__(self) -> str:
        """Shows which node it is the promise of."""
        return f"DAGPromise({self.identifier}, {self.function_name or '?'})"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leaves a placeholder in a payload; pickles as itself elsewhere."""
        recorded = exchange.recorded
        if recorded is None:
            return DAGPromise, (self.identifier, self.function_name, self.arguments)
        node_id = node_id_of(self)
        recorded[node_id] = None
        return promised, (node_id,)


class LiftedPromise(Promise):
    """The promise of a part of a node's value. It costs no node: the part is taken where the value is used."""

    __slots__ = ("_base", "_path")

    _base: DAGPromise
    _path: tuple[Step, ...]

    def __init__(self, base: DAGPromise, path: tuple[Step, ...]) -> None:
        """`path` leads from the value of `base` to the part."""
        self._node_id = node_id_of(base)
        self._base = base
        self._path = path

    __hash__ = Promise.__hash__

    def __eq__(self, other: object) -> bool:
        """Equal if it is the same part of the same node's value."""
        if not isinstance(other, LiftedPromise):
            return NotImplemented
        return (self._node_id, self._path) == (other._node_id, other._path)

    def __repr__(self) -> str:
        """Shows the way from the node's value to the part."""
        return f"{self._base!r}{shown(self._path)}"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leaves a placeholder in a payload; pickles as itself elsewhere. Promises in the path are found as well."""
        recorded = exchange.recorded
        if recorded is None:
            return LiftedPromise, (self._base, self._path)
        recorded[self._node_id] = None
        return lifted, (self._node_id, self._path)


#: The slot's own setter: `object.__new__` leaves the slots empty, and the dataclass's `__init__` wants a UUID.
_set_node_id = Promise.__dict__["_node_id"].__set__


def new_promise(node_id: bytes, function_name: str | None = None) -> DAGPromise:
    """Makes the promise of a node's value; quicker than the class itself."""
    promise = object.__new__(DAGPromise)
    _set_node_id(promise, node_id)
    promise.function_name = function_name
    promise.arguments = None
    return promise


def node_id_of(promise: Promise) -> bytes:
    """Returns the id of the node whose value, or a part of it, is promised."""
    try:
        return promise._node_id
    except AttributeError:
        promise._node_id = base_of(promise).identifier.bytes
        return promise._node_id


def base_of(promise: Promise) -> DAGPromise:
    """Returns the promise of the whole value."""
    if isinstance(promise, LiftedPromise):
        return promise._base
    assert isinstance(promise, DAGPromise)
    return promise


def part_of(promise: Promise, value: object) -> object:
    """Returns what of the whole `value` is promised."""
    return follow(value, promise._path, node_id_of(promise)) if isinstance(promise, LiftedPromise) else value


def _lift(promise: Promise, step: Step) -> LiftedPromise:
    """Promises the part of a value to which `step` leads."""
    path = promise._path if isinstance(promise, LiftedPromise) else ()
    return LiftedPromise(base_of(promise), (*path, step))


def shown(path: tuple[Step, ...]) -> str:
    """Writes a path as one would in Python."""
    return "".join(f".{key}" if kind == ATTRIBUTE else f"[{key!r}]" for kind, key in path)


def follow(value: object, path: tuple[Step, ...], node_id: bytes) -> object:
    """Takes the part of `value`, that of node `node_id`, to which `path` leads; `PayloadError` where there is none."""
    for done, (kind, key) in enumerate(path):
        try:
            # A promise has __getitem__ whatever its value; the value itself may turn out to have none.
            value = getattr(value, str(key)) if kind == ATTRIBUTE else value[key]  # type: ignore[index]
        except Exception as error:
            raise PayloadError(
                what=f"promise{shown(path)} (node {UUID(bytes=node_id)})",
                problem=f"the value of promise{shown(path[:done])} is a {type(value).__qualname__}, "
                f"and taking {shown(path[done : done + 1])} of it gave {type(error).__name__}: {error}",
                way_out="Take only parts that the function's value has.",
            ) from error
    return value


def promised(node_id: bytes) -> object:
    """The placeholder of a promise: its value while a payload is decoded, the bare promise otherwise."""
    value_of = exchange.value_of
    return new_promise(node_id) if value_of is None else value_of(node_id)


def lifted(node_id: bytes, path: tuple[Step, ...]) -> object:
    """The placeholder of a lifted promise: a part of the value while a payload is decoded."""
    value_of = exchange.value_of
    return LiftedPromise(new_promise(node_id), path) if value_of is None else follow(value_of(node_id), path, node_id)


def _refuse(use: str, way_out: str) -> Callable[..., NoReturn]:
    """Makes a special method that refuses what it stands for."""

    def refuse(self: Promise, *_: object, **__: object) -> NoReturn:
        raise PromiseMisuse(promise=repr(self), use=use, way_out=way_out)

    return refuse


PICK_PARTS = "Index it instead (p[0], p['k'], p.field are promises too), or pass it on whole to a decorated method."
CALL_THERE = "Pass the promise to a decorated method and call it there."

ARITHMETIC = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow")
BITWISE = ("lshift", "rshift", "and", "or", "xor")

#: What is done with a value by syntax or by a builtin, the special methods behind it, and what to do instead.
MISUSES = (
    ("deciding by truth (`if`, `and`, `or`, `not`)", "bool", f"Decide inside a decorated method. {PASS_IT_ON}"),
    ("iterating or unpacking", "iter reversed aiter", PICK_PARTS),
    ("taking the length", "len", PASS_IT_ON),
    ("looking for a member with `in`", "contains", PASS_IT_ON),
    ("formatting (f-string, str(), print)", "format str", f"{PASS_IT_ON} repr() shows the promise itself."),
    ("comparing by order", "lt le gt ge", PASS_IT_ON),
    ("calling", "call", CALL_THERE),
    ("changing an item", "setitem delitem", PASS_IT_ON),
    ("opening as a context", "enter exit aenter aexit", PASS_IT_ON),
    ("converting", "int float complex index bytes fspath round trunc floor ceil", PASS_IT_ON),
    (
        "arithmetic",
        "neg pos abs invert " + " ".join(f"{name} r{name} i{name}" for name in ARITHMETIC + BITWISE),
        PASS_IT_ON,
    ),
)

for _use, _names, _way_out in MISUSES:
    for _name in _names.split():
        setattr(Promise, f"__{_name}__", _refuse(_use, _way_out))
