"""How worker processes are ended, and what is said of it, with processes that a test lets live and die."""

from __future__ import annotations

import os
import signal
import subprocess
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, cast

import pytest

from dagorama.v1.work_pb2 import WorkerEnd
from dagorama.worker.processes import process as processes
from dagorama.worker.processes.exits import EXIT_STOPPED
from dagorama.worker.processes.process import WorkerProcess, _end_of, describe_exit, ended_for_node, stop_workers
from dagorama.worker.shell.stopping import EXIT_CANCELLED, EXIT_OVERRUN
from tests.unit.worker.fake_processes import Board, FakeProcess


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Count how often the brokers were told."""
    found: list[None] = []
    monkeypatch.setattr(processes, "settle", lambda: found.append(None))
    return found


def stop(*fakes: FakeProcess, grace_s: float = 20.0) -> None:
    """Stop processes."""
    stop_workers(cast("list[WorkerProcess]", fakes), grace_s=grace_s)


def test_who_drains_is_not_killed(settled: list[None]) -> None:
    """All are told before any is waited for; who has ended is told nothing."""
    one, other, ended = FakeProcess(1), FakeProcess(2), FakeProcess(3)
    ended.end(1)
    stop(one, other, ended)
    assert [fake.told for fake in (one, other, ended)] == [["terminate", "join"]] * 2 + [["join"]]
    assert settled == [None]


def test_who_takes_too_long_is_killed(settled: list[None]) -> None:
    """When the time is over; the others were not."""
    slow, quick = FakeProcess(1), FakeProcess(2)
    slow.ends_with = None
    stop(slow, quick, grace_s=0.01)
    assert [fake.told for fake in (slow, quick)] == [["terminate", "kill", "join"], ["terminate", "join"]]
    assert settled == [None]


def test_who_may_go_on_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rest of the time, however many end before."""
    now = iter([0.0, 1.0, 4.0, 5.0])
    waits: list[tuple[int, float]] = []
    slow, late = FakeProcess(1), FakeProcess(2)
    slow.ends_with = late.ends_with = None

    def wait(sentinels: list[object], timeout_s: float) -> None:
        waits.append((len(sentinels), timeout_s))
        late.end(0)

    monkeypatch.setattr(processes, "monotonic", lambda: next(now))
    monkeypatch.setattr(processes, "wait", wait)
    stop(slow, late, grace_s=5.0)
    assert waits == [(2, 4.0), (1, 1.0)]
    assert [fake.told for fake in (slow, late)] == [["terminate", "kill", "join"], ["terminate", "join"]]


def test_who_is_interrupted_kills_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would wait for them any more."""
    slow = FakeProcess(1)
    slow.ends_with = None

    def wait(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        stop(slow)
    assert slow.told == ["terminate", "kill", "join"]


def ended(exitcode: int, *, is_told_to_end: bool = False) -> Any:
    """Give a process that has ended so."""
    fake = FakeProcess(7)
    fake.is_told_to_end = is_told_to_end
    fake.end(exitcode)
    return fake


@pytest.mark.parametrize(
    ("exitcode", "is_told", "how", "on_purpose"),
    [
        (0, False, "exited with status 0", False),
        (1, True, "exited with status 1", False),
        (-signal.SIGKILL, False, "was killed by SIGKILL", False),
        (-signal.SIGKILL, True, "was killed by SIGKILL", True),
        (-signal.SIGTERM, True, "was killed by SIGTERM", True),
        (-signal.SIGSEGV, True, "was killed by SIGSEGV", False),
        (EXIT_STOPPED, False, "exited with status 143", True),
        (EXIT_OVERRUN, False, "was ended because a node overran its timeout", True),
        (EXIT_CANCELLED, False, "was ended because a node went on after it was cancelled", True),
    ],
)
def test_the_broker_is_told_how_it_ended(exitcode: int, is_told: bool, how: str, on_purpose: bool) -> None:
    """And whether that was for what it held, or because somebody wanted it."""
    process = ended(exitcode, is_told_to_end=is_told)
    assert _end_of(b"w", process) == WorkerEnd(worker_id=b"w", how=f"its process {how}", on_purpose=on_purpose)


@pytest.mark.parametrize(
    ("exitcode", "how"),
    [
        (EXIT_STOPPED, "exited with status 143"),
        (EXIT_OVERRUN, "exited with status 5"),
        (EXIT_CANCELLED, "exited with status 6"),
        (-signal.SIGALRM, "was killed by SIGALRM"),
    ],
)
def test_a_node_that_ends_its_process_as_a_worker_would_counts(exitcode: int, how: str) -> None:
    """By the same status or signal, which the worker had not told that it would end by."""
    process = ended(exitcode)
    process.board = Board(worker_ends=False)
    assert ended_for_node(process) == ""
    assert _end_of(b"w", process) == WorkerEnd(worker_id=b"w", how=f"its process {how}", on_purpose=False)
    process.board = None
    assert not _end_of(b"w", process).on_purpose


def test_what_it_ran_is_said() -> None:
    """As far as its board tells."""
    process = ended(1)
    process.board.running = lambda: ["node 1 (f)", "node 2 (g)"]
    assert describe_exit(process) == "worker process 7 exited with status 1 while it ran node 1 (f), node 2 (g)"
    process.board = None
    assert describe_exit(process) == "worker process 7 exited with status 1"


def _wait(reader: Connection) -> None:
    reader.recv()


def test_who_looks_at_a_process_is_not_held_up() -> None:
    """Who waits for its end is."""
    reader, writer = Pipe(duplex=False)
    process = WorkerProcess(target=_wait, args=(reader,))
    process.start()
    assert process.is_alive()
    writer.send("go on")
    process.join()
    assert (process.exitcode, process.is_alive()) == (0, False)


def _start_a_program(writer: Connection) -> None:
    os.setpgid(0, 0)
    subprocess.Popen(["sleep", "3600"], pass_fds=[writer.fileno()])
    os._exit(1)


def test_programs_that_its_nodes_have_started_end_with_it() -> None:
    """They would go on for nobody."""
    reader, writer = Pipe(duplex=False)
    process = WorkerProcess(target=_start_a_program, args=(writer,))
    process.start()
    writer.close()
    process.join()
    with pytest.raises(EOFError):
        reader.recv()


def test_who_was_told_to_end_is_known() -> None:
    """Through its own object, also where that is killed."""
    for end in WorkerProcess.terminate, WorkerProcess.kill:
        process = WorkerProcess(target=signal.pause)
        process.start()
        assert not process.is_told_to_end
        end(process)
        assert process.is_told_to_end
        process.join(60)
        assert process.exitcode in (-signal.SIGTERM, -signal.SIGKILL)
