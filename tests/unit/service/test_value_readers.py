"""Workers and clients that cannot read payloads which refer to values: they get none, and are told what to do."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from dagorama.api import api_pb2, api_pb2_grpc
from dagorama.v1 import dag_pb2, dag_pb2_grpc, work_pb2
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.model.states import NodeState
from tests.unit.host.commands import node_id
from tests.unit.service.test_values import INSTANCE, VALUE, Serving, Worker, calls, referring, refused, serving, start

pytestmark = pytest.mark.asyncio

WAIT_S = 60
LARGE, PLAIN, TAKER = node_id("0"), node_id("1"), node_id("2")


def dag_of(served: Serving) -> dag_pb2_grpc.DagServiceAsyncStub:
    """Give a client's stub."""
    return dag_pb2_grpc.DagServiceStub(served.channel)


async def why(served: Serving, node: bytes) -> str:
    """Give why a node does not run."""
    response = await dag_of(served).Why(dag_pb2.WhyRequest(instance_id=INSTANCE, node_id=node))
    return " ".join(reason.text for reason in response.reasons)


async def until_granted(worker: Worker, *nodes: bytes) -> None:
    """Read until a worker has been granted these nodes, and no others."""
    async with asyncio.timeout(WAIT_S):
        while set(worker.tokens) != set(nodes):
            assert set(worker.tokens) < set(nodes)
            await worker.read()


@pytest.mark.parametrize("place", ["arguments", "definition", "edited"])
async def test_a_node_waits_for_a_worker_that_reads_its_arguments(place: str) -> None:
    """One of an earlier version is granted the others, and `why` says what to update."""
    large = referring(VALUE)
    if place == "edited":
        large = b'{"edits": {}}\n' + large
    request = start(b"plain") if place == "definition" else start(large, b"plain")
    if place == "definition":
        request.functions.add(name="shop:g", queue="q", definition_arguments=large)
        request.calls.CopyFrom(calls(b"", b"plain"))
        request.calls.functions[:] = [1, 0]
    async with serving() as served:
        await served.put(VALUE)
        await dag_of(served).Submit(request)
        earlier = Worker(served.channel)
        await earlier.begin(reads_references=False)
        await until_granted(earlier, PLAIN)
        assert "does not read such. Update dagorama there" in await why(served, LARGE)
        later = Worker(served.channel)
        await later.begin(worker_id=b"v" * 16)
        await until_granted(later, LARGE)
        await earlier.call.done_writing()
        await later.call.done_writing()


async def test_a_node_waits_for_a_worker_that_reads_the_values_it_takes() -> None:
    """They are known once others have given them; nothing of them reaches the worker before."""
    request = start(b"", b"", b"")
    request.calls.dependency_counts[:] = [0, 0, 2]
    request.calls.dependency_ids[:] = [PLAIN, LARGE]
    async with serving() as served:
        await served.put(VALUE)
        await dag_of(served).Submit(request)
        earlier, later = Worker(served.channel), Worker(served.channel)
        await earlier.begin(reads_references=False)
        await until_granted(earlier, LARGE, PLAIN)
        values = work_pb2.Completions(
            node_ids=[PLAIN, LARGE],
            tokens=[earlier.tokens[PLAIN], earlier.tokens[LARGE]],
            values=[b"v", referring(VALUE)],
            durations_us=[1, 1],
        )
        assert await earlier.report(1, work_pb2.WorkRequest(completions=values)) == []
        async with asyncio.timeout(WAIT_S):
            while "does not read such" not in await why(served, TAKER):  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0)
        await later.begin(worker_id=b"v" * 16)
        await until_granted(later, TAKER)
        assert set(earlier.tokens) == {LARGE, PLAIN}
        await earlier.call.done_writing()
        await later.call.done_writing()


async def completed(served: Serving) -> None:
    """Have a node give a large value, and another a plain one."""
    await served.put(VALUE)
    await dag_of(served).Submit(start(b"", b""))
    worker = Worker(served.channel)
    await worker.begin()
    await until_granted(worker, LARGE, PLAIN)
    values = work_pb2.Completions(
        node_ids=[PLAIN, LARGE],
        tokens=[worker.tokens[PLAIN], worker.tokens[LARGE]],
        values=[b"v", referring(VALUE)],
        durations_us=[1, 1],
    )
    await worker.report(1, work_pb2.WorkRequest(completions=values))
    await worker.call.done_writing()


@pytest.mark.parametrize("together", [False, True])
async def test_a_client_that_does_not_read_references_is_told_to_update(together: bool) -> None:
    """It would take them for a broken pickle. Plain values are its own, and so are all for a client of today."""

    def request(*nodes: bytes, reads_references: bool = False) -> dag_pb2.WatchRequest:
        return dag_pb2.WatchRequest(
            instance_id=INSTANCE, node_ids=nodes, together=together, reads_references=reads_references
        )

    async with serving() as served:
        await completed(served)
        dag = dag_of(served)
        plain = [one async for one in dag.Watch(request(PLAIN))]
        assert [list(one.values.payloads) for one in plain] == [[b"v"]]
        with refused(grpc.StatusCode.FAILED_PRECONDITION, f"{show_id(LARGE)}.*Update dagorama there"):
            [one async for one in dag.Watch(request(LARGE))]
        read = [one async for one in dag.Watch(request(LARGE, reads_references=True))]
        assert [list(one.values.payloads) for one in read] == [[referring(VALUE)]]


async def test_clients_and_workers_of_the_first_api_read_no_references() -> None:
    """They get other nodes, and an error that says what to update."""
    async with serving() as served:
        await completed(served)
        stub: api_pb2_grpc.DagoramaAsyncStub = api_pb2_grpc.DagoramaStub(served.channel)
        look = api_pb2.NodeRetrieveMessage(instanceId=show_id(INSTANCE), identifier=show_id(LARGE))
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "Update dagorama there"):
            await stub.GetNode(look)
        look.identifier = show_id(PLAIN)
        assert (await stub.GetNode(look)).resolvedValue == b"v"

        more = start(b"", b"", referring(VALUE), b"plain")
        await dag_of(served).Submit(more)
        worker = (await stub.CreateWorker(api_pb2.WorkerConfigurationMessage())).identifier
        granted = await stub.GetWork(api_pb2.WorkerMessage(identifier=worker))
        assert granted.identifier == show_id(node_id("3"))
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no work available"):
            await stub.GetWork(api_pb2.WorkerMessage(identifier=worker))
        assert served.host.scheduler.instances[INSTANCE].nodes[node_id("2")].state is NodeState.READY
        assert "does not read such" in await why(served, node_id("2"))
