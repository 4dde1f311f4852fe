"""What threads of a worker wait at is little, and says what it is for."""

from __future__ import annotations

from tests.layers.primitives import counts, primitives

#: One more has to be worth it: then the number is changed here with it. Three of the locks are there for metrics.
MOST = {"locks of the worker": 12, "threads of the worker": 9, "locks of the logs": 6, "threads of the logs": 2}


def test_a_worker_has_few_locks_and_threads() -> None:
    """No more than there are reasons for."""
    assert {what: number for what, number in counts(primitives()).items() if number > MOST[what]} == {}


def test_each_says_what_it_is_for() -> None:
    """A comment beside its line, or above it."""
    assert [each for each in primitives() if not each.why] == []
