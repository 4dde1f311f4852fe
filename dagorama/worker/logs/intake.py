"""The queue of what nodes write, until it is packed. Any thread puts something in, and it is bounded.

A function is never held up for long: where it writes faster than is packed, lines are dropped, and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Protocol

from dagorama.worker.logs.packer import Attempt, Packer

#: So much may wait to be packed, and so much is packed at once.
QUEUE_BYTES_MAX = 8 * 2**20
PACK_BYTES = 2**20
#: What an event in the queue takes beside its text.
EVENT_BYTES = 150
#: A line that was begun, and does not go on, waits for so long.
FLUSH_BEGUN_S = 1.0
#: A function that writes faster than is sent is held up as long as there is progress at least this often, and no longer
#: than that in one attempt.
STUCK_S = 0.5
HELD_UP_S_MAX = 5.0

Event = Callable[[Packer], None]
#: Lines and bytes that were dropped, by attempt.
Missed = dict[Attempt, tuple[int, int]]


class Open(Protocol):
    """The log of a node that runs."""

    def tell_begun(self, before: float = inf) -> None:
        """Put in lines that were begun before that time, by `time.monotonic()`."""
        ...


class Intake:
    """The queue. Writers take the lock of `changed` themselves; the packing side holds it when it calls."""

    def __init__(self, changed: threading.Condition) -> None:
        """Begin empty; `changed` is notified when there is something to pack, and by `step`."""
        self._changed = changed
        self._open: dict[Open, None] = {}  #: logs in which lines may be begun
        self._queue: deque[tuple[Event, int]] = deque()  #: with their sizes
        self._missed: Missed = {}
        self._is_stuck = False  #: whether somebody has waited in vain for room
        self.size_bytes = 0  #: of what is in the queue
        self.wakes_at: float = inf  #: who packs is woken when the queue has so many bytes
        self.steps = 0  #: grows with each step forward
        self.is_over = False  #: nothing is taken any more
        self.off_until = 0.0  #: nothing is taken before that time
        #: Of text that was put in: taken, and dropped for want of room or of a broker.
        self.taken_bytes = self.dropped_bytes = 0

    # -- for who writes ------------------------------------------------------------------------------------------------

    def put(self, attempt: Attempt, event: Event, text: bytes) -> None:
        """Put something in that has this text; drop it where there is no room soon."""
        size = len(text) + EVENT_BYTES
        with self._changed:
            if self.size_bytes > QUEUE_BYTES_MAX and not self._waits_for_room(attempt):
                lines, text_bytes = self._missed.get(attempt, (0, 0))
                self._missed[attempt] = (lines + (text.count(b"\n") or 1), text_bytes + len(text))
                self.dropped_bytes += len(text)
            elif self._put(event, size):
                self.taken_bytes += len(text)
            else:
                self.dropped_bytes += len(text)

    def put_always(self, event: Event) -> None:
        """Put something in that must not be dropped."""
        with self._changed:
            self._put(event, EVENT_BYTES)

    def opened(self, log: Open) -> None:
        """Have a log asked now and then for lines that were begun, until it is closed."""
        with self._changed:
            self._open[log] = None

    def closed(self, log: Open) -> None:
        """Ask a log no more."""
        with self._changed:
            self._open.pop(log, None)

    def _put(self, event: Event, size: int) -> bool:
        """Put something in, unless nobody will take it; return whether."""
        if self.is_over or (self.off_until > 0 and self.off_until > monotonic()):
            return False
        self._queue.append((event, size))
        self.size_bytes += size
        if self.size_bytes >= self.wakes_at:
            self.wakes_at = inf
            self._changed.notify_all()
        return True

    def _waits_for_room(self, attempt: Attempt) -> bool:
        """Wait for room; return whether there is any."""
        if self._is_stuck:
            return False
        began_at = monotonic()
        while self.size_bytes > QUEUE_BYTES_MAX and not self.is_over:
            steps = self.steps
            self._changed.wait(STUCK_S)
            if steps == self.steps or attempt.waited_s + monotonic() - began_at > HELD_UP_S_MAX:
                self._is_stuck = True
                break
        attempt.waited_s += monotonic() - began_at
        return self.size_bytes <= QUEUE_BYTES_MAX

    # -- for who packs -------------------------------------------------------------------------------------------------

    def has_some(self) -> bool:
        """Return whether there is anything to pack."""
        return bool(self._queue or self._missed)

    def ask_for_begun(self) -> float:
        """Take lines that were begun a while ago; return when to ask again, in seconds from now."""
        self.tell_begun(monotonic() - FLUSH_BEGUN_S)
        return FLUSH_BEGUN_S if self._open else inf

    def tell_begun(self, before: float = inf) -> None:
        """Take lines that were begun before that time."""
        for log in list(self._open):
            log.tell_begun(before)

    def take(self) -> tuple[list[Event], Missed]:
        """Return what there is, and what was dropped; no more than is packed in a moment, so that writers see it go."""
        waiting, events, taken_bytes = self._queue, list[Event](), 0
        while waiting and taken_bytes < PACK_BYTES:
            event, size = waiting.popleft()
            events.append(event)
            taken_bytes += size
        self.size_bytes -= taken_bytes
        missed, self._missed = self._missed, {}
        self._is_stuck = False
        self.step()
        return events, missed

    def step(self) -> None:
        """Have all who wait see that it goes on."""
        self.steps += 1
        self._changed.notify_all()

    def clear(self) -> None:
        """Forget what is in the queue."""
        self._queue.clear()
        self._missed.clear()
        self.size_bytes = 0
