"""A node of a finished instance is run again, with whatever its value went into."""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagorama import BrokerRefused, DAGDefinition, NodeFailed, dagorama
from dagorama.client.status import NodeStatus
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.queries import control_queue, list_nodes

DAGORAMA = [sys.executable, "-m", "dagorama.cli.main"]


class Shown:
    """Decodes for as long as its folder has a file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        if Path(f"{self.folder}/gone").exists():
            raise pickle.UnpicklingError("its class has changed")


class Prices(DAGDefinition):
    """Reads numbers from files: those of the parts, and a discount that only one node knows of."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def read(self, name: str) -> int:
        with open(f"{self.folder}/runs", "a") as runs:
            runs.write(f"{name}\n")
        return int(Path(f"{self.folder}/{name}").read_text())

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        return self.total(self.parts(), self.discount(Shown(self.folder)))

    @dagorama().syncfn
    def parts(self) -> Any:
        return [self.part(name) for name in ("bolt", "nut")]

    @dagorama().syncfn
    def part(self, name: str) -> int:
        return self.read(name)

    @dagorama().syncfn
    def discount(self, shown: Shown) -> int:
        return self.read("discount") // 10

    @dagorama().syncfn
    def total(self, parts: list[int], discount: int) -> int:
        return sum(parts) - discount


@pytest.fixture(scope="module", autouse=True)
def system() -> Iterator[None]:
    """Runs a broker and a worker for all tests of this module."""
    with launch_broker(port=0), launch_workers(1):
        yield


def begin(folder: Path) -> tuple[Any, dict[str, NodeStatus]]:
    """Runs an instance to its end; gives it and its nodes by the names of their functions, the last of each."""
    for name, number in (("bolt", 3), ("nut", 4), ("discount", 10)):
        (folder / name).write_text(str(number))
    instance, _ = Prices(str(folder))()
    assert instance.result(timeout=60) == 6
    (folder / "runs").unlink()
    return instance, {node.function.rpartition(".")[2]: node for node in list_nodes(instance.instance_id.bytes)}


def rerun(instance: Any, node: NodeStatus, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command."""
    command = [*DAGORAMA, "rerun", str(instance.instance_id), str(node.node_id), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_what_comes_of_a_node_is_run_again_and_compared(tmp_path: Path) -> None:
    """Neither what it came of nor what stands beside it runs; values that refer to new nodes may still be the same."""
    instance, nodes = begin(tmp_path)
    (tmp_path / "bolt").write_text("5")
    (tmp_path / "discount").write_text("99")  # it does not depend on the parts, so nobody reads it
    changed = rerun(instance, nodes["parts"])
    assert instance.result(timeout=60) == 8
    assert (tmp_path / "runs").read_text().split() == ["bolt", "nut"]
    rows = [line.split() for line in changed.stdout.splitlines()[1:]]
    told = [(function.rpartition(".")[2], state, value) for _, function, state, value in rows]
    assert told == [
        ("entrypoint", "completed", "changed"),
        ("parts", "completed", "changed"),
        ("total", "completed", "changed"),
        ("part", "completed", "new"),
        ("part", "completed", "new"),
    ]
    same = json.loads(rerun(instance, nodes["parts"], "--json").stdout)
    assert [node["change"] for node in same] == ["same", "same", "same", "", ""]
    assert changed.returncode == 0


def test_an_instance_can_be_rerun_from_its_entrypoint(tmp_path: Path) -> None:
    """In Python: all that it had called is made anew; while it runs there is no second rerun."""
    instance, _ = begin(tmp_path)
    (tmp_path / "nut").write_text("14")
    promise = instance._dagorama_promise
    queue = next(list_nodes(instance.instance_id.bytes)).queue
    control_queue(queue, paused=True)
    instance.rerun(promise)
    with pytest.raises(BrokerRefused, match="is running, so it cannot be rerun"):
        instance.rerun(promise)
    control_queue(queue, paused=False)
    assert instance.result(timeout=60) == 16
    nodes = list(list_nodes(instance.instance_id.bytes))
    assert [node.change for node in nodes if node.function.endswith("entrypoint")] == ["changed"]
    assert len(nodes) == 6


def test_arguments_that_no_longer_decode_fail_clearly(tmp_path: Path) -> None:
    """The failure names the function and the reason, and the command ends with status 1."""
    instance, nodes = begin(tmp_path)
    (tmp_path / "gone").touch()
    finished = rerun(instance, nodes["discount"])
    said = f"is failed; `dagorama show {instance.instance_id}` says why" in finished.stderr
    assert (finished.returncode, said) == (1, True), finished.stderr
    with pytest.raises(NodeFailed, match=r"arguments of .*Prices\.discount: .*its class has changed"):
        instance.result(timeout=60)
