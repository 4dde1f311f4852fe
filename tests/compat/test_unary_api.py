"""The unary API of dagorama 0.1 on a broker's port, seen by a client that is made from the proto file alone."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from math import inf
from pathlib import Path

import grpc
import pytest

from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from dagorama_broker.settings import from_environment
from tests.compat.unary_client import INVALIDATED, NO_WORK, UnaryClient, compiled, new_id
from tests.scenarios.broker import rawclient
from tests.timing import with_more_time

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
#: Workers here send no heartbeats while a test goes on, however slowly.
PATIENT = {"DAGORAMA_LEASE_DURATION_S": str(rawclient.LEASE_S)}


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedBroker]:
    """Give a broker, on each storage in turn, that tests share, so that each has a queue of its own."""
    storage = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path_factory.mktemp('data')}/broker.db"
    with launch_broker(port=0, storage=storage, environment=PATIENT) as broker:
        yield broker


@pytest.fixture
def client(broker: LaunchedBroker) -> Iterator[UnaryClient]:
    """Give a client whose nodes and workers keep to a queue that no other test has."""
    with UnaryClient(broker.target, queue=new_id()) as client:
        yield client


@pytest.fixture
def alone() -> Iterator[UnaryClient]:
    """Give a client that has a broker for itself."""
    with launch_broker(port=0, environment=PATIENT) as broker, UnaryClient(broker.target) as client:
        yield client


@contextmanager
def client_of_one_that_waits(lease_s: int) -> Iterator[UnaryClient]:
    """Give a client of a broker that gives silent workers up after so many seconds."""
    environment = {"DAGORAMA_LEASE_DURATION_S": str(lease_s)}
    with launch_broker(port=0, environment=environment) as broker, UnaryClient(broker.target) as client:
        yield client


@pytest.fixture
def streamer(broker: LaunchedBroker, client: UnaryClient) -> Iterator[rawclient.Worker]:
    """Give a worker that has a stream, for the test's queue."""
    hello = work_pb2.Hello(worker_id=rawclient.new_id(), name="w1", slots=1, include_queues=[client.queue])
    worker = rawclient.Worker(broker.target, hello)
    worker.receive()
    yield worker
    worker.close()


# -- the wire ---------------------------------------------------------------------------------------------------------


def test_names_and_numbers_are_those_of_0_1() -> None:
    """Every message has exactly the fields, under the numbers, that 0.1 gave them."""
    messages = {
        name: {field.name: field.number for field in message.fields}
        for name, message in compiled().message_types_by_name.items()
    }
    assert messages == {
        "WorkerConfigurationMessage": {"excludeQueues": 1, "includeQueues": 2, "queueTolerations": 3},
        "WorkerMessage": {"identifier": 1},
        "InstanceConfigurationMessage": {"identifier": 1},
        "InstanceMessage": {"identifier": 1},
        "RetryMessage": {"maxAttempts": 1, "staticInterval": 2, "exponentialBase": 3},
        "NodeConfigurationMessage": {
            "identifier": 1,
            "functionName": 2,
            "functionHash": 3,
            "queueName": 4,
            "taintName": 5,
            "arguments": 6,
            "sourceIds": 7,
            "instanceId": 8,
            "retry": 9,
        },
        "NodeMessage": {
            "identifier": 1,
            "functionName": 2,
            "functionHash": 3,
            "queueName": 4,
            "taintName": 5,
            "arguments": 6,
            "resolvedValue": 7,
            "sources": 8,
            "completed": 9,
            "instanceId": 10,
            "permanentlyFailed": 11,
        },
        "PongMessage": {"lastPing": 2},
        "NodeRetrieveMessage": {"instanceId": 1, "identifier": 2},
        "WorkCompleteMessage": {"instanceId": 1, "nodeId": 2, "workerId": 3, "result": 4},
        "WorkFailedMessage": {"instanceId": 1, "nodeId": 2, "workerId": 3, "traceback": 4},
        "CompleteSubscriptionRequest": {"instanceId": 1, "identifier": 2},
    }


def test_a_node_travels_from_its_client_to_a_worker_and_back(client: UnaryClient) -> None:
    """All that a client says of a node reaches the worker, and what the worker returns reaches the client."""
    instance, node, worker = client.instance(), new_id(), client.worker(queueTolerations=["gpu"])
    configuration = {
        "identifier": node,
        "functionName": "shop:Order.price",
        "functionHash": "abc",
        "queueName": client.queue,
        "taintName": "gpu",
        "arguments": b"\x00\xff",
        "instanceId": instance,
    }
    created = client.CreateNode(**configuration)
    granted = client.GetWork(identifier=worker)
    submitted = client.submit(instance, node, worker, b"\x01\xfe")
    plain = type(created)(**configuration)
    resolved = type(created)(**configuration, completed=True, resolvedValue=b"\x01\xfe")
    assert (created, granted, submitted) == (plain, plain, resolved)
    assert (client.look(instance, node), client.wait(instance, node)) == (resolved, resolved)


def test_a_ping_tells_the_time(client: UnaryClient) -> None:
    """A ping is answered with its own time, in seconds since the epoch."""
    worker = client.worker()
    before = int(time.time())
    pong = client.Ping(identifier=worker)
    assert before - 1 <= pong.lastPing <= time.time() + 1


def test_a_queue_has_its_functions_name_by_default(client: UnaryClient) -> None:
    """A node without a queue is in that of its function."""
    instance = client.instance()
    node = client.node(instance, function="shop:Order.ship", queueName="")
    assert client.look(instance, node).queueName == "shop:Order.ship"


def test_an_empty_result_is_a_result(client: UnaryClient) -> None:
    """A node whose result is no bytes at all has completed."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance)
    client.work(worker)
    message = client.submit(instance, node, worker, b"")
    assert (message.completed, message.resolvedValue, message.permanentlyFailed) == (True, b"", False)


def test_a_result_of_many_megabytes_passes(client: UnaryClient) -> None:
    """The broker sets no limit on the size of a message, in either direction."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance, arguments=bytes(5_000_000))
    dependent = client.node(instance, node)
    client.work(worker)
    client.submit(instance, node, worker, bytes(8_000_000))
    granted = client.GetWork(identifier=worker)
    assert (granted.identifier, len(granted.sources[0].resolvedValue)) == (dependent, 8_000_000)


# -- order and choice -------------------------------------------------------------------------------------------------


def test_first_in_first_out_by_instance(client: UnaryClient) -> None:
    """The oldest instance goes first, in creation order within it, also with nodes that were made later."""
    one, two = client.instance(), client.instance()
    later = [client.node(two), client.node(two)]
    first = [client.node(one), client.node(one)]
    worker = client.worker()
    assert [client.work(worker) for _ in range(5)] == [*first, *later, ""]


def test_included_and_excluded_queues(alone: UnaryClient) -> None:
    """A worker gets nodes of the queues that it includes, or of all, but for those that it excludes."""
    instance = alone.instance()
    red, blue, green = (alone.node(instance, queueName=queue) for queue in ("red", "blue", "green"))
    only_blue = alone.worker(includeQueues=["blue"])
    not_red = alone.worker(excludeQueues=["red"])
    contradictory = alone.worker(includeQueues=["red"], excludeQueues=["red"])
    anything = alone.worker()
    got = [alone.work(worker) for worker in (contradictory, only_blue, only_blue, not_red, not_red, anything)]
    assert got == ["", blue, "", green, "", red]


def test_a_taint_needs_a_toleration(client: UnaryClient) -> None:
    """A tainted node never goes to a worker without the toleration, though that serves its queue."""
    instance = client.instance()
    tainted = client.node(instance, taintName="gpu")
    plain = client.node(instance)
    without = client.worker()
    wrong = client.worker(queueTolerations=["tpu"])
    tolerant = client.worker(queueTolerations=["tpu", "gpu"])
    got = [client.work(worker) for worker in (without, wrong, without, tolerant)]
    assert got == [plain, "", "", tainted]


def test_nobody_gets_what_another_has(client: UnaryClient) -> None:
    """Workers that all ask at once get each node once."""
    instance = client.instance()
    nodes = [client.node(instance) for _ in range(40)]
    workers = [client.worker() for _ in range(8)]
    with ThreadPoolExecutor(len(workers)) as pool:
        got = list(pool.map(client.work, workers * 6))
    assert sorted(filter(None, got)) == sorted(nodes)


# -- sources ----------------------------------------------------------------------------------------------------------


def test_a_node_waits_for_its_sources_and_gets_their_values(client: UnaryClient) -> None:
    """The sources come with the node, in order, one level deep, with id, value and completion and no more."""
    instance, worker = client.instance(), client.worker()
    one = client.node(instance)
    two = client.node(instance, one)
    total = client.node(instance, two, one)
    before = client.look(instance, total)
    asked = [client.work(worker), client.work(worker)]
    client.submit(instance, one, worker, b"1")
    asked.append(client.work(worker))
    half = client.look(instance, total)
    client.submit(instance, two, worker, b"2")
    granted = client.GetWork(identifier=worker)
    message = type(granted)
    assert asked == [one, "", two]
    assert list(before.sources) == [message(identifier=two), message(identifier=one)]
    assert list(half.sources) == [
        message(identifier=two),
        message(identifier=one, resolvedValue=b"1", completed=True),
    ]
    assert list(granted.sources) == [
        message(identifier=two, resolvedValue=b"2", completed=True),
        message(identifier=one, resolvedValue=b"1", completed=True),
    ]


def test_a_source_may_stand_twice(client: UnaryClient) -> None:
    """A node that names a source twice waits for it once and runs once."""
    instance, worker = client.instance(), client.worker()
    source = client.node(instance)
    node = client.node(instance, source, source)
    client.submit(instance, client.work(worker), worker, b"x")
    granted = client.GetWork(identifier=worker)
    assert (granted.identifier, [other.identifier for other in granted.sources]) == (node, [source, source])
    assert client.work(worker) == ""


def test_children_come_into_being_at_once(client: UnaryClient) -> None:
    """A node that is made while another runs does not wait for that one's end, and stays though it fails."""
    instance, worker, other = client.instance(), client.worker(), client.worker()
    parent = client.node(instance)
    client.work(worker)
    child = client.node(instance)
    waiting = client.node(instance, parent, child)
    got = client.work(other)
    client.fail(instance, parent, worker)
    client.submit(instance, child, other, b"c")
    assert (got, client.look(instance, child).completed) == (child, True)
    assert client.look(instance, waiting).permanentlyFailed


def test_a_finished_instance_takes_further_nodes(client: UnaryClient) -> None:
    """A node that is made when all others have ended runs, with the values of those that it names."""
    instance, worker = client.instance(), client.worker()
    first = client.node(instance)
    client.submit(instance, client.work(worker), worker, b"1")
    second = client.node(instance, first)
    granted = client.GetWork(identifier=worker)
    assert (granted.identifier, granted.sources[0].resolvedValue) == (second, b"1")


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_subscription_ends_when_its_node_does(client: UnaryClient) -> None:
    """Who subscribes before the end is told at it, of a value as of a failure."""
    instance, worker = client.instance(), client.worker()
    good, bad = client.node(instance), client.node(instance)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.wait, instance, node) for node in (good, bad)]
        assert [client.work(worker), client.work(worker)] == [good, bad]
        client.submit(instance, good, worker, b"v")
        client.fail(instance, bad, worker)
        told = [future.result() for future in waiting]
    assert [(node.identifier, node.completed, node.resolvedValue, node.permanentlyFailed) for node in told] == [
        (good, True, b"v", False),
        (bad, False, b"", True),
    ]


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_reaches_what_waits_for_it_and_nothing_else(client: UnaryClient) -> None:
    """Without a retry policy a node fails for good at once, its dependents with it; its instance goes on."""
    instance, worker = client.instance(), client.worker()
    bad, other = client.node(instance), client.node(instance)
    dependent = client.node(instance, bad, other)
    client.work(worker)
    failed = client.fail(instance, bad, worker)
    after = client.node(instance, dependent)
    client.submit(instance, client.work(worker), worker, b"v")
    ends = [client.wait(instance, node) for node in (bad, dependent, after, other)]
    assert (failed.permanentlyFailed, failed.completed) == (True, False)
    assert [(end.permanentlyFailed, end.completed) for end in ends] == [(True, False)] * 3 + [(False, True)]


@pytest.mark.parametrize(
    ("traceback", "expected"),
    [
        ('Traceback (most recent call last):\n  File "x"\nValueError: no: stock\n', ("ValueError", "no: stock")),
        ("shop.errors.OutOfStock", ("shop.errors.OutOfStock", "")),
        ("it broke!", ("Failure", "it broke!")),
        ("", ("Failure", "")),
    ],
    ids=["traceback", "no message", "no traceback", "nothing"],
)
def test_a_failure_says_why(
    broker: LaunchedBroker, client: UnaryClient, traceback: str, expected: tuple[str, str]
) -> None:
    """What a worker says of a failure is kept whole, and its last line told to those who wait by our own API."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance)
    client.work(worker)
    client.fail(instance, node, worker, traceback)
    with rawclient.Client(broker.target) as ours:
        ((outcome,),) = [response.outcomes for response in ours.watch(*raw(instance, node))]
        (attempt,) = ours.node(*raw(instance, node)).failures
    assert ((outcome.failure.type, outcome.failure.message), outcome.failure.traceback) == (expected, traceback)
    assert attempt.worker == f"unary-{worker[:8]}"


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        ({}, []),
        ({"maxAttempts": 2}, [0, 0]),
        ({"maxAttempts": 1, "staticInterval": 1}, [1]),
        ({"maxAttempts": 2, "exponentialBase": 3}, [1, 3]),
        ({"maxAttempts": 2, "staticInterval": 1, "exponentialBase": 9}, [1, 1]),
    ],
    ids=["empty", "at once", "static", "exponential", "both"],
)
def test_attempts_after_the_first_are_counted(
    broker: LaunchedBroker, client: UnaryClient, retry: dict[str, int], waits: list[int]
) -> None:
    """A node is tried `maxAttempts` times more, after waits that are always the same, or 1, b, b^2, ... seconds."""
    worker = client.worker()
    least_s = [inf] * len(waits)
    for _ in range(5):  # a busy machine may be late with some of them
        instance = client.instance()
        node = client.node(instance, retry=retry)
        while not client.fail(instance, client.poll(worker), worker).permanentlyFailed:
            pass
        with rawclient.Client(broker.target) as ours:
            ended_at = [failure.ended_at for failure in ours.node(*raw(instance, node)).failures]
        took_s = [after - before for before, after in pairwise(ended_at)]
        assert all(wait <= took for wait, took in zip(waits, took_s, strict=True))
        least_s = list(map(min, least_s, took_s))
        if all(least < wait + 0.9 for wait, least in zip(waits, least_s, strict=True)):
            return
    pytest.fail(f"it waited {least_s} s at least, where {waits} were asked for")


def test_a_wait_without_end_is_no_fault(client: UnaryClient) -> None:
    """The largest numbers make a policy, too."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance, retry={"maxAttempts": 2**31 - 1, "exponentialBase": 2**31 - 1})
    for _ in range(2):
        assert not client.fail(instance, client.poll(worker), worker).permanentlyFailed
    assert client.work(worker) == ""
    assert not client.look(instance, node).permanentlyFailed


def test_a_retry_that_succeeds(client: UnaryClient) -> None:
    """The value of a later attempt is the node's."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance, retry={"maxAttempts": 1})
    client.work(worker)
    client.fail(instance, node, worker)
    assert client.work(worker) == node
    client.submit(instance, node, worker, b"v")
    assert client.wait(instance, node).resolvedValue == b"v"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("malformed", ["", "x", "12345678-1234-1234-1234-12345678901", "../../etc"])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("CreateInstance", "identifier"),
        ("CreateNode", "identifier"),
        ("CreateNode", "instanceId"),
        ("CreateNode", "sourceIds"),
        ("Ping", "identifier"),
        ("GetNode", "instanceId"),
        ("GetNode", "identifier"),
        ("GetWork", "identifier"),
        ("SubmitWork", "instanceId"),
        ("SubmitWork", "nodeId"),
        ("SubmitWork", "workerId"),
        ("SubmitFailure", "instanceId"),
        ("SubmitFailure", "nodeId"),
        ("SubmitFailure", "workerId"),
        ("SubscribeResolution", "instanceId"),
        ("SubscribeResolution", "identifier"),
    ],
)
def test_an_id_that_is_no_uuid_is_refused(client: UnaryClient, name: str, field: str, malformed: str) -> None:
    """The answer names the field and what it holds."""
    method = compiled().services_by_name["Dagorama"].methods_by_name[name]
    fields: dict[str, object] = {
        other.name: new_id() for other in method.input_type.fields if other.name.endswith(("identifier", "Id"))
    }
    if name == "CreateNode":
        fields["functionName"] = "shop:f"
    fields[field] = [malformed] if field == "sourceIds" else malformed
    assert client.refusal(name, **fields) == (INVALID_ARGUMENT, f"{field} {malformed!r} is not a UUID")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"functionName": ""}, "functionName is empty"),
        ({"retry": {"maxAttempts": -1}}, "retry.maxAttempts is -1; it must be 0 or more"),
        ({"retry": {"staticInterval": -5}}, "retry.staticInterval is -5; it must be 0 or more"),
        ({"retry": {"exponentialBase": -2}}, "retry.exponentialBase is -2; it must be 0 or more"),
    ],
)
def test_a_node_that_means_nothing_is_refused(client: UnaryClient, fields: dict[str, object], said: str) -> None:
    """A node without a function, or with a policy that cannot be, does not come into being."""
    instance, node = client.instance(), new_id()
    configuration = {"identifier": node, "instanceId": instance, "functionName": "shop:f", **fields}
    assert client.refusal("CreateNode", **configuration) == (INVALID_ARGUMENT, said)
    assert client.refusal("GetNode", instanceId=instance, identifier=node)[0] is NOT_FOUND


def test_unknown_ids_are_refused_and_disturb_nobody(client: UnaryClient) -> None:
    """Who names something that does not exist is told so; a node that runs meanwhile goes on."""
    instance, worker = client.instance(), client.worker()
    node = client.node(instance)
    client.work(worker)
    unknown = new_id()
    no_instance = (NOT_FOUND, f"no instance {unknown} is known to this broker; check the id and the broker's address")
    no_node = (NOT_FOUND, f"instance {instance} has no node {unknown}")
    no_worker = (NOT_FOUND, INVALIDATED)
    here, elsewhere = {"instanceId": instance}, {"instanceId": unknown}
    for name in ("SubmitWork", "SubmitFailure"):
        assert client.refusal(name, **elsewhere, nodeId=node, workerId=worker) == no_instance
        assert client.refusal(name, **here, nodeId=unknown, workerId=worker) == no_node
        assert client.refusal(name, **here, nodeId=node, workerId=unknown) == no_worker
    for name in ("GetNode", "SubscribeResolution"):
        assert client.refusal(name, **elsewhere, identifier=node) == no_instance
        assert client.refusal(name, **here, identifier=unknown) == no_node
    for name in ("Ping", "GetWork"):
        assert client.refusal(name, identifier=unknown) == no_worker
    call = {"identifier": new_id(), "functionName": "shop:f"}
    assert client.refusal("CreateNode", **elsewhere, **call) == no_instance
    assert client.refusal("CreateNode", **here, **call, sourceIds=[unknown])[0] is INVALID_ARGUMENT
    assert client.refusal("CreateNode", **here, **call, sourceIds=[call["identifier"]])[0] is INVALID_ARGUMENT
    assert client.submit(instance, node, worker, b"v").completed
    assert client.refusal("GetNode", **elsewhere, identifier=node) == no_instance


def test_repeating_is_harmless_and_contradicting_refused(client: UnaryClient) -> None:
    """The same instance or node again is a no-op, also when it has ended; another node with its id is not."""
    instance, worker = client.instance(), client.worker()
    configuration = {
        "identifier": new_id(),
        "functionName": "shop:f",
        "queueName": client.queue,
        "arguments": b"1",
        "instanceId": instance,
    }
    first = client.CreateNode(**configuration)
    again = client.CreateNode(**configuration)
    assert client.CreateInstance(identifier=instance).identifier == instance
    assert (again, client.work(worker), client.work(worker)) == (first, first.identifier, "")
    client.submit(instance, first.identifier, worker, b"v")
    ended = client.CreateNode(**configuration)
    assert (ended.completed, ended.resolvedValue, client.work(worker)) == (True, b"v", "")
    contradiction = {**configuration, "arguments": b"2"}
    assert client.refusal("CreateNode", **contradiction)[0] is grpc.StatusCode.ALREADY_EXISTS


def test_one_result_counts(client: UnaryClient) -> None:
    """A report of a node that its sender does not hold changes nothing: early, repeated, late, or somebody else's."""
    instance, worker, other = client.instance(), client.worker(), client.worker()
    node = client.node(instance, retry={"maxAttempts": 1})
    dependent = client.node(instance, node)
    report = {"instanceId": instance, "nodeId": node}

    def refused(sender: str, state: str) -> None:
        said = f"worker {sender} holds no lease on node {node}, which is {state}; the report changed nothing"
        for name in ("SubmitWork", "SubmitFailure"):
            assert client.refusal(name, **report, workerId=sender) == (FAILED_PRECONDITION, said)

    refused(worker, "ready")
    client.work(worker)
    refused(other, "leased")
    client.fail(instance, node, worker)
    refused(worker, "ready")
    client.work(other)
    refused(worker, "leased")
    client.submit(instance, node, other, b"v")
    refused(other, "completed")
    assert client.work(worker) == dependent
    client.submit(instance, dependent, worker, b"d")
    refused(worker, "completed")  # now by the journal: the instance has left memory
    assert (client.look(instance, node).resolvedValue, client.work(worker)) == (b"v", "")


# -- the life of a worker ---------------------------------------------------------------------------------------------


def test_a_silent_worker_is_given_up() -> None:
    """After a lease duration of silence a worker is invalid and its node goes to another, whose result alone counts."""

    def check(lease_s: int) -> None:
        with client_of_one_that_waits(lease_s) as client:
            instance, silent, other = client.instance(), client.worker(), client.worker()
            node = client.node(instance)
            client.work(silent)
            assert client.poll(other) == node
            report = {"instanceId": instance, "nodeId": node, "workerId": silent}
            for name, fields in (
                ("GetWork", {"identifier": silent}),
                ("Ping", {"identifier": silent}),
                ("SubmitWork", {**report, "result": b"late"}),
                ("SubmitFailure", report),
            ):
                assert client.refusal(name, **fields) == (NOT_FOUND, INVALIDATED)
            client.submit(instance, node, other, b"v")
            assert client.look(instance, node).resolvedValue == b"v"

    with_more_time(check, 1, 5, 25)


def test_a_worker_lives_by_its_calls() -> None:
    """Pings keep a worker and what it holds; asking for work does, too."""

    def check(lease_s: int) -> None:
        with client_of_one_that_waits(lease_s) as client:
            instance, pinging, asking = client.instance(), client.worker(), client.worker()
            node = client.node(instance)
            client.work(pinging)
            until = time.monotonic() + 2 * lease_s
            while time.monotonic() < until:
                client.Ping(identifier=pinging)
                assert client.work(asking) == ""
                time.sleep(0.1)  # the node's work
            assert client.submit(instance, node, pinging, b"v").completed

    with_more_time(check, 1, 5, 25)


@pytest.mark.parametrize(
    ("environ", "expected"), [({}, (15.0, 60.0)), ({"DAGORAMA_LEASE_DURATION_S": "4"}, (4.0, 4.0))]
)
def test_workers_of_0_1_have_time_for_their_pings(environ: dict[str, str], expected: tuple[float, float]) -> None:
    """They ping every 30 s, so they are given up later than others, unless the setting says when for all."""
    settings = from_environment(environ).scheduler
    assert (settings.lease_duration_s, settings.pull_lease_duration_s) == expected


def test_a_worker_may_hold_several_nodes(client: UnaryClient) -> None:
    """A worker is given one node for each question, as many as it asks for, and reports on them in any order."""
    instance, worker = client.instance(), client.worker()
    nodes = [client.node(instance) for _ in range(3)]
    assert [client.work(worker) for _ in range(4)] == [*nodes, ""]
    for node in reversed(nodes):
        client.submit(instance, node, worker, node.encode())
    assert [client.look(instance, node).resolvedValue.decode() for node in nodes] == nodes


def test_no_work_has_a_status_of_its_own(client: UnaryClient) -> None:
    """A worker for which there is nothing gets the words that 0.1 used."""
    assert client.refusal("GetWork", identifier=client.worker()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, NO_WORK)


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_after_a_restart_the_graph_is_as_it_was(tmp_path: Path) -> None:
    """Values stay, waiting nodes wait, ready ones keep their order; what ran goes to new workers at once."""
    storage = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=storage) as first, UnaryClient(first.target) as client:
        instance, worker = client.instance(), client.worker()
        empty = client.instance()
        done, running, ready = client.node(instance), client.node(instance), client.node(instance)
        failed = client.node(instance)
        waiting = client.node(instance, done, running)
        assert [client.work(worker) for _ in range(4)] == [done, running, ready, failed]
        client.submit(instance, done, worker, b"done")
        client.fail(instance, failed, worker)
        first.process.kill()
        first.process.wait(60)
    with launch_broker(first.port, storage=storage) as second, UnaryClient(second.target) as client:
        assert client.refusal("GetWork", identifier=worker) == (NOT_FOUND, INVALIDATED)
        late = {"instanceId": instance, "nodeId": running, "workerId": worker, "result": b"late"}
        assert client.refusal("SubmitWork", **late) == (NOT_FOUND, INVALIDATED)
        assert client.look(instance, done).resolvedValue == b"done"
        assert client.look(instance, failed).permanentlyFailed
        worker = client.worker()
        assert [client.work(worker), client.work(worker), client.work(worker)] == [running, ready, ""]
        client.submit(instance, running, worker, b"again")
        granted = client.GetWork(identifier=worker)
        late_node = client.node(empty)
    assert (granted.identifier, [source.resolvedValue for source in granted.sources]) == (waiting, [b"done", b"again"])
    assert late_node


# -- beside our own API -----------------------------------------------------------------------------------------------


def raw(*identifiers: str) -> tuple[bytes, bytes]:
    """Give ids of an instance and a node in the form of our own API."""
    instance, node = (bytes.fromhex(identifier.replace("-", "")) for identifier in identifiers)
    return instance, node


def text(identifier: bytes) -> str:
    """Give an id in the form of the unary API."""
    digits = identifier.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def test_both_kinds_of_workers_share_a_graph(client: UnaryClient, streamer: rawclient.Worker) -> None:
    """Nodes of either API go to workers of either, with the values of either; nobody gets what another has."""
    puller = client.worker()
    instance = client.instance()
    first = client.node(instance, arguments=b"a1")
    second = client.node(instance, arguments=b"a2")
    (grant,) = streamer.take()
    pulled = client.GetWork(identifier=puller)
    assert (grant.node_id, grant.arguments, pulled.identifier) == (raw(instance, first)[1], b"a1", second)
    total = client.node(instance, first, second)
    streamer.complete(grant, b"v1")
    client.submit(instance, second, puller, b"v2")
    (grant,) = streamer.take()
    assert (text(grant.node_id), [payload for _, payload in streamer.values]) == (total, [b"v1", b"v2"])
    streamer.complete(grant, b"v3")
    assert client.wait(instance, total).resolvedValue == b"v3"


def test_a_stream_is_no_unary_worker(client: UnaryClient, streamer: rawclient.Worker) -> None:
    """The id of a worker that has a stream is of no use here: its nodes are reported over the stream."""
    instance = client.instance()
    node = client.node(instance)
    (grant,) = streamer.take()
    worker = text(streamer.id)
    for name, fields in (
        ("GetWork", {"identifier": worker}),
        ("Ping", {"identifier": worker}),
        ("SubmitWork", {"instanceId": instance, "nodeId": node, "workerId": worker}),
    ):
        assert client.refusal(name, **fields) == (NOT_FOUND, INVALIDATED)
    streamer.complete(grant, b"v")
    assert client.wait(instance, node).resolvedValue == b"v"


def test_values_of_our_own_clients_are_their_payloads(
    broker: LaunchedBroker, client: UnaryClient, streamer: rawclient.Worker
) -> None:
    """An alias has the payload that it leads to, while its instance is in memory and after; so has a source."""
    alias, child, middle = (rawclient.new_id() for _ in range(3))
    with rawclient.Client(broker.target, client.queue) as ours:
        instance = text(ours.start(rawclient.call(alias, arguments=b"payload")))
        (grant,) = streamer.take()
        streamer.finish(
            rawclient.result(grant, alias_id=middle, children=(rawclient.call(middle),)), functions=ours.functions
        )
        joining = client.look(instance, text(alias))
        (grant,) = streamer.take()
        streamer.finish(
            rawclient.result(grant, alias_id=child, children=(rawclient.call(child),)), functions=ours.functions
        )
        dependent = client.node(instance, text(alias), queueName=f"{client.queue} for the puller")
        streamer.complete(streamer.take()[0], pickle.dumps(42))
        in_memory = client.look(instance, text(alias))
        worker = client.worker(includeQueues=[f"{client.queue} for the puller"])
        granted = client.GetWork(identifier=worker)
        client.submit(instance, dependent, worker, pickle.dumps(43))
        in_journal = client.look(instance, text(alias))
        source = client.look(instance, dependent).sources[0]
        ((outcome,),) = [response.outcomes for response in ours.watch(*raw(instance, dependent))]
    assert (joining.completed, joining.resolvedValue, joining.arguments) == (False, b"", b"payload")
    assert (granted.identifier, pickle.loads(granted.sources[0].resolvedValue)) == (dependent, 42)
    assert [pickle.loads(node.resolvedValue) for node in (in_memory, in_journal, source)] == [42, 42, 42]
    assert outcome.state == graph_pb2.NODE_STATE_COMPLETED
