"""`dagorama graph`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from dagorama.cli import snapshots
from dagorama.cli.main import group
from tests.scenarios.cli.told import INSTANCE, Told, counted, instance, node, telling


@pytest.fixture
def told() -> Iterator[Told]:
    """An instance of an entrypoint and 250 calls that it made."""
    nodes = [node(1, function="shop:Order.entry"), *(node(number, parent=1) for number in range(2, 252))]
    with telling(Told([instance(counts=counted(nodes))], nodes)) as made:
        yield made


def graph(*words: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(group, ["graph", str(INSTANCE), *words], prog_name="dagorama")


def test_many_nodes_are_folded_by_function(told: Told) -> None:
    """The picture has a box for each function, and standard error says so."""
    finished = graph()
    assert finished.exit_code == 0
    assert finished.stdout.splitlines()[:4] == [
        "flowchart LR",
        '  n0["Order.entry<br/>1 completed"]:::completed',
        '  n1["Order.load<br/>250 completed"]:::completed',
        "  n0 -.->|250| n1",
    ]
    assert finished.stderr == "folded by function, as it has 251 nodes: --all draws each\n"


def test_all_draws_each_node(told: Told) -> None:
    """--all is heeded however many there are, and --fold however few."""
    assert len(ElementTree.fromstring(graph("--svg", "--all").stdout).findall(".//*[@rx]")) == 251
    told.nodes = told.nodes[:3]
    assert graph("--dot").stdout.count("label=") == 3
    assert graph("--dot", "--fold").stdout.count("n1 [label=") == 1
    assert (graph("--fold").stderr, graph("--all", "--fold").exit_code) == ("", 2)


def test_the_picture_is_there_as_json(told: Told) -> None:
    """Programs get boxes, and edges by their places."""
    found = json.loads(graph("--json").stdout)
    assert (found["folded"], len(found["vertices"])) == (True, 2)
    assert found["edges"] == [{"source": 0, "target": 1, "is_call": True, "count": 250}]


def test_an_instance_that_is_too_large_is_refused(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read for minutes, and the message has both numbers."""
    monkeypatch.setattr(snapshots, "NODES_MAX", 250)
    finished = graph("--all")
    assert finished.exit_code == 4
    assert "has 251 nodes, more than the 250 that are read for this; there is no picture of it" in finished.stderr
