"""Asking the broker how instances, nodes, workers and queues stand.

All of these raise `BrokerUnavailable`, and `BrokerRefused` for an id that the broker does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import cast
from uuid import UUID

import grpc

from dagorama.capture import FunctionSpec
from dagorama.client.broker import broker
from dagorama.client.connection import connection, problem_in
from dagorama.client.convert import write_function
from dagorama.client.remote import PAGE_SIZE
from dagorama.client.requests import LOST, Steps, ask, run, run_async
from dagorama.client.status import (
    FunctionStatus,
    InstanceStatus,
    NodeStatus,
    QueueStatus,
    WorkerStatus,
    function_status,
    instance_status,
    node_status,
    queue_status,
    why_in,
    worker_status,
)
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.v1 import dag_pb2
from dagorama.why import Why


def watch_instance(instance_id: bytes) -> Iterator[InstanceStatus]:
    """Yields how an instance stands now and after each change, until it is no longer running.

    Raises `BrokerUnavailable` as soon as the connection breaks, `BrokerRefused` for an unknown instance.
    """
    to = connection()
    try:
        for response in to.dag.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=instance_id)):
            yield instance_status(response.instance)
    except grpc.RpcError as error:
        call = cast(grpc.Call, error)
        if call.code() in LOST:
            raise BrokerUnavailable(
                host=to.host, port=to.port, waited_s=0.0, detail=problem_in(call), was_there=to.answered
            ) from None
        detail = call.details() or call.code().name
        what = f"watching instance {UUID(bytes=instance_id)}"
        raise BrokerRefused(request=what, code=call.code().name, detail=detail) from None


def list_instances() -> Iterator[InstanceStatus]:
    """Yields all instances, newest first, page by page."""
    to = connection()
    token = ""
    while True:
        request = dag_pb2.ListInstancesRequest(page_size=PAGE_SIZE, page_token=token)
        page = run(ask(to, to.dag.ListInstances, request, "the list of instances"))
        yield from map(instance_status, page.instances)
        token = page.next_page_token
        if not token:
            return


def newest_instances(limit: int) -> list[InstanceStatus]:
    """Returns the `limit` newest instances, newest first."""
    return list(islice(list_instances(), limit))


def get_instance(instance_id: bytes) -> InstanceStatus:
    """Returns how an instance stands."""
    to = connection()
    request = dag_pb2.GetInstanceRequest(instance_id=instance_id)
    what = f"a look at instance {UUID(bytes=instance_id)}"
    return instance_status(run(ask(to, to.dag.GetInstance, request, what)).instance)


def list_nodes(instance_id: bytes) -> Iterator[NodeStatus]:
    """Yields the nodes of an instance in creation order, page by page."""
    to = connection()
    token = ""
    while True:
        request = dag_pb2.ListNodesRequest(instance_id=instance_id, page_size=PAGE_SIZE, page_token=token)
        page = run(ask(to, to.dag.ListNodes, request, f"the nodes of instance {UUID(bytes=instance_id)}"))
        yield from map(node_status, page.nodes)
        token = page.next_page_token
        if not token:
            return


def get_node(instance_id: bytes, node_id: bytes) -> NodeStatus:
    """Returns how a node stands."""
    to = connection()
    request = dag_pb2.GetNodeRequest(instance_id=instance_id, node_id=node_id)
    what = f"a look at node {UUID(bytes=node_id)}"
    return node_status(run(ask(to, to.dag.GetNode, request, what)).node)


def list_workers() -> list[WorkerStatus]:
    """Returns the connected workers, in the order in which they came."""
    to = connection()
    answer = run(ask(to, to.dag.ListWorkers, dag_pb2.ListWorkersRequest(), "the list of workers"))
    return [worker_status(info) for info in answer.workers]


def list_queues() -> list[QueueStatus]:
    """Returns what is ready and running, by queue and taint."""
    to = connection()
    answer = run(ask(to, to.dag.ListQueues, dag_pb2.ListQueuesRequest(), "the list of queues"))
    return [queue_status(info) for info in answer.queues]


def check_functions(functions: Sequence[FunctionSpec]) -> list[FunctionStatus]:
    """Returns for each function what would keep its nodes from every connected worker, in the same order."""
    to = connection()
    request = dag_pb2.CheckFunctionsRequest()
    for function in functions:
        write_function(request.functions.add(), function)
    answer = run(ask(to, to.dag.CheckFunctions, request, "to check functions"))
    return [function_status(function, check) for function, check in zip(functions, answer.checks, strict=True)]


def why(instance_id: bytes, node_id: bytes = b"") -> Why:
    """Returns what holds a node; without one, the first node of the instance that has not ended."""
    return run(_why(instance_id, node_id))


async def why_async(instance_id: bytes, node_id: bytes = b"") -> Why:
    """Does what `why` does, without blocking the event loop."""
    return await run_async(_why(instance_id, node_id))


def _why(instance_id: bytes, node_id: bytes) -> Steps[Why]:
    whose = f"node {UUID(bytes=node_id)}" if node_id else f"instance {UUID(bytes=instance_id)}"
    return why_in((yield from broker().why(instance_id, node_id, f"to say why {whose} does not run")))
