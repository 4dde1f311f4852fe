"""What the wire tells is durable: a real server over a journal whose commits a test can hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.service.server import Server
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.unit.host.commands import Channel, complete, instance_id, node_id, spin, submit, until
from tests.unit.host.gate import Gate, GatedMemory
from tests.unit.logs.sending import logs_of

if TYPE_CHECKING:
    Stub: TypeAlias = dag_pb2_grpc.DagServiceAsyncStub  # a name that only the stubs' typing has

pytestmark = pytest.mark.asyncio

INSTANCE = instance_id("i")


@asynccontextmanager
async def serving(gate: Gate) -> AsyncIterator[tuple[Host, Stub]]:
    """Serve a host over a gated journal; gives it and a stub."""
    host = Host(GatedMemory(gate), settings=Settings(), rng=Random(0))
    server = Server(host, logs_of(host), Values(MemoryStore()))
    port = server.bind("localhost", 0)
    await host.start()
    running = asyncio.create_task(host.run())
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Stub = dag_pb2_grpc.DagServiceStub(channel)
            yield host, stub
    finally:
        gate.let_through()
        await server.stop()
        host.stop()
        await running


async def get_node(stub: Stub) -> int:
    """Give the state that GetNode tells of the dependent."""
    response = await stub.GetNode(dag_pb2.GetNodeRequest(instance_id=INSTANCE, node_id=node_id("b")))
    return response.node.state


async def list_nodes(stub: Stub) -> int:
    """Give the state that ListNodes tells of the dependent."""
    response = await stub.ListNodes(dag_pb2.ListNodesRequest(instance_id=INSTANCE))
    return response.nodes[1].state


async def get_instance(stub: Stub) -> int:
    """Give the state that GetInstance counts."""
    response = await stub.GetInstance(dag_pb2.GetInstanceRequest(instance_id=INSTANCE))
    return response.instance.counts[-1].state


async def list_instances(stub: Stub) -> int:
    """Give the state that ListInstances counts."""
    response = await stub.ListInstances(dag_pb2.ListInstancesRequest())
    return response.instances[-1].counts[-1].state


async def watch_instance(stub: Stub) -> int:
    """Give the state that WatchInstance counts first."""
    async for response in stub.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=INSTANCE)):
        return response.instance.counts[-1].state
    raise AssertionError("the watch ended")


async def watch(stub: Stub) -> int:
    """Give the state that Watch tells."""
    async for response in stub.Watch(dag_pb2.WatchRequest(instance_id=INSTANCE, node_ids=[node_id("a")])):
        return response.outcomes[0].state
    raise AssertionError("the watch ended")


LEASED, COMPLETED = graph_pb2.NODE_STATE_LEASED, graph_pb2.NODE_STATE_COMPLETED


@pytest.mark.parametrize(
    ("look", "reads", "expected"),
    [
        (get_node, 2, LEASED),
        (list_nodes, 2, LEASED),
        (get_instance, 1, COMPLETED),
        (list_instances, 1, COMPLETED),
        (watch_instance, 1, COMPLETED),
        (watch, 1, COMPLETED),
    ],
)
async def test_what_is_not_durable_is_not_told(
    look: Callable[[Stub], Awaitable[int]], reads: int, expected: int
) -> None:
    """Whoever looks at a completion, or at a dependent that it has set free, waits until the completion is durable."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        Channel(host, gate.log)
        await host.commit(submit("a"))
        await host.commit(submit("b", after=["a"]))
        gate.hold()
        host.apply(submit("0", instance="j"))
        await gate.begun()
        if reads == 1:
            host.apply(complete(host, "a"))
        answer = asyncio.ensure_future(look(stub))
        for read in range(1, reads + 1):
            if read < reads:
                host.apply(submit(str(read), instance="j"))
            await has_answered(stub)
            gate.let_one_through()  # what was asked of the journal up to here is read before the next commit
            await gate.begun()
            if read == reads - 1:
                host.apply(complete(host, "a"))
        await has_answered(stub)
        during = answer.done()
        gate.let_through()
        assert (during, await answer) == (False, expected)


async def has_answered(stub: Stub) -> None:
    """Return when the server has had every question that was asked, and time to answer what it can."""
    for _ in range(3):
        async for _ in stub.Watch(dag_pb2.WatchRequest(instance_id=INSTANCE)):
            pass
        await spin()


@pytest.mark.parametrize(
    "ids", [[b"a"], [b"a", b"a"], [b"a", b"short"], [b"a", b"unknown"]], ids=["one", "twice", "malformed", "unknown"]
)
async def test_a_watch_leaves_nothing_behind(ids: list[bytes]) -> None:
    """After a watch has been cancelled or refused nobody listens for its nodes."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        await host.commit(submit("a"))
        node_ids = [raw if raw == b"short" else raw.ljust(16) for raw in ids]
        call = stub.Watch(dag_pb2.WatchRequest(instance_id=INSTANCE, node_ids=node_ids))
        reading = asyncio.ensure_future(call.read())
        if b"short" in ids or b"unknown" in ids:
            with pytest.raises(grpc.aio.AioRpcError):
                await reading
        else:
            await until(lambda: host.listeners.waiting == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await until(lambda: host.listeners.waiting == 0)


async def test_a_watch_of_an_instance_leaves_nothing_behind() -> None:
    """After a watch of an instance has been cancelled nobody listens for its changes."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        await host.commit(submit("a"))
        call = stub.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=INSTANCE))
        await call.read()
        assert host.listeners.waiting == 1
        call.cancel()
        await until(lambda: host.listeners.waiting == 0)
