"""Instances that are stopped on request, and attempts that take too long."""

from __future__ import annotations

import signal
from functools import partial

import grpc
import pytest

from dagorama.v1 import dag_pb2, graph_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, new_id, refusal, result
from tests.timing import WAIT_S

CANCELLED, COMPLETED = graph_pb2.NODE_STATE_CANCELLED, graph_pb2.NODE_STATE_COMPLETED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def counts(info: dag_pb2.InstanceInfo) -> dict[int, int]:
    """Give how many nodes of an instance are in which state."""
    return {count.state: count.count for count in info.counts}


def test_nothing_of_a_cancelled_instance_starts(client: Client, connect: Connect) -> None:
    """What runs is revoked from its worker, and of what was queued nothing is ever granted."""
    first, second, third, other = (new_id() for _ in range(4))
    instance_id = client.start(call(first), call(second), call(third, first))
    worker = connect()
    (grant,) = worker.take()
    client.cancel(instance_id)
    worker.hand_back(grant)
    client.start(call(other))
    (next_grant,) = worker.take()
    worker.settle()
    assert [(lease.node_id, lease.token) for lease in worker.revocations] == [(first, grant.token)]
    assert (next_grant.node_id, worker.grants) == (other, [])
    info = client.instance(instance_id)
    assert (info.state, counts(info)) == (graph_pb2.INSTANCE_STATE_CANCELLED, {CANCELLED: 3})
    assert 0 < info.created_at <= info.finished_at


def test_a_late_result_is_refused(client: Client, connect: Connect) -> None:
    """What a worker reports of a cancelled node changes nothing, and it is told so."""
    node_id, child = new_id(), new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    (grant,) = worker.take()
    client.cancel(instance_id)
    worker.finish(result(grant, value=b"late", children=(call(child),)), functions=client.functions)
    assert [(refused.node_id, refused.presented) for refused in worker.refusals] == [(node_id, grant.token)]
    assert counts(client.instance(instance_id)) == {CANCELLED: 1}


def test_each_worker_is_told_of_its_own_leases(client: Client, connect: Connect) -> None:
    """A revocation goes to the worker that has the node, and to nobody else."""
    instance_id = client.start(call(new_id()), call(new_id()), call(new_id()))
    one, two = connect(name="w1"), connect(name="w2", slots=2)
    granted = [{grant.node_id for grant in grants} for grants in (one.take(1), two.take(2))]
    client.cancel(instance_id)
    one.wait(lambda: len(one.revocations) == 1)
    two.wait(lambda: len(two.revocations) == 2)
    assert [{lease.node_id for lease in worker.revocations} for worker in (one, two)] == granted


def test_whoever_waits_hears_of_it(client: Client) -> None:
    """Watches of nodes and of the instance end with what has become of them, begun before the cancel or after it."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second, first))
    before = client.watch(instance_id, first, second)
    states = client.dag.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=instance_id), timeout=WAIT_S)
    assert next(states).instance.state == graph_pb2.INSTANCE_STATE_RUNNING
    client.cancel(instance_id)
    after = client.watch(instance_id, first, second)
    for watch in (before, after):
        outcomes = [outcome for response in watch for outcome in response.outcomes]
        assert {(it.node_id, it.state, it.cause_id) for it in outcomes} == {
            (first, CANCELLED, first),
            (second, CANCELLED, second),
        }
    assert [response.instance.state for response in states][-1] == graph_pb2.INSTANCE_STATE_CANCELLED


def test_what_completed_before_stays(client: Client, connect: Connect) -> None:
    """A cancelled instance keeps the values that it had."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second, first))
    worker = connect()
    worker.complete(worker.take()[0], b"value")
    client.cancel(instance_id)
    (response,) = client.watch(instance_id, first)
    assert list(response.values.payloads) == [b"value"]
    assert counts(client.instance(instance_id)) == {COMPLETED: 1, CANCELLED: 1}


@pytest.mark.parametrize(("end", "state"), [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")])
def test_what_has_ended_cannot_be_cancelled(client: Client, connect: Connect, end: str, state: str) -> None:
    """The request is refused, naming the state."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    if end == "cancel":
        client.cancel(instance_id)
    else:
        worker = connect()
        (grant,) = worker.take()
        worker.finish(result(grant, value=b"") if end == "complete" else result(grant, failure=failure()))
    code, details = refusal(lambda: client.cancel(instance_id))
    assert (code, f"is {state} already, so it cannot be cancelled" in details) == (PRECONDITION, True)


def test_what_does_not_exist_cannot_be_cancelled(client: Client) -> None:
    """An unknown id is NOT_FOUND, one that is none INVALID_ARGUMENT."""
    assert [refusal(partial(client.cancel, raw))[0] for raw in (new_id(), b"short")] == [
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]


def test_a_cancelled_instance_takes_no_further_calls(client: Client) -> None:
    """They are refused, naming the state; repeating the calls that it has is no fault."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    empty = client.start()
    client.cancel(instance_id)
    client.cancel(empty)
    client.submit(instance_id, call(node_id))
    refusals = [refusal(partial(client.submit, one, call(new_id()))) for one in (instance_id, empty, empty)]
    assert [(code, "cancelled already" in details) for code, details in refusals] == [(PRECONDITION, True)] * 3


def test_a_cancel_survives_a_kill(database: str, connect: Connect) -> None:
    """Once it is answered it is on disk: after a restart nothing of the instance is granted."""
    queued, other = new_id(), new_id()
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(queued))
        client.cancel(instance_id)
        client.start(call(other))
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(WAIT_S)
    with launch_broker(port=0, storage=database) as second, Client(second.target) as client:
        worker = connect(second.target, include_queues=[], slots=2)
        (grant,) = worker.take()
        worker.settle()
        assert (grant.node_id, worker.grants) == (other, [])
        assert client.node(instance_id, queued).state == CANCELLED


def test_an_attempt_that_takes_too_long_is_revoked_and_follows_its_retry_policy(
    client: Client, connect: Connect, queue: str
) -> None:
    """The broker ends it by itself, tells the worker, and grants the node again under a larger token."""
    node_id = new_id()
    spec = graph_pb2.FunctionSpec(
        name="shop:slow", queue=queue, timeout_s=0.2, retry=graph_pb2.RetryPolicy(max_attempts=2)
    )
    instance_id = client.start(call(node_id), functions=[spec])
    worker = connect()
    (first,) = worker.take()
    worker.wait(lambda: len(worker.revocations) == 1)
    worker.finish(result(first, value=b"late"))
    (second,) = worker.take()
    (response,) = client.watch(instance_id, node_id)
    (outcome,) = response.outcomes
    worker.wait(lambda: len(worker.revocations) == 2)
    assert worker.functions[node_id].timeout_s == 0.2
    assert [lease.token for lease in worker.revocations] == [first.token, second.token]
    assert [refused.presented for refused in worker.refusals] == [first.token]
    assert (outcome.failure.type, outcome.cause_attempts, second.attempt) == ("TimeoutError", 2, 2)
