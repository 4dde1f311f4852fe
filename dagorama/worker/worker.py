"""The worker itself: how it is started and ended, how it introduces itself, and who in it gets what the broker says."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from time import sleep
from uuid import UUID

from dagorama import base_context
from dagorama.errors import CodeMismatchException, DagoramaError
from dagorama.ids import new_id
from dagorama.logging import get_log_level, get_logger
from dagorama.serializer import forget_functions
from dagorama.v1.work_pb2 import FunctionVersion, Hello, Refusal, WorkResponse
from dagorama.worker.alarm import Alarm
from dagorama.worker.board import Board
from dagorama.worker.connecting import Connector
from dagorama.worker.importing import import_modules
from dagorama.worker.options import WorkerOptions, default_code_mismatch
from dagorama.worker.shell import Shell
from dagorama.worker.stream import Stream
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
        self._id = options.worker_id or new_id()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
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
            hello=self._hello,
            received=self._receive,
            changed=connection_changed,
        )
        #: With what the process is to end: 0 unless a node makes it end.
        self.exit_status = 0
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._done_callbacks: list[Callable[[], object]] = []
        self._done_lock = threading.Lock()  #: for the two above

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
        with self._done_lock:
            if not self._done.is_set():
                self._done_callbacks.append(callback)
                return
        callback()

    def drain(self) -> None:
        """Takes no more nodes, hands back what has not been started, and ends when the rest is acknowledged."""
        self._shell.drain()
        self._connector.interrupt()

    def stop(self) -> None:
        """Ends at once. What it holds is lost to it; the broker gives it to others."""
        self._connector.stop()
        self._shell.cut()
        self._connector.interrupt()

    # -- from the start to the end ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connector.serve()
        except BaseException as error:
            self._error = error
        finally:
            self._shell.close()
            with self._done_lock:
                self._done.set()
            for callback in self._done_callbacks:
                callback()

    def _give_up(self, waited_s: float) -> None:
        """Ends the worker if no broker has answered yet."""
        with self._done_lock:
            if self._connector.was_welcome or self._done.is_set():
                return
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

    # -- what is said to the broker and by it: in the thread that receives ---------------------------------------------

    def _hello(self) -> Hello:
        options = self._options
        taken = self._versions.taken.copy()
        return Hello(
            worker_id=self._id,
            name=self._name,
            include_queues=options.include_queues,
            exclude_queues=options.exclude_queues,
            tolerations=options.tolerations,
            modules=options.imports,
            function_names=taken.keys(),
            code_versions=taken.values(),
            slots=options.concurrency,
            held=self._shell.named(),
            exit_when_drained=options.exit_when_drained,
            exit_when_mismatched=not options.catch_exceptions,
        )

    def _receive(self, stream: Stream, response: WorkResponse) -> None:
        """Hands on each part of a response."""
        shell = self._shell
        if response.acknowledged:
            shell.acknowledge(stream, response.acknowledged)
        if response.refusals:
            _log_refusals(response.refusals)
        if response.HasField("welcome"):
            self._connector.was_welcome = True
            shell.welcome(stream, response.welcome)
            self._connector.tell_connected()
        if response.revocations:
            shell.revoke(response.revocations)
        if response.recalls:
            shell.recall(response.recalls)
        if response.HasField("grants"):
            shell.take(response)
        if response.drained:
            if response.HasField("mismatch") and not self._options.catch_exceptions:
                self._error = self._error or self._mismatch(response.mismatch)
            self.drain()

    def _mismatch(self, left: FunctionVersion) -> DagoramaError:
        """Describes that nothing is left but nodes of another version, or of what this worker lacks."""
        if left.name in self._versions.lacking:
            return self._versions.lacking[left.name]
        here = self._versions.taken.get(left.name, "another")
        return CodeMismatchException(function=left.name, node_version=left.code_version, worker_version=here)


def _log_refusals(refusals: Iterable[Refusal]) -> None:
    for refusal in refusals:
        get_logger().warning("the report of node %s was refused: %s", UUID(bytes=refusal.node_id), refusal.reason)
