"""Whatever goes wrong in a function is a failure of its node, which says what it was; the worker goes on."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.calls.ids import new_id
from dagorama.calls.payload import encode
from dagorama.client.broker import submit
from dagorama.definition import instance_of, resolve
from dagorama.errors import NodeFailed
from dagorama.models.promise import DAGPromise
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.launched import LaunchedWorkers
from dagorama.worker.processes.process import WorkerProcess
from dagorama_broker.launch import launch_broker
from tests import queries
from tests.queries import list_nodes, list_workers
from tests.scenarios.worker.worker_definitions import AsyncWork, Lopsided, Work


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    """Runs one worker for all tests of this module: none of them may take it down."""
    with launch_broker(port=0), LaunchedWorkers(1, WorkerOptions()) as (process,):
        yield process


HERE = Work.__module__


def run(case: str, *args: object) -> object:
    """Runs one method as a node and gives its value."""
    return Work()(case, *args)[0].result(timeout=60)


def failure_of(case: str, *args: object) -> NodeFailed:
    """Runs one method that must fail, and gives the failure."""
    with pytest.raises(NodeFailed) as raised:
        run(case, *args)
    return raised.value


def test_every_falsy_value_is_a_result(worker: WorkerProcess) -> None:
    """A value that is false is a value like any other."""
    values: list[object] = [0, "", [], False, None, 0.0, {}, b"", ()]
    assert repr(run("each", values)) == repr(values)


def test_an_exception_comes_back_with_its_traceback(worker: WorkerProcess) -> None:
    """A failure has the exception itself, and the user's frames without the worker's."""
    failure = failure_of("divide", 1, 0)
    assert (failure.exception_type, failure.exception_message) == ("ZeroDivisionError", "division by zero")
    assert isinstance(failure.__cause__, ZeroDivisionError)
    frames = [line for line in failure.remote_traceback.splitlines() if line.startswith("  File")]
    assert [line.rpartition(" in ")[2] for line in frames] == ["divide"]


def test_an_exception_of_an_async_function_comes_back(worker: WorkerProcess) -> None:
    """Asynchronous functions fail like others."""
    instance, _ = asyncio.run(AsyncWork()("fail"))
    with pytest.raises(NodeFailed) as raised:
        instance.result(timeout=60)
    failure = raised.value
    assert (failure.exception_type, failure.exception_message) == ("ValueError", "later")
    assert "in fail" in failure.remote_traceback


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        ("raise_unpicklable", f"{HERE}:Unpicklable", "held a lock"),
        ("raise_lopsided", f"{HERE}:Lopsided", "spoon is not in drawer"),
        ("raise_leaving", f"{HERE}:Leaving", "for good"),
        ("raise_wordless", f"{HERE}:Wordless", "(its message cannot be had: str() of it raised RuntimeError)"),
    ],
)
def test_an_exception_that_cannot_travel_is_told(worker: WorkerProcess, case: str, kind: str, message: str) -> None:
    """Of an exception that does not survive pickling, type, message and traceback come back."""
    failure = failure_of(case)
    assert (failure.exception_type, failure.exception_message) == (kind, message)
    assert not isinstance(failure.__cause__, Lopsided)
    assert case in failure.remote_traceback


@pytest.mark.parametrize(("case", "kind"), [("leave", "SystemExit"), ("interrupt", "KeyboardInterrupt")])
def test_a_function_that_would_end_the_process_fails(worker: WorkerProcess, case: str, kind: str) -> None:
    """`sys.exit()` and KeyboardInterrupt in a function end its node and not the worker."""
    assert failure_of(case).exception_type == kind
    assert run("pid") == worker.pid


def test_a_result_that_does_not_pickle_fails_for_good(worker: WorkerProcess) -> None:
    """The failure names the function and the part that does not encode; no retry policy applies."""
    failure = failure_of("give_lock")
    assert failure.exception_type == "dagorama.errors:PayloadError"
    assert f"the result of {HERE}:Work.give_lock: its part ['lock'][0], a lock" in failure.exception_message
    assert failure.attempts == 1


@pytest.mark.parametrize(
    ("kind", "attempts"), [(ConnectionError, 3), (KeyError, 3), (FileNotFoundError, 1), (ValueError, 1)]
)
@pytest.mark.parametrize("definition", [Work, AsyncWork])
def test_only_some_exceptions_are_retried(
    worker: WorkerProcess, tmp_path: Path, definition: type[Work | AsyncWork], kind: type[Exception], attempts: int
) -> None:
    """What is of a type in `retry_on`, and of none in `give_up_on`, has all its attempts; everything else has one."""
    trace = tmp_path / "trace"
    call = definition()("raise_noted", trace, kind)
    instance, _ = asyncio.run(call) if asyncio.iscoroutine(call) else call
    with pytest.raises(NodeFailed, match="not this time") as raised:
        instance.result(timeout=60)
    assert (raised.value.exception_type, len(trace.read_text().splitlines())) == (kind.__name__, attempts)


def test_a_failed_attempt_leaves_no_children(worker: WorkerProcess, tmp_path: Path) -> None:
    """Calls that a function made before it raised never come into being."""
    trace = tmp_path / "trace"
    assert failure_of("expand_then_fail", trace).exception_message == "after the call"
    run("pid")
    assert not trace.exists()


def submit_by_name(name: str, arguments: bytes) -> tuple[bytes, bytes]:
    """Submits a call of a function that this process need not know; gives the ids of instance and node."""
    spec = FunctionSpec(name=name, code_version="", queue="q", taint="", retry=None, definition_arguments=b"")
    instance_id, node_id = new_id(), new_id()
    submit(instance_id, "", [CapturedCall(node_id, spec, arguments, ())])
    return instance_id, node_id


def call_by_name(name: str, arguments: bytes) -> object:
    """Runs a function that this process need not know, and gives its value."""
    instance_id, node_id = submit_by_name(name, arguments)
    return resolve(instance_of(instance_id, Work()), DAGPromise(UUID(bytes=node_id)), wait_for_results=True)


NO_ARGUMENTS = encode(((), {}), what="nothing").data


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module:Task.run", "module 'no_such_module' cannot be imported in this process"),
        (f"{HERE}:Nobody.run", f"module {HERE!r} has no Nobody"),
        (f"{HERE}:Work.nothing", f"'nothing' of {HERE}:Work does not exist"),
        ("os:environ.clear", "os:environ is not a subclass of DAGDefinition"),
    ],
)
def test_a_function_that_is_not_here_waits_and_why_names_it(worker: WorkerProcess, name: str, problem: str) -> None:
    """Another worker may have it, so it is no failure and no attempt; the worker that can't run it goes on."""
    instance_id, node_id = submit_by_name(name, NO_ARGUMENTS)
    while (reasons := queries.why(instance_id, node_id).reasons)[0].kind != "lacks":
        pass
    (reason,) = reasons
    assert problem in reason.text
    assert f"It runs in {os.getcwd()}" in reason.text
    assert [one.rpartition(":")[2] for one in reason.workers] == [str(worker.pid)]
    (node,) = list_nodes(instance_id)
    assert (node.state, node.attempts) == ("ready", 0)
    assert run("pid") == worker.pid


def test_a_name_that_no_worker_could_follow_fails(worker: WorkerProcess) -> None:
    """The failure says what is wrong with it, and on which host that was seen; the worker stays up."""
    with pytest.raises(NodeFailed) as raised:
        call_by_name("os:getcwd", NO_ARGUMENTS)
    assert raised.value.exception_type == "dagorama.errors:UnknownFunction"
    assert "the name is malformed" in raised.value.exception_message
    assert socket.gethostname() in raised.value.exception_message
    assert run("pid") == worker.pid


@pytest.mark.parametrize("arguments", [b"", b"junk", encode(7, what="seven").data])
def test_arguments_that_do_not_decode_are_named_on_the_node(worker: WorkerProcess, arguments: bytes) -> None:
    """A worker that can't decode arguments says whose, and on which host; it stays up."""
    with pytest.raises(NodeFailed) as raised:
        call_by_name(f"{HERE}:Work.pid", arguments)
    assert raised.value.exception_type == "dagorama.errors:PayloadError"
    assert f"the arguments of {HERE}:Work.pid" in raised.value.exception_message
    assert socket.gethostname() in raised.value.exception_message
    assert run("pid") == worker.pid


def test_a_worker_with_imports_runs_nothing_else() -> None:
    """A worker that was told its modules gets no functions of others: they wait for one that has theirs."""
    with launch_broker(port=0), LaunchedWorkers(1, WorkerOptions(imports=("json",))):
        while not list_workers():
            pass
        instance, _ = Work()("pid")
        (reason,) = instance.why().reasons
        assert (reason.kind, f"start one with --import {HERE}, or without" in reason.text) == ("module", True)
        with LaunchedWorkers(1, WorkerOptions(imports=(HERE.rpartition(".")[0],))) as (process,):
            assert instance.result(timeout=60) == process.pid
