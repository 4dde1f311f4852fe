"""Functions that print very much, and what becomes of it: on the wire, in the log, and of others meanwhile.

python -m benchmarks logs
"""

import os
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep

import click

from benchmarks.cpu import cpu_s, descendants
from benchmarks.measure import as_one_object, in_folder, tell
from benchmarks.wire import Wire, counted
from dagorama import DAGDefinition, LogGap, LogLine, dagorama
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker

#: Leases are so short that a heartbeat which is held up would be seen.
LEASE_S = 3.0
#: Between two nodes by which the others are timed.
PAUSE_S = 0.05
LINE_BYTES = 100
RATE_S = 5
PIECE_BYTES = 2**20

KINDS = ("quiet", "text", "random", "rate", "line")


class Flood(DAGDefinition):
    """Nodes that print."""

    @dagorama(queue_name="flood")
    def entrypoint(self, kind: str, count: int) -> float:
        began_at = perf_counter()
        getattr(self, f"_{kind}")(count)
        return perf_counter() - began_at

    def _quiet(self, count: int) -> None:
        """Nothing, for so many seconds: with this the others are compared."""
        sleep(count)

    def _text(self, count: int) -> None:
        """Lines as programs print them: a time, a number, words."""
        for number in range(count // LINE_BYTES):
            print(f"2026-03-02 09:15:{number % 60:02} INFO row {number:>10} of the table has been read".ljust(99, "."))

    def _random(self, count: int) -> None:
        """Bytes that are no text and cannot be compressed."""
        random = Random(1)
        for _ in range(count // PIECE_BYTES):
            # Without the letter by which a line begins anew: of such a line only the last state is kept.
            sys.stdout.buffer.write(random.randbytes(PIECE_BYTES).replace(b"\r", b"."))
        sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()

    def _line(self, count: int) -> None:
        """One line."""
        piece = "x" * PIECE_BYTES
        for _ in range(count // PIECE_BYTES):
            sys.stdout.write(piece)
        print()

    def _rate(self, per_s: int) -> None:
        """So many lines a second, for some seconds; a hundredth of a second's at a time."""
        began_at, printed = perf_counter(), 0
        while printed < per_s * RATE_S:
            due = min(per_s * RATE_S, int((perf_counter() - began_at) * per_s))
            for number in range(printed, due):
                print(f"line {number}")
            printed = due
            sleep(0.005)


class Other(DAGDefinition):
    """A node that another worker runs meanwhile."""

    @dagorama(queue_name="other")
    def entrypoint(self) -> int:
        return 1


class Crew:
    """A broker, a worker that prints, and one that runs other nodes; all that they say to each other is counted."""

    def __init__(self, wire: Wire, broker: int, printing: int) -> None:
        self.wire = wire
        self._broker = broker
        self._printing = printing

    def latencies_ms(self, over: threading.Event) -> list[float]:
        """Runs other nodes, one at a time, until it is over; returns how long each took from submit to value."""
        found: list[float] = []
        while not found or not over.wait(PAUSE_S):
            began_at = perf_counter()
            Other()()[0].result(timeout=60)
            found.append((perf_counter() - began_at) * 1000)
        return found

    def flood(self, kind: str, count: int) -> dict[str, float]:
        """Runs a node that prints so many bytes, or lines; returns what was seen."""
        over = threading.Event()
        found: list[float] = []
        beside = threading.Thread(target=lambda: found.extend(self.latencies_ms(over)))
        self.wait_for_heartbeats()
        cpu_before_s = cpu_s(self._printing)
        before, began_at = self.wire.bytes, monotonic()
        beside.start()
        instance, _ = Flood()(kind, count)
        took_s = instance.result(timeout=600)
        ended_at = monotonic()
        over.set()
        beside.join()
        lines = gaps = 0
        for each in instance.logs():
            lines += isinstance(each, LogLine)
            gaps += isinstance(each, LogGap)
        sent_bytes = self.wire.bytes - before
        self.wait_for_heartbeats()
        return {
            "took_s": took_s,
            "cpu_s": cpu_s(self._printing) - cpu_before_s,
            "wire_mb": sent_bytes / 1e6,
            "kept_lines": lines,
            "gaps": gaps,
            "heartbeat_gap_s": self.wire.longest_gap_s(began_at, ended_at),
            "latency_median_ms": statistics.median(found),
            "latency_max_ms": max(found),
            "worker_peak_mb": peak_mb(self._printing),
            "broker_peak_mb": peak_mb(self._broker),
        }

    def wait_for_heartbeats(self) -> None:
        """Returns when each worker has had the time to send another one."""
        sleep(LEASE_S / 2)


def peak_mb(pid: int) -> float:
    """Returns how much memory a process has had at once (proc(5), VmHWM), in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def flood(folder: Path, kind: str, count: int) -> dict[str, float]:
    """Returns what was seen of a flood, by a broker and workers of its own, so that their memory is."""
    with crew(folder, max(4 * count, 2**27)) as made:
        return made.flood(kind, count)


@contextmanager
def silent_output() -> Iterator[None]:
    """Has processes that start in the block print to nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def crew(folder: Path, bytes_max: int) -> Iterator[Crew]:
    """Starts all of it; so many bytes are kept of an attempt."""
    settings = {"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(dir=folder, prefix="dagorama-bench-"))
        before = descendants(os.getpid())
        url = f"sqlite:///{directory}/broker.sqlite3"
        broker = stack.enter_context(launch_broker(port=0, storage=url, environment=settings))
        (broker_pid,) = descendants(os.getpid()) - before
        wire = stack.enter_context(counted(broker.port))
        os.environ["DAGORAMA_PORT"], os.environ["DAGORAMA_LOG_BYTES_MAX"] = str(wire.port), str(bytes_max)
        stack.callback(os.environ.pop, "DAGORAMA_LOG_BYTES_MAX")
        with silent_output():
            printing = stack.enter_context(launch_workers(1, include_queues=["flood"]))
            stack.enter_context(launch_workers(1, include_queues=["other"]))
            os.environ["DAGORAMA_PORT"] = str(broker.port)
            made = Crew(wire, broker_pid, printing[0].pid or 0)
            Flood()("text", 0)[0].result(timeout=60)
            Other()()[0].result(timeout=60)
        yield made


@click.command()
@as_one_object
@click.option("--megabytes", default=100, show_default=True, type=click.IntRange(min=1), help="Of text, and of noise.")
@click.option("--line-megabytes", default=1024, show_default=True, type=click.IntRange(min=1), help="Of one line.")
@click.option("--kinds", default=",".join(KINDS), show_default=True, help="Only some of them.")
@click.option("--lines-per-s", default=100_000, show_default=True, type=click.IntRange(min=1), help="For 5 seconds.")
@in_folder
def logs(as_json: bool, megabytes: int, line_megabytes: int, kinds: str, lines_per_s: int, folder: Path) -> None:
    """Functions that print very much: what moves over the wire, and how long heartbeats and other nodes take meanwhile.

    Text in lines, random bytes, so many lines a second, and one line. The worker and the broker are connected by a way
    that counts.
    """
    wanted = kinds.split(",")
    if unknown := set(wanted) - set(KINDS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not of {', '.join(KINDS)}")
    numbers: dict[str, float] = {}
    for kind in wanted:
        click.echo(kind, err=True)
        count = {"quiet": 3, "rate": lines_per_s, "line": line_megabytes * 2**20}.get(kind, megabytes * 10**6)
        numbers |= {f"{kind}_{name}": number for name, number in flood(folder, kind, count).items()}
    tell(numbers, {}, as_json=as_json)
