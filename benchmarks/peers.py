"""The same graphs on systems that are installed beside dagorama: Ray, Dask and Celery. None of them is needed here.

Each uses what its own documentation recommends for a graph of small tasks. Their modules have no types to rely on, so
they are `Any` here, and the numbers that come back are checked by the caller.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks import graphs
from benchmarks.systems import Starter, System, warm

CELERY_APP = "benchmarks.celery_app"


class Ray:
    """Tasks of Ray, which pass their results by reference."""

    roles: dict[int, str]

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.no_op, self.step, self.now, self.pid = map(
            ray.remote, (graphs.no_op, graphs.step, graphs.clock, graphs.pid)
        )
        self.gather = ray.remote(_count)

    def fan_out(self, width: int) -> int:
        return int(self.ray.get(self.gather.remote(*[self.no_op.remote(index) for index in range(width)])))

    def chain(self, length: int) -> int:
        position: Any = 0
        for _ in range(length):
            position = self.step.remote(position)
        return int(self.ray.get(position))

    def clock(self) -> float:
        return float(self.ray.get(self.now.remote()))

    def crew(self, width: int) -> set[int]:
        return set(self.ray.get([self.pid.remote() for _ in range(width)]))


def _count(*values: int) -> int:
    return len(values)


@contextmanager
def ray(workers: int) -> Iterator[System]:
    """Starts Ray on this machine with one worker process for each of its CPUs."""
    module = import_module("ray")
    module.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        system = Ray(module)
        warm(system, workers)
        yield system
    finally:
        module.shutdown()


class Dask:
    """Futures of Dask's distributed scheduler."""

    roles: dict[int, str]

    def __init__(self, client: Any) -> None:
        self.client = client

    def fan_out(self, width: int) -> int:
        futures = self.client.map(graphs.no_op, range(width), pure=False)
        return int(self.client.submit(graphs.gather, futures, pure=False).result())

    def chain(self, length: int) -> int:
        position: Any = 0
        for _ in range(length):
            position = self.client.submit(graphs.step, position, pure=False)
        return int(position.result())

    def clock(self) -> float:
        return float(self.client.submit(graphs.clock, pure=False).result())

    def crew(self, width: int) -> set[int]:
        return set(self.client.gather([self.client.submit(graphs.pid, pure=False) for _ in range(width)]))


@contextmanager
def dask(workers: int) -> Iterator[System]:
    """Starts a scheduler in this process and the workers in processes of their own."""
    module = import_module("distributed")
    with (
        module.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        module.Client(cluster) as client,
    ):
        system = Dask(client)
        warm(system, workers)
        yield system


class Celery:
    """Tasks, chords and chains of Celery over Redis."""

    roles: dict[int, str]

    def __init__(self, app: Any) -> None:
        self.tasks: dict[str, Any] = {name: app.tasks[name] for name in ("no_op", "gather", "step", "clock", "pid")}
        self.group, self.chord, self.chained = (
            getattr(import_module("celery"), name) for name in ("group", "chord", "chain")
        )

    def fan_out(self, width: int) -> int:
        calls = [self.tasks["no_op"].s(index) for index in range(width)]
        return int(self.chord(calls)(self.tasks["gather"].s()).get())

    def chain(self, length: int) -> int:
        calls = [self.tasks["step"].s(0), *[self.tasks["step"].s() for _ in range(length - 1)]]
        return int(self.chained(*calls)().get())

    def clock(self) -> float:
        return float(self.tasks["clock"].delay().get())

    def crew(self, width: int) -> set[int]:
        return set(self.group([self.tasks["pid"].s() for _ in range(width)])().get())


@contextmanager
def celery(workers: int) -> Iterator[System]:
    """Starts workers on the Redis that REDIS_URL names (redis://localhost)."""
    command = [sys.executable, "-m", "celery", "-A", CELERY_APP, "worker", f"--concurrency={workers}", "-l", "error"]
    process = subprocess.Popen([*command, "--without-gossip", "--without-mingle"], stdout=subprocess.DEVNULL)
    try:
        system = Celery(import_module(CELERY_APP).app)
        warm(system, workers)
        yield system
    finally:
        process.terminate()
        process.wait()


#: For each peer the module that must be installed, and how to start it.
PEERS: dict[str, tuple[str, Starter]] = {
    "ray": ("ray", ray),
    "dask": ("distributed", dask),
    "celery": ("celery", celery),
}


def missing(name: str) -> str | None:
    """Returns why a peer cannot be measured here, None if it can."""
    module, _ = PEERS[name]
    if find_spec(module) is None:
        return f"{name}: not installed (pip install {module})"
    if name == "celery":
        return _without_redis()
    return None


def _without_redis() -> str | None:
    """Returns why Celery has nothing to go over, None if it has."""
    if find_spec("redis") is None:
        return "celery: its Redis client is not installed (pip install redis)"
    module = import_module("redis")
    try:
        module.Redis.from_url(redis_url()).ping()
    except module.ConnectionError:
        return f"celery: no Redis answers at {redis_url()} (set REDIS_URL)"
    return None


def redis_url() -> str:
    return os.environ.get("REDIS_URL", "redis://localhost")
