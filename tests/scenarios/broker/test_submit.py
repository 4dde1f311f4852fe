"""What the broker does with calls that are submitted, good and bad."""

from collections.abc import Callable

import grpc
import pytest

from dagorama.v1 import dag_pb2, graph_pb2
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Call, Client, call, calls, function, new_id, refusal
from tests.timing import WAIT_S


def test_a_submit_may_be_repeated(client: Client) -> None:
    """The same request twice makes its nodes once."""
    first, second = new_id(), new_id()
    rows = (call(first, arguments=b"1"), call(second, first))
    instance_id = client.start(*rows)
    client.submit(instance_id, *rows)
    assert [(count.state, count.count) for count in client.instance(instance_id).counts] == [
        (graph_pb2.NODE_STATE_WAITING, 1),
        (graph_pb2.NODE_STATE_READY, 1),
    ]


def test_a_submit_may_be_repeated_when_the_instance_has_finished(client: Client, connect: Connect) -> None:
    """A repeat that comes late runs nothing again and leaves the instance finished."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    worker.complete(worker.take()[0], b"1")
    finished = client.instance(instance_id)
    client.submit(instance_id, call(node_id))
    worker.settle()
    assert (client.instance(instance_id), worker.grants) == (finished, [])


def test_a_finished_instance_takes_further_nodes(client: Client, connect: Connect) -> None:
    """A call that depends on a node of an instance that has left memory gets its value."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first))
    worker = connect()
    worker.complete(worker.take()[0], b"1")
    client.submit(instance_id, call(second, first))
    (grant,) = worker.take()
    assert (grant.node_id, worker.values) == (second, [(first, b"1")])


@pytest.mark.parametrize(
    "change",
    [
        lambda node_id, other: call(node_id, arguments=b"other"),
        lambda node_id, other: call(node_id, other),
        lambda node_id, other: call(node_id, function=1),
    ],
    ids=["arguments", "dependencies", "function"],
)
def test_an_id_with_another_body_is_refused(client: Client, change: Callable[[bytes, bytes], Call]) -> None:
    """The same node id with other content is ALREADY_EXISTS, and what was there stays as it was."""
    node_id, other = new_id(), new_id()
    functions = [*client.functions, function("shop:g", queue=client.functions[0].queue)]
    instance_id = client.start(call(other), call(node_id), functions=functions)
    before = client.node(instance_id, node_id)
    code, details = refusal(lambda: client.submit(instance_id, change(node_id, other), functions=functions))
    assert (code, "shop:f" in details, client.node(instance_id, node_id)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        True,
        before,
    )


A, B = bytes(15) + b"a", bytes(15) + b"b"
SHOWN_A, SHOWN_B = "00000000-0000-0000-0000-000000000061", "00000000-0000-0000-0000-000000000062"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([call(A, B)], f"depends on {SHOWN_B}"),
        ([call(A, A)], f"depends on {SHOWN_A}"),
        ([call(A, B), call(B, A)], f"depends on {SHOWN_B}"),
        ([call(A), call(A)], f"node {SHOWN_A} stands twice"),
        ([call(A, b"short")], "one of the dependency_ids of calls has 5 bytes"),
        ([call(b"short")], "one of the node_ids of calls has 5 bytes"),
        ([call(b"")], "one of the node_ids of calls has 0 bytes"),
        ([call(A, function=1)], "function 1 of a table that has 1"),
        ([call(A, function=2**32 - 1)], "function 4294967295 of a table that has 1"),
    ],
    ids=["unknown", "itself", "cycle", "twice", "no-dependency-id", "short-id", "no-id", "index", "huge-index"],
)
def test_a_faulty_call_is_refused_whole(client: Client, rows: list[Call], said: str) -> None:
    """The error names what is at fault, and neither the instance nor a call beside the faulty one comes into being."""
    instance_id = new_id()
    code, details = refusal(lambda: client.submit(instance_id, call(new_id()), *rows))
    assert (code, said in details, refusal(lambda: client.instance(instance_id))[0]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
        grpc.StatusCode.NOT_FOUND,
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"node_ids": [A]}, "the columns of calls have different lengths: 1, 2, 2"),
        ({"functions": [0, 0, 0]}, "the columns of calls have different lengths: 2, 3, 2"),
        ({"arguments": []}, "the columns of calls have different lengths: 2, 2, 0"),
        (
            {"dependency_counts": [0, 2]},
            "calls have 2 dependency_counts for 2 calls, which add up to 2, and 1 dependency_ids",
        ),
        (
            {"dependency_counts": [0, 0]},
            "calls have 2 dependency_counts for 2 calls, which add up to 0, and 1 dependency_ids",
        ),
        (
            {"dependency_counts": [1]},
            "calls have 1 dependency_counts for 2 calls, which add up to 1, and 1 dependency_ids",
        ),
        (
            {"dependency_counts": []},
            "calls have 0 dependency_counts for 2 calls, which add up to 0, and 1 dependency_ids",
        ),
        ({"dependency_ids": []}, "calls have 2 dependency_counts for 2 calls, which add up to 1, and 0 dependency_ids"),
    ],
    ids=["node_ids", "functions", "arguments", "too-high", "too-low", "too-few", "no-counts", "no-ids"],
)
def test_columns_that_do_not_fit_are_refused(client: Client, columns: dict[str, list[object]], said: str) -> None:
    """The error names the columns and how long they are, and no instance comes into being."""
    message = calls(call(A), call(B, A))
    for name, entries in columns.items():
        message.ClearField(name)  # type: ignore[arg-type]  # one of its fields
        getattr(message, name).extend(entries)
    instance_id = new_id()
    request = dag_pb2.SubmitRequest(instance_id=instance_id, functions=client.functions, calls=message)
    assert refusal(lambda: client.dag.Submit(request, timeout=WAIT_S)) == (grpc.StatusCode.INVALID_ARGUMENT, said)
    assert refusal(lambda: client.instance(instance_id))[0] == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("instance_id", [b"", b"short", bytes(17)])
def test_a_malformed_instance_id_is_refused(client: Client, instance_id: bytes) -> None:
    """An id that does not have 16 bytes is refused by name, in every call that has one."""
    said = (grpc.StatusCode.INVALID_ARGUMENT, f"instance_id has {len(instance_id)} bytes; an id has 16")
    watch_instance = dag_pb2.WatchInstanceRequest(instance_id=instance_id)
    list_nodes = dag_pb2.ListNodesRequest(instance_id=instance_id)
    asks: list[Callable[[], object]] = [
        lambda: client.submit(instance_id, call(A)),
        lambda: client.watch(instance_id, A),
        lambda: client.dag.WatchInstance(watch_instance),
        lambda: client.node(instance_id, A),
        lambda: client.instance(instance_id),
        lambda: client.dag.ListNodes(list_nodes),
    ]
    assert [refusal(ask) for ask in asks] == [said] * len(asks)


@pytest.mark.parametrize("field", ["interval_s", "multiplier", "interval_max_s", "jitter"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_retry_policy_that_is_no_number_is_refused(client: Client, field: str, number: float) -> None:
    """Not a number, endless or negative: the error names the field, and the storage is spared."""
    retry = graph_pb2.RetryPolicy(max_attempts=3)
    setattr(retry, field, number)
    code, details = refusal(lambda: client.start(call(A), functions=[function(retry=retry)]))
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"retry.{field} of function shop:f is {number}; it must be from 0 to 3153600000 (100 years)",
    )


def test_once_and_again_exclude_each_other(client: Client) -> None:
    """A function that must not run twice cannot have retries."""
    again = function(retry=graph_pb2.RetryPolicy(max_attempts=2))
    again.at_most_once = True
    code, details = refusal(lambda: client.start(call(A), functions=[again]))
    said = "function shop:f is at_most_once and has retry.max_attempts 2; one excludes the other"
    assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, said)


def test_a_function_without_a_name_is_refused(client: Client) -> None:
    """A function has a name."""
    code, details = refusal(lambda: client.start(call(A), functions=[function("")]))
    assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "a function has no name")


def test_neighbours_are_undisturbed_by_bad_input(client: Client, connect: Connect) -> None:
    """While one client sends nothing but faults, a node that runs goes on, and what waits for it follows."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second, first))
    worker = connect()
    (grant,) = worker.take()
    for bad in ([call(b"short")], [call(A, A)], [call(A), call(A)], [call(A, function=9)]):
        refusal(lambda bad=bad: client.submit(instance_id, *bad))  # type: ignore[misc]  # mypy has no type for it
    worker.complete(grant)
    assert worker.take()[0].node_id == second
