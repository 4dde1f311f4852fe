"""How a process of the worker's own ends where a node does not."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from types import FrameType
from typing import Any, cast

import pytest

from dagorama.code.policy import CodeMismatch
from dagorama.errors import BrokerUnavailable
from dagorama.worker.options import WorkerOptions
from dagorama.worker.owner import Owner
from dagorama.worker.shell import worker as worker_module
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.held import Function, Held
from dagorama.worker.shell.worker import LEAVE_S, LET_THROUGH_S, Worker
from tests.timing import WAIT_S

NODE = Held(b"n" * 16, 1, b"i", Function("m:C.f", b"", at_most_once=True), b"", 1, None)


class Left(BaseException):
    """Is raised where the process would end."""


class Noted(Owner):
    """Stands for the shell, the connector, the alarm and the owner: keeps what is done, in its order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.held: list[Held] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.done.append(" ".join([name, *map(str, args)]))

    def leaving(self, text: str) -> None:
        """Keep the text."""
        self.done.append(f"leaving {text}")

    def ended(self) -> None:
        """Keep that it has ended."""
        self.done.append("ended")

    def not_to_be_cut_off(self) -> Held | None:
        """Return the next node that must not be cut off."""
        return self.held.pop() if self.held else None

    def unavailable(self, waited_s: float) -> BrokerUnavailable:
        """Describe why there is no connection."""
        return BrokerUnavailable(host="h", port=1, waited_s=waited_s, detail="it is gone")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Keep what a worker does, and for how long it sleeps. It captures no output, as it is not begun either."""
    monkeypatch.setenv("DAGORAMA_LOGS", "0")
    found = Noted()

    def leave(status: int) -> None:
        found.done.append(f"exit {status}")
        raise Left

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(worker_module, "sleep", lambda seconds: found.done.append(f"sleep {seconds:g}"))
    return found


def made(noted: Noted, *, alarm: bool = True) -> Worker:
    """Make a worker whose parts only take note."""
    it = Worker(WorkerOptions(), host="h", port=1, owner=noted, alarm=cast(Alarm, noted) if alarm else None)
    it._shell = cast(Any, noted)
    it._connector = cast(Any, noted)
    return it


END = ["stop", "end_stream", "interrupt", f"sleep {LEAVE_S:g}", "exit 5"]


def test_reports_go_out_before_the_end(noted: Noted) -> None:
    """It takes no more nodes, says what there is to say, and does not wait for the main thread for ever."""
    it = made(noted)
    with pytest.raises(Left):
        it.leave(5)
    assert noted.done == ["drain", "interrupt", *END]
    assert it.exit_status == 5


def test_the_end_is_told_on_the_board(noted: Noted) -> None:
    """Before anything of it, so that the parent knows whose end it is."""
    it = made(noted)
    it._board = Board(1, get_context("forkserver"))
    with pytest.raises(Left):
        it.leave(5)
    assert it._board.is_meant(5)


def test_what_must_not_be_cut_off_is_let_through(noted: Noted) -> None:
    """It is said once, of the first; meanwhile the alarm waits."""
    noted.held = [NODE, NODE]
    with pytest.raises(Left):
        made(noted).leave(5)
    told = f"leaving takes no more work, and ends when node {'6e' * 4}-{'-'.join(['6e6e'] * 3)}-{'6e' * 6} (m:C.f) has"
    waits = ["put_off", f"sleep {LET_THROUGH_S:g}"]
    assert noted.done == ["drain", "interrupt", f"{told}, which is at_most_once", *waits, *waits, *END]


def test_a_worker_that_gives_up_stops_and_says_why(noted: Noted) -> None:
    """Whoever waits for it gets the reason."""
    it = made(noted)
    it.give_up(5.0)
    assert noted.done == ["stop", "cut", "interrupt"]
    it._run()
    assert noted.done[3:] == ["serve", "close", "ended"]
    with pytest.raises(BrokerUnavailable, match="it is gone"):
        it.wait()


class Serving(Noted):
    """Has the connector serve until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go = threading.Event()

    def serve(self) -> None:
        """Block."""
        self.begun.set()
        assert self.go.wait(WAIT_S)

    def release(self) -> None:
        """Let it end."""
        self.done.append("released")
        self.go.set()


@contextmanager
def interrupted_in(function: Any) -> Iterator[None]:
    """Press Ctrl-C once this thread rests in a function: nobody would expect it before, or after this block."""
    here, code = threading.get_ident(), function.__code__
    over = threading.Event()

    def press() -> None:
        seen: tuple[FrameType | None, int] = None, 0
        while not over.wait(0.001):
            frame = sys._current_frames()[here]
            before, seen = seen, (frame, frame.f_lasti)
            if seen == before and any(each.f_code is code for each, _ in traceback.walk_stack(frame)):
                signal.pthread_kill(here, signal.SIGINT)
                return

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_wait_that_was_interrupted_begins_anew() -> None:
    """Ctrl-C cuts the wait off, and not the worker: who then drains it and waits again waits for its end."""
    noted = Serving()
    it = made(noted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        it.start()
        assert noted.begun.wait(WAIT_S)
        with interrupted_in(Worker.wait_until_ended), pytest.raises(KeyboardInterrupt):
            it.wait_until_ended()
    finally:
        signal.signal(signal.SIGINT, before)
    threading.Thread(target=noted.release).start()
    it.wait_until_ended()
    noted.done.append("waited")
    assert [each for each in noted.done if each != "ended"] == ["released", "close", "waited"]


def test_who_drains_a_worker_ends_its_backoff(noted: Noted) -> None:
    """There may be nothing left to connect for."""
    made(noted, alarm=False).drain()
    assert noted.done == ["drain", "interrupt"]


def test_a_worker_begins_well(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a status of 0, and nodes of other versions waiting unless its options or the environment say otherwise."""
    it = made(noted)
    assert (it.exit_status, it._versions._default) == (0, CodeMismatch.WAIT)
    monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", "warn")
    assert made(noted)._versions._default is CodeMismatch.WARN
    chosen = Worker(WorkerOptions(code_mismatch=CodeMismatch.FAIL), host="h", port=1)
    assert chosen._versions._default is CodeMismatch.FAIL


def test_a_wrong_level_of_the_log_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by the first warning."""
    monkeypatch.setenv("DAGORAMA_LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match=r"DAGORAMA_LOG_LEVEL=.LOUD. is not a log level"):
        Worker(WorkerOptions(), host="h", port=1)
