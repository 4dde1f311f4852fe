"""Waiting for nodes and instances."""

from threading import Thread
from uuid import UUID

import grpc
import pytest

from dagorama.v1 import dag_pb2, graph_pb2
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, new_id, refusal, result, values_in
from tests.timing import WAIT_S

Told = tuple[bytes, int, list[tuple[bytes, bytes]]]


def told(response: dag_pb2.WatchResponse) -> Told:
    """Give a response with one outcome: node id, state, values."""
    (outcome,) = response.outcomes
    return outcome.node_id, outcome.state, values_in(response)


def watch(client: Client, instance_id: bytes, *node_ids: bytes) -> list[Told]:
    """Watch to the end."""
    return [told(response) for response in client.watch(instance_id, *node_ids)]


def test_a_pending_node_is_told_when_it_completes(client: Client, connect: Connect) -> None:
    """A watch that began before a node ended gets its outcome and value, and ends after the last one."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    responses = client.watch(instance_id, second, first)
    worker = connect()
    worker.complete(worker.take()[0], b"1")
    assert told(next(responses)) == (first, graph_pb2.NODE_STATE_COMPLETED, [(first, b"1")])
    worker.complete(worker.take()[0], b"2")
    assert [told(response) for response in responses] == [(second, graph_pb2.NODE_STATE_COMPLETED, [(second, b"2")])]


def test_a_node_that_has_ended_is_told_at_once(client: Client, connect: Connect) -> None:
    """A watch for an ended node of an instance that runs, and for a pending one, tells the ended one first."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    worker = connect()
    worker.complete(worker.take()[0], b"")
    responses = client.watch(instance_id, second, first)
    assert told(next(responses)) == (first, graph_pb2.NODE_STATE_COMPLETED, [(first, b"")])


def test_each_node_is_told_once(client: Client, connect: Connect) -> None:
    """An id that stands twice in a watch has one outcome, pending or ended."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    responses = client.watch(instance_id, node_id, node_id)
    worker = connect()
    worker.complete(worker.take()[0], b"1")
    expected = [(node_id, graph_pb2.NODE_STATE_COMPLETED, [(node_id, b"1")])]
    assert [told(response) for response in responses] == expected
    assert watch(client, instance_id, node_id, node_id) == expected


@pytest.mark.parametrize("early", [True, False], ids=["pending", "finished"])
def test_a_value_comes_after_what_it_refers_to(client: Client, connect: Connect, early: bool) -> None:
    """Promises in a value, in values that these refer to, and behind aliases come before it, each once.

    So also when the instance has left memory and everything is read back.
    """
    root, alias, pair, left, right = (new_id() for _ in range(5))
    instance_id = client.start(call(root))
    worker = connect()
    responses = client.watch(instance_id, root)
    worker.finish(
        result(
            worker.take()[0],
            value=b"[pair, left, alias]",
            promise_ids=(pair, left, alias),
            children=(call(pair), call(left), call(alias)),
        ),
        functions=client.functions,
    )
    granted = {grant.node_id: grant for grant in [worker.take()[0]]}
    worker.finish(
        result(granted[pair], value=b"(right, right)", promise_ids=(right,), children=(call(right),)),
        functions=client.functions,
    )
    worker.complete(worker.take()[0], b"left")
    tail = new_id()
    worker.finish(
        result(worker.take()[0], alias_id=tail, children=(call(tail),)),
        functions=client.functions,
    )
    worker.complete(worker.take()[0], b"right")
    worker.complete(worker.take()[0], b"tail")
    expected = [
        (right, b"right"),
        (pair, b"(right, right)"),
        (left, b"left"),
        (alias, b"tail"),
        (root, b"[pair, left, alias]"),
    ]
    if not early:
        assert client.instance(instance_id).state == graph_pb2.INSTANCE_STATE_COMPLETED
        responses = client.watch(instance_id, root)
    assert [told(response) for response in responses] == [(root, graph_pb2.NODE_STATE_COMPLETED, expected)]


@pytest.mark.parametrize("early", [True, False], ids=["pending", "finished"])
def test_a_chain_of_aliases_has_the_value_at_its_end(client: Client, connect: Connect, early: bool) -> None:
    """Of a tail recursion only the first node and the last payload are told."""
    nodes = [new_id() for _ in range(300)]
    instance_id = client.start(call(nodes[0]))
    responses = client.watch(instance_id, nodes[0])
    worker = connect()
    for after in nodes[1:]:
        worker.finish(result(worker.take()[0], alias_id=after, children=(call(after),)), functions=client.functions)
    worker.complete(worker.take()[0], b"end")
    if not early:
        responses = client.watch(instance_id, nodes[0])
    assert [told(response) for response in responses] == [
        (nodes[0], graph_pb2.NODE_STATE_COMPLETED, [(nodes[0], b"end")])
    ]


@pytest.mark.parametrize("early", [True, False], ids=["pending", "finished"])
def test_a_failure_is_told_with_its_root_cause(client: Client, connect: Connect, early: bool) -> None:
    """The failed node has its exception; what depends on it, directly or not, names it as the cause."""
    failed, middle, last = new_id(), new_id(), new_id()
    instance_id = client.start(call(failed), call(middle, failed), call(last, middle))
    responses = client.watch(instance_id, failed, last)
    worker = connect()
    cause = graph_pb2.Failure(
        type="ValueError", message="no stock", traceback="Traceback ...", exception=b"\x00pickled"
    )
    worker.finish(result(worker.take()[0], failure=cause))
    if not early:
        responses = client.watch(instance_id, failed, last)
    outcomes = {outcome.node_id: outcome for response in responses for outcome in response.outcomes}
    shared = {"failure": cause, "cause_id": failed, "cause_function": "shop:f", "cause_attempts": 1}
    assert outcomes == {
        failed: graph_pb2.Outcome(node_id=failed, state=graph_pb2.NODE_STATE_FAILED, **shared),  # type: ignore[arg-type]  # one dict for both
        last: graph_pb2.Outcome(node_id=last, state=graph_pb2.NODE_STATE_DEPENDENCY_FAILED, **shared),  # type: ignore[arg-type]  # as above
    }


def test_unknown_ids_are_not_found(client: Client) -> None:
    """A watch for an instance or a node that does not exist says which, also beside a node that does."""
    known, unknown = new_id(), new_id()
    instance_id, other = client.start(call(known)), new_id()
    code, details = refusal(lambda: client.watch(other, known))
    assert (code, "is known to this broker" in details) == (grpc.StatusCode.NOT_FOUND, True)
    code, details = refusal(lambda: client.watch(instance_id, known, unknown))
    assert (code, f"has no node {UUID(bytes=unknown)}" in details) == (grpc.StatusCode.NOT_FOUND, True)


def states(client: Client, instance_id: bytes) -> list[dict[int, int]]:
    """Watch an instance to its end; gives the counts that were told."""
    request = dag_pb2.WatchInstanceRequest(instance_id=instance_id)
    return [
        {count.state: count.count for count in response.instance.counts}
        for response in client.dag.WatchInstance(request, timeout=WAIT_S)
    ]


def test_an_instance_is_watched_to_its_end(client: Client, connect: Connect) -> None:
    """How it stands is told at once and after changes; the last that is told is the end, and then the stream closes."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    request = dag_pb2.WatchInstanceRequest(instance_id=instance_id)
    responses = client.dag.WatchInstance(request, timeout=WAIT_S)
    first = next(responses).instance
    worker = connect()
    (grant,) = worker.take()
    second = next(responses).instance
    worker.complete(grant)
    *_, last = [response.instance for response in responses]
    assert [(info.state, [(count.state, count.count) for count in info.counts]) for info in (first, second, last)] == [
        (graph_pb2.INSTANCE_STATE_RUNNING, [(graph_pb2.NODE_STATE_READY, 1)]),
        (graph_pb2.INSTANCE_STATE_RUNNING, [(graph_pb2.NODE_STATE_LEASED, 1)]),
        (graph_pb2.INSTANCE_STATE_COMPLETED, [(graph_pb2.NODE_STATE_COMPLETED, 1)]),
    ]


def test_only_the_end_of_an_instance_is_told_where_that_is_asked_for(client: Client, connect: Connect) -> None:
    """One message, whatever changes in between; the same for one that has ended, and a refusal for an unknown one."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    request = dag_pb2.WatchInstanceRequest(instance_id=instance_id, until_ended=True)
    responses = client.dag.WatchInstance(request, timeout=WAIT_S)
    worker = connect()
    for _ in range(2):
        worker.complete(worker.take()[0])
    again = client.dag.WatchInstance(request, timeout=WAIT_S)
    ends = [[response.instance.state for response in watch] for watch in (responses, again)]
    assert ends == [[graph_pb2.INSTANCE_STATE_COMPLETED]] * 2
    request.instance_id = new_id()
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        next(client.dag.WatchInstance(request, timeout=WAIT_S))


def test_a_finished_instance_is_told_once(client: Client, connect: Connect) -> None:
    """A watch of an instance that has left memory tells how it ended, with its failed nodes counted."""
    failed, after = new_id(), new_id()
    instance_id = client.start(call(failed), call(after, failed))
    worker = connect()
    worker.finish(result(worker.take()[0], failure=failure()))
    assert states(client, instance_id) == [{graph_pb2.NODE_STATE_FAILED: 1, graph_pb2.NODE_STATE_DEPENDENCY_FAILED: 1}]


def test_many_watches_of_one_node_are_all_told(client: Client, connect: Connect) -> None:
    """Each watch gets the outcome, also when another of the same node has been cancelled."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    watches = [client.watch(instance_id, node_id) for _ in range(5)]
    answers: list[list[Told]] = []
    threads = [
        Thread(target=lambda responses=responses: answers.append([told(response) for response in responses]))
        for responses in watches[1:]
    ]
    for thread in threads:
        thread.start()
    client.instance(instance_id)
    watches[0].cancel()  # type: ignore[attr-defined]  # the stub's iterator is the call
    worker = connect()
    worker.complete(worker.take()[0], b"1")
    for thread in threads:
        thread.join(WAIT_S)
    assert answers == [[(node_id, graph_pb2.NODE_STATE_COMPLETED, [(node_id, b"1")])]] * 4
