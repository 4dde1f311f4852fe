"""python -m benchmarks throughput|chain|latency: what a node costs, beside the standard library's process pool.

All numbers are medians over the rounds; the systems are started afresh in each and take turns. Workers are up and warm
before the clock runs.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import sleep, time

import click

from benchmarks import layout as layouts
from benchmarks import page as pages
from benchmarks import trips
from benchmarks.broadcast import broadcast
from benchmarks.echo import echo_ms
from benchmarks.floods import logs
from benchmarks.measure import Options, as_one_object, fsync_ms, in_folder, measure, report, tell, timed
from benchmarks.peers import PEERS
from benchmarks.systems import System
from benchmarks.values import values
from benchmarks.watchers import watchers

#: Between two submits: longer than anything takes to come to rest, so that the worker is idle.
PAUSE_S = 0.01


@click.group()
def main() -> None:
    """Measure throughput, a chain, and latency, beside the standard library's process pool."""


main.add_command(logs)
main.add_command(values)
main.add_command(broadcast)
main.add_command(watchers)


def benchmark(nodes: int, rounds: int) -> Callable[[Callable[[Options, bool], None]], click.Command]:
    """Makes a command with the options that all benchmarks have."""

    def make(run: Callable[[Options, bool], None]) -> click.Command:
        @main.command(name=run.__name__, help=run.__doc__)
        @as_one_object
        @click.option("--nodes", default=nodes, show_default=True, type=click.IntRange(min=1))
        @click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Worker processes.")
        @click.option("--rounds", default=rounds, show_default=True, type=click.IntRange(min=1))
        @click.option("--peers", default="", help=f"Also measure these where installed: {','.join(PEERS)}.")
        @click.option("--profile", is_flag=True, help="Also print the CPU time per node of each kind of process.")
        @in_folder
        def command(
            as_json: bool, nodes: int, workers: int, rounds: int, peers: str, profile: bool, folder: Path
        ) -> None:
            chosen = tuple(peer for peer in peers.split(",") if peer)
            unknown = set(chosen) - set(PEERS)
            if unknown:
                raise click.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(PEERS)}")
            options = Options(nodes=nodes, workers=workers, rounds=rounds, peers=chosen, profile=profile, folder=folder)
            run(options, as_json)

        return command

    return make


@benchmark(nodes=20_000, rounds=3)
def throughput(options: Options, as_json: bool) -> None:
    """No-op nodes and one that gathers them: nodes per second from submit to value in hand."""

    def run(system: System) -> list[float]:
        # The process pool has neither an entrypoint nor a gathering node; what it does is counted in its favour.
        return [(options.nodes + 2) / timed(lambda: system.fan_out(options.nodes), options.nodes)]

    samples = measure(options, run)
    numbers = {f"{name}_per_s": samples.median(name) for name in samples.numbers}
    numbers |= {
        f"{name}_ratio": samples.median(name) / samples.median("process_pool")
        for name in samples.numbers
        if name != "process_pool"
    }
    report(options, samples, numbers | {"fsync_ms": fsync_ms(options.folder)}, as_json=as_json)


@benchmark(nodes=1_000, rounds=3)
def chain(options: Options, as_json: bool) -> None:
    """Nodes of which each needs the one before it: milliseconds per hop, and of a bare message to a worker and back."""

    def run(system: System) -> list[float]:
        return [timed(lambda: system.chain(options.nodes), options.nodes) / options.nodes * 1000]

    samples = measure(options, run)
    numbers = {f"{name}_ms_per_hop": samples.median(name) for name in samples.numbers}
    # For the pool a hop is one round trip.
    numbers["process_pool_ms"] = numbers.pop("process_pool_ms_per_hop")
    numbers["echo_ms"] = statistics.median(echo_ms(options.nodes) for _ in range(options.rounds))
    report(options, samples, numbers | {"fsync_ms": fsync_ms(options.folder)}, as_json=as_json)


@benchmark(nodes=200, rounds=1)
def latency(options: Options, as_json: bool) -> None:
    """One node at a time, to idle workers: milliseconds from the submit to its start."""

    def run(system: System) -> list[float]:
        found = []
        for _ in range(options.nodes):
            sleep(PAUSE_S)
            submitted_at = time()
            found.append((system.clock() - submitted_at) * 1000)
        return found

    samples = measure(options, run)
    numbers = {}
    for name, found in samples.numbers.items():
        numbers[f"{name}_median_ms"] = statistics.median(found)
        numbers[f"{name}_p95_ms"] = statistics.quantiles(found, n=20, method="inclusive")[-1] if found[1:] else found[0]
    report(options, samples, numbers | {"fsync_ms": fsync_ms(options.folder)}, as_json=as_json)


@main.command()
@as_one_object
@click.option("--nodes", default=100_000, show_default=True, type=click.IntRange(min=100))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
def layout(as_json: bool, nodes: int, rounds: int) -> None:
    """The layout of a large graph as the page draws it: milliseconds of CPU time, at once and when it has grown."""
    numbers = layouts.measure(nodes, rounds)
    tell(numbers, {"nodes": nodes, "rounds": rounds}, as_json=as_json)


@main.command()
@as_one_object
@click.option("--nodes", default=100_000, show_default=True, type=click.IntRange(min=100))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@in_folder
def page(as_json: bool, nodes: int, rounds: int, folder: Path) -> None:
    """The page with a large instance: milliseconds to its graph and timeline, and of the looks that they rest on."""
    numbers = pages.measure(nodes, rounds, folder)
    tell(numbers, {"nodes": nodes, "rounds": rounds}, as_json=as_json)


@main.command()
@as_one_object
@in_folder
def trace(as_json: bool, folder: Path) -> None:
    """Print the functions that one node passes on its four trips, and how many there are."""
    traces = trips.record(folder)
    if as_json:
        found = {
            trip.value: each.counts() | {"passed": list(dict.fromkeys(map(str, each.passed)))}
            for trip, each in traces.items()
        }
        click.echo(json.dumps(found))
        return
    for trip, each in traces.items():
        counts = each.counts()
        click.echo(f"{trip.value}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
        for line in each.lines():
            click.echo(f"  {line}")


if __name__ == "__main__":
    main()
