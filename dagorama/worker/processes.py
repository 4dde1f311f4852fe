"""Workers as child processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import popen_forkserver
from multiprocessing.connection import Connection, wait
from time import monotonic

from dagorama.logging import get_logger
from dagorama.worker.child import ENDED_FOR_NODE, run_child
from dagorama.worker.options import WorkerOptions

#: How long workers that are told to stop may go on with what runs.
STOP_GRACE_S = 5.0

_context = multiprocessing.get_context("forkserver")


class _Popen(popen_forkserver.Popen):
    """May be polled by several threads: how a process ended can be read only once."""

    def __init__(self, process: multiprocessing.Process) -> None:
        self._polling = threading.Lock()
        super().__init__(process)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Returns the exit code; None, and only with this flag, if there is none as yet."""
        if flag != os.WNOHANG and self.returncode is None:
            wait([self.sentinel])
        with self._polling:
            return super().poll(os.WNOHANG)


class WorkerProcess(multiprocessing.Process):
    """A process that forks from a server, whatever start method the program has chosen.

    The server has imported what a worker needs and holds no connection, because gRPC and fork do not mix. So a child is
    there in some ten milliseconds instead of some hundred.
    """

    _start_method = "forkserver"
    _Popen = staticmethod(_Popen)  # type: ignore[assignment]  # typed as if only DefaultContext had one


def start_worker(options: WorkerOptions, *, status: Connection | None = None) -> WorkerProcess:
    """Starts one worker process with the environment as it is now. Whoever calls must `stop_workers` it.

    For `status` see `run_child`. Only a supervisor gives one, and a program that is a supervisor forks nothing else: so
    its server is shielded from SIGTERM.
    """
    _context.set_forkserver_preload([__name__] if status is None else [__name__, "dagorama.worker.shield"])
    process = WorkerProcess(target=run_child, args=(options, dict(os.environ), status), name="dagorama-worker")
    process.start()
    return process


@contextmanager
def running_workers(n: int, options: WorkerOptions) -> Iterator[list[WorkerProcess]]:
    """Runs `n` worker processes for as long as the block lasts, and gives them.

    One that has to end because a node does not stop is replaced, in the list too.
    """
    processes: list[WorkerProcess] = []
    with ExitStack() as stack:
        stack.callback(stop_workers, processes)
        for _ in range(n):
            processes.append(start_worker(options))  # noqa: PERF401  those that have started are stopped if one can't
        stack.enter_context(_replacing(processes, options))
        yield processes


@contextmanager
def _replacing(processes: list[WorkerProcess], options: WorkerOptions) -> Iterator[None]:
    """Replaces those that end for a node's sake, for as long as the block lasts."""
    stop, stopping = multiprocessing.Pipe()
    thread = threading.Thread(
        target=_replace, args=(processes, options, stopping), name="dagorama-replace", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.close()
        thread.join()
        stopping.close()


def _replace(processes: list[WorkerProcess], options: WorkerOptions, stopping: Connection) -> None:
    alive = {process.sentinel: place for place, process in enumerate(processes)}
    while stopping not in (ready := wait([stopping, *alive])):
        for sentinel in ready:
            assert isinstance(sentinel, int)
            place = alive.pop(sentinel)
            if processes[place].exitcode in ENDED_FOR_NODE:
                get_logger().warning("%s; another one starts now", describe_exit(processes[place]))
                processes[place] = start_worker(options)
                alive[processes[place].sentinel] = place


def stop_workers(processes: Sequence[WorkerProcess], *, grace_s: float = STOP_GRACE_S) -> None:
    """Drains workers, kills those that are not through with it after `grace_s` seconds, and waits for all to end."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = monotonic() + grace_s
    alive = [process for process in processes if process.is_alive()]
    while alive and (left_s := deadline - monotonic()) > 0:
        wait([process.sentinel for process in alive], left_s)
        alive = [process for process in alive if process.is_alive()]
    for process in alive:
        process.kill()
    for process in processes:
        process.join()


def describe_exit(process: WorkerProcess) -> str:
    """Says how an ended process ended, such as "worker process 4711 was killed by SIGSEGV"."""
    code = process.exitcode or 0
    who = f"worker process {process.pid}"
    if code in ENDED_FOR_NODE:
        return f"{who} was ended because {ENDED_FOR_NODE[code]}"
    if code >= 0:
        return f"{who} exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"{who} was killed by {name}"
