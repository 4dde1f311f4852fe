"""Who runs what, and when: first in first out by instance, and taints."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, resolve
from dagorama.runner import execute_worker, launch_workers
from dagorama_broker.launch import launch_broker


class Noted(DAGDefinition):
    """Nodes that note their order and the process that ran them."""

    def __init__(self, record: str) -> None:
        self.record = record

    @dagorama().syncfn
    def entrypoint(self, name: str, count: int) -> list[int]:
        return [self.note(name, index) for index in range(count)]

    @dagorama(queue_name="shared").syncfn
    def note(self, name: str, index: int) -> int:
        with open(self.record, "a") as record:
            record.write(f"{name}{index}\n")
        return index


class Mixed(DAGDefinition):
    """Plain and tainted nodes in one queue."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> list[tuple[str, int]]:
        return [node for index in range(count) for node in (self.plain(index), self.tainted(index))]

    @dagorama(queue_name="shared").syncfn
    def plain(self, index: int) -> tuple[str, int]:
        return "plain", os.getpid()

    @dagorama(queue_name="shared", taint_name="GPU").syncfn
    def tainted(self, index: int) -> tuple[str, int]:
        return "tainted", os.getpid()


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """A fresh broker for each test."""
    with launch_broker(port=0):
        yield


def test_equal_nodes_run_in_creation_order(tmp_path: Path) -> None:
    """One worker runs 8 equal nodes in the order of their calls."""
    Noted(str(tmp_path / "record"))("n", 8)
    execute_worker(infinite_loop=False)
    assert (tmp_path / "record").read_text().split() == [f"n{index}" for index in range(8)]


def test_first_instance_drains_before_the_second(tmp_path: Path) -> None:
    """No node of a younger instance runs while an older one has one that is ready."""
    for name in "abc":
        Noted(str(tmp_path / "record"))(name, 5)
    execute_worker(infinite_loop=False)
    assert (tmp_path / "record").read_text().split() == [f"{name}{index}" for name in "abc" for index in range(5)]


def test_tainted_node_waits_for_a_worker_that_tolerates_it() -> None:
    """A tainted node in a shared queue never reaches a worker without the toleration."""
    instance, promise = Mixed()(20)
    with launch_workers(2, exit_on_completion=True) as workers:
        for worker in workers:
            worker.join(100)
        intolerant = {worker.pid for worker in workers}
    assert resolve(instance, promise) is None
    execute_worker(queue_tolerations=["GPU"], infinite_loop=False)
    ran_by = instance.result(timeout=60)
    assert {kind for kind, pid in ran_by if pid in intolerant} == {"plain"}
    assert {pid for kind, pid in ran_by if kind == "tainted"} == {os.getpid()}


def test_shared_subexpression_runs_once(tmp_path: Path) -> None:
    """A promise that is passed twice to one call is one node, run once."""

    instance, _ = Twice(str(tmp_path / "record"))()
    execute_worker(infinite_loop=False)
    assert instance.result(timeout=60) == 14
    assert (tmp_path / "record").read_text() == "x"


class Twice(Noted):
    """Uses one value twice."""

    @dagorama().syncfn
    def entrypoint(self) -> int:  # type: ignore[override]  # another definition that shares the constructor
        x = self.x()
        return self.add(x, x)

    @dagorama().syncfn
    def x(self) -> int:
        with open(self.record, "a") as record:
            record.write("x")
        return 7

    @dagorama().syncfn
    def add(self, left: int, right: int) -> int:
        return left + right
