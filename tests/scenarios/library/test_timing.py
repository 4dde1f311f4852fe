"""How soon things happen, and what it costs when nothing does. Margins are wide: these machines are shared.

How long a machine takes to hand anything to another process is taken off, as a pool of processes has it: what is slow
in broker and worker is not in that.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import pytest

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


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    """Give a pool of one process, spawned as this one has threads."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # it is there
        yield pool


def test_idle_worker_starts_a_new_node_at_once(pool: ProcessPoolExecutor) -> None:
    """From the submit to the start of the node it takes less than 20 ms, in the median."""
    with launch_broker(port=0), launch_workers(1):
        Clock()()[0].result(timeout=60)
        assert least_s(lambda: median(wait_s() for _ in range(50)) - busy_s(pool), 0.020) < 0.020


def busy_s(pool: ProcessPoolExecutor) -> float:
    """How long it is on this machine, just now, to another process and back, four times, in the median."""
    times_s = []
    for _ in range(20):
        began_at = time.monotonic()
        pool.submit(os.getpid).result()
        times_s.append(time.monotonic() - began_at)
    return 4 * median(times_s)


def wait_s() -> float:
    """How long it is from a submit to the start of its node."""
    submitted = time.time()
    instance, _ = Clock()()
    return instance.result(timeout=60) - submitted


def test_retry_comes_when_it_is_due(tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    """A backoff of 1 s ends after 1.0 to 1.1 s."""
    with launch_broker(port=0), launch_workers(1):
        Clock()()[0].result(timeout=60)
        backoffs: list[float] = []

        def backoff_s() -> float:
            first, second = FailsOnce(str(tmp_path / f"record {len(backoffs)}"))()[0].result(timeout=60)
            backoffs.append(second - first)
            return backoffs[-1]

        # Where it was polled for, one backoff could end in time by chance, and hardly three of them in a row.
        assert least_s(lambda: max(backoff_s() for _ in range(3)) - busy_s(pool), 1.1) < 1.1
    assert min(backoffs) >= 1.0


def test_idle_processes_do_nothing() -> None:
    """Without work, broker and worker use less than 1 % of a core each: nobody polls."""
    with launch_broker(port=0) as broker, launch_workers(1) as workers:
        Clock()()[0].result(timeout=60)
        pids = [broker.process.pid, *(worker.pid for worker in workers if worker.pid)]
        assert len(pids) == 2

        def used_s() -> float:
            before = [cpu_s(pid) for pid in pids]
            time.sleep(5)
            return max(cpu_s(pid) - earlier for pid, earlier in zip(pids, before, strict=True))

        # What they have still to tidy up after the node is in the first of them.
        assert least_s(used_s, 0.05) < 0.05
