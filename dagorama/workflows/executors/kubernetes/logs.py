"""The log of a pod, followed by a thread, each line told once: over cuts of the connection, and deaths of workers.

A line has the time at which its node has taken it. The last time that was told, with how many lines of it were, is the
position: it is an annotation of the Job, written before the lines are passed on. The API gives a log from a time on,
and what was told of it is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Condition, Event, Thread
from time import monotonic

from dagorama.workflows.executors.kubernetes.cluster import Cluster, ClusterAway, ClusterRefuses, NotThere
from dagorama.workflows.executors.kubernetes.manifest import TOLD
from dagorama.workflows.executors.port import Output

#: So much is read before it is passed on.
_BUFFER_BYTES_MAX = 4 * 2**20
#: The position is written so often at most, unless the buffer is full: it is a write of the cluster's store.
_NOTE_S = 1.0
#: A log whose connection was cut is asked for again after so long, at first and in the end.
_AGAIN_S, _AGAIN_MAX_S = 0.1, 5.0
#: What is left of a log when its command has ended is waited for so long.
_REST_S = 60.0
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was told: up to a time, with `count` lines of that time."""

    time: str = ""
    count: int = 0

    @classmethod
    def read(cls, text: str) -> Position:
        """Return the position that a text has; the beginning for none."""
        time, _, count = text.partition(" ")
        return cls(time, int(count)) if time and count.isdigit() else cls()

    def __str__(self) -> str:
        return f"{self.time} {self.count}"


class Lines:
    """Takes a log apart into lines, from a position on."""

    def __init__(self, position: Position) -> None:
        """Begin at a position; `since` of the request is its time."""
        self.position = position
        self.rest = b""
        self._passing = bool(position.time)
        self._left = position.count
        self._until = _moment(f"{position.time} ".encode()) if position.time else None

    def take(self, data: bytes) -> bytes:
        """Return the text of the lines that are whole with this piece, and go on to the position after them."""
        *whole, self.rest = (self.rest + data).split(b"\n")
        return b"".join(self._text(line) + b"\n" for line in whole if not self._was_told(line))

    def end(self) -> bytes:
        """Return the text of the last line, which has no end."""
        line, self.rest = self.rest, b""
        return self._text(line) if line and not self._was_told(line) else b""

    def _was_told(self, line: bytes) -> bool:
        if not self._passing:
            return False
        moment = _moment(line)
        if moment is None or self._until is None or moment < self._until:
            return True
        if moment == self._until and self._left:
            self._left -= 1
            return True
        self._passing = False
        return False

    def _text(self, line: bytes) -> bytes:
        found = _TIME.match(line)
        if found is None:  # the rest of a long line, which some nodes give no time of its own
            return line
        time = line[: found.end() - 1].decode()
        self.position = Position(time, self.position.count + 1 if time == self.position.time else 1)
        return line[found.end() :]


def _moment(line: bytes) -> tuple[datetime, str] | None:
    found = _TIME.match(line)
    if found is None:
        return None
    seconds = datetime.fromisoformat((found[1] + found[3]).decode())
    return seconds, (found[2] or b"").decode().ljust(9, "0")


class PodLogs:
    """The `JobLogs` of a Job."""

    def __init__(self, cluster: Cluster, job: str, position: Position) -> None:
        """Follow nothing until `begin`."""
        self._cluster = cluster
        self._job = job
        self._position = position  # of what was read
        self._buffer = bytearray()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._note_at = 0.0
        self._is_closed = False
        self._is_done = False
        #: So often the connection has ended: the command may have, too.
        self.cuts = 0
        self._finished = Event()
        self._connected = Event()

    def begin(self, pod: str) -> None:
        """Follow the log of a pod, once it has one; a no-op after the first call."""
        if self._thread is None:
            self._thread = Thread(target=self._run, args=(pod,), name="dagorama-pod-log", daemon=True)
            self._thread.start()

    def wait_for_connection(self, timeout_s: float) -> None:
        """Wait until a log that was begun is on its way, so that no line of the pod is missed from now on."""
        if self._thread is not None:
            self._connected.wait(timeout_s)

    def finish(self) -> None:
        """Take note that the command has ended, so that what is there of its log is all that comes."""
        self._finished.set()

    def read(self) -> Sequence[Output]:
        """Return what has come since the last call; after the end what is left is waited for."""
        if self._thread is None:
            return []
        with self._changed:
            if self._finished.is_set():
                self._changed.wait_for(lambda: self._buffer or self._is_done, _REST_S)
            elif not self._may_read():
                return []
            data, position = bytes(self._buffer), self._position
            self._buffer.clear()
            self._changed.notify_all()
        if not data:
            return []
        self._note(position)
        return [Output(stream=1, data=data)]

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something to read, or the connection has ended, `timeout_s` at most."""
        with self._changed:
            until = monotonic() + timeout_s
            cuts = self.cuts
            while (left_s := until - monotonic()) > 0 and not self._may_read() and self.cuts == cuts:
                self._changed.wait(min(left_s, max(0.01, self._note_at - monotonic())) if self._buffer else left_s)

    def close(self) -> None:
        """Follow no more; the thread ends when its connection tells it something, or its time is over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._finished.set()

    def _may_read(self) -> bool:
        is_full = len(self._buffer) >= _BUFFER_BYTES_MAX
        return bool(self._buffer) and (is_full or monotonic() >= self._note_at)

    def _note(self, position: Position) -> None:
        self._note_at = monotonic() + _NOTE_S
        with suppress(ClusterAway, ClusterRefuses):  # told all the same: it is told twice where this worker dies now
            self._cluster.annotate_job(self._job, {TOLD: str(position)})

    def _run(self, pod: str) -> None:
        pause_s = _AGAIN_S
        lines = Lines(self._position)
        give_up_at = None
        while not self._is_closed:
            is_last = self._finished.is_set()
            if is_last and give_up_at is None:
                give_up_at = monotonic() + _REST_S
            before = self._position
            problem = ""
            try:
                with self._cluster.log(pod, since=self._position.time, follow=not is_last) as pieces:
                    self._connected.set()
                    lines = Lines(self._position)
                    self._take(lines, pieces)
                if is_last:
                    break
            except NotThere:
                break  # what was printed last is in `lines`
            except Exception as error:  # whatever it is, such as a connection that was closed from here: it goes on
                problem = str(error) or type(error).__name__
            if give_up_at is not None and monotonic() >= give_up_at:
                self._put(f"dagorama: the rest of the output cannot be read: {problem}\n".encode(), self._position)
                lines.rest = b""
                break
            with self._changed:
                self.cuts += 1
                self._changed.notify_all()
            pause_s = _AGAIN_S if self._position != before else min(2 * pause_s, _AGAIN_MAX_S)
            self._finished.wait(pause_s)
        self._put(lines.end(), lines.position)
        with self._changed:
            self._is_done = True
            self._connected.set()
            self._changed.notify_all()

    def _take(self, lines: Lines, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._put(lines.take(piece), lines.position)
            if self._is_closed:
                return

    def _put(self, data: bytes, position: Position) -> None:
        """Add to the buffer, once there is room."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._buffer) < _BUFFER_BYTES_MAX or self._is_closed)
            self._position = position
            if data:
                self._buffer += data
                self._changed.notify_all()
