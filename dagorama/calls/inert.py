"""Reads pickles as a description of what they would make: nothing that they name is imported, called or made.

Unpickling runs code that the pickle names. This walks the opcodes (`pickletools.genops`) with a stack of its own,
and where pickle would call something it notes the call. The time is bounded by the size of the data and `_OPCODES_MAX`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagorama.calls.placeholders import MODULE, STORED
from dagorama.calls.references import (
    ORDER_BYTES_MAX,
    BadReferences,
    Reference,
    is_referring,
    read_order,
    read_references,
)

if TYPE_CHECKING:
    from pickletools import OpcodeInfo

#: So many opcodes are read; what comes after them is cut.
_OPCODES_MAX = 20_000
#: So deep values are read that were put, one within the other.
_DEPTH_MAX = 5


@dataclass(slots=True, eq=False)
class Global:
    """A class or function, by its name."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Items:
    """A list, tuple, set or frozenset."""

    kind: str
    items: list[object] = field(default_factory=list)
    is_cut: bool = False  #: the data has ended before it did


@dataclass(slots=True, eq=False)
class Mapping:
    """A dictionary."""

    pairs: list[tuple[object, object]] = field(default_factory=list)
    is_cut: bool = False


@dataclass(slots=True, eq=False)
class Made:
    """The object that a call would give, and all that would be put into it afterwards."""

    function: object  #: mostly a `Global`
    args: object  #: mostly a tuple
    kwargs: object = None
    is_new: bool = False  #: made by `cls.__new__`, which gets what is not seen as arguments in the source
    state: object = None
    items: list[object] = field(default_factory=list)
    pairs: list[tuple[object, object]] = field(default_factory=list)


class Unknown:
    """Stands for what cannot be told."""


@dataclass(slots=True)
class Large:
    """A buffer that is stored elsewhere."""

    reference: Reference

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return self.reference.size


class Cut:
    """Stands for the end of data that was cut off."""


_MARK = object()


class _Stack:
    """The stack and the memo of pickle's machine."""

    def __init__(self, buffers: Iterable[object], budget: Iterator[int], depth: int = 0) -> None:
        """Read one opcode for each that `budget` gives. `depth` is that of the payload, within others."""
        self.stack: list[object] = []
        self._budget = budget
        self._depth = depth
        self._buffers = iter(buffers)
        self._memo: dict[int, object] = {}

    def pop(self) -> object:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def pop_to_mark(self) -> list[object]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise ValueError("there is no mark")

    def top(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("there is no value")
        return self.stack[-1]

    def step(self, name: str, arg: Any) -> None:
        """Do what an opcode says."""
        act = _ACTS.get(name)
        if act is not None:
            act(self, arg)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(arg)
        elif name in _EMPTY:
            self.stack.append(Mapping() if name == "EMPTY_DICT" else Items(_EMPTY[name]))
        elif name in _TUPLES:
            count = _TUPLES[name]
            values = [self.pop() for _ in range(count)]
            self.stack.append(Items("tuple", values[::-1]))
        elif name in _FROM_MARK:
            self.stack.append(Items(_FROM_MARK[name], self.pop_to_mark()))
        elif name not in _NOTHING:
            self.stack.append(Unknown())

    def take_buffer(self) -> None:
        self.stack.append(next(self._buffers, Unknown()))

    def memoize(self, key: int | None) -> None:
        self._memo[len(self._memo) if key is None else key] = self.top()

    def recall(self, key: int) -> None:
        self.stack.append(self._memo[key])

    def fill(self, values: list[object]) -> None:
        """Put values into the collection at the top."""
        into = self.top()
        if isinstance(into, Items | Made):
            into.items.extend(values)

    def fill_pairs(self, values: list[object]) -> None:
        """Put keys and values into the dictionary at the top."""
        into = self.top()
        if isinstance(into, Mapping | Made):
            into.pairs.extend(zip(values[::2], values[1::2], strict=False))

    def pop_twice(self) -> list[object]:
        """Take off a key and its value."""
        value = self.pop()
        return [self.pop(), value]

    def make(self, *, is_new: bool = False, with_kwargs: bool = False) -> None:
        """Note a call; for that of a value which was put, read the value."""
        kwargs = self.pop() if with_kwargs else None
        args = self.pop()
        function = self.pop()
        payload = _put_payload(function, args)
        value = Made(function, args, kwargs, is_new) if payload is None else self._value_in(payload)
        self.stack.append(value)

    def _value_in(self, payload: bytes) -> object:
        """Return the value of a payload within this one."""
        pickle, buffers = _pickle_in(payload)
        if self._depth >= _DEPTH_MAX or not pickle:
            return Unknown()
        within = _Stack(buffers, self._budget, self._depth + 1)
        within.read(pickle)
        return within.end()[0] if within.stack else Unknown()

    def read(self, data: bytes) -> bool:
        """Do what the opcodes of a pickle say; return whether they were all there."""
        is_whole = False
        try:
            for opcode, arg, _ in _opcodes(data):
                if next(self._budget, None) is None:
                    return False
                self.step(opcode.name, arg)
                is_whole = opcode.name == "STOP"
        except Exception:  # whatever is wrong with the data, the answer is what came before
            return False
        return is_whole

    def make_from_mark(self, function: object = None) -> None:
        """Note a call of protocol 0, whose class and arguments come after a mark."""
        values = self.pop_to_mark()
        if function is None:
            function, *values = values
        self.stack.append(Made(function, Items("tuple", values)))

    def build(self) -> None:
        """Note the state of an object."""
        state = self.pop()
        made = self.top()
        if isinstance(made, Made):
            made.state = state

    def name(self) -> None:
        """Note a name whose parts are on the stack."""
        name, module = self.pop(), self.pop()
        self.stack.append(Global(str(module)[:200], str(name)[:200]))

    def end(self) -> list[object]:
        """Close all that is open, as the data has ended; return the bottom of the stack."""
        for _ in range(sum(value is _MARK for value in self.stack)):
            values = self.pop_to_mark()
            into = self.stack[-1] if self.stack else None
            if isinstance(into, Mapping):
                into.pairs.extend(zip(values[::2], values[1::2], strict=False))
                into.is_cut = True
            elif isinstance(into, Items) and into.kind != "tuple":
                into.items.extend(values)
                into.is_cut = True
            else:
                self.stack.append(Items("tuple", values, is_cut=True))
        return self.stack


_Act = Callable[[_Stack, Any], None]

_ACTS: dict[str, _Act] = {
    "MARK": lambda it, arg: it.stack.append(_MARK),
    "POP": lambda it, arg: it.stack.__delitem__(-1),
    "POP_MARK": lambda it, arg: it.pop_to_mark().clear(),
    "DUP": lambda it, arg: it.stack.append(it.top()),
    "MEMOIZE": lambda it, arg: it.memoize(None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda it, arg: it.memoize(int(arg))),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda it, arg: it.recall(int(arg))),
    "APPEND": lambda it, arg: it.fill([it.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda it, arg: it.fill(it.pop_to_mark())),
    "SETITEM": lambda it, arg: it.fill_pairs(it.pop_twice()),
    "SETITEMS": lambda it, arg: it.fill_pairs(it.pop_to_mark()),
    "DICT": lambda it, arg: _dict_from_mark(it),
    "GLOBAL": lambda it, arg: it.stack.append(Global(*_two(arg))),
    "STACK_GLOBAL": lambda it, arg: it.name(),
    "REDUCE": lambda it, arg: it.make(),
    "NEWOBJ": lambda it, arg: it.make(is_new=True),
    "NEWOBJ_EX": lambda it, arg: it.make(is_new=True, with_kwargs=True),
    "OBJ": lambda it, arg: it.make_from_mark(),
    "INST": lambda it, arg: it.make_from_mark(Global(*_two(arg))),
    "NEXT_BUFFER": lambda it, arg: it.take_buffer(),
    "BUILD": lambda it, arg: it.build(),
    "BINPERSID": lambda it, arg: it.stack.append((it.pop(), Unknown())[1]),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_TUPLE": "tuple", "EMPTY_SET": "set", "EMPTY_DICT": ""}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_FROM_MARK = {"LIST": "list", "TUPLE": "tuple", "FROZENSET": "frozenset"}
_NOTHING = frozenset({"PROTO", "FRAME", "READONLY_BUFFER", "STOP"})


def _put_payload(function: object, args: object) -> bytes | None:
    """Return the payload of a value that was put, where a call stands for one."""
    if not (isinstance(function, Global) and function.module == MODULE and function.name.encode() == STORED):
        return None
    payload = args.items[0] if isinstance(args, Items) and len(args.items) == 1 else None
    return payload if isinstance(payload, bytes) else None


def _two(arg: str) -> tuple[str, str]:
    module, _, name = arg.partition(" ")
    return module[:200], name[:200]


def _dict_from_mark(it: _Stack) -> None:
    values = it.pop_to_mark()
    it.stack.append(Mapping(list(zip(values[::2], values[1::2], strict=False))))


def read_inert(data: bytes) -> tuple[list[object], bool]:
    """Return the value that a pickle would make, as a list of one, and whether all of it was read.

    Where the data is cut off, damaged or very long, return what could be read: of nested values the outermost. Raises
    nothing, whatever the data is.
    """
    data, buffers = _pickle_in(data)
    machine = _Stack(buffers, iter(range(_OPCODES_MAX)))
    is_whole = machine.read(data)
    if is_whole and len(machine.stack) == 1 and machine.stack[0] is not _MARK:
        return machine.stack, True
    return machine.end(), False


def _pickle_in(payload: bytes) -> tuple[bytes, list[Large]]:
    """Return the pickle in a payload that may refer to large values, and these; nothing where it is one of them."""
    if not is_referring(payload):
        return payload, []
    try:
        references, stream = read_references(payload)
        places, begins = read_order((stream or b"")[:ORDER_BYTES_MAX])
        ordered = references if places is None else [references[place] for place in places]
    except (BadReferences, IndexError):  # such as of one that is cut off
        return b"", []
    return (stream or b"")[begins:], [Large(reference) for reference in ordered]


def _opcodes(data: bytes) -> Iterator[tuple[OpcodeInfo, Any, int | None]]:
    from pickletools import genops  # it makes large tables when it is imported, and few programs look

    return genops(data)
