"""A worker process, from its start to its end."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Self

from dagorama.common.addresses import broker_address
from dagorama.logging import get_logger
from dagorama.running.belonging import this_is_a_worker
from dagorama.worker.importing import CannotImport
from dagorama.worker.logs.capturing import begin_capture
from dagorama.worker.options import WorkerOptions
from dagorama.worker.owner import Owner
from dagorama.worker.processes.answering import Answering
from dagorama.worker.processes.exits import EXIT_CLOSED, EXIT_IMPORT_FAILED, EXIT_STOPPED
from dagorama.worker.processes.main_module import import_main
from dagorama.worker.processes.news import News, tell
from dagorama.worker.processes.printing import lines_at_once, print_also_to_nobody
from dagorama.worker.processes.signals import signals_in
from dagorama.worker.shell import forking
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.worker import Worker


def run_child(
    options: WorkerOptions,
    environment: Mapping[str, str],
    status: Connection,
    board: Board,
    main: Mapping[str, object] | None,
    asked: Connection | None = None,
) -> None:
    """Run one worker until it is drained. The first SIGTERM drains it, the second stops it with `EXIT_STOPPED`.

    It also ends when a node that has to stop does not: see `ENDED_FOR_NODE`.

    `environment` is the parent's at the start, `main` its main module, if that is to be imported. `News` go out on
    `status`, `board` tells what runs, and questions about metrics come by `asked`. Without `main` the parent is a
    supervisor, which decides about signals.
    """
    # Until it works SIGTERM just ends it, be it in the middle of an import that hangs: see the shield.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # A group of its own: what it starts ends with it, and Ctrl-C goes to its parent, which says what that means here.
    os.setpgid(0, 0)
    # Sent to it all the same it does nothing. Were it ignored, programs that nodes start would ignore it too.
    signal.signal(signal.SIGINT, lambda *_: None)
    print_also_to_nobody()
    forking.leave_signals_behind()
    forking.keep_from_forks(status, *([asked] if asked is not None else []))
    os.environ.clear()
    os.environ.update(environment)
    # Before anything is imported that keeps a stream for itself. A wrong setting is told when the worker is made.
    with suppress(ValueError):
        if options.captures_logs:
            begin_capture(with_names=options.log_names)
    # Not the thresholds: nodes may leave large values in small cycles, which Python's own keep few of.
    gc.freeze()
    _end_with_parent()
    Alarm.take_signal()
    with lines_at_once(), _Parent(status) as parent:
        worker = _worker(options, parent, status, board, main)
        answering = Answering(asked, worker.read_metrics) if asked is not None else None
        tell(status, News.READY)
        try:
            _work(worker, parent, board, is_supervised=main is None)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            get_logger().error(
                "worker process %s ends, because its own files and connections were closed, as os.closerange() in a "
                "node does",
                os.getpid(),
            )
            os._exit(EXIT_CLOSED)
    if answering is not None:
        answering.end()
    if not worker.exit_status:
        if worker.is_told_to_end:
            tell(status, News.TOLD_TO_END)
        tell(status, News.DRAINED)
    # What modules and nodes have registered, such as to send what they have gathered. A process that was forked ends
    # without it.
    atexit._run_exitfuncs()
    sys.exit(worker.exit_status)


class _Parent(Owner):
    """The process that has started this one. It is told by `News`, and the main thread here by a socket."""

    def __init__(self, status: Connection) -> None:
        self._status = status
        #: Can be read from when the worker has ended.
        self.ending, self._end = socket.socketpair()
        forking.keep_from_forks(self.ending, self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.close()
        self._end.close()

    def connected(self, text: str) -> None:
        tell(self._status, News.CONNECTED, text)

    def connection_changed(self, text: str, *, is_connected: bool) -> None:
        tell(self._status, News.CONNECTED if is_connected else News.DISCONNECTED, text)

    def leaving(self, text: str) -> None:
        tell(self._status, News.LEAVING, text)

    def ended(self) -> None:
        self._end.send(b".")


def _worker(
    options: WorkerOptions, parent: Owner, status: Connection, board: Board, main: Mapping[str, object] | None
) -> Worker:
    """Make the worker, with all that it needs imported; end the process where that cannot be."""
    try:
        if main:
            import_main(main)
        this_is_a_worker()
        host, port = broker_address()
        return Worker(options, host=host, port=port, owner=parent, alarm=Alarm(board), board=board)
    except Exception as error:
        why = str(error) if isinstance(error, CannotImport) else f"{type(error).__name__}: {error}"
        tell(status, News.CANNOT_START, why)
        sys.exit(EXIT_IMPORT_FAILED)


def _work(worker: Worker, parent: _Parent, board: Board, *, is_supervised: bool) -> None:
    """Run a worker until it has ended, and drain it on SIGTERM.

    A second SIGTERM stops it at once, unless it has a supervisor: that decides, and may pass on what came here as well.
    """
    is_draining = False
    with signals_in(signal.SIGTERM) as signals:
        worker.start()
        while parent.ending not in wait([signals, parent.ending]):
            for _ in range(signals.recv(4096).count(signal.SIGTERM)):
                if is_draining and not is_supervised:
                    board.leaves(EXIT_STOPPED)
                    os._exit(EXIT_STOPPED)
                is_draining = True
                worker.drain()
    worker.wait()


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)  # with what nodes have started

    # The main thread may be in an import that does not end, and must not outlive its parent there either.
    threading.Thread(target=watch, name="dagorama-parent", daemon=True).start()
