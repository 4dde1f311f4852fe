"""A broker that starts and removes instances all the time stays as it is: its files, its rows, its memory, its speed.

By default some hundred instances go through it. DAGORAMA_SOAK_S has it go on for so many seconds with 1,000 instances a
minute, as `make soak` does for an hour with each storage. Before that many go through as fast as they can: then caches
are full, and the objects that wait for Python's collector, 50,000 at most, have been as many as they ever are.
"""

from __future__ import annotations

import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from dagorama.v1 import dag_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, Worker, call, new_id
from tests.timing import WAIT_S, until

SOAK_S = float(os.environ.get("DAGORAMA_SOAK_S", "0"))
PER_MINUTE = 1_000
#: So many instances make a round of the short form.
ROUND = 120
ROUNDS = 4
SHORT = {
    "DAGORAMA_KEEP_COMPLETED": "1s",
    "DAGORAMA_KEEP_TOMBSTONES": "1s",
    "DAGORAMA_LEASE_DURATION_S": "36000",  # the worker of this test sends no heartbeats
}
#: What a write-ahead log may have beside the database: it is cut to this.
LOG_BYTES_MAX = 64 << 20
#: So many go through first where memory is measured for long: the collector comes after about 10,000. So many at once.
WARM, AT_ONCE = 24_000, 16
#: So many rounds of an old broker and of a new one, in turn, tell which needs more; ten times as many if in doubt.
PAIRS = 6
#: What a broker may gain in memory in an hour, or in less, and in the short form, in which all caches and pools fill.
SLOPE_MIB, GAIN_MIB = 1.0, 48.0


class Sample(NamedTuple):
    """What a broker takes at one moment, when nothing is left to be removed."""

    at_s: float
    memory_mib: float
    database_bytes: int


def run_instances(client: Client, worker: Worker, count: int) -> None:
    """Have instances of three nodes run to their end."""
    for _ in range(count):
        instance_id = new_id()
        client.submit(instance_id, *[call(new_id(), arguments=os.urandom(200)) for _ in range(3)])
        for grant in worker.take(3):
            worker.report_plain((grant.node_id, grant.token, b"value"))


def run_at_once(client: Client, worker: Worker, count: int) -> None:
    """Have instances of three nodes run to their end, many at once."""

    def submit(_: int) -> None:
        client.submit(new_id(), *[call(new_id(), arguments=os.urandom(200)) for _ in range(3)])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        submits = threads.map(submit, range(count))
        left = 3 * count
        while left:
            grants = worker.take(max(1, len(worker.grants)))
            worker.report_plain(*[(grant.node_id, grant.token, b"value") for grant in grants])
            left -= len(grants)
        for _ in submits:
            pass


def is_empty(client: Client) -> bool:
    """Tell whether no instance is left."""
    response = client.dag.ListInstances(dag_pb2.ListInstancesRequest(page_size=1), timeout=WAIT_S)
    return not response.instances


def memory_mib(broker: LaunchedBroker) -> float:
    """Give the memory that the broker has now (`VmRSS`; proc(5)), in MiB."""
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def sample(broker: LaunchedBroker, client: Client, worker: Worker, path: Path, began_at: float) -> Sample:
    """Have a round of instances run and go, and measure."""
    run_instances(client, worker, ROUND)
    until(lambda: is_empty(client), within_s=2 * WAIT_S)
    size = path.stat().st_size if path.exists() else 0
    return Sample(time.monotonic() - began_at, memory_mib(broker), size)


def slope(samples: list[Sample]) -> float:
    """Give by how many MiB the memory grows in an hour, by least squares."""
    times, values = [one.at_s / 3600 for one in samples], [one.memory_mib for one in samples]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True)) / spread


def cpu_s(broker: LaunchedBroker) -> float:
    """Give for how long the broker has used a processor (proc(5))."""
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_speed(old: tuple[LaunchedBroker, Client, Worker], connect: Connect, queue: str, storage: str) -> None:
    """See that a broker needs no more for instances than one that was just started.

    It is the time of a processor, as others use the machine as well: files and rows that grow are seen elsewhere.
    """
    with launch_broker(port=0, storage=storage, environment=SHORT) as broker, Client(broker.target, queue) as client:
        both = old, (broker, client, connect(broker.target, slots=100))
        run_at_once(*both[1][1:], ROUND)
        least_s = [inf, inf]
        tries = 0
        while tries < PAIRS or (least_s[0] > least_s[1] / 0.95 and tries < 10 * PAIRS):
            tries += 1
            for place, (one, its_client, its_worker) in enumerate(both):
                began_s = cpu_s(one)
                run_at_once(its_client, its_worker, 4 * ROUND)
                least_s[place] = min(least_s[place], cpu_s(one) - began_s)
                until(partial(is_empty, its_client), within_s=4 * WAIT_S)
    print(f"{least_s[0]:.2f} s of a processor, and {least_s[1]:.2f} s in a new broker")
    assert least_s[0] <= least_s[1] / 0.95


@pytest.mark.timeout(max(1_200, 3 * SOAK_S))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_broker_stays_as_it_is(kind: str, tmp_path: Path, connect: Connect, queue: str) -> None:
    """Files and memory level off, no row is left in the end, and it is as fast as it was."""
    path = tmp_path / "broker.db"
    storage = "memory:" if kind == "memory" else f"sqlite:///{path}"
    samples: list[Sample] = []
    with launch_broker(port=0, storage=storage, environment=SHORT) as broker, Client(broker.target, queue) as client:
        worker = connect(broker.target, slots=100)
        run_at_once(client, worker, WARM if SOAK_S else ROUND)
        until(lambda: is_empty(client), within_s=SOAK_S + 2 * WAIT_S)
        began_at = time.monotonic()
        while len(samples) < ROUNDS or time.monotonic() < began_at + SOAK_S:
            next_at = time.monotonic() + 60 * ROUND / PER_MINUTE
            samples.append(sample(broker, client, worker, path, began_at))
            if SOAK_S:
                time.sleep(max(0.0, next_at - time.monotonic()))
        with pytest.raises(grpc.RpcError):
            client.instance(new_id())
        if SOAK_S:
            hours = (samples[-1].at_s - samples[0].at_s) / 3600
            assert slope(samples) * hours <= SLOPE_MIB * max(1.0, hours), samples
            check_speed((broker, client, worker), connect, queue, f"{storage}.fresh" if kind == "sqlite" else storage)
        assert samples[-1].memory_mib - samples[0].memory_mib <= GAIN_MIB, samples
    if kind == "sqlite":
        check_file(path, samples)


def check_file(path: Path, samples: list[Sample]) -> None:
    """See that the database has not grown since the first round, and that nothing of an instance is left in it."""
    sizes = [one.database_bytes for one in samples]
    assert max(sizes[1:]) <= 2 * max(sizes[0], 4 << 20) + LOG_BYTES_MAX // 16, sizes
    with closing(sqlite3.connect(path)) as connection:
        for table in ("instances", "calls", "outcomes", "attempts", "value_uses", "notes", "limited", "actions"):
            left = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            # The last round may have been removed, and the broker stopped before its rows were.
            assert left <= 3 * ROUND, (table, left)
        assert connection.execute("SELECT count(*) FROM instances").fetchone() == (0,)
        of_none = "SELECT count(*) FROM calls WHERE instance NOT IN (SELECT instance FROM sweeps)"
        assert connection.execute(of_none).fetchone() == (0,)
        (tombstones,) = connection.execute("SELECT count(*) FROM tombstones").fetchone()
        assert tombstones <= 3 * ROUND
