"""Workers as child processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from time import monotonic

from dagorama.worker.child import run_child
from dagorama.worker.options import WorkerOptions

#: How long workers that are told to stop may go on with what runs.
STOP_GRACE_S = 5.0

_context = multiprocessing.get_context("forkserver")


class WorkerProcess(multiprocessing.Process):
    """A process that forks from a server, whatever start method the program has chosen.

    The server has imported what a worker needs and holds no connection, because gRPC and fork do not mix. So a child is
    there in some ten milliseconds instead of some hundred.
    """

    _start_method = "forkserver"
    _Popen = staticmethod(ForkServerProcess._Popen)  # type: ignore[assignment]  # typed as if only DefaultContext had one


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
    """Runs `n` worker processes for as long as the block lasts."""
    processes: list[WorkerProcess] = []
    try:
        for _ in range(n):
            processes.append(start_worker(options))  # noqa: PERF401  those that have started are stopped if one can't
        yield processes
    finally:
        stop_workers(processes)


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
    if code >= 0:
        return f"{who} exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"{who} was killed by {name}"
