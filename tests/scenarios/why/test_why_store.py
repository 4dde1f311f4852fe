"""Why a node waits whose values find no room, or no store that answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagorama import DAGDefinition, DAGInstance, NodeFailed, Reason, dagorama, launch_workers
from dagorama.cli.main import group
from dagorama_broker.launch import launch_broker
from tests.object_stores import Gate, ObjectServer, reach
from tests.small_disk import SmallDisk, small_disk
from tests.timing import WAIT_S, until

SIZE = 3 * 2**20


class Texts(DAGDefinition):
    """Makes and takes large texts."""

    @dagorama().syncfn
    def entrypoint(self, letter: str, waits_for: str = "") -> int:
        return self.measure(self.make(letter, waits_for))

    @dagorama().syncfn
    def make(self, letter: str, waits_for: str) -> str:
        until(lambda: not waits_for or Path(waits_for).exists())
        return letter * SIZE

    @dagorama().syncfn
    def measure(self, text: str) -> int:
        return len(text)


class Small(DAGDefinition):
    """Has no large value."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        return number + 1


def last_of(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Give the reasons at the end of the chain."""
    while reasons and reasons[0].because:
        reasons = reasons[0].because
    return reasons


def kinds(instance: DAGInstance[int]) -> list[str]:
    """Give what holds an instance, at the end of the chain."""
    return [reason.kind for reason in last_of(instance.why().reasons)]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """Run a broker whose values are on a small disk."""
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    storage = f"sqlite:///{tmp_path}/broker.db"
    with small_disk(tmp_path / "disk", monkeypatch) as disk:
        values = {"DAGORAMA_VALUES": str(disk.folder / "values")}
        with launch_broker(port=0, storage=storage, environment=values):
            yield disk


def test_a_node_says_that_it_waits_for_room(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All without large values goes on meanwhile; it goes on by itself when there is room."""
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "inf")
    disk.fill()
    with launch_workers(1, concurrency=2):
        instance, _ = Texts()("a")
        until(lambda: kinds(instance) == ["store", "running"])
        store, running = last_of(instance.why().reasons)
        assert "for the store of values: there is no room for the" in store.text
        assert str(disk.folder / "values") in store.text
        assert store.workers == running.workers
        shown = CliRunner().invoke(group, ["why", str(instance.instance_id)])
        assert "store: it has been waiting for" in shown.output
        small, _ = Small()(1)
        assert small.result(timeout=WAIT_S) == 2
        disk.make_room()
        assert instance.result(timeout=WAIT_S) == SIZE
        assert kinds(instance) == ["ended"]


def test_a_node_fails_that_is_not_to_wait_for_room(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the words of the broker."""
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "0")
    disk.fill()
    with launch_workers(1):
        instance, _ = Texts()("a")
        with pytest.raises(NodeFailed, match="there is no room for the"):
            instance.result(timeout=WAIT_S)
        disk.make_room()
        instance.retry()
        assert instance.result(timeout=WAIT_S) == SIZE


def test_a_node_says_that_it_waits_for_a_bucket(
    moto: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is away; it goes on by itself when that answers again."""
    gate, go = Gate(moto.endpoint), tmp_path / "go"
    reach(moto, monkeypatch, endpoint=gate.endpoint)
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "inf")
    place = moto.place()
    storage = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=storage, environment={"DAGORAMA_VALUES": place}), launch_workers(1):
        instance, _ = Texts()("a", str(go))
        gate.shut()
        go.touch()
        until(lambda: kinds(instance) == ["store", "running"])
        store, _ = last_of(instance.why().reasons)
        assert f"for the store of values: the store of values {place} cannot be used now" in store.text
        gate.open()
        assert instance.result(timeout=WAIT_S) == SIZE
    gate.close()
