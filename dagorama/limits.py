"""Limits: how many nodes with one key may run at once, and how many may start in a second.

A key is a text. All calls of all functions with the same key share one limit, which the broker keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from dagorama.options import real_number, whole_number

#: What a key function may give.
Key: TypeAlias = "str | int | UUID | Enum | tuple[Key, ...]"

#: The broker takes keys of up to this many bytes, and functions with up to this many limits.
KEY_BYTES_MAX, LIMITS_MAX = 500, 10
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
