"""The log of an attempt: made when it writes something first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from logging import LogRecord
from math import inf
from threading import get_ident
from time import monotonic, time_ns
from typing import Protocol

from dagorama.calls.capture import RunningNode, Scope
from dagorama.worker.logs.lines import LINE_BYTES_MAX
from dagorama.worker.logs.packer import Attempt, Packer, Place
from dagorama.worker.logs.records import level_of, source_of, text_of

#: Longer text is taken piece by piece, so that there are no copies of all of it.
PIECE_CHARS = 64 * 1024


class Sink(Protocol):
    """The way that all output of a worker takes: a `Sender`, or the store of a broker in the same process."""

    def put(self, attempt: Attempt, event: Callable[[Packer], None], text: bytes) -> None:
        """Put something in that has this text."""
        ...

    def put_always(self, event: Callable[[Packer], None]) -> None:
        """Put something in that must not be dropped."""
        ...

    def opened(self, log: AttemptLog) -> None:
        """Ask a log now and then for lines that were begun."""
        ...

    def closed(self, log: AttemptLog) -> None:
        """Ask it no more."""
        ...


class Pipe(Protocol):
    """A pipe that programs write into which a node has started."""

    def finish(self) -> None:
        """Take what is in it; all that comes later is not the node's. `AttemptLog.closed` is called then."""
        ...


class WorkerLogs:
    """The logs of the nodes that a worker runs."""

    def __init__(self, sender: Sink) -> None:
        """Hand all that nodes write to this sender."""
        self._sender = sender
        #: For the making of logs, and for their pipes. The collector may run a user's code, and come again.
        self._lock = threading.RLock()

    def of(self, scope: Scope) -> AttemptLog:
        """Return the log of a node, which may have none as yet."""
        with self._lock:
            if isinstance(scope.logs, AttemptLog):  # another thread of the node was faster
                return scope.logs
            assert scope.node is not None
            log = AttemptLog(self._sender, attempt_of(scope.node), self._lock)
            # With its report the node has ended without a word; and has a thread left that would begin again.
            if getattr(scope.node, "report", None) is not None:
                log.end()
            scope.logs = log
            return log


def attempt_of(node: RunningNode) -> Attempt:
    """Return the attempt that a node is at."""
    return Attempt(node.instance_id, node.node_id, node.attempt, node.token)


class Begun:
    """A line that a thread has begun to print."""

    __slots__ = ("began_at", "pieces", "size")

    def __init__(self, text: str) -> None:
        """Begin with a text, now."""
        self.began_at = monotonic()
        self.pieces = [text]
        self.size = len(text)


class AttemptLog:
    """All that an attempt prints and logs. For any thread."""

    __slots__ = ("_begun", "_lock", "_pipes", "_sender", "attempt", "is_over")

    def __init__(self, sender: Sink, attempt: Attempt, lock: AbstractContextManager[object]) -> None:
        """Begin without a line. The lock may be taken again by a thread that holds it."""
        self._sender = sender
        self.attempt = attempt
        self.is_over = False
        self._lock = lock  #: for the pipes
        self._pipes: list[Pipe] = []
        self._begun: dict[Place, Begun] = {}  #: by where they are printed
        sender.opened(self)

    def of(self, scope: Scope) -> AttemptLog:
        """Return this log, as there is one."""
        return self

    def printed(self, descriptor: int, text: str | bytes) -> None:
        """Take what a thread prints to standard output, 1, or error, 2."""
        if self.is_over:
            return
        place = (descriptor, get_ident())
        # A line comes in several pieces. A thread that has taken them out of here, be it the sender's, is alone with
        # them.
        begun = self._begun.pop(place, None)
        if type(text) is str and len(text) < PIECE_CHARS:
            if begun is None:
                if "\n" in text:
                    self._put(place, text)
                else:
                    self._begun[place] = Begun(text)
                return
            begun.pieces.append(text)
            begun.size += len(text)
            if "\n" in text or begun.size > PIECE_CHARS:
                self._put(place, "".join(begun.pieces))
            else:
                self._begun[place] = begun
            return
        if begun is not None:
            self._put(place, "".join(begun.pieces))
        for begin in range(0, len(text), PIECE_CHARS):
            self._put(place, text[begin : begin + PIECE_CHARS])

    def _put(self, place: Place, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else _encoded(text)
        if data:
            self._sender.put(self.attempt, partial(_printed, self.attempt, place, data, time_ns() // 1000), data)

    def tell_begun(self, before: float = inf) -> None:
        """Hand on lines that were begun before that time, by `time.monotonic()`."""
        for place, begun in list(self._begun.items()):
            if begun.began_at < before:
                taken = self._begun.pop(place, None)
                if taken is not None:
                    self._put(place, "".join(taken.pieces))

    def recorded(self, record: LogRecord) -> None:
        """Take a record of `logging`."""
        if self.is_over:
            return
        text = text_of(record)
        # One byte too many has the packer leave a mark. The rest counts as one line's, however long it is.
        data = _encoded(text[: LINE_BYTES_MAX + 1])
        missing = _bytes_after(text, LINE_BYTES_MAX + 1)
        attempt, source, level, time_us = self.attempt, source_of(record), level_of(record), time_ns() // 1000

        def take(packer: Packer) -> None:
            packer.recorded(attempt, source, level, data, time_us)
            if missing:
                packer.missed(attempt, 0, missing, time_us)

        self._sender.put(attempt, take, data)

    def end(self) -> None:
        """Take note that the function has ended, once all is taken that its programs have written."""
        with self._lock:
            pipes, self.is_over = list(self._pipes), True
        self.tell_begun()
        if not pipes:
            self._ended()
        for pipe in pipes:
            pipe.finish()

    def opened(self, pipe: Pipe) -> None:
        """Wait for this pipe at the end."""
        with self._lock:
            self._pipes.append(pipe)

    def piped(self, place: Place, data: bytes) -> None:
        """Take what came through a pipe, maybe just after the end of the function."""
        self._sender.put(self.attempt, partial(_printed, self.attempt, place, data, time_ns() // 1000), data)

    def closed(self, pipe: Pipe, place: Place) -> None:
        """Take note that nothing more comes through a pipe."""
        attempt, time_us = self.attempt, time_ns() // 1000
        self._sender.put_always(lambda packer: packer.closed(attempt, place, time_us))
        with self._lock:
            self._pipes.remove(pipe)
            is_last = self.is_over and not self._pipes
        if is_last:
            self._ended()

    def _ended(self) -> None:
        self._sender.closed(self)
        attempt, time_us = self.attempt, time_ns() // 1000
        self._sender.put_always(lambda packer: packer.ended(attempt, time_us))


def _bytes_after(text: str, place: int) -> int:
    """Return how many bytes the characters from a place on take."""
    if text.isascii():
        return max(0, len(text) - place)
    return sum(len(_encoded(text[at : at + PIECE_CHARS])) for at in range(place, len(text), PIECE_CHARS))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # halves of characters
        return text.encode("utf-8", "backslashreplace")


def _printed(attempt: Attempt, place: Place, data: bytes, time_us: int, packer: Packer) -> None:
    packer.printed(attempt, place, data, time_us)
