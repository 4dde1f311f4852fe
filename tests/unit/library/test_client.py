"""Users' processes and a broker: starting, waiting, and everything that can go wrong between them."""

from __future__ import annotations

import asyncio
import copy
import math
import multiprocessing
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from itertools import pairwise
from typing import Any
from uuid import UUID

import grpc
import pytest

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.calls.ids import new_id
from dagorama.calls.payload import encode
from dagorama.client.broker import submit
from dagorama.client.connection import Connection, connection
from dagorama.client.messages import instance_status
from dagorama.common.addresses import broker_address
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, attach, generate_instance_id, resolve, resolve_async
from dagorama.ended import EndedInstance
from dagorama.errors import BrokerRefused, BrokerUnavailable, InstanceCancelled, NodeFailed, ResultTimeout
from dagorama.models.promise import new_promise, node_id_of
from dagorama.options import instance_options
from dagorama.retry import StaticRetry
from dagorama.testing import in_process_broker, inline
from dagorama.v1.dag_pb2 import InstanceInfo
from dagorama.v1.graph_pb2 import Failure, InstanceState, NodeState, Outcome
from tests.queries import get_instance
from tests.timing import least_s
from tests.unit.library.dag_server import DagServer, calls_in


class Task(DAGDefinition):
    """A definition."""

    @dagorama().syncfn
    def entrypoint(self, value: Any) -> Any:
        """Returns its argument."""
        return value

    @dagorama().syncfn
    def helper(self) -> int:
        """Is called from outside."""
        return 1


class Other(DAGDefinition):
    """Another definition."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Returns a number."""
        return 1


def notice(ended: EndedInstance) -> None:
    """A hook that notes nothing."""


class Hooked(DAGDefinition, on_end=notice):
    """A definition with a hook."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Returns a number."""
        return 1


class Started:
    """An instance, its promise and the id of its node."""

    def __init__(self) -> None:
        """Starts it."""
        instance, promise = Task()(1)
        self.instance: Any = instance
        self.promise: Any = promise
        self.node_id = node_id_of(self.promise)


@pytest.fixture
def started(server: DagServer) -> Started:
    """An instance that was started on the server."""
    return Started()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("DAGORAMA_HOST", "localhost")
        monkeypatch.setenv("DAGORAMA_PORT", str(port))
        yield port


@pytest.mark.parametrize(
    ("host", "target"),
    [("localhost", "127.0.0.1:7"), ("::1", "[::1]:7"), ("10.0.0.1", "10.0.0.1:7"), ("broker.test", "broker.test:7")],
)
def test_a_broker_at_localhost_is_asked_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, host: str, target: str
) -> None:
    """What listens at ::1, which the name stands for as well, is another program."""
    asked: list[str] = []
    real = grpc.insecure_channel

    def open_channel(address: str, options: Any) -> grpc.Channel:
        asked.append(address)
        return real(address, options=options)

    monkeypatch.setattr(grpc, "insecure_channel", open_channel)
    Connection(host, 7).channel.close()
    assert asked == [target]


def failure(state: NodeState.ValueType, exception: bytes = b"", cause_id: bytes = b"") -> Outcome:
    """Makes the outcome of a node without a value."""
    return Outcome(
        state=state,
        failure=Failure(type="ValueError", message="boom", traceback="Traceback ...", exception=exception),
        cause_id=cause_id,
        cause_function="m:C.f",
        cause_attempts=3,
    )


class Unloadable(Exception):
    """An exception that pickles, and doesn't come back."""

    def __init__(self, one: int, two: int) -> None:
        """Keeps none of its arguments."""
        super().__init__("message")


WAYS: list[Callable[[Any, Any], object]] = [
    lambda instance, promise: instance.result(timeout=60),
    lambda instance, promise: asyncio.run(instance.aresult(timeout=60)),
    lambda instance, promise: resolve(instance, promise, wait_for_results=True),
    lambda instance, promise: asyncio.run(resolve_async(instance, promise, wait_for_results=True)),
    lambda instance, promise: resolve(instance, promise),
    lambda instance, promise: asyncio.run(resolve_async(instance, promise)),
]
ways = pytest.mark.parametrize("way", WAYS)
waiting_ways = pytest.mark.parametrize("way", WAYS[:4])
polling_ways = pytest.mark.parametrize("way", WAYS[4:])


@ways
@pytest.mark.parametrize("value", [0, "", [], False, None, {"k": (1, {2})}])
def test_values_come_as_they_are(
    server: DagServer, started: Started, way: Callable[[Any, Any], object], value: object
) -> None:
    """Every way to ask for a value that is there gives exactly it, also where it is falsy."""
    server.complete(started.node_id, value)
    found = way(started.instance, started.promise)
    assert (found, type(found)) == (value, type(value))


@polling_ways
def test_a_pending_value_is_none_without_waiting(started: Started, way: Callable[[Any, Any], object]) -> None:
    """Without waiting, a value that has not come yet is None."""
    assert way(started.instance, started.promise) is None


@waiting_ways
def test_waiting_ends_when_the_value_comes(
    server: DagServer, started: Started, way: Callable[[Any, Any], object]
) -> None:
    """A value is pushed to whoever waits for it."""

    def complete() -> None:
        assert server.watched.acquire(timeout=60)
        server.complete(started.node_id, "late")

    thread = threading.Thread(target=complete)
    thread.start()
    assert way(started.instance, started.promise) == "late"
    thread.join()


ELSEWHERE: list[Callable[[Any], Any]] = [
    lambda instance: attach(instance.instance_id, Task()),
    lambda instance: attach(str(instance.instance_id), Task()),
    copy.copy,
]


@pytest.mark.parametrize("again", ELSEWHERE, ids=["id", "text", "pickle"])
@pytest.mark.parametrize("way", [WAYS[0], WAYS[1]], ids=["result", "aresult"])
def test_a_value_is_there_in_another_process(
    server: DagServer, started: Started, way: Callable[[Any, Any], object], again: Callable[[Any], Any]
) -> None:
    """An instance that was started elsewhere gives the value of its entrypoint, as often as it is asked."""
    server.complete(started.node_id, "value")
    instance = again(started.instance)
    assert [way(instance, None), way(instance, None)] == ["value", "value"]
    assert instance.instance_id == started.instance.instance_id


def test_an_instance_elsewhere_is_cancelled(server: DagServer, started: Started) -> None:
    """What is asked about the whole instance needs no more than its id."""
    attach(started.instance.instance_id, Task()).cancel()
    assert server.cancelled == [started.instance.instance_id.bytes]


def test_an_instance_of_another_definition_has_no_result(started: Started) -> None:
    """The types would be wrong; what it began with is named."""
    with pytest.raises(
        ValueError, match=r"began with \S+:Task.entrypoint, not Other.entrypoint\): attach\(\) an object"
    ):
        attach(started.instance.instance_id, Other()).result()


def test_an_instance_without_an_entrypoint_has_no_result(server: DagServer) -> None:
    """One to which calls are added from outside has whatever values these have."""
    instance: Any = DAGInstance(generate_instance_id(), Task())
    with pytest.raises(ValueError, match="it has no nodes"):
        instance.result()
    instance.helper()
    with pytest.raises(ValueError, match=r"it began with .*Task\.helper"):
        asyncio.run(instance.aresult())


def test_what_cannot_be_attached_is_refused() -> None:
    """A class, and what is no id, before anything is asked."""
    with pytest.raises(TypeError, match=r"takes an object of a definition, such as Task\(\)"):
        attach(UUID(int=1), Task)  # type: ignore[call-overload] # that is the point
    with pytest.raises(ValueError, match="'7' is no id of an instance"):
        attach("7", Task())


def test_values_refer_to_values(server: DagServer, started: Started) -> None:
    """A value that holds promises is made of the values before it; equal promises are one object."""
    ids = [new_id() for _ in range(2)]
    payloads = [
        encode([1], what="x").data,
        encode({"a": new_promise(ids[0])}, what="x").data,
        encode((new_promise(ids[1]), new_promise(ids[0]), new_promise(ids[1])["a"][0]), what="x").data,
    ]
    values = dict(zip([*ids, started.node_id], payloads, strict=True))
    server.end(started.node_id, Outcome(state=NodeState.NODE_STATE_COMPLETED), values)
    found = started.instance.result()
    assert found == ({"a": [1]}, [1], 1)
    assert found[0]["a"] is found[1]


def test_a_long_chain_of_values_decodes(server: DagServer, started: Started) -> None:
    """Values that refer to each other 10,000 deep need no recursion."""
    ids = [*[new_id() for _ in range(10_000)], started.node_id]
    values = {ids[0]: encode("end", what="x").data}
    values |= {this: encode(new_promise(before), what="x").data for before, this in pairwise(ids)}
    server.end(started.node_id, Outcome(state=NodeState.NODE_STATE_COMPLETED), values)
    assert started.instance.result() == "end"


def test_anything_with_promises_resolves(server: DagServer, started: Started) -> None:
    """Parts of promises, and containers of them, resolve like the promises; other values are themselves."""
    server.complete(started.node_id, {"k": [5]})
    promise = started.promise
    assert resolve(started.instance, [promise["k"][0], {promise["k"][0]: promise}], wait_for_results=True) == [
        5,
        {5: {"k": [5]}},
    ]
    assert resolve(started.instance, promise["k"]) == [5]
    assert resolve(started.instance, 3) == 3


@waiting_ways
def test_a_failed_node_raises(server: DagServer, started: Started, way: Callable[[Any, Any], object]) -> None:
    """Waiting for a value that will never come raises, with what happened on the worker."""
    server.end(started.node_id, failure(NodeState.NODE_STATE_FAILED, encode(ValueError("boom"), what="x").data))
    with pytest.raises(NodeFailed) as raised:
        way(started.instance, started.promise)
    error = raised.value
    assert (error.instance_id, error.node_id, error.cause_id) == (
        started.instance.instance_id,
        UUID(bytes=started.node_id),
        UUID(bytes=started.node_id),
    )
    assert (error.function, error.attempts, error.exception_type, error.exception_message, error.remote_traceback) == (
        "m:C.f",
        3,
        "ValueError",
        "boom",
        "Traceback ...",
    )
    assert repr(error.__cause__) == "ValueError('boom')"


@pytest.mark.parametrize(
    "exception",
    [
        b"",
        b"not a payload",
        encode("no exception", what="x").data,
        encode(new_promise(bytes(16)), what="x").data,
        encode(Unloadable(1, 2), what="x").data,
    ],
)
def test_an_exception_that_cannot_be_brought_here_is_no_further_failure(
    server: DagServer, started: Started, exception: bytes
) -> None:
    """The failure is told all the same, without a cause."""
    server.end(started.node_id, failure(NodeState.NODE_STATE_FAILED, exception))
    with pytest.raises(NodeFailed, match="boom") as raised:
        started.instance.result()
    assert raised.value.__cause__ is None


def test_a_dependency_failure_names_its_cause(server: DagServer, started: Started) -> None:
    """The error tells the node that failed from the one that was waited for."""
    cause_id = new_id()
    server.end(started.node_id, failure(NodeState.NODE_STATE_DEPENDENCY_FAILED, cause_id=cause_id))
    with pytest.raises(NodeFailed, match="depends on one that failed") as raised:
        started.instance.result()
    assert raised.value.cause_id == UUID(bytes=cause_id)


def test_a_cancelled_node_raises(server: DagServer, started: Started) -> None:
    """Waiting for what was stopped on request says so."""
    server.end(started.node_id, Outcome(state=NodeState.NODE_STATE_CANCELLED))
    with pytest.raises(InstanceCancelled, match=str(started.instance.instance_id)):
        started.instance.result()


@polling_ways
def test_without_waiting_a_failure_is_a_warning(
    server: DagServer,
    started: Started,
    way: Callable[[Any, Any], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without waiting, a value that will never come is None, and the log says why."""
    server.end(started.node_id, failure(NodeState.NODE_STATE_FAILED))
    assert way(started.instance, started.promise) is None
    assert "[WARNING] - m:C.f" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wait",
    [lambda instance: instance.result(timeout=0.05), lambda instance: asyncio.run(instance.aresult(timeout=0.05))],
)
def test_waiting_ends_with_its_timeout(started: Started, wait: Callable[[Any], object]) -> None:
    """A value that doesn't come in time is a timeout that names node and time."""
    with pytest.raises(ResultTimeout, match=r"had no value within 0\.05 s") as raised:
        wait(started.instance)
    assert raised.value.timeout_s == 0.05
    assert isinstance(raised.value, TimeoutError)


@pytest.mark.parametrize("timeout", [9e9, 1e10, math.inf, 10**400])
def test_a_long_time_is_not_over_at_once(server: DagServer, started: Started, timeout: float) -> None:
    """Times beyond those that gRPC knows are as long as they are."""
    threading.Timer(0.05, server.complete, (started.node_id, 1)).start()
    assert started.instance.result(timeout=timeout) == 1
    assert asyncio.run(started.instance.aresult(timeout=timeout)) == 1


@pytest.mark.parametrize("at", [1e300, -1e300, 1e18, math.inf, math.nan])
def test_a_time_that_is_no_date_is_the_last_or_the_first(at: float) -> None:
    """One instance with an odd time does not keep the others from being listed."""
    instance = instance_status(
        InstanceInfo(instance_id=new_id(), deadline_at=at, state=InstanceState.INSTANCE_STATE_RUNNING)
    )
    assert instance.deadline_at is not None
    assert instance.deadline_at.year == (1 if at < 0 else 9999)


@pytest.mark.parametrize("around", [nullcontext, inline, in_process_broker])
@pytest.mark.parametrize(("timeout", "kind"), [(math.nan, ValueError), ("1", TypeError), (True, TypeError)])
def test_what_is_no_time_is_refused(
    started: Started, around: Callable[[], AbstractContextManager[object]], timeout: Any, kind: type[Exception]
) -> None:
    """The error names the argument, however nodes are run."""
    with around():
        with pytest.raises(kind, match=r"^timeout must be a number of seconds, or None"):
            started.instance.result(timeout=timeout)
        with pytest.raises(kind, match=r"^timeout must be a number of seconds, or None"):
            asyncio.run(started.instance.aresult(timeout=timeout))


@pytest.mark.parametrize("wait", [lambda task: task.result(timeout=1.5), lambda task: asyncio.run(task.aresult(1.5))])
def test_many_values_share_one_timeout(server: DagServer, wait: Callable[[Any], object]) -> None:
    """Values that come one by one, each well within the timeout but not all of them, are a timeout all the same."""
    instance = DAGInstance(generate_instance_id(), Task())
    function = FunctionSpec("m:C.f", "", "q", "", None, b"")
    calls = [CapturedCall(new_id(), function, b"", ()) for _ in range(4)]
    submit(instance.instance_id.bytes, "m:C", calls)
    instance.__dict__["_dagorama_promise"] = [new_promise(call.node_id) for call in calls]
    timers = [
        threading.Timer(after_s, server.complete, (call.node_id, after_s))
        # The second long before all of them are late, the third long after that.
        for after_s, call in zip((0.4, 0.8, 2.2), calls, strict=False)
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(ResultTimeout) as raised:
        wait(instance)
    for timer in timers:
        timer.cancel()
        timer.join()
    assert raised.value.node_id == UUID(bytes=calls[2].node_id)


@ways
def test_an_unknown_node_is_refused(started: Started, way: Callable[[Any, Any], object]) -> None:
    """The broker's answer is told, with what was asked."""
    other = DAGInstance(generate_instance_id(), Task())
    promise = new_promise(new_id())
    other.__dict__["_dagorama_promise"] = promise
    with pytest.raises(BrokerRefused, match=str(promise.identifier)) as raised:
        way(other, promise)
    assert raised.value.code == "NOT_FOUND"


def call(node_id: bytes, arguments: bytes = b"") -> CapturedCall:
    """Makes a call by hand."""
    spec = FunctionSpec("m:C.f", "1", "q", "gpu", StaticRetry(2, 1), b"d")
    return CapturedCall(node_id, spec, arguments, ())


def test_functions_travel_once(server: DagServer) -> None:
    """A submit has each function once, and the calls in order."""
    first, other = call(new_id()), call(new_id())
    submit(new_id(), "m:C", [first, other, first._replace(node_id=new_id(), dependency_ids=(first.node_id,))])
    (request,) = server.submits
    rows = calls_in(request)
    assert [row.function for row in rows] == [0, 1, 0]
    assert [row.dependency_ids for row in rows] == [(), (), (first.node_id,)]
    function = request.functions[0]
    assert (function.name, function.code_version, function.queue, function.taint) == ("m:C.f", "1", "q", "gpu")
    assert (function.retry, function.definition_arguments) == (StaticRetry(2, 1).as_message(), b"d")


def test_an_id_with_another_body_is_refused(server: DagServer) -> None:
    """The same id may be sent again, but not for something else."""
    instance_id, node_id = new_id(), new_id()
    submit(instance_id, "", [call(node_id)])
    submit(instance_id, "", [call(node_id)])
    with pytest.raises(BrokerRefused, match=r"1 new nodes for instance .* \(ALREADY_EXISTS\)"):
        submit(instance_id, "", [call(node_id, b"other")])


def test_an_instance_can_be_looked_at(server: DagServer, started: Started) -> None:
    """The broker tells how an instance stands."""
    assert get_instance(started.instance.instance_id.bytes).definition == f"{__name__}:Task"


def start() -> object:
    """Starts an instance."""
    return Task()(1)


async def wait_async() -> object:
    """Waits for a node."""
    return await resolve_async(DAGInstance(UUID(int=1), Task()), new_promise(new_id()), wait_for_results=True)


def frames_of(error: BaseException) -> list[str]:
    """Names the functions that a traceback shows."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


ABSENT: list[Callable[[], object]] = [
    start,
    generate_instance_id,
    lambda: resolve(DAGInstance(UUID(int=1), Task()), new_promise(new_id())),
    lambda: resolve(DAGInstance(UUID(int=1), Task()), new_promise(new_id()), wait_for_results=True),
    lambda: asyncio.run(wait_async()),
]


def test_an_absent_broker_is_named_within_5_s(nobody: int) -> None:
    """Every request to a broker that isn't there ends in time, with host, port and the way out."""
    errors: list[BaseException] = []

    def ask(request: Callable[[], object]) -> None:
        try:
            request()
        except BaseException as error:
            errors.append(error)

    def ask_all() -> None:
        errors.clear()
        threads = [threading.Thread(target=ask, args=[request]) for request in ABSENT]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert least_s(ask_all, 5) < 5
    assert [type(error) for error in errors] == [BrokerUnavailable] * len(ABSENT)
    assert all(f"no broker answers at localhost:{nobody} (tried" in str(error) for error in errors)
    assert all("s; connection refused): " in str(error) for error in errors)
    assert all("start one with `dagorama broker`" in str(error) for error in errors)
    (started,) = [frames for error in errors if "start" in (frames := frames_of(error))]
    assert started[started.index("start") :] == ["start", "__call__", "call"]


def test_a_broker_that_comes_up_in_time_is_found(server: DagServer) -> None:
    """A start that finds no broker is repeated for a while."""
    server.stop()
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(start()))
    thread.start()
    server.start()
    thread.join()
    assert len(result) == len(server.submits) == 1


@waiting_ways
def test_waiting_rides_out_a_restart(server: DagServer, started: Started, way: Callable[[Any, Any], object]) -> None:
    """Who waits for a value while the broker restarts gets it afterwards."""

    def restart() -> None:
        assert server.watched.acquire(timeout=60)
        server.stop()
        server.start()
        assert server.watched.acquire(timeout=60)
        server.complete(started.node_id, "after all")

    thread = threading.Thread(target=restart)
    thread.start()
    assert way(started.instance, started.promise) == "after all"
    thread.join()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_waiting_for_a_broker_that_stays_away_ends(
    server: DagServer, started: Started, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """After `DAGORAMA_RECONNECT_S` a lost broker is given up."""
    monkeypatch.setenv("DAGORAMA_RECONNECT_S", "0.3")

    def stop() -> None:
        assert server.watched.acquire(timeout=60)
        server.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(BrokerUnavailable, match=str(server.port)):
        asyncio.run(started.instance.aresult()) if asynchronous else started.instance.result()
    thread.join()


def test_a_timeout_holds_while_the_broker_is_away(server: DagServer, started: Started) -> None:
    """Waiting ends in time also when the broker is lost meanwhile."""
    lost = threading.Event()

    def stop(within_s: float) -> None:
        if server.watched.acquire(timeout=within_s):
            server.stop()
            lost.set()

    for timeout_s in (0.5, 3, 30):  # a slow machine may take longer to begin with the wait
        thread = threading.Thread(target=stop, args=(timeout_s,))
        thread.start()
        with pytest.raises(ResultTimeout):
            started.instance.result(timeout=timeout_s)
        thread.join()
        if lost.is_set():
            break
    assert lost.is_set()


def test_what_listens_there_may_be_no_broker(server: DagServer) -> None:
    """A server that doesn't know a method is named; it may be of another version."""
    from dagorama.client.requests import ask
    from dagorama.client.steps import run
    from dagorama.v1.dag_pb2 import ListQueuesRequest

    to = connection()
    with pytest.raises(BrokerRefused, match=f"listens at localhost:{server.port}"):
        run(ask(to, to.dag.ListQueues, ListQueuesRequest(), "a list"))


def test_async_waiting_needs_no_threads(server: DagServer) -> None:
    """Hundreds wait in one event loop, without a thread for each, and the loop goes on meanwhile."""
    waiting = [Started() for _ in range(200)]
    before = set(threading.enumerate())

    async def wait() -> list[Any]:
        tasks = [asyncio.create_task(one.instance.aresult()) for one in waiting]
        for _ in waiting:
            await asyncio.to_thread(server.watched.acquire)
        new = set(threading.enumerate()) - before
        assert len([thread for thread in new if "ThreadPoolExecutor" not in thread.name]) < 20
        for number, one in enumerate(waiting):
            server.complete(one.node_id, number)
        return await asyncio.gather(*tasks)

    assert asyncio.run(wait()) == list(range(200))


def test_cancelled_waiting_is_over(server: DagServer, started: Started) -> None:
    """Cancelling a task that waits cancels its request, and the next one works."""

    async def wait() -> object:
        task = asyncio.create_task(started.instance.aresult())
        await asyncio.to_thread(server.watched.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.complete(started.node_id, 3)
        return await started.instance.aresult()

    assert asyncio.run(wait()) == 3


def test_resolving_works_inside_a_running_loop(server: DagServer, started: Started) -> None:
    """The blocking form may be used in a coroutine; it blocks."""
    server.complete(started.node_id, 4)

    async def body() -> object:
        return resolve(started.instance, started.promise, wait_for_results=True)

    assert asyncio.run(body()) == 4


def test_a_process_has_one_connection_to_a_broker(server: DagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads share one, and the environment is read at each use."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(connection())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {connection()}
    monkeypatch.setenv("DAGORAMA_PORT", "1")
    assert (connection().host, connection().port) == ("localhost", 1)


def test_the_address_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings the broker is on this machine, at its usual port."""
    monkeypatch.delenv("DAGORAMA_HOST", raising=False)
    monkeypatch.delenv("DAGORAMA_PORT", raising=False)
    assert broker_address() == ("localhost", 50051)


@pytest.mark.parametrize("port", ["abc", "-1", "0", "65536", "1.5"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    """The error names the setting."""
    monkeypatch.setenv("DAGORAMA_PORT", port)
    with pytest.raises(ValueError, match="DAGORAMA_PORT"):
        start()


def test_a_host_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment gives bytes that are no UTF-8; the error names the setting."""
    monkeypatch.setenv("DAGORAMA_HOST", "\udcff")
    with pytest.raises(ValueError, match="DAGORAMA_HOST must be text"):
        start()


def test_a_host_with_a_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where each of the two belongs, in place of a search for a host of that name."""
    monkeypatch.setenv("DAGORAMA_HOST", "example:50052")
    with pytest.raises(ValueError, match="name 'example' there, and 50052 in DAGORAMA_PORT"):
        start()


@pytest.mark.parametrize("host", ["::1", "fe80::1", "10.0.0.1", "dns:example"])
def test_a_host_may_have_colons(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """An IPv6 address is a host, and so is a name with a scheme of gRPC."""
    monkeypatch.setenv("DAGORAMA_HOST", host)
    assert host == broker_address()[0]


def test_a_forked_child_has_its_own_connection(server: DagServer, started: Started) -> None:
    """A child that was forked after the parent had connected can start and wait, and so can the parent afterwards."""
    server.complete(started.node_id, "both")
    assert started.instance.result() == "both"
    context: Any = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put((started.instance.result(), start() and os.getpid())))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert results.get() == ("both", child.pid)
    assert started.instance.result() == "both"
    assert len(server.submits) == 2


def test_a_large_value_comes_through(server: DagServer, started: Started) -> None:
    """No limit on the size of messages shows."""
    value = bytes(20_000_000)
    server.complete(started.node_id, value)
    assert started.instance.result() == value


def test_a_broker_that_passes_over_keys_and_hooks_is_refused(server: DagServer) -> None:
    """It answers as brokers before 0.2 do. The instance that it has begun is taken back, and the way out is named."""
    server.heeds = []
    mine = version("dagorama")
    before = (
        f"the broker at localhost:{server.port} is of an earlier version, and this program's dagorama of {mine}: it"
    )
    said = re.escape(f"{before} passes over the key; update the broker first")
    with instance_options(key="order-17"), pytest.raises(BrokerRefused, match=said) as key:
        Task()(1)
    with pytest.raises(BrokerRefused, match=re.escape(f"{before} passes over the hooks; update the broker")) as hooks:
        Hooked()()
    begun = [UUID(bytes=request.instance_id) for request in server.submits]
    assert [UUID(bytes=one) for one in server.cancelled] == begun
    for error, instance_id in zip((key, hooks), begun, strict=True):
        assert error.value.code == "UNIMPLEMENTED"
        assert f"instance {instance_id}, which it has begun without, was cancelled again" in str(error.value)


def test_what_a_broker_has_heeded_is_believed(server: DagServer) -> None:
    """One of another version that heeds only some is named by its version."""
    server.heeds = ["key"]
    with instance_options(key="order-17"):
        Task()(1)
        with pytest.raises(BrokerRefused, match=r"is of version 0\.1\.9, and this program"):
            Hooked()()
    assert len(server.cancelled) == 1
