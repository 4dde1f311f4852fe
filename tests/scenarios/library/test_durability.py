"""A broker that is killed again and again loses nothing, and runs nothing a second time."""

import os
import pickle
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.launch import LaunchedBroker, launch_broker
from dagorama_broker.storage.url import open_journal

NODES = 2_000
KILLS = int(os.environ.get("DAGORAMA_TEST_KILLS", "50"))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
#: Workers that live are waited for, however slowly they come back: else their nodes are run again by others.
PATIENT = {"DAGORAMA_RECONNECT_GRACE_S": "3600"}


class Recorded(DAGDefinition):
    """Nodes that write down each time they run."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        return self.total([self.work(index) for index in range(count)])

    @dagorama().syncfn
    def work(self, index: int) -> int:
        with open(f"{self.folder}/{os.getpid()}", "a") as record:
            record.write(f"{index} {time.monotonic()}\n")
        time.sleep(0.004)
        return index

    @dagorama().syncfn
    def total(self, values: list[int]) -> int:
        return sum(values)


def executions(folder: Path) -> list[tuple[int, float]]:
    """Each execution of `work`: its index, and when it began."""
    lines = [line.split() for record in folder.iterdir() for line in record.read_text().splitlines()]
    return [(int(index), float(at)) for index, at in lines]


def wait_for_runs(folder: Path, count: int) -> None:
    """Wait until so many nodes have begun: on a slow machine workers may not be back before the next kill."""
    while sum(record.read_text().count("\n") for record in folder.iterdir()) < count:
        time.sleep(0.01)


def completed(url: str) -> set[int]:
    """The results of `work` that the storage holds, read while no broker runs."""
    journal = open_journal(url)
    snapshot = journal.open()
    journal.close()
    return {
        pickle.loads(node.payload)
        for instance in snapshot.instances
        for node in instance.nodes
        if node.state is NodeState.COMPLETED and node.payload is not None and node.function.name.endswith("work")
    }


@pytest.mark.timeout(480)
def test_killed_broker_loses_nothing(tmp_path: Path) -> None:
    """At every kill, what was acknowledged stays done; in the end each node ran once and the value is right."""
    rng = random.Random(SEED)
    url = f"sqlite:///{tmp_path}/broker.db"
    folder = tmp_path / "runs"
    folder.mkdir()
    acknowledged: dict[int, float] = {}
    with ExitStack() as stack:
        broker: LaunchedBroker = stack.enter_context(launch_broker(port=0, storage=url, environment=PATIENT))
        stack.enter_context(launch_workers(2))
        instance, _ = Recorded(str(folder))(NODES)
        for kill in range(KILLS):
            time.sleep(rng.uniform(0, 0.5))
            wait_for_runs(folder, min(4 * kill, NODES // 2))
            os.kill(broker.process.pid, signal.SIGKILL)
            broker.process.wait()
            killed_at = time.monotonic()
            for index in completed(url):
                acknowledged.setdefault(index, killed_at)
            broker = stack.enter_context(launch_broker(port=broker.port, storage=url, environment=PATIENT))
        assert instance.result(timeout=200) == sum(range(NODES))
    runs = executions(folder)
    assert [index for index, at in runs if at > acknowledged.get(index, float("inf"))] == []
    assert len(acknowledged) > KILLS
    assert {index: count for index, count in Counter(index for index, _ in runs).items() if count > 1} == {}
    assert len(runs) == NODES
