"""Output of programs that nodes start, and of children that they fork.

Where a child would have the worker's own, it gets a pipe. One thread reads all pipes, shows what comes at once in the
worker's output, and puts it into the log of the node. When the function of the node ends, all that is in its pipes is
taken first. A program that goes on writes on into its pipe, and this is only shown.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from dagorama.calls.capture import Scope
from dagorama.running.belonging import start_for_nobody
from dagorama.worker.logs.node_log import AttemptLog
from dagorama.worker.logs.patches import Patches
from dagorama.worker.logs.whose import scope_here

READ_BYTES = 64 * 1024
#: A program that has not ended may write on for ever; so much is taken of its pipe before another has its turn.
TURN_BYTES_MAX = 2**20

#: Shows what has come for a node on standard output, 1, or error, 2.
Show = Callable[[Scope, int, bytes], None]


class _Pipe:
    """The reading end of one pipe."""

    def __init__(self, reading: int, scope: Scope, log: AttemptLog, place: tuple[int, int], pump: Pump) -> None:
        self.reading = reading
        self.scope = scope
        self.log: AttemptLog | None = log
        self.place = place
        self._pump = pump

    def finish(self) -> None:
        self._pump.finish(self)

    def close_log(self) -> None:
        """Put no more into the log."""
        log, self.log = self.log, None
        if log is not None:
            log.closed(self, self.place)


class Pump:
    """Reads pipes in a thread of its own, which begins with the first."""

    def __init__(self, show: Show) -> None:
        """Show all that comes."""
        self._show = show
        self._numbers = count(1)
        #: For those below, which threads of nodes add to. The collector may run a user's code, and come again.
        self._lock = threading.RLock()
        self._selector: selectors.BaseSelector | None = None
        self._wake = (-1, -1)
        self._added: list[_Pipe] = []
        self._finished: list[_Pipe] = []

    def pipe(self, scope: Scope, log: AttemptLog, descriptor: int) -> int:
        """Make a pipe for a child of a node; return the end for writing, which the caller has to close."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        # No thread has a negative number.
        pipe = _Pipe(reading, scope, log, (descriptor, -next(self._numbers)), self)
        log.opened(pipe)
        with self._lock:
            self._added.append(pipe)
            self._begin()
        return writing

    def finish(self, pipe: _Pipe) -> None:
        """Take what is in a pipe now for the log, and no more."""
        with self._lock:
            self._finished.append(pipe)
            self._begin()

    def _begin(self) -> None:
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._wake = os.pipe()
            os.set_blocking(self._wake[1], False)
            self._selector.register(self._wake[0], selectors.EVENT_READ)
            # Programs go on when their pipes are read, whatever the threads of nodes are at.
            start_for_nobody(threading.Thread(target=self._run, name="dagorama-pipes", daemon=True))
        with suppress(BlockingIOError):
            os.write(self._wake[1], b".")

    def _run(self) -> None:
        selector = self._selector
        assert selector is not None
        while True:
            ready = [key.data for key, _ in selector.select()]
            if None in ready:
                os.read(self._wake[0], READ_BYTES)
            # The oldest first, and to its end: a program that has ended may have left half a line, and the next one may
            # have written too.
            for pipe in sorted(filter(None, ready), key=_age):
                self._drain(pipe)
            with self._lock:
                added, self._added = self._added, []
                finished, self._finished = self._finished, []
            for pipe in added:
                selector.register(pipe.reading, selectors.EVENT_READ, pipe)
            for pipe in finished:
                if pipe.log is not None:
                    self._drain(pipe)
                    pipe.close_log()

    def _drain(self, pipe: _Pipe) -> None:
        """Take what has come through a pipe, and its end where that has come."""
        taken = 0
        while taken < TURN_BYTES_MAX and (more := self._read(pipe)):
            taken += more

    def _read(self, pipe: _Pipe) -> int:
        """Take what has come through a pipe; return how much that was."""
        try:
            data = os.read(pipe.reading, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # somebody has closed it
            data = b""
        if not data:
            assert self._selector is not None
            with suppress(KeyError, ValueError, OSError):
                self._selector.unregister(pipe.reading)
            with suppress(OSError):
                os.close(pipe.reading)
            pipe.close_log()
            return 0
        self._show(pipe.scope, pipe.place[0], data)
        if pipe.log is not None:
            pipe.log.piped(pipe.place, data)
        return len(data)


def _age(pipe: _Pipe) -> int:
    return -pipe.place[1]


def log_here() -> tuple[Scope, AttemptLog] | None:
    """Return the log of the node for which this thread works, if it is still being written."""
    scope = scope_here()
    if scope is None or scope.logs is None:
        return None
    log = scope.logs.of(scope)
    return (scope, log) if isinstance(log, AttemptLog) and not log.is_over else None


def capture_programs(patches: Patches, pump: Pump) -> None:
    """Have programs captured that nodes start by way of `subprocess` or `os.system`."""
    make, run_in_shell = subprocess.Popen.__init__, os.system

    def make_with_pipes(
        self: Any,
        args: Any,
        bufsize: Any = -1,
        executable: Any = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        *others: Any,
        **options: Any,
    ) -> None:
        here = log_here() if stdout is None or stderr is None else None
        ends = []
        try:
            if here is not None and stdout is None:
                stdout = pump.pipe(*here, 1)
                ends.append(stdout)
            if here is not None and stderr is None:
                stderr = pump.pipe(*here, 2)
                ends.append(stderr)
            make(self, args, bufsize, executable, stdin, stdout, stderr, *others, **options)
        finally:
            for end in ends:
                os.close(end)

    def run_in_shell_with_pipes(command: Any) -> int:
        if log_here() is None:
            return run_in_shell(command)
        status = subprocess.call(command, shell=True, close_fds=False)
        return -status if status < 0 else status << 8  # as `os.wait` has it

    patches.put(subprocess.Popen, "__init__", make_with_pipes)
    patches.put(os, "system", run_in_shell_with_pipes)


class _Forks(threading.local):
    """The pipes of a fork that a thread is at: ends for writing, by the descriptors that they take the place of."""

    ends: dict[int, int] | None = None


_forks = _Forks()
_pump_of_forks: Pump | None = None


def capture_forks(pump: Pump | None) -> None:
    """Have children captured that nodes fork; with None, no longer."""
    global _pump_of_forks
    _pump_of_forks = pump


def _before_fork() -> None:
    here = log_here() if _pump_of_forks is not None else None
    if here is not None and _pump_of_forks is not None:
        _forks.ends = {descriptor: _pump_of_forks.pipe(*here, descriptor) for descriptor in (1, 2)}


def _in_parent() -> None:
    ends, _forks.ends = _forks.ends, None
    for end in (ends or {}).values():
        os.close(end)


def _in_child() -> None:
    ends, _forks.ends = _forks.ends, None
    for descriptor, end in (ends or {}).items():
        with suppress(OSError):
            os.dup2(end, descriptor)
        os.close(end)


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
