"""The critical path."""

from __future__ import annotations

from itertools import pairwise
from math import isclose
from time import process_time

import pytest
from hypothesis import given, settings

from dagorama.analysis.critical import critical_path, runs_of
from dagorama.analysis.phases import History
from dagorama.analysis.summary import analyze
from tests.unit.analysis.histories import history, instances, node


def path(found: History) -> list[tuple[str, str, float]]:
    """Returns the critical path as text can be compared."""
    return [(span.node.node_id, str(span.phase), span.duration_s) for span in critical_path(found)]


def test_the_slow_branch_is_the_path() -> None:
    """Of two dependencies the one that ended last is on the path, and the other is not."""
    found = history(
        node("quick", ended=1.0, started_at=0.0),
        node("slow", ended=6.0, started_at=1.0),
        node("last", ended=8.0, started_at=6.5, dependency_ids=("quick", "slow")),
    )
    assert path(found) == [
        ("slow", "queued", 1.0),
        ("slow", "running", 5.0),
        ("last", "queued", 0.5),
        ("last", "running", 1.5),
    ]


def test_the_path_goes_through_the_node_that_made_the_call() -> None:
    """Before a node that waited for nothing stands the function that called it, up to when it returned."""
    found = history(
        node("entry", ended=9.0, started_at=0.5, returned_at=1.5),
        node("work", created=2.0, ended=9.0, parent_id="entry", started_at=4.0),
        node("aside", created=2.0, ended=3.0, parent_id="entry", started_at=2.0),
    )
    assert path(found) == [
        ("entry", "queued", 0.5),
        ("entry", "running", 1.0),
        ("entry", "transfer", 0.5),
        ("work", "queued", 2.0),
        ("work", "running", 5.0),
    ]


def test_a_joining_node_ends_with_the_child_that_ended_last() -> None:
    """The broker's time between the end of the child and that of the node is joining."""
    found = history(
        node("entry", ended=9.0, started_at=0.0),
        node("a", created=1.0, ended=8.0, parent_id="entry", started_at=1.0),
        node("b", created=1.0, ended=8.5, parent_id="entry", started_at=1.0),
    )
    assert path(found)[-2:] == [("b", "running", 7.5), ("entry", "joining", 0.5)]


def test_the_path_of_a_running_instance_leads_to_what_is_awaited_now() -> None:
    """Of nodes that have not ended, the one that has been under way for longest holds the rest."""
    found = history(
        node("entry", state="joining", started_at=0.0),
        node("young", created=1.0, state="leased", parent_id="entry", ready_at=1.0, started_at=6.0),
        node("old", created=1.0, state="leased", parent_id="entry", ready_at=1.0, started_at=2.0),
        node("later", created=1.0, parent_id="entry", dependency_ids=("young", "old")),
        now=7.0,
    )
    assert path(found) == [
        ("entry", "running", 1.0),
        ("old", "queued", 1.0),
        ("old", "running", 5.0),
    ]


def test_time_before_the_first_call_is_the_programs() -> None:
    """An instance that began before its first node did is waiting for the program that makes the calls."""
    found = history(node("a", created=3.0, ended=5.0, started_at=3.0), began=1.0)
    assert path(found) == [("a", "submitting", 2.0), ("a", "running", 2.0)]


def test_retries_on_the_path_are_told() -> None:
    """Attempts that failed, and the backoff after them, are on the path of what waited for them."""
    found = history(
        node("a", ended=9.0, failures_at=(2.0,), first_granted_at=1.0, granted_at=5.0, started_at=5.0),
        node("b", ended=10.0, started_at=9.0, dependency_ids=("a",)),
    )
    assert path(found)[:2] == [("a", "queued", 1.0), ("a", "retrying", 4.0)]
    assert analyze(found).critical_s == {"queued": 1.0, "retrying": 4.0, "running": 5.0}
    assert analyze(found).lost_s == 5.0


@pytest.mark.parametrize("size", [0, 1])
def test_an_instance_may_have_next_to_nothing(size: int) -> None:
    """Without nodes there is no path; with one that took no time neither."""
    found = history(*[node("a", ended=0.0)][:size])
    assert path(found) == []
    assert analyze(found).makespan_s == 0.0


def test_facts_that_lead_in_a_circle_end() -> None:
    """Nodes that depend on each other cannot be; if somebody tells of them all the same, the walk ends."""
    found = history(
        node("a", ended=5.0, started_at=4.0, dependency_ids=("b",), parent_id="b"),
        node("b", ended=5.0, started_at=4.0, dependency_ids=("a",), parent_id="a"),
    )
    assert sum(span.duration_s for span in critical_path(found)) == 5.0


@settings(max_examples=40)
@given(instances())
def test_the_path_is_connected_and_adds_up(found: History) -> None:
    """From the begin to the end each moment is in one span, whatever the instance looks like."""
    spans = critical_path(found)
    cursor = found.began_at
    for span in spans:
        assert span.began_at == cursor
        assert span.ended_at > span.began_at
        cursor = span.ended_at
    assert cursor == found.ended_at
    assert isclose(sum(analyze(found).critical_s.values()), found.makespan_s, abs_tol=1e-9)


@settings(max_examples=40)
@given(instances())
def test_neighbours_on_the_path_belong_together(found: History) -> None:
    """From one node the path goes on to a node that it made, that depends on it, or that joined it."""
    nodes = [group[0].node for group in runs_of(critical_path(found))]
    for earlier, later in pairwise(nodes):
        assert _are_linked(found, earlier.node_id, later.node_id)


def _are_linked(found: History, earlier: str, later: str) -> bool:
    """Tells whether a node follows on another, over nodes that took no time at most."""
    reached, edge = set[str](), {earlier}
    while edge:
        reached |= edge
        edge = {
            one.node_id
            for one in found.nodes
            if one.node_id not in reached
            and (
                one.parent_id in reached
                or not reached.isdisjoint(one.dependency_ids)
                or any(child.node_id in reached for child in found.children.get(one.node_id, ()))
            )
        }
    return later in reached


@settings(max_examples=40)
@given(instances())
def test_functions_share_the_path(found: History) -> None:
    """The functions' parts of the path are the whole of it, and their nodes are all nodes."""
    told = analyze(found)
    assert isclose(sum(one.critical_s for one in told.functions), found.makespan_s, abs_tol=1e-9)
    assert sum(one.nodes for one in told.functions) == len(found.nodes)
    assert sorted(told.phases_s) == sorted({phase for one in told.functions for phase in one.phases_s})


def test_a_long_tail_call_is_walked_without_recursion() -> None:
    """A chain in which each call returns the next one's promise, 5,000 deep, is walked in a moment."""
    depth = 5_000
    nodes = [
        node(
            f"n{place}",
            created=float(place),
            ended=float(depth),
            started_at=float(place),
            parent_id=f"n{place - 1}" if place else None,
        )
        for place in range(depth)
    ]
    began = process_time()
    spans = critical_path(history(*nodes))
    assert process_time() - began < 5.0
    assert [span.node.node_id for span in spans] == [f"n{place}" for place in range(depth)]


def test_what_came_before_a_revival_is_earlier_and_the_pause_counts_for_nothing() -> None:
    """A node that was run again after minutes was not in a queue for them, nor at work."""
    found = History(
        [
            node("first", ended=1.0, started_at=0.0),
            node(
                "again",
                ended=104.0,
                started_at=102.0,
                granted_at=101.0,
                ready_at=100.0,
                revived_at=100.0,
                dependency_ids=("first",),
            ),
        ],
        began_at=0.0,
        now=104.0,
        pauses=[(3.0, 100.0)],
    )
    assert path(found) == [
        ("again", "earlier", 3.0),
        ("again", "queued", 1.0),
        ("again", "transfer", 1.0),
        ("again", "running", 2.0),
    ]
    assert (found.makespan_s, analyze(found).phases_s["earlier"]) == (7.0, 3.0)
