"""Failures: what they take with them, and when there is another attempt."""

from __future__ import annotations

from random import Random

import pytest

from dagorama_broker.core.model.values import RetryPolicy
from tests.unit.core.transcript import Bench, tidy


def test_a_failure_takes_its_dependents_with_it_and_nobody_else(bench: Bench) -> None:
    """Dependents name the root cause, however far; independent branches go on; then the instance is failed."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a b(a) c(b) d e(d) f(c,e)

        grant
        fail w1 a
        states i1
        ----
        WorkGranted w1 a#1 d#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed b because of a
        DependencyFailed c because of a
        DependencyFailed f because of a
        a=failed b=dependency_failed c=dependency_failed d=leased e=waiting f=dependency_failed

        complete w1 d
        grant
        complete w1 e
        memory
        ----
        NodeCompleted d d
        WorkGranted w1 e#3
        NodeCompleted e e
        InstanceFinished i1 failed
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_diamond_fails_once(bench: Bench) -> None:
    """A node that waits for two that fail is failed once, by the first; two causes do not mix."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a x b(a) c(a) d(b,c,x)

        grant
        fail w1 a
        fail w1 x
        ----
        WorkGranted w1 a#1 x#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed b because of a
        DependencyFailed c because of a
        DependencyFailed d because of a
        AttemptFailed x attempt=1 ValueError
        NodeFailed x
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_dependent_of_something_that_has_failed_is_failed_from_the_start(bench: Bench) -> None:
    """Nodes added after a failure that depend on it fail at once with its root cause; a live one beside is unharmed."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a b(a) live

        grant
        fail w1 a
        submit i1 c(live,b) d(c)
        complete w1 live
        ----
        WorkGranted w1 a#1 live#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed b because of a
        NodesCreated c d
        DependencyFailed c because of a
        DependencyFailed d because of a
        NodeCompleted live live
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_failed_attempt_is_followed_by_another_after_its_backoff(bench: Bench) -> None:
    """A static retry waits the same time each time; a tick before that does nothing; attempts are counted in all."""
    transcript = """
        given
        function flaky attempts=3 interval=2
        connect w1
        submit i1 a:flaky b(a)

        grant
        fail w1 a
        grant
        states i1
        wakeup
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 2
        a=backoff b=waiting
        at 2

        at 1.9
        tick
        grant
        ----

        at 2
        tick
        grant
        fail w1 a
        ----
        WorkGranted w1 a#2
        AttemptFailed a attempt=2 ValueError again at 4

        at 4
        tick
        grant
        fail w1 a
        failures a
        ----
        WorkGranted w1 a#3
        AttemptFailed a attempt=3 ValueError
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
        1 w1: ValueError: no
        2 w1: ValueError: no
        3 w1: ValueError: no
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_retry_that_succeeds_leaves_no_failure_behind(bench: Bench) -> None:
    """An instance whose nodes all complete in the end is completed, whatever attempts they took."""
    transcript = """
        given
        function flaky attempts=2
        connect w1
        submit i1 a:flaky b(a)

        grant
        fail w1 a
        tick
        grant
        complete w1 a
        grant
        complete w1 b
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 0
        WorkGranted w1 a#2
        NodeCompleted a a
        WorkGranted w1 b#3
        NodeCompleted b b
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_permanent_failure_is_not_tried_again(bench: Bench) -> None:
    """A failure that says so ends the node, whatever its retry policy."""
    transcript = """
        given
        function flaky attempts=9 interval=1
        connect w1
        submit i1 a:flaky

        grant
        fail w1 a permanent
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_backs_off_holds_nobody_up(bench: Bench) -> None:
    """While the oldest instance backs off the next one runs; after that the older goes first."""
    transcript = """
        given
        function flaky attempts=2 interval=1
        connect w1
        submit i1 a:flaky
        submit i2 b c

        grant
        fail w1 a
        grant
        at 1
        tick
        complete w1 b
        grant
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 1
        WorkGranted w1 b#2
        NodeCompleted b b
        WorkGranted w1 a#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_failed_attempt_leaves_no_children(bench: Bench) -> None:
    """The calls that a failing function has made do not come into being, so that the next attempt can make them."""
    transcript = """
        given
        function flaky attempts=2
        connect w1
        submit i1 a:flaky

        grant
        fail w1 a + b c(b)
        states i1
        tick
        grant
        complete w1 a alias=c + b c(b)
        states i1
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 0
        a=backoff
        WorkGranted w1 a#2
        NodesCreated b c
        NodeJoining a alias of c
        a=joining b=ready c=waiting
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(interval_s=2.0), [2, 2, 2, 2]),
        (RetryPolicy(interval_s=2.0, multiplier=3.0), [2, 6, 18, 54]),
        (RetryPolicy(interval_s=2.0, multiplier=3.0, interval_max_s=10.0), [2, 6, 10, 10]),
        (RetryPolicy(multiplier=3.0), [0, 0, 0, 0]),
    ],
)
def test_backoff_is_static_or_grows_up_to_its_cap(policy: RetryPolicy, expected: list[float]) -> None:
    """Without jitter the backoff depends on the attempt alone."""
    assert [policy.delay_s(attempt, Random(0)) for attempt in (1, 2, 3, 4)] == expected


@pytest.mark.parametrize("multiplier", [2.0, 10.0, 1e300])
def test_backoff_never_grows_beyond_a_year(multiplier: float) -> None:
    """Neither many attempts nor a large multiplier overflow the backoff; where there is a cap, it is that."""
    policy = RetryPolicy(interval_s=1.0, multiplier=multiplier)
    assert policy.delay_s(1_000_000, Random(0)) == 365 * 24 * 3600
    assert RetryPolicy(multiplier=multiplier).delay_s(1_000_000, Random(0)) == 0
    capped = RetryPolicy(interval_s=1.0, multiplier=multiplier, interval_max_s=60.0)
    assert capped.delay_s(1_000_000, Random(0)) == 60


def test_jitter_adds_up_to_its_share() -> None:
    """Delays with jitter lie between the interval and the interval plus its share, are spread, and follow the seed."""
    policy = RetryPolicy(interval_s=10.0, jitter=0.5)
    rng = Random(1)
    delays = [policy.delay_s(1, rng) for _ in range(1000)]
    assert 10 <= min(delays) < 10.1
    assert 14.9 < max(delays) < 15
    again = Random(1)
    assert delays == [policy.delay_s(1, again) for _ in range(1000)]
