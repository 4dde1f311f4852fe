"""What the unary API tells is durable: a real server over a journal whose commits a test can hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import grpc
import pytest

from dagorama.api import api_pb2, api_pb2_grpc
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.service.server import Server
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.unit.host.commands import spin, submit, until
from tests.unit.host.gate import Gate, GatedMemory
from tests.unit.logs.sending import logs_of

if TYPE_CHECKING:
    Stub: TypeAlias = api_pb2_grpc.DagoramaAsyncStub  # a name that only the stubs' typing has

pytestmark = pytest.mark.asyncio

INSTANCE, NODE, OTHER = (str(uuid4()) for _ in range(3))


@asynccontextmanager
async def serving(gate: Gate) -> AsyncIterator[tuple[Host, Stub]]:
    """Serve a host over a gated journal, with an instance of one node; gives it and a stub."""
    host = Host(GatedMemory(gate), settings=Settings(), rng=Random(0))
    server = Server(host, logs_of(host), Values(MemoryStore()))
    port = server.bind("localhost", 0)
    await host.start()
    running = asyncio.create_task(host.run())
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Stub = api_pb2_grpc.DagoramaStub(channel)
            await stub.CreateInstance(api_pb2.InstanceConfigurationMessage(identifier=INSTANCE))
            await stub.CreateNode(node(NODE))
            yield host, stub
    finally:
        gate.let_through()
        await server.stop()
        host.stop()
        await running


def node(identifier: str) -> api_pb2.NodeConfigurationMessage:
    """Give the request for a node."""
    return api_pb2.NodeConfigurationMessage(identifier=identifier, instanceId=INSTANCE, functionName="shop:f")


async def has_answered(stub: Stub) -> None:
    """Return when the server has had every question that was asked, and time to answer what it can."""
    worker = await stub.CreateWorker(api_pb2.WorkerConfigurationMessage(includeQueues=["none"]))
    for _ in range(3):
        await stub.Ping(worker)
        await spin()


Ask = Callable[[Any, api_pb2.WorkerMessage], grpc.aio.UnaryUnaryCall[Any, Any]]


def create_instance(stub: Stub, worker: api_pb2.WorkerMessage) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    """Make an instance."""
    return stub.CreateInstance(api_pb2.InstanceConfigurationMessage(identifier=OTHER))


def create_node(stub: Stub, worker: api_pb2.WorkerMessage) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    """Make a node."""
    return stub.CreateNode(node(OTHER))


def get_node(stub: Stub, worker: api_pb2.WorkerMessage) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    """Look at a node while a commit is on its way."""
    return stub.GetNode(api_pb2.NodeRetrieveMessage(instanceId=INSTANCE, identifier=NODE))


def submit_work(stub: Stub, worker: api_pb2.WorkerMessage) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    """Report a result."""
    request = api_pb2.WorkCompleteMessage(instanceId=INSTANCE, nodeId=NODE, workerId=worker.identifier)
    return stub.SubmitWork(request)


def submit_failure(stub: Stub, worker: api_pb2.WorkerMessage) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    """Report a failure."""
    request = api_pb2.WorkFailedMessage(instanceId=INSTANCE, nodeId=NODE, workerId=worker.identifier)
    return stub.SubmitFailure(request)


@pytest.mark.parametrize("ask", [create_instance, create_node, get_node, submit_work, submit_failure])
async def test_an_answer_waits_until_it_is_durable(ask: Ask) -> None:
    """Nothing is answered before the commit that it rests on."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        worker = await stub.CreateWorker(api_pb2.WorkerConfigurationMessage())
        await stub.GetWork(worker)
        gate.hold()
        host.apply(submit("a"))
        await gate.begun()
        call = ask(stub, worker)
        await has_answered(stub)
        during = call.done()
        gate.let_through()
        await call
    assert not during


async def test_a_grant_that_nobody_waits_for_is_taken_back() -> None:
    """When a worker goes away while its question is being answered, another gets the node at once."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        worker = await stub.CreateWorker(api_pb2.WorkerConfigurationMessage())
        gate.hold()
        host.apply(submit("a"))
        await gate.begun()
        call = stub.GetWork(worker)
        await until(lambda: any(worker.leases for worker in host.scheduler.workers.values()))
        call.cancel()
        await until(lambda: not any(worker.leases for worker in host.scheduler.workers.values()))
        gate.let_through()
        other = await stub.CreateWorker(api_pb2.WorkerConfigurationMessage())
        granted = await stub.GetWork(other)
    assert granted.identifier == NODE


async def test_a_subscription_leaves_nothing_behind() -> None:
    """After a subscription has been cancelled nobody listens for its node."""
    gate = Gate()
    async with serving(gate) as (host, stub):
        request = api_pb2.CompleteSubscriptionRequest(instanceId=INSTANCE, identifier=NODE)
        call = stub.SubscribeResolution(request)
        reading = asyncio.ensure_future(call.read())
        await until(lambda: host.listeners.waiting == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: host.listeners.waiting == 0)
