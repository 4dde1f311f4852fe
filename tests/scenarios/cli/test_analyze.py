"""`dagorama analyze`, and what `dagorama show` has of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from dagorama import FunctionProgress
from dagorama.cli import looking, snapshots
from dagorama.cli.main import group
from dagorama.client.port import CountNodes
from dagorama.client.status import NodeStatus
from dagorama.states import NodeState
from tests.scenarios.cli.told import INSTANCE, Told, counted, instance, node, telling

ENTRY, LOAD, COLLECT = (f"shop.orders:OrderOfManyThings.{name}" for name in ("entrypoint", "load", "collect"))


def made() -> Sequence[NodeStatus]:
    """Makes an entrypoint, forty calls of which the last takes longest, and one that collects them."""
    calls = range(2, 42)
    return [
        node(1, function=ENTRY, ended_s=9.0),
        *(node(number, function=LOAD, parent=1, created_s=1.0, ended_s=1.0 + number / 10) for number in calls),
        node(42, function=COLLECT, parent=1, created_s=1.0, ended_s=9.0, dependencies=calls),
    ]


@pytest.fixture
def told() -> Iterator[Told]:
    """An instance that took 9 s, 4.1 s of them in its longest load."""
    nodes = made()
    with telling(Told([instance(state="completed", took_s=9.0, counts=counted(nodes))], nodes)) as found:
        yield found


def run(*words: str) -> str:
    """Runs a command here, and returns what it prints."""
    finished = CliRunner().invoke(group, words, prog_name="dagorama")
    assert (finished.exit_code, finished.stderr) == (0, "")
    return finished.stdout


def test_the_path_and_the_times_of_functions_are_told(told: Told) -> None:
    """Each step of the critical path has its time, and so has each function."""
    lines = run("analyze", str(INSTANCE)).splitlines()
    assert "took        9 s" in lines
    path = lines[lines.index("") + 1 :]
    steps = [line.split() for line in path[1 : path.index("")]]
    assert [(words[-2], words[-1]) for words in steps] == [(ENTRY, "unknown"), (LOAD, "unknown"), (COLLECT, "unknown")]
    assert [" ".join(words[:4]) for words in steps] == ["0 ms 1 s", "1 s 4.1 s", "5.1 s 3.9 s"]
    assert "9 s unknown: it is not recorded when nodes were started: they ran before the broker kept that" in lines


def test_nodes_are_told_apart_by_their_labels() -> None:
    """Which of forty it was stands in the path, in the list and in the picture; nothing in it is heeded."""
    nodes = [
        node(1, function=LOAD, ended_s=2.0, label="2026-\x1b[31m\nMarch.csv"),
        node(2, function=LOAD, state="ready", label="x" * 500),
    ]
    with telling(Told([instance(counts=counted(nodes))], nodes)):
        listed = run("show", str(INSTANCE), "--all")
        assert f"{LOAD} 2026-\\x1b[31m March.csv" in listed
        assert f"{LOAD} {'x' * 29}…" in listed
        assert "2026-#92;x1b#91;31m March.csv" in run("graph", str(INSTANCE))
        assert "xxxx" in run("analyze", str(INSTANCE))
        assert max(map(len, run("analyze", str(INSTANCE)).splitlines())) < 200


def test_the_sums_are_there_for_programs(told: Told) -> None:
    """The path adds up to the makespan, and the functions to the nodes."""
    found = json.loads(run("analyze", "--json", str(INSTANCE)))
    assert found["makespan_s"] == pytest.approx(9.0)
    assert sum(step["duration_s"] for step in found["path"]) == pytest.approx(9.0)
    assert [step["after_s"] for step in found["path"]] == pytest.approx([0.0, 1.0, 5.1])
    assert {one["function"]: one["nodes"] for one in found["functions"]} == {ENTRY: 1, LOAD: 40, COLLECT: 1}
    assert found["lost_s"] == 0.0


def test_a_long_path_is_cut_to_its_longest_steps(told: Told) -> None:
    """--limit leaves out the shorter steps, and says how many and how long."""
    assert "and 2 shorter steps, 4.9 s together: --limit shows more" in run("analyze", str(INSTANCE), "--limit", "1")


def test_an_overview_stands_in_show(told: Told) -> None:
    """How long it took, what its end hung on, and a row for each function with its states."""
    lines = run("show", str(INSTANCE)).splitlines()
    assert "took        9 s" in lines
    assert "critical    OrderOfManyThings.entrypoint 1 s, OrderOfManyThings.load 4.1 s, " in "\n".join(lines)
    (row,) = [line for line in lines if line.startswith(LOAD)]
    assert row.endswith("40 completed")
    assert json.loads(run("show", "--json", str(INSTANCE)))["functions"][0]["function"] == LOAD


def test_a_large_instance_is_shown_without(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """`show` is to answer at once, so it has nodes counted that it may not read; `analyze` has a bound of its own."""
    monkeypatch.setattr(looking, "ANALYZED_MAX", 41)
    monkeypatch.setattr(snapshots, "NODES_MAX", 41)
    counts = {NodeState.COMPLETED: 1_000_000, NodeState.FAILED: 3}
    told.more = {CountNodes: lambda _: [FunctionProgress(function=LOAD, counts=counts)]}
    shown = run("show", str(INSTANCE))
    assert "critical" not in shown
    assert shown.splitlines()[-1].split(maxsplit=1) == [LOAD, "1000000 completed, 3 failed"]
    assert json.loads(run("show", "--json", str(INSTANCE)))["functions"] is None
    refused = CliRunner().invoke(group, ["analyze", str(INSTANCE)], prog_name="dagorama")
    assert (refused.exit_code, "there is no analysis of it" in refused.stderr) == (4, True)


@pytest.mark.parametrize("nodes", [[], [node(1, state="ready")]], ids=["none", "one"])
def test_an_instance_that_has_hardly_begun_is_no_error(nodes: Sequence[NodeStatus]) -> None:
    """Without nodes there is no path and no table."""
    with telling(Told([instance(counts=counted(nodes))], nodes)):
        assert "running" in run("analyze", str(INSTANCE))
        assert "running" in run("show", str(INSTANCE))
        assert len(json.loads(run("analyze", "--json", str(INSTANCE)))["path"]) == len(nodes)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("command", ["show", "analyze"])
def test_it_fits_the_terminal(
    command: str, columns: int, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line is wider than the terminal, and the names of functions are whole."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for module in ("tables", "overview"):
        monkeypatch.setattr(f"dagorama.cli.{module}.is_drawn", lambda: True)
    group.main([command, str(INSTANCE)], prog_name="dagorama", standalone_mode=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line for line in lines if cell_len(line) > columns] == []
    text = "\n".join(lines)
    assert [name for name in ("entrypoint", "load", "collect", "9 s") if name not in text] == []
    assert ("█" in text) == (command == "show" and columns >= 60)
    assert len(lines) <= 45
