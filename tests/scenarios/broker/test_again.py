"""Requests to retry and to rerun whose answers were lost."""

from __future__ import annotations

import grpc
import pytest

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, new_id, refusal


def test_a_repeated_rerun_runs_nothing_again(client: Client, connect: Connect) -> None:
    """It gives the same answer, also once the instance has ended again; for another node it is refused."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second, first))
    worker = connect()
    for _ in range(2):
        worker.complete(worker.take()[0])
    request = dag_pb2.RerunNodeRequest(instance_id=instance_id, node_id=first, request_id=new_id())
    answers = [client.dag.RerunNode(request) for _ in range(2)]
    for _ in range(2):
        worker.complete(worker.take()[0])
    answers.append(client.dag.RerunNode(request))
    assert [list(answer.node_ids) for answer in answers] == [[first, second]] * 3
    assert client.instance(instance_id).state == graph_pb2.INSTANCE_STATE_COMPLETED
    assert [client.node(instance_id, id).change for id in (first, second)] == [dag_pb2.CHANGE_SAME] * 2
    request.node_id = second
    assert refusal(lambda: client.dag.RerunNode(request))[0] is grpc.StatusCode.ALREADY_EXISTS


def test_a_repeated_retry_runs_nothing_again(client: Client, connect: Connect) -> None:
    """Even if the instance has failed again; another request retries that."""
    instance_id = client.start(call(new_id()))
    worker = connect()

    def fail() -> None:
        (grant,) = worker.take()
        worker.finish(work_pb2.Result(node_id=grant.node_id, token=grant.token, failure=failure()))

    fail()
    request = dag_pb2.RetryInstanceRequest(instance_id=instance_id, request_id=new_id())
    client.dag.RetryInstance(request)
    fail()
    client.dag.RetryInstance(request)
    assert client.instance(instance_id).state == graph_pb2.INSTANCE_STATE_FAILED
    request.request_id = new_id()
    client.dag.RetryInstance(request)
    worker.complete(worker.take()[0])


@pytest.mark.parametrize("request_id", [b"", b"short"])
def test_a_request_needs_an_id(client: Client, request_id: bytes) -> None:
    """Else it could not be repeated; the error names the field."""
    retry = dag_pb2.RetryInstanceRequest(instance_id=new_id(), request_id=request_id)
    rerun = dag_pb2.RerunNodeRequest(instance_id=new_id(), node_id=new_id(), request_id=request_id)
    said = [refusal(lambda: client.dag.RetryInstance(retry)), refusal(lambda: client.dag.RerunNode(rerun))]
    assert said == [(grpc.StatusCode.INVALID_ARGUMENT, f"request_id has {len(request_id)} bytes; an id has 16")] * 2
