"""The worker itself: how it is put together, started and ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import sleep
from uuid import UUID

from dagorama import base_context
from dagorama.logging import get_log_level
from dagorama.serializer import forget_functions
from dagorama.worker.alarm import Alarm
from dagorama.worker.board import Board
from dagorama.worker.border import Border
from dagorama.worker.connecting import Connector
from dagorama.worker.importing import import_modules
from dagorama.worker.options import WorkerOptions, default_code_mismatch
from dagorama.worker.shell import Shell
from dagorama.worker.versions import VersionCheck

#: So long it may take a process that ends because a node does not to bring out the reports that are made, and what was
#: printed.
LEAVE_S = 0.3
#: How often it is looked whether nodes are through that must not be cut off.
LET_THROUGH_S = 0.05


class Worker:
    """One worker process's side of the contract: runs what it is granted, and reports each node exactly once.

    `start` it, `wait` for it; `drain` lets it end.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        host: str,
        port: int,
        connection_changed: Callable[[bool, str], None] | None = None,
        alarm: Alarm | None = None,
        leaving: Callable[[str], object] = lambda _: None,
        board: Board | None = None,
    ) -> None:
        """Imports the modules that `options` names; raises `CannotImport` for one that fails.

        `connection_changed(is_connected, text)` is told what a person may want to know; by default it is logged.
        `alarm` says that the process is the worker's own: it ends when a node can't be stopped in any other way, with
        `exit_status` where there is time for that; `leaving(text)` is called if that takes a while. Without `alarm`
        such a node goes on, and nobody waits for it. `board` is told what runs.
        """
        self._options = options
        self._alarm = alarm
        self._leaving = leaving
        get_log_level()  # a wrong one is better told now than by the first warning
        import_modules(options.imports)
        base_context.adopt()
        # In a process that lives on, as a notebook does, names may lead to other classes than for the worker before.
        forget_functions()
        #: Has all functions of those modules in it: computing their versions takes a few milliseconds for each file.
        self._versions = VersionCheck(options.code_mismatch or default_code_mismatch(), options.imports)
        self._shell = Shell(
            options,
            versions=self._versions,
            alarm=alarm,
            board=board,
            leave=None if alarm is None else self._leave,
        )
        self._connector = Connector(
            host=host,
            port=port,
            shell=self._shell,
            border=Border(options, versions=self._versions, shell=self._shell),
            changed=connection_changed,
        )
        #: With what the process is to end: 0 unless a node makes it end.
        self.exit_status = 0
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._done_callbacks: list[Callable[[], object]] = []

    # -- for those who run it -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connects and works, in threads of its own."""
        threading.Thread(target=self._run, name="dagorama-worker", daemon=True).start()
        if self._options.connect_timeout_s is not None:
            timer = threading.Timer(self._options.connect_timeout_s, self._give_up, [self._options.connect_timeout_s])
            timer.daemon = True
            timer.start()

    def wait(self) -> None:
        """Blocks until the worker has ended. Raises `BrokerUnavailable`, or what a node raised (`catch_exceptions`)."""
        self.wait_until_ended()
        error = self._error or self._shell.error
        if error is not None:
            raise error

    def wait_until_ended(self) -> None:
        """Blocks until the worker has ended, well or not."""
        self._done.wait()

    def call_when_done(self, callback: Callable[[], object]) -> None:
        """Calls back, in some thread, when `wait` would not block any more."""
        self._done_callbacks.append(callback)
        if self._done.is_set():
            self._call_back()

    def drain(self) -> None:
        """Takes no more nodes, hands back what has not been started, and ends when the rest is acknowledged."""
        self._shell.drain()
        self._connector.interrupt()

    def stop(self) -> None:
        """Ends at once. What it holds is lost to it; the broker gives it to others."""
        self._connector.stop()
        self._connector.cut()
        self._connector.interrupt()

    # -- from the start to the end ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connector.serve()
        except BaseException as error:
            self._error = error
        finally:
            self._shell.close()
            self._done.set()
            self._call_back()

    def _call_back(self) -> None:
        """Call those who wait for the end, each once, whichever threads come here."""
        while self._done_callbacks:
            try:
                callback = self._done_callbacks.pop(0)
            except IndexError:  # another thread was quicker
                return
            callback()

    def _give_up(self, waited_s: float) -> None:
        """Ends the worker if no broker has answered yet."""
        if not (self._connector.was_welcome or self._done.is_set()):
            self._error = self._connector.unavailable(waited_s)
            self.stop()

    def _leave(self, exit_status: int) -> None:
        """Ends the process: what is pending is handed back, reports go out, and what runs is run again elsewhere.

        Nodes that may not run again are let through first.
        """
        self.exit_status = exit_status
        self.drain()
        self._let_through()
        self._connector.stop()
        self._shell.end_stream()
        self._connector.interrupt()
        # The main thread is on its way out, unless something that a node has left behind keeps it.
        sleep(LEAVE_S)
        os._exit(exit_status)

    def _let_through(self) -> None:
        """Waits until what must not be cut off is reported."""
        is_told = False
        while self._alarm is not None and (held := self._shell.not_to_be_cut_off()) is not None:
            if not is_told:
                node = f"node {UUID(bytes=held.node_id)} ({held.function.name})"
                self._leaving(f"takes no more work, and ends when {node} has, which is at_most_once")
                is_told = True
            self._alarm.put_off()
            sleep(LET_THROUGH_S)
