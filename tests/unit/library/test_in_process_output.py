"""In process, too, output of nodes is kept, and shown as ever."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from typing import Any

import pytest

from dagorama import DAGDefinition, dagorama, testing
from dagorama.client.logs import LogLine, read_logs
from dagorama.retry import StaticRetry

log = logging.getLogger(__name__)


class Printing(DAGDefinition):
    """Nodes that write."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        print("entry")
        return self.collect([self.write(number) for number in range(count)])

    @dagorama().syncfn
    def write(self, number: int) -> int:
        print("out", number)
        log.warning("log %d", number)
        thread = threading.Thread(target=print, args=("thread", number))
        thread.start()
        thread.join()
        return number

    @dagorama().syncfn
    def collect(self, numbers: list[int]) -> int:
        return len(numbers)


class Retried(DAGDefinition):
    """A node that fails at first."""

    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def entrypoint(self, failed: list[int]) -> int:
        from dagorama.node_context import context

        print("attempt", context().attempt, end="")
        if context().attempt == 1:
            raise ValueError
        return 1


class Quiet(DAGDefinition):
    """A node that writes nothing."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        return 1


def kept(instance: Any) -> list[tuple[int, str, str]]:
    """Return attempt, source and text of each line."""
    found = list(read_logs(instance.instance_id.bytes))
    assert all(isinstance(line, LogLine) for line in found), found
    return [(line.attempt, line.source, line.text) for line in found if isinstance(line, LogLine)]


def test_output_is_kept_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, records and threads of each node, by node; and all is put back afterwards."""
    before = sys.stdout, sys.stderr, logging.Logger.callHandlers, subprocess.Popen.__init__
    with testing.in_process_broker():
        instance, _ = Printing()(2)
        assert instance.result() == 2
        written = [(1, "stdout", "entry")]
        for number in range(2):
            written += [
                (1, "stdout", f"out {number}"),
                (1, __name__, f"log {number}"),
                (1, "stdout", f"thread {number}"),
            ]
        assert kept(instance) == written
    assert capsys.readouterr().out == "entry\nout 0\nthread 0\nout 1\nthread 1\n"
    assert (sys.stdout, sys.stderr, logging.Logger.callHandlers, subprocess.Popen.__init__) == before


def test_attempts_are_told_apart() -> None:
    """Each has its own lines, also a last one without an end."""
    with testing.in_process_broker():
        instance, _ = Retried()([])
        assert instance.result() == 1
        assert kept(instance) == [(1, "stdout", "attempt 1"), (2, "stdout", "attempt 2")]


def test_a_stream_that_a_test_has_put_there_gets_all() -> None:
    """It is followed, as pytest has another for each part of a test."""
    with testing.in_process_broker():
        instance, _ = Printing()(0)
        other = io.StringIO()
        with redirect_stdout(other):
            assert instance.result() == 0
        assert other.getvalue() == "entry\n"
        assert kept(instance) == [(1, "stdout", "entry")]


def test_nothing_is_kept_where_logs_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on workers."""
    monkeypatch.setenv("DAGORAMA_LOGS", "0")
    with testing.in_process_broker():
        instance, _ = Printing()(1)
        assert instance.result() == 1
        assert kept(instance) == []


def test_grpc_is_not_imported() -> None:
    """The in-process broker works without it, as before."""
    code = (
        "import sys; from dagorama import testing; from tests.unit.library.test_in_process_output import Quiet\n"
        "with testing.in_process_broker(): Quiet()()[0].result()\n"
        "print('grpc' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
