"""`dagorama trace`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagorama.cli import snapshots
from dagorama.cli.main import group
from dagorama.client.status import AttemptStatus
from tests.scenarios.cli.told import BEGAN, INSTANCE, Told, counted, instance, node, telling
from tests.unit.analysis.test_chrome import check_format, slices


def at(seconds: float) -> object:
    """Returns a time after the begin."""
    return BEGAN + timedelta(seconds=seconds)


@pytest.fixture
def told() -> Iterator[Told]:
    """A node that failed once and then completed, and one that takes its value and runs."""
    failed = AttemptStatus(
        number=1,
        worker="w:1",
        ended_at=BEGAN + timedelta(seconds=2),
        type="OSError",
        message="no",
        traceback="",
        granted_at=BEGAN + timedelta(seconds=1),
        started_at=BEGAN + timedelta(seconds=1),
        duration_s=1.0,
    )
    times: dict[str, Any] = {"granted_at": at(3), "started_at": at(3), "duration_s": 2.0}
    nodes = [
        node(1, ended_s=5, failures=(failed,), attempts=2, worker="w:2", ready_at=at(0), **times),
        node(2, state="leased", dependencies=(1,), worker="w:1", ready_at=at(5), granted_at=at(6), started_at=at(6)),
    ]
    with telling(Told([instance(counts=counted(nodes))], nodes)) as made:
        yield made


def trace(*words: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(group, ["trace", str(INSTANCE), *words], prog_name="dagorama")


def test_an_instance_is_written_for_a_trace_viewer(told: Told, tmp_path: Path) -> None:
    """Attempts stand with their workers, those that failed too, and what runs goes on to now."""
    file = tmp_path / "trace.json"
    assert trace("--output", str(file)).output == ""
    document = json.loads(file.read_text())
    check_format(document)
    assert slices(document, "worker w:2") == [("Order.load", 1, 3_000_000, 2_000_000)]
    (failed, runs) = slices(document, "worker w:1")
    assert (failed, runs[:3], runs[3] > 0) == (
        ("Order.load", 1, 1_000_000, 1_000_000),
        ("Order.load", 1, 6_000_000),
        True,
    )
    outcomes = [e["args"]["outcome"] for e in document["traceEvents"] if e.get("cat", "").startswith("node")]
    assert sorted(outcomes) == ["OSError", "completed", "running"]


def test_what_has_ended_is_not_told_as_running() -> None:
    """Also where it is not known how long it took, or it took no time."""
    ended = node(1, ended_s=5, worker="w:1", ready_at=at(0), granted_at=at(3), started_at=at(3))
    with telling(Told([instance(counts=counted([ended]))], [ended])):
        document = json.loads(trace().stdout)
    assert slices(document, "worker w:1") == [("Order.load", 1, 3_000_000, 2_000_000)]
    assert [e["args"]["outcome"] for e in document["traceEvents"] if e.get("cat", "").startswith("node")] == [
        "completed"
    ]


def test_it_goes_to_standard_output_without_a_file(told: Told) -> None:
    """So it can be packed, or sent on."""
    assert json.loads(trace().stdout)["otherData"]["title"] == f"shop:Order {INSTANCE}"


def test_an_instance_that_is_too_large_is_refused(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read for minutes."""
    monkeypatch.setattr(snapshots, "NODES_MAX", 1)
    finished = trace()
    assert (finished.exit_code, "there is no trace of it" in finished.stderr) == (4, True)
