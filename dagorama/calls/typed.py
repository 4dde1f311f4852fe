"""Values of JSON made into what a parameter's type hint says: the border where people's text becomes arguments.

It goes by the hints alone, and reads a text generously, since forms and command lines have nothing else: "5" is an
integer where one is wanted. Any value passes where there is no hint, or one that it knows nothing of.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path, PurePath
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

#: So deep values may be in each other.
_DEPTH_MAX = 50
#: What surrounds hints and says nothing of the value.
_WRAPPERS = (Annotated, Required, NotRequired, Final, getattr(typing, "ReadOnly", Final))
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


class Unfit(Exception):
    """A value that cannot be what a hint wants: where it is, what was wanted, and what came."""

    def __init__(self, path: str, wanted: str, value: object) -> None:
        """`path` leads to it from the parameter on, such as "orders[2].number"."""
        self.path, self.wanted, self.value = path, wanted, value
        super().__init__(f"{path} must be {wanted}, not {_shown(value)}")


def fitted(value: object, hint: Any, path: str, depth: int = 0) -> Any:
    """Return a value of JSON as a hint wants it; raise `Unfit` where it cannot be that."""
    if depth > _DEPTH_MAX:
        raise Unfit(path, "less deep", value)
    hint = _unwrapped(hint)
    origin = get_origin(hint)
    if isinstance(hint, typing.NewType):
        return fitted(value, hint.__supertype__, path, depth)
    if isinstance(hint, typing.TypeVar):
        return fitted(value, hint.__bound__ or Any, path, depth)
    if origin is Union or origin is UnionType:
        return _of_union(value, get_args(hint), path, depth)
    if origin is Literal:
        return _of_literal(value, get_args(hint), path)
    simple = _SIMPLE.get(hint)
    if simple is not None:
        return simple(value, path)
    kind = origin or hint
    if not isinstance(kind, type) or kind is object:
        return value
    if issubclass(kind, Enum):
        return _of_enum(value, kind, path)
    return _of_class(value, kind, hint, path, depth)


def _unwrapped(hint: Any) -> Any:
    """Return a hint without what surrounds it, and what an alias stands for; `Any` where that cannot be told."""
    origin = get_origin(hint)
    if origin in _WRAPPERS:
        return _unwrapped(get_args(hint)[0])
    if not isinstance(hint, Hashable):  # such as [int], which is none
        return Any
    alias: Any = origin or hint
    if type(alias).__name__ != "TypeAliasType":
        return hint
    try:
        return _unwrapped(alias.__value__)
    except Exception:  # a name that is imported for type checkers alone
        return Any


def _of_class(value: object, kind: type, hint: Any, path: str, depth: int) -> object:
    """Return a value of a collection, or of a class with fields."""
    if is_typeddict(kind):
        return _of_fields(value, kind, lambda **fields: _with_required(fields, kind), path, depth)
    if issubclass(kind, tuple):
        return _of_tuple(value, kind, get_args(hint), path, depth)
    if kind in _COLLECTIONS:
        (item,) = get_args(hint) or (Any,)
        parsed = _parsed(value, list, f"a list{_each(item)}", path)
        return _hashed(_COLLECTIONS[kind], _items(parsed, item, path, depth), path)
    if kind in _MAPPINGS:
        key, item = get_args(hint) or (Any, Any)
        parsed = _parsed(value, dict, "an object", path)
        pairs = [
            (fitted(name, key, f"a key of {path}", depth + 1), fitted(one, item, f"{path}[{name!r}]", depth + 1))
            for name, one in parsed.items()
        ]
        return _hashed(dict, pairs, path)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return _of_fields(value, kind, kind, path, depth)
    validate = getattr(kind, "model_validate", None)  # of pydantic
    if validate is not None:
        return _made(validate, _parsed(value, dict, "an object", path), kind, path)
    if isinstance(value, kind):
        return value
    raise Unfit(path, f"a {kind.__qualname__}, which cannot be made of JSON", value)


def _hashed(make: Callable[[Any], object], parts: Sequence[object], path: str) -> object:
    """Return a collection of parts; raise `Unfit` where they would have to be hashable and are not."""
    try:
        return make(parts)
    except TypeError as error:
        raise Unfit(path, f"of parts that can be in it ({error})", parts) from None


def _with_required(fields: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return the fields of a typed dictionary; raise `TypeError` where some that it requires are missing.

    `__required_keys__` alone is wrong where the hints are texts.
    """
    presences = {name: _presence(hint) for name, hint in hints_of(kind).items()}
    required = {name for name in kind.__required_keys__ if presences.get(name) is not NotRequired}
    required |= {name for name, presence in presences.items() if presence is Required}
    missing = [name for name in presences if name in required and name not in fields]
    if missing:
        raise TypeError(f"without {', '.join(missing)}")
    return fields


def _presence(hint: Any) -> Any:
    """Return `Required` or `NotRequired`, whichever surrounds a hint; None for neither."""
    origin = get_origin(hint)
    if origin is Required or origin is NotRequired:
        return origin
    return _presence(get_args(hint)[0]) if origin in _WRAPPERS else None


def _items(values: Sequence[object], item: Any, path: str, depth: int) -> list[object]:
    return [fitted(one, item, f"{path}[{place}]", depth + 1) for place, one in enumerate(values)]


def _of_tuple(value: object, kind: type, items: tuple[Any, ...], path: str, depth: int) -> object:
    fields = getattr(kind, "_fields", None)
    if fields is not None and not (isinstance(value, list) and kind is tuple):
        if isinstance(value, list) and len(value) <= len(fields):
            value = dict(zip(fields, value, strict=False))
        return _of_fields(value, kind, kind, path, depth)
    parsed = _parsed(value, list, "a list", path)
    if not items:
        return tuple(parsed)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_items(parsed, items[0], path, depth))
    if len(parsed) != len(items):
        raise Unfit(path, f"a list of {len(items)}", value)
    pairs = zip(parsed, items, strict=True)
    return tuple(fitted(one, item, f"{path}[{place}]", depth + 1) for place, (one, item) in enumerate(pairs))


def _of_fields(value: object, kind: Any, make: Callable[..., object], path: str, depth: int) -> object:
    """Return an object with fields by name, made by its class."""
    parsed = _parsed(value, dict, "an object", path)
    hints = _fields_of(kind)
    unknown = [name for name in parsed if name not in hints]
    if unknown:
        raise Unfit(path, f"an object with the fields {', '.join(hints)}", parsed)
    given = {name: fitted(one, hints[name], f"{path}.{name}", depth + 1) for name, one in parsed.items()}
    return _made(lambda fields: make(**fields), given, kind, path)


def _fields_of(kind: Any) -> dict[str, Any]:
    """Return the hints of the fields that a class is made of, by the names that it takes."""
    hints = hints_of(kind)
    if hasattr(kind, "__attrs_attrs__"):
        of_init = [one for one in kind.__attrs_attrs__ if one.init]
        # `_size` is given as `size`; attrs before 22.2 says so nowhere.
        return {getattr(one, "alias", one.name.lstrip("_")): hints.get(one.name, Any) for one in of_init}
    # The fields of a named tuple need no annotations.
    return {name: hints.get(name, Any) for name in cast(Any, kind)._fields} if issubclass(kind, tuple) else hints


def _made(make: Callable[[Any], object], given: object, kind: type, path: str) -> object:
    try:
        return make(given)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:  # that of pydantic is a ValueError
        raise Unfit(path, f"a {kind.__qualname__} ({' '.join(str(error).split())[:300]})", given) from None


def _of_union(value: object, members: tuple[Any, ...], path: str, depth: int) -> object:
    """Return a value as the first member wants it that it fits: exactly, or else as a text is read."""
    if value is None and NoneType in members:
        return None
    for member in members:
        if type(value) is member:
            return value
    for member in sorted(members, key=lambda one: one is str):  # any text fits that one
        try:
            return fitted(value, member, path, depth + 1)
        except Unfit:
            continue
    raise Unfit(path, " or ".join(map(name_of_hint, members)), value)


def _of_literal(value: object, choices: tuple[Any, ...], path: str) -> object:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    for choice in choices:
        if isinstance(value, str) and value == str(choice):
            return choice
    raise Unfit(path, f"one of {', '.join(map(repr, choices))}", value)


def _of_enum(value: object, kind: type[Enum], path: str) -> Enum:
    for member in kind:
        if value == member.value and isinstance(value, bool) == isinstance(member.value, bool):
            return member
    if isinstance(value, str):
        for member in kind:
            if value == str(member.value):
                return member
        if value in kind.__members__:
            return kind[value]
    raise Unfit(path, f"one of {', '.join(str(member.value) for member in kind)}", value)


def _parsed(value: object, kind: type, wanted: str, path: str) -> Any:
    """Return a list or an object; one that came as a text of JSON is read."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unfit(path, wanted, value) from None
    if not isinstance(value, kind):
        raise Unfit(path, wanted, value)
    return value


def _each(item: Any) -> str:
    return "" if item is Any else f" of {name_of_hint(item)}"


# -- the simple ones ---------------------------------------------------------------------------------------------------


def _integer(value: object, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return cast(int, _read(int, value, "an integer", path))


def _float(value: object, path: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Unfit(path, "a number of at most 1.8e308", value) from None
    return cast(float, _read(float, value, "a number", path))


def _boolean(value: object, path: str) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE | _FALSE:
        raise Unfit(path, "true or false", value)
    return word in _TRUE


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise Unfit(path, "a text", value)
    return value


def _nothing(value: object, path: str) -> None:
    if value is not None and value not in ("", "null", "None"):
        raise Unfit(path, "nothing", value)


def _decimal(value: object, path: str) -> Decimal:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(str(value))
    return cast(Decimal, _read(Decimal, value, "a decimal number", path))


def _seconds(value: object, path: str) -> timedelta:
    try:
        return timedelta(seconds=_float(value, path))
    except (ValueError, OverflowError):  # not a number, or too many
        raise Unfit(path, "a number of seconds that a timedelta holds", value) from None


def _read(make: Callable[[str], Any], value: object, wanted: str, path: str) -> Any:
    """Return the value that a text stands for."""
    if not isinstance(value, str):
        raise Unfit(path, wanted, value)
    try:
        return make(value.strip())
    except (ValueError, InvalidOperation, OverflowError):
        raise Unfit(path, wanted, value) from None


def _reader(make: Callable[[str], Any], wanted: str) -> Callable[[object, str], Any]:
    return lambda value, path: _read(make, value, wanted, path)


_SIMPLE: dict[Any, Callable[[object, str], Any]] = {
    Any: lambda value, path: value,
    int: _integer,
    float: _float,
    complex: _reader(complex, "a complex number"),
    bool: _boolean,
    str: _text,
    bytes: _reader(lambda text: base64.b64decode(text, validate=True), "bytes in base64"),
    None: _nothing,
    NoneType: _nothing,
    Decimal: _decimal,
    datetime: _reader(datetime.fromisoformat, "a time such as 2026-11-27T13:45:00Z"),
    date: _reader(date.fromisoformat, "a date such as 2026-11-27"),
    time: _reader(time.fromisoformat, "a time of day such as 13:45:00"),
    timedelta: _seconds,
    UUID: _reader(UUID, "a UUID"),
    Path: _reader(Path, "a path"),
    PurePath: _reader(PurePath, "a path"),
}
_COLLECTIONS: dict[type, Callable[[list[object]], object]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    Sequence: list,
    Collection: list,
    Iterable: list,
    AbstractSet: set,
}
_MAPPINGS = {dict, Mapping, MutableMapping}


def hints_of(thing: Any) -> dict[str, Any]:
    """Return the type hints of a function or class; `Any` for one that cannot be told here."""
    try:
        return get_type_hints(thing, include_extras=True)
    except Exception:  # a name that is imported for type checkers alone
        holders = reversed(thing.__mro__) if isinstance(thing, type) else [thing]
        return {
            name: _alone(hint, holder) if isinstance(hint, str) else hint
            for holder in holders
            for name, hint in inspect.get_annotations(holder).items()
        }


def _alone(hint: str, thing: Any) -> Any:
    """Return one hint that stands as a text, by itself; `Any` where it cannot be told."""
    holder = SimpleNamespace(__annotations__={"it": hint}, __module__=thing.__module__)
    space = getattr(thing, "__globals__", None) or vars(sys.modules.get(thing.__module__, holder))
    try:
        return get_type_hints(holder, globalns=space, include_extras=True)["it"]
    except Exception:
        return Any


def name_of_hint(hint: Any) -> str:
    """Return a type hint as people write it."""
    if hint is NoneType:
        return "None"
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, default=repr)
    except RecursionError:
        return "what is too deep to show"
    return text if len(text) <= 100 else f"{text[:97]}..."
