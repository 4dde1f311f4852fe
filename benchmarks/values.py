"""Large values: how long they take on their way beside a plain copy of a file, and how often they are sent and stored.

python -m benchmarks values
"""

import os
import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

import click

from benchmarks.columns import Column, Made, Readers, Relay, column
from benchmarks.cpu import descendants
from benchmarks.measure import Numbers, as_one_object, in_folder, tell
from benchmarks.watchers import setting
from benchmarks.wire import Wire, counted
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker

T = TypeVar("T")

MIB = 2**20


@dataclass(frozen=True)
class Crew:
    """A durable broker and its workers, which speak to it by a way that counts."""

    folder: Path
    wire: Wire
    broker_pid: int

    def stored_bytes(self) -> int:
        """Returns how much there is in the store."""
        files = [Path(at, name) for at, _, names in os.walk(self.folder / "values") for name in names]
        return sum(file.stat().st_size for file in files)

    def broker_kib(self, key: str) -> int:
        """Returns what the broker has in memory (`VmRSS`), or has had at most (`VmHWM`; proc(5)), in KiB."""
        lines = Path(f"/proc/{self.broker_pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key))


@contextmanager
def crew(folder: Path, workers: int) -> Iterator[Crew]:
    """Starts them, with a store and a cache of values of their own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(dir=folder, prefix="dagorama-bench-")))
        stack.enter_context(setting({"DAGORAMA_VALUE_CACHE": str(directory / "cache")}))
        before = descendants(os.getpid())
        settings = {"DAGORAMA_VALUES": str(directory / "values")}
        url = f"sqlite:///{directory}/broker.sqlite3"
        broker = stack.enter_context(launch_broker(port=0, storage=url, environment=settings))
        (broker_pid,) = descendants(os.getpid()) - before
        wire = stack.enter_context(counted(broker.port))
        stack.enter_context(setting({"DAGORAMA_PORT": str(wire.port)}))
        stack.enter_context(launch_workers(workers))
        made = Crew(directory, wire, broker_pid)
        read(column(0, MIB), 10 * workers)
        relay(0, MIB)
        yield made


def relay(seed: int, size: int) -> Made:
    """Has a value made by a node, taken and given by another; returns it as it has come here, and was read."""
    instance, _ = Relay()(seed, size)
    made = instance.result(timeout=600)
    made.value.touch()
    return made


def read(source: Column | str, count: int) -> int:
    """Has an array read by so many nodes; returns the sum of what each has found."""
    instance, _ = Readers()(source, count)
    return instance.result(timeout=600)


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Returns how long something takes, in seconds, and what it returns."""
    began_at = perf_counter()
    value = run()
    return perf_counter() - began_at, value


def write(data: memoryview, file: Path) -> None:
    """Writes a file and waits until it is on the disk: what is measured next does not compete with that."""
    with file.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())


def copied(source: Path, target: Path) -> None:
    """Copies a file to a new one and waits until it is on the disk, as every store has to that keeps its word."""
    with source.open("rb") as file, target.open("xb") as written:
        shutil.copyfileobj(file, written, MIB)
        written.flush()
        os.fsync(written.fileno())


def relays(made: Crew, size: int, seed: int) -> Numbers:
    """Measures a value on its way from one node to another and from there to here.

    A file is copied before and after that. Both copies stay until then, so that neither they nor the value are written
    to memory that was given back a moment ago, which takes less time than memory that nobody has had for a while.
    """
    source, expected = made.folder / "plain", column(seed, size)
    write(expected.data, source)
    copies = [made.folder / "before", made.folder / "after"]
    before_s, _ = timed(lambda: copied(source, copies[0]))
    before_kib = made.broker_kib("VmRSS")
    relay_s, come = timed(lambda: relay(seed, size))
    after_s, _ = timed(lambda: copied(source, copies[1]))
    for copy in copies:
        copy.unlink()
    if come.value.data != expected.data:
        raise ValueError("another value has come")
    grew_mib = (made.broker_kib("VmHWM") - before_kib) / 1024
    copy_s = (before_s + after_s) / 2
    return {"copy_s": copy_s, "made_s": come.made_s, "relay_s": relay_s, "broker_grew_mib": grew_mib}


def readings(made: Crew, size: int, seed: int, readers: int) -> Numbers:
    """Measures many nodes that read one array, beside as many that map the same file themselves."""
    table, file = column(seed, size), made.folder / "plain"
    write(table.data, file)
    mapped_s, expected = timed(lambda: read(str(file), readers))
    stored, sent = made.stored_bytes(), made.wire.bytes
    read_s, found = timed(lambda: read(table, readers))
    if found != expected:
        raise ValueError(f"the nodes have read {found}, not {expected}")
    stored_mib, sent_mib = (made.stored_bytes() - stored) / MIB, (made.wire.bytes - sent) / MIB
    return {"mapped_s": mapped_s, "read_s": read_s, "stored_mib": stored_mib, "sent_mib": sent_mib}


@click.command()
@as_one_object
@click.option("--megabytes", default=1024, show_default=True, type=click.IntRange(min=1), help="Of the value, MiB.")
@click.option(
    "--array-megabytes", default=100, show_default=True, type=click.IntRange(min=1), help="Of the array, MiB."
)
@click.option("--readers", default=1000, show_default=True, type=click.IntRange(min=1), help="Nodes that read it.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Worker processes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@in_folder
def values(
    as_json: bool, megabytes: int, array_megabytes: int, readers: int, workers: int, rounds: int, folder: Path
) -> None:
    """Large values: seconds from node to node to here, beside a plain copy; one array for many nodes; what is stored.

    `copy_ratio` is of the way alone, beside a plain copy of a file that has the same bytes. The time in which the
    function of a node makes the value, which that node tells, is taken off: no copy has to do so. The rest counts:
    encoding, hashing, writing, two nodes, and reading it here. Value and copies are on the disk at the end.
    """
    found: list[Numbers] = []
    with crew(folder, workers) as made:
        for number in range(1, rounds + 1):
            click.echo(f"round {number} of {rounds}", err=True)
            relayed = relays(made, megabytes * MIB, 2 * number)
            found.append(relayed | readings(made, array_megabytes * MIB, 2 * number + 1, readers))
    numbers = {name: statistics.median(one[name] for one in found) for name in found[0]}
    numbers["copy_ratio"] = statistics.median((one["relay_s"] - one["made_s"]) / one["copy_s"] for one in found)
    numbers["readers_ratio"] = statistics.median(one["read_s"] / one["mapped_s"] for one in found)
    settings = {"megabytes": megabytes, "array_megabytes": array_megabytes, "readers": readers}
    tell(numbers, settings | {"workers": workers, "rounds": rounds}, as_json=as_json)
