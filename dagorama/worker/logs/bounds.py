"""Bounds on the output of an attempt: the first half of its bytes is kept as they come, and so are the last lines.

All that comes between is dropped, and counted.
"""

from __future__ import annotations

from collections import deque

from dagorama.worker.logs.lines import Line

#: The last lines of an attempt wait in memory for its end: of one up to so many bytes, of all together up to the other.
TAIL_BYTES_MAX = 2**20
TAILS_BYTES_MAX = 16 * 2**20
#: A line in memory takes that beside its text.
LINE_BYTES = 128


class Tails:
    """The memory that the last lines of all attempts take together."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        """Begin with none."""
        self.size = 0


class Kept:
    """The bounds of one attempt."""

    __slots__ = ("_head_bytes", "_tail", "_tail_bytes", "_tail_bytes_max", "_tails", "dropped_bytes", "dropped_lines")

    def __init__(self, bytes_max: int, tails: Tails) -> None:
        """Keep so many bytes at most."""
        self._head_bytes = bytes_max - bytes_max // 2
        self._tail_bytes_max = min(bytes_max // 2, TAIL_BYTES_MAX)
        self._tails = tails
        self._tail: deque[Line] = deque()
        self._tail_bytes = 0
        #: Since this was told last.
        self.dropped_lines = 0
        self.dropped_bytes = 0

    def is_first(self, line: Line) -> bool:
        """Take a line; return whether it is of the first ones, which go out at once."""
        if self._head_bytes > 0:
            self._head_bytes -= len(line.text) + 1
            return True
        size = len(line.text) + LINE_BYTES
        self._tail.append(line)
        self._resize(size)
        while self._tail and (self._tail_bytes > self._tail_bytes_max or self._tails.size > TAILS_BYTES_MAX):
            self._drop(self._tail.popleft())
        return False

    def _drop(self, line: Line) -> None:
        self._resize(-len(line.text) - LINE_BYTES)
        self.dropped_lines += 1
        self.dropped_bytes += len(line.text)

    def _resize(self, by: int) -> None:
        self._tail_bytes += by
        self._tails.size += by

    def last(self) -> list[Line]:
        """Return the last lines, which are kept no longer."""
        lines = list(self._tail)
        self._tail.clear()
        self._resize(-self._tail_bytes)
        return lines
