"""Pruning over real processes: whenever the broker is killed, nothing is half there in the end.

DAGORAMA_TEST_KILLS sets how often brokers are killed (default 6, at most 100), DAGORAMA_TEST_SEED when.
"""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from threading import Timer

import grpc

from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.launch import LaunchedBroker, launch_broker
from dagorama_broker.storage.auditing import audit_uses
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.scenarios.broker.rawclient import Client, call, new_id
from tests.scenarios.broker.test_values import Store
from tests.timing import WAIT_S, until

KILLS = min(100, int(os.environ.get("DAGORAMA_TEST_KILLS", "6")))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
SHORT = {"DAGORAMA_KEEP_CANCELLED": "0.1s"}


def work_until_killed(broker: LaunchedBroker, rng: random.Random, ended: list[bytes], running: list[bytes]) -> None:
    """Start instances with values and cancel most of them until the broker is killed; note what is acknowledged."""
    killer = Timer(rng.uniform(0.2, 1.2), broker.process.kill)
    killer.start()
    with suppress(grpc.RpcError), Client(broker.target) as client:
        value = rng.randbytes(100_000)
        Store(client.channel).put(value)
        payload = write_references([Reference(sha256(value).digest(), len(value))], b".")
        while True:
            instance_id = new_id()
            calls = [call(new_id(), arguments=payload) for _ in range(rng.choice([1, 5, 300]))]
            client.submit(instance_id, *calls)
            if rng.random() < 0.05:
                running.append(instance_id)
            else:
                client.cancel(instance_id)
                ended.append(instance_id)
    killer.join()
    broker.process.wait()


def is_known(client: Client, instance_id: bytes) -> bool:
    """Tell whether a broker has an instance; one that was pruned is told of."""
    try:
        client.instance(instance_id)
    except grpc.RpcError as error:
        return "was pruned on" not in str(error.details())
    return True


def test_pruning_outlives_kills(database: str, tmp_path: Path) -> None:
    """What runs is there, what ended has a tombstone and no row, references recount, and no number came twice."""
    rng = random.Random(SEED)
    ended: list[bytes] = []
    running: list[bytes] = []
    for _ in range(max(1, KILLS // 2)):
        with launch_broker(port=0, storage=database, environment=SHORT) as broker:
            work_until_killed(broker, rng, ended, running)
    with launch_broker(port=0, storage=database, environment=SHORT) as broker, Client(broker.target) as client:
        until(lambda: not any(is_known(client, instance_id) for instance_id in ended), within_s=4 * WAIT_S)
        assert all(is_known(client, instance_id) for instance_id in running)
    journal = SqliteJournal(tmp_path / "broker.db")
    journal.open()
    while sweeps := journal.list_sweeps(100):  # that broker was stopped, maybe before it had removed all
        journal.sweep([seq for seq, _ in sweeps], rows_max=1_000)
    assert list(audit_uses(journal)) == []
    assert None not in [journal.find_tombstone(InstanceId(instance_id)) for instance_id in ended]
    journal.close()
    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection:
        for table in ("calls", "attempts", "value_uses", "tags", "hooks", "requests"):
            left = f"SELECT count(*) FROM {table} WHERE instance NOT IN (SELECT seq FROM instances)"
            assert connection.execute(left).fetchone() == (0,), table
        for table in ("outcomes", "limited", "notes"):
            left = f"SELECT count(*) FROM {table} WHERE node NOT IN (SELECT seq FROM calls)"
            assert connection.execute(left).fetchone() == (0,), table
        numbers = "SELECT seq FROM instances UNION ALL SELECT instance FROM tombstones"
        assert connection.execute(f"SELECT count(*) - count(DISTINCT seq) FROM ({numbers})").fetchone() == (0,)
