"""`dagorama storage check`: what is written of values, and the values themselves."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from dagorama.cli.main import group
from dagorama_broker.care.backups import FileEntry
from dagorama_broker.core import events as e
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.launch import launch_broker
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.values.directory import DirectoryStore
from tests.conformance.graphs import Graph

VALUE, UNUSED = b"value" * 100_000, b"unused" * 1_000
DIGEST = sha256(VALUE).digest()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make a storage with a value that two nodes use, and one that nothing uses."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    instance = graph.instance()
    payload = write_references([Reference(DIGEST, len(VALUE))], b".")
    nodes = [graph.node(instance, arguments=payload) for _ in range(2)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    store = DirectoryStore(tmp_path / "broker.db.values")
    store.open(journal.owner_id, is_used=False)
    for value in (VALUE, UNUSED):
        writing = store.begin(sha256(value).digest(), len(value), 0)
        writing.write(value)
        writing.finish()
    store.close()
    journal.close()
    return path


def value_file(database: Path) -> Path:
    """Give the file of the value that is used."""
    return Path(f"{database}.values") / DIGEST.hex()[:2] / DIGEST.hex()[2:4] / DIGEST.hex()


def check(database: Path | str, *options: str) -> Result:
    """Check a storage."""
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    return CliRunner().invoke(group, ["storage", "check", "--storage", url, *options])


def test_a_storage_that_is_as_it_should_be(database: Path) -> None:
    """It is told how much there is, again and again."""
    for options in ((), ("--quick",), ("--values", f"{database}.values")):
        result = check(database, *options)
        said = f"2 uses of 1 values of {len(VALUE)} bytes; 1 unused values of {len(UNUSED)} bytes; 0 problems\n"
        assert (result.output, result.exit_code) == (said, 0)


def test_a_value_that_is_not_there_is_named(database: Path) -> None:
    """Once, with one of its users."""
    value_file(database).unlink()
    result = check(database, "--quick")
    first, last = result.output.splitlines()
    assert first.startswith(f"value {DIGEST.hex()}, which the arguments of node 1 of instance 1 refers to, is not in ")
    assert (last.endswith("; 1 problems"), result.exit_code) == (True, 1)


def test_a_value_that_has_changed_is_found_out_by_reading_it(database: Path) -> None:
    """One of another size without that."""
    path = value_file(database)
    path.chmod(0o600)
    path.write_bytes(VALUE[::-1])
    assert check(database, "--quick").exit_code == 0
    result = check(database)
    assert (f"has the digest {sha256(VALUE[::-1]).hexdigest()}" in result.output, result.exit_code) == (True, 1)
    path.write_bytes(VALUE[1:])
    result = check(database, "--quick")
    assert f"has {len(VALUE) - 1} bytes in {database}.values, and should have {len(VALUE)}" in result.output


def test_a_use_that_is_not_as_it_is_written_is_named(database: Path) -> None:
    """By the payload that has it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM value_uses WHERE node = 2")
    result = check(database)
    named = f"the use of value {DIGEST.hex()} by the arguments of node 2 of instance 1 is not written"
    assert (named in result.output, result.exit_code) == (True, 1)


def test_what_cannot_be_checked_is_told(database: Path, tmp_path: Path) -> None:
    """A storage in memory, one that is no storage, and values that are another's."""
    assert (check("memory:").exit_code, check("nonsense").exit_code) == (3, 2)
    other = tmp_path / "other.db"
    result = check(other)
    assert ("there is no such file" in result.output, result.exit_code, other.exists()) == (True, 3, False)
    journal = SqliteJournal(other)
    journal.open()
    journal.close()
    result = check(other)
    assert (result.output.startswith("0 uses of 0 values"), result.exit_code) == (True, 0)
    assert not Path(f"{other}.values").exists()
    result = check(other, "--values", f"{database}.values")
    assert ("belong to another broker's database" in result.output, result.exit_code) == (True, 3)


def test_a_storage_that_a_broker_runs_on_is_left_alone(database: Path) -> None:
    """It goes on."""
    with launch_broker(port=0, storage=f"sqlite:///{database}") as broker:
        result = check(database)
        assert ("another broker holds it" in result.output, result.exit_code) == (True, 3)
        with grpc.insecure_channel(broker.target) as channel:
            grpc.channel_ready_future(channel).result(30)
    assert check(database).exit_code == 0


@pytest.mark.parametrize("command", ["check", "compact", "migrate", "size", "backup"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("", "is a directory, not a database file"), (f"{'x' * 300}.db", "File name too long")],
    ids=range(2),
)
def test_a_name_of_no_file_is_told_by_each_command(tmp_path: Path, command: str, name: str, said: str) -> None:
    """What the system says of it is no traceback."""
    words = [command, *([str(tmp_path / "copy")] if command == "backup" else []), "--storage"]
    result = CliRunner().invoke(group, ["storage", *words, f"sqlite:///{tmp_path / name}"])
    assert (result.exit_code, type(result.exception)) == (3, SystemExit)
    assert said in result.output


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "this user may not read or write it (Permission denied). Run the command as the user"),
        (errno.ENOSPC, "the disk is full (No space left on device). Make room there"),
        (errno.EROFS, "the disk is read-only (Read-only file system). Name another place"),
        (errno.ENOTDIR, "Not a directory. Look whether the name is right"),
    ],
)
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_what_the_system_refuses_has_a_way_out(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, number: int, said: str
) -> None:
    """By the name of the file: that permission is denied says little to somebody at night."""
    backup, named = tmp_path / "backup", f"sqlite:///{database}"
    if command == "restore":
        made = CliRunner().invoke(group, ["storage", "backup", str(backup), "--storage", named])
        assert made.exit_code == 0, made.output
        named = f"sqlite:///{tmp_path / 'restored.db'}"

    def refuse(path: Path, chunks: object) -> FileEntry:
        raise OSError(number, os.strerror(number), str(path))

    module = "restoring" if command == "restore" else "saving"
    monkeypatch.setattr(f"dagorama_broker.care.{module}.write_file", refuse)
    result = CliRunner().invoke(group, ["storage", command, str(backup), "--storage", named])
    file = tmp_path / "restored.db.restoring" if command == "restore" else backup / "database.db"
    assert (result.exit_code, f"{file}: {said}" in result.output) == (3, True), result.output


def test_commands_do_not_speak_of_a_broker_that_is_not_there(database: Path) -> None:
    """It has no settings that could be changed: another storage is named with the option."""
    (database.parent / "text.db").write_bytes(b"text" * 5_000)
    result = check(database.parent / "text.db")
    assert "it is not an SQLite database" in result.output
    assert "Look whether the name is right, or name another storage with --storage." in result.output
    with launch_broker(port=0, storage=f"sqlite:///{database}"):
        result = check(database)
    assert "Stop that one, or name another storage with --storage." in result.output
