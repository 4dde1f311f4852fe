"""Keeps a number of worker processes running."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass, field
from logging import INFO, WARNING, Logger
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import monotonic

from dagorama.worker.child import ENDED_FOR_NODE, EXIT_STOPPED
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes import WorkerProcess, describe_exit, start_worker
from dagorama.worker.signals import signals_in

#: A process that lived for less long than this died at once.
SHORT_LIFE_S = 5.0
#: The second process in a row that dies at once is replaced after the first of these; the wait doubles up to the other.
REPLACE_BACKOFF_MIN_S = 0.1
REPLACE_BACKOFF_MAX_S = 10.0
#: All processes complain about a broker that is gone; one line in this time is enough.
COMPLAINT_INTERVAL_S = 25.0

ENDING = "finishing what runs; a second signal stops it at once"


@dataclass(slots=True, kw_only=True)
class _Child:
    process: WorkerProcess
    status: Connection
    started_at: float = field(default_factory=monotonic)
    cannot_start: bool = False  #: it has said why, and another could not either


class Supervisor:
    """Starts worker processes, replaces those that die, and passes on what it is told to end.

    The first SIGTERM or SIGINT drains all; the second kills them.
    """

    def __init__(self, n: int, options: WorkerOptions, *, log: Logger) -> None:
        """What people should see goes to `log`."""
        self._n = n
        self._options = options
        self._log = log
        self._children: list[_Child] = []
        self._replace_at: list[float] = []
        self._short_lives = 0
        self._stopping = False
        self._exit_status = 0
        self._is_connected: bool | None = None
        self._said_at = 0.0

    def run(self) -> int:
        """Runs until told to end. Returns the exit status: 0 after a drain."""
        with signals_in(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                for _ in range(self._n):
                    self._start()
                while self._children or self._replace_at:
                    self._step(signals)
            finally:
                for child in self._children:
                    child.process.kill()
        return self._exit_status

    def _step(self, signals: socket.socket) -> None:
        """Waits until something happens and deals with it."""
        awaited = [signals, *(end for child in self._children for end in (child.process.sentinel, child.status))]
        timeout_s = max(0.0, min(self._replace_at) - monotonic()) if self._replace_at else None
        ready = set(wait(awaited, timeout_s))
        if signals in ready:
            for _ in signals.recv(4096):
                self._end()
        for child in list(self._children):
            if child.status in ready:
                self._take_news(child)
            if child.process.sentinel in ready:
                self._take_leave(child)
        self._replace()

    def _start(self) -> None:
        reader, writer = Pipe(duplex=False)
        with writer:
            self._children.append(_Child(process=start_worker(self._options, status=writer), status=reader))

    def _replace(self) -> None:
        now = monotonic()
        due = [at for at in self._replace_at if at <= now]
        self._replace_at = [at for at in self._replace_at if at > now]
        for _ in due:
            self._start()

    def _end(self) -> None:
        """Drains all processes; kills them when asked again."""
        if not self._stopping and not self._exit_status:
            self._log.info(ENDING)
        for child in self._children:
            if self._stopping:
                self._exit_status = EXIT_STOPPED
                child.process.kill()
            else:
                child.process.terminate()
        self._stopping = True
        self._replace_at = []

    def _take_news(self, child: _Child) -> bool:
        """Says what is new about the connection, once for all processes. Returns False when nothing more can come."""
        try:
            is_connected, text = child.status.recv()
        except (EOFError, OSError):  # it has ended; its sentinel says so too
            return False
        if is_connected is None:
            if not self._exit_status:
                self._log.error("%s", text)
            child.cannot_start, self._exit_status = True, 1
            return True
        now = monotonic()
        if is_connected != self._is_connected or (not is_connected and now > self._said_at + COMPLAINT_INTERVAL_S):
            self._is_connected = is_connected
            self._said_at = now
            self._log.log(INFO if is_connected else WARNING, "%s", text)
        return True

    def _take_leave(self, child: _Child) -> None:
        """Lets go of a process that has ended, and plans another in its place."""
        child.process.join()
        while child.status.poll() and self._take_news(child):
            pass  # its last words
        child.status.close()
        self._children.remove(child)
        if child.cannot_start:
            if not self._stopping:
                self._end()
            return
        if self._stopping:
            # By SIGTERM dies who had not even got so far as to handle it.
            if child.process.exitcode not in (0, -signal.SIGTERM, *ENDED_FOR_NODE) and not self._exit_status:
                self._log.warning("%s", describe_exit(child.process))
            return
        now = monotonic()
        dies_at_once = now < child.started_at + SHORT_LIFE_S and child.process.exitcode not in ENDED_FOR_NODE
        self._short_lives = self._short_lives + 1 if dies_at_once else 0
        delay_s = 0.0
        if self._short_lives > 1:
            delay_s = min(REPLACE_BACKOFF_MIN_S * 2 ** (self._short_lives - 2), REPLACE_BACKOFF_MAX_S)
        self._replace_at.append(now + delay_s)
        when = f"in {delay_s:g} s" if delay_s else "now"
        self._log.warning("%s; another one starts %s", describe_exit(child.process), when)
