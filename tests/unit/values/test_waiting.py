"""Which nodes wait for the store of values, by what their workers ask."""

from __future__ import annotations

import pytest

from dagorama_broker.values import waiting
from dagorama_broker.values.waiting import StoreWait, Waiting


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_a_node_waits_from_the_first_time_that_it_is_told_so() -> None:
    """And until something goes well; what was said last counts."""
    now = Time()
    nodes = Waiting(now)
    nodes.note(b"a", "full")
    now.at = 110.0
    nodes.note(b"a", "away")
    assert nodes.find(b"a") == StoreWait(100.0, "away")
    assert nodes.find(b"b") is None
    nodes.end(b"a")
    nodes.end(b"b")
    assert nodes.find(b"a") is None


def test_a_node_of_which_nothing_is_heard_does_not_wait() -> None:
    """Its worker asks again every second, while it waits."""
    now = Time()
    nodes = Waiting(now, now)
    nodes.note(b"a", "full")
    now.at = 131.0
    assert nodes.find(b"a") is None
    nodes.note(b"a", "full")
    assert nodes.find(b"a") == StoreWait(131.0, "full")


def test_a_node_waits_on_where_the_clock_is_set() -> None:
    """For how long nothing was heard of it is told by another one."""
    now, clock = Time(), Time()
    nodes = Waiting(now, clock)
    nodes.note(b"a", "full")
    now.at = 7_200.0
    assert nodes.find(b"a") == StoreWait(100.0, "full")
    now.at, clock.at = 50.0, 131.0
    assert nodes.find(b"a") is None


def test_no_more_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was heard of longest ago is forgotten."""
    monkeypatch.setattr(waiting, "_COUNT_MAX", 2)
    nodes = Waiting(Time())
    for node_id in (b"a", b"b", b"a", b"c"):
        nodes.note(node_id, "full")
    assert [nodes.find(node_id) is not None for node_id in (b"a", b"b", b"c")] == [True, False, True]
