"""Events are watched over a connection, through a restart of the broker, and by many."""

from __future__ import annotations

import asyncio
import os
import signal
from threading import Thread
from uuid import UUID

import pytest

from dagorama import CursorExpired, Event, InstanceEvent, NodeEvent, WorkerEvent, events
from dagorama.looking import events as events_module
from dagorama.v1 import work_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.rawclient import Client, Worker, call, failure, function, new_id, result
from tests.timing import WAIT_S


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a waiting broker answer soon, so that it can stop."""
    monkeypatch.setattr(events_module, "WAIT_S", 1.0)


def test_events_are_watched_while_they_happen(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    """By several at once, sync and async; a kill of the broker ends what a cursor means, and says so."""
    monkeypatch.setenv("DAGORAMA_HOST", "127.0.0.1")
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        monkeypatch.setenv("DAGORAMA_PORT", str(broker.port))
        cursor = events().begin()
        found: list[Event] = []

        def read() -> None:
            for event in events(after=cursor):
                found.append(event)
                if event_is_end(event):
                    return

        async def read_async() -> list[Event]:
            read = []
            async for event in events(after=cursor):
                read.append(event)
                if event_is_end(event):
                    break
            return read

        def event_is_end(event: Event) -> bool:
            return isinstance(event, InstanceEvent) and event.kind == "instance_finished"

        reader = Thread(target=read)
        reader.start()
        node_id = new_id()
        instance_id = client.start(call(node_id), functions=[function("shop:Order.pay")])
        worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w\x1b[31m", slots=1))
        (grant,) = worker.take()
        worker.finish(result(grant, failure=failure(message="no \x1b[31mstock")))
        reader.join(WAIT_S)
        assert [event.kind for event in found if not isinstance(event, WorkerEvent)] == [  # type: ignore[union-attr]
            "instance_created",
            "nodes_created",
            "attempt_failed",
            "node_failed",
            "instance_finished",
        ]
        assert asyncio.run(read_async()) == found
        (joined,) = (event for event in found if isinstance(event, WorkerEvent))
        assert (joined.kind, joined.worker) == ("worker_joined", "w\x1b[31m")
        attempt, failed = (event for event in found if isinstance(event, NodeEvent))
        assert (attempt.instance_id, attempt.node_id) == (UUID(bytes=instance_id), UUID(bytes=node_id))
        assert (failed.error_type, failed.error_message, failed.attempt) == ("ValueError", "no \x1b[31mstock", 1)
        worker.close()
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait()
        with launch_broker(port=broker.port, storage=database):
            events().begin()
            with pytest.raises(CursorExpired, match="the broker has been started again since"):
                next(iter(events(after=cursor)))
