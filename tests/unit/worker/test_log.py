"""The worker's log holds nothing up, however long it takes to write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Event

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.payload import encode
from dagorama.logging import get_logger
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.log import WAITING_MAX, Log
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.work_server import work_server


class Task(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> None:
        raise ValueError

    @dagorama().syncfn
    def go_on(self) -> None:
        """Returns nothing."""


class Slow(logging.Handler):
    """Takes as long for each line as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.begun = Event()
        self.go = Event()
        self.all_written = Event()  #: as many as can wait, and the one before them

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.begun.set()
        assert self.go.wait(WAIT_S)
        self.lines.append(record.getMessage())
        if len(self.lines) > WAITING_MAX:
            self.all_written.set()


@pytest.fixture
def slow() -> Iterator[Slow]:
    """Give a handler of the program's."""
    handler = Slow()
    get_logger().addHandler(handler)
    yield handler
    handler.go.set()
    get_logger().removeHandler(handler)


def test_a_log_that_takes_long_holds_up_no_report_and_no_heartbeat(slow: Slow) -> None:
    """Nodes begin, end and are reported while a line about the first of them is being written."""
    nothing = encode(((), {}), what="the arguments").data
    with work_server() as server:
        worker = Worker(WorkerOptions(), host="localhost", port=server.port)
        worker.start()
        session = server.session()
        session.hello()
        session.welcome(lease_duration_s=0.03)
        session.grant(f"{__name__}:Task.entrypoint", (b"a" * 16, 1, nothing))
        assert session.results(1) == [(b"a" * 16, 1)]
        assert slow.begun.wait(WAIT_S)
        session.grant(f"{__name__}:Task.go_on", (b"b" * 16, 2, nothing))
        assert session.results(1) == [(b"b" * 16, 2)]
        assert session.requests.get(timeout=WAIT_S) is not None  # a heartbeat
        assert slow.lines == []
        slow.go.set()
        worker.stop()
        worker.wait_until_ended()
    (line,) = slow.lines
    assert "(" + f"{__name__}:Task.entrypoint) failed: ValueError" in line


def test_what_waits_to_be_written_is_bounded(slow: Slow) -> None:
    """Lines beyond the bound are left out, which is said in their place."""
    log = Log()
    log.warn("first")
    assert slow.begun.wait(WAIT_S)
    for number in range(WAITING_MAX + 5):
        log.warn("line %d", number)
    slow.go.set()
    log.close(WAIT_S)
    assert slow.lines == ["first", *(f"line {number}" for number in range(WAITING_MAX))]


def test_the_lines_that_are_left_out_are_counted(slow: Slow) -> None:
    """With the next line that is not."""
    log = Log()
    log.warn("first")
    assert slow.begun.wait(WAIT_S)
    for number in range(WAITING_MAX + 5):
        log.warn("line %d", number)
    slow.go.set()
    assert slow.all_written.wait(WAIT_S)
    log.warn("last")
    log.close(WAIT_S)
    assert slow.lines[-2:] == ["5 lines are left out here, as the log takes too long to write", "last"]


def test_what_cannot_be_written_does_not_end_the_log(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a handler raises; the next line is written."""
    slow.go.set()
    emit = slow.emit

    def emit_later(record: logging.LogRecord) -> None:
        if record.getMessage() == "first":
            raise SystemExit("no log")
        emit(record)

    monkeypatch.setattr(slow, "emit", emit_later)
    log = Log()
    log.warn("first")
    log.warn("second")
    log.close(WAIT_S)
    assert slow.lines == ["second"]
    assert "SystemExit: no log" in capsys.readouterr().err
