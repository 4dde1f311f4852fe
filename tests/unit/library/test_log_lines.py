"""Blocks of lines are opened with care: whatever they have was written by somebody's function."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from dagorama.client import log_lines
from dagorama.client.log_lines import LogBlock, LogChunk, LogGap, LogLine, LogPart, LogReader, in_order_of_time
from dagorama.instance.log import LogPage
from dagorama.v1.logs_pb2 import LogLines

NODE, OTHER = b"n" * 16, b"o" * 16
NOON_US = 1_800_000_000_000_000
PART = LogPart(NODE, 1, 7, 0, 0, ended=False)


def block(lines: LogLines | bytes, *parts: LogPart, compression: int = 1) -> LogBlock:
    """Give a block of a worker."""
    data = lines if isinstance(lines, bytes) else lines.SerializeToString()
    return LogBlock("host:1", parts or (PART,), zlib.compress(data) if compression == 2 else data, compression)


def printed(*texts: bytes, parts: Sequence[int] = (), source: str = "stdout") -> LogLines:
    """Give lines, a second apart."""
    count = len(texts)
    return LogLines(
        parts=parts or [0] * count,
        times_us=[NOON_US, *[1_000_000] * (count - 1)],
        levels=[0] * count,
        sources=[0] * count,
        texts=texts,
        source_names=[source],
    )


def read(*blocks: LogBlock, gaps: Sequence[str] = (), reader: LogReader | None = None) -> list[LogLine | LogGap]:
    """Give what a reader makes of blocks."""
    return list((reader or LogReader()).read(LogChunk(blocks, 1, gaps, last=True)))


def texts(found: Sequence[LogLine | LogGap]) -> list[str]:
    """Give the texts, with gaps in brackets."""
    return [f"[{each}]" if isinstance(each, LogGap) else str(each) for each in found]


@pytest.mark.parametrize("compression", [1, 2])
def test_lines_are_as_they_were_written(compression: int) -> None:
    """With time, level, logger, node, attempt and worker; whatever is no UTF-8 is escaped."""
    lines = LogLines(
        parts=[0, 1],
        times_us=[NOON_US, -1_500_000],
        levels=[0, logging.WARNING],
        sources=[0, 1],
        texts=["grün\x1b".encode(), b"\xff low"],
        source_names=["stdout", "log:shop.stdout"],
    )
    first, second = read(block(lines, PART, LogPart(OTHER, 2, 8, 0, 0, ended=True), compression=compression))
    assert first == LogLine(
        time=datetime(2027, 1, 15, 8, tzinfo=UTC),
        level=0,
        source="stdout",
        is_logged=False,
        text="grün\x1b",
        node_id=UUID(bytes=NODE),
        attempt=1,
        worker="host:1",
    )
    assert isinstance(second, LogLine)
    assert (second.source, second.level, second.level_name, second.text) == ("shop.stdout", 30, "WARNING", "\\xff low")
    assert (second.time, second.attempt) == (datetime(2027, 1, 15, 7, 59, 58, 500_000, tzinfo=UTC), 2)
    assert (first.level_name, second.is_logged) == ("", True)


def test_other_nodes_and_attempts_are_left_out() -> None:
    """Lines, and what was dropped of them."""
    parts = PART, LogPart(OTHER, 1, 8, 3, 30, ended=False), LogPart(NODE, 2, 9, 0, 0, ended=False)
    blocks = block(printed(b"n1", b"o1", b"n2", parts=[0, 1, 2]), *parts)
    assert texts(read(blocks, reader=LogReader(NODE))) == ["n1", "n2"]
    assert texts(read(blocks, reader=LogReader(NODE, 2))) == ["n2"]
    assert texts(read(blocks, reader=LogReader(None, 2))) == ["n2"]


def test_dropped_lines_are_told_where_they_were() -> None:
    """Before the first line that comes after them, or after the block where there is none."""
    parts = PART._replace(dropped_lines=1500, dropped_bytes=3 << 20), LogPart(OTHER, 1, 8, 2, 10, ended=True)
    found = read(block(printed(b"tail"), *parts))
    assert texts(found) == [
        "[dropped by the worker, because the attempt has written so much: 1,500 lines (3.0 MiB)]",
        "tail",
        "[dropped by the worker, because the attempt has written so much: 2 lines (10 bytes)]",
    ]
    assert isinstance(found[0], LogGap)
    assert (found[0].node_id, found[0].attempt, found[0].worker) == (UUID(bytes=NODE), 1, "host:1")


def test_lost_ends_of_lines_and_lost_empty_lines_are_told() -> None:
    """The one has no lines, the other no bytes."""
    parts = PART._replace(dropped_bytes=2048), LogPart(OTHER, 1, 8, 3, 0, ended=True)
    assert texts(read(block(printed(b"line"), *parts))) == [
        "[dropped by the worker, because lines are so long: 2.0 KiB of them]",
        "line",
        "[dropped by the worker, because the attempt has written so much: 3 lines (0 bytes)]",
    ]


def test_gaps_of_the_broker_are_told_once() -> None:
    """A broker tells them again to a reader who comes again."""
    reader = LogReader()
    assert texts(read(gaps=["full", "full"], reader=reader)) == ["[full]"]
    assert texts(read(gaps=["full", "more"], reader=reader)) == ["[more]"]


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (block(b"\xff\xff\xff"), "cannot be read: "),
        (block(LogLines(texts=[b"x"])), "its columns have different lengths"),
        (block(printed(b"x", parts=[1])), "it refers to what it does not have"),
        (block(LogLines(parts=[0], times_us=[0], levels=[0], sources=[0], texts=[b"x"])), "it refers to"),
        (LogBlock("host:1", (PART,), b"no zlib", 2), "cannot be read: "),
        (LogBlock("host:1", (PART,), zlib.compress(b"cut off" * 99)[:-9], 2), "it is cut off"),
        (LogBlock("host:1", (PART,), b"x", 9), "its compression, 9, is not known"),
    ],
)
def test_broken_blocks_are_gaps(broken: LogBlock, complaint: str) -> None:
    """Lines before and after it are read."""
    found = read(block(printed(b"before")), broken, block(printed(b"after")))
    before, gap, after = texts(found)
    assert (before, after) == ("before", "after")
    assert gap.startswith("[a block of lines from worker host:1 cannot be read: ")
    assert complaint in gap


def test_block_that_would_fill_the_memory_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may stand for gigabytes."""
    monkeypatch.setattr(log_lines, "LINES_BYTES_MAX", 1000)
    assert "it has more than 1000 bytes" in texts(read(block(printed(b"0" * 2000), compression=2)))[0]
    assert len(read(block(printed(b"0" * 900), compression=2))) == 1


@pytest.mark.parametrize("time_us", [2**62, -(2**62)])
def test_wrong_clock_hides_nothing(time_us: int) -> None:
    """A time beyond all years is the last, or the first, that there is."""
    lines = printed(b"x")
    lines.times_us[0] = time_us
    (line,) = read(block(lines))
    assert isinstance(line, LogLine)
    assert line.time.replace(tzinfo=None) in (datetime.min, datetime.max)


def test_attempts_are_open_until_their_last_block() -> None:
    """By their tokens; one that the node has begun anew after is known to be over."""
    reader = LogReader()
    read(block(printed(b"x")), reader=reader)
    read(block(b"", PART), reader=reader)
    (attempt,) = reader.open_attempts()
    assert (attempt.node_id, attempt.attempt, attempt.is_superseded) == (UUID(bytes=NODE), 1, False)
    assert attempt.time == datetime(2027, 1, 15, 8, tzinfo=UTC)
    read(block(printed(b"again"), PART._replace(token=9)), reader=reader)
    assert [each.is_superseded for each in reader.open_attempts()] == [True, False]
    read(block(b"", PART._replace(token=9, ended=True)), reader=reader)
    assert [each.is_superseded for each in reader.open_attempts()] == [True]
    read(block(b"", PART._replace(ended=True)), reader=reader)
    assert reader.open_attempts() == []


def test_lines_of_several_workers_are_put_in_order_of_time() -> None:
    """A block that came late goes where it belongs, and what an attempt has, gaps too, stays in its order.

    So it is in a part of a log. A gap that may be of any node is first.
    """
    late = printed(b"first", b"second")
    other = printed(b"between", b"clock was set back")
    other.times_us[:] = [NOON_US + 500_000, -2_000_000]
    found = read(block(other, LogPart(OTHER, 1, 7, 0, 0, ended=False)), block(late, PART._replace(dropped_lines=1)))
    assert texts(found)[0] == "between"
    gap, *lines = in_order_of_time(found)
    assert isinstance(gap, LogGap)
    assert texts(lines) == ["first", "between", "clock was set back", "second"]
    anywhere = LogGap(text="lines are missing")
    assert LogPage([*found, anywhere], 2, True).by_time() == [gap, anywhere, *lines]
