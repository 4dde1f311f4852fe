"""A failed instance goes on from where it failed."""

import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dagorama import BrokerRefused, DAGDefinition, InstanceFailed, NodeFailed, dagorama
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker


class Report(DAGDefinition):
    """Nodes that write down that they ran, one of which fails for as long as a file is missing."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def note(self, name: str) -> None:
        with open(f"{self.folder}/runs", "a") as runs:
            runs.write(f"{name}\n")

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        self.note("entrypoint")
        return self.total([self.load(place) for place in range(4)])

    @dagorama().syncfn
    def load(self, place: int) -> int:
        self.note(f"load {place}")
        if place == 2:
            return int(Path(f"{self.folder}/missing").read_text())
        return place

    @dagorama().syncfn
    def total(self, values: list[int]) -> int:
        self.note("total")
        return sum(values)


def test_a_retry_runs_only_what_failed(tmp_path: Path) -> None:
    """Also after a kill of the broker; who waits again gets the value, and what has not failed is not retried."""
    url = f"sqlite:///{tmp_path}/broker.db"
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=url))
        stack.enter_context(launch_workers(1))
        instance, _ = Report(str(tmp_path))()
        with pytest.raises(NodeFailed, match="FileNotFoundError"):
            instance.result(timeout=60)
        with pytest.raises(InstanceFailed):  # once the other nodes have ended, too: until then there is no retry
            instance.wait(timeout=60)
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait()
        stack.enter_context(launch_broker(port=broker.port, storage=url))
        (tmp_path / "missing").write_text("39")
        instance.retry()
        assert instance.result(timeout=60) == 0 + 1 + 39 + 3
        with pytest.raises(BrokerRefused, match="is completed, so it cannot be retried; only one that has failed can"):
            instance.retry()
    runs = Counter((tmp_path / "runs").read_text().splitlines())
    assert runs == {"entrypoint": 1, "load 0": 1, "load 1": 1, "load 2": 2, "load 3": 1, "total": 1}
