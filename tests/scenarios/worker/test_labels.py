"""Labels and inputs of asynchronous functions, on a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dagorama import DAGDefinition, Node, context, dagorama
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker


class Labelled(DAGDefinition):
    """Asynchronous nodes with labels, some of which hide arguments."""

    @dagorama(label="all {count}").asyncfn
    async def entrypoint(self, count: int) -> int:
        parts = [await self.part(number) for number in range(count)]
        return await self.total(parts, password="1234", limit=7)

    @dagorama(label="part {number:02}").asyncfn
    async def part(self, number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            context().label("the second one")
        await asyncio.to_thread(print, "part", number)
        return number

    @dagorama(label="total of {parts}", redact=("password",)).asyncfn
    async def total(self, parts: list[int], password: str, limit: int) -> int:
        return await self.hidden(sum(parts))

    @dagorama(inputs=False).asyncfn
    async def hidden(self, value: int) -> int:
        return value


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, list[Node]]]:
    """Run an instance; give its nodes by their functions."""

    async def run() -> dict[str, list[Node]]:
        instance, _ = await Labelled()(3)
        assert await instance.aresult(timeout=60) == 3
        found: dict[str, list[Node]] = {}
        async for node in instance.nodes():
            found.setdefault(node.function.rpartition(".")[2], []).append(node)
        return found

    with launch_broker(port=0), launch_workers(1, concurrency=4):
        yield asyncio.run(run())


def test_asynchronous_nodes_have_their_labels(nodes: dict[str, list[Node]]) -> None:
    """Of their arguments, of values that they waited for, and those that they gave themselves while others ran."""
    assert {name: [node.label for node in found] for name, found in nodes.items()} == {
        "entrypoint": ["all 3"],
        "part": ["part 00", "the second one", "part 02"],
        "total": ["total of [0, 1, 2]"],
        "hidden": [""],
    }


def test_asynchronous_nodes_show_their_inputs(nodes: dict[str, list[Node]]) -> None:
    """But those that are hidden."""
    (total,), (hidden,) = nodes["total"], nodes["hidden"]
    assert [node.inputs for node in nodes["part"]] == ["number=0", "number=1", "number=2"]
    assert (total.inputs or "").endswith("password=..., limit=7")
    assert hidden.inputs is None


def test_lines_of_asynchronous_nodes_are_under_their_labels(nodes: dict[str, list[Node]]) -> None:
    """Whichever ran beside them, and from a thread."""
    printed = {node.label: [str(line) for line in node.logs()] for node in nodes["part"]}
    assert printed == {"part 00": ["part 0"], "the second one": ["part 1"], "part 02": ["part 2"]}
