"""When a failed attempt is followed by another. All times are in seconds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from dagorama.v1.graph_pb2 import RetryPolicy


class RetryConfiguration(ABC):
    """A retry policy, given to a decorator as `retry=`."""

    @abstractmethod
    def as_message(self) -> RetryPolicy:
        """Returns the policy as it travels."""


@dataclass(frozen=True)
class StaticRetry(RetryConfiguration):
    """Up to `max_attempts` attempts, the first included, `interval` seconds apart.

    Each wait is prolonged by a random part of up to `jitter` (0 to 1) of it.
    """

    max_attempts: int
    interval: float
    jitter: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuses values that mean nothing."""
        _check_attempts(self.max_attempts)
        _check_between("interval", self.interval, 0)
        _check_between("jitter", self.jitter, 0, 1)

    def as_message(self) -> RetryPolicy:
        """Returns the policy as it travels."""
        return RetryPolicy(max_attempts=self.max_attempts, interval_s=self.interval, multiplier=1.0, jitter=self.jitter)


@dataclass(frozen=True)
class ExponentialRetry(RetryConfiguration):
    """Up to `max_attempts` attempts, the first included, 1, b, b^2, ... seconds apart, with b = `base_interval`.

    No wait is longer than `max_interval`; each is prolonged by a random part of up to `jitter` (0 to 1) of it.
    """

    max_attempts: int
    base_interval: float = 2
    jitter: float = field(default=0.0, kw_only=True)
    max_interval: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuses values that mean nothing."""
        _check_attempts(self.max_attempts)
        _check_between("base_interval", self.base_interval, 1)
        _check_between("jitter", self.jitter, 0, 1)
        if self.max_interval is not None:
            _check_between("max_interval", self.max_interval, math.ulp(0))

    def as_message(self) -> RetryPolicy:
        """Returns the policy as it travels."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            interval_s=1.0,
            multiplier=self.base_interval,
            interval_max_s=self.max_interval or 0.0,
            jitter=self.jitter,
        )


def _check_attempts(value: int) -> None:
    """Refuses a number of attempts that is not a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**32:
        raise ValueError(f"max_attempts must be a whole number from 1 (the first attempt counts), not {value!r}")


def _check_between(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuses a number that is not finite, or not from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    if not least <= value <= most:
        bounds = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
        raise ValueError(f"{name} must be {bounds}, not {value!r}")
