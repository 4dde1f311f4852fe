"""Workers as child processes."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver, popen_forkserver, reduction, spawn, util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import set_spawning_popen
from time import monotonic
from typing import TYPE_CHECKING, Any

from dagorama.calls.ids import new_id
from dagorama.running.belonging import WORKER_NAME
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.exits import ENDED_FOR_NODE, EXIT_STOPPED
from dagorama.worker.processes.main_module import split_preparation
from dagorama.worker.processes.vouching import settle, vouch_for
from dagorama.worker.shell.board import Board

if TYPE_CHECKING:
    from dagorama.v1.work_pb2 import WorkerEnd

#: How long workers that are told to stop may go on with what runs.
STOP_GRACE_S = 5.0

#: What the server that processes are forked from imports, in this order: all that each of them needs, but for users'
#: modules. Imported by the processes themselves, it would take more than half of the time in which one starts.
PRELOADED = (
    "dagorama.worker.processes.without_fork_handlers",
    __name__,
    "dagorama.worker.processes.child",
    "multiprocessing.sharedctypes",
    "grpc.experimental",
    "dagorama.decorators",
    "dagorama.runner",
    "dagorama.worker.processes.frozen",
)

_context = multiprocessing.get_context("forkserver")


class _Popen(popen_forkserver.Popen):
    """A process that several threads may poll: its exit code can be read only once."""

    def __init__(self, process: multiprocessing.Process) -> None:
        #: Who looks after it polls it, who vouches for it, and who stops it.
        self._polling = threading.Lock()
        # What the base class does, but for flushing standard output and error: the server has none of what is in them,
        # and a log without a reader would keep a worker from being replaced.
        self._fds = []
        self.returncode = None
        self.finalizer = None  # type: ignore[assignment]  # as the base class has it, until it launches
        self._launch(process)

    _fds: list[int]  #: of the base class, which its stubs do not tell

    def _launch(self, process_obj: multiprocessing.Process) -> None:
        """Do the same as the base class, but leave the main module to the worker: see `main_module`."""
        _, preparation = split_preparation(spawn.get_preparation_data(process_obj.name))
        told = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, told)
            reduction.dump(process_obj, told)
        finally:
            set_spawning_popen(None)
        self.sentinel, to_child = forkserver.connect_to_new_process(self._fds)
        # The child ends when this end is closed, which is when this process has ended.
        parent_sentinel = os.dup(to_child)
        ends = (parent_sentinel, self.sentinel)
        self.finalizer = util.Finalize(self, util.close_fds, ends)  # type: ignore[attr-defined]
        with open(to_child, "wb") as to:
            to.write(told.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; None, and only with this flag, if there is none as yet."""
        if flag != os.WNOHANG and self.returncode is None:
            wait([self.sentinel])
        with self._polling:
            if self.returncode is None and super().poll(os.WNOHANG):
                # Programs of its nodes are in its group. They would go on for nobody, beside the next attempt's.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
            return self.returncode


class WorkerProcess(multiprocessing.Process):
    """A process that forks from a server, whatever start method the program has chosen.

    The server has imported what a worker needs and holds no connection, because gRPC and fork do not mix. So a child is
    there in some ten milliseconds instead of some hundred.
    """

    _start_method = "forkserver"
    _Popen = staticmethod(_Popen)  # type: ignore[assignment]  # typed as if only DefaultContext had one

    #: What it runs.
    board: Board | None = None
    #: Whether the program itself has ended it, through this object.
    is_told_to_end = False

    def terminate(self) -> None:
        """Send SIGTERM, which drains the worker."""
        self.is_told_to_end = True
        super().terminate()

    def kill(self) -> None:
        """Send SIGKILL, which ends the worker at once."""
        self.is_told_to_end = True
        super().kill()


def start_worker(
    options: WorkerOptions, *, status: Connection, main: Mapping[str, object] | None, asked: Connection | None = None
) -> WorkerProcess:
    """Start one worker process with the environment as it is now. The caller must `stop_workers` it.

    For `status`, `main` and `asked` see `run_child`. Only a supervisor gives no `main`, and a program that is a
    supervisor forks nothing else: so its server is shielded from SIGTERM.
    """
    shield = [] if main is not None else ["dagorama.worker.processes.shield"]
    _context.set_forkserver_preload([*PRELOADED, *shield])
    options = replace(options, worker_id=new_id())
    board = Board(options.concurrency, _context)
    arguments = (options, dict(os.environ), status, board, main, asked)
    process = WorkerProcess(target=_be_worker, args=arguments, name=WORKER_NAME)
    process.start()
    process.board = board
    vouch_for(options.worker_id, process, partial(_end_of, options.worker_id, process), forks=main is not None)
    return process


def _be_worker(*arguments: Any) -> None:
    """Be a worker, in its process. The one that starts it needs nothing of all that a worker imports."""
    from dagorama.worker.processes.child import run_child

    run_child(*arguments)


def _end_of(worker_id: bytes, process: WorkerProcess) -> WorkerEnd:
    """Describe how a process has ended, and whether it did so on purpose."""
    from dagorama.v1.work_pb2 import WorkerEnd  # as it is told to the broker: see `Voucher`

    code = process.exitcode
    told = code in (-signal.SIGKILL, -signal.SIGTERM) and process.is_told_to_end
    stopped = code == EXIT_STOPPED and process.board is not None and process.board.is_meant(code)
    how = f"its process {describe_exit(process).partition(f'{process.pid} ')[2]}"
    return WorkerEnd(worker_id=worker_id, how=how, on_purpose=told or stopped or bool(ended_for_node(process)))


def ended_for_node(process: WorkerProcess) -> str:
    """Return why a worker has ended its process for the sake of a node; "" where it has not, or lives."""
    code = process.exitcode
    is_meant = process.board is not None and process.board.is_meant(code)
    return ENDED_FOR_NODE.get(code or 0, "") if is_meant else ""


def stop_workers(processes: Sequence[WorkerProcess], *, grace_s: float = STOP_GRACE_S) -> None:
    """Drain workers, kill any that is not through with it after `grace_s` seconds, and wait for all to end.

    If it is interrupted, it kills them at once.
    """
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = monotonic() + grace_s
    alive = [process for process in processes if process.is_alive()]
    try:
        while alive and (left_s := deadline - monotonic()) > 0:
            wait([process.sentinel for process in alive], left_s)
            alive = [process for process in alive if process.is_alive()]
    finally:  # also where somebody presses Ctrl-C again: nobody would wait for them any more but the interpreter's end
        for process in alive:
            process.kill()
        for process in processes:
            process.join()
    settle()


def describe_exit(process: WorkerProcess) -> str:
    """Describe how a process has ended, such as "worker process 4711 was killed by SIGSEGV while it ran node ..."."""
    code = process.exitcode or 0
    nodes = process.board.running() if process.board else []
    running = f" while it ran {', '.join(nodes)}" if nodes else ""
    who = f"worker process {process.pid}"
    if why := ended_for_node(process):
        return f"{who} was ended because {why}{running}"
    if code >= 0:
        return f"{who} exited with status {code}{running}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"{who} was killed by {name}{running}"
