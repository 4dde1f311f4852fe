"""Looking at instances and nodes."""

import grpc
import pytest

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, failure, function, new_id, refusal, result

WAITING, READY, LEASED = graph_pb2.NODE_STATE_WAITING, graph_pb2.NODE_STATE_READY, graph_pb2.NODE_STATE_LEASED
JOINING, BACKOFF, COMPLETED = (
    graph_pb2.NODE_STATE_JOINING,
    graph_pb2.NODE_STATE_BACKOFF,
    graph_pb2.NODE_STATE_COMPLETED,
)


def list_nodes(client: Client, instance_id: bytes, page_size: int) -> list[list[dag_pb2.NodeInfo]]:
    """Give the pages of an instance's nodes."""
    pages: list[list[dag_pb2.NodeInfo]] = []
    token = ""
    while not pages or token:
        request = dag_pb2.ListNodesRequest(instance_id=instance_id, page_size=page_size, page_token=token)
        response = client.dag.ListNodes(request)
        pages.append(list(response.nodes))
        token = response.next_page_token
    return pages


def progress_of(info: dag_pb2.NodeInfo) -> tuple[float, str] | None:
    """Give fraction and message where the node has told any."""
    return (info.progress.fraction, info.progress.message) if info.HasField("progress") else None


def test_a_node_tells_what_only_memory_knows(client: Client, connect: Connect) -> None:
    """Waiting, ready, leased with the worker's name and attempt, completed: a node is told as it stands."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second, first))

    def look() -> list[tuple[int, str, int]]:
        infos = (client.node(instance_id, node_id) for node_id in (first, second))
        return [(info.state, info.worker, info.attempts) for info in infos]

    before = look()
    worker = connect(name="bench-1")
    (grant,) = worker.take()
    during = look()
    worker.complete(grant)
    worker.take()
    after = look()
    assert [before, during, after] == [
        [(READY, "", 0), (WAITING, "", 0)],
        [(LEASED, "bench-1", 1), (WAITING, "", 0)],
        [(COMPLETED, "bench-1", 1), (LEASED, "bench-1", 1)],
    ]


def test_a_running_node_tells_its_progress(client: Client, connect: Connect) -> None:
    """What the worker told last is shown while the attempt runs, also 0, and not after it has failed."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    (grant,) = worker.take()
    shown: list[tuple[float, str]] = []
    for fraction, message in ((0.5, "half"), (0.0, "")):
        told = work_pb2.ProgressReports(tokens=[grant.token, 7], fractions=[fraction, 1], messages=[message, "stale"])
        worker.send(work_pb2.WorkRequest(progress=told))
        while (progress := progress_of(client.node(instance_id, node_id))) != (fraction, message):
            assert progress in (None, *shown)
        shown.append(progress)
    worker.finish(result(grant, failure=failure()))
    assert progress_of(client.node(instance_id, node_id)) is None


@pytest.mark.parametrize(
    ("progress", "complaint"),
    [
        (
            work_pb2.ProgressReports(tokens=[1], fractions=[0.5]),
            "the columns of progress have different lengths: 1, 1, 0",
        ),
        (
            work_pb2.ProgressReports(tokens=[1], fractions=[float("nan")], messages=[""]),
            "one of the fractions of progress is nan; it must be from 0 to 1",
        ),
        (
            work_pb2.ProgressReports(tokens=[1], fractions=[1], messages=["x" * 1025]),
            "one of the messages of progress has 1025 bytes; the limit is 1024 bytes",
        ),
    ],
)
def test_malformed_progress_is_refused(
    client: Client, connect: Connect, progress: work_pb2.ProgressReports, complaint: str
) -> None:
    """The stream ends with what is wrong."""
    worker = connect()
    worker.receive()
    worker.send(work_pb2.WorkRequest(progress=progress))
    ended = worker.end()
    assert (ended.code, ended.details) == (grpc.StatusCode.INVALID_ARGUMENT, complaint)


def test_a_node_tells_what_it_was_made_of(client: Client, connect: Connect, queue: str) -> None:
    """Function, queue, taint, dependencies and the parent whose function made the call are told."""
    parent, child, after = new_id(), new_id(), new_id()
    tainted = function("shop:g", queue=queue, taint="gpu")
    instance_id = client.start(call(parent))
    worker = connect(tolerations=["gpu"])
    worker.finish(
        result(worker.take()[0], alias_id=after, children=(call(child), call(after, child, function=1))),
        functions=[*client.functions, tainted],
    )
    info = client.node(instance_id, after)
    assert (info.function, info.queue, info.taint, list(info.dependency_ids), info.parent_id, info.instance_id) == (
        "shop:g",
        queue,
        "gpu",
        [child],
        parent,
        instance_id,
    )
    info = client.node(instance_id, parent)
    assert (info.state, info.attempts, info.parent_id) == (JOINING, 1, b"")


def test_failed_attempts_are_kept(client: Client, connect: Connect, queue: str) -> None:
    """Type, message and traceback of every attempt are told, while the node backs off and when it has failed."""
    node_id = new_id()
    retry = graph_pb2.RetryPolicy(max_attempts=2)
    instance_id = client.start(call(node_id), functions=[function(queue=queue, retry=retry)])
    worker = connect(name="bench-1")
    failures = [failure(message=f"no stock {number}", traceback=f"line {number}") for number in (1, 2)]
    attempts = []
    for cause in failures:
        (grant,) = worker.take()
        attempts.append(grant.attempt)
        worker.finish(result(grant, failure=cause))
    info = client.node(instance_id, node_id)
    assert (
        attempts,
        [(attempt.number, attempt.worker, attempt.failure) for attempt in info.failures],
        (info.state, info.attempts, info.cause_id),
    ) == (
        [1, 2],
        [(1, "bench-1", failures[0]), (2, "bench-1", failures[1])],
        (graph_pb2.NODE_STATE_FAILED, 2, node_id),
    )


def test_a_backoff_tells_its_end(client: Client, connect: Connect, queue: str) -> None:
    """A node that backs off tells when it may run again; no worker has it."""
    node_id = new_id()
    retry = graph_pb2.RetryPolicy(max_attempts=2, interval_s=60)
    instance_id = client.start(call(node_id), functions=[function(queue=queue, retry=retry)])
    worker = connect()
    worker.finish(result(worker.take()[0], failure=failure()))
    info = client.node(instance_id, node_id)
    assert (info.state, info.worker, round(info.retry_at - info.failures[0].ended_at, 3)) == (BACKOFF, "", 60.0)


def test_nodes_are_listed_in_creation_order(client: Client, connect: Connect) -> None:
    """Pages follow each other without gap or repeat, the last has no token, and nodes are told as they stand."""
    nodes = [new_id() for _ in range(5)]
    instance_id = client.start(*map(call, nodes))
    connect().take()
    pages = list_nodes(client, instance_id, 2)
    assert [[(info.node_id, info.state) for info in page] for page in pages] == [
        [(nodes[0], LEASED), (nodes[1], READY)],
        [(nodes[2], READY), (nodes[3], READY)],
        [(nodes[4], READY)],
    ]


def test_a_page_that_is_just_full_is_the_last(client: Client) -> None:
    """No empty page follows one that held all the rest."""
    nodes = [new_id() for _ in range(4)]
    instance_id = client.start(*map(call, nodes))
    assert [[info.node_id for info in page] for page in list_nodes(client, instance_id, 2)] == [nodes[:2], nodes[2:]]


def test_a_page_has_at_most_a_thousand_nodes(client: Client) -> None:
    """0 stands for 100, and more than 1,000 for 1,000."""
    instance_id = client.start(*(call(new_id()) for _ in range(1_001)))
    assert [len(list_nodes(client, instance_id, size)[0]) for size in (0, 5_000)] == [100, 1_000]


def test_instances_are_listed_newest_first(client: Client, connect: Connect) -> None:
    """Finished and running ones are paged alike, and each is told as `GetInstance` tells it."""
    started = [client.start(call(new_id())) for _ in range(3)]
    connect().take()
    empty = client.start()
    pages, token = [], ""
    for _ in range(2):
        response = client.dag.ListInstances(dag_pb2.ListInstancesRequest(page_size=2, page_token=token))
        pages.append(list(response.instances))
        token = response.next_page_token
    expected = [client.instance(instance_id) for instance_id in (empty, *reversed(started))]
    assert pages == [expected[:2], expected[2:]]
    assert [(count.state, count.count) for count in pages[1][1].counts] == [(LEASED, 1)]


def test_an_instance_tells_how_it_ended(client: Client, connect: Connect) -> None:
    """State, definition, counts and times of an instance that has left memory are told."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    worker = connect()
    worker.complete(worker.take()[0])
    worker.finish(result(worker.take()[0], failure=failure()))
    info = client.instance(instance_id)
    assert (info.definition, info.state, [(count.state, count.count) for count in info.counts]) == (
        "shop:Order",
        graph_pb2.INSTANCE_STATE_FAILED,
        [(COMPLETED, 1), (graph_pb2.NODE_STATE_FAILED, 1)],
    )
    assert 0 < info.created_at <= info.finished_at


@pytest.mark.parametrize("token", ["next", "-1", "1.5", "٣", "9" * 19, "9" * 5_000])
def test_a_page_token_of_another_making_is_refused(client: Client, token: str) -> None:
    """Whatever is no number that the broker may have given is refused by name, in both lists."""
    instance_id = client.start(call(new_id()))
    said = (grpc.StatusCode.INVALID_ARGUMENT, f"page_token {token!r} is none that this broker gave")
    instances = dag_pb2.ListInstancesRequest(page_token=token)
    nodes = dag_pb2.ListNodesRequest(instance_id=instance_id, page_token=token)
    assert [refusal(lambda: client.dag.ListInstances(instances)), refusal(lambda: client.dag.ListNodes(nodes))] == [
        said,
        said,
    ]


def test_what_does_not_exist_is_not_found(client: Client) -> None:
    """An unknown instance or node is NOT_FOUND, and the message shows its id."""
    known, unknown = client.start(call(new_id())), b"\x00" * 15 + b"x"
    shown = "00000000-0000-0000-0000-000000000078"
    nodes = dag_pb2.ListNodesRequest(instance_id=unknown)
    answers = [
        refusal(lambda: client.instance(unknown)),
        refusal(lambda: client.node(unknown, unknown)),
        refusal(lambda: client.node(known, unknown)),
        refusal(lambda: client.dag.ListNodes(nodes)),
    ]
    assert [(code, shown in details) for code, details in answers] == [(grpc.StatusCode.NOT_FOUND, True)] * 4
