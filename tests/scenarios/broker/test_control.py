"""Instances and queues that are to go first, to pause, or to run so many nodes at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import grpc
import pytest

from dagorama.v1 import dag_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, Worker, call, new_id, refusal
from tests.timing import WAIT_S

INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


def run_all(worker: Worker, count: int) -> list[bytes]:
    """Complete so many nodes, one by one, and give their instances in the order in which they came."""
    order = []
    for _ in range(count):
        (grant,) = worker.take()
        order.append(grant.instance_id)
        worker.complete(grant)
    return order


def held(info: dag_pb2.QueueInfo) -> tuple[int, int, int]:
    """Give how many nodes of a queue are ready, held, active."""
    return info.ready, info.held, info.active


def test_a_higher_priority_goes_first(client: Client, connect: Connect) -> None:
    """At the start as it is given, and later as it is changed; what has none is in the middle."""
    low, plain, high = (
        client.start(call(new_id()), call(new_id()), options=dag_pb2.InstanceOptions(priority=priority))
        for priority in (-1, 0, 1000)
    )
    worker = connect()
    order = run_all(worker, 2)
    before = client.control(low, priority=5)
    assert (order + run_all(worker, 4), before.priority) == ([high] * 2 + [plain] + [low] * 2 + [plain], 5)


def test_groups_share_the_workers(client: Client, connect: Connect) -> None:
    """Of one group with much and one with little to do, neither waits for the other."""
    one, other = (
        client.start(*(call(new_id()) for _ in range(4)), options=dag_pb2.InstanceOptions(group=group))
        for group in ("one", "other")
    )
    order = run_all(connect(), 8)
    assert sorted(order[:2]) == sorted(order[2:4]) == sorted([one, other])
    assert client.instance(one).group == "one"


def test_an_instance_is_paused_and_goes_on(client: Client, connect: Connect) -> None:
    """Nothing of it is granted meanwhile; what a worker has it finishes."""
    first, second, other = new_id(), new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    worker = connect()
    (grant,) = worker.take()
    paused = client.control(instance_id, paused=True)
    (info,) = client.queues(client.functions[0].queue)
    client.start(call(other))
    worker.complete(grant)
    (next_grant,) = worker.take()
    worker.complete(next_grant)
    worker.settle()
    assert (paused.paused, held(info), next_grant.node_id, worker.grants) == (True, (1, 1, 1), other, [])
    assert not client.control(instance_id, paused=False).paused
    assert worker.take()[0].node_id == second


def test_a_queue_is_paused_and_goes_on(client: Client, connect: Connect, queue: str) -> None:
    """Also before it is known; it is listed for as long as it is paused, though it is empty."""
    (before,) = client.control_queue(queue, paused=True)
    worker = connect()
    worker.settle()
    assert (before.paused, before.workers, client.queues(queue)[0].workers) == (True, 0, 1)
    node_id = new_id()
    client.start(call(node_id))
    worker.settle()
    assert (worker.grants, [held(info) for info in client.queues(queue)]) == ([], [(1, 1, 0)])
    (after,) = client.control_queue(queue, paused=False)
    (grant,) = worker.take()
    worker.complete(grant)
    assert (after.paused, grant.node_id, client.queues(queue)) == (False, node_id, [])


def test_an_instance_and_a_queue_are_capped(client: Client, connect: Connect, queue: str) -> None:
    """So many run at once, whoever has free slots, until the cap is lifted."""
    instance_id = client.start(*(call(new_id()) for _ in range(4)), options=dag_pb2.InstanceOptions(running_max=1))
    worker = connect(slots=4)
    worker.take()
    worker.settle()
    (info,) = client.queues(queue)
    assert (worker.grants, held(info), client.instance(instance_id).running_max) == ([], (3, 3, 1), 1)
    client.control_queue(queue, running_max=2)
    assert client.control(instance_id, running_max=0).running_max == 0
    worker.take()
    worker.settle()
    assert (worker.grants, client.queues(queue)[0].running_max) == ([], 2)
    client.control_queue(queue, running_max=0)
    worker.take(2)


def test_repeating_a_request_is_a_no_op(client: Client, queue: str) -> None:
    """The answer is the same, and what is left out stays as it was."""
    instance_id = client.start(call(new_id()))
    ask = partial(client.control, instance_id, priority=3, paused=True, running_max=2)
    assert ask() == ask() == client.control(instance_id) == client.instance(instance_id)
    pause = partial(client.control_queue, queue, paused=True, running_max=4)
    assert pause() == pause() == client.control_queue(queue)
    client.control_queue(queue, paused=False, running_max=0)


def test_whoever_watches_an_instance_hears_of_it(client: Client) -> None:
    """That it is paused is a change like any other."""
    instance_id = client.start(call(new_id()))
    states = client.dag.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=instance_id), timeout=WAIT_S)
    before = next(states).instance.paused
    client.control(instance_id, paused=True)
    assert [before, next(states).instance.paused] == [False, True]
    states.cancel()


@pytest.mark.parametrize("end", ["in memory", "in the journal"])
def test_what_has_ended_cannot_be_controlled(client: Client, connect: Connect, end: str) -> None:
    """The request is refused, naming the state and what was wanted."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    if end == "in memory":
        client.cancel(instance_id)
        state = "cancelled"
    else:
        worker = connect()
        worker.complete(worker.take()[0])
        state = "completed"
    code, details = refusal(lambda: client.control(instance_id, paused=True))
    assert (code, f"is {state} already, so it cannot be paused" in details) == (PRECONDITION, True)
    assert (
        "cannot be resumed and capped" in refusal(lambda: client.control(instance_id, paused=False, running_max=1))[1]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priority": 1001}, "options.priority is 1001; it must be from -1000 to 1000"),
        ({"priority": -1001}, "options.priority is -1001;"),
        ({"group": "g" * 201}, "options.group 'gggggggggggggggggggg'... has 201 characters; the limit is 200"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: Client, options: dict[str, object], said: str) -> None:
    """The error has the field, what it is and what it may be, and nothing has been made."""
    instance_id = new_id()
    message = dag_pb2.InstanceOptions(**options)  # type: ignore[arg-type]  # the test's
    code, details = refusal(lambda: client.submit(instance_id, call(new_id()), options=message))
    assert (code, details[: len(said)]) == (INVALID, said)
    assert refusal(lambda: client.instance(instance_id))[0] is grpc.StatusCode.NOT_FOUND


def test_what_does_not_exist_cannot_be_controlled(client: Client) -> None:
    """An unknown instance is NOT_FOUND; a wrong id, a wrong priority and a queue without name are INVALID_ARGUMENT."""
    known = client.start(call(new_id()))
    asked: list[Callable[[], object]] = [
        lambda: client.control(new_id()),
        lambda: client.control(b"short"),
        lambda: client.control(known, priority=-1001),
        lambda: client.control_queue(""),
    ]
    assert [refusal(ask)[0] for ask in asked] == [grpc.StatusCode.NOT_FOUND, INVALID, INVALID, INVALID]


def test_what_was_answered_survives_a_kill(database: str, connect: Connect) -> None:
    """After a restart priorities, groups, pauses and caps are as they were."""
    with launch_broker(port=0, storage=database) as first, Client(first.target, "q") as client:
        options = dag_pb2.InstanceOptions(priority=7, group="night", running_max=3)
        instance_id = client.start(call(new_id()), options=options)
        client.control(instance_id, paused=True, running_max=2)
        client.control_queue("q", paused=True)
        client.control_queue("empty", running_max=5)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(WAIT_S)
    with launch_broker(port=0, storage=database) as second, Client(second.target, "q") as client:
        info = client.instance(instance_id)
        assert (info.priority, info.group, info.paused, info.running_max) == (7, "night", True, 2)
        (queued,), (empty,) = client.queues("q"), client.queues("empty")
        assert (held(queued), queued.paused, empty.running_max) == ((1, 1, 0), True, 5)
        worker = connect(second.target, include_queues=[])
        client.control(instance_id, paused=False)
        worker.settle()
        assert worker.grants == []
        client.control_queue("q", paused=False)
        assert worker.take()[0].instance_id == instance_id
