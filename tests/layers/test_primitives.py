"""What threads of a worker wait at is little, and says what it is for."""

from __future__ import annotations

from tests.layers.primitives import counts, primitives


def test_a_worker_has_few_locks_and_threads() -> None:
    """One more has to be worth it: then the number here is changed with it."""
    assert counts(primitives()) == {
        "locks of the worker": 11,
        "threads of the worker": 9,
        "locks of the logs": 6,
        "threads of the logs": 2,
    }


def test_each_says_what_it_is_for() -> None:
    """A comment beside its line, or above it."""
    assert [each for each in primitives() if not each.why] == []
