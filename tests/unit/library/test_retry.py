"""Retry policies travel as they were meant, and nonsense is refused where it is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest

from dagorama.retry import ExceptionTypes, ExponentialRetry, RetryConfiguration, StaticRetry
from dagorama.v1.graph_pb2 import RetryPolicy


class Three:
    """A number of another library."""

    def __index__(self) -> int:
        """Is taken for an int, as numpy's integers are."""
        return 3


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (StaticRetry(2, 1), RetryPolicy(max_attempts=2, interval_s=1, multiplier=1)),
        (StaticRetry(max_attempts=1, interval=0), RetryPolicy(max_attempts=1, multiplier=1)),
        (
            StaticRetry(max_attempts=5, interval=0.5, jitter=0.1),
            RetryPolicy(max_attempts=5, interval_s=0.5, multiplier=1, jitter=0.1),
        ),
        (ExponentialRetry(max_attempts=3), RetryPolicy(max_attempts=3, interval_s=1, multiplier=2)),
        (
            ExponentialRetry(4, 1.5, jitter=1, max_interval=10),
            RetryPolicy(max_attempts=4, interval_s=1, multiplier=1.5, interval_max_s=10, jitter=1),
        ),
        (ExponentialRetry(3, first=0.1), RetryPolicy(max_attempts=3, interval_s=0.1, multiplier=2)),
        (
            ExponentialRetry(Three(), Fraction(3, 2), first=Fraction(2), jitter=Fraction(1, 2)),  # type: ignore[arg-type] # numbers for Python
            RetryPolicy(max_attempts=3, interval_s=2, multiplier=1.5, jitter=0.5),
        ),
    ],
)
def test_a_policy_becomes_its_message(policy: RetryConfiguration, message: RetryPolicy) -> None:
    """The message says the same as the policy."""
    assert policy.as_message() == message


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: StaticRetry(0, 1), "max_attempts"),
        (lambda: StaticRetry(True, 1), "max_attempts"),
        (lambda: StaticRetry(2.5, 1), "max_attempts"),  # type: ignore[arg-type] # that is the mistake
        (lambda: StaticRetry(2, -1), "interval"),
        (lambda: StaticRetry(2, math.inf), "interval"),
        (lambda: StaticRetry(2, 10**400), "interval"),
        (lambda: ExponentialRetry(2, 1e10), "base_interval"),
        (lambda: ExponentialRetry(2, max_interval=1e300), "max_interval"),
        (lambda: StaticRetry(2, "1"), "interval"),  # type: ignore[arg-type] # that is the mistake
        (lambda: StaticRetry(2, 1, jitter=1.5), "jitter"),
        (lambda: ExponentialRetry(-1), "max_attempts"),
        (lambda: ExponentialRetry(2, 0.5), "base_interval"),
        (lambda: ExponentialRetry(2, math.nan), "base_interval"),
        (lambda: ExponentialRetry(2, first=0), "first"),
        (lambda: ExponentialRetry(2, first=True), "first"),
        (lambda: ExponentialRetry(2, max_interval=0), "max_interval"),
        (lambda: ExponentialRetry(2, jitter=-0.1), "jitter"),
        (lambda: StaticRetry(2, 1, retry_on="ValueError"), "retry_on"),  # type: ignore[arg-type] # that is the mistake
        (lambda: StaticRetry(2, 1, retry_on=ValueError()), "retry_on"),  # type: ignore[arg-type] # that is the mistake
        (lambda: StaticRetry(2, 1, retry_on=()), "retry_on"),
        (lambda: ExponentialRetry(2, give_up_on=(OSError, int)), "give_up_on"),  # type: ignore[arg-type] # as above
        (lambda: ExponentialRetry(2, give_up_on=[OSError]), "give_up_on"),  # type: ignore[arg-type] # as above
    ],
)
def test_values_without_meaning_are_refused(make: Callable[[], object], name: str) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=rf"^{name} must"):
        make()


def test_the_way_to_a_shorter_first_wait_is_told() -> None:
    """A `base_interval` below 1 is mostly meant as the first wait, which it is not."""
    with pytest.raises(ValueError, match=r"not 0\.1; the first wait is set with first="):
        ExponentialRetry(3, base_interval=0.1)


@pytest.mark.parametrize("give_up_on", [ValueError, Exception, (KeyError, ValueError)])
def test_a_type_that_could_never_be_retried_is_refused(give_up_on: ExceptionTypes) -> None:
    """A type in `retry_on` that is one in `give_up_on`, or a kind of it, is a mistake."""
    with pytest.raises(ValueError, match=r"^retry_on has ValueError, which give_up_on rules out"):
        StaticRetry(2, 1, retry_on=(KeyboardInterrupt, ValueError), give_up_on=give_up_on)


@pytest.mark.parametrize(
    ("policy", "retried"),
    [
        (StaticRetry(2, 1), [OSError, ConnectionError, ValueError, KeyboardInterrupt]),
        (StaticRetry(2, 1, retry_on=OSError), [OSError, ConnectionError]),
        (StaticRetry(2, 1, give_up_on=OSError), [ValueError, KeyboardInterrupt]),
        (ExponentialRetry(2, retry_on=(OSError, ValueError), give_up_on=ConnectionError), [OSError, ValueError]),
    ],
)
def test_types_decide_who_is_retried(policy: RetryConfiguration, retried: list[type[BaseException]]) -> None:
    """A type stands for its subclasses; an exception that is in both is not retried."""
    kinds = (OSError, ConnectionError, ValueError, KeyboardInterrupt)
    assert [kind for kind in kinds if policy.retries(kind())] == retried


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    """Makes a group, as a TaskGroup does."""
    return BaseExceptionGroup("of a TaskGroup", errors)


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (group(ConnectionError()), True),
        (group(ConnectionError(), group(TimeoutError(), group(OSError()))), True),
        (group(ConnectionError(), ValueError()), False),
        (group(ConnectionError(), group(ConnectionError(), FileNotFoundError())), False),
        (group(ConnectionError(), SystemExit()), False),
        (ExceptionGroup("wrong values", [KeyError()]), False),
    ],
)
def test_a_group_is_retried_when_each_of_its_exceptions_is(error: BaseException, is_retried: bool) -> None:
    """What went wrong is in the group, at any depth; one exception that gives up gives up for all."""
    policy = StaticRetry(2, 1, retry_on=OSError, give_up_on=FileNotFoundError)
    assert policy.retries(error) == is_retried
    assert StaticRetry(2, 1).retries(error)
    assert StaticRetry(2, 1, give_up_on=FileNotFoundError).retries(error) == ("FileNotFound" not in repr(error))


def test_a_type_of_groups_stands_for_what_is_in_them() -> None:
    """Who names groups means them; what is in them can still give up."""
    by_group = StaticRetry(2, 1, retry_on=ExceptionGroup, give_up_on=KeyError)
    assert [by_group.retries(group(kind())) for kind in (ValueError, KeyError)] == [True, False]
    assert not StaticRetry(2, 1, give_up_on=ExceptionGroup).retries(group(ValueError()))
