"""The uses of a promise that are refused, and the way out that the error names."""

from __future__ import annotations

import re
from abc import ABCMeta
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from types import MemberDescriptorType
from typing import TYPE_CHECKING, ClassVar, NoReturn, cast

from dagorama.calls.capture import current_scope
from dagorama.calls.questions import asking_line, asks_for_type, caller, table_asked
from dagorama.errors import PromiseMisuse

PASS_IT_ON = (
    "Pass the promise to a decorated method and use the value there; outside of the graph, wait for the value with "
    "instance.result() or resolve(instance, promise, wait_for_results=True)."
)
#: The same for a promise that was put, which is of no instance.
PASS_STORED_ON = (
    "Pass the promise to a decorated method and use the value there; outside of the graph, resolve(instance, promise) "
    "gives the value, with any instance."
)
PICK_PARTS = "Index it instead (p[0], p['k'], p.field are promises too), or pass it on whole to a decorated method."
CALL_THERE = "Pass the promise to a decorated method and call it there."
DECIDE_THERE = f"Decide inside a decorated method. {PASS_IT_ON}"
PLAIN_LIST = f"Keep promises in a list, which becomes one of values. {PASS_IT_ON}"
ASK_FOR_PROMISES = f"Ask for promises first (isinstance(p, dagorama.models.promise.Promise)). {DECIDE_THERE}"

#: A format that says how wide the text is to be, and nothing of what it is of.
WIDTH = re.compile(r"(.?[<>^])?([1-9]\d*)?s?", re.DOTALL)
#: Keys of these types have no promise in them.
PLAIN = frozenset({str, int, bool, float, bytes, type(None)})
#: What has parts, and may be one of a key that hashes those.
COLLECTIONS = (tuple, frozenset, list, set)
#: So many parts of a key are looked at.
KEY_PARTS_MAX = 1000
#: Classes of keys that are remembered.
KINDS_MAX = 256
#: How much is shown of what a promise is compared with.
SHOWN_MAX = 60


def refuse(promise: object, use: str, way_out: str) -> PromiseMisuse:
    """Make the error of a misuse. By the project's own code, it stays with the node, which may catch it."""
    if isinstance(promise, NoValue):
        way_out = way_out.replace(PASS_IT_ON, promise._pass_it_on)
    error = PromiseMisuse(promise=repr(promise), use=use, way_out=way_out)
    scope = current_scope.get()
    if scope is not None and (line := asking_line(caller(1))):
        scope.misuse = error, line
    return error


class _Kind(type):
    """Answers `isinstance(p, DAGPromise)`, for a part too, without asking `p.__class__`."""

    def __instancecheck__(cls, other: object) -> bool:
        return issubclass(type(other), cls)


class NoValue(metaclass=_Kind):
    """A stand-in for a value that is not there yet: uses that need the value are refused, others show the stand-in."""

    __slots__ = ()

    #: Said where the value is needed.
    _pass_it_on: ClassVar[str] = PASS_IT_ON

    def same(self, other: NoValue) -> bool:
        """Return whether both stand for the same."""
        raise NotImplementedError

    def number(self) -> int:
        """Return the hash."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        """Compare with another promise. `None` is none, and an object that equals everything (`mock.ANY`) says so."""
        if isinstance(other, NoValue):
            return self.same(other)
        if other is None:
            return False
        # Only a yes counts: a no says that a promise is no such value, and not that what is promised is none.
        if type(other).__eq__(other, self) is True:
            return True
        shown = repr(other)
        shown = shown if len(shown) <= SHOWN_MAX else f"a {type(other).__qualname__}"
        raise refuse(self, f"comparing with {shown} (`==`, `!=`, `in`, `match`)", DECIDE_THERE)

    def __hash__(self) -> int:
        """Let promises be members of sets, and keys. Looking one up among values is refused."""
        table = table_asked(caller(1))
        if table and not any(map(has_promise, table)):
            raise refuse(self, f"looking it up among the values of a {type(table).__qualname__}", DECIDE_THERE)
        return self.number()

    def __str__(self) -> str:
        """Show the promise, not a value: `print` and log lines are to look at what is there."""
        return repr(self)

    def __format__(self, spec: str) -> str:
        """Show the promise; a format for values, such as `:.2f`, is refused."""
        if WIDTH.fullmatch(spec):
            return format(repr(self), spec)
        raise refuse(self, f"formatting with {spec!r}", f"{PASS_IT_ON} Without a format, the promise itself is shown.")

    def __dir__(self) -> Iterable[str]:
        """Name its attributes. Python's own way asks for the class, which would count as a question of the caller."""
        return object.__dir__(self)

    if not TYPE_CHECKING:

        @property
        def __class__(self):
            """Return the type of promise; refuse the question whether the value is of some type."""
            if asks_for_type(caller(1)):
                raise refuse(self, "asking for its type (`isinstance()`, `match`, singledispatch)", ASK_FOR_PROMISES)
            return type(self)


def has_promise(key: object) -> bool:
    """Return whether a key is a promise, or a tuple or a record with one; of one with too many parts, that it is."""
    met: dict[int, object] = {}
    left = [key]
    while left:
        part = left.pop()
        kind = type(part)
        if issubclass(kind, NoValue):
            return True
        if kind not in PLAIN and id(part) not in met:
            met[id(part)] = part
            left += _parts_of(part)
        if len(met) > KEY_PARTS_MAX:
            return True
    return False


def _parts_of(part: object) -> Iterator[object]:
    """Yield the parts that may go into the hash of a tuple or a record."""
    kind = type(part)
    if issubclass(kind, COLLECTIONS):
        yield from cast(Iterable[object], part)
    if issubclass(kind, dict):
        yield from dict.items(cast(dict[object, object], part))
    if kind.__hash__ is object.__hash__:
        return
    with suppress(AttributeError):  # read so that no code of the record runs
        yield from object.__getattribute__(part, "__dict__").values()
    for slot in _slots_of(cast(Hashable, kind)):
        with suppress(AttributeError):  # it is not set
            yield slot.__get__(part)


@lru_cache(KINDS_MAX)
def _slots_of(kind: type) -> list[MemberDescriptorType]:
    """Return the slots of a class and its bases, by whatever names it has them."""
    attributes = (attribute for base in kind.__mro__ for attribute in vars(base).copy().values())
    return [member for member in attributes if type(member) is MemberDescriptorType]


def _refusing(use: str, way_out: str) -> Callable[..., NoReturn]:
    """Make a special method that refuses its use."""

    def refusing(self: NoValue, *_: object, **__: object) -> NoReturn:
        raise refuse(self, use, way_out)

    return refusing


ARITHMETIC = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow")
BITWISE = ("lshift", "rshift", "and", "or", "xor")

#: What is done with a value by syntax or by a builtin, the special methods behind it, and what to do instead.
MISUSES = (
    ("deciding by truth (`if`, `and`, `or`, `not`)", "bool", DECIDE_THERE),
    ("iterating or unpacking", "iter reversed aiter", PICK_PARTS),
    ("taking the length (`len`, or a pattern of `match`)", "len", PASS_IT_ON),
    ("looking for a member with `in`", "contains", PASS_IT_ON),
    ("comparing by order", "lt le gt ge", PASS_IT_ON),
    ("calling", "call", CALL_THERE),
    ("changing an item", "setitem delitem", PASS_IT_ON),
    ("opening as a context", "enter exit aenter aexit", PASS_IT_ON),
    ("converting", "int float complex index bytes fspath round trunc floor ceil", PASS_IT_ON),
    ("making an array of it, or calling a function of numpy,", "array array_ufunc array_function", PLAIN_LIST),
    (
        "arithmetic",
        "neg pos abs invert " + " ".join(f"{name} r{name} i{name}" for name in ARITHMETIC + BITWISE),
        PASS_IT_ON,
    ),
)

for _use, _names, _way_out in MISUSES:
    for _name in _names.split():
        setattr(NoValue, f"__{_name}__", _refusing(_use, _way_out))


class _Matched(metaclass=ABCMeta):  # noqa: B024 - it has nothing to be implemented
    """Has `match` try its mapping patterns on promises, which then asks for the length.

    A class that is registered with such a one gets its flag (PEP 634), and passes for no `Mapping`. There is one flag
    for mappings and one for sequences, and a type has one of them: a sequence pattern still does not match a promise.
    """

    __abc_tpflags__: ClassVar[int] = 1 << 6  # Py_TPFLAGS_MAPPING


_Matched.register(NoValue)
