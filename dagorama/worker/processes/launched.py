"""The workers that a program launches for as long as a block of it lasts, or until it ends."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from math import inf
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from time import monotonic
from types import TracebackType

from dagorama.client.own_workers import OwnWorkers, own_workers
from dagorama.client.settings import silence_s
from dagorama.code.main_guard import MAIN_GUARD, started_out_of_reach, workers_launched
from dagorama.errors import WorkersCannotStart
from dagorama.logging import get_logger
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.main_module import main_of_program
from dagorama.worker.processes.process import WorkerProcess, describe_exit, stop_workers
from dagorama.worker.processes.supervisor import CANNOT_START, Child, Crew

#: So many processes in a row may end before they are ready; then none is expected to get there.
FAILED_STARTS_MAX = 3


class _LaunchedCrew(Crew):
    """Worker processes of a program: replaced until it is told to stop or none can start. By one thread at a time."""

    def __init__(self, n: int, options: WorkerOptions, *, main: dict[str, object]) -> None:
        """Start nothing yet. For `main` see `run_child`."""
        super().__init__(n, options, log=get_logger(), main=main)
        self.has_main = bool(main)
        self.as_own = OwnWorkers()
        self._failed_starts = 0
        self._why = ""  #: the last reason why a process could not start
        self.is_decided = False  #: whether a worker has ever been ready, or there is an `error`
        self.error: WorkersCannotStart | None = None

    def wait_for_one(self) -> None:
        """Block until a worker is ready, however long that takes; raise `WorkersCannotStart` where none can be.

        It is told when it takes as long as any wait says nothing.
        """
        patience_s = silence_s()
        slow_at = monotonic() + patience_s
        while not self.is_decided:
            if monotonic() >= slow_at:
                slow_at = inf
                _warn_of_slow_start(patience_s)
            self._go_on(until=slow_at)
        if self.error:
            raise self.error

    def run(self, stopping: Connection) -> None:
        """Go on until the other end of `stopping` is closed."""
        while not self.error and stopping not in self._go_on(stopping):
            pass

    def _go_on(self, *others: Connection, until: float = inf) -> set[object]:
        ready = self.step(*others, until=until)
        if not ready.intersection(others):
            self.replace()
            if not self._children and not self._replace_at and self._why:
                self._give_up()
        return ready

    def _is_ready(self) -> None:
        if self._why and not self.is_decided:
            self._log.warning("%s: %s", CANNOT_START, self._why)  # but another one can
        self._failed_starts, self._why = 0, ""
        self.is_decided = True

    def _cannot_start(self, why: str) -> None:
        self._why = why
        if self.is_decided:
            self._log.warning("%s: %s", CANNOT_START, why)

    def _is_wanted(self, child: Child) -> bool:
        """Return whether another is wanted: the program has not ended it itself, and it is neither done nor unable."""
        if child.cannot_start or child.is_told_to_end or child.process.is_told_to_end:
            return False
        if child.is_ready:
            return not (child.is_drained and self._options.exit_when_drained)
        self._failed_starts += 1
        self._why = f"{describe_exit(child.process)} while it started"
        return self._failed_starts < FAILED_STARTS_MAX

    def _give_up(self) -> None:
        self.error = WorkersCannotStart(reason=self._why)
        self.as_own.given_up = self._why
        if self.is_decided:  # else the program gets it where it enters the block
            self._log.error("%s", self.error)
        self.is_decided = True


class LaunchedWorkers(AbstractContextManager[list[WorkerProcess]]):
    """Worker processes from `__enter__` to `__exit__`, or to the end of the program if that is never called."""

    def __init__(self, n: int, options: WorkerOptions) -> None:
        """Start nothing yet."""
        self._n = n
        self._options = options
        self._stack = ExitStack()
        self._owner = os.getpid()

    def __enter__(self) -> list[WorkerProcess]:
        """Start them and wait until one is ready; raise `WorkersCannotStart` where none can be."""
        crew = _LaunchedCrew(self._n, self._options, main=main_of_program())
        try:
            self._start(crew, self._stack)
        except BaseException:
            self._stack.close()
            raise
        return crew.processes

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """End them. Nodes that run may go on for 5 s."""
        self._stack.close()

    def _start(self, crew: _LaunchedCrew, stack: ExitStack) -> None:
        """Start them, have the stack end them, and wait until one is ready."""
        stack.enter_context(workers_launched(with_main=crew.has_main))
        stack.enter_context(own_workers(crew.as_own))
        if not crew.has_main:
            _warn_of(started_out_of_reach())
        # Before that of multiprocessing, which would wait for the workers for ever. It also keeps them from the
        # collector, where nobody keeps what was entered.
        atexit.register(self._end_with_program)
        stack.callback(atexit.unregister, self._end_with_program)
        stack.callback(lambda: stop_workers([*crew.processes, *crew.leaving]))
        crew.start()
        crew.wait_for_one()
        stack.callback(_look_after(crew))

    def _end_with_program(self) -> None:
        if os.getpid() == self._owner:  # a process that it has forked ends for itself
            self._stack.close()


def _look_after(crew: _LaunchedCrew) -> Callable[[], None]:
    """Go on with the crew in a thread; return a function that ends that, and leaves the workers alone."""
    stop, stopping = Pipe()
    # The program's own threads are at its own work.
    thread = threading.Thread(target=crew.run, args=(stopping,), name="dagorama-launched", daemon=True)
    thread.start()

    def end() -> None:
        stop.close()
        thread.join()
        stopping.close()

    return end


def _warn_of_slow_start(waited_s: float) -> None:
    get_logger().warning(
        "no worker is ready yet, %g s after they were started: they import the program, and what it does then, "
        "not below `%s`, they do as well; they are waited for",
        waited_s,
        MAIN_GUARD,
    )


def _warn_of(definitions: set[str]) -> None:
    if definitions:
        get_logger().warning(
            "worker processes cannot import what is written in a notebook, in `python -c`, on standard input or in a "
            "__main__.py, so they will run nothing of %s, of which instances were started",
            ", ".join(sorted(definitions)),
        )
