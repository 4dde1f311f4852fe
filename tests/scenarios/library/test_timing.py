"""How soon things happen, and what it costs when nothing does. Margins are wide: these machines are shared."""

import os
import time
from pathlib import Path
from statistics import median

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.retry import StaticRetry
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.timing import least_s

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Clock(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> float:
        return time.time()


class FailsOnce(DAGDefinition):
    def __init__(self, record: str) -> None:
        self.record = record

    @dagorama(retry=StaticRetry(max_attempts=2, interval=1)).syncfn
    def entrypoint(self) -> list[float]:
        with open(self.record, "a") as record:
            record.write(f"{time.time()}\n")
        attempts = [float(line) for line in Path(self.record).read_text().split()]
        if len(attempts) == 1:
            raise OSError("the first attempt fails")
        return attempts


def cpu_s(pid: int) -> float:
    """The CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def test_idle_worker_starts_a_new_node_at_once() -> None:
    """From the submit to the start of the node it takes less than 20 ms, in the median."""
    with launch_broker(port=0), launch_workers(1):
        Clock()()[0].result(timeout=20)
        assert least_s(lambda: median(wait_s() for _ in range(50)), 0.020) < 0.020


def wait_s() -> float:
    """How long it is from a submit to the start of its node."""
    submitted = time.time()
    instance, _ = Clock()()
    return instance.result(timeout=20) - submitted


def test_retry_comes_when_it_is_due(tmp_path: Path) -> None:
    """A backoff of 1 s ends after 1.0 to 1.1 s."""
    with launch_broker(port=0), launch_workers(1):
        Clock()()[0].result(timeout=20)
        backoffs: list[float] = []

        def backoff_s() -> float:
            first, second = FailsOnce(str(tmp_path / f"record {len(backoffs)}"))()[0].result(timeout=20)
            backoffs.append(second - first)
            return backoffs[-1]

        # Where it was polled for, one backoff could end in time by chance, and hardly three of them in a row.
        assert least_s(lambda: max(backoff_s() for _ in range(3)), 1.1) < 1.1
    assert min(backoffs) >= 1.0


def test_idle_processes_do_nothing() -> None:
    """Without work, broker and worker use less than 1 % of a core each: nobody polls."""
    with launch_broker(port=0) as broker, launch_workers(1) as workers:
        Clock()()[0].result(timeout=20)
        pids = [broker.process.pid, *(worker.pid for worker in workers if worker.pid)]
        before = [cpu_s(pid) for pid in pids]
        time.sleep(5)
        used = [cpu_s(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
    assert len(used) == 2
    assert max(used) < 0.05
