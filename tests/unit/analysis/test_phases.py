"""The phases of a node's life."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import NodeSnapshot
from tests.unit.analysis.histories import history, instances, node


def phases(found: History, node_id: str) -> list[tuple[str, float, float]]:
    """Returns the phases of a node, as text can be compared."""
    return [(str(span.phase), span.began_at, span.ended_at) for span in found.spans(found.by_id[node_id])]


def test_a_node_waits_is_queued_travels_runs_and_travels_back() -> None:
    """Each phase ends where the next one begins."""
    times = {"ready_at": 2.0, "granted_at": 3.0, "started_at": 3.5, "returned_at": 5.0}
    found = history(node("a", ended=2.0), node("b", ended=5.25, dependency_ids=("a",), **times))
    assert phases(found, "b") == [
        ("waiting", 0.0, 2.0),
        ("queued", 2.0, 3.0),
        ("transfer", 3.0, 3.5),
        ("running", 3.5, 5.0),
        ("transfer", 5.0, 5.25),
    ]


def test_a_queue_of_tainted_nodes_is_told_apart() -> None:
    """A node with a taint waits for a worker that tolerates it."""
    found = history(node("a", ended=9.0, taint="gpu", started_at=8.0))
    assert phases(found, "a") == [("tainted", 0.0, 8.0), ("running", 8.0, 9.0)]


def test_failed_attempts_and_backoff_are_one_phase() -> None:
    """What a node did between its first attempt and its last is lost, and so is the time until it was taken again."""
    one = node("a", ended=9.0, failures_at=(1.0, 4.0), first_granted_at=0.5, granted_at=6.0, started_at=7.0)
    expected = [("queued", 0.0, 0.5), ("retrying", 0.5, 6.0), ("transfer", 6.0, 7.0), ("running", 7.0, 9.0)]
    assert phases(history(one), "a") == expected


def test_the_last_attempt_of_a_failed_node_is_its_run() -> None:
    """Of a node that failed for good, only the attempts before the last count as retries."""
    found = history(node("a", ended=9.0, state="failed", failures_at=(4.0, 9.0), started_at=7.0))
    assert phases(found, "a") == [("retrying", 0.0, 7.0), ("running", 7.0, 9.0)]


def test_a_node_that_returned_promises_joins_until_they_are_there() -> None:
    """Its function ended when its calls came into being, whatever the worker's clock says."""
    parent = node("a", ended=8.0, started_at=1.0, returned_at=99.0)
    found = history(parent, node("b", created=3.0, ended=8.0, parent_id="a", started_at=3.0))
    assert phases(found, "a") == [("queued", 0.0, 1.0), ("running", 1.0, 3.0), ("joining", 3.0, 8.0)]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (node("a"), [("queued", 0.0, 5.0)]),
        (node("a", state="leased", started_at=1.0), [("queued", 0.0, 1.0), ("running", 1.0, 5.0)]),
        (node("a", state="backoff", failures_at=(1.0,)), [("retrying", 0.0, 5.0)]),
        (node("a", state="ready", failures_at=(1.0,)), [("retrying", 0.0, 1.0), ("queued", 1.0, 5.0)]),
        (node("a", ended=3.0, state="cancelled"), [("queued", 0.0, 3.0)]),
        (node("a", ended=3.0, state="dependency_failed"), [("waiting", 0.0, 3.0)]),
        (node("a", ended=3.0), [("unknown", 0.0, 3.0)]),
    ],
    ids=lambda value: value.state if isinstance(value, NodeSnapshot) else "",
)
def test_each_state_has_phases(one: NodeSnapshot, expected: list[tuple[str, float, float]]) -> None:
    """A node that has not ended is told of up to now; one whose start nobody recorded is said to be unknown."""
    one = node("a", state="ready") if one.state == "waiting" else one
    assert phases(history(one, now=5.0), "a") == expected


@settings(max_examples=40)
@given(instances())
def test_phases_follow_each_other_without_gap(found: History) -> None:
    """From when it came into being to its end each node is in one phase."""
    for one in found.nodes:
        cursor = one.created_at
        for span in found.spans(one):
            assert span.began_at == cursor
            assert span.ended_at > cursor
            cursor = span.ended_at
        assert cursor == found.end_of(one)


def test_times_that_contradict_themselves_are_put_in_order() -> None:
    """Clocks of workers may be anywhere; no phase is negative, and they still add up."""
    found = history(node("a", created=10.0, ended=20.0, ready_at=900.0, started_at=3.0, returned_at=1.0))
    assert sum(span.duration_s for span in found.spans(found.by_id["a"])) == 10.0
    assert all(span.duration_s > 0 for span in found.spans(found.by_id["a"]))
