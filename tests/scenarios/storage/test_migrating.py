"""`dagorama storage migrate`, and databases of 0.2.0 and of each schema since."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagorama.cli.main import group
from dagorama_broker.core.model.references import SIZE_END
from dagorama_broker.launch import launch_broker
from dagorama_broker.storage.schema import load_migrations
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.scenarios.storage.old_databases import old_databases, restore_old

OLD = old_databases()
NEWEST = load_migrations()[-1].number
#: No version had this one as its newest schema.
NEVER = 11


def migrate(path: Path, *options: str) -> Result:
    """Migrate a database."""
    return CliRunner().invoke(group, ["storage", "migrate", "--storage", f"sqlite:///{path}", *options])


def rows(path: Path, columns: dict[str, list[str]] | None = None) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of all tables, of some columns if these are given."""
    with closing(sqlite3.connect(path)) as connection:
        tables = columns or tables_of(path)
        return {
            table: sorted(connection.execute(f"SELECT {', '.join(names)} FROM {table}"), key=repr)
            for table, names in tables.items()
        }


def tables_of(path: Path) -> dict[str, list[str]]:
    """Return the columns of each table, but for the one with the numbers of migrations."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
            for name in sorted({*names} - {"schema", "value_owner"})
        }


def shape(path: Path) -> list[tuple[str, str, str]]:
    """Return the schema of a database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()


def test_there_is_a_database_of_each_earlier_schema() -> None:
    """Before a migration is added, that of the schema before it is made: `old_databases` says how."""
    assert {*range(9, NEWEST)} - {NEVER} <= {*OLD}


@pytest.mark.parametrize("number", sorted(OLD))
def test_an_old_database_is_migrated_with_all_that_it_has(number: int, tmp_path: Path) -> None:
    """It has the schema of a new one, and each row is as it was; it is told what was done, and done once."""
    path, kept, fresh = tmp_path / "broker.db", tmp_path / "kept.db", tmp_path / "fresh.db"
    restore_old(OLD[number], path)
    columns, before = tables_of(path), rows(path)
    result = migrate(path, "--backup", str(kept))
    said = f"from schema {number} to {NEWEST}" if number < NEWEST else "there was nothing to do"
    assert (said in result.output, result.exit_code) == (True, 0), result.output
    assert rows(path, columns) == before
    assert rows(kept) == before
    journal = SqliteJournal(fresh)
    journal.open()
    journal.close()
    assert shape(path) == shape(fresh)
    assert "there was nothing to do" in migrate(path).output
    journal = SqliteJournal(path)
    snapshot = journal.open()
    listed = [
        (one.definition.rpartition(":")[2], str(one.state)) for one in journal.list_instances(before_seq=None, limit=9)
    ]
    journal.close()
    assert listed == [("Older", "running"), ("Older", "failed"), ("Older", "completed")]
    assert len(snapshot.instances) == 1


def with_values(folder: Path) -> Path:
    """Make the database of schema 16 again, with uses of values by its two instances that have ended, and the other."""
    source = folder / "values.sql"
    uses = [(1, 1, "arguments", "aa", 100), (1, 2, "result", "aa", 100), (1, 2, "result", "bb", 30)]
    uses += [(2, 9, "arguments", "aa", 100), (3, 17, "arguments", "cc", 70), (2, 9, "result", "dd", SIZE_END - 1)]
    rows = ", ".join(
        f"({instance}, {node}, '{part}', x'{digest}', {size})" for instance, node, part, digest, size in uses
    )
    source.write_text(f"{OLD[16].read_text()}INSERT INTO value_uses VALUES {rows};\n")
    return source


def test_values_are_counted_for_instances_that_have_ended(tmp_path: Path) -> None:
    """Each once, up to the largest number; of an instance that runs, a broker counts them when it starts."""
    path = tmp_path / "broker.db"
    restore_old(with_values(tmp_path), path)
    assert migrate(path).exit_code == 0
    held = rows(path, {"instances": ["seq", "state", "held_bytes"]})["instances"]
    assert held == [(1, "completed", 130), (2, "failed", SIZE_END - 1), (3, "running", 0)]


@pytest.mark.timeout(600)
def test_a_migration_that_is_killed_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    """Before each statement and within some, of all migrations: the same schema and rows come of it."""
    sources = ["", str(OLD[9]), str(with_values(tmp_path))]
    command = [sys.executable, "-m", "tests.scenarios.storage.killed_migrations", *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stderr
    assert [int(kills) > least for kills, least in zip(done.stdout.split(), (40, 40, 4), strict=True)] == [True] * 3


def test_a_newer_database_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """By `migrate` as by a broker; it is left as it is, and no copy is begun."""
    path = tmp_path / "broker.db"
    restore_old(OLD[9], path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema VALUES (999, 0)")
    before = path.read_bytes()
    result = migrate(path, "--backup", str(tmp_path / "kept.db"))
    assert (result.exit_code, "has number 999" in result.output) == (3, True)
    assert "Start the newer version that wrote it" in result.output
    assert (path.read_bytes(), (tmp_path / "kept.db").exists()) == (before, False)


def test_what_cannot_be_migrated_is_told(tmp_path: Path) -> None:
    """No file, that of another program, a storage in memory, one that a broker runs on, a name that is taken."""
    missing, other, path = tmp_path / "missing.db", tmp_path / "other.db", tmp_path / "broker.db"
    assert "there is no such file" in migrate(missing).output
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    assert "a database of another program" in migrate(other).output
    result = CliRunner().invoke(group, ["storage", "migrate", "--storage", "memory:"])
    assert (result.exit_code, "keeps nothing" in result.output) == (3, True)
    result = CliRunner().invoke(group, ["storage", "migrate", "--storage", "nonsense"])
    assert result.exit_code == 2
    restore_old(OLD[9], path)
    result = migrate(path, "--backup", str(other))
    assert (result.exit_code, f"{other} is there already" in result.output) == (3, True)
    with launch_broker(port=0, storage=f"sqlite:///{path}"):
        result = migrate(path)
    assert (result.exit_code, "another broker holds it" in result.output) == (3, True)
