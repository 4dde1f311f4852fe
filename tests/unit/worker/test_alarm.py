"""The kernel's timer. Each test has a process that it may end."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from time import monotonic

import pytest

from dagorama.worker.processes.process import WorkerProcess, describe_exit
from dagorama.worker.shell.alarm import ALARM_AFTER_ONCE_S, Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.held import Function, Held

CALM = 3  #: the status of a process that the alarm let live


def node(timeout_s: float, *, at_most_once: bool = False) -> Held:
    """Makes a node whose time begins now."""
    function = Function("m:C.f", b"", timeout_s, at_most_once=at_most_once)
    return Held(b"n" * 16, 1, b"i" * 16, function, b"", 1, None)


def rest() -> None:
    """Waits, whatever the main thread's signals do meanwhile; then exits."""
    until = monotonic() + 20
    while monotonic() < until:
        pass
    os._exit(CALM)


def leave(at_least_s: float) -> None:
    """Exits, calmly if the kernel would have let this process live for so long: nobody has to wait for that."""
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    os._exit(CALM if left_s > at_least_s else 1)


def overrun() -> None:
    """Goes on after its deadline, although this process was told to ignore the alarm."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    Alarm.take_signal()
    Alarm().watch(node(0.1))
    rest()


def one_of_two() -> None:
    """The earlier deadline counts, whichever was watched first."""
    alarm = Alarm()
    alarm.watch(node(60))
    alarm.watch(node(0.1))
    rest()


def in_time() -> None:
    """Ends before its deadline; the other has not come to its own."""
    alarm = Alarm()
    short = node(5)
    alarm.watch(node(60))
    alarm.watch(short)
    alarm.forget(short)
    alarm.forget(short)
    leave(30)


def patient() -> None:
    """May go on for a while after its deadline."""
    Alarm().watch(node(5), grace_s=60)
    leave(30)


def beside_one_that_runs_once() -> None:
    """Is given longer, for the other's sake."""
    alarm = Alarm()
    alarm.watch(node(5))
    alarm.watch(node(0, at_most_once=True))
    leave(5 + ALARM_AFTER_ONCE_S / 2)


def after_one_that_ran_once() -> None:
    """Is not, once the other has ended."""
    alarm = Alarm()
    once = node(0, at_most_once=True)
    alarm.watch(node(0.1))
    alarm.watch(once)
    alarm.forget(once)
    rest()


def runs_once_itself() -> None:
    """Ends like any other, as it has failed."""
    Alarm().watch(node(0.1, at_most_once=True))
    rest()


def put_off() -> None:
    """Is looked after by the worker itself, which goes on."""
    alarm = Alarm()
    held = node(2)
    alarm.watch(held)
    alarm.put_off()
    alarm.watch(node(2))
    leave(ALARM_AFTER_ONCE_S / 2)


def boundless() -> None:
    """Has a deadline that the kernel cannot count to."""
    Alarm().watch(node(1e300))
    leave(1e6)


@pytest.mark.parametrize(
    ("run", "exitcode"),
    [
        (overrun, -signal.SIGALRM),
        (one_of_two, -signal.SIGALRM),
        (in_time, CALM),
        (patient, CALM),
        (boundless, CALM),
        (beside_one_that_runs_once, CALM),
        (after_one_that_ran_once, -signal.SIGALRM),
        (runs_once_itself, -signal.SIGALRM),
        (put_off, CALM),
    ],
)
def test_the_alarm_ends_who_overruns(run: Callable[[], None], exitcode: int) -> None:
    """A node that runs on after its deadline ends the process; one that does not leaves no alarm behind."""
    process = WorkerProcess(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == exitcode


def watched(board: Board, timeout_s: float, rings_s: float) -> None:
    """Watches a node, which sets an alarm of its own if it is to ring before that."""
    Alarm.take_signal()
    Alarm(board).watch(node(timeout_s))
    if rings_s:
        signal.setitimer(signal.ITIMER_REAL, rings_s)
    while True:
        signal.pause()


@pytest.mark.parametrize(
    ("timeout_s", "rings_s", "how"),
    [(0.1, 0.0, "was ended because a node overran its timeout"), (3600.0, 0.1, "was killed by SIGALRM")],
    ids=["of the worker", "of the node"],
)
def test_an_alarm_is_described(timeout_s: float, rings_s: float, how: str) -> None:
    """Who reads the log learns what ended the process, and is not told of a timeout that was not over."""
    board = Board(1, multiprocessing.get_context("forkserver"))
    process = WorkerProcess(target=watched, args=(board, timeout_s, rings_s))
    process.start()
    process.board = board
    process.join(60)
    assert describe_exit(process) == f"worker process {process.pid} {how}"
