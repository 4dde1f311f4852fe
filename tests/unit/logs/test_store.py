"""The log store, in a file and in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dagorama_broker.logs import blocks, tables
from dagorama_broker.logs.blocks import Awaited, Part
from dagorama_broker.logs.deciding import size_of
from dagorama_broker.logs.store import AWAITED_S, CHUNK_BLOCKS, CHUNK_BYTES
from tests.unit.logs.sending import NOW, Stored, arrival, instance_id, node_id, open_store, part


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Give each place in turn."""
    return None if request.param == "memory" else tmp_path / "broker.logs.db"


@pytest.fixture
def stored(path: Path | None) -> Stored:
    """Give an empty store."""
    return open_store(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the name of a file."""
    return tmp_path / "broker.logs.db"


def room_for(blocks: int, data: bytes = b"data") -> int:
    """Give the size of a store for so many blocks, and the little more that is freed with each."""
    return blocks * size_of(arrival(1, data).block) + 20


def test_blocks_are_read_as_they_were_sent(stored: Stored) -> None:
    """With their worker, in the order in which they came, and only those of the instance."""
    parts = part("n", attempt=2, token=7, lines=3), part("m", ended=True)
    stored.append(arrival(1, b"\x00\xff", *parts), arrival(2, b"other", instance="j"), arrival(3, b"next"))
    chunk = stored.store.read(instance_id("i"), now=NOW)
    assert [(block.worker, block.block.data) for block in chunk.blocks] == [("w1", b"\x00\xff"), ("w1", b"next")]
    first = chunk.blocks[0].block
    assert (first.parts, first.sequence, first.compression) == ([*parts], 1, 1)
    assert (chunk.last, chunk.gaps) == (True, [])


def test_nothing_stands_twice(stored: Stored) -> None:
    """A block that is sent again, in the same batch or later, is passed over."""
    stored.append(arrival(1, b"a"), arrival(1, b"a"))
    stored.append(arrival(1, b"a"), arrival(2, b"b"))
    assert stored.read() == ([b"a", b"b"], [])


def test_node_and_attempt_are_found(stored: Stored) -> None:
    """A block is told for each node, and for each attempt, that it has a part of."""
    stored.append(
        arrival(1, b"n", part("n")),
        arrival(2, b"m", part("m")),
        arrival(3, b"both", part("n", attempt=2, token=2), part("m")),
        arrival(4, b"two attempts", part("n", attempt=2, token=2), part("n", attempt=3, token=3)),
    )
    assert stored.read(node="n")[0] == [b"n", b"both", b"two attempts"]
    assert stored.read(node="n", attempt=2)[0] == [b"both", b"two attempts"]
    assert stored.read(attempt=1)[0] == [b"n", b"m", b"both"]
    assert stored.read(node="unknown") == ([], [])


@pytest.mark.parametrize("attempt", [0, 1, 2])
def test_much_is_read_in_chunks(stored: Stored, attempt: int) -> None:
    """A chunk has so many bytes or blocks at most, also of those that are passed over, and at least one block."""
    large = [b"%d" % number * (CHUNK_BYTES // 2) for number in range(1, 4)]
    small = [b"s"] * CHUNK_BLOCKS
    stored.append(*(arrival(sequence, data) for sequence, data in enumerate([*large, *small], start=1)))
    first = stored.store.read(instance_id("i"), attempt=attempt, now=NOW)
    assert (len(first.blocks), first.last) == (0 if attempt == 2 else 2, False)
    assert stored.read(attempt=attempt)[0] == ([] if attempt == 2 else [*large, *small])


def test_cursor_is_a_place_in_all_that_comes(stored: Stored) -> None:
    """What came after it is read, and nothing before."""
    stored.append(arrival(1, b"a"))
    cursor = stored.store.read(instance_id("i"), now=NOW).cursor
    assert stored.store.read(instance_id("i"), after=cursor, now=NOW).blocks == []
    stored.append(arrival(2, b"b"))
    chunk = stored.store.read(instance_id("i"), after=cursor, now=NOW)
    assert [block.block.data for block in chunk.blocks] == [b"b"]


def test_finished_instances_make_room(path: Path | None) -> None:
    """The oldest one goes first, block by block, and its readers are told how much is gone."""
    stored = open_store(path, room_for(4))
    stored.running = {instance_id("running")}
    stored.append(arrival(1, instance="running"), arrival(2, b"old1", instance="old"))
    stored.append(arrival(3, b"old2", instance="old"), arrival(4, instance="new"))
    assert stored.append(arrival(5, b"late", instance="running")) == ""
    data, gaps = stored.read("old")
    assert data == [b"old2"]
    assert gaps == [
        "removed from the beginning at 2027-01-15 08:00:00 UTC, to make room in the broker's log store: "
        "1 line (10 bytes)"
    ]
    assert stored.read("running") == ([b"data", b"late"], [])
    assert stored.read("new") == ([b"data"], [])
    stored.append(arrival(6, instance="running"), arrival(7, instance="running"))
    assert (stored.read("old")[0], stored.read("new")[0]) == ([], [])
    assert "2 lines (20 bytes)" in stored.read("old")[1][0]
    assert stored.read("old", "n")[0] == []


def test_full_store_drops_and_says_so(path: Path | None, caplog: pytest.LogCaptureFixture) -> None:
    """Where only running instances are left, blocks are dropped: told to senders and readers, and once in the log."""
    stored = open_store(path, room_for(2))
    stored.running = {instance_id("i")}
    assert stored.append(arrival(1), arrival(2)) == ""
    for sequence in range(3, 6):
        assert stored.append(arrival(sequence)) == f"the broker's log store is full ({room_for(2):,} bytes)"
    data, gaps = stored.read()
    assert (len(data), len(gaps)) == (2, 1)
    assert "log store was full: 3 lines (30 bytes) that came at" in gaps[0]
    assert len(caplog.records) == 1
    assert "DAGORAMA_LOG_STORE_BYTES_MAX" in caplog.text
    stored.running = set()
    assert stored.append(arrival(3, b"again"), arrival(6, b"fits")) == ""
    assert stored.read()[0] == [b"data", b"fits"], "the dropped one was acknowledged, and does not come back"


def test_gaps_of_a_follower_are_told_when_they_have_doubled(path: Path | None) -> None:
    """Somebody who goes on from a cursor is not told of each block, and is told the exact sum in the end."""
    stored = open_store(path, room_for(1))
    stored.running = {instance_id("i")}
    stored.append(arrival(1))
    cursor = stored.store.read(instance_id("i"), now=NOW).cursor
    told: list[str] = []
    for sequence in range(2, 9):
        stored.append(arrival(sequence))
        chunk = stored.store.read(instance_id("i"), after=cursor, is_final=False, now=NOW)
        cursor = chunk.cursor
        told += chunk.gaps
    assert [gap.split(": ")[1].split(" (")[0] for gap in told] == ["1 line", "2 lines", "4 lines"]
    (final,) = stored.store.read(instance_id("i"), after=cursor, now=NOW).gaps
    assert "7 lines" in final


def test_skipped_blocks_are_told(stored: Stored) -> None:
    """A sender that was acknowledged more than is there has lost it in between."""
    stored.append(arrival(1))
    stored.append(arrival(4))
    assert "2 blocks of lines" in stored.read()[1][0]


def test_removed_instance_leaves_nothing(stored: Stored) -> None:
    """Neither blocks nor what was missing; others stay, and the room is free."""
    stored.append(arrival(1), arrival(4), arrival(5, b"other", instance="j"))
    stored.store.remove(instance_id("i"), NOW)
    stored.store.remove(instance_id("unknown"), NOW)
    assert stored.read() == ([], [])
    assert stored.read(node="n") == ([], [])
    assert stored.read("j") == ([b"other"], [])
    assert stored.append(arrival(6, b"later")) == ""
    assert stored.read() == ([b"later"], [])


def test_oldest_senders_are_forgotten(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no end of worker processes, and the store remembers those that have sent something last."""
    monkeypatch.setattr(tables, "SENDERS_MAX", 10)
    monkeypatch.setattr(tables, "_SENDERS_FORGOTTEN", 5)
    for number in range(12):
        stored.append(arrival(1, sender=str(number)))
        stored.append(arrival(1, sender=str(number)))
    assert len(stored.read()[0]) == 12
    assert len(stored.store._tables.lasts([str(number).encode() for number in range(12)])) == 7  # type: ignore[union-attr]


# -- the file ----------------------------------------------------------------------------------------------------------


def test_store_is_as_it_was_after_a_restart(file: Path) -> None:
    """Blocks, the numbers of senders and what is missing are there, and numbers go on growing."""
    stored = open_store(file)
    stored.append(arrival(1, b"a"), arrival(3, b"b"))
    before = stored.store.read(instance_id("i"), now=NOW)
    stored.reopen()
    assert stored.store.read(instance_id("i"), now=NOW) == before
    stored.append(arrival(3, b"b"), arrival(4, b"c"))
    chunk = stored.store.read(instance_id("i"), after=before.cursor, now=NOW)
    assert [block.block.data for block in chunk.blocks] == [b"c"]


def test_file_is_for_its_owner_alone(file: Path) -> None:
    """People print all kinds of things."""
    open_store(file)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("gone", ["", "-wal"])
def test_removed_file_is_begun_anew(file: Path, gone: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nodes go on, the next blocks are kept, and an instance from before is told that something is missing."""
    stored = open_store(file)
    stored.append(arrival(1, b"a"))
    cursor = stored.store.read(instance_id("i"), now=NOW).cursor
    Path(f"{file}{gone}").unlink()
    assert stored.append(arrival(2, b"b")) == ""
    assert "removed while the broker ran" in caplog.text
    kept = [b"a", b"b"] if gone else [b"b"]
    assert stored.read()[0] == kept
    chunk = stored.store.read(instance_id("i"), after=cursor, now=NOW)
    assert [block.block.data for block in chunk.blocks] == [b"b"], "a follower goes on where it was"
    (told,) = stored.store.read(instance_id("i"), created_at=1.0, now=NOW).gaps
    assert "the broker's log store was begun then" in told
    assert stored.store.read(instance_id("i"), created_at=NOW * 2, now=NOW).gaps == []


def test_missing_folder_is_waited_for(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Blocks are dropped meanwhile, and counted; the file is looked for again after some seconds, not with each."""
    place = file.parent / "deeper" / "broker.logs.db"
    stored = open_store(place)
    problem = "the broker's log store cannot be written: No such file or directory"
    assert stored.append(arrival(1, b"lost")) == problem
    assert stored.read() == (
        [],
        [
            "not kept, because the broker's log store could not be written: 1 line (10 bytes) "
            "that came at 2027-01-15 08:00:00 UTC: No such file or directory",
            "the broker's log store cannot be read: No such file or directory",
        ],
    )
    place.parent.mkdir()
    assert stored.append(arrival(1, b"lost"), arrival(2, b"lost")) == problem
    assert len(caplog.records) == 1
    stored.now += 10
    assert stored.append(arrival(2, b"lost"), arrival(3, b"kept")) == ""
    data, gaps = stored.read()
    assert (data, len(gaps)) == ([b"kept"], 1)
    assert "2 lines (20 bytes)" in gaps[0]


def test_failing_store_knows_what_it_had(file: Path) -> None:
    """A block that was stored before the file failed, and is sent again after that, is still passed over."""
    stored = open_store(file)
    stored.append(arrival(1), arrival(2), arrival(3))
    stored.store._fail(sqlite3.OperationalError("disk I/O error"), stored.now)
    assert stored.append(arrival(1)) != ""
    stored.now += 10
    assert stored.append(arrival(2), arrival(3), arrival(4, b"new")) == ""
    assert stored.read()[0] == [b"data"] * 3 + [b"new"]


@pytest.mark.parametrize(
    ("pragma", "problem"),
    [("max_page_count = {pages}", "the disk is full"), ("query_only = 1", "the file cannot be written")],
)
def test_unwritable_file_is_tried_again(
    file: Path, pragma: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction that fails leaves nothing behind, what it was to keep is counted, and the log says so once."""
    stored = open_store(file)
    stored.append(arrival(1, b"a"))
    connection = stored.store._tables.connection  # type: ignore[union-attr]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA {pragma.format(pages=pages)}")
    for sequence in (2, 3):
        told = stored.append(arrival(sequence, b"b" * 2**20))
        assert told == f"the broker's log store cannot be written: {problem}"
    assert [record.getMessage().split(": ")[1].split(".")[0] for record in caplog.records] == [problem]
    stored.now += 10
    assert stored.append(arrival(4, b"c")) == ""
    data, gaps = stored.read()
    assert (data, len(gaps)) == ([b"a", b"c"], 1)
    assert "2 lines (20 bytes)" in gaps[0]


@pytest.mark.parametrize("damage", [b"no database", None])
def test_damaged_file_is_put_aside(file: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    """It stays for somebody to look at, and a new one takes what comes."""
    stored = open_store(file)
    stored.append(arrival(1, b"a"))
    stored.store.close()
    broken = damage or file.read_bytes()[:16384] + b"\xff" * (file.stat().st_size - 16384)
    file.write_bytes(broken)
    stored.reopen()
    assert stored.append(arrival(2, b"b")) == ""
    assert stored.read()[0] == [b"b"]
    aside = file.with_name("broker.logs.db.damaged").read_bytes()
    assert (aside[16384:], len(aside)) == (broken[16384:], len(broken))
    assert "begun anew" in caplog.text


def test_other_database_is_left_alone(file: Path) -> None:
    """A file of another program, or of a newer version, is not touched: what is printed is dropped."""
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    stored = open_store(file)
    problem = "the broker's log store cannot be written: it is a database of another program"
    assert stored.append(arrival(1)) == problem
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_node_of_a_removed_block_is_not_found(file: Path) -> None:
    """The index of nodes has no rows of blocks that are gone."""
    stored = open_store(file, room_for(2))
    for sequence, node in enumerate("abc", start=1):
        stored.append(arrival(sequence, b"data", part(node)))
    rows = stored.store._tables.connection.execute("SELECT node FROM nodes ORDER BY node").fetchall()  # type: ignore[union-attr]
    assert rows == [(node_id("b"),), (node_id("c"),)]


def awaited(node: str = "n", *, attempt: int = 1, worker: str = "w1", instance: str = "i") -> Awaited:
    """Give an attempt that is over."""
    return Awaited(instance_id(instance), node_id(node), attempt, worker)


def waited_for(stored: Stored, node: str = "", *, attempt: int = 0) -> list[tuple[str, int, str]]:
    """Give the attempts of which readers are told that the end has not come, without those of which something has."""
    chunk = stored.store.read(instance_id("i"), node_id(node) if node else None, attempt=attempt, now=stored.now)
    blocks = [(block.worker, block.block) for block in chunk.blocks if not block.block.data]
    return [
        (part.node_id.rstrip(b"-").decode(), part.attempt, worker) for worker, block in blocks for part in block.parts
    ]


def test_attempts_are_waited_for_until_something_comes(stored: Stored) -> None:
    """Readers are told after a while, of all, of a node or of an attempt; what has come or comes is not waited for."""
    stored.append(arrival(1, b"a", part("n", attempt=1, ended=True)))
    stored.store.wait_for([awaited("n"), awaited("n", attempt=2), awaited("m"), awaited("k", instance="j")], NOW)
    assert waited_for(stored) == []
    stored.now += AWAITED_S
    assert waited_for(stored) == [("m", 1, "w1"), ("n", 2, "w1")]
    assert waited_for(stored, "n") == waited_for(stored, attempt=2) == [("n", 2, "w1")]
    stored.append(arrival(1, b"b", part("n", attempt=2), sender="t", worker="w2"))
    assert waited_for(stored) == [("m", 1, "w1"), ("n", 2, "w1")]
    stored.append(arrival(2, b"c", part("n", attempt=2), part("m", ended=True)))
    assert waited_for(stored) == []


def test_a_block_of_many_attempts_is_looked_at_once(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each of them: a block may have thousands, and a report may name them all."""
    names = [f"n{number}" for number in range(100)]
    stored.append(arrival(1, b"a", *[part(name) for name in names]), arrival(2, b"b", part("n1"), worker="w2"))
    looked_at: list[int] = []

    def unpack(raw: bytes) -> list[Part]:
        parts = blocks.unpack(raw)
        looked_at.append(len(parts))
        return parts

    monkeypatch.setattr(tables, "unpack", unpack)
    stored.store.wait_for([awaited(name) for name in [*names, "m"]], NOW)
    assert sorted(looked_at) == [1, 100]
    stored.now += AWAITED_S
    assert waited_for(stored) == [("m", 1, "w1")]


def test_what_is_waited_for_outlives_the_broker_and_goes_with_the_instance(file: Path) -> None:
    """And a store of an earlier version, which knows nothing of it, is opened as it is."""
    stored = open_store(file)
    stored.append(arrival(1, b"a"))
    stored.store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE awaited")
    connection.close()
    stored.reopen()
    stored.store.wait_for([awaited("m"), awaited("m", worker="w2")], NOW)
    stored.now += AWAITED_S
    stored.reopen()
    assert stored.read()[0] == [b"a", b"", b""]
    assert waited_for(stored) == [("m", 1, "w1"), ("m", 1, "w2")]
    stored.store.remove(instance_id("i"), NOW)
    assert waited_for(stored) == []


def test_a_store_that_cannot_be_written_waits_for_nothing(file: Path) -> None:
    """As nothing that came would be known."""
    file.mkdir()
    stored = open_store(file)
    stored.store.wait_for([awaited()], NOW)
    assert waited_for(stored) == []
