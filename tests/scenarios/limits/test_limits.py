"""Limits hold by the record of the effects themselves, whoever is killed.

With DAGORAMA_LONG_TESTS=1 the broker is killed as well.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import accumulate, count, pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic
from typing import NamedTuple, cast

import pytest

from dagorama import ResultTimeout
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.launched import LaunchedWorkers
from dagorama.worker.processes.news import News
from dagorama.worker.processes.process import WorkerProcess, start_worker, stop_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.queries import list_nodes
from tests.scenarios.limits.limits_definitions import BURST, MAX, RATE_PER_S, Limited, Paced
from tests.timing import least_s

LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
NODES, WORKERS = 10_000 if LONG else 1_000, 20
KILL_INTERVAL_S = 0.2  #: the mean time from one kill to the next
BROKER_KILLS = 5 if LONG else 0
#: No place of a limit is left empty for longer, whatever is killed. The broker sees broken connections at once, so it
#: is not the expiry of leases that gives places back; a shorter lease would be lost by workers that are merely slow.
LEASE_S = 60.0
RECONNECT_GRACE_S = 5.0
PACED = 30  #: nodes of each tenant whose starts have a rate


class Line(NamedTuple):
    """One line of the record."""

    pid: int
    what: str
    node: int
    at: float


def lines_of(record: Path) -> list[Line]:
    """Read a record as far as it has got."""
    lines = [line.split() for line in record.read_text().splitlines()] if record.exists() else []
    return [Line(int(pid), what, int(node), float(at)) for pid, what, node, at in lines]


def running_over_time(lines: list[Line], killed_at: Mapping[int, float]) -> list[tuple[float, int]]:
    """Give each moment in which the number of running nodes changes, and the number from then on.

    What a process was running when it was killed ends with it: not before the kill, nor before its last line.
    """
    changes: list[tuple[float, int]] = []
    open_ends: dict[int, float] = {}
    for line in lines:
        if line.what == "start":
            assert line.pid not in open_ends, f"process {line.pid} runs one node at a time"
            open_ends[line.pid] = max(line.at, killed_at.get(line.pid, line.at))
        else:
            del open_ends[line.pid]
        changes.append((line.at, 1 if line.what == "start" else -1))
    assert open_ends.keys() <= killed_at.keys(), "what was not killed has ended"
    changes.extend((at, -1) for at in open_ends.values())
    changes.sort()  # of what happens at one moment, ends come first
    return list(zip([at for at, _ in changes], accumulate(change for _, change in changes), strict=True))


class Chaos:
    """A broker and workers that are killed, and replaced, again and again."""

    def __init__(self, stack: ExitStack, storage: str, rng: random.Random) -> None:
        self._stack = stack
        self._storage = storage
        self._rng = rng
        self.workers: list[WorkerProcess] = []
        self._news: dict[int | None, Connection] = {}  #: from workers that have not said that they are connected
        self.killed_at: dict[int, float] = {}
        self.broker_away: list[tuple[float, float]] = []  #: from the kill until the workers are surely back
        self.broker = self._start_broker(0)
        stack.callback(stop_workers, self.workers)
        self.workers.extend(self._start_worker() for _ in range(WORKERS))

    def _start_worker(self) -> WorkerProcess:
        reader, writer = Pipe(duplex=False)
        self._stack.callback(reader.close)
        with writer:
            worker = start_worker(WorkerOptions(), status=writer, main={})
        self._news[worker.pid] = reader
        return worker

    def _start_broker(self, port: int) -> LaunchedBroker:
        environment = {
            "DAGORAMA_LEASE_DURATION_S": str(LEASE_S),
            "DAGORAMA_RECONNECT_GRACE_S": str(RECONNECT_GRACE_S),
        }
        return self._stack.enter_context(launch_broker(port=port, storage=self._storage, environment=environment))

    def _wait_for_half(self) -> None:
        """Wait until half of the workers are connected: on a slow machine they are killed sooner than they start."""
        while len(self._news) > WORKERS // 2:
            for reader in wait(list(self._news.values())):
                (pid,) = (pid for pid, other in self._news.items() if other is reader)
                if cast(Connection, reader).recv()[0] is News.CONNECTED:
                    del self._news[pid]

    def kill_worker(self, lines: list[Line]) -> None:
        """Kill one of those that started a node last, or any."""
        self._wait_for_half()
        recent = {line.pid for line in lines[-2 * MAX :]} - self.killed_at.keys()
        pid = self._rng.choice(sorted(recent) or [worker.pid for worker in self.workers])
        if self._rng.random() < 0.3:
            pid = self._rng.choice([worker.pid for worker in self.workers])
        assert pid is not None
        (place,) = (place for place, worker in enumerate(self.workers) if worker.pid == pid)
        self.killed_at[pid] = monotonic()
        self.workers[place].kill()
        self.workers[place].join()
        self._news.pop(pid, None)
        self.workers[place] = self._start_worker()

    def kill_broker(self) -> None:
        """Kill the broker, and start it again from its storage."""
        killed_at = monotonic()
        os.kill(self.broker.process.pid, signal.SIGKILL)
        self.broker.process.wait()
        self.broker = self._start_broker(self.broker.port)
        self.broker_away.append((killed_at, monotonic() + RECONNECT_GRACE_S))


@pytest.mark.timeout(300)
def test_never_more_run_than_the_limit_and_no_place_is_lost(tmp_path: Path) -> None:
    """Of 1,000 nodes on 20 workers that are killed at random 3 run at once, never more, nor fewer for long."""
    rng = random.Random(SEED)
    record = tmp_path / "record"
    with ExitStack() as stack:
        chaos = Chaos(stack, f"sqlite:///{tmp_path}/broker.db" if LONG else "memory:", rng)
        instance, _ = Limited(str(record))(NODES)
        done, broker_kills_at = False, [NODES * (place + 1) / (BROKER_KILLS + 1) for place in range(BROKER_KILLS)]
        while not done:
            try:
                total = instance.result(timeout=rng.uniform(0, 2 * KILL_INTERVAL_S))
                done = True
            except ResultTimeout:
                lines = lines_of(record)
                if broker_kills_at and len(lines) >= 2 * broker_kills_at[0]:
                    broker_kills_at.pop(0)
                    chaos.kill_broker()
                elif lines:
                    chaos.kill_worker(lines)
    lines = lines_of(record)
    numbers = running_over_time(lines, chaos.killed_at)
    assert total == sum(range(NODES))
    assert {line.node for line in lines if line.what == "end"} == set(range(NODES))
    cut_off = sum(line.what == "start" for line in lines) - sum(line.what == "end" for line in lines)
    assert cut_off > 0, "a kill has hit a running node"
    assert max(number for _, number in numbers) == MAX
    assert numbers[-1][1] == 0
    report(lines, numbers, chaos, cut_off)
    assert max(waits_of(lines, numbers, chaos.broker_away)) < LEASE_S
    assert max(starts_between_full(numbers)) < 100, "no place is lost for good, however fast the rest of the work goes"


def waits_of(
    lines: list[Line], numbers: list[tuple[float, int]], broker_away: list[tuple[float, float]]
) -> Iterator[float]:
    """Give how long, each time, fewer ran than may, while there was work and a broker to give it."""
    full = [(at, until) for (at, number), (until, _) in pairwise(numbers) if number == MAX]
    last = max(full[-1][1], [line.at for line in lines if line.what == "start"][-MAX])
    for (_, fewer_from), (fewer_until, _) in pairwise([*full, (last, last)]):
        away = sum(max(0.0, min(fewer_until, back) - max(fewer_from, lost)) for lost, back in broker_away)
        yield fewer_until - fewer_from - away


def starts_between_full(numbers: list[tuple[float, int]]) -> Iterator[int]:
    """Give how many started, each time, before as many ran again as may."""
    starts = 0
    for (_, before), (_, number) in pairwise(numbers):
        starts += number > before
        if number == MAX:
            yield starts
            starts = 0
    yield starts


def report(lines: list[Line], numbers: list[tuple[float, int]], chaos: Chaos, cut_off: int) -> None:
    """Print the figures, for `pytest -s`."""
    took_s = numbers[-1][0] - numbers[0][0]
    full_s = sum(until - at for (at, number), (until, _) in pairwise(numbers) if number == MAX)
    fewer = max(starts_between_full(numbers))
    waits = sorted(waits_of(lines, numbers, chaos.broker_away))
    print(
        f"\n{NODES} nodes, {WORKERS} workers, {took_s:.1f} s; {len(chaos.killed_at)} workers killed, {cut_off} of them "
        f"while they ran a node, {len(chaos.broker_away)} brokers; {MAX} ran at once {full_s / took_s:.0%} of the "
        f"time; longest time with fewer: {waits[-1]:.3f} s, median {waits[len(waits) // 2]:.4f} s; most "
        f"starts without {MAX} at once: {fewer}"
    )


def test_starts_keep_to_the_rate_and_to_the_order(tmp_path: Path) -> None:
    """In no window more start than the burst and the rate let; each key has a rate of its own, in order."""
    records = (tmp_path / f"record-{number}" for number in count())
    limit_s = 4 * PACED / RATE_PER_S  # what is held up for longer than the rate has it is so in each try
    assert least_s(lambda: paced_s(next(records)), limit_s) < limit_s


def paced_s(record: Path) -> float:
    """Run nodes of two tenants and check their starts; return how long all of one's took to be granted, at most."""
    rounded_s, took_s = 1e-5, 0.0
    with launch_broker(port=0), LaunchedWorkers(1, WorkerOptions()):
        instance, _ = Paced(str(record))(PACED)
        instance.result(timeout=60)
        nodes = [node for node in list_nodes(instance.instance_id.bytes) if node.function.endswith(".work")]
    for place, tenant in enumerate(("a", "b")):
        assert [line.node for line in lines_of(Path(f"{record}.{tenant}"))] == list(range(PACED))
        # None starts before it is granted. On a busy machine some start late, together with those that follow them.
        times = [(node.granted_at, node.started_at) for node in nodes[place::2]]
        granted_at = [granted.timestamp() for granted, started in times if granted and started and started >= granted]
        assert len(granted_at) == PACED
        too_soon = [
            (first, last)
            for first in range(PACED)
            for last in range(first, PACED)
            if last - first + 1 > BURST + RATE_PER_S * (granted_at[last] - granted_at[first] + rounded_s)
        ]
        assert too_soon == []
        took_s = max(took_s, granted_at[-1] - granted_at[0])
    return took_s
