"""Lines out of the pieces in which they are printed."""

from __future__ import annotations

from typing import NamedTuple

#: A longer line, or text of a record, is cut there.
LINE_BYTES_MAX = 64 * 1024
#: The end of a line that was cut. What it has lost counts as dropped.
CUT = b" [cut at 64 KiB]"


class Line(NamedTuple):
    """A line that was printed, or a record of `logging`, which may have several lines in its text."""

    time_us: int  #: since the epoch
    level: int  #: 0 for what was printed
    source: str  #: as on the wire
    text: bytes  #: without the end of the line


def cut(text: bytes) -> bytes:
    """Return a text that is not too long for a line, with a mark where something is missing."""
    if len(text) <= LINE_BYTES_MAX:
        return text
    end = LINE_BYTES_MAX
    # A character of UTF-8 stays whole; what is none has at most three bytes too few.
    while end > LINE_BYTES_MAX - 3 and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end] + CUT


def lost(text: bytes) -> int:
    """Return how many bytes of a text `cut` leaves out."""
    return len(text) - (len(cut(text)) - len(CUT)) if len(text) > LINE_BYTES_MAX else 0


class Splitter:
    """Splits what one thread prints to one stream.

    A carriage return within a line has the cursor go back, as progress bars do: of such a line only the text behind the
    last one is left, as on a terminal.
    """

    __slots__ = ("_goes_back", "_held", "_is_told", "_skips", "is_bar")

    def __init__(self) -> None:
        """Begin with an empty line."""
        self._held = bytearray()
        self._skips = False  #: whether the rest of a line that was cut is still to come
        self._goes_back = False  #: whether the next letter overwrites the line
        self._is_told = False  #: whether the line that goes on has been told in part by `flush`
        self.is_bar = False  #: whether the line that goes on has overwritten itself

    @property
    def has_rest(self) -> bool:
        """Return whether a line was begun that has not been told as yet."""
        return bool(self._held)

    def take(self, data: bytes) -> tuple[list[bytes], int]:
        """Take a piece; return the lines that end in it, and how many bytes of them are left out."""
        left_out = 0
        if self._skips:
            skipped, end, data = data.partition(b"\n")
            left_out = len(skipped)
            if not end:
                return [], left_out
            self._skips = False
        first, *lines = data.split(b"\n")
        if not lines:
            return self._hold(first, left_out)
        rest = lines.pop()
        held = self._held
        if held:
            held += first
            first = bytes(held)
            held.clear()
        if first.strip(b"\r") or not self._is_told:
            lines.insert(0, first)
        self._is_told = False
        if self.is_bar or b"\r" in data:
            lines = [_overwritten(line) for line in lines]
            self.is_bar = self._goes_back = False
        if len(data) + len(first) > LINE_BYTES_MAX:
            left_out += sum(map(lost, lines))
            lines = [cut(line) for line in lines]
        if rest:
            more, left_out = self._hold(rest, left_out)
            lines += more
        return lines, left_out

    def _hold(self, data: bytes, left_out: int) -> tuple[list[bytes], int]:
        """Keep the begin of a line until it ends or is too long."""
        held = self._held
        held += data
        if self._goes_back or b"\r" in data:
            self.is_bar = True
            self._goes_back = held.endswith(b"\r")
            kept = _overwritten(bytes(held))
            held[:] = kept + b"\r" if self._goes_back else kept
        if len(held) <= LINE_BYTES_MAX:
            return [], left_out
        line = bytes(held)
        held.clear()
        self._skips, self.is_bar, self._goes_back = True, False, False
        return [cut(line)], left_out + lost(line)

    def flush(self) -> bytes | None:
        """Return what there is of the line that goes on, and go on without it; None where there is nothing."""
        text = bytes(self._held).rstrip(b"\r")
        self._held.clear()
        self._goes_back = False
        if not text:
            return None
        self._is_told = True
        return text


def _overwritten(line: bytes) -> bytes:
    """Return what a terminal would show of a line, but for the ends of longer texts under shorter ones."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
