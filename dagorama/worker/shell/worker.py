"""The worker itself: how it is put together, started and ended."""

from __future__ import annotations

import os
import threading
from math import inf
from time import sleep
from typing import TYPE_CHECKING
from uuid import UUID

from dagorama.client.values.recent import RecentValues
from dagorama.client.values.store import RemoteValues
from dagorama.logging import get_log_level
from dagorama.metrics.measures import Readings
from dagorama.running import base_context
from dagorama.serializer import forget_functions
from dagorama.settings import should_trace
from dagorama.worker import measures as m
from dagorama.worker.importing import import_modules
from dagorama.worker.logs.capturing import begin_capture, end_capture
from dagorama.worker.logs.node_log import WorkerLogs
from dagorama.worker.logs.sending import Sender
from dagorama.worker.options import WorkerOptions, default_code_mismatch, log_bytes_max
from dagorama.worker.owner import Owner
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.border import Border, worker_name
from dagorama.worker.shell.connecting import Connector
from dagorama.worker.shell.log import Log
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.versions import VersionCheck

if TYPE_CHECKING:
    from dagorama.tracing.spans import AttemptSpans

#: So long it may take a process that ends because a node does not to bring out the reports that are made, and what was
#: printed.
LEAVE_S = 0.3
#: So long it may take a worker that has drained to bring out what its nodes have printed, as long as that goes on.
LOGS_S = 5.0
#: So late the event loop may be for it to be measured; it is in time for whoever asks then.
LAG_S = 1.0
#: How often it is looked whether nodes are through that must not be cut off.
LET_THROUGH_S = 0.05


class Worker:
    """One worker process's side of the contract: it runs the nodes that it is granted, and reports each exactly once.

    `start` it, `wait` for it; `drain` lets it end.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        host: str,
        port: int,
        owner: Owner | None = None,
        alarm: Alarm | None = None,
        board: Board | None = None,
    ) -> None:
        """Import the modules that `options` names; raise `CannotImport` for one that fails.

        `alarm` says that the process is the worker's own: it ends when a node can't be stopped in any other way, with
        `exit_status` where there is time for that. Without `alarm` such a node goes on, and nobody waits for it.
        `board` is told which nodes run, and of an end that the worker makes.
        """
        self._options = options
        self._owner = owner or Owner()
        self._alarm = alarm
        self._board = board
        get_log_level()  # a wrong one is better told now than by the first warning
        import_modules(options.imports)
        base_context.adopt()
        # In a process that lives on, as a notebook does, names may lead to other classes than for the worker before.
        forget_functions()
        #: Has all functions of those modules in it: computing their versions takes a few milliseconds for each file.
        self._versions = VersionCheck(options.code_mismatch or default_code_mismatch(), options.imports)
        log = Log()
        name = worker_name()
        self._sender: Sender | None = None
        logs: WorkerLogs | None = None
        if options.captures_logs:
            self._sender = Sender(host=host, port=port, worker=name, bytes_max=log_bytes_max(), warn=log.warn)
            logs = WorkerLogs(self._sender)
        # A node has its lease while it waits for the broker to come back.
        store = RemoteValues(host, port, patience_s=inf, recent=RecentValues())
        self._shell = Shell(
            options,
            versions=self._versions,
            alarm=alarm,
            board=board,
            worker=self,
            log=log,
            logs=logs,
            spans=_attempt_spans(),
            store=store,
        )
        self._connector = Connector(
            host=host,
            port=port,
            shell=self._shell,
            border=Border(options, versions=self._versions, shell=self._shell, name=name, put_again=store.put_again),
            owner=self._owner,
        )
        #: With what the process is to end: 0 unless a node makes it end.
        self.exit_status = 0
        self._error: BaseException | None = None
        self._logs_s = LOGS_S
        #: Who runs it waits for its end at this: a thread counts as ended once Ctrl-C has cut off who joins it.
        self._done = threading.Event()

    # -- for those who run it -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect and work, in threads of its own."""
        if self._sender is not None:
            begin_capture(with_names=self._options.log_names)
        # It has one stream after another, and waits for what the broker says.
        threading.Thread(target=self._run, name="dagorama-worker", daemon=True).start()

    def wait(self) -> None:
        """Block until the worker has ended. Raise `BrokerUnavailable`, or a node's exception (`catch_exceptions`)."""
        self.wait_until_ended()
        error = self._error or self._shell.error
        if error is not None:
            raise error

    def wait_until_ended(self) -> None:
        """Block until the worker has ended, well or not."""
        self._done.wait()

    @property
    def is_told_to_end(self) -> bool:
        """Return whether somebody has asked the broker for its end."""
        return self._shell.is_told_to_end

    def drain(self) -> None:
        """Take no more nodes, hand back all that were not started, and end when the rest is acknowledged."""
        self._shell.drain()
        self._connector.interrupt()

    def stop(self) -> None:
        """End at once. Nodes that it holds are lost to it; the broker gives them to others."""
        self._logs_s = LEAVE_S
        self._connector.stop()
        self._connector.cut()
        self._connector.interrupt()

    def read_metrics(self) -> Readings:
        """Return what the worker has counted, and how it stands; call it with `options.metrics`."""
        shell = self._shell
        if shell.tally is None:
            return {}
        shell.tally.observe_lag(shell.loop_lag_s(LAG_S))
        readings = shell.tally.read()
        readings[m.SLOTS.name] = {(): self._options.concurrency}
        readings[m.RUNNING.name] = {(): shell.running()}
        readings[m.HELD.name] = {(): len(shell.held())}
        if self._sender is not None:
            readings[m.LOG_BYTES.name] = {(): self._sender.taken_bytes}
            readings[m.LOG_DROPPED.name] = {(): self._sender.dropped_bytes}
        return readings

    # -- from the start to the end ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connector.serve()
        except BaseException as error:
            self._error = error
        finally:
            if self._sender is not None:
                self._sender.close(self._logs_s)
                end_capture()
            self._shell.close()
            self._done.set()
            self._owner.ended()

    # -- for its shell ------------------------------------------------------------------------------------------------

    def give_up(self, waited_s: float) -> None:
        """End, as no broker has answered in this time."""
        self._error = self._connector.unavailable(waited_s)
        self.stop()

    def leave(self, exit_status: int) -> None:
        """End the process: pending nodes are handed back, reports go out, and running ones are run again elsewhere.

        Nodes that may not run again are let through first.
        """
        self.exit_status = exit_status
        if self._board is not None:
            self._board.leaves(exit_status)
        self.drain()
        self._let_through()
        self._connector.stop()
        self._shell.end_stream()
        self._connector.interrupt()
        if self._sender is not None:
            self._sender.close(LEAVE_S)
        # The main thread is on its way out, unless something that a node has left behind keeps it.
        sleep(LEAVE_S)
        os._exit(exit_status)

    def _let_through(self) -> None:
        """Wait until all that must not be cut off is reported."""
        is_told = False
        while self._alarm is not None and (held := self._shell.not_to_be_cut_off()) is not None:
            if not is_told:
                node = f"node {UUID(bytes=held.node_id)} ({held.function.name})"
                self._owner.leaving(f"takes no more work, and ends when {node} has, which is at_most_once")
                is_told = True
            self._alarm.put_off()
            sleep(LET_THROUGH_S)


def _attempt_spans() -> AttemptSpans | None:
    """Return what makes spans, if that is asked for; raise `NoOpenTelemetry` where it is not installed."""
    if not should_trace():
        return None
    from dagorama.tracing.spans import AttemptSpans

    return AttemptSpans()
