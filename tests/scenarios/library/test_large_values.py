"""Large values go between nodes by way of the store, through a real broker and real workers."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.stored import value_files

MIB = 2**20


class Table:
    """Hands its buffer out, as arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return Table, (pickle.PickleBuffer(self.data),)

    def is_shared(self) -> bool:
        return memoryview(self.data).readonly


class Tables(DAGDefinition):
    """Gives and takes large values."""

    @dagorama().asyncfn
    async def entrypoint(self, table: Table, users: int) -> Any:
        made = self.make(7)
        used: list[Any] = [self.use(table, made, user) for user in range(users)]
        used += [await self.use_async([table], made) for _ in range(users)]
        return {"used": used, "made": made, "text": self.text(), "many": self.many(3)}

    @dagorama().syncfn
    def make(self, byte: int) -> Table:
        return Table(bytearray([byte]) * MIB)

    @dagorama().syncfn
    def use(self, table: Table, made: Table, user: int) -> tuple[bool, bool, int]:
        return table.is_shared(), made.is_shared(), len(table.data) + made.data[user]

    @dagorama().asyncfn
    async def use_async(self, tables: list[Table], made: Table) -> Table:
        return Table(bytes(tables[0].data[:100_000]) + bytes(made.data))

    @dagorama().syncfn
    def text(self) -> str:
        return "ü" * MIB

    @dagorama().syncfn
    def many(self, count: int) -> list[Any]:
        return [self.size([bytes([place]) * MIB, "x"]) for place in range(count)]

    @dagorama().syncfn
    def size(self, parts: list[Any]) -> int:
        return len(parts[0])


class Search(DAGDefinition):
    """Is made with a large value."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @dagorama().syncfn
    def entrypoint(self, trials: int) -> Any:
        return [self.trial(trial) for trial in range(trials)]

    @dagorama().syncfn
    def trial(self, trial: int) -> int:
        return len(self.table.data) + trial


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def values(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """The directory of the values of a broker, which has two workers; None for one in memory."""
    folder = tmp_path_factory.mktemp("large")
    storage = f"sqlite:///{folder}/broker.db" if request.param == "sqlite" else "memory:"
    before = os.environ.get("DAGORAMA_VALUE_CACHE")
    os.environ["DAGORAMA_VALUE_CACHE"] = str(folder / "cache")
    try:
        there = {"DAGORAMA_VALUES": str(folder / "values")} if request.param == "sqlite" else {}
        with launch_broker(port=0, storage=storage, environment=there), launch_workers(2):
            yield folder / "values" if request.param == "sqlite" else None
    finally:
        del os.environ["DAGORAMA_VALUE_CACHE"]
        if before is not None:
            os.environ["DAGORAMA_VALUE_CACHE"] = before


def run(table: Table, users: int) -> Any:
    """Run an instance."""

    async def started() -> Any:
        instance, _ = await Tables()(table, users)
        return await instance.aresult(timeout=60)

    return asyncio.run(started())


def test_large_values_arrive_as_they_were(values: Path | None) -> None:
    """As arguments and results, of plain and asynchronous functions, alone and in containers."""
    result = run(Table(bytearray(b"\5") * MIB), 3)
    assert result["used"][:3] == [(True, True, MIB + 7)] * 3
    assert [bytes(one.data) for one in result["used"][3:]] == [b"\5" * 100_000 + b"\7" * MIB] * 3
    assert bytes(result["made"].data) == b"\7" * MIB
    assert result["text"] == "ü" * MIB
    assert result["many"] == [MIB] * 3


def test_a_definition_is_made_with_a_large_value(values: Path | None) -> None:
    """It is no part of the messages about its nodes."""
    instance, _ = Search(Table(bytearray(b"\3") * 3 * MIB))(20)
    assert instance.result(timeout=60) == [3 * MIB + trial for trial in range(20)]
    assert values is None or any(path.stat().st_size > 3 * MIB for path in value_files(values))


@pytest.mark.parametrize("values", ["sqlite"], indirect=True)
def test_a_value_is_stored_once(values: Path) -> None:
    """However many nodes have it as an argument."""
    run(Table(b"\6" * MIB), 1)
    before = len(value_files(values))
    run(Table(b"\6" * MIB), 6)
    assert len(value_files(values)) == before
    assert not list((values / "incoming").iterdir())


def test_values_that_the_store_has_lost_are_stored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program that starts an instance, and by the worker that reports: each was sure that they are there."""
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    table = Table(bytearray(b"\4") * MIB)
    with ExitStack() as workers:
        with launch_broker(port=0) as broker:
            workers.enter_context(launch_workers(1))
            run(table, 1)
        with launch_broker(port=broker.port):
            result = run(table, 1)
    assert result["used"][0] == (True, True, MIB + 7)
    assert bytes(result["made"].data) == b"\7" * MIB
