"""Brokers, clients and workers for the tests of the broker's process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from dagorama.v1 import work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import LEASE_S, Client, Worker, new_id


class Connect(Protocol):
    """Connects a worker that serves the test's queue alone."""

    def __call__(self, target: str = "", *, worker_id: bytes = b"", name: str = "w1", **hello: object) -> Worker:
        """Give a worker; further arguments are fields of its hello."""


@pytest.fixture(scope="session", params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedBroker]:
    """Give a broker, on each storage in turn, that many tests share: use a queue of your own, and do not stop it."""
    storage = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path_factory.mktemp('data')}/broker.db"
    with launch_broker(port=0, storage=storage, environment={"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _leases_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have brokers of a test's own wait as long for their workers, which send no heartbeats."""
    monkeypatch.setenv("DAGORAMA_LEASE_DURATION_S", str(LEASE_S))


@pytest.fixture
def queue() -> str:
    """Give a queue that no other test has."""
    return new_id().hex()


@pytest.fixture
def client(broker: LaunchedBroker, queue: str) -> Iterator[Client]:
    """Give a client whose function is in the test's queue."""
    with Client(broker.target, queue) as client:
        yield client


@pytest.fixture
def connect(request: pytest.FixtureRequest, queue: str) -> Iterator[Connect]:
    """Give a way to connect workers; their connections end with the test."""
    workers = []

    def connect(target: str = "", *, worker_id: bytes = b"", name: str = "w1", **hello: object) -> Worker:
        if not target:
            shared: LaunchedBroker = request.getfixturevalue("broker")
            target = shared.target
        fields: dict[str, object] = {"slots": 1, "include_queues": [queue], **hello}
        message = work_pb2.Hello(worker_id=worker_id or new_id(), name=name, reads_references=True, **fields)  # type: ignore[arg-type]  # the test's
        worker = Worker(target, message)
        workers.append(worker)
        return worker

    yield connect
    for worker in workers:
        worker.close()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Give the URL of an SQLite storage that does not exist yet."""
    return f"sqlite:///{tmp_path}/broker.db"
