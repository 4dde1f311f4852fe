"""Blocks as they travel: lines of one instance by columns, compressed."""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from dagorama.worker.logs.lines import Line

if TYPE_CHECKING:
    from dagorama.v1.logs_pb2 import LogBlock

#: A block is closed when its texts come to so many bytes, or it tells of so many attempts.
BLOCK_BYTES = 256 * 1024
BLOCK_PARTS = 500
#: Such text as is printed takes a fifth at this level, at 100 MB a second; others halve the speed for a tenth less.
COMPRESSION_LEVEL = 1


class Named(Hashable, Protocol):
    """An attempt, as blocks name it."""

    @property
    def instance_id(self) -> bytes:
        """Return the instance."""
        ...

    @property
    def node_id(self) -> bytes:
        """Return the node."""
        ...

    @property
    def number(self) -> int:
        """Return which attempt it is, from 1."""
        ...

    @property
    def token(self) -> int:
        """Return the fencing token of its lease."""
        ...


class _Part:
    """The place of an attempt in a block, which tells how much the attempt has written."""

    __slots__ = ("dropped_bytes", "dropped_lines", "ended", "lines", "text_bytes")

    def __init__(self) -> None:
        self.lines = self.text_bytes = self.dropped_lines = self.dropped_bytes = 0
        self.ended = False


class Draft:
    """A block of one instance that is being filled."""

    __slots__ = (
        "_last_us",
        "_levels",
        "_parts",
        "_places",
        "_source_numbers",
        "_sources",
        "_texts",
        "_times_us",
        "instance_id",
        "text_bytes",
    )

    def __init__(self, instance_id: bytes) -> None:
        """Begin without lines."""
        self.instance_id = instance_id
        self.text_bytes = 0
        self._parts: dict[Named, tuple[int, _Part]] = {}
        self._source_numbers: dict[str, int] = {}
        self._last_us = 0
        # The columns.
        self._places: list[int] = []
        self._times_us: list[int] = []
        self._levels: list[int] = []
        self._sources: list[int] = []
        self._texts: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Return whether the block is to be closed."""
        return self.text_bytes >= BLOCK_BYTES or len(self._parts) >= BLOCK_PARTS

    def _part(self, attempt: Named) -> tuple[int, _Part]:
        found = self._parts.get(attempt)
        if found is None:
            found = self._parts[attempt] = (len(self._parts), _Part())
        return found

    def add(self, attempt: Named, line: Line) -> None:
        """Add a line."""
        place, part = self._part(attempt)
        time_us, level, source, text = line
        part.lines += 1
        part.text_bytes += len(text)
        self.text_bytes += len(text) + 1
        self._places.append(place)
        self._times_us.append(time_us - self._last_us)
        self._levels.append(level)
        self._sources.append(self._source_numbers.setdefault(source, len(self._source_numbers)))
        self._texts.append(text)
        self._last_us = time_us

    def drop(self, attempt: Named, lines: int, text_bytes: int) -> None:
        """Tell that an attempt has written more, which is kept nowhere."""
        _, part = self._part(attempt)
        part.dropped_lines += lines
        part.dropped_bytes += text_bytes

    def end(self, attempt: Named) -> None:
        """Tell that no further block has lines of an attempt."""
        self._part(attempt)[1].ended = True

    def close(self, sequence: int) -> LogBlock:
        """Return the block, to be the sender's block of this number."""
        # A test in process needs protobuf only if its nodes print.
        from dagorama.v1.logs_pb2 import LOG_COMPRESSION_NONE, LOG_COMPRESSION_ZLIB, LogBlock, LogLines, LogPart

        data, compression = b"", LOG_COMPRESSION_NONE
        if self._texts:
            lines = LogLines(
                parts=self._places,
                times_us=self._times_us,
                levels=self._levels,
                sources=self._sources,
                texts=self._texts,
                source_names=self._source_numbers,
            )
            data = lines.SerializeToString()
            compressed = zlib.compress(data, COMPRESSION_LEVEL)
            if len(compressed) < len(data):
                data, compression = compressed, LOG_COMPRESSION_ZLIB
        return LogBlock(
            instance_id=self.instance_id,
            sequence=sequence,
            parts=[
                LogPart(
                    node_id=attempt.node_id,
                    attempt=attempt.number,
                    token=attempt.token,
                    lines=part.lines,
                    text_bytes=part.text_bytes,
                    dropped_lines=part.dropped_lines,
                    dropped_bytes=part.dropped_bytes,
                    ended=part.ended,
                )
                for attempt, (_, part) in self._parts.items()
            ],
            data=data,
            compression=compression,
        )
