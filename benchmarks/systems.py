"""What is measured: dagorama on a durable and on a memory broker, the process pool, and installed peers.

Every system is started with the same number of worker processes, is warmed by a small graph of each kind, and is asked
for the same graphs. `roles` names the processes whose CPU time belongs to it.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Protocol

from benchmarks import graphs
from benchmarks.cpu import descendants
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker


class System(Protocol):
    """Something that runs graphs in other processes. Each method returns with the value in hand."""

    roles: dict[int, str]

    def fan_out(self, width: int) -> int:
        """Runs `width` no-ops and gathers them; returns how many it gathered."""
        ...

    def chain(self, length: int) -> int:
        """Runs `length` steps, each of which needs the one before; returns their number."""
        ...

    def clock(self) -> float:
        """Runs one function that returns when it was started, in seconds since the epoch."""
        ...

    def crew(self, width: int) -> set[int]:
        """Runs `width` functions of 10 ms and returns the ids of the processes that ran them."""
        ...


class Starter(Protocol):
    """Starts a system, warm, and stops it at the end of the `with` block."""

    def __call__(self, workers: int) -> AbstractContextManager[System]:
        """`workers` is the number of processes that run the functions."""
        ...


def warm(system: System, workers: int) -> None:
    """Returns when every worker takes part and has run each kind of function; raises when one does not within 60 s."""
    give_up_at = monotonic() + 60
    crew: set[int] = set()
    while len(crew) < workers:
        if monotonic() > give_up_at:
            raise TimeoutError(f"only {len(crew)} of {workers} workers take part after 60 s")
        crew |= system.crew(4 * workers)
    system.fan_out(100 * workers)
    system.chain(10)
    system.clock()
    system.roles = {os.getpid(): "spawner"} | dict.fromkeys(crew, "workers")


class Dagorama:
    """A broker and workers of this tree."""

    roles: dict[int, str]

    def fan_out(self, width: int) -> int:
        instance, _ = graphs.FanOut()(width)
        return instance.result()

    def chain(self, length: int) -> int:
        instance, _ = graphs.Chain()(length)
        return instance.result()

    def clock(self) -> float:
        instance, _ = graphs.Clock()()
        return instance.result()

    def crew(self, width: int) -> set[int]:
        instance, _ = graphs.Crew()(width)
        return instance.result()


@contextmanager
def dagorama_on(storage: str, workers: int) -> Iterator[System]:
    """Starts a broker on the storage and the workers."""
    before = descendants(os.getpid())
    with launch_broker(port=0, storage=storage):
        broker = descendants(os.getpid()) - before
        with launch_workers(workers):
            system = Dagorama()
            warm(system, workers)
            system.roles |= dict.fromkeys(broker, "broker")
            yield system


@contextmanager
def memory(workers: int) -> Iterator[System]:
    """Dagorama, with a broker that keeps its state in memory."""
    with dagorama_on("memory:", workers) as system:
        yield system


def durable_in(folder: Path) -> Starter:
    """Dagorama, with a broker that commits to an SQLite file in the folder with synchronous=FULL."""

    @contextmanager
    def durable(workers: int) -> Iterator[System]:
        with (
            TemporaryDirectory(dir=folder, prefix="dagorama-bench-") as directory,
            dagorama_on(f"sqlite:///{directory}/broker.sqlite3", workers) as system,
        ):
            yield system

    return durable


class ProcessPool:
    """The standard library's process pool. It has no graph: this process waits for values and passes them on."""

    roles: dict[int, str]

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def fan_out(self, width: int) -> int:
        futures = [self.pool.submit(graphs.no_op, index) for index in range(width)]
        return graphs.gather([future.result() for future in futures])

    def chain(self, length: int) -> int:
        position = 0
        for _ in range(length):
            position = self.pool.submit(graphs.step, position).result()
        return position

    def clock(self) -> float:
        return self.pool.submit(graphs.clock).result()

    def crew(self, width: int) -> set[int]:
        futures = [self.pool.submit(graphs.pid) for _ in range(width)]
        return {future.result() for future in futures}


@contextmanager
def process_pool(workers: int) -> Iterator[System]:
    """Starts the process pool. Its processes are spawned: this one has threads, with which a fork does not mix."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        system = ProcessPool(pool)
        warm(system, workers)
        yield system
