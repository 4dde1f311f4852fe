"""A broker that ends, killed or asked to, and starts again on the same file and port."""

import signal
import time

import grpc
import pytest

from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, function, new_id, refusal, result, values_in
from tests.timing import WAIT_S, least_s

#: Longer than any test: whatever happens sooner does not happen because the broker has stopped waiting.
PATIENT = {"DAGORAMA_RECONNECT_GRACE_S": "3600"}


def end(broker: LaunchedBroker, number: signal.Signals = signal.SIGKILL) -> None:
    """End a broker and wait until it has."""
    broker.process.send_signal(number)
    broker.process.wait(WAIT_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_running_node_stays_with_its_worker(database: str, connect: Connect, number: signal.Signals) -> None:
    """A worker that names what it runs goes on with it, under a larger token; nobody else ever gets it."""
    node_id = new_id()
    runner, bystander = new_id(), new_id()
    with launch_broker(port=0, storage=database, environment=PATIENT) as first, Client(first.target) as client:
        instance_id = client.start(call(node_id))
        (grant,) = connect(first.target, worker_id=runner, include_queues=[]).take()
        connect(first.target, worker_id=bystander, include_queues=[]).receive()
        end(first, number)
    with launch_broker(first.port, storage=database, environment=PATIENT) as second, Client(second.target) as client:
        others = [
            connect(second.target, worker_id=bystander, include_queues=[]),
            connect(second.target, include_queues=[]),
        ]
        for other in others:
            other.settle()
        held = [work_pb2.Lease(node_id=node_id, token=grant.token, instance_id=instance_id)]
        worker = connect(second.target, worker_id=runner, include_queues=[], held=held)
        (lease,) = worker.receive().welcome.leases
        info = client.node(instance_id, node_id)
        stale = work_pb2.Result(node_id=node_id, token=grant.token, value=b"stale")
        worker.finish(stale, work_pb2.Result(node_id=node_id, token=lease.token, value=b"value"))
        for other in others:
            other.settle()
        (response,) = client.watch(instance_id, node_id)
    assert (lease.node_id, lease.token > grant.token, [other.grants for other in others]) == (node_id, True, [[], []])
    assert (info.state, info.attempts, list(info.failures)) == (graph_pb2.NODE_STATE_LEASED, 1, [])
    assert ([refused.presented for refused in worker.refusals], values_in(response)) == (
        [grant.token],
        [(node_id, b"value")],
    )


def test_workers_that_do_not_come_back_are_not_waited_for(database: str, connect: Connect) -> None:
    """After the grace time their nodes go to others, without a loss on the nodes' account."""
    node_id = new_id()
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(node_id))
        grants = connect(first.target, include_queues=[]).take()
        end(first)
    grace = {"DAGORAMA_RECONNECT_GRACE_S": "0.5"}

    def wait_s() -> float:
        began = time.monotonic()
        with launch_broker(first.port, storage=database, environment=grace) as second, Client(second.target) as client:
            ready = time.monotonic()
            grants.extend(connect(second.target, include_queues=[]).take())
            granted = time.monotonic()
            info = client.node(instance_id, node_id)
            end(second)
        before, again = grants[-2:]
        assert (again.node_id, again.token > before.token, again.attempt, list(info.failures)) == (node_id, True, 1, [])
        assert granted - began > 0.5
        return granted - ready

    assert least_s(wait_s, 5.0) < 5.0  # which it is by default


def test_nobody_is_waited_for_who_had_left(database: str, connect: Connect) -> None:
    """If no worker was connected when the broker ended, nodes are granted at once."""
    with launch_broker(port=0, storage=database, environment=PATIENT) as first, Client(first.target) as client:
        instance_id = client.start(call(new_id()))
        worker = connect(first.target, include_queues=[])
        worker.take()
        worker.leave()
        client.instance(instance_id)  # an answer means that what came before it is durable
        end(first)
    with launch_broker(first.port, storage=database, environment=PATIENT) as second:
        assert len(connect(second.target, include_queues=[]).take()) == 1


def test_everything_acknowledged_is_there_after_a_kill(database: str, connect: Connect) -> None:
    """Completed, joining, ready and waiting nodes, their values and their order are as they were."""
    done, joining, ready, waiting = (new_id() for _ in range(4))
    child = new_id()
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(done), call(joining), call(ready), call(waiting, done, joining))
        worker = connect(first.target, include_queues=[])
        worker.complete(worker.take()[0], b"done")
        worker.finish(
            result(worker.take()[0], value=b"[child]", promise_ids=(child,), children=(call(child),)),
            functions=client.functions,
        )
        worker.hand_back(*worker.take())
        worker.leave()
        before = [client.node(instance_id, node_id) for node_id in (done, joining, ready, waiting, child)]
        end(first)
    with launch_broker(first.port, storage=database) as second, Client(second.target) as client:
        after = [client.node(instance_id, node_id) for node_id in (done, joining, ready, waiting, child)]
        client.submit(instance_id, call(done), call(joining), call(ready), call(waiting, done, joining))
        worker = connect(second.target, include_queues=[])
        order = []
        for payload in (b"ready", b"child", b"waiting"):
            (grant,) = worker.take()
            order.append(grant.node_id)
            worker.complete(grant, payload)
        assert client.instance(instance_id).state == graph_pb2.INSTANCE_STATE_COMPLETED
    assert after == before
    assert (order, worker.values) == (
        [ready, child, waiting],
        [(done, b"done"), (child, b"child"), (joining, b"[child]")],
    )


def test_a_backoff_goes_on_where_it_was(database: str, connect: Connect) -> None:
    """A restart neither shortens a backoff nor puts off when it ends, and the attempts before it count."""
    long, short = new_id(), new_id()
    functions = [
        function("shop:long", retry=graph_pb2.RetryPolicy(max_attempts=2, interval_s=60)),
        function("shop:short", retry=graph_pb2.RetryPolicy(max_attempts=2, interval_s=1.5)),
    ]
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(long), call(short, function=1), functions=functions)
        worker = connect(first.target, include_queues=[], slots=2)
        worker.finish(*(result(grant, failure=failure()) for grant in worker.take(2)))
        worker.leave()
        before = [client.node(instance_id, node_id) for node_id in (long, short)]
        end(first)
    with launch_broker(first.port, storage=database) as second, Client(second.target) as client:
        after = [client.node(instance_id, node_id) for node_id in (long, short)]
        worker = connect(second.target, include_queues=[])
        (grant,) = worker.take()
        granted_at = time.time()
        worker.finish(result(grant, failure=failure()))
        states = [client.node(instance_id, node_id).state for node_id in (long, short)]
    assert after[0] == before[0]
    assert (after[1].attempts, after[1].failures) == (before[1].attempts, before[1].failures)
    assert (grant.node_id, grant.attempt, states) == (
        short,
        2,
        [graph_pb2.NODE_STATE_BACKOFF, graph_pb2.NODE_STATE_FAILED],
    )
    assert before[1].retry_at <= granted_at


def test_tokens_grow_over_restarts(database: str, connect: Connect) -> None:
    """Every grant has a larger token than all before it, also when the broker was killed in between."""
    tokens = []
    no_grace = {"DAGORAMA_RECONNECT_GRACE_S": "0"}
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        client.start(*(call(new_id()) for _ in range(20)))
        worker = connect(broker.target, include_queues=[], slots=5)
        tokens += [grant.token for grant in worker.take(5)]
        worker.leave()
        end(broker)
    for _ in range(2):
        with launch_broker(broker.port, storage=database, environment=no_grace) as again:
            worker = connect(again.target, include_queues=[], slots=5)
            tokens += [grant.token for grant in worker.take(5)]
            worker.leave()
            end(again)
    assert tokens == sorted(set(tokens))


def test_what_ended_before_a_restart_can_be_watched_after_it(database: str, connect: Connect) -> None:
    """Outcomes, values and failures of finished instances are read back."""
    good, bad = new_id(), new_id()
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(good), call(bad))
        worker = connect(first.target, include_queues=[])
        worker.complete(worker.take()[0], b"good")
        worker.finish(result(worker.take()[0], failure=failure()))
        before = list(client.watch(instance_id, good, bad))
        end(first)
    with launch_broker(first.port, storage=database) as second, Client(second.target) as client:
        assert list(client.watch(instance_id, good, bad)) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_streams_end_as_unavailable_with_the_broker(database: str, connect: Connect, number: signal.Signals) -> None:
    """Who watches, and each worker, is told to come back: the status is the one that clients retry on."""
    node_id = new_id()
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        instance_id = client.start(call(node_id))
        worker = connect(broker.target, include_queues=[])
        worker.take()
        watch = client.watch(instance_id, node_id)
        client.instance(instance_id)
        broker.process.send_signal(number)
        assert (refusal(lambda: watch)[0], worker.end().code) == (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.UNAVAILABLE,
        )
        assert broker.process.wait(WAIT_S) == (0 if number is signal.SIGTERM else -number)
