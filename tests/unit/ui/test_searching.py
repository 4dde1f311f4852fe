"""Texts are found in all nodes of an instance, however many there are."""

from __future__ import annotations

import pytest

from dagorama import DAGDefinition, Instance, dagorama, instances
from dagorama.testing import in_process_broker
from dagorama.ui.pages import searching
from dagorama.ui.pages.asked import Found
from dagorama.ui.pages.searching import find_nodes, fits, is_named, matches
from dagorama.ui.pages.shared import times

pytestmark = pytest.mark.asyncio


class Files(DAGDefinition):
    """Reads files."""

    @dagorama(queue_name="files").syncfn
    def entrypoint(self, count: int) -> int:
        """Adds what they have."""
        return self.total([self.read(number, f"row-{number}") for number in range(count)])

    @dagorama(queue_name="files", label="File {number:03}.CSV").syncfn
    def read(self, number: int, first: str) -> int:
        """Reads one."""
        return number

    @dagorama(queue_name="files").syncfn
    def total(self, numbers: list[int]) -> int:
        """Adds."""
        return sum(numbers)


def made(count: int) -> Instance:
    """Return an instance that has ended."""
    Files()(count)[0].result()
    (one,) = instances(limit=1)
    return one


async def pages(instance: Instance, *words: str, function: str = "", states: tuple[str, ...] = ()) -> list[Found]:
    """Return all pages of a search."""
    found: list[Found] = []
    cursor = ""
    while not found or cursor:
        listing = instance.nodes(state=states or None, function=function or None)
        found.append(await find_nodes(instance, listing, words, cursor, states=states, function=function))
        cursor = found[-1].next_cursor
    return found


def labels(found: list[Found]) -> list[str]:
    """Return what the found nodes are called."""
    return [node.label or node.function.rpartition(".")[2] for page in found for node in page.items]  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_large", [True, False])
async def test_texts_are_found_in_all_nodes(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In labels, functions, ids and inputs, each node once, page by page, with the filters."""
    if is_large:
        monkeypatch.setattr(searching, "LOOKED_AT_MAX", 0)
    with in_process_broker():
        instance = made(120)
        nodes = {node.label: node for node in instance.nodes()}
        assert labels(await pages(instance, "file", "7.csv")) == [
            f"File {number:03}.CSV" for number in range(7, 120, 10)
        ]
        assert len(labels(await pages(instance, "files.read"))) == 120
        assert len(set(labels(await pages(instance, "file 1")))) == 20
        assert labels(await pages(instance, str(nodes["File 003.CSV"].id)[9:])) == ["File 003.CSV"]
        assert labels(await pages(instance, "row-77")) == ["File 077.CSV"]
        assert labels(await pages(instance, "row-77", "file")) == ["File 077.CSV"]
        assert labels(await pages(instance, "nothing of this")) == []
        read = nodes["File 003.CSV"].function
        assert labels(await pages(instance, "0", "total", function=read)) == []
        assert labels(await pages(instance, "file 003", states=("failed",))) == []
        assert labels(await pages(instance, "file 003", function=read, states=("completed",))) == ["File 003.CSV"]


async def test_columns_and_nodes_agree() -> None:
    """What is found in the columns is what is left out of the list."""
    with in_process_broker():
        instance = made(30)
        columns = await times.of(instance)
        for words in (["file"], ["0", "1"], ["total"], ["in-process", "2"], [str(columns.node_id(5))], ["row"], ["-"]):
            places = set(matches(columns, words, 0))
            nodes = list(instance.nodes())
            assert {place for place, node in enumerate(nodes) if is_named(node, words)} == places
            assert all(fits(node, words) for place, node in enumerate(nodes) if place in places)
