"""What a child that a node forks has of the worker: nothing. Each test has a process of its own."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dagorama.worker.processes.process import WorkerProcess
from dagorama.worker.shell import forking

DONE = 7


def in_child(check: Callable[[], bool]) -> bool:
    """Fork; return what the child finds."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def is_nothing(number: int) -> bool:
    """Tell whether a descriptor leads nowhere."""
    found = os.fstat(number)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev


def descriptors() -> bool:
    """The worker's own are out of reach, others are not, and its parent keeps all; closed ones do not matter."""
    mine, other = socket.socketpair()
    closed, end = socket.socketpair()
    before = in_child(lambda: not is_nothing(mine.fileno()))
    forking.keep_from_forks(mine, closed)
    closed.close()
    end.close()
    number, left = mine.fileno(), other.fileno()
    opened = set(os.listdir("/dev/fd"))
    inside = in_child(
        lambda: (
            is_nothing(number)
            and not is_nothing(left)
            and not os.get_inheritable(number)
            and len(os.listdir("/dev/fd")) == len(opened)
        )
    )
    other.send(b".")
    return before and inside and mine.recv(1) == b"."


def by_either_version(port: int) -> socket.socket:
    """Connect with a socket for both versions of IP, where this machine has both."""
    try:
        mapped = socket.socket(socket.AF_INET6)
        mapped.connect(("::ffff:127.0.0.1", port))
    except OSError:
        return socket.create_connection(("127.0.0.1", port))
    return mapped


def connections() -> bool:
    """Those to the broker are out of reach; those to others, and what listens, are not."""
    with socket.create_server(("127.0.0.1", 0)) as broker, socket.create_server(("127.0.0.1", 0)) as another:
        here = [socket.create_connection(server.getsockname()) for server in (broker, another)]
        mapped = by_either_version(broker.getsockname()[1])
        forking.keep_connections_from_forks("127.0.0.1", broker.getsockname()[1])
        forking.keep_connections_from_forks("no such host", 1)
        numbers = [one.fileno() for one in (*here, mapped, broker)]
        return in_child(lambda: [is_nothing(number) for number in numbers] == [True, False, True, False])


def signals() -> bool:
    """A child handles them as any program does, with what its parent's thread had blocked, and nothing at its end."""
    forking.leave_signals_behind()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    atexit.register(os._exit, 99)

    def check() -> bool:
        atexit._run_exitfuncs()
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return (
            handlers == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
            and signal.SIGUSR1 in mask
            and not mask & {signal.SIGTERM, signal.SIGINT, signal.SIGALRM}
            and signal.set_wakeup_fd(-1) == -1
        )

    inside = in_child(check)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    kept = {signal.SIGUSR1, signal.SIGTERM} <= mask and signal.SIGINT not in mask
    atexit.unregister(os._exit)
    return inside and kept and signal.set_wakeup_fd(-1) == writer.fileno() and reader is not writer


@pytest.mark.parametrize("check", [descriptors, connections, signals])
def test_a_forked_child_has_nothing_of_the_worker(check: Callable[[], bool]) -> None:
    """Neither what it has open nor what it does at signals."""
    process = WorkerProcess(target=_exit_with, args=(check,))
    process.start()
    process.join(60)
    assert process.exitcode == DONE


def _exit_with(check: Callable[[], bool]) -> None:
    os._exit(DONE if check() else 1)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit(256 + 5), 5, ""),
        (SystemExit(1), 1, ""),
        (SystemExit("no stock"), 1, "no stock\n"),
        (ValueError("no"), 1, "ValueError: no\n"),
    ],
)
def test_a_child_that_comes_back_ends_as_a_program_does(
    error: BaseException | None, status: int, said: str, tmp_path: Path
) -> None:
    """With its status, its last words, and what it has registered for its end."""
    process = WorkerProcess(target=_leave, args=(error, tmp_path / "said"))
    process.start()
    process.join(60)
    assert (process.exitcode, (tmp_path / "said").read_text()) == (status, f"{said}at its end\n")


def _leave(error: BaseException | None, path: Path) -> None:
    sys.stderr = path.open("w")
    atexit.register(lambda: print("at its end", file=sys.stderr))
    forking.leave(error)
