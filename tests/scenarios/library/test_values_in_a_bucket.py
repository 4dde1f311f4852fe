"""Large values go between nodes by way of a bucket, and wait for one that is away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from dagorama_broker.values.objects import Objects
from tests.object_stores import Gate, ObjectServer, reach
from tests.timing import WAIT_S, until

SIZE = 300_000


class Texts(DAGDefinition):
    """Makes and takes large texts."""

    @dagorama().syncfn
    def entrypoint(self, text: str, waits_for: str) -> list[int]:
        return self.gather([self.measure(self.make(letter, waits_for), text) for letter in "ab"])

    @dagorama().syncfn
    def make(self, letter: str, waits_for: str) -> str:
        until(lambda: not waits_for or Path(waits_for).exists())
        return letter * SIZE

    @dagorama().syncfn
    def measure(self, made: str, text: str) -> int:
        return len(made) + len(text)

    @dagorama().syncfn
    def gather(self, sizes: list[int]) -> list[int]:
        return sizes


class Small(DAGDefinition):
    """Has no large value."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        return number + 1


@pytest.fixture
def gate(moto: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Run a broker whose values are in a bucket, behind a gate, and a worker with a slot for each node."""
    gate = Gate(moto.endpoint)
    reach(moto, monkeypatch, endpoint=gate.endpoint)
    monkeypatch.setenv("DAGORAMA_TEST_PLACE", moto.place())
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "inf")
    values = {"DAGORAMA_VALUES": os.environ["DAGORAMA_TEST_PLACE"]}
    storage = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=storage, environment=values), launch_workers(1, concurrency=8):
        yield gate
    gate.close()


def test_nodes_wait_for_a_bucket_that_is_away(gate: Gate, tmp_path: Path) -> None:
    """What has no large value goes on meanwhile; the others go on by themselves."""
    go = tmp_path / "go"
    instance, _ = Texts()("x" * SIZE, str(go))
    gate.shut()
    go.touch()
    until(lambda: gate.refused > 0)
    small, _ = Small()(1)
    assert small.result(timeout=WAIT_S) == 2
    gate.open()
    assert instance.result(timeout=WAIT_S) == [2 * SIZE, 2 * SIZE]
    assert len(Objects(os.environ["DAGORAMA_TEST_PLACE"]).names("values")) == 3
