"""What who waits is told: values that are there, what holds those that are not, and how instances have ended."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from dagorama import (
    DAGDefinition,
    InstanceCancelled,
    InstanceFailed,
    InstanceState,
    ResultTimeout,
    attach,
    dagorama,
    resolve,
    resolve_async,
)
from dagorama.calls.payload import encode
from dagorama.client import silence, waiting
from dagorama.client.connection import Connection, connection
from dagorama.client.settings import silence_s
from dagorama.client.silence import Silence
from dagorama.client.steps import Deadline, Pause, Steps, run
from dagorama.client.waiting import _Wait, ask_why
from dagorama.instance import resolution
from dagorama.logging import get_logger
from dagorama.models.promise import node_id_of
from dagorama.testing import inline
from dagorama.v1 import dag_pb2, graph_pb2
from tests.timing import least_s
from tests.unit.library.dag_server import DagServer


class Task(DAGDefinition):
    """A definition."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Returns a value, which the server makes up."""


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has been told of anything yet; and a broker on a slow machine has time to say what holds something."""
    monkeypatch.setattr(silence, "_asked_at", {})
    monkeypatch.setattr(waiting, "LAST_LOOK_S", 30.0)


def started() -> tuple[Any, Any, bytes]:
    """Starts an instance; gives it with its promise and its node's id."""
    instance, promise = Task()()
    return instance, promise, node_id_of(promise)


def reasons(*kinds: str) -> dag_pb2.WhyResponse:
    """Makes what a broker tells: a chain of reasons, the last of which holds the others."""
    node = dag_pb2.NodeInfo(
        node_id=bytes(16), instance_id=bytes(16), function="m:C.f", state=graph_pb2.NODE_STATE_READY
    )
    reason: list[dag_pb2.Reason] = []
    for kind in reversed(kinds):
        reason = [dag_pb2.Reason(kind=kind, text=f"it is {kind}", because=reason)]
    return dag_pb2.WhyResponse(node=node, reasons=reason)


WAYS: list[Callable[[Any, Any], object]] = [
    lambda instance, promise: instance.result(),
    lambda instance, promise: asyncio.run(instance.aresult()),
    lambda instance, promise: resolve(instance, promise, wait_for_results=True),
    lambda instance, promise: asyncio.run(resolve_async(instance, promise, wait_for_results=True)),
    lambda instance, promise: instance.wait(),
    lambda instance, promise: asyncio.run(instance.wait_async()),
]


@pytest.mark.parametrize("wait", [lambda one: one.result(timeout=0), lambda one: asyncio.run(one.aresult(timeout=0))])
def test_a_timeout_of_0_gives_what_is_there(server: DagServer, wait: Callable[[Any], object]) -> None:
    """Each time, also where nothing but the id is known of the instance."""
    instance, _, node_id = started()
    with pytest.raises(ResultTimeout, match="had no value within 0 s"):
        wait(instance)
    server.complete(node_id, 7)
    assert [wait(attach(instance.instance_id, Task())) for _ in range(50)] == [7] * 50


def test_a_timeout_says_what_holds_the_value(server: DagServer) -> None:
    """In the text and as a field, for nodes and for instances."""
    instance, _, node_id = started()
    server.why = reasons("waits_for", "no_worker")
    said = f"m:C.f ({UUID(int=0)}) is ready\n  waits_for: it is waits_for\n    no_worker: it is no_worker"
    for wait, node in ((instance.result, UUID(bytes=node_id)), (instance.wait, None)):
        with pytest.raises(ResultTimeout, match="; it goes on, and can be waited for again") as raised:
            wait(timeout=0.01)
        error = raised.value
        assert str(error).endswith(said)
        assert error.why is not None
        assert (str(error.why), error.node_id, error.broker_answers) == (said, node, True)


def test_a_timeout_is_soon_over_where_the_broker_is_gone(server: DagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a moment only, and that it did not answer is said."""
    monkeypatch.setattr(waiting, "LAST_LOOK_S", 0.2)
    instance, _, _ = started()
    server.stop()

    def wait() -> None:
        said = "the broker does not answer now, so what holds it is not known"
        with pytest.raises(ResultTimeout, match=said) as raised:
            instance.result(timeout=0.1)
        assert not raised.value.broker_answers

    assert least_s(wait, 2) < 2


def test_a_deadline_that_passes_while_it_is_asked_what_holds_the_value_is_over() -> None:
    """Nothing is waited for beyond it, however long that took."""
    now = 0.0
    look = Pause(0.0)

    class Asking(Silence):
        def rest_s(self) -> float:
            return 0.0

        def end(self, ask_why: object) -> Steps[None]:
            nonlocal now
            now += 2.0
            yield from ()

    def find_missing(until: Deadline | None) -> Steps[bytes | None]:
        yield look
        return None

    there = cast(Connection, SimpleNamespace(answered=True))
    wait = _Wait(there, b"i" * 16, (b"n" * 16,), find_missing, Asking(b"i" * 16), "watching")
    steps = wait.for_answer(cast(Any, None), object(), Deadline(1.0, lambda: now))
    assert next(steps) is look


@pytest.mark.parametrize("way", WAYS)
def test_a_long_wait_says_once_what_holds_it(
    server: DagServer,
    way: Callable[[Any, Any], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the words of `why`, as soon as anything holds it: while it runs there is nothing to say."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "0.05")
    told = threading.Semaphore(0)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda _: told.release())
    monkeypatch.setattr(get_logger(), "handlers", [*get_logger().handlers, handler])
    instance, promise, node_id = started()
    server.why = reasons("joins", "running")
    thread = threading.Thread(target=way, args=(instance, promise), daemon=True)
    thread.start()
    for _ in range(2):
        assert server.why_asked.acquire(timeout=60)
    assert caplog.records == []
    server.why = reasons("joins", "taint")
    assert told.acquire(timeout=60)
    server.complete(node_id, 1)
    server.end_instances(graph_pb2.INSTANCE_STATE_COMPLETED)
    thread.join()
    (record,) = caplog.records
    text = record.getMessage()
    assert (record.levelname, text.count("taint: it is taint")) == ("WARNING", 1)
    assert text.startswith(f"instance {UUID(int=0)}: nothing has come for ")


def test_thousands_that_wait_are_not_told_of_one_by_one(
    server: DagServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one time of silence the broker is asked about a handful of instances, and about each once."""
    monkeypatch.setattr(silence, "TOLD_MAX", 3)
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "60")
    server.why = reasons("no_worker")
    to = connection()
    silences = [Silence(bytes([number]) * 16) for number in range(10) for _ in range(5)]
    for one in silences:
        run(one.end(partial(ask_why, to, one.instance_id, b"")))
    assert (capsys.readouterr().err.count("[WARNING]"), server.asked_why) == (3, 3)
    assert [one.rest_s() for one in silences].count(math.inf) == 3


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan"])
def test_a_silence_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The error names the setting; infinity is silence for ever."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", text)
    with pytest.raises(ValueError, match=rf"^DAGORAMA_SILENCE_S='{text}' is not a number of seconds"):
        silence_s()
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "inf")
    assert silence_s() == math.inf


def test_an_instance_tells_how_it_stands(server: DagServer) -> None:
    """`state` is its state in small letters; `wait` returns or raises by it."""
    instance, _, node_id = started()
    assert instance.state == "running"
    server.failed = [
        dag_pb2.NodeInfo(
            node_id=node_id,
            instance_id=instance.instance_id.bytes,
            function="m:C.notify",
            state=graph_pb2.NODE_STATE_FAILED,
            attempts=2,
            failures=[dag_pb2.AttemptInfo(failure=graph_pb2.Failure(type="ValueError", message="the mail is down"))],
        )
    ]
    server.end_instances(graph_pb2.INSTANCE_STATE_FAILED)
    waits: list[Callable[[], object]] = [
        instance.wait,
        lambda: instance.wait(timeout=0),
        lambda: asyncio.run(instance.wait_async(timeout=5)),
    ]
    for wait in waits:
        with pytest.raises(InstanceFailed, match=r"1 of its nodes failed:\n  m:C.notify .* the mail is down") as raised:
            wait()
        (failure,) = raised.value.failures
        assert (failure.node_id.bytes, failure.attempts, raised.value.failed_count) == (node_id, 2, 1)
    server.end_instances(graph_pb2.INSTANCE_STATE_CANCELLED)
    for wait in waits:
        with pytest.raises(InstanceCancelled, match=f"instance {instance.instance_id} was cancelled"):
            wait()
    server.end_instances(graph_pb2.INSTANCE_STATE_COMPLETED)
    for wait in waits:
        assert wait() is None
    assert [instance.state, asyncio.run(instance.astate())] == [InstanceState.COMPLETED] * 2


class Stateful(DAGDefinition):
    """A definition with names of its own that an instance has too."""

    def __init__(self) -> None:
        """Has a state."""
        self.state = "mine"

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Gives what it has."""
        return self.state


class Lazy(DAGDefinition):
    """A definition that looks for what it may have."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Says what a node sees of the name."""
        return getattr(self, "state", "none")

    @dagorama().syncfn
    def waits(self) -> Any:
        """Waits for itself."""
        self.wait()  # type: ignore[attr-defined] # an instance has it


def test_the_users_own_state_is_the_users(dagorama_in_process: object) -> None:
    """Where the definition has one it goes before, and in a node there is no other."""
    mine: Any = Stateful()()[0]
    assert (mine.result(), mine.state) == ("mine", "mine")
    assert Lazy()()[0].result() == "none"
    with inline():
        assert Lazy()()[1] == "none"


def test_the_id_of_a_promise_alone_is_not_learned_by_pickling(
    dagorama_in_process: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever resolves a promise, and nothing around it, has no payload made of it; for what holds one there is."""
    encoded: list[object] = []

    def noting(value: object, *, what: str) -> tuple[bytes, tuple[bytes, ...]]:
        encoded.append(value)
        return encode(value, what=what)

    monkeypatch.setattr(resolution, "encode", noting)
    instance, promise = Lazy()()
    assert resolve(instance, promise, wait_for_results=True) == resolve(instance, promise)
    assert encoded == []
    assert resolve(instance, [promise], wait_for_results=True) == [resolve(instance, promise)]
    assert encoded == [[promise]]


def test_a_node_does_not_wait_for_its_own_instance(dagorama_in_process: object) -> None:
    """It would wait for ever; the error says what to do."""
    instance: Any = Lazy()()[0]
    promise = instance.waits()
    with pytest.raises(Exception, match="cannot be waited for by one of its own nodes"):
        resolve(instance, promise, wait_for_results=True)


def test_ctrl_c_is_shown_where_the_user_waits(server: DagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """How requests are made is none of the user's business; what runs of the user's meanwhile is."""

    instance, promise, _ = started()
    names: dict[str, Any] = {"__name__": "grpc"}  # where one comes that waits for an answer
    exec("def press(*_, **__):\n    raise KeyboardInterrupt", names)
    monkeypatch.setattr(connection(), "watch_one", names["press"])
    monkeypatch.setattr(connection().dag, "Submit", names["press"])
    waits: list[Callable[[], object]] = [
        instance.result,
        lambda: resolve(instance, promise, wait_for_results=True),
        lambda: Task()(),
    ]
    for wait in waits:
        with pytest.raises(KeyboardInterrupt) as raised:
            wait()
        assert len(traceback.extract_tb(raised.value.__traceback__)) <= 4


class Interrupted(DAGDefinition):
    """A definition in whose node somebody presses Ctrl-C."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Is interrupted."""
        raise KeyboardInterrupt


def test_ctrl_c_in_a_node_is_shown_where_it_came(dagorama_in_process: object) -> None:
    """In process, whoever waits runs the nodes, which are the user's."""
    with pytest.raises(KeyboardInterrupt) as raised:
        Interrupted()()[0].result()
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "entrypoint"


def test_a_wait_that_is_cancelled_shows_where_it_was(server: DagServer) -> None:
    """As Ctrl-C does, which cancels what `asyncio.run` runs."""
    instance, promise, _ = started()

    async def wait(waits: Callable[[], Any]) -> int:
        task = asyncio.ensure_future(waits())
        await asyncio.to_thread(server.watched.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return len(traceback.extract_tb(raised.value.__traceback__))

    waits = [instance.aresult, lambda: resolve_async(instance, promise, wait_for_results=True)]
    assert max(asyncio.run(wait(one)) for one in waits) <= 3
