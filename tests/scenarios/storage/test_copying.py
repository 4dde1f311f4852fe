"""A copy of a database that goes on being written, step by step."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from dagorama_broker.copies.stepped import CannotCopy, Copies, Copy
from dagorama_broker.core import events as e
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.graphs import Graph


def write(journal: SqliteJournal, graph: Graph, count: int) -> None:
    """Commit an instance with nodes of a few kilobytes each."""
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=os.urandom(4_000)) for _ in range(count)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    """Give a journal of several steps."""
    journal = SqliteJournal(tmp_path / "broker.db")
    journal.open()
    return journal


def finish(copy: Copy, path: Path) -> None:
    """Make a copy to its end, and write it into a file."""
    while copy.step():
        pass
    path.write_bytes(copy.read(0, copy.size))


def test_what_is_committed_meanwhile_is_in_the_copy(journal: SqliteJournal, tmp_path: Path) -> None:
    """On pages that were copied before as on others; the copy is the database as it is at the end."""
    graph = Graph()
    write(journal, graph, 700)
    copy = journal.begin_copy()
    steps = 0
    while copy.step():
        steps += 1
        if steps < 20:
            write(journal, graph, 30)
    assert steps >= 3
    (tmp_path / "copy.db").write_bytes(copy.read(0, copy.size))
    copy.give_up()
    copy.close()
    write(journal, graph, 10)
    journal.close()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copied, closing(sqlite3.connect(journal.location)) as whole:
        rows = [one.execute("SELECT seq, id, arguments FROM calls ORDER BY seq").fetchall() for one in (copied, whole)]
    assert rows[0] == rows[1][:-10]
    assert [name for name in os.listdir(tmp_path) if "copy-" in name] == []


def test_a_file_that_becomes_shorter_meanwhile_is_copied(journal: SqliteJournal, tmp_path: Path) -> None:
    """Pages are moved and cut off between two steps; the copy has what is left."""
    graph = Graph()
    write(journal, graph, 700)
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=os.urandom(4_000)) for _ in range(700)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    write(journal, graph, 100)
    copy = journal.begin_copy()
    assert copy.step()
    assert copy.step()
    journal.commit([e.NodesRemoved(instance=instance, nodes=nodes)])
    before = journal.measure_file()
    assert before.free_pages > 200
    assert journal.give_back(50 * before.page_bytes) > 0
    assert copy.step()
    assert journal.give_back(50 * before.page_bytes) > 0
    finish(copy, tmp_path / "copy.db")
    assert journal.measure_file().pages < before.pages
    copy.close()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA page_count").fetchone() == (journal.measure_file().pages,)
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (800,)
    journal.close()


def test_a_copy_that_is_given_up_leaves_nothing(journal: SqliteJournal, tmp_path: Path) -> None:
    """Before its first step, in the middle and when the journal is closed; several may be under way at once."""
    write(journal, Graph(), 700)
    unbegun, begun, left, whole = (journal.begin_copy() for _ in range(4))
    assert begun.step()
    assert left.step()
    for copy in (unbegun, begun):
        copy.give_up()
        copy.give_up()
        copy.close()
        copy.close()
        with pytest.raises(CannotCopy, match="closed"):
            copy.step()
    finish(whole, tmp_path / "copy.db")
    journal.close()
    with pytest.raises(CannotCopy, match="closed"):
        left.step()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (700,)
    with pytest.raises(CannotCopy, match="not open"):
        journal.begin_copy()


def test_a_failed_commit_ends_copies(journal: SqliteJournal) -> None:
    """None waits for a change that is never committed."""
    graph = Graph()
    write(journal, graph, 700)
    copy = journal.begin_copy()
    assert copy.step()
    os.rename(journal.location, f"{journal.location}.moved")
    with pytest.raises(StorageError, match="was removed"):
        write(journal, graph, 1)
    with pytest.raises(CannotCopy, match="not committed"):
        copy.step()
    journal.close()


def test_what_a_killed_process_has_left_is_removed(journal: SqliteJournal, tmp_path: Path) -> None:
    """The file of a copy that had a name still; those of other databases stay."""
    left, other = tmp_path / ".broker.db.copy-0123", tmp_path / ".other.db.copy-0123"
    left.touch()
    other.touch()
    copy = journal.begin_copy()
    assert (left.exists(), other.exists()) == (False, True)
    copy.give_up()
    copy.close()
    journal.close()


def test_a_copy_without_room_is_refused(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database gets what there is."""
    disk = SimpleNamespace(f_blocks=1_000, f_frsize=1_000, f_bavail=51)
    monkeypatch.setattr("dagorama_broker.copies.stepped.os.statvfs", lambda _: disk)
    with pytest.raises(CannotCopy, match="there is room for 1000 "):
        journal.begin_copy()
    journal.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """As a folder that has gone."""
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(CannotCopy, match="cannot be copied"):
        Copies().begin(connection, str(tmp_path / "gone" / "broker.db"))
