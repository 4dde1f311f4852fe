"""The graph and the timeline as their scripts get them, over a broker in this process."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest

from dagorama import DAGDefinition, Instance, InstanceFailed, dagorama, instances
from dagorama.ui.pages import graph

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("broker")]


class Rows(DAGDefinition):
    """Reads rows, one of which is bad."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        """Adds what they have."""
        return self.total([self.read(number) for number in range(count)])

    @dagorama(label="row {number}").syncfn
    def read(self, number: int) -> int:
        """Reads one."""
        if number == 7:
            raise ValueError("no number")
        return number

    @dagorama().syncfn
    def total(self, numbers: list[int]) -> int:
        """Adds."""
        return sum(numbers)


def started(count: int) -> Instance:
    """Start an instance and have it end; return it."""
    Rows()(count)
    (found,) = instances()
    with suppress(InstanceFailed):
        found.wait()
    return found


async def told(client: httpx.AsyncClient, url: str, **query: str | list[str]) -> dict[str, Any]:
    """Return what an address tells, which is not refused."""
    answer = await client.get(url, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_pages_have_their_tabs_and_scripts(client: httpx.AsyncClient) -> None:
    """Nothing in them is a script or a style of its own."""
    url = f"/instances/{started(3).id}"
    for name in ("graph", "timeline"):
        answer = await client.get(f"{url}/{name}")
        assert f'aria-current="page">{name.title()}' in answer.text
        assert f"js/{name}.js" in answer.text
        assert "<style" not in answer.text
        assert " style=" not in answer.text


async def test_a_small_graph_has_each_node(client: httpx.AsyncClient) -> None:
    """With its state, label, address and place, and the edges between them; calls that values tell of are left out."""
    instance = started(3)
    picture = await told(client, f"/instances/{instance.id}/graph.json")
    nodes = {node.label or node.function.rpartition(".")[2]: node for node in instance.nodes()}
    vertices = {one["label"] or one["name"]: one for one in picture["vertices"]}
    assert {name: one["url"] for name, one in vertices.items()} == {
        name: f"/instances/{instance.id}/nodes/{node.id}" for name, node in nodes.items()
    }
    assert (vertices["row 1"]["state"], vertices["row 1"]["group"], picture["state"]) == (
        "completed",
        False,
        "completed",
    )
    assert vertices["entrypoint"]["x"] < vertices["row 1"]["x"] < vertices["total"]["x"]
    assert vertices["entrypoint"]["critical"]
    keys = {one["key"]: name for name, one in vertices.items()}
    assert {(keys[one["source"]], keys[one["target"]], one["call"]) for one in picture["edges"]} == {
        *[("entrypoint", f"row {number}", True) for number in range(3)],
        *[(f"row {number}", "total", False) for number in range(3)],
    }


@pytest.mark.parametrize("read_max", [graph.NODES_READ_MAX, 10])
async def test_a_group_is_opened_a_part_at_a_time(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, read_max: int
) -> None:
    """Whether the page has folded the nodes, or the broker."""
    monkeypatch.setattr(graph, "NODES_READ_MAX", read_max)
    monkeypatch.setattr(graph, "SHOWN_MAX", 20)
    url = f"/instances/{started(50).id}/graph.json"
    picture = await told(client, url)
    (group,) = [one for one in picture["vertices"] if one["group"]]
    assert (group["name"], group["total"], group["state"]) == ("read", 50, "failed")
    assert group["counts"] == {"completed": 49, "failed": 1}
    labels: list[str] = []
    cursor, parts = "", 0
    while parts == 0 or cursor:
        opened = await told(client, url, open=[f"{group['key']} {cursor}", "unknown 1"])
        (vertex,) = [one for one in opened["vertices"] if one["key"] == group["key"]]
        assert (vertex["part"]["first"], vertex["height"] > group["height"]) == (len(labels), True)
        labels += [cell["label"] for cell in vertex["part"]["cells"]]
        cursor, parts = vertex["part"]["next"], parts + 1
    assert labels == [f"row {number}" for number in range(50)]
    assert parts == 3


async def test_the_timeline_has_a_bar_for_each_run(client: httpx.AsyncClient) -> None:
    """With its node, and the critical path; of a part of the axis that part."""
    instance = started(5)
    url = f"/instances/{instance.id}/timeline.json"
    found = await told(client, url, pixels="100000")
    assert (found["total"], found["begun"], [row["worker"] for row in found["rows"]]) == (7, 7, ["in-process"])
    assert sum(bar[6] for bar in found["bars"]) == 7
    path = [found["nodes"][str(place)] for place in found["path"]]
    assert path[0][2] == "entrypoint"
    assert {node[0] for node in found["nodes"].values()} <= {str(node.id) for node in instance.nodes()}
    assert (await told(client, url, **{"from": "1000", "to": "1001"}))["bars"] == []


@pytest.mark.parametrize("query", ["from=x", "from=2&to=1", "from=nan", "pixels=inf", "to=-1"])
async def test_a_part_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """The answer names the field."""
    answer = await client.get(f"/instances/{started(1).id}/timeline.json?{query}")
    assert answer.status_code == 422
    assert query.rpartition("&")[2].partition("=")[0] in answer.text


async def test_what_is_not_known_is_not_found(client: httpx.AsyncClient) -> None:
    """An instance that there is not has no picture."""
    for name in ("graph", "graph.json", "timeline", "timeline.json"):
        assert (await client.get(f"/instances/01a21ecd-6fca-7572-950b-2e58db0fcb8e/{name}")).status_code == 404
