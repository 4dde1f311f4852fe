"""One large table for many nodes that take a while, beside what others do with it.

python -m benchmarks broadcast
"""

import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import click

from benchmarks.columns import NAP_S, Broadcast, Column, column, nap
from benchmarks.measure import Numbers, as_one_object, in_folder, tell
from benchmarks.values import MIB, crew

#: Gives a table to so many nodes; returns the sum of the sizes that they have seen.
Give = Callable[[bytes, int], int]
Starter = Callable[[int, Path], AbstractContextManager[Give]]


@contextmanager
def argument(workers: int, folder: Path) -> Iterator[Give]:
    """Dagorama, durable: `bytes` are an argument of the instance."""
    with crew(folder, workers):
        yield lambda table, width: Broadcast()(table, 0, width, False)[0].result(timeout=600)


@contextmanager
def promise(workers: int, folder: Path) -> Iterator[Give]:
    """Dagorama, durable: `bytes` are what a node gives, which makes them, too."""
    with crew(folder, workers):
        yield lambda table, width: Broadcast()(None, len(table), width, False)[0].result(timeout=600)


@contextmanager
def array_argument(workers: int, folder: Path) -> Iterator[Give]:
    """Dagorama, durable: an array is an argument of the instance."""
    with crew(folder, workers):
        yield lambda table, width: Broadcast()(Column(table), 0, width, True)[0].result(timeout=600)


@contextmanager
def array_promise(workers: int, folder: Path) -> Iterator[Give]:
    """Dagorama, durable: an array is what a node gives, which makes it, too."""
    with crew(folder, workers):
        yield lambda table, width: Broadcast()(None, len(table), width, True)[0].result(timeout=600)


@contextmanager
def process_pool(workers: int, folder: Path) -> Iterator[Give]:
    """The standard library's process pool, which sends the table with each call."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield lambda table, width: sum(pool.map(nap, [table] * width))


@contextmanager
def joblib(workers: int, folder: Path) -> Iterator[Give]:
    """Joblib, which writes large arrays of numpy to a file that its workers map."""
    parallel, delayed = (getattr(import_module("joblib"), name) for name in ("Parallel", "delayed"))
    numpy = import_module("numpy")
    with parallel(n_jobs=workers, temp_folder=str(folder)) as pool:

        def give(table: bytes, width: int) -> int:
            array = numpy.frombuffer(table, dtype="uint8")
            return int(sum(pool(delayed(nap)(array) for _ in range(width))))

        yield give


@contextmanager
def ray(workers: int, folder: Path) -> Iterator[Give]:
    """Ray, which keeps the table in shared memory."""
    module = import_module("ray")
    module.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        remote = module.remote(nap)

        def give(table: bytes, width: int) -> int:
            reference = module.put(table)
            return int(sum(module.get([remote.remote(reference) for _ in range(width)])))

        yield give
    finally:
        module.shutdown()


@contextmanager
def dask(workers: int, folder: Path) -> Iterator[Give]:
    """Dask's distributed scheduler, whose workers are given the table beforehand."""
    module = import_module("distributed")
    cluster = module.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, module.Client(cluster) as client:

        def give(table: bytes, width: int) -> int:
            future = client.scatter(table, broadcast=True)
            return int(sum(client.gather([client.submit(nap, future, pure=False) for _ in range(width)])))

        yield give


SYSTEMS: dict[str, Starter] = {
    "argument": argument,
    "promise": promise,
    "array_argument": array_argument,
    "array_promise": array_promise,
    "process_pool": process_pool,
    "joblib": joblib,
    "ray": ray,
    "dask": dask,
}
#: The modules without which they are left out.
NEEDED = {"joblib": ("joblib", "numpy"), "ray": ("ray",), "dask": ("distributed",)}


def took_s(give: Give, table: bytes, width: int) -> float:
    """Returns how long it takes to give a table to all; a wrong sum is an error."""
    began_at = perf_counter()
    found = give(table, width)
    if found != width * len(table):
        raise ValueError(f"the nodes have seen {found} bytes, not {width * len(table)}")
    return perf_counter() - began_at


@click.command()
@as_one_object
@click.option("--megabytes", default=50, show_default=True, type=click.IntRange(min=1), help="Of the table, MiB.")
@click.option("--nodes", default=60, show_default=True, type=click.IntRange(min=1), help=f"Each sleeps {NAP_S:g} s.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Worker processes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@in_folder
def broadcast(as_json: bool, megabytes: int, nodes: int, workers: int, rounds: int, folder: Path) -> None:
    """One table for many nodes: seconds until all have had it, beside what they sleep alone.

    As an argument and as a promise, `bytes` and an array, and by the standard library's process pool, joblib, Ray and
    Dask where installed; joblib gets an array, and the others `bytes`. All are warm: their workers have had a small one
    before. Everything else counts: sending, hashing and storing the table, and for a promise making it.
    """
    found: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        for name, start in SYSTEMS.items():
            absent = [module for module in NEEDED.get(name, ()) if find_spec(module) is None]
            if absent:
                click.echo(f"left out {name}: not installed (pip install {' '.join(absent)})", err=True)
                continue
            click.echo(f"round {number} of {rounds}: {name}", err=True)
            with start(workers, folder) as give:
                took_s(give, bytes(column(number, MIB).data), 4 * workers)  # all of them are there, and warm
                table = bytes(column(number, megabytes * MIB).data)
                found.setdefault(name, []).append(took_s(give, table, nodes))
    ideal_s = -(-nodes // workers) * NAP_S
    numbers: Numbers = {"ideal_s": ideal_s}
    for name, times_s in found.items():
        numbers |= {f"{name}_s": statistics.median(times_s), f"{name}_ratio": statistics.median(times_s) / ideal_s}
    tell(numbers, {"megabytes": megabytes, "nodes": nodes, "workers": workers, "rounds": rounds}, as_json=as_json)
