"""Plain data: the parts of an object's state, their changes, and their copies.

Plain are lists, dictionaries and the like at any depth, and *records*: objects of classes that say nothing of how they
are copied or pickled, if all that they hold is plain. An object that holds a lock, a socket or an array is no record,
but a thing that is used, and is never copied.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Container, Iterable
from copy import deepcopy
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from operator import is_
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

#: Never changed by anybody.
ATOMS: frozenset[type] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, type(...), type, FunctionType, BuiltinFunctionType}
    | {ModuleType, date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID, re.Pattern}
    | {PurePath, Path, type(PurePath()), type(Path())}
)
CONTAINERS = frozenset(
    {list, tuple, set, frozenset, deque, dict, defaultdict, OrderedDict, Counter, bytearray, partial}
)

#: With one of these a class says how its objects are copied, or that they hold more than memory.
HOOKS = (
    *("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__copy__", "__deepcopy__"),
    *("__getnewargs__", "__getnewargs_ex__", "__del__", "__enter__", "__aenter__", "__getattr__", "__getattribute__"),
)
#: Atoms of which one is as good as its equal. `Decimal("1.0") == Decimal("1.00")`, but they are not the same.
ALIKE = frozenset({bool, int, str, bytes})
#: Classes that a statement has made have this flag.
HEAP_TYPE = 1 << 9

#: What holds more parts than this is a table, and not copied for each node: that would take longer than many nodes.
PARTS_MAX = 1000
#: Nor is what is deeper: each level takes several of the calls within each other that Python bears.
DEPTH_MAX = 50


_slots: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


class TooLarge(Exception):
    """There are more parts than `PARTS_MAX`, or levels than `DEPTH_MAX`."""


class Shape(NamedTuple):
    """An object with its parts, as they were; each part is a shape, or the object itself."""

    of: object
    parts: list[object]


def state_of(obj: object) -> dict[str, object]:
    """Return the attributes that an object has of its own, in slots too, but for the library's."""
    kept = list(getattr(obj, "__dict__", {}).items())  # at once: another thread may be starting the same definition
    names = {name: value for name, value in kept if not name.startswith("_dagorama_")}
    for slot in slots_of(type(obj)):
        if hasattr(obj, slot):
            names[slot] = getattr(obj, slot)
    return names


def slots_of(kind: type) -> tuple[str, ...]:
    """Return the names of the slots that objects of a class have."""
    slots = _slots.get(kind)
    if slots is None:
        lists: list[str | Iterable[str]] = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
        names = [name for listed in lists for name in ((listed,) if isinstance(listed, str) else listed)]
        slots = _slots[kind] = tuple(name for name in names if name not in ("__dict__", "__weakref__"))
    return slots


def shape_of(value: object) -> object:
    """Return what to compare with later, to see whether a value, or plain data inside of it, has changed.

    Of a container that is too large only the items themselves are compared, and not what has become of them inside.
    """
    if type(value) in ATOMS:
        return value
    try:
        return _shape(value, set(), set(), 0)
    except TooLarge:
        return Shape(value, _items(value)) if type(value) in CONTAINERS else value


def _shape(value: object, met: set[int], plain: set[int], depth: int) -> object:
    parts = None if type(value) in ATOMS or id(value) in met else _parts(value, plain)
    if parts is None:
        return value
    _meet(value, met, parts, depth)
    return Shape(value, [_shape(part, met, plain, depth + 1) for part in parts])


def has_changed(shape: object, value: object) -> bool:
    """Return whether a value is another than the one of the shape, or has been changed since."""
    if not isinstance(shape, Shape):
        return shape is not value and not (type(shape) is type(value) and type(value) in ALIKE and shape == value)
    if shape.of is not value:
        return True
    try:
        parts = _items(value) if type(value) in CONTAINERS else _inside(value) or []
    except TooLarge:  # it has grown
        return True
    if len(parts) != len(shape.parts):
        return True
    # A table of a million items is looked at in a few hundredths of a second.
    return not all(map(is_, shape.parts, parts)) and any(map(has_changed, shape.parts, parts))


def own_copy(value: object, memo: dict[int, object]) -> object:
    """Return a copy of plain data, in which all else is what it was; the value itself if it is no such data.

    `memo` has the copies by the ids of what they are of, so that what is one object stays one.
    """
    if id(value) not in memo:
        try:
            _share_the_rest(value, memo, set(), set(), 0)
        except TooLarge:
            return value
    return deepcopy(value, memo)


def _share_the_rest(value: object, memo: dict[int, object], met: set[int], plain: set[int], depth: int) -> None:
    """Enter into `memo` what is no plain data, as its own copy."""
    if type(value) in ATOMS or id(value) in met or id(value) in memo:
        return
    # A method is copied to be one of the copy of its object.
    parts = [value.__self__] if type(value) is MethodType else _parts(value, plain, memo)
    if parts is None:
        memo[id(value)] = value
        return
    _meet(value, met, parts, depth)
    for part in parts:
        _share_the_rest(part, memo, met, plain, depth + 1)


def _meet(value: object, met: set[int], parts: list[object], depth: int) -> None:
    met.add(id(value))
    if len(met) + len(parts) > PARTS_MAX or depth > DEPTH_MAX:
        raise TooLarge


def _parts(value: object, plain: set[int], known: Container[int] = ()) -> list[object] | None:
    """Return the parts of plain data; None for anything else. An object with one of the `known` ids may be a part.

    `plain` gets the ids of records that turn out to be plain, and of their parts, so that each is looked at once.
    """
    parts = _inside(value)
    if parts is None or type(value) in CONTAINERS or id(value) in plain:
        return parts
    met: set[int] = set()
    if not _is_plain(value, met, known, 0):
        return None
    plain |= met
    return parts


def is_plain(value: object) -> bool:
    """Return whether a value is plain data, and nothing but that is inside. A table is taken to be."""
    try:
        return _is_plain(value, set(), (), 0)
    except TooLarge:
        return type(value) in CONTAINERS


def _is_plain(value: object, met: set[int], known: Container[int], depth: int) -> bool:
    """Return whether there is nothing but plain data inside."""
    if type(value) in ATOMS or isinstance(value, (type, Enum)) or id(value) in met or id(value) in known:
        return True
    parts = _inside(value)
    if parts is None:
        return False
    _meet(value, met, parts, depth)
    return all(_is_plain(part, met, known, depth + 1) for part in parts)


def _inside(value: object) -> list[object] | None:
    """Return what is inside of a container, or of what may be a record; None for anything else."""
    if isinstance(value, (list, tuple, dict, set, frozenset, deque)) and len(value) > PARTS_MAX:
        raise TooLarge
    inside = _items(value)
    if type(value) in CONTAINERS:
        return inside
    return [*inside, *state_of(value).values()] if _may_be_record(type(value)) else None


def _items(value: object) -> list[object]:
    """Return the items of a container, however many; none for anything else."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [*value]
    if type(value) is bytearray:
        return [bytes(value)]
    if type(value) is partial:
        return [value.func, *value.args, *value.keywords.values()]
    return []


def _may_be_record(kind: type) -> bool:
    if not kind.__flags__ & HEAP_TYPE or issubclass(kind, (type, Enum)):
        return False
    if issubclass(kind, tuple):
        return hasattr(kind, "_fields")
    return all(getattr(kind, hook, None) is getattr(object, hook, None) for hook in HOOKS)
