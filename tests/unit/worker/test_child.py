"""What a worker process tells its parent, and how it ends, against a broker that does what each test says."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.payload import decode, encode, no_promises
from dagorama.v1.graph_pb2 import FunctionSpec
from dagorama.v1.work_pb2 import Grants, Lease, WorkResponse
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.child import run_child
from dagorama.worker.processes.exits import EXIT_CLOSED, EXIT_IMPORT_FAILED, EXIT_STOPPED
from dagorama.worker.processes.news import News, tell
from dagorama.worker.processes.process import WorkerProcess, start_worker
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.stopping import EXIT_CANCELLED
from tests.timing import WAIT_S
from tests.unit.worker.work_server import Session, WorkServer, work_server

NODE, OTHER = b"n" * 16, b"o" * 16
CHILDS_SIGNALS = (signal.SIGTERM, signal.SIGALRM)


class Inside(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> dict[str, Any]:
        return {
            "group": os.getpgid(0) == os.getpid(),
            "variable": os.environ.get("SAID"),
            "unset": "UNSAID" in os.environ,
            "alarm": signal.getsignal(signal.SIGALRM) is signal.SIG_DFL,
        }

    @dagorama().syncfn
    def hold(self, fifo: str) -> str:
        return Path(fifo).read_text()

    @dagorama().syncfn
    def register(self, path: str) -> None:
        atexit.register(Path(path).write_text, "at the end")

    @dagorama().syncfn
    def close(self) -> None:
        os.closerange(3, 256)

    @dagorama().syncfn
    def print(self) -> str:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
        os.close(writer)
        print("to nobody", flush=True)
        return "printed"

    @dagorama().syncfn
    def fail(self) -> None:
        raise ValueError("no stock")

    @dagorama().syncfn
    def fork(self, fifo: str) -> str:
        if os.fork() == 0:
            os.setsid()  # so that it does not end with the worker
            Path(fifo).read_text()
            os._exit(0)
        return "forked"

    @dagorama().syncfn
    def signals_of_a_child(self) -> list[bool]:
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, bytes(signal.getsignal(number) is signal.SIG_DFL for number in CHILDS_SIGNALS))
            os._exit(0)
        os.wait()
        return [bool(is_left) for is_left in os.read(reader, len(CHILDS_SIGNALS))]


class Bench:
    """A worker process, its broker, and what it has told."""

    def __init__(self, server: WorkServer, options: WorkerOptions, *, is_supervised: bool) -> None:
        self.server = server
        self.status, writer = Pipe(duplex=False)
        with writer:
            main: dict[str, object] | None = None if is_supervised else {}
            self.process: WorkerProcess = start_worker(options, status=writer, main=main)

    def news(self) -> tuple[News, str]:
        """Give what it tells next."""
        assert self.status.poll(WAIT_S)
        told: tuple[News, str] = self.status.recv()
        return told

    def welcome(self) -> Session:
        """Wait until it is ready, and welcome it."""
        assert self.news() == (News.READY, "")
        session = self.server.session()
        session.hello()
        session.welcome()
        connected = f"connected to the broker at localhost:{self.server.port}"
        assert self.news() == (News.CONNECTED, connected)
        return session

    def grant(self, session: Session, function: str, *args: object) -> None:
        """Grant a node."""
        arguments = encode((args, {}), what="the arguments").data
        session.grant(f"{__name__}:Inside.{function}", (NODE, 1, arguments))

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Signal it."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> int | None:
        """Wait for its end; give its exit code."""
        self.process.join(WAIT_S)
        return self.process.exitcode


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start worker processes, which end with the test."""
    made: list[Bench] = []
    with work_server() as server:
        monkeypatch.setenv("DAGORAMA_HOST", "localhost")
        monkeypatch.setenv("DAGORAMA_PORT", str(server.port))
        monkeypatch.setenv("SAID", "as it is now")

        def start(*, is_supervised: bool = False, **options: Any) -> Bench:
            made.append(Bench(server, WorkerOptions(**options), is_supervised=is_supervised))
            return made[-1]

        yield start
        for one in made:
            one.process.kill()
            one.process.join()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Make a file that a node can wait at."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def value(session: Session) -> object:
    """Give the value of the next report."""
    request = session.request()
    assert request is not None
    return decode(request.completions.values[0], no_promises)


def test_a_process_begins_as_its_parent_is_now(start: Any) -> None:
    """With its environment, in a group of its own; and Ctrl-C is its parent's affair."""
    it = start()
    session = it.welcome()
    it.signal(signal.SIGINT)
    it.grant(session, "entrypoint")
    assert value(session) == {"group": True, "variable": "as it is now", "unset": False, "alarm": True}
    session.close()
    again = it.server.session()
    again.hello()
    again.close()
    news = it.news()
    assert news[0] is News.DISCONNECTED
    assert "it ended the connection" in news[1]
    it.server.session().welcome()
    assert it.news()[0] is News.CONNECTED


def test_a_first_signal_drains_it(start: Any, tmp_path: Path) -> None:
    """It says so, and does at its end what was registered for that."""
    it = start()
    session = it.welcome()
    it.grant(session, "register", str(tmp_path / "said"))
    session.results(1)
    it.signal()
    request = session.request()
    assert request is not None
    assert request.draining
    session.send(WorkResponse(acknowledged=1))
    assert it.news() == (News.DRAINED, "")
    assert it.end() == 0
    assert (tmp_path / "said").read_text() == "at the end"


def test_a_second_signal_stops_it(start: Any, fifo: Path) -> None:
    """Whatever runs."""
    it = start()
    session = it.welcome()
    it.grant(session, "hold", str(fifo))
    with fifo.open("w"):
        it.signal()
        request = session.request()
        assert request is not None
        assert request.draining
        it.signal()
        assert it.end() == EXIT_STOPPED
        assert it.process.board
        assert it.process.board.is_meant(EXIT_STOPPED)


def test_a_supervisor_decides_about_the_second(start: Any, fifo: Path) -> None:
    """So what runs goes on."""
    it = start(is_supervised=True)
    session = it.welcome()
    it.grant(session, "hold", str(fifo))
    with fifo.open("w") as file:
        it.signal()
        request = session.request()
        assert request is not None
        assert request.draining
        it.signal()
        it.signal()
        file.write("to the end")
    assert value(session) == "to the end"


def test_what_must_not_be_cut_off_ends_before_its_process(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ends for another node; its parent hears of it, so that another can take its place."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "0.01")
    it = start(concurrency=2)
    session = it.welcome()
    fifos = [tmp_path / "a", tmp_path / "b"]
    for fifo in fifos:
        os.mkfifo(fifo)
    functions = [FunctionSpec(name=f"{__name__}:Inside.hold", at_most_once=once) for once in (True, False)]
    grants = Grants(
        node_ids=[NODE, OTHER],
        tokens=[1, 2],
        instance_ids=[b"i" * 16] * 2,
        functions=[0, 1],
        arguments=[encode(((str(fifo),), {}), what="the arguments").data for fifo in fifos],
        attempts=[1, 1],
    )
    session.send(WorkResponse(functions=functions, grants=grants))
    with fifos[0].open("w") as one, fifos[1].open("w"):
        session.send(WorkResponse(revocations=[Lease(node_id=OTHER, token=2)]))
        news, text = it.news()
        assert news is News.LEAVING
        assert text.startswith(f"takes no more work, and ends when node {UUID(bytes=NODE)}")
        one.write("to the end")
        one.close()
        while not (request := session.request()) or not request.HasField("completions"):
            assert request is not None
        assert decode(request.completions.values[0], no_promises) == "to the end"
        session.send(WorkResponse(acknowledged=request.sequence))
        assert it.end() == EXIT_CANCELLED


def test_a_forked_child_has_nothing_of_its_workers_signals(start: Any) -> None:
    """SIGTERM ends it, as any other program."""
    it = start()
    session = it.welcome()
    it.grant(session, "signals_of_a_child")
    assert value(session) == [True, True]


def test_lines_that_nobody_reads_fail_no_node(start: Any) -> None:
    """Whatever became of the process's output."""
    it = start()
    session = it.welcome()
    it.grant(session, "print")
    assert value(session) == "printed"


def test_an_error_that_ends_the_worker_ends_its_process(start: Any) -> None:
    """It is reported before; the process has not drained, and its status tells."""
    it = start(catch_exceptions=False)
    session = it.welcome()
    it.grant(session, "fail")
    assert session.results(1) == [(NODE, 1)]
    session.send(WorkResponse(acknowledged=1))
    assert it.end() == 1
    with pytest.raises(EOFError):
        it.status.recv()


def test_what_cannot_be_imported_is_told(start: Any) -> None:
    """With the status that says that another process would fare no better."""
    it = start(imports=("os", "no.such_module"))
    news, text = it.news()
    assert (news, text.partition(":")[0]) == (News.CANNOT_START, "no.such_module cannot be imported")
    assert it.end() == EXIT_IMPORT_FAILED


def test_what_else_keeps_it_from_starting_is_told_too(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the type of the error, such as of a setting that is none."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "soon")
    it = start()
    news, text = it.news()
    assert (news, text.partition("=")[0]) == (News.CANNOT_START, "ValueError: DAGORAMA_CANCEL_GRACE_S")
    assert it.end() == EXIT_IMPORT_FAILED


def test_a_process_whose_files_are_closed_ends(start: Any, tmp_path: Path) -> None:
    """It cannot go on, and says why where it still can."""
    it = start()
    session = it.welcome()
    it.grant(session, "close")
    assert it.end() in (EXIT_CLOSED, -signal.SIGABRT, -signal.SIGKILL)


def test_a_child_that_a_node_forks_does_not_speak_for_the_worker(start: Any, fifo: Path) -> None:
    """When the worker has ended its parent hears so, however long that child lives."""
    it = start()
    session = it.welcome()
    it.grant(session, "fork", str(fifo))
    with fifo.open("w"):
        assert value(session) == "forked"
        it.process.kill()
        with pytest.raises(EOFError):
            it.status.recv()


def _begin_blocked(*arguments: Any) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    run_child(*arguments)


def test_a_process_of_a_shielded_server_can_be_drained(start: Any) -> None:
    """The signal is blocked where it comes from."""
    it = start()
    it.welcome()
    reader, writer = Pipe(duplex=False)
    arguments = (WorkerOptions(), dict(os.environ), writer, Board(1, get_context("forkserver")), None)
    process = WorkerProcess(target=_begin_blocked, args=arguments)
    process.start()
    writer.close()
    assert reader.recv() == (News.READY, "")
    session = it.server.session()
    session.welcome()
    assert reader.recv()[0] is News.CONNECTED
    process.terminate()
    assert reader.recv() == (News.DRAINED, "")
    process.join(WAIT_S)
    assert process.exitcode == 0


def _start_and_end(writer: Connection, go: Connection) -> None:
    start_worker(WorkerOptions(), status=writer, main={})
    go.recv()
    os._exit(0)


def test_a_process_ends_with_its_parent(start: Any) -> None:
    """However that ended."""
    reader, writer = Pipe(duplex=False)
    go, end = Pipe(duplex=False)
    parent = WorkerProcess(target=_start_and_end, args=(writer, go))
    parent.start()
    writer.close()
    assert reader.recv() == (News.READY, "")
    end.send(None)
    parent.join(WAIT_S)
    told = [News.READY]
    with suppress(EOFError):  # when the worker has ended, too
        while True:
            told.append(reader.recv()[0])
    assert News.DRAINED not in told


def test_a_parent_that_is_gone_hears_nothing() -> None:
    """Its child is going to end as well."""
    reader, writer = Pipe(duplex=False)
    reader.close()
    tell(writer, News.READY)
    assert isinstance(writer, Connection)
    writer.close()
