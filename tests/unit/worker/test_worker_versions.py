"""What a worker does with nodes of other versions than its own, against a broker that does what each test says."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from dagorama.calls.payload import decode, encode, no_promises
from dagorama.code.policy import CodeMismatch
from dagorama.code_signature import calculate_function_hash
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.errors import CodeMismatchException, UnknownFunction
from dagorama.v1.graph_pb2 import FunctionSpec
from dagorama.v1.work_pb2 import FunctionVersion, Lease, WorkResponse
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.work_server import Session, WorkServer, work_server

NODES = [bytes([number]) * 16 for number in range(8)]
ARGUMENTS = encode(((), {}), what="nothing").data
ran: list[str] = []
gates = {name: Event() for name in ("first", "second")}


class Unready:
    """A setting, or a proxy, that cannot be read before something is configured."""

    def __get__(self, instance: object, owner: type) -> int:
        if instance is None:
            raise RuntimeError("not configured")
        return 7

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # which ABCs look for
            raise AttributeError(name)
        raise RuntimeError("not configured")


class Versioned(DAGDefinition):
    setting = Unready()

    @dagorama().syncfn
    def entrypoint(self) -> None:
        ran.append("entrypoint")

    @dagorama(code_mismatch="ignore").syncfn
    def lenient(self) -> None:
        ran.append("lenient")

    @dagorama(code_mismatch="wait").syncfn
    def patient(self) -> None:
        ran.append("patient")

    def plain(self) -> None:
        """Is not decorated."""

    @dagorama().asyncfn
    async def awaited(self) -> None:
        ran.append("awaited")

    @dagorama().syncfn
    def calling(self) -> object:
        return [self.entrypoint(), self.patient()]

    @dagorama().syncfn
    def hold(self, gate: str) -> None:
        assert gates[gate].wait(WAIT_S)


class Picky(DAGDefinition):
    """Tells when it is made."""

    def __init__(self, one: int = 0) -> None:
        ran.append("picky made")

    @dagorama().syncfn
    def entrypoint(self, later: object = None) -> None:
        ran.append("picky")


class Unstartable(DAGDefinition):
    """A definition without an entrypoint, which others inherit from."""

    @dagorama().syncfn
    def inherited(self) -> None:
        return None


def name_of(function: str) -> str:
    """Names a function."""
    return f"{__name__}:Versioned.{function}"


def version_of(function: str) -> str:
    """Gives the version that it has here."""
    decorated: Any = getattr(Versioned, function)
    return calculate_function_hash(decorated.original_fn, owner=Versioned)


@pytest.fixture
def server() -> Iterator[WorkServer]:
    """Runs a server, and forgets what nodes left behind."""
    ran.clear()
    with work_server() as running:
        yield running


@contextmanager
def connected(server: WorkServer, **options: Any) -> Iterator[tuple[Worker, Session]]:
    """Runs a worker with these options that is welcome."""
    worker = Worker(WorkerOptions(**options), host="localhost", port=server.port)
    worker.start()
    session = server.session()
    session.hello()
    session.welcome()
    yield worker, session
    worker.stop()
    worker.wait_until_ended()


def test_all_of_a_version_goes_back_and_the_rest_runs(server: WorkServer) -> None:
    """What is granted together and has not been started goes back together, with the version that there is here."""
    with connected(server) as (_, session):
        session.grant(name_of("entrypoint"), *((NODES[n], n, ARGUMENTS) for n in (1, 2, 3)), code_version="old")
        own = version_of("entrypoint")
        assert sorted(session.rejections(3)) == [(NODES[n], n, own) for n in (1, 2, 3)]
        session.grant(name_of("entrypoint"), (NODES[4], 4, ARGUMENTS), code_version=own)
        session.grant(name_of("entrypoint"), (NODES[5], 5, ARGUMENTS), code_version="")
        assert session.results(2) == [(NODES[4], 4), (NODES[5], 5)]
    assert ran == ["entrypoint", "entrypoint"]


def test_what_has_not_been_started_goes_back_at_once(server: WorkServer) -> None:
    """It does not wait until its turn comes in this worker, which may be long."""
    gates["first"].clear()
    gates["second"].clear()
    with connected(server) as (_, session):
        session.grant(name_of("hold"), (NODES[0], 1, encode((("first",), {}), what="a gate").data))
        session.grant(name_of("entrypoint"), (NODES[1], 2, ARGUMENTS), code_version="old")
        session.grant(name_of("hold"), (NODES[2], 3, encode((("second",), {}), what="a gate").data))
        session.grant(name_of("entrypoint"), *((NODES[n], n + 1, ARGUMENTS) for n in (3, 4)), code_version="old")
        session.send(WorkResponse(recalls=[Lease(node_id=NODES[4], token=5)]))
        request = session.request()  # the answer to the recall: the worker has taken in all of the above
        assert request is not None
        assert [lease.node_id for lease in request.hand_backs] == [NODES[4]]
        gates["first"].set()
        assert [node_id for node_id, _, _ in session.rejections(2)] == [NODES[1], NODES[3]]
        gates["second"].set()


def test_async_functions_are_compared_too(server: WorkServer) -> None:
    """Also once the worker knows that a function is asynchronous, and starts it on its event loop."""
    with connected(server) as (_, session):
        session.grant(name_of("awaited"), (NODES[0], 1, ARGUMENTS), code_version=version_of("awaited"))
        session.results(1)
        session.grant(name_of("awaited"), *((NODES[n], n, ARGUMENTS) for n in (1, 2)), code_version="old")
        assert len(session.rejections(2)) == 2
    assert ran == ["awaited"]


def test_calls_carry_the_versions_that_their_instance_was_started_with(server: WorkServer) -> None:
    """Also where this worker has another; a function that the release doesn't know has that of here."""
    release = f"calling {version_of('calling')}\nentrypoint edited"
    with connected(server) as (_, session):
        session.grant(name_of("calling"), (NODES[0], 1, ARGUMENTS), code_version=version_of("calling"), release=release)
        session.grant(name_of("calling"), (NODES[1], 2, ARGUMENTS))
        functions: list[FunctionSpec] = []
        while len(functions) < 4:
            request = session.request()
            assert request is not None
            functions += request.functions
    edited, same, *own = functions
    assert (edited.name, edited.code_version, edited.release) == (name_of("entrypoint"), "edited", release)
    assert (same.name, same.code_version, same.release) == (name_of("patient"), version_of("patient"), release)
    assert [one.code_version for one in own] == [version_of("entrypoint"), version_of("patient")]
    (release,) = {one.release for one in own}
    assert f"entrypoint {version_of('entrypoint')}" in release.splitlines()
    assert len(release.splitlines()) == 6


def test_other_code_that_runs_by_choice_calls_what_it_has(server: WorkServer) -> None:
    """The release is that of the code which the node was made with, and not of the one that runs."""
    release = "calling other\nentrypoint edited\npatient edited"
    with connected(server, code_mismatch=CodeMismatch.IGNORE) as (_, session):
        session.grant(name_of("calling"), (NODES[0], 1, ARGUMENTS), code_version="other", release=release)
        request = session.request()
        assert request is not None
    assert [one.code_version for one in request.functions] == [version_of("entrypoint"), version_of("patient")]


def test_what_was_rejected_is_announced_at_the_next_hello(server: WorkServer) -> None:
    """A broker that has restarted need not find out anew."""
    with connected(server) as (_, session):
        session.grant(name_of("entrypoint"), (NODES[0], 1, ARGUMENTS), code_version="old")
        session.rejections(1)
        session.close()
        hello = server.session().hello()
        assert (list(hello.function_names), list(hello.code_versions)) == (
            [name_of("entrypoint")],
            [version_of("entrypoint")],
        )
        assert list(hello.held) == []


def test_a_worker_that_drains_ends_when_all_was_rejected(server: WorkServer) -> None:
    """A node that goes back is nothing to wait for."""
    with connected(server, exit_when_drained=True) as (worker, session):
        session.grant(name_of("entrypoint"), (NODES[0], 1, ARGUMENTS), code_version="old")
        session.rejections(1)
        session.send(WorkResponse(drained=True))
        while session.request() is not None:
            pass
        worker.wait()


@pytest.mark.parametrize("chosen", ["option", "environment"])
@pytest.mark.parametrize("choice", [CodeMismatch.IGNORE, CodeMismatch.WARN])
def test_nodes_of_other_versions_run(
    server: WorkServer,
    choice: CodeMismatch,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With `warn` the worker says so once for each function; what a decorator says comes first."""
    monkeypatch.setattr(logging.getLogger("Dagorama"), "propagate", True)
    if chosen == "environment":
        monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", choice)
    with connected(server, code_mismatch=choice if chosen == "option" else None) as (_, session):
        session.grant(name_of("entrypoint"), *((NODES[n], n, ARGUMENTS) for n in (1, 2)), code_version="old")
        session.results(2)
        session.grant(name_of("patient"), (NODES[3], 3, ARGUMENTS), code_version="old")
        session.rejections(1)
    assert ran == ["entrypoint", "entrypoint"]
    own = version_of("entrypoint")
    said = f"{name_of('entrypoint')} has version {own} here, and nodes were made with old: it runs all the same"
    assert caplog.messages.count(said) == (choice is CodeMismatch.WARN)


ETL = """from dagorama import DAGDefinition, dagorama
from {module}_prices import PRICE


class Etl(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return PRICE
"""


@pytest.mark.parametrize("ran_before", [True, False])
@pytest.mark.parametrize("edited", ["", "_prices"])
def test_what_was_reset_tells_that_its_file_has_changed(
    server: WorkServer,
    edited: str,
    ran_before: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A node that takes any version runs, and the worker says once for its function that the old code does."""
    monkeypatch.setattr(logging.getLogger("Dagorama"), "propagate", True)
    monkeypatch.setattr("dagorama.worker.shell.versions.LOOK_INTERVAL_S", 0.0)
    monkeypatch.syspath_prepend(tmp_path)
    module = f"etl{edited}_{ran_before}".lower()
    (tmp_path / f"{module}.py").write_text(ETL.format(module=module))
    (tmp_path / f"{module}_prices.py").write_text("PRICE = 1\n")
    import_module(module)
    name, file = f"{module}:Etl.entrypoint", tmp_path / f"{module}{edited}.py"
    with connected(server) as (_, session):
        if ran_before:
            session.grant(name, (NODES[0], 1, ARGUMENTS))
            session.results(1)
            assert caplog.messages == []
        file.write_text(file.read_text() + "# edited\n")
        session.grant(name, *((NODES[n], n + 1, ARGUMENTS) for n in (1, 2)))
        session.results(2)
    (said,) = caplog.messages
    assert said.startswith(f"the file of {name} has changed since this worker loaded it: it runs the old code; restart")
    assert str(file) in said


def test_nodes_of_other_versions_fail_for_good(server: WorkServer) -> None:
    """The failure names both versions and the way out; a decorator that says something else comes first."""
    with connected(server, code_mismatch=CodeMismatch.FAIL) as (_, session):
        session.grant(name_of("entrypoint"), (NODES[0], 1, ARGUMENTS), code_version="old")
        request = session.request()
        assert request is not None
        (result,) = request.results
        session.grant(name_of("lenient"), (NODES[1], 2, ARGUMENTS), code_version="old")
        session.results(1)
    failure = result.failure
    assert (failure.type, failure.permanent) == ("dagorama.errors:CodeMismatchException", True)
    for part in ("version old", f"version {version_of('entrypoint')}", "--code-mismatch warn"):
        assert part in failure.message
    error = decode(failure.exception, no_promises)
    assert isinstance(error, CodeMismatchException)
    assert (error.function, error.node_version) == (name_of("entrypoint"), "old")
    assert ran == ["lenient"]


def test_functions_of_imported_modules_are_announced(server: WorkServer) -> None:
    """But for those that run in any version. Nothing is read from a class that may not be ready.

    Hooks run on every worker.
    """
    worker = Worker(WorkerOptions(imports=(__name__,)), host="localhost", port=server.port)
    worker.start()
    hello = server.session().hello()
    worker.stop()
    worker.wait_until_ended()
    announced = dict(zip(hello.function_names, hello.code_versions, strict=True))
    announced.pop(f"{__name__}:Picky.entrypoint")
    names = ("awaited", "calling", "entrypoint", "hold", "patient")
    assert announced == {name_of(name): version_of(name) for name in names}
    assert list(hello.modules) == [__name__, "dagorama.hooks"]


def test_a_function_of_another_module_is_not_run(server: WorkServer) -> None:
    """Whatever a broker grants: it is for whoever starts the worker to say what it runs."""
    with connected(server, imports=("json",)) as (_, session):
        session.grant(name_of("entrypoint"), (NODES[0], 1, ARGUMENTS))
        (rejection,) = session.rejected(1)
    assert "this worker runs only functions of json" in rejection.problem
    assert not ran


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_project:Job.run", "module 'no_such_project' cannot be imported"),
        (f"{__name__}:Gone.run", "has no Gone"),
        (f"{__name__}:Versioned.gone", "'gone' of .*:Versioned does not exist in this version of the code"),
        (f"{__name__}:Versioned.plain", "'plain' of .*:Versioned is not decorated"),
        (f"{__name__}:WorkServer.run", "is not a subclass of DAGDefinition"),
    ],
)
def test_what_this_code_lacks_goes_back(
    server: WorkServer,
    name: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With all of the function that has not been started; the worker says so once, and runs the rest."""
    monkeypatch.setattr(logging.getLogger("Dagorama"), "propagate", True)
    with connected(server) as (_, session):
        session.grant(name, *((NODES[n], n, ARGUMENTS) for n in (1, 2)), code_version="1")
        first = session.rejected(2)
        session.grant(name, (NODES[3], 3, ARGUMENTS), code_version="2")
        again = session.rejected(1)
        session.grant(name_of("entrypoint"), (NODES[4], 4, ARGUMENTS))
        session.results(1)
    assert sorted(one.lease.node_id for one in first) == [NODES[1], NODES[2]]
    for rejection in (*first, *again):
        assert (rejection.code_version, rejection.lacks) == ("", "")
        assert re.search(problem, rejection.problem)
        assert f"(It runs in {os.getcwd()}.)" in rejection.problem
    (said,) = caplog.messages
    assert re.search(f"^'{name}' cannot be run here: .*{problem}.* Its nodes wait for another worker$", said)


def test_versions_are_compared_before_anything_is_made(server: WorkServer) -> None:
    """The constructor of other code may not take the arguments, and may do what it should not."""
    arguments = encode(((1, 2), {"three": 3}), what="arguments").data
    with connected(server) as (_, session):
        session.grant(
            f"{__name__}:Picky.entrypoint",
            (NODES[0], 1, ARGUMENTS),
            code_version="old",
            definition_arguments=arguments,
        )
        (rejection,) = session.rejected(1)
    assert (rejection.code_version != "", rejection.problem) == (True, "")
    assert not ran


def test_what_one_node_needs_goes_back_alone(server: WorkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is not here, or a constructor's argument; its neighbours run, and what is broken fails."""
    monkeypatch.setattr(sys.modules[__name__], "Later", type("Later", (), {"__module__": __name__}), raising=False)
    later = encode(((), {"later": sys.modules[__name__].Later()}), what="x").data
    monkeypatch.delattr(sys.modules[__name__], "Later")
    unfit = encode(((1,), {"timeout": 5}), what="x").data
    name = f"{__name__}:Picky.entrypoint"
    version = calculate_function_hash(Picky.entrypoint, owner=Picky)
    with connected(server) as (_, session):
        session.grant(name, (NODES[0], 1, later), code_version=version)
        (class_,) = session.rejected(1)
        session.grant(name, (NODES[1], 2, ARGUMENTS), code_version=version)
        assert session.results(1) == [(NODES[1], 2)]
        session.grant(name, (NODES[2], 3, ARGUMENTS), code_version=version, definition_arguments=unfit)
        (argument,) = session.rejected(1)
        session.grant(name, (NODES[3], 4, b"broken"), code_version=version)
        session.results(1)
    assert (class_.lease.node_id, class_.lacks) == (NODES[0], f"{__name__}:Later")
    assert "Can't get attribute 'Later'" in class_.problem
    assert argument.lacks == f"{__name__}:Picky: got an unexpected keyword argument 'timeout'"
    assert "its constructor here does not take them" in argument.problem
    assert ran == ["picky made", "picky"]


def test_what_it_lacks_ends_a_worker_that_is_to_raise(server: WorkServer) -> None:
    """When the broker says that nothing else is left."""
    worker = Worker(WorkerOptions(catch_exceptions=False), host="localhost", port=server.port)
    worker.start()
    session = server.session()
    session.hello()
    session.welcome()
    session.grant("no_such_project:Job.run", (NODES[0], 1, ARGUMENTS), code_version="1")
    session.rejected(1)
    mismatch = FunctionVersion(name="no_such_project:Job.run", code_version="1")
    session.send(WorkResponse(drained=True, mismatch=mismatch))
    worker.wait_until_ended()
    with pytest.raises(UnknownFunction, match="no_such_project"):
        worker.wait()


def test_a_mismatch_is_raised_when_nothing_else_is_left(server: WorkServer) -> None:
    """Only where exceptions are not caught; such a worker asks the broker to tell."""
    for catches in (True, False):
        worker = Worker(WorkerOptions(catch_exceptions=catches), host="localhost", port=server.port)
        worker.start()
        session = server.session()
        assert session.hello().exit_when_mismatched is not catches
        session.welcome()
        mismatch = FunctionVersion(name=name_of("entrypoint"), code_version="old")
        session.send(WorkResponse(drained=True, mismatch=mismatch))
        worker.wait_until_ended()
        if catches:
            worker.wait()
            continue
        with pytest.raises(CodeMismatchException, match="made with version old of the code"):
            worker.wait()


@pytest.mark.parametrize("setting", ["sometimes", "WAIT"])
def test_a_wrong_setting_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting, its value, and what it may be."""
    monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", setting)
    with pytest.raises(ValueError, match=f"DAGORAMA_CODE_MISMATCH='{setting}' is none of wait, warn, ignore, fail"):
        Worker(WorkerOptions(), host="localhost", port=1)


def test_a_wrong_choice_of_a_decorator_is_refused() -> None:
    """When the module is imported, and not when a worker meets another version."""
    choice: Any = "sometimes"
    with pytest.raises(ValueError, match="code_mismatch='sometimes' is none of wait, warn, ignore, fail"):
        dagorama(code_mismatch=choice)
