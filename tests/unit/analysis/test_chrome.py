"""An instance in the Trace Event Format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from dagorama.analysis.chrome import Run, chrome_trace
from dagorama.analysis.phases import History
from tests.unit.analysis.histories import history, instances, node


def check_format(document: dict[str, Any]) -> None:
    """Raise `AssertionError` where a viewer would not know what to make of it."""
    assert json.loads(json.dumps(document)) == document
    threads = {(e["pid"], e["tid"]) for e in document["traceEvents"] if e["name"] == "thread_name"}
    open_until: dict[tuple[int, int], int] = {}
    slices = sorted((e for e in document["traceEvents"] if e["ph"] == "X"), key=lambda e: (e["ts"], e["dur"]))
    for event in slices:
        place = event["pid"], event["tid"]
        assert place in threads
        assert event["ts"] >= open_until.get(place, 0)  # slices of a thread that overlap and do not nest are not shown
        open_until[place] = event["ts"] + event["dur"]
    flows: dict[int, list[dict[str, Any]]] = {}
    for event in document["traceEvents"]:
        assert event["ph"] in ("X", "M", "s", "f")
        assert all(isinstance(event[key], int) for key in ("pid", "tid"))
        if event["ph"] in ("s", "f"):
            flows.setdefault(event["id"], []).append(event)
    for begin, end in flows.values():
        assert (begin["ph"], end["ph"], end["bp"], begin["ts"] <= end["ts"]) == ("s", "f", "e", True)


def slices(document: dict[str, Any], process: str) -> list[tuple[str, int, int, int]]:
    """Return the slices of a process: name, thread, begin and duration."""
    names = {e["pid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"}
    return [
        (e["name"], e["tid"], e["ts"], e["dur"])
        for e in document["traceEvents"]
        if e["ph"] == "X" and names[e["pid"]] == process
    ]


@pytest.fixture
def two() -> History:
    """Give two nodes of which the second takes the value of the first, beside one that nobody waits for."""
    return history(
        node("a1", ready_at=0.0, granted_at=1.0, started_at=1.0, returned_at=3.0, ended=3.0, label="load 7"),
        node("b1", ready_at=0.0, granted_at=1.0, started_at=1.0, returned_at=2.0, ended=2.0),
        node("c1", ready_at=3.0, granted_at=4.0, started_at=4.0, returned_at=6.0, ended=6.0, dependency_ids=("a1",)),
    )


def test_workers_have_rows_for_what_they_ran_at_once(two: History) -> None:
    """Each attempt is a slice of its worker, by label or method; nodes at the same time stand in rows of their own."""
    runs = [
        Run("a1", 1, "w:1", 0.25, 0.5, "ValueError"),
        Run("a1", 2, "w:1", 1.0, 3.0, "completed"),
        Run("b1", 1, "w:1", 1.0, 2.0, "completed"),
        Run("c1", 1, "w:2", 4.0, 6.0, "completed"),
        Run("gone", 1, "w:2", 4.0, 6.0, "completed"),
    ]
    document = chrome_trace(two, runs, title="shop")
    check_format(document)
    assert slices(document, "worker w:1") == [
        ("load 7", 1, 250_000, 250_000),
        ("D.b", 1, 1_000_000, 1_000_000),
        ("load 7", 2, 1_000_000, 2_000_000),
    ]
    assert slices(document, "worker w:2") == [("D.c", 1, 4_000_000, 2_000_000)]
    outcomes = [e["args"]["outcome"] for e in _events(document) if e["ph"] == "X" and "outcome" in e["args"]]
    assert outcomes == ["ValueError", "completed", "completed", "completed"]


def test_the_critical_path_is_marked(two: History) -> None:
    """It has a row of its own from begin to end without a gap, and its nodes are marked where they ran."""
    runs = [Run(name, 1, "w", 1.0, 2.0, "completed") for name in ("a1", "b1", "c1")]
    document = chrome_trace(two, runs)
    path = slices(document, "critical path")
    assert [name for name, *_ in path] == ["load 7: queued", "load 7: running", "D.c: queued", "D.c: running"]
    assert sum(duration for *_, duration in path) == 6_000_000
    marked = {e["args"]["node"]: e["args"]["critical"] for e in _events(document) if "critical" in e.get("args", {})}
    assert marked == {"a1": True, "b1": False, "c1": True}


def test_arrows_follow_values(two: History) -> None:
    """One leads from the run of a node to that of each node that takes its value, and none to where nothing ran."""
    runs = [Run("a1", 1, "w:1", 1.0, 3.0, "completed"), Run("c1", 1, "w:2", 4.0, 6.0, "running")]
    document = chrome_trace(two, runs)
    arrows = [(e["ph"], e["ts"], e["pid"]) for e in _events(document) if e["ph"] in "sf"]
    assert arrows == [("s", 2_999_999, 2), ("f", 4_000_000, 3)]
    assert [e for e in _events(chrome_trace(two, runs[:1])) if e["ph"] == "s"] == []


def _events(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["traceEvents"]
    return found


@given(instances())
def test_any_history_is_a_trace(drawn: History) -> None:
    """However an instance goes, and at whatever moment it is looked at, a viewer opens it."""
    runs = [
        Run(one.node_id, 1, f"w{len(one.node_id) % 2}", one.started_at, one.returned_at or drawn.now, "completed")
        for one in drawn.nodes
        if one.started_at is not None
    ]
    check_format(chrome_trace(drawn, runs))
