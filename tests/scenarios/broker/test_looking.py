"""Instances and nodes of a broker, looked at from Python over a connection, on each storage."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

import dagorama
from dagorama import InstanceFailed, NodeState, Queue, UnknownId, attach, instances
from dagorama.calls.payload import encode
from dagorama.v1 import graph_pb2
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, function, new_id, result
from tests.timing import WAIT_S


@pytest.fixture(autouse=True)
def addressed(broker: LaunchedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment name the broker."""
    monkeypatch.setenv("DAGORAMA_HOST", "127.0.0.1")
    monkeypatch.setenv("DAGORAMA_PORT", str(broker.port))


def test_what_is_known_is_told(client: Client, connect: Connect, queue: str) -> None:
    """An instance with what failed, what it took with it, and what completed, both ways of asking."""
    began_at = datetime.now(UTC) - timedelta(seconds=5)
    worker = connect(name="w7")
    good, bad, after = new_id(), new_id(), new_id()
    spec = function("shop:Order.charge", queue=queue, retry=graph_pb2.RetryPolicy(max_attempts=2))
    instance_id = client.start(call(good), call(bad), call(after, bad), functions=[spec])
    found = attach(UUID(bytes=instance_id))
    assert found.done() is False
    value = encode("paid", what="the value").data
    for _ in range(3):
        for grant in worker.take():
            error = None if grant.node_id == good else failure(traceback="Traceback: no")
            worker.finish(result(grant, value=None if error else value, failure=error))
    with pytest.raises(InstanceFailed, match="no stock"):
        found.wait(timeout=WAIT_S)
    assert (found.definition, found.state, found.done(), found.result()) == ("shop:Order", "failed", True, "paid")
    (failed,) = found.nodes(state="failed", function="charge")
    assert (failed.id, failed.error and failed.error.traceback) == (UUID(bytes=bad), "Traceback: no")
    assert [(one.number, one.worker, one.error is None) for one in failed.attempts] == [
        (1, "w7", False),
        (2, "w7", False),
    ]
    assert found.node(UUID(bytes=after)).cause_id == failed.id
    assert found in list(instances(definition="Order", state="failed", since=began_at))
    assert found not in list(instances(until=began_at))

    async def ask() -> list[object]:
        nodes = [node.id async for node in found.nodes(limit=2)]
        names = [one.name for one in await dagorama.workers_async()]
        return [nodes, "w7" in names, await (await found.anode(nodes[0])).aresult()]

    assert asyncio.run(ask()) == [[UUID(bytes=good), UUID(bytes=bad)], True, "paid"]


def test_nodes_are_counted_wherever_they_are(client: Client, connect: Connect, queue: str) -> None:
    """In memory, in the journal, and where an instance that has ended got further nodes, so that they are in both."""
    worker = connect(slots=2)
    one, two, three, four = (new_id() for _ in range(4))
    first, second = function("shop:Order.a", queue=queue), function("shop:Order.b", queue=queue)
    instance_id = client.start(call(one), call(two), call(three, one, function=1), functions=[first, second])
    found = attach(UUID(bytes=instance_id))
    grants = worker.take() + worker.take()
    worker.finish(result(grants[0], value=b"1"))
    grants += worker.take()

    def count() -> list[tuple[str, dict[NodeState, int]]]:
        return [(one.function, one.counts) for one in found.progress().functions]

    def fold() -> tuple[list[dict[NodeState, int]], list[tuple[int, int, int]]]:
        shape = found.shape()
        return [one.counts for one in shape.groups], [(one.source, one.target, one.count) for one in shape.edges]

    assert count() == [("shop:Order.a", {"leased": 1, "completed": 1}), ("shop:Order.b", {"leased": 1})]
    assert fold() == ([{"leased": 1, "completed": 1}, {"leased": 1}], [(0, 1, 1)])
    assert found.times().states == ["completed", "leased", "leased"]
    for grant in grants[1:]:
        worker.finish(result(grant, value=b"1"))
    found.wait(timeout=WAIT_S)
    assert count() == [("shop:Order.a", {"completed": 2}), ("shop:Order.b", {"completed": 1})]
    assert fold() == ([{"completed": 2}, {"completed": 1}], [(0, 1, 1)])
    client.submit(instance_id, call(four, two), functions=[second])
    (grant,) = worker.take()
    assert count() == [("shop:Order.a", {"completed": 2}), ("shop:Order.b", {"leased": 1, "completed": 1})]
    assert fold() == ([{"completed": 2}, {"leased": 1, "completed": 1}], [(0, 1, 2)])
    times = found.times()
    assert (times.states[-1], times.workers[-1], times.dependencies[-1]) == ("leased", times.workers[0], (1,))
    worker.finish(result(grant, value=b"1"))
    found.wait(timeout=WAIT_S)
    assert found.progress().counts == {"completed": 4}


def test_a_queue_is_controlled(queue: str) -> None:
    """By its name, durably."""
    Queue(queue).pause()
    (told,) = Queue(queue).cap(2)
    assert Queue(queue).status() == [told]
    assert (told.paused, told.running_max) == (True, 2)
    assert told in dagorama.queues()
    Queue(queue).resume()
    Queue(queue).cap(None)
    assert Queue(queue).status() == []


def test_what_is_unknown_is_an_error_of_its_own() -> None:
    """It names what is missing."""
    unknown = attach("0190a000-0000-7000-8000-000000000001")
    for look in (unknown.done, unknown.wait, unknown.why, lambda: list(unknown.nodes())):
        with pytest.raises(UnknownId, match="0190a000-0000-7000-8000-000000000001"):
            look()
