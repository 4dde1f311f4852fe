"""The keys of calls for the limits of their function."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from inspect import Parameter
from typing import SupportsInt, TypeGuard
from uuid import UUID

from dagorama.errors import LimitKeyError
from dagorama.limits import KEY_BYTES_MAX, Key, Limit
from dagorama.models.promise import Promise
from dagorama.options import whole_number

#: A key that is longer than the broker takes is cut to this many characters, followed by its digest.
_SHORTENED = 100


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
