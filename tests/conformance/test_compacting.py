"""The file of a database is written anew: as it was, shorter, and able to get shorter still."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagorama_broker.care.stopped import take
from dagorama_broker.core import events as e
from dagorama_broker.storage.compacting import compact
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.schema import load_migrations
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.graphs import Graph


def older_file(path: Path) -> None:
    """Make a file as versions did whose files cannot be made shorter, with much that is free in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        for migration in load_migrations():
            connection.executescript(migration.sql)
            connection.execute("INSERT INTO schema VALUES (?, 1.0)", (migration.number,))
        connection.execute("CREATE TABLE much (bytes BLOB)")
        connection.executemany("INSERT INTO much VALUES (?)", [(bytes(100_000),)] * 50)
        connection.execute("DROP TABLE much")
    path.chmod(0o600)


def test_an_older_file_is_made_shorter_once(tmp_path: Path) -> None:
    """A broker uses its free pages and cannot give them back; afterwards it can, and all that was in it is there."""
    path = tmp_path / "broker.db"
    older_file(path)
    journal, instance = SqliteJournal(path), Graph().instance()
    journal.open()
    journal.commit([e.InstanceCreated(instance=instance)])
    usage = journal.measure()
    assert (usage.gives_back, usage.free > 4_000_000) == (False, True)
    with pytest.raises(StorageError, match="another broker holds it"):
        compact(path)
    journal.close()
    _, before, after = compact(path)
    assert (before > 5_000_000, after < 1_000_000, path.stat().st_mode & 0o777) == (True, True, 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["broker.db"]
    journal.open()
    assert journal.measure().gives_back
    assert journal.find_head(instance.id) is not None
    journal.close()


def test_the_file_stays_that_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator who compacts the database of a broker that has a user of its own locks nobody out."""
    path = tmp_path / "broker.db"
    older_file(path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 4321, 8765)
        of = 4321, 8765
    else:
        given: list[tuple[int, int]] = []
        real = path.stat()
        monkeypatch.setattr(os, "fchown", lambda handle, *owner: given.append(owner))
        monkeypatch.setattr(os, "fstat", lambda handle: os.stat_result((0, 0, 0, 0, 4321, 8765, 0, 0, 0, 0)))
        of = real.st_uid, real.st_gid
    compact(path)
    monkeypatch.undo()
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (*of, 0o640)
    assert os.geteuid() == 0 or given == [of]


@pytest.mark.parametrize("taker", ["journal", "compact", "take"])
def test_a_file_that_is_replaced_as_it_is_opened_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taker: str
) -> None:
    """Who has opened the old one by then would lock, and write, a file that nobody finds again."""
    path, newer = tmp_path / "broker.db", tmp_path / "newer.db"
    for each, count in ((path, 1), (newer, 2)):
        journal = SqliteJournal(each)
        journal.open()
        graph = Graph()
        journal.commit([e.InstanceCreated(instance=graph.instance()) for _ in range(count)])
        journal.close()
    connect = sqlite3.connect

    def replaced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        if newer.exists():
            os.replace(newer, path)  # as another process does that compacts it
        return connection

    monkeypatch.setattr(sqlite3, "connect", replaced)
    if taker == "journal":
        journal = SqliteJournal(path)
        journal.open()
        journal.close()
    elif taker == "take":
        take(path).close()
    else:
        compact(path)
    monkeypatch.undo()
    assert not newer.exists()
    with closing(sqlite3.connect(f"file:{path}?immutable=1&mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchone() == (2,)


def test_a_link_goes_on_leading_to_the_file(tmp_path: Path) -> None:
    """A database that is kept on another disk stays there."""
    folder, link = tmp_path / "volume", tmp_path / "broker.db"
    folder.mkdir()
    older_file(folder / "broker.db")
    link.symlink_to(folder / "broker.db")
    compact(link)
    assert (link.is_symlink(), link.stat().st_size < 1_000_000) == (True, True)
    assert [one.name for one in folder.iterdir()] == ["broker.db"]


def test_what_was_left_of_one_that_broke_off_does_not_matter(tmp_path: Path) -> None:
    """The database was not touched; the file beside it is made anew."""
    path = tmp_path / "broker.db"
    older_file(path)
    (tmp_path / "broker.db.compacting").write_bytes(b"half of it")
    assert compact(path).after < 1_000_000


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is not there, an empty one, and one of something else stay as they are."""
    for name, content, message in (
        ("none.db", None, "there is no such file"),
        ("empty.db", b"", "there is nothing in it"),
        ("text.db", b"text" * 5_000, "not an SQLite database"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StorageError, match=message):
            compact(path)
        assert path.exists() == (content is not None)
        assert not content or path.read_bytes() == content
