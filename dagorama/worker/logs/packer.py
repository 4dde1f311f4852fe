"""From what attempts print and log to blocks for the broker. For one thread at a time; time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagorama.worker.logs.blocks import Draft
from dagorama.worker.logs.bounds import Kept, Tails
from dagorama.worker.logs.lines import Line, Splitter, cut, lost

if TYPE_CHECKING:
    from dagorama.v1.logs_pb2 import LogBlock

#: A line that was begun is told in part when nothing ends it for so long; a progress bar less often.
REST_US = 1_000_000
BAR_US = 10_000_000
#: What was dropped of an attempt is told no more often than this, before its end.
DROPPED_US = 1_000_000

#: A thread's part of a stream. A stream is told by its descriptor, 1 or 2.
Place = tuple[int, int]
SOURCES = {1: "stdout", 2: "stderr"}


class Attempt:
    """An attempt that has written something."""

    __slots__ = ("instance_id", "is_over", "kept", "node_id", "number", "splitters", "token", "waited_s")

    def __init__(self, instance_id: bytes, node_id: bytes, number: int, token: int) -> None:
        """Name it; `number` counts from 1, and `token` is that of its lease."""
        self.instance_id = instance_id
        self.node_id = node_id
        self.number = number
        self.token = token
        self.splitters: dict[Place, Splitter] = {}
        self.kept: Kept | None = None  #: None before its first line
        self.is_over = False
        self.waited_s = 0.0  #: how long its function was held up because it wrote faster than could be sent


class Packer:
    """All that is known of what attempts have written, up to the block that it goes into."""

    def __init__(self, bytes_max: int) -> None:
        """Keep so many bytes of each attempt."""
        self._bytes_max = bytes_max
        self._tails = Tails()
        self._drafts: dict[bytes, Draft] = {}  #: by instance
        self._closed: list[LogBlock] = []
        self._sequence = 0
        #: Lines that were begun, and when they are to be told in part, in the order in which they began.
        self._rests: dict[tuple[Attempt, Place], int] = {}
        self._dropping: dict[Attempt, int] = {}  #: of which something was dropped, and when that is to be told
        self._tailed: dict[Attempt, None] = {}  #: of which last lines wait

    # -- what attempts do ----------------------------------------------------------------------------------------------

    def printed(self, attempt: Attempt, place: Place, data: bytes, time_us: int) -> None:
        """Take a piece of what a thread prints to a stream."""
        if attempt.is_over:
            return
        splitter = attempt.splitters.get(place)
        if splitter is None:
            splitter = attempt.splitters[place] = Splitter()
        lines, left_out = splitter.take(data)
        source = SOURCES[place[0]]
        for text in lines:
            self._add(attempt, Line(time_us, 0, source, text))
        if left_out:
            self._drop(attempt, 0, left_out, time_us)
        key = (attempt, place)
        if not splitter.has_rest:
            if self._rests:
                self._rests.pop(key, None)
        elif lines or key not in self._rests:
            self._rests.pop(key, None)
            self._rests[key] = time_us + (BAR_US if splitter.is_bar else REST_US)

    def recorded(self, attempt: Attempt, source: str, level: int, text: bytes, time_us: int) -> None:
        """Take a record of `logging`."""
        if attempt.is_over:
            return
        self._add(attempt, Line(time_us, level, source, cut(text)))
        if left_out := lost(text):
            self._drop(attempt, 0, left_out, time_us)

    def closed(self, attempt: Attempt, place: Place, time_us: int) -> None:
        """Take note that nothing more comes from there."""
        if place in attempt.splitters:
            self._tell_rest(attempt, place, time_us)
            del attempt.splitters[place]

    def missed(self, attempt: Attempt, lines: int, text_bytes: int, time_us: int) -> None:
        """Take note of what an attempt has written that never came here."""
        if not attempt.is_over:
            self._drop(attempt, lines, text_bytes, time_us)

    def ended(self, attempt: Attempt, time_us: int) -> None:
        """Take note that the function of an attempt has ended. It writes nothing any more, whatever comes."""
        for place in attempt.splitters:
            self._tell_rest(attempt, place, time_us)
        attempt.is_over = True
        self._tell_last(attempt)
        self._draft(attempt).end(attempt)
        attempt.splitters.clear()

    # -- what is told --------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        """Return when something is to be told that waits in memory; None where there is nothing."""
        return min([*self._rests.values(), *self._dropping.values()], default=None)

    def tick(self, time_us: int) -> None:
        """Tell what is due."""
        for (attempt, place), due_us in list(self._rests.items()):
            if due_us <= time_us:
                self._tell_rest(attempt, place, time_us)
        for attempt, due_us in list(self._dropping.items()):
            if due_us <= time_us:
                self._tell_dropped(attempt)

    def blocks(self) -> list[LogBlock]:
        """Return all that there is to send; it is the caller's from now on."""
        for draft in self._drafts.values():
            self._close(draft)
        self._drafts.clear()
        blocks, self._closed = self._closed, []
        return blocks

    def rest(self, time_us: int) -> list[LogBlock]:
        """Return also what waits for the end of attempts that go on, as none is awaited any more."""
        for attempt, place in list(self._rests):
            self._tell_rest(attempt, place, time_us)
        for attempt in {**self._dropping, **self._tailed}:
            self._tell_last(attempt)
        return self.blocks()

    def _tell_last(self, attempt: Attempt) -> None:
        self._tell_dropped(attempt)
        self._tailed.pop(attempt, None)
        for line in attempt.kept.last() if attempt.kept is not None else ():
            self._put(attempt, line)

    def _tell_rest(self, attempt: Attempt, place: Place, time_us: int) -> None:
        self._rests.pop((attempt, place), None)
        text = attempt.splitters[place].flush()
        if text is not None:
            self._add(attempt, Line(time_us, 0, SOURCES[place[0]], text))

    def _tell_dropped(self, attempt: Attempt) -> None:
        self._dropping.pop(attempt, None)
        kept = attempt.kept
        if kept is not None and (kept.dropped_lines or kept.dropped_bytes):
            self._draft(attempt).drop(attempt, kept.dropped_lines, kept.dropped_bytes)
            kept.dropped_lines = kept.dropped_bytes = 0

    def _drop(self, attempt: Attempt, lines: int, text_bytes: int, time_us: int) -> None:
        kept = self._kept(attempt)
        kept.dropped_lines += lines
        kept.dropped_bytes += text_bytes
        self._dropping.setdefault(attempt, time_us + DROPPED_US)

    def _add(self, attempt: Attempt, line: Line) -> None:
        kept = self._kept(attempt)
        if kept.is_first(line):
            self._put(attempt, line)
        else:
            self._tailed[attempt] = None
            self._dropping.setdefault(attempt, line.time_us + DROPPED_US)

    def _put(self, attempt: Attempt, line: Line) -> None:
        draft = self._draft(attempt)
        draft.add(attempt, line)
        if draft.is_full:
            del self._drafts[attempt.instance_id]
            self._close(draft)

    def _kept(self, attempt: Attempt) -> Kept:
        kept = attempt.kept
        if kept is None:
            kept = attempt.kept = Kept(self._bytes_max, self._tails)
        return kept

    def _draft(self, attempt: Attempt) -> Draft:
        draft = self._drafts.get(attempt.instance_id)
        if draft is None or draft.is_full:
            if draft is not None:
                self._close(draft)
            draft = self._drafts[attempt.instance_id] = Draft(attempt.instance_id)
        return draft

    def _close(self, draft: Draft) -> None:
        self._sequence += 1
        self._closed.append(draft.close(self._sequence))
