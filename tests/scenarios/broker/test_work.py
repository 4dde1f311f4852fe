"""The worker's stream."""

import os
import signal
import subprocess
import sys

import grpc
import pytest

from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import (
    LEASE_S,
    Client,
    Worker,
    call,
    calls,
    completions,
    failure,
    function,
    grants_in,
    new_id,
    result,
    values_in,
)
from tests.timing import with_more_time

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_the_first_response_is_the_welcome(broker: LaunchedBroker, connect: Connect) -> None:
    """A worker learns how long its leases last before anything else."""
    welcome = connect().receive().welcome
    assert (welcome.lease_duration_s, list(welcome.leases), bool(welcome.broker_version)) == (LEASE_S, [], True)


def test_hello_comes_first(broker: LaunchedBroker) -> None:
    """A stream that begins with anything else is refused."""
    worker = Worker(broker.target, work_pb2.Hello(worker_id=b"short"))
    ended = worker.end()
    worker.close()
    assert (ended.code, ended.details) == (INVALID, "worker_id has 5 bytes; an id has 16")


def test_a_hello_with_a_function_that_has_no_version_is_refused(broker: LaunchedBroker, connect: Connect) -> None:
    """The columns of what it announces belong together."""
    ended = connect(function_names=["m:f", "m:g"], code_versions=["1"]).end()
    assert (ended.code, ended.details) == (INVALID, "the columns of a worker's versions have different lengths: 2, 1")


def test_a_stream_without_a_hello_is_refused(broker: LaunchedBroker) -> None:
    """A first message that has no hello is refused by name."""
    with grpc.insecure_channel(broker.target) as channel:
        method = channel.stream_stream(
            "/dagorama.v1.WorkService/Work",
            request_serializer=work_pb2.WorkRequest.SerializeToString,
            response_deserializer=work_pb2.WorkResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as refused:
            list(method(iter([work_pb2.WorkRequest(draining=True)])))
    assert (refused.value.code(), refused.value.details()) == (INVALID, "the first message of a worker has no hello")


def test_a_grant_has_all_that_a_worker_needs(client: Client, connect: Connect, queue: str) -> None:
    """Function, arguments, instance, attempt and the values of the dependencies come in one message."""
    first, second = new_id(), new_id()
    retry = graph_pb2.RetryPolicy(max_attempts=3, interval_s=1, multiplier=2, interval_max_s=9, jitter=0.5)
    spec = graph_pb2.FunctionSpec(
        name="shop:f", code_version="v1", queue=queue, retry=retry, definition_arguments=b"\x00args"
    )
    instance_id = client.start(call(first), call(second, first, arguments=b"\x00\xff"), functions=[spec])
    worker = connect()
    worker.complete(worker.take()[0], b"value")
    (grant,) = worker.take()
    assert (grant.node_id, grant.instance_id, grant.arguments, grant.attempt) == (
        second,
        instance_id,
        b"\x00\xff",
        1,
    )
    assert (worker.functions[second], worker.values) == (spec, [(first, b"value")])


def test_a_worker_gets_as_many_nodes_as_it_has_slots(client: Client, connect: Connect) -> None:
    """Functions whose duration is not known are not granted ahead."""
    client.start(*(call(new_id()) for _ in range(5)))
    worker = connect(slots=3)
    worker.take(3)
    worker.settle()
    assert worker.grants == []


def test_results_are_acknowledged_by_sequence(client: Client, connect: Connect) -> None:
    """One acknowledgement stands for all messages up to it, and a later one never goes back."""
    client.start(*(call(new_id()) for _ in range(3)))
    worker = connect(slots=3)
    for grant in worker.take(3):
        worker.report(result(grant, value=b""))
    worker.wait(lambda: worker.acknowledged == 3)
    told = [response.acknowledged for response in worker.responses]
    assert (told, told[-1]) == (sorted(told), 3)


def test_a_stale_token_is_refused(client: Client, connect: Connect) -> None:
    """A result under a token that is not live changes nothing, and the worker is told; the live one is accepted."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    (grant,) = worker.take()
    stale = work_pb2.Result(node_id=node_id, token=grant.token - 1, value=b"stale")
    worker.finish(stale, result(grant, value=b"live"), result(grant, value=b"again"))
    assert [(refusal.node_id, refusal.presented) for refusal in worker.refusals] == [
        (node_id, grant.token - 1),
        (node_id, grant.token),
    ]
    (response,) = client.watch(instance_id, node_id)
    assert values_in(response) == [(node_id, b"live")]


def test_a_stale_token_among_completions_is_refused_singly(client: Client, connect: Connect) -> None:
    """Of plain values that come in one message the stale ones change nothing; those beside them count."""
    first, second = new_id(), new_id()
    instance_id = client.start(call(first), call(second))
    worker = connect(slots=2)
    one, two = worker.take(2)
    worker.report_plain(
        (first, one.token - 1, b"stale"),
        (second, one.token, b"of another node"),
        (first, one.token, b"1"),
        (first, one.token, b"again"),
        (second, two.token, b"2"),
    )
    worker.wait(lambda: worker.acknowledged == 1)
    told = dict(value for response in client.watch(instance_id, first, second) for value in values_in(response))
    assert [(refusal.node_id, refusal.presented) for refusal in worker.refusals] == [
        (first, one.token - 1),
        (second, one.token),
        (first, one.token),
    ]
    assert told == {first: b"1", second: b"2"}


def test_a_node_handed_back_goes_to_another(client: Client, connect: Connect) -> None:
    """A worker that gives a node back and drains loses it to the next worker, as the same attempt under a new token."""
    client.start(call(new_id()))
    worker = connect(name="w1")
    (grant,) = worker.take()
    worker.send(work_pb2.WorkRequest(draining=True))
    worker.hand_back(grant)
    (again,) = connect(name="w2").take()
    assert (again.node_id, again.attempt, again.token > grant.token) == (grant.node_id, 1, True)


def test_a_draining_worker_is_not_lost_however_its_stream_ends(client: Client, connect: Connect) -> None:
    """What it held is no suspect, of which a worker may hold only one."""
    client.start(*(call(new_id()) for _ in range(4)))
    worker = connect(slots=4)
    worker.take(4)
    worker.send(work_pb2.WorkRequest(draining=True))
    worker.settle()
    worker.close()
    assert len(connect(name="w2", slots=4).take(4)) == 4


def test_a_draining_worker_gets_nothing_more(client: Client, connect: Connect) -> None:
    """What it runs it may finish; what is ready goes to others."""
    first, second = new_id(), new_id()
    client.start(call(first), call(second))
    worker = connect()
    (grant,) = worker.take()
    worker.send(work_pb2.WorkRequest(draining=True))
    worker.complete(grant)
    worker.settle()
    other = connect()
    assert (worker.grants, other.take()[0].node_id) == ([], second)


def test_short_functions_are_granted_ahead_and_recalled(client: Client, connect: Connect) -> None:
    """Functions known to be short come many at a time; for an idle worker those not started are recalled."""
    client.start(*(call(new_id()) for _ in range(30)))
    busy = connect(name="busy")
    busy.finish(result(busy.take()[0], value=b"", duration_us=100))
    started, *ahead = busy.take(29)
    idle = connect(name="idle")
    busy.wait(lambda: bool(busy.recalls))
    recalled = [lease.node_id for lease in busy.recalls]
    busy.hand_back(*ahead)
    assert (recalled, idle.take()[0].node_id) == ([grant.node_id for grant in ahead], ahead[0].node_id)
    assert started.node_id not in recalled


def test_workers_tell_how_long_ago_attempts_ended(client: Client, connect: Connect) -> None:
    """Of plain values, of other results and of failures: ones that waited for an hour took no longer for it."""
    ids = plain, alias, broken = [new_id() for _ in range(3)]
    instance_id = client.start(*map(call, ids))
    worker = connect(slots=3)
    grants = {grant.node_id: grant for grant in worker.take(3)}
    hour_us = 3_600_000_000
    column = completions((plain, grants[plain].token, b"value"))
    column.waits_us[:] = [hour_us]
    worker.send(work_pb2.WorkRequest(completions=column))
    worker.finish(
        result(grants[alias], alias_id=(child := new_id()), children=(call(child),), waited_us=hour_us),
        result(grants[broken], failure=failure(permanent=True), waited_us=hour_us),
        functions=[function()],
    )
    told = [client.node(instance_id, node_id) for node_id in ids]
    assert all(0 < node.granted_at == node.started_at for node in told)
    assert [node.duration_s for node in told] == [0, 0, 0]
    assert [one.ended_at == one.granted_at for one in told[2].failures] == [True]


def test_a_worker_is_told_when_nothing_further_can_come(connect: Connect) -> None:
    """With `exit_when_drained`, `drained` comes when every node has ended, not while one may make others."""
    with launch_broker(port=0) as broker, Client(broker.target) as client:
        client.start(call(new_id()))
        worker = connect(broker.target, include_queues=[], exit_when_drained=True)
        (grant,) = worker.take()
        child = new_id()
        worker.finish(result(grant, alias_id=child, children=(call(child),)), functions=[function()])
        (grant,) = worker.take()
        worker.settle()
        before = worker.drained
        worker.complete(grant)
        worker.wait(lambda: worker.drained)
        assert before is False


def test_a_worker_that_connects_again_replaces_itself(client: Client, connect: Connect) -> None:
    """The second stream with a worker's id ends the first, and goes on with what it names, under a larger token."""
    node_id, other = new_id(), new_id()
    instance_id = client.start(call(node_id), call(other))
    worker_id = new_id()
    first = connect(worker_id=worker_id, slots=2)
    kept, dropped = first.take(2)
    held = [work_pb2.Lease(node_id=kept.node_id, token=kept.token, instance_id=instance_id)]
    second = connect(worker_id=worker_id, slots=2, held=held)
    (lease,) = second.receive().welcome.leases
    (again,) = second.take()
    ended = first.end()
    assert (ended.code, ended.details) == (grpc.StatusCode.UNAVAILABLE, "the worker has connected again")
    assert (lease.instance_id, lease.node_id, again.node_id) == (instance_id, kept.node_id, dropped.node_id)
    assert lease.token > dropped.token
    second.complete(kept._replace(token=lease.token), b"kept")
    assert second.refusals == []


def test_the_nodes_of_a_broken_connection_go_to_another_at_once(client: Client, connect: Connect) -> None:
    """A worker whose stream breaks is lost: its node is granted to another within a fraction of the lease."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect(name="lost-1")
    worker.take()
    other = connect(name="w2")
    worker.close()
    other.take()
    info = client.node(instance_id, node_id)
    assert [(attempt.worker, attempt.failure.type) for attempt in info.failures] == [("lost-1", "WorkerLost")]


def test_the_nodes_of_a_worker_that_left_are_not_to_blame(client: Client, connect: Connect) -> None:
    """A worker that ends its stream in order gives its nodes back without a loss."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    worker.take()
    assert worker.leave().code is None
    connect().take()
    assert list(client.node(instance_id, node_id).failures) == []


KILLED = """
import sys
from dagorama.v1 import work_pb2
from tests.scenarios.broker.rawclient import Worker
worker = Worker(sys.argv[1], work_pb2.Hello(worker_id=bytes(15) + b"k", name="killed", include_queues=[sys.argv[2]]))
print(worker.take()[0].node_id.hex(), flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_counts_as_lost(client: Client, connect: Connect, queue: str, broker: LaunchedBroker) -> None:
    """kill -9 of a worker process: another has its node at once, and the loss is noted on the node."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, broker.target, queue], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        granted = process.stdout.readline().decode().strip()
        other = connect(name="w2")
        os.kill(process.pid, signal.SIGKILL)
        (grant,) = other.take()
    info = client.node(instance_id, node_id)
    assert (granted, grant.node_id, [attempt.worker for attempt in info.failures]) == (
        node_id.hex(),
        node_id,
        ["killed"],
    )


def test_a_silent_worker_is_evicted(connect: Connect) -> None:
    """After a lease duration without a message the worker's node goes to another and its stream ends; one that beats
    keeps what it has.
    """

    def check(lease_s: int) -> None:
        environment = {"DAGORAMA_LEASE_DURATION_S": str(lease_s)}
        with launch_broker(port=0, environment=environment) as broker, Client(broker.target) as client:
            client.start(call(new_id()))
            silent = connect(broker.target, include_queues=[])
            (grant,) = silent.take()
            other = connect(broker.target, include_queues=[])
            while not other.grants:
                other.send(work_pb2.WorkRequest())
                other.is_quiet(0.1)
            (again,) = other.take()
            silent.report(result(grant, value=b"late"))
            ended = silent.end()
            assert (again.node_id, again.token > grant.token) == (grant.node_id, True)
            assert (ended.code, ended.details) == (
                grpc.StatusCode.UNAVAILABLE,
                "the worker was silent for longer than its leases last",
            )

    with_more_time(check, 1, 5, 25)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (work_pb2.Result(token=1), "a result has no outcome"),
        (
            work_pb2.Result(value=b"", children=calls(call(b"short"))),
            "one of the node_ids of calls has 5 bytes; an id has 16",
        ),
        (
            work_pb2.Result(value=b"", children=calls(call(bytes(16), b"short"))),
            "one of the dependency_ids of calls has 5 bytes; an id has 16",
        ),
        (work_pb2.Result(value=b"", children=calls(call(bytes(16), function=7))), "function 7 of a table that has 1"),
        (
            work_pb2.Result(value=b"", children=graph_pb2.Calls(node_ids=[bytes(16)], functions=[0])),
            "the columns of calls have different lengths: 1, 1, 0",
        ),
    ],
    ids=["outcome", "child-id", "dependency-id", "function", "columns"],
)
def test_a_malformed_report_fails_its_node(client: Client, connect: Connect, bad: work_pb2.Result, said: str) -> None:
    """For good, as another attempt would bring the same; what else the message brings counts, and the stream lives."""
    node_id, good = new_id(), new_id()
    instance_id = client.start(call(node_id), call(good))
    worker = connect(name="bad", slots=2)
    grants = {grant.node_id: grant for grant in worker.take(2)}
    bad.node_id, bad.token = node_id, grants[node_id].token
    worker.finish(bad, result(grants[good], value=b"good"), functions=client.functions)
    (response,) = client.watch(instance_id, good)
    failed = client.node(instance_id, node_id)
    assert values_in(response) == [(good, b"good")]
    assert (failed.state, [(attempt.worker, attempt.failure.type) for attempt in failed.failures]) == (
        graph_pb2.NODE_STATE_FAILED,
        [("bad", "InvalidExpansion")],
    )
    assert said in failed.failures[0].failure.message


_COLUMNS = ("node_ids", "tokens", "values", "durations_us", "waits_us")


@pytest.mark.parametrize("column", _COLUMNS)
def test_completions_of_different_lengths_end_the_stream(client: Client, connect: Connect, column: str) -> None:
    """Whichever column lacks an entry: the worker is told which message it is in, and none of its values counts."""
    node_id = new_id()
    instance_id = client.start(call(node_id))
    worker = connect(name="bad")
    (grant,) = worker.take()
    bad = completions((node_id, grant.token, b"bad"), (new_id(), grant.token + 1, b"bad"))
    getattr(bad, column).pop()
    worker.send(work_pb2.WorkRequest(completions=bad, sequence=1))
    ended = worker.end()
    other = connect()
    other.complete(other.take()[0], b"good")
    (response,) = client.watch(instance_id, node_id)
    lengths = ", ".join("1" if name == column else "2" for name in _COLUMNS)
    assert (ended.code, lengths in ended.details) == (INVALID, True)
    assert "the columns of completions have different lengths" in ended.details
    assert values_in(response) == [(node_id, b"good")]


def test_a_stream_can_end_while_it_is_written_to(broker: LaunchedBroker, connect: Connect) -> None:
    """A fault that comes right behind the hello, while the welcome is on its way, ends the stream with its status."""
    ends = []
    for _ in range(20):
        worker = connect(broker.target)
        worker.send(work_pb2.WorkRequest(completions=work_pb2.Completions(tokens=[1]), sequence=1))
        ends.append(worker.end().code)
    assert ends == [INVALID] * 20


def test_children_that_are_faulty_fail_the_node(client: Client, connect: Connect) -> None:
    """A result with a child that depends on something unknown fails its node for good, and makes no child."""
    node_id, child, unknown = new_id(), new_id(), new_id()
    instance_id = client.start(call(node_id))
    worker = connect()
    (grant,) = worker.take()
    worker.finish(result(grant, value=b"", children=(call(child, unknown),)), functions=client.functions)
    info = client.node(instance_id, node_id)
    assert (info.state, info.failures[0].failure.type, client.instance(instance_id).counts[0].count) == (
        graph_pb2.NODE_STATE_FAILED,
        "InvalidExpansion",
        1,
    )


def test_a_value_is_sent_once_for_all_grants_of_a_message(client: Client, connect: Connect) -> None:
    """Nodes that share a dependency and come together share its value."""
    shared = new_id()
    client.start(call(shared), *(call(new_id(), shared) for _ in range(4)))
    worker = connect(slots=4)
    worker.complete(worker.take()[0], b"shared")
    worker.take(4)
    assert worker.values == [(shared, b"shared")]


def test_values_of_two_instances_with_equal_ids_are_kept_apart(client: Client, connect: Connect) -> None:
    """Clients may give nodes of different instances the same id; each node gets the values of its own instance."""
    shared, first, second = new_id(), new_id(), new_id()
    client.start(call(shared), call(first, shared))
    client.start(call(shared), call(second, shared))
    worker = connect(slots=2)
    one, two = worker.take(2)
    worker.finish(result(one, value=b"of the first"), result(two, value=b"of the second"))
    worker.take(2)
    seen = {
        grant.node_id: [payload for _, payload in values_in(response)]
        for response in worker.responses
        for grant in grants_in(response)
        if response.HasField("values")
    }
    assert seen == {first: [b"of the first"], second: [b"of the second"]}


def test_many_large_grants_are_split_over_messages(client: Client, connect: Connect) -> None:
    """A worker can start before all that it is granted has arrived."""
    client.start(*(call(new_id(), arguments=bytes(3 * 2**20)) for _ in range(6)))
    worker = connect(slots=6)
    worker.take(6)
    assert [len(grants) for grants in map(grants_in, worker.responses) if grants] == [2, 2, 2]


def test_values_beyond_the_usual_message_limit_pass(client: Client, connect: Connect) -> None:
    """Arguments, values and outcomes over 4 MB, gRPC's own limit, go through as any others."""
    big, after = new_id(), new_id()
    payload = os.urandom(6 * 2**20)
    instance_id = client.start(call(big, arguments=payload), call(after, big))
    worker = connect()
    (grant,) = worker.take()
    worker.complete(grant, payload)
    worker.take()
    (response,) = client.watch(instance_id, big)
    expected = [(big, payload)]
    assert (grant.arguments == payload, worker.values == expected, values_in(response) == expected) == (True,) * 3


def test_a_broker_that_was_stopped_blames_no_worker(connect: Connect) -> None:
    """When the broker's process stood still for longer than a lease, workers that live keep what they hold."""

    def check(lease_s: int) -> None:
        node_id = new_id()
        environment = {"DAGORAMA_LEASE_DURATION_S": str(lease_s)}
        with launch_broker(port=0, environment=environment) as broker, Client(broker.target) as client:
            instance_id = client.start(call(node_id))
            worker = connect(broker.target, include_queues=[])
            (grant,) = worker.take()
            broker.process.send_signal(signal.SIGSTOP)
            worker.send(work_pb2.WorkRequest())
            quiet = worker.is_quiet(1.25 * lease_s)
            broker.process.send_signal(signal.SIGCONT)
            worker.complete(grant, b"value")
            info = client.node(instance_id, node_id)
        assert (quiet, info.state, list(info.failures)) == (True, graph_pb2.NODE_STATE_COMPLETED, [])

    with_more_time(check, 1, 5, 25)
