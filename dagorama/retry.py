"""Retry policies: when a failed attempt is followed by another. All times are in seconds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dagorama.options import SECONDS_MAX, real_number, whole_number

if TYPE_CHECKING:  # protobuf is slow to import, and needed only where a policy travels
    from dagorama.v1.graph_pb2 import RetryPolicy

#: One type of exception, or several; a type stands for its subclasses too.
ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class RetryNumbers(NamedTuple):
    """A retry policy, as the broker follows it."""

    max_attempts: int
    interval_s: float
    #: How many times longer each wait is than the one before.
    multiplier: float
    #: No wait is longer; 0 for any length.
    interval_max_s: float
    #: Each is prolonged by a random part of up to this share of it.
    jitter: float


class RetryConfiguration(ABC):
    """A retry policy, given to a decorator as `retry=`."""

    @abstractmethod
    def as_message(self) -> RetryPolicy:
        """Return the policy as it travels."""

    def numbers(self) -> RetryNumbers:
        """Return the policy as the broker follows it."""
        policy = self.as_message()
        return RetryNumbers(*(getattr(policy, name) for name in RetryNumbers._fields))

    def retries(self, error: BaseException) -> bool:
        """Return whether an attempt whose function raised `error` may be followed by another, if any is left.

        Asked where the function ran, which knows the type; the broker counts attempts and sees to the waits.
        """
        return True


@dataclass(frozen=True)
class _RetryByType(RetryConfiguration):
    """The common part of the policies: the exceptions that are worth another attempt.

    With `retry_on` only these types are, subclasses included. The types of `give_up_on` never are, also where
    `retry_on` has a type that they are a kind of. Each exception of a group must be worth it, at any depth.
    """

    retry_on: ExceptionTypes | None = field(default=None, kw_only=True)
    give_up_on: ExceptionTypes | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a value that is no exception type, and types that could never be retried."""
        given_up = _types("give_up_on", self.give_up_on)
        for kind in _types("retry_on", self.retry_on):
            if issubclass(kind, given_up):
                raise ValueError(
                    f"retry_on has {kind.__qualname__}, which give_up_on rules out: an exception that is in both is "
                    "never retried, so take it out of one"
                )

    @abstractmethod
    def numbers(self) -> RetryNumbers:
        """Return the policy as the broker follows it."""

    def as_message(self) -> RetryPolicy:
        """Return the policy as it travels."""
        from dagorama.v1.graph_pb2 import RetryPolicy

        return RetryPolicy(**self.numbers()._asdict())

    def retries(self, error: BaseException) -> bool:
        """Return whether the type of `error` is worth another attempt; of a group, also what is in it."""
        given_up = _types("give_up_on", self.give_up_on)
        retry_on = BaseException if self.retry_on is None else self.retry_on
        left = [(error, False)]  # each with whether `retry_on` has the type of a group that it is in
        while left:
            error, is_named = left.pop()
            is_named = is_named or isinstance(error, retry_on)
            if isinstance(error, given_up):
                return False
            if isinstance(error, BaseExceptionGroup):
                left += [(part, is_named) for part in error.exceptions]
            elif not is_named:
                return False
        return True


@dataclass(frozen=True)
class StaticRetry(_RetryByType):
    """Up to `max_attempts` attempts, the first included, `interval` seconds apart.

    Each wait is prolonged by a random part of up to `jitter` (0 to 1) of it. `retry_on` and `give_up_on` are exception
    types, or tuples of them: an exception of the function is tried again only if it is one of the former and not of the
    latter. They do not count for an attempt that the function's `timeout` ends, which the broker does.
    """

    max_attempts: int
    interval: float
    jitter: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        _check_attempts(self.max_attempts)
        _check_between("interval", self.interval, 0, SECONDS_MAX)
        _check_between("jitter", self.jitter, 0, 1)

    def numbers(self) -> RetryNumbers:
        """Return the policy as the broker follows it."""
        return RetryNumbers(int(self.max_attempts), float(self.interval), 1.0, 0.0, float(self.jitter))


@dataclass(frozen=True)
class ExponentialRetry(_RetryByType):
    """Up to `max_attempts` attempts, the first included; the first wait is `first` seconds, each next one is longer.

    `base_interval` says how many times longer: the waits are f, f * b, f * b^2, ... with f = `first` and b =
    `base_interval`. No wait is longer than `max_interval`; each is prolonged by a random part of up to `jitter` (0 to
    1) of it. `retry_on` and `give_up_on` are as for `StaticRetry`.
    """

    max_attempts: int
    base_interval: float = 2
    jitter: float = field(default=0.0, kw_only=True)
    max_interval: float | None = field(default=None, kw_only=True)
    first: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        _check_attempts(self.max_attempts)
        _check_between("base_interval", self.base_interval, 1, SECONDS_MAX, "; the first wait is set with first=")
        _check_between("first", self.first, math.ulp(0), SECONDS_MAX)
        _check_between("jitter", self.jitter, 0, 1)
        if self.max_interval is not None:
            _check_between("max_interval", self.max_interval, math.ulp(0), SECONDS_MAX)

    def numbers(self) -> RetryNumbers:
        """Return the policy as the broker follows it."""
        return RetryNumbers(
            int(self.max_attempts),
            float(self.first),
            float(self.base_interval),
            float(self.max_interval or 0.0),
            float(self.jitter),
        )


def _types(name: str, value: ExceptionTypes | None) -> tuple[type[BaseException], ...]:
    """Return exception types as a tuple; refuses anything else, and a tuple of none, which says nothing."""
    types = () if value is None else value if isinstance(value, tuple) else (value,)
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"{name} must be an exception type or a tuple of them, not {value!r}")
    if value == ():
        raise ValueError(f"{name} must name at least one exception type, not (); leave it out to have no such rule")
    return types


def _check_attempts(value: int) -> None:
    """Refuse a number of attempts that is not a whole number from 1."""
    attempts = whole_number(value)
    if attempts is None or not 1 <= attempts < 2**32:
        raise ValueError(f"max_attempts must be a whole number from 1 (the first attempt counts), not {value!r}")


def _check_between(name: str, value: float, least: float, most: float, way_out: str = "") -> None:
    """Refuse a number that is not from `least` to `most`."""
    number = real_number(value)
    if number is None or number != number:
        raise ValueError(f"{name} must be a number, not {value!r}{way_out}")
    if not least <= number <= most:
        span = f"more than 0, and at most {most}" if least == math.ulp(0) else f"from {least:g} to {most}"
        raise ValueError(f"{name} must be {span}, not {value!r}{way_out}")
