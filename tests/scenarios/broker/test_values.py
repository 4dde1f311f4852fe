"""Values over real processes: there after every kill, used as the journal says, and gone once nothing uses them.

DAGORAMA_TEST_KILLS sets how often brokers are killed (default 6, at most 100), DAGORAMA_TEST_SEED when.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Timer

import grpc
import pytest

from dagorama.v1 import values_pb2, values_pb2_grpc
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.launch import BrokerNotStarted, LaunchedBroker, launch_broker
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.storage.uses import recount_uses
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, new_id, refusal, values_in
from tests.stored import value_files
from tests.timing import WAIT_S

KILLS = min(100, int(os.environ.get("DAGORAMA_TEST_KILLS", "6")))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
CHUNK = 2**18


class Store:
    """A client of a broker's values."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = values_pb2_grpc.ValueServiceStub(channel)

    def put(self, value: bytes) -> bytes:
        """Put a value, from where an earlier upload broke off; give its digest."""
        digest = sha256(value).digest()
        missing = self._stub.FindValues(values_pb2.FindValuesRequest(digests=[digest])).missing
        if missing:
            offset = missing[0].received_bytes
            header = values_pb2.PutValueHeader(digest=digest, size=len(value), offset=offset)

            def messages() -> Iterator[values_pb2.PutValueRequest]:
                yield values_pb2.PutValueRequest(header=header)
                for at in range(offset, len(value), CHUNK):
                    yield values_pb2.PutValueRequest(chunk=value[at : at + CHUNK])

            self._stub.PutValue(messages())
        return digest

    def get(self, digest: bytes) -> bytes:
        """Get a value."""
        return b"".join(one.chunk for one in self._stub.GetValue(values_pb2.GetValueRequest(digest=digest)))

    def missing(self, digests: list[bytes]) -> list[bytes]:
        """Give the values that are not there."""
        return [one.digest for one in self._stub.FindValues(values_pb2.FindValuesRequest(digests=digests)).missing]


def test_values_are_used_over_real_processes(client: Client, connect: Connect) -> None:
    """A start is taken once its value is there, a report too, and both carry what they were given."""
    store, value, result = Store(client.channel), os.urandom(3_000_000), os.urandom(200_000)
    payload = write_references([Reference(sha256(value).digest(), len(value))], b".")
    outcome = write_references([Reference(sha256(result).digest(), len(result))], None)
    instance_id, node_id = new_id(), new_id()
    code, text = refusal(lambda: client.submit(instance_id, call(node_id, arguments=payload)))
    assert (code, sha256(value).hexdigest() in text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    store.put(value)
    client.submit(instance_id, call(node_id, arguments=payload))
    worker = connect()
    (grant,) = worker.take(1)
    assert grant.arguments == payload
    assert store.get(sha256(value).digest()) == value
    store.put(result)
    worker.complete(grant, outcome)
    (response,) = client.watch(instance_id, node_id)
    assert values_in(response) == [(node_id, outcome)]


def test_a_broker_does_not_start_on_values_of_another(database: str, tmp_path: Path) -> None:
    """It says why, and the other finds its values as they were."""
    with launch_broker(port=0, storage=database) as broker, grpc.insecure_channel(broker.target) as channel:
        digest = Store(channel).put(b"value")
    other = f"sqlite:///{tmp_path}/other.db"
    place = {"DAGORAMA_VALUES": f"{tmp_path}/broker.db.values"}
    with pytest.raises(BrokerNotStarted, match="belong to another broker's database") as caught:
        launch_broker(port=0, storage=other, environment=place).__enter__()
    assert caught.value.status == 3
    with launch_broker(port=0, storage=database) as broker, grpc.insecure_channel(broker.target) as channel:
        assert Store(channel).get(digest) == b"value"


def use(client: Client, store: Store, value: bytes) -> None:
    """Put a value and start an instance with it, again where it was collected in between."""
    node_id, instance_id = new_id(), new_id()
    payload = write_references([Reference(sha256(value).digest(), len(value))], b".")
    while True:
        store.put(value)
        try:
            client.submit(instance_id, call(node_id, arguments=payload))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            return


def work_until_killed(
    broker: LaunchedBroker, rng: random.Random, put: dict[bytes, int], used: dict[bytes, int]
) -> None:
    """Put values, and use every second one, until the broker is killed at some moment; note what is acknowledged."""
    killer = Timer(rng.uniform(0.0, 0.5), broker.process.kill)
    killer.start()
    with Client(broker.target, "q") as client, suppress(grpc.RpcError):
        store = Store(client.channel)
        while True:
            value = rng.randbytes(rng.choice([70_000, 300_000, 2_000_000]))
            digest = store.put(value)
            put[digest] = len(value)
            if rng.random() < 0.5:
                use(client, store, value)
                used[digest] = len(value)
    killer.join()
    broker.process.wait()


@pytest.mark.parametrize("unused_s", ["3600", "0.2"])
def test_acknowledged_values_outlive_kills(database: str, tmp_path: Path, unused_s: str) -> None:
    """Whenever a broker is killed, also while it collects: what was acknowledged reads back, and no more is left."""
    rng = random.Random(f"{SEED} {unused_s}")
    put: dict[bytes, int] = {}
    used: dict[bytes, int] = {}
    for _ in range(max(1, KILLS // 2)):
        with launch_broker(port=0, storage=database, environment={"DAGORAMA_VALUES_UNUSED_S": unused_s}) as broker:
            work_until_killed(broker, rng, put, used)
    kept = used if unused_s == "0.2" else put
    with launch_broker(port=0, storage=database) as broker, grpc.insecure_channel(broker.target) as channel:
        store = Store(channel)
        assert store.missing(list(kept)) == []
        for digest, size in kept.items():
            value = store.get(digest)
            assert (len(value), sha256(value).digest()) == (size, digest)
    referred = read_uses(tmp_path / "broker.db")
    assert used.keys() <= referred
    folder = tmp_path / "broker.db.values"
    with launch_broker(port=0, storage=database, environment={"DAGORAMA_VALUES_UNUSED_S": "0.1"}):
        until = time.monotonic() + 2 * WAIT_S
        while left(folder) != referred or any((folder / "incoming").iterdir()):
            assert time.monotonic() < until, "what nobody uses is not collected"
            time.sleep(0.05)
    assert left(folder) == read_uses(tmp_path / "broker.db")
    assert sorted(path.name for path in folder.iterdir() if len(path.name) != 2) == ["incoming", "lock", "owner"]


def read_uses(path: Path) -> set[bytes]:
    """Give the values that a database refers to, by its rows and by its payloads."""
    journal = SqliteJournal(path)
    instances = journal.open().instances
    uses = set(journal.list_uses(after=None, limit=1_000_000))
    journal.close()
    assert uses == {use for instance in instances for use in recount_uses(instance)}
    return {use.digest for use in uses}


def left(folder: Path) -> set[bytes]:
    """Give the values in a directory."""
    return {bytes.fromhex(path.name) for path in value_files(folder)}
