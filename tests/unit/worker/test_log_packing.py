"""From pieces of output to blocks: lines, bounds, and what a block tells."""

from __future__ import annotations

import random

import pytest

from dagorama.v1.logs_pb2 import LOG_COMPRESSION_NONE, LOG_COMPRESSION_ZLIB, LogBlock
from dagorama.worker.logs.blocks import BLOCK_BYTES, BLOCK_PARTS
from dagorama.worker.logs.bounds import LINE_BYTES, TAIL_BYTES_MAX, TAILS_BYTES_MAX
from dagorama.worker.logs.lines import CUT, LINE_BYTES_MAX, Splitter
from dagorama.worker.logs.packer import BAR_US, DROPPED_US, REST_US, Attempt, Packer
from tests.unit.worker.log_reading import columns_of, lines_of

OUT = (1, 4711)


def split(*pieces: bytes) -> tuple[list[bytes], int, bytes | None]:
    """Return the lines of these pieces, what was left out, and the rest."""
    splitter = Splitter()
    lines: list[bytes] = []
    left_out = 0
    for piece in pieces:
        more, missing = splitter.take(piece)
        lines += more
        left_out += missing
    return lines, left_out, splitter.flush()


@pytest.mark.parametrize(
    ("pieces", "lines", "rest"),
    [
        ([b"a\nb\n"], [b"a", b"b"], None),
        ([b"a", b"\n", b"b", b"", b"c\nd"], [b"a", b"bc"], b"d"),
        ([b"\n\n"], [b"", b""], None),
        ([b"dos\r\n", b"dos\r", b"\n"], [b"dos", b"dos"], None),
        ([b"\r 1 %", b"\r 2 %", b"\r 3 %\n"], [b" 3 %"], None),
        ([b" 1 %\r", b" 2 %\r", b"done\n"], [b"done"], None),
        ([b" 1 %\r", b" 2 %\r"], [], b" 2 %"),
        ([b"a\rb\nc\rd\n"], [b"b", b"d"], None),
        ([b"\xff\x00\xfe\n\x80"], [b"\xff\x00\xfe"], b"\x80"),
    ],
)
def test_pieces_become_lines(pieces: list[bytes], lines: list[bytes], rest: bytes | None) -> None:
    """However they are cut; of a line that overwrites itself the last state is left."""
    assert split(*pieces) == (lines, 0, rest)


def test_lines_do_not_depend_on_the_pieces() -> None:
    """Random bytes give the same lines in one piece and in many."""
    draw = random.Random(1)
    for _ in range(200):
        data = bytes(draw.choices(b"ab\n\r", (5, 5, 2, 1), k=40))
        cuts = sorted(draw.sample(range(40), 5))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, 40], strict=True)]
        assert split(*pieces) == split(data), pieces


@pytest.mark.parametrize("size", [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 10 * LINE_BYTES_MAX])
@pytest.mark.parametrize("piece", [1000, LINE_BYTES_MAX, 2**30])
def test_a_long_line_is_cut(size: int, piece: int) -> None:
    """Once, with a mark; what is left out is counted, and the next line is whole."""
    data = b"x" * size + b"\nnext\n"
    lines, left_out, rest = split(*(data[at : at + piece] for at in range(0, len(data), piece)))
    mark = CUT if size > LINE_BYTES_MAX else b""
    assert lines == [b"x" * min(size, LINE_BYTES_MAX) + mark, b"next"]
    assert (left_out, rest) == (max(0, size - LINE_BYTES_MAX), None)


def test_a_character_is_not_cut() -> None:
    """A line of UTF-8 is still one when it is cut."""
    lines, left_out, _ = split(b"x" * (LINE_BYTES_MAX - 1) + "€uro\n".encode())
    assert lines == [b"x" * (LINE_BYTES_MAX - 1) + CUT]
    assert left_out == len("€uro".encode())


def test_a_line_that_was_told_in_part_has_no_empty_rest() -> None:
    """Its end alone is no line; more of it is."""
    splitter = Splitter()
    splitter.take(b"Loading ...")
    assert splitter.flush() == b"Loading ..."
    assert splitter.take(b"\nnext\n") == ([b"next"], 0)
    splitter.take(b"Loading ...")
    splitter.flush()
    assert splitter.take(b" done\n\n") == ([b" done", b""], 0)


# -- the packer ------------------------------------------------------------------------------------------------------


def attempt(node: bytes = b"n", *, instance: bytes = b"i", number: int = 1) -> Attempt:
    """Make an attempt."""
    return Attempt(instance * 16, node * 16, number, 9)


def texts(blocks: list[LogBlock]) -> list[str]:
    """Return the texts of all lines."""
    return [line.text for block in blocks for line in lines_of(block)]


def dropped(blocks: list[LogBlock]) -> tuple[int, int]:
    """Return how many lines and bytes are said to be dropped."""
    parts = [part for block in blocks for part in block.parts]
    return sum(part.dropped_lines for part in parts), sum(part.dropped_bytes for part in parts)


def test_a_block_has_lines_of_one_instance() -> None:
    """In the order in which they were written, each with its attempt, time, level and source."""
    packer = Packer(2**20)
    one, two, other = attempt(b"1"), attempt(b"2", number=3), attempt(b"3", instance=b"j")
    packer.printed(one, OUT, b"first\n", 1_000)
    packer.recorded(two, "log:shop", 30, b"second", 1_500)
    packer.printed(other, OUT, b"elsewhere\n", 1_600)
    packer.printed(one, (2, 1), b"third\n", 1_400)
    packer.ended(one, 1_700)
    blocks = packer.blocks()
    assert [(block.instance_id, block.sequence) for block in blocks] == [(b"i" * 16, 1), (b"j" * 16, 2)]
    (block, _) = blocks
    columns = columns_of(block)
    assert list(columns.parts) == [0, 1, 0]
    assert list(columns.times_us) == [1_000, 500, -100]
    assert list(columns.levels) == [0, 30, 0]
    assert [columns.source_names[source] for source in columns.sources] == ["stdout", "log:shop", "stderr"]
    assert list(columns.texts) == [b"first", b"second", b"third"]
    parts = [(part.node_id[:1], part.attempt, part.token, part.lines, part.text_bytes) for part in block.parts]
    assert parts == [(b"1", 1, 9, 2, 10), (b"2", 3, 9, 1, 6)]
    assert [part.ended for part in block.parts] == [True, False]
    assert packer.blocks() == []


def test_a_block_that_only_ends_an_attempt_has_no_data() -> None:
    """Its lines went out before."""
    packer = Packer(2**20)
    one = attempt()
    packer.printed(one, OUT, b"line\n", 0)
    assert texts(packer.blocks()) == ["line"]
    packer.ended(one, 1)
    (block,) = packer.blocks()
    assert (block.sequence, block.data, block.parts[0].ended, block.parts[0].lines) == (2, b"", True, 0)
    assert block.compression == LOG_COMPRESSION_NONE


def test_blocks_are_compressed_where_that_helps() -> None:
    """Text shrinks; random bytes travel as they are, with little beside them."""
    for data, compression in (
        (b"the same again\n" * 1000, LOG_COMPRESSION_ZLIB),
        (random.Random(1).randbytes(2000).replace(b"\n", b"") + b"\n", LOG_COMPRESSION_NONE),
    ):
        packer = Packer(2**20)
        packer.printed(attempt(), OUT, data, 1_700_000_000_000_000)
        (block,) = packer.blocks()
        assert block.compression == compression
        assert len(block.data) <= len(data) + 50


def test_a_full_block_is_closed() -> None:
    """Much text makes many blocks, and so do many attempts."""
    packer = Packer(2**30)
    packer.printed(attempt(), OUT, (b"x" * 999 + b"\n") * 600, 0)
    blocks = packer.blocks()
    assert [sum(part.lines for part in block.parts) for block in blocks] == [263, 263, 74]
    assert all(part.text_bytes <= BLOCK_BYTES + 1000 for block in blocks for part in block.parts)
    for number in range(1, BLOCK_PARTS + 2):
        one = attempt(number=number)
        packer.printed(one, OUT, b"x\n", 0)
        packer.ended(one, 0)
    assert [len(block.parts) for block in packer.blocks()] == [BLOCK_PARTS, 2]


def test_a_begun_line_is_told_in_part_after_a_second() -> None:
    """And a progress bar less often."""
    packer = Packer(2**20)
    one = attempt()
    packer.printed(one, OUT, b"done\nLoading", 0)
    packer.printed(one, OUT, b" ...", 500_000)
    assert texts(packer.blocks()) == ["done"]
    assert packer.due_us() == REST_US
    packer.tick(REST_US - 1)
    assert packer.blocks() == []
    packer.tick(REST_US)
    assert texts(packer.blocks()) == ["Loading ..."]
    assert packer.due_us() is None
    packer.printed(one, OUT, b"\r1 %", 2_000_000)
    packer.printed(one, OUT, b"\r2 %", 2_000_001)
    assert packer.due_us() == 2_000_000 + BAR_US
    packer.ended(one, 2_000_002)
    assert texts(packer.blocks()) == ["2 %"]
    assert packer.due_us() is None


def test_head_and_tail_are_kept() -> None:
    """Of too much output the first half comes at once, the last lines at the end, and the rest is counted."""
    packer = Packer(10_000)
    one = attempt()
    lines = [f"{number:04}" + "x" * 95 for number in range(1000)]
    for line in lines:
        packer.printed(one, OUT, line.encode() + b"\n", 0)
    assert texts(packer.blocks()) == lines[:50]
    assert packer.due_us() == DROPPED_US
    packer.tick(DROPPED_US)
    (told,) = packer.blocks()
    assert texts([told]) == []
    packer.ended(one, DROPPED_US)
    blocks = packer.blocks()
    tail = 5_000 // (99 + LINE_BYTES)
    assert texts(blocks) == lines[-tail:]
    assert dropped([told, *blocks]) == (950 - tail, 99 * (950 - tail))


def test_the_tails_of_many_attempts_are_bounded_together() -> None:
    """However many run at once."""
    packer = Packer(4 * TAIL_BYTES_MAX)
    attempts = [attempt(number=number) for number in range(1, 41)]
    line = b"x" * 9_999 + b"\n"
    for one in attempts:
        for _ in range(500):
            packer.printed(one, OUT, line, 0)
    packer.blocks()
    assert 0.9 * TAILS_BYTES_MAX < packer._tails.size <= TAILS_BYTES_MAX
    for one in attempts:
        packer.ended(one, 0)
    blocks = packer.blocks()
    assert packer._tails.size == 0
    assert sum(len(text) for text in texts(blocks)) <= TAILS_BYTES_MAX


def test_nothing_of_an_attempt_follows_its_end() -> None:
    """Its thread may go on, and what it loses is not told either."""
    packer = Packer(2**20)
    one = attempt()
    packer.printed(one, OUT, b"in time", 0)
    packer.ended(one, 1)
    assert texts(packer.blocks()) == ["in time"]
    packer.printed(one, OUT, b"late\n", 2)
    packer.recorded(one, "log:late", 30, b"late", 2)
    packer.missed(one, 1, 5, 2)
    assert packer.blocks() == []
    assert packer.due_us() is None


def test_at_the_end_of_the_worker_everything_is_told() -> None:
    """Also of attempts that have not ended, which are not said to have."""
    packer = Packer(100)
    one = attempt()
    packer.printed(one, OUT, (b"x" * 49 + b"\n") * 3 + b"rest", 0)
    blocks = packer.rest(1)
    assert texts(blocks) == ["x" * 49]
    assert dropped(blocks) == (3, 49 + 49 + 4)
    assert not any(part.ended for block in blocks for part in block.parts)
    assert (packer.rest(2), packer.due_us()) == ([], None)


def test_an_attempt_that_has_ended_is_forgotten() -> None:
    """However much of it waited: a worker has any number of them."""
    packer = Packer(100)
    one = attempt()
    packer.printed(one, OUT, (b"x" * 49 + b"\n") * 5 + b"rest", 0)
    packer.ended(one, 1)
    packer.blocks()
    assert [len(kept) for kept in (packer._tailed, packer._dropping, packer._rests, packer._drafts)] == [0] * 4


def test_a_closed_stream_is_forgotten() -> None:
    """A node may start any number of programs."""
    packer = Packer(2**20)
    one = attempt()
    for number in range(100):
        packer.printed(one, (1, -number), b"no end of line", 0)
        packer.closed(one, (1, -number), 0)
    assert one.splitters == {}
    assert packer.due_us() is None
    assert texts(packer.blocks()) == ["no end of line"] * 100
