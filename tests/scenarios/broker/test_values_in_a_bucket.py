"""Values in a bucket over real processes: whole or absent after every kill, and collected once nothing uses them.

DAGORAMA_TEST_KILLS sets how often brokers are killed (default 6, at most 100), DAGORAMA_TEST_SEED when.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event

import grpc
import pytest
from click.testing import CliRunner

from dagorama.cli.main import group
from dagorama.v1 import values_pb2, values_pb2_grpc
from dagorama_broker.launch import BrokerNotStarted, launch_broker
from dagorama_broker.values.objects import Objects
from tests.object_stores import ObjectServer, reach
from tests.scenarios.broker.test_values import KILLS, SEED, Store, read_uses, work_until_killed
from tests.timing import WAIT_S, until

MIB = 2**20


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give a place for values as a broker's setting; credentials are in the environment."""
    server: ObjectServer = request.getfixturevalue(getattr(request, "param", "moto"))
    reach(server, monkeypatch)
    return {"DAGORAMA_VALUES": server.place()}


def names(place: dict[str, str]) -> list[str]:
    """Give the names of all objects."""
    return [one.name for one in Objects(place["DAGORAMA_VALUES"]).names("")]


@pytest.mark.parametrize("place", ["moto", "azure", "google"], indirect=True)
def test_a_broker_that_is_killed_in_an_upload_leaves_no_broken_value(database: str, place: dict[str, str]) -> None:
    """What was written is gone on with; a value is found when all of it is there."""
    value = random.Random(SEED).randbytes(9 * MIB)
    digest = sha256(value).digest()
    killed = Event()

    def half() -> Iterator[values_pb2.PutValueRequest]:
        yield values_pb2.PutValueRequest(header=values_pb2.PutValueHeader(digest=digest, size=len(value)))
        for at in range(0, 6 * MIB, MIB):
            yield values_pb2.PutValueRequest(chunk=value[at : at + MIB])
        killed.wait(WAIT_S)

    with (
        launch_broker(port=0, storage=database, environment=place) as broker,
        grpc.insecure_channel(broker.target) as channel,
    ):
        put = values_pb2_grpc.ValueServiceStub(channel).PutValue.future(half())
        until(lambda: any(name.startswith("parts/") for name in names(place)))
        broker.process.kill()
        broker.process.wait()
        killed.set()
        assert put.code() is grpc.StatusCode.UNAVAILABLE
    with (
        launch_broker(port=0, storage=database, environment=place) as broker,
        grpc.insecure_channel(broker.target) as channel,
    ):
        stub = values_pb2_grpc.ValueServiceStub(channel)
        (missing,) = stub.FindValues(values_pb2.FindValuesRequest(digests=[digest])).missing
        assert missing.received_bytes == 4 * MIB
        store = Store(channel)
        store.put(value)
        assert (store.get(digest) == value, store.missing([digest])) == (True, [])


def test_acknowledged_values_outlive_kills(database: str, place: dict[str, str], tmp_path: Path) -> None:
    """Whenever a broker is killed: what was acknowledged reads back, and what nobody uses goes, remains included."""
    rng = random.Random(f"{SEED} bucket")
    put: dict[bytes, int] = {}
    used: dict[bytes, int] = {}
    for _ in range(max(1, KILLS // 3)):
        with launch_broker(port=0, storage=database, environment=place) as broker:
            work_until_killed(broker, rng, put, used)
    with (
        launch_broker(port=0, storage=database, environment=place) as broker,
        grpc.insecure_channel(broker.target) as channel,
    ):
        store = Store(channel)
        assert store.missing(list(put)) == []
        for digest, size in put.items():
            value = store.get(digest)
            assert (len(value), sha256(value).digest()) == (size, digest)
    referred = read_uses(tmp_path / "broker.db")
    assert used.keys() <= referred
    with launch_broker(port=0, storage=database, environment={**place, "DAGORAMA_VALUES_UNUSED_S": "0.1"}):
        until(lambda: left(place) == referred)
        until(lambda: len(names(place)) == 1 + len(referred))
    checked = CliRunner().invoke(
        group, ["storage", "check", "--storage", database, "--values", place["DAGORAMA_VALUES"]]
    )
    assert ("; 0 unused values of 0 bytes; 0 problems" in checked.output, checked.exit_code) == (True, 0)


def left(place: dict[str, str]) -> set[bytes]:
    """Give the values in a bucket."""
    return {bytes.fromhex(name.split("/")[2]) for name in names(place) if name.startswith("values/")}


def test_a_broker_does_not_start_on_a_place_that_it_cannot_have(database: str, place: dict[str, str]) -> None:
    """It says why in one line, with exit status 3."""
    with (
        launch_broker(port=0, storage=database, environment=place) as broker,
        grpc.insecure_channel(broker.target) as channel,
    ):
        Store(channel).put(b"value")
    with pytest.raises(BrokerNotStarted, match="belong to another broker's database") as caught:
        launch_broker(port=0, environment=place).__enter__()
    assert (caught.value.status, "\n" in str(caught.value).strip()) == (3, False)
