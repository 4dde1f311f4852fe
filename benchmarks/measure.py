"""Rounds, medians, and what they are told as."""

import json
import os
import platform
import sqlite3
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from time import perf_counter

import click

from benchmarks.cpu import spent
from benchmarks.peers import PEERS, missing
from benchmarks.systems import Starter, System, durable_in, memory, process_pool

Numbers = dict[str, float]

as_one_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object in the last line.")
in_folder = click.option(
    "--folder",
    default=gettempdir(),
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where a durable broker keeps its files; on a real disk.",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all benchmarks can be told."""

    #: Nodes of one graph; for latency, submits.
    nodes: int
    workers: int
    rounds: int
    peers: tuple[str, ...]
    profile: bool
    #: Where the durable broker keeps its file; on a disk, or the number means nothing.
    folder: Path

    def starters(self) -> dict[str, Starter]:
        """Returns what is to be measured: dagorama twice, the process pool, and the peers that are installed."""
        chosen: dict[str, Starter] = {
            "durable": durable_in(self.folder),
            "memory": memory,
            "process_pool": process_pool,
        }
        for peer in self.peers:
            reason = missing(peer)
            if reason is None:
                chosen[peer] = PEERS[peer][1]
            else:
                click.echo(f"left out {reason}", err=True)
        return chosen


@dataclass(kw_only=True)
class Samples:
    """What came out of all rounds, by system."""

    numbers: dict[str, list[float]] = field(default_factory=dict)
    #: CPU seconds by system and role.
    cpu_s: dict[str, list[Numbers]] = field(default_factory=dict)

    def median(self, system: str) -> float:
        return statistics.median(self.numbers[system])

    def cpu_us_per_node(self, system: str, nodes: int) -> Numbers:
        """Returns the median over the rounds for each role."""
        rounds = self.cpu_s[system]
        return {role: round(statistics.median(one[role] for one in rounds) / nodes * 1e6, 1) for role in rounds[0]}


def measure(options: Options, run: Callable[[System], list[float]]) -> Samples:
    """Starts each system afresh in every round and collects what `run` returns for it.

    The systems take turns, so that whatever else the machine does in the meantime meets all of them.
    """
    samples = Samples()
    starters = options.starters()
    for number in range(1, options.rounds + 1):
        for name, start in starters.items():
            click.echo(f"round {number} of {options.rounds}: {name}", err=True)
            with start(options.workers) as system:
                found, cpu_s = spent(system.roles, partial(run, system))
            samples.numbers.setdefault(name, []).extend(found)
            samples.cpu_s.setdefault(name, []).append(cpu_s)
    return samples


def timed(run: Callable[[], int], expected: int) -> float:
    """Returns the seconds that `run` takes; a wrong value is an error, whatever its speed."""
    started_at = perf_counter()
    value = run()
    elapsed_s = perf_counter() - started_at
    if value != expected:
        raise ValueError(f"the graph gave {value}, not {expected}")
    return elapsed_s


def fsync_ms(folder: Path, times: int = 200) -> float:
    """Returns the median time of writing 4 KiB and forcing it to the disk of a folder."""
    found = []
    with NamedTemporaryFile(dir=folder, prefix="dagorama-bench-", buffering=0) as file:
        for _ in range(times):
            started_at = perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            found.append(perf_counter() - started_at)
    return statistics.median(found) * 1000


def versions() -> dict[str, str]:
    """Returns what the numbers depend on beside the machine."""
    return {
        "dagorama": version("dagorama"),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "sqlite": sqlite3.sqlite_version,
    }


def tell(numbers: Numbers, settings: Mapping[str, object], *, as_json: bool) -> None:
    """Prints the numbers, one a line or, with what they were measured with, as one JSON object in the last line."""
    if as_json:
        click.echo(json.dumps({**{name: round(number, 3) for name, number in numbers.items()}, **settings}))
        return
    for name, number in numbers.items():
        click.echo(f"{name:24} {number:12,.2f}")


def report(options: Options, samples: Samples, numbers: Numbers, *, as_json: bool) -> None:
    """Prints the numbers as `tell` does, then the profile and what the numbers depend on."""
    profile: Mapping[str, Numbers] = (
        {system: samples.cpu_us_per_node(system, options.nodes) for system in samples.cpu_s} if options.profile else {}
    )
    settings = {"nodes": options.nodes, "workers": options.workers, "rounds": options.rounds}
    shown = settings | {"cpus": len(os.sched_getaffinity(0)), "versions": versions()}
    tell(numbers, ({"cpu_us_per_node": profile} if profile else {}) | shown, as_json=as_json)
    if as_json:
        return
    for system, roles in profile.items():
        each = ", ".join(f"{role} {us:g}" for role, us in roles.items())
        click.echo(f"{f'{system}, CPU us per node':36} {sum(roles.values()):g} ({each})")
    click.echo(", ".join(f"{name} {value}" for name, value in (settings | versions()).items()))
