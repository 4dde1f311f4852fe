"""The lines that nodes have printed, and gaps where some are missing."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from dagorama.analysis.wording import shown_size

if TYPE_CHECKING:
    from dagorama.v1.logs_pb2 import LogLines

#: A block that comes to more than this is not opened: 1 MiB of zeros may be the form of 1 GiB.
LINES_BYTES_MAX = 32 * 2**20

#: Compressions, as they travel.
_NONE, _ZLIB = 1, 2

#: The prefix of sources that are loggers.
_LOGGER = "log:"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a function has printed or logged."""

    #: When it was written, in UTC, by the clock of the worker's machine.
    time: datetime
    #: As in `logging`; 0 for what was printed.
    level: int
    #: "stdout", "stderr", or the name of a logger.
    source: str
    #: Whether it comes from a logger.
    is_logged: bool
    #: Without the end of the line. Bytes that are not UTF-8 are there as "\\xff".
    text: str
    node_id: UUID
    #: From 1.
    attempt: int
    #: Host and process that ran it.
    worker: str

    @property
    def level_name(self) -> str:
        """Return the name of the level, such as "WARNING", in this process; empty for what was printed."""
        return logging.getLevelName(self.level) if self.is_logged else ""

    def __str__(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGap:
    """Lines that are missing here, or at the end of an attempt."""

    #: How many, as far as that is known, and why.
    text: str
    #: None where they may be of any node.
    node_id: UUID | None = None
    #: 0 where they may be of any.
    attempt: int = 0
    #: Empty where it may be any.
    worker: str = ""

    def __str__(self) -> str:
        """Return the text."""
        return self.text


def in_order_of_time(lines: Iterable[LogLine | LogGap]) -> list[LogLine | LogGap]:
    """Return lines by the times at which they were written, but each attempt's, and its gaps, as they came.

    Gaps that may be of any node are first.
    """
    ordered: list[tuple[datetime, LogLine | LogGap]] = []
    lasts: dict[tuple[UUID | None, int], datetime] = {}
    for line in lines:
        attempt = (line.node_id, line.attempt)
        last = lasts.get(attempt, _EPOCH)
        lasts[attempt] = max(line.time, last) if isinstance(line, LogLine) else last
        ordered.append((lasts[attempt], line))
    ordered.sort(key=itemgetter(0))
    return [line for _, line in ordered]


# -- blocks, as a broker gives them ------------------------------------------------------------------------------------


class LogPart(NamedTuple):
    """One attempt in a block."""

    node_id: bytes
    attempt: int
    #: The fencing token under which it began. That of a later attempt is higher.
    token: int
    #: Since the block before, because the attempt has written so much.
    dropped_lines: int
    dropped_bytes: int
    #: No further block has lines of it.
    ended: bool


class LogBlock(NamedTuple):
    """Lines of one instance, as a worker has sent them."""

    worker: str
    parts: Sequence[LogPart]
    data: bytes
    compression: int


class LogChunk(NamedTuple):
    """A part of what is kept of an instance."""

    blocks: Sequence[LogBlock]
    #: The place after it, to go on from.
    cursor: int
    #: What is missing, for people.
    gaps: Sequence[str]
    #: Nothing comes after it.
    last: bool


class OpenAttempt(NamedTuple):
    """An attempt whose end has not come."""

    node_id: UUID
    attempt: int
    worker: str
    #: Of its last line; None where there is none.
    time: datetime | None
    #: Whether the node has begun anew after it.
    is_superseded: bool = False


class LogReader:
    """Makes lines and gaps of blocks, in order. Knows which attempts have not ended."""

    def __init__(self, node_id: bytes | None = None, attempt: int | None = None) -> None:
        """Leave out what is not of that node, and not of that attempt."""
        self._node_id = node_id
        self._attempt = attempt
        self._open: dict[bytes, dict[int, OpenAttempt]] = {}
        self._told: set[str] = set()

    def read(self, chunk: LogChunk) -> Iterator[LogLine | LogGap]:
        """Yield what a chunk has. The broker's word on what is missing comes after the lines, and once."""
        for block in chunk.blocks:
            yield from self._lines_in(block)
        for text in chunk.gaps:
            if text not in self._told:
                self._told.add(text)
                yield LogGap(text=text)

    def open_attempts(self) -> list[OpenAttempt]:
        """Return the attempts of which something has come, and not the end."""
        return [each for attempts in self._open.values() for each in attempts.values()]

    def _lines_in(self, block: LogBlock) -> Iterator[LogLine | LogGap]:
        worker, parts = block.worker, block.parts
        wanted = [self._wants(part) for part in parts]
        if not any(wanted):
            return
        untold = {index: part for index, part in enumerate(parts) if wanted[index] and _has_dropped(part)}
        ids = [UUID(bytes=part.node_id) for part in parts]
        times: dict[int, datetime] = {}
        try:
            lines = _opened(block)
        except _Unreadable as error:
            only = parts[0] if len(parts) == 1 else None
            yield LogGap(
                text=f"a block of lines from worker {worker} cannot be read: {error}",
                node_id=ids[0] if only else None,
                attempt=only.attempt if only else 0,
                worker=worker,
            )
            lines = []
        for index, time_us, level, source, text in lines:
            if not wanted[index]:
                continue
            if index in untold:
                yield _dropped(untold.pop(index), worker)
            time = times[index] = _time(time_us)
            is_logged = source.startswith(_LOGGER)
            yield LogLine(
                time=time,
                level=level,
                source=source.removeprefix(_LOGGER),
                is_logged=is_logged,
                text=text.decode(errors="backslashreplace"),
                node_id=ids[index],
                attempt=parts[index].attempt,
                worker=worker,
            )
        for part in untold.values():
            yield _dropped(part, worker)
        for index, part in enumerate(parts):
            if wanted[index]:
                self._note(part, OpenAttempt(ids[index], part.attempt, worker, times.get(index)))

    def _wants(self, part: LogPart) -> bool:
        return self._node_id in (None, part.node_id) and self._attempt in (None, part.attempt)

    def _note(self, part: LogPart, attempt: OpenAttempt) -> None:
        attempts = self._open.setdefault(part.node_id, {})
        for token, other in attempts.items():
            if token < part.token:  # tokens grow
                attempts[token] = other._replace(is_superseded=True)
        before = attempts.pop(part.token, None)
        if not part.ended:
            if before is not None:
                attempt = attempt._replace(time=attempt.time or before.time, is_superseded=before.is_superseded)
            attempts[part.token] = attempt
        elif not attempts:
            del self._open[part.node_id]


class _Unreadable(Exception):
    """A block does not have what a block has."""


_Row = tuple[int, int, int, str, bytes]


def _opened(block: LogBlock) -> Iterator[_Row] | list[_Row]:
    """Return the lines of a block by rows: part, time in microseconds, level, source, text. Raises `_Unreadable`."""
    if not block.data:
        return []
    lines = _parsed(_plain(block))
    count, names = len(lines.texts), list(lines.source_names)
    if {len(lines.parts), len(lines.times_us), len(lines.levels), len(lines.sources)} != {count}:
        raise _Unreadable("its columns have different lengths")
    if not count:
        return []
    if max(lines.parts) >= len(block.parts) or max(lines.sources) >= len(names):
        raise _Unreadable("it refers to what it does not have")
    sources = map(names.__getitem__, lines.sources)
    return zip(lines.parts, accumulate(lines.times_us), lines.levels, sources, lines.texts, strict=True)


def _plain(block: LogBlock) -> bytes:
    if block.compression == _NONE:
        return block.data
    if block.compression != _ZLIB:
        raise _Unreadable(f"its compression, {block.compression}, is not known to this version of dagorama")
    inflating = zlib.decompressobj()
    try:
        data = inflating.decompress(block.data, LINES_BYTES_MAX)
    except zlib.error as error:
        raise _Unreadable(str(error)) from None
    if not inflating.eof:
        what = f"it has more than {LINES_BYTES_MAX} bytes" if inflating.unconsumed_tail else "it is cut off"
        raise _Unreadable(what)
    return data


def _parsed(data: bytes) -> LogLines:
    from google.protobuf.message import DecodeError  # not for who has no logs to read

    from dagorama.v1.logs_pb2 import LogLines

    try:
        return LogLines.FromString(data)
    except DecodeError as error:
        raise _Unreadable(str(error)) from None


def _time(time_us: int) -> datetime:
    """Return a time; the first or the last that there is for what is beyond."""
    try:
        return _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return (datetime.min if time_us < 0 else datetime.max).replace(tzinfo=UTC)


def _has_dropped(part: LogPart) -> bool:
    return bool(part.dropped_lines or part.dropped_bytes)  # lines may be empty, and lines may be cut


def _dropped(part: LogPart, worker: str) -> LogGap:
    """Return the gap of what a worker has dropped."""
    size = shown_size(part.dropped_bytes)
    if part.dropped_lines:
        text = f"dropped by the worker, because the attempt has written so much: {part.dropped_lines:,} lines ({size})"
    else:
        text = f"dropped by the worker, because lines are so long: {size} of them"
    return LogGap(text=text, node_id=UUID(bytes=part.node_id), attempt=part.attempt, worker=worker)
