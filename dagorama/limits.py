"""Limits: how many nodes with one key may run at once, and how many may start in a second.

A key is a text. All calls of all functions with the same key share one limit, which the broker keeps.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from inspect import Parameter
from typing import SupportsInt, TypeAlias, TypeGuard
from uuid import UUID

from dagorama.errors import LimitKeyError
from dagorama.models.promise import Promise
from dagorama.options import real_number, whole_number

#: What a key function may give.
Key: TypeAlias = "str | int | UUID | Enum | tuple[Key, ...]"

#: The broker takes keys of up to this many bytes, and functions with up to this many limits.
KEY_BYTES_MAX, LIMITS_MAX = 500, 10
#: A key that is longer is cut to this many characters, followed by its digest.
_SHORTENED = 100
#: Beyond these a rate is as good as none: one start in 30 years, or one in a nanosecond.
_RATE_MIN, _RATE_MAX = 1e-9, 1e9


@dataclass(frozen=True, slots=True)
class Limit:
    """How many nodes with one key may run at once (`max`), and how many may start (`per_second`, `burst`); or both.

    `key` is the name of a limit that all functions with this key share, such as "database", or a function of some of
    the call's arguments, by their names: `lambda tenant: tenant`. Each key that it returns (text, an integer, a UUID,
    an enum member, or a tuple of such) has a limit of its own, which belongs to the decorated function, or to all
    functions with the same `name`.

    After a while without a start, `burst` nodes may start at once (1 unless given). Raises `ValueError` naming the
    argument that cannot be used.
    """

    key: str | Callable[..., Key]
    max: int | None = field(default=None, kw_only=True)
    per_second: float | None = field(default=None, kw_only=True)
    burst: int | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if isinstance(self.key, str):
            _check_name(f"{self}: key", self.key)
            if self.name is not None:
                raise ValueError(f"{self}: name={self.name!r} is for keys that are functions; this key is the name")
        elif not callable(self.key):
            raise ValueError(f"Limit: key must be a name or a function of the call's arguments, not {self.key!r}")
        elif self.name is not None:
            _check_name(f"{self}: name", self.name)
        if self.max is None and self.per_second is None:
            raise ValueError(f"{self} limits nothing: give it max=, per_second= or both")
        if self.max is not None:
            _check_count(f"{self}: max", self.max)
        if self.per_second is not None:
            _check_rate(f"{self}: per_second", self.per_second)
        if self.burst is not None:
            _check_count(f"{self}: burst", self.burst)
            if self.per_second is None:
                raise ValueError(f"{self}: burst={self.burst} means nothing without per_second=")

    def __str__(self) -> str:
        """Name the limit in messages, by its key."""
        return f"Limit({self.key!r})" if isinstance(self.key, str) else f"Limit({_function_name(self.key)})"


def checked_limits(limit: Limit | Sequence[Limit] | None) -> tuple[Limit, ...]:
    """Return the limits that are given to a decorator; `ValueError` where something is none."""
    if isinstance(limit, Limit):
        return (limit,)
    limits = () if limit is None else limit
    if not isinstance(limits, (list, tuple)) or not all(isinstance(each, Limit) for each in limits):
        raise ValueError(f'limit={limit!r}: it must be a Limit such as Limit("database", max=3), or a list of them')
    if len(limits) > LIMITS_MAX:
        raise ValueError(f"limit= has {len(limits)} limits; a function may have up to {LIMITS_MAX}")
    return tuple(limits)


class LimitKeys:
    """Finds the keys of a decorated function's calls."""

    def __init__(self, fn: Callable[..., object], signature: inspect.Signature, limits: Sequence[Limit]) -> None:
        """Raise `ValueError`, naming the function and the limit, where its calls cannot have such keys."""
        self._signature = signature
        self._rules = [_Rule(limit, fn.__qualname__, list(signature.parameters)[1:]) for limit in limits]
        for index, rule in enumerate(self._rules):
            if any(rule.scope == other.scope for other in self._rules[:index]):
                way_out = "give one of them another name=" if rule.names else "one may have max= and per_second="
                raise ValueError(f"{fn.__qualname__} has two limits with the same keys, {rule.limit}: {way_out}")
        is_fixed = all(isinstance(limit.key, str) for limit in limits)
        self._fixed = tuple(rule.scope for rule in self._rules) if is_fixed else None

    def of_call(self, function: str, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[str, ...]:
        """Return the key of each limit for a call whose arguments are right; raises `LimitKeyError`.

        `function` is "module:Class.method".
        """
        if self._fixed is not None:
            return self._fixed
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple([rule.key(function, bound.arguments) for rule in self._rules])


class _Rule:
    """How a limit of a function gets its key."""

    def __init__(self, limit: Limit, function: str, names: Sequence[str]) -> None:
        """Keep a `function` with the `names` of its arguments."""
        self.limit = limit
        #: What its keys begin with, or its key; after the function's name if the limit has none of its own.
        self.scope = limit.key if isinstance(limit.key, str) else limit.name or ""
        self.names: Sequence[str] = ()  #: the arguments that its key function takes
        if not isinstance(limit.key, str):
            self.names = _argument_names(limit, limit.key, function, names)
            self.scope = self.scope or f"({', '.join(self.names)})"

    def key(self, function: str, arguments: Mapping[str, object]) -> str:
        """Return the key for a call of `function`, "module:Class.method"; raises `LimitKeyError`."""
        if isinstance(self.limit.key, str):
            return self.limit.key
        chosen = {name: arguments[name] for name in self.names}
        for name, value in chosen.items():
            if isinstance(value, Promise):
                raise self._error(function, f"argument {name!r} is a promise, {_NOT_KNOWN}", _CALL_LATER)
        try:
            value = self.limit.key(**chosen)
        except Exception as error:
            problem = f"its key function raised {type(error).__name__}: {error}"
            raise self._error(function, problem, "It must give a key for all arguments.") from error
        if isinstance(value, Promise):
            raise self._error(function, f"its key is a promise, {_NOT_KNOWN}", _CALL_LATER)
        try:
            text = _text(value)
        except TypeError as error:
            way_out = "Give text, an integer, a UUID, an enum member, or a tuple of those."
            raise self._error(function, f"its key function gave something of type {error}", way_out) from None
        return _fitted(f"{'' if self.limit.name else function}{self.scope}[{text}]")

    def _error(self, function: str, problem: str, way_out: str) -> LimitKeyError:
        return LimitKeyError(function=function, limit=str(self.limit), problem=problem, way_out=way_out)


_NOT_KNOWN = "whose value is not known when the call is made"
_CALL_LATER = "Take the key from another argument, or make the call in a function that gets the value."


def _argument_names(limit: Limit, key: Callable[..., Key], function: str, names: Sequence[str]) -> list[str]:
    """Return the arguments of `function` that a key function takes; `ValueError` if it takes anything else."""
    has = f"{function} has {', '.join(names) or 'none'}"
    try:
        parameters = inspect.signature(key).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(f"limit= of {function}: {limit} does not name its arguments: write a lambda") from None
    for parameter in parameters:
        if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            takes = f"takes a {parameter.kind.description} {parameter.name!r}"
            raise ValueError(f"limit= of {function}: {limit} {takes}, but arguments come by name; {has}")
        if parameter.name not in names:
            raise ValueError(f"limit= of {function}: {limit} takes the unknown argument {parameter.name!r}; {has}")
    return [parameter.name for parameter in parameters]


def _text(value: object) -> str:
    """Return the same text for the same key in every process, and another one for every other key.

    Raises `TypeError`, with its type's name, for what is no key.
    """
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    number = int(value) if isinstance(value, bool) or _is_numpy_bool(value) else whole_number(value)
    if number is None:
        raise TypeError(type(value).__qualname__)
    return repr(number) if abs(number) < 2**63 else hex(number)  # Python writes no decimals beyond 4300


def _is_numpy_bool(value: object) -> TypeGuard[SupportsInt]:
    """Return whether a value is the result of a comparison of numpy, which is no number for Python."""
    return type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")


def _fitted(key: str) -> str:
    """Return the key, or where it is too long for the broker its beginning and its digest."""
    data = key.encode("utf-8", "backslashreplace")  # text may hold half of a surrogate pair
    key = data.decode()
    return key if len(data) <= KEY_BYTES_MAX else f"{key[:_SHORTENED]}...[sha256 {sha256(data).hexdigest()}]"


def _function_name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _check_name(what: str, name: str) -> None:
    """Refuse a name that the broker would, or that might be taken for the key of a function."""
    if not isinstance(name, str) or not name or not name.isprintable() or set("[]") & set(name):
        raise ValueError(f"{what} must be a printable text without [ and ], not {name!r}")
    if len(name.encode()) > KEY_BYTES_MAX:
        raise ValueError(f"{what} has {len(name.encode())} bytes; it may have up to {KEY_BYTES_MAX}")


def _check_count(what: str, value: int) -> None:
    number = whole_number(value)
    if number is None or not 1 <= number < 2**32:
        raise ValueError(f"{what} must be a whole number from 1, not {value!r}")


def _check_rate(what: str, value: float) -> None:
    rate = real_number(value)
    if rate is None or not math.isfinite(rate):
        raise ValueError(f"{what} must be a finite number, not {value!r}")
    if not _RATE_MIN <= rate <= _RATE_MAX:
        raise ValueError(f"{what} must be more than 0, from {_RATE_MIN:g} to {_RATE_MAX:g}, not {value!r}")
