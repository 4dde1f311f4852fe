"""A number of worker processes that are kept running."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import INFO, WARNING, Logger
from math import inf
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import TYPE_CHECKING

from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.exits import EXIT_STOPPED
from dagorama.worker.processes.news import News
from dagorama.worker.processes.orphans import inherits_orphans, reap_orphans
from dagorama.worker.processes.printing import print_also_to_nobody
from dagorama.worker.processes.process import WorkerProcess, describe_exit, ended_for_node, start_worker
from dagorama.worker.processes.signals import signals_in
from dagorama.worker.processes.vouching import settle

if TYPE_CHECKING:
    from dagorama.worker.processes.measuring import CrewMetrics, ProcessMetrics

#: A process that lived for less long than this, and got through no node, died at once.
SHORT_LIFE_S = 5.0
#: The second process in a row that dies at once is replaced after the first of these; the wait doubles up to the other.
REPLACE_BACKOFF_MIN_S = 0.1
REPLACE_BACKOFF_MAX_S = 10.0
#: So long after the system could not start one it is tried again.
START_AGAIN_S = 1.0
#: All processes complain about a broker that is gone; one line in this time is enough.
COMPLAINT_INTERVAL_S = 25.0

#: What is said of a worker that cannot start begins with this.
CANNOT_START = "a worker cannot start"

ENDING = "finishing what runs; a second signal stops it at once"


@dataclass(slots=True, kw_only=True)
class Child:
    """A worker process, and what it has told of itself."""

    process: WorkerProcess
    status: Connection
    place: int  #: in the list of processes
    started_at: float = field(default_factory=monotonic)
    is_ready: bool = False
    is_drained: bool = False
    metrics: ProcessMetrics | None = None
    is_told_to_end: bool = False  #: by the broker, as somebody has asked for it
    is_leaving: bool = False  #: another one is in its place already
    cannot_start: bool = False  #: and another could not either


class Crew:
    """Worker processes that are started together, replaced when they die, and told of."""

    def __init__(self, n: int, options: WorkerOptions, *, log: Logger, main: Mapping[str, object] | None) -> None:
        """Start nothing yet. Lines for people go to `log`; for `main` see `run_child`."""
        self._n = n
        self._options = options
        self._log = log
        self._main = main
        #: By their places: those that run, and those that have ended until another is in their place.
        self.processes: list[WorkerProcess] = []
        #: Those that run beside the one in their place.
        self.leaving: list[WorkerProcess] = []
        self._children: list[Child] = []
        self._replace_at: list[tuple[float, int]] = []
        self._short_lives = 0
        self._is_connected: bool | None = None
        self._said_at = 0.0
        #: Where somebody may ask for metrics.
        self.metrics: CrewMetrics | None = None

    def start(self) -> None:
        """Start all of them. The caller must see to it that they end."""
        for place in range(self._n):
            self._start(place)

    def step(self, *others: Connection | socket.socket, until: float = inf) -> set[object]:
        """Wait until something happens, and deal with it unless it is one of the `others`; return all that has.

        It takes no longer than `until`, by `time.monotonic()`.
        """
        awaited = [*others, *(end for child in self._children for end in (child.process.sentinel, child.status))]
        due_at = min([until, *(at for at, _ in self._replace_at)])
        ready: set[object] = set(wait(awaited, None if due_at == inf else max(0.0, due_at - monotonic())))
        for child in list(self._children):
            if child.status in ready:
                self._take_news(child)
            if child.process.sentinel in ready:
                self._take_leave(child)
        return ready

    def replace(self) -> None:
        """Start the ones that are due."""
        now = monotonic()
        due = [place for at, place in self._replace_at if at <= now]
        self._replace_at = [(at, place) for at, place in self._replace_at if at > now]
        for place in due:
            self._start_another(place)

    def _start_another(self, place: int) -> None:
        """Start a process in a place, now or, where the system cannot, after a while."""
        try:
            self._start(place)
        except (OSError, EOFError) as error:  # the latter where the server that forks it could not, and has ended
            text = "no worker process can be started now: %s; it is tried again in %g s"
            self._log.warning(text, str(error) or type(error).__name__, START_AGAIN_S)
            self._replace_at.append((monotonic() + START_AGAIN_S, place))

    def _start(self, place: int) -> None:
        reader, writer = Pipe(duplex=False)
        metrics = self.metrics.joined() if self.metrics is not None else None
        with writer:
            if metrics is None:
                process = start_worker(self._options, status=writer, main=self._main)
            else:
                with metrics.end as asked:
                    process = start_worker(self._options, status=writer, main=self._main, asked=asked)
        self._children.append(Child(process=process, status=reader, place=place, metrics=metrics))
        self.processes[place : place + 1] = [process]

    def _take_news(self, child: Child) -> bool:
        """Deal with one piece of news. Return False when nothing more can come."""
        try:
            news, text = child.status.recv()
        except (EOFError, OSError):  # it has ended; its sentinel says so too
            return False
        match news:
            case News.READY:
                child.is_ready = True
                self._is_ready()
            case News.TOLD_TO_END:
                child.is_told_to_end = True
                self._log.info("worker process %s was drained at the broker", child.process.pid)
            case News.DRAINED:
                child.is_drained = True
            case News.LEAVING:
                self._make_room(child, text)
            case News.CANNOT_START:
                child.cannot_start = True
                self._cannot_start(text)
            case _:
                if child.metrics is not None:
                    child.metrics.is_connected = news is News.CONNECTED
                self._tell_connection(news is News.CONNECTED, text)
        return True

    def _make_room(self, child: Child, text: str) -> None:
        """Start a process in the place of one that takes no more work, if it is to have one."""
        child.is_leaving = self._is_wanted(child)
        self._log.warning(
            "worker process %s %s%s", child.process.pid, text, "; another one starts now" * child.is_leaving
        )
        if child.is_leaving:
            self.leaving.append(child.process)
            self._start_another(child.place)

    def _tell_connection(self, is_connected: bool, text: str) -> None:
        """Log news of the connection, once for all processes."""
        now = monotonic()
        if is_connected != self._is_connected or (not is_connected and now > self._said_at + COMPLAINT_INTERVAL_S):
            self._is_connected = is_connected
            self._said_at = now
            self._log.log(INFO if is_connected else WARNING, "%s", text)

    def _take_leave(self, child: Child) -> None:
        """Let go of a process that has ended, and plan another in its place."""
        child.process.join()
        while child.status.poll() and self._take_news(child):
            pass  # its last words
        child.status.close()
        self._children.remove(child)
        if self.metrics is not None and child.metrics is not None:
            self.metrics.left(child.metrics, _reason(child))
        if child.is_leaving:
            self.leaving.remove(child.process)
            self._log.info("%s", describe_exit(child.process))
            return
        if not self._is_wanted(child):
            return
        now = monotonic()
        dies_at_once = (
            now < child.started_at + SHORT_LIFE_S
            and not ended_for_node(child.process)
            and not (child.process.board and child.process.board.has_ended_some)
        )
        self._short_lives = self._short_lives + 1 if dies_at_once else 0
        delay_s = 0.0
        if self._short_lives > 1:
            delay_s = min(REPLACE_BACKOFF_MIN_S * 2 ** (self._short_lives - 2), REPLACE_BACKOFF_MAX_S)
        self._replace_at.append((now + delay_s, child.place))
        when = f"in {delay_s:g} s" if delay_s else "now"
        self._log.warning("%s; another one starts %s", describe_exit(child.process), when)

    # -- for kinds of crews to see differently ---------------------------------------------------------------------

    def _is_ready(self) -> None:
        """Take note that a process has all that it needs."""

    def _cannot_start(self, why: str) -> None:
        """Take note that a process has said why it, and any other, cannot start."""

    def _is_wanted(self, child: Child) -> bool:
        """Return whether another process is to take the place of this one, which has ended."""
        return not (child.cannot_start or child.is_told_to_end)


def _reason(child: Child) -> str:
    """Return why a process has ended, in the words of its metric."""
    if ended_for_node(child.process):
        return "node"
    return "drained" if child.is_drained else "died"


class Supervisor(Crew):
    """Worker processes that live as long as this process, which passes on the signals that tell it to end.

    The first SIGTERM or SIGINT drains all; the second kills them.
    """

    def __init__(self, n: int, options: WorkerOptions, *, log: Logger, metrics: CrewMetrics | None = None) -> None:
        """Start nothing yet. Lines for people go to `log`."""
        super().__init__(n, options, log=log, main=None)
        self.metrics = metrics
        self._knock = [metrics.knock] if metrics is not None else []
        self._stopping = False
        self._exit_status = 0

    def run(self) -> int:
        """Run until told to end. Return the exit status: 0 after a drain."""
        print_also_to_nobody()
        with signals_in(signal.SIGTERM, signal.SIGINT, *[signal.SIGCHLD] * inherits_orphans()) as signals:
            try:
                self.start()
                while self._children or self._replace_at:
                    ready = self.step(signals, *self._knock)
                    if self.metrics is not None and self.metrics.knock in ready:
                        self.metrics.answer()
                    if signals in ready:
                        for number in signals.recv(4096):
                            if number == signal.SIGCHLD:
                                reap_orphans()
                            else:
                                self._end()
                    self.replace()
            finally:
                for child in self._children:
                    child.process.kill()
                settle()
        return self._exit_status

    def _end(self) -> None:
        """Drain all processes; kill them when asked again."""
        if not self._stopping and not self._exit_status:
            self._log.info(ENDING)
        if self.metrics is not None:
            self.metrics.drain()
        for child in self._children:
            if self._stopping:
                self._exit_status = EXIT_STOPPED
                child.process.kill()
            else:
                child.process.terminate()
        self._stopping = True
        self._replace_at = []

    def _cannot_start(self, why: str) -> None:
        if not self._exit_status:
            self._log.error("%s: %s", CANNOT_START, why)
        self._exit_status = 1

    def _is_wanted(self, child: Child) -> bool:
        """Return False where one said that no other could start; then all end."""
        if child.cannot_start:
            if not self._stopping:
                self._end()
            return False
        if self._stopping:
            # By SIGTERM dies who had not even got so far as to handle it.
            is_in_order = child.process.exitcode in (0, -signal.SIGTERM) or ended_for_node(child.process)
            if not is_in_order and not self._exit_status:
                self._log.warning("%s", describe_exit(child.process))
            return False
        return not child.is_told_to_end
