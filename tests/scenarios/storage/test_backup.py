"""`dagorama storage backup`, `restore` and `size`: of a broker that goes on working, and of one that is stopped."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

import dagorama
from dagorama.cli.main import group
from dagorama.client.storage_care import BrokerCopy
from dagorama_broker.care.backups import DATABASE, MANIFEST, UNDERWAY, VALUES, read_manifest
from dagorama_broker.care.faults import CareError
from dagorama_broker.care.restoring import EPOCHS_AHEAD
from dagorama_broker.care.saving import save
from dagorama_broker.launch import launch_broker
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.scenarios.storage.kept_definitions import PART_BYTES, Kept, Waits
from tests.scenarios.storage.used_storage import DIGESTS, UNUSED, make_used_storage
from tests.stored import value_files
from tests.timing import WAIT_S, until


def care(*words: object) -> Result:
    """Run `dagorama storage`."""
    return CliRunner().invoke(group, ["storage", *map(str, words)])


def url(path: Path) -> str:
    """Name a storage."""
    return f"sqlite:///{path}"


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a database that nobody holds."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def lines_of(instance: dagorama.Instance) -> list[str]:
    """Return what an instance has printed."""
    return [line.text for line in instance.logs() if isinstance(line, dagorama.LogLine)]


class _Working(BrokerCopy):
    """Has an instance run to its end while its stream is open, before the values are read."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.total = 0

    def __enter__(self) -> _Working:
        super().__enter__()
        return self

    def logs(self) -> Iterator[bytes]:
        self.total = Kept()(500, 2)[0].result(timeout=WAIT_S)
        yield from super().logs()


class Saved(NamedTuple):
    """A backup of a broker that worked."""

    folder: Path
    done: UUID
    waits: UUID
    go: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """Back up a broker on which one instance has completed and another runs, while a third runs to its end."""
    folder = tmp_path_factory.mktemp("saved")
    go = folder / "go"
    with launch_broker(port=0, storage=url(folder / "broker.db")) as broker, dagorama.launch_workers(1, concurrency=2):
        done, _ = Kept()(0, 3)
        assert done.result(timeout=WAIT_S) == 3 * PART_BYTES
        until(lambda: len(lines_of(dagorama.attach(done.instance_id))) == 3)  # they come on a way of their own
        waits, _ = Waits()(str(go))
        for status in dagorama.attach(waits.instance_id).changes():
            if status.counts.get("completed"):
                break  # its part is there, and what waits for the file is next
        with _Working(broker.host, broker.port) as copy:
            manifest = save(copy, folder / "backup")
        assert (copy.total, manifest.problems, manifest.values_kept) == (2 * PART_BYTES, (), "copied")
        assert (manifest.values, manifest.values_bytes) == (4, 4 * PART_BYTES)
        yield Saved(folder, done.instance_id, waits.instance_id, go)
        go.touch()
        assert waits.result(timeout=WAIT_S) == PART_BYTES


def test_a_restored_broker_goes_on(saved: Saved, tmp_path: Path) -> None:
    """It has what was acknowledged before the backup began, with values and lines, and what ran then is run."""
    path = tmp_path / "other" / "broker.db"
    result = care("restore", saved.folder / "backup", "--storage", url(path))
    assert result.exit_code == 0, result.output
    restored, checked = result.output.splitlines()
    assert f"restored a database of {(saved.folder / 'backup' / DATABASE).stat().st_size} bytes, 4 values" in restored
    assert checked == f"4 uses of 4 values of {4 * PART_BYTES} bytes; 0 unused values of 0 bytes; 0 problems"
    with launch_broker(port=0, storage=url(path)):
        done = dagorama.attach(saved.done)
        assert done.result(timeout=WAIT_S) == 3 * PART_BYTES
        assert [str(one.state) for one in dagorama.instances()] == ["running", "completed"]
        assert sorted(lines_of(done)) == ["part 0", "part 1", "part 2"]
        part, *_ = done.nodes(function="part")
        assert part.result() == bytes(PART_BYTES)
        with dagorama.launch_workers(1):
            waits = dagorama.attach(saved.waits)
            saved.go.touch()
            assert waits.result(timeout=WAIT_S) == PART_BYTES
            assert Kept()(0, 1)[0].result(timeout=WAIT_S) == PART_BYTES


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives files to others")
@pytest.mark.parametrize("is_there", [True, False])
def test_what_the_superuser_restores_is_the_folders_owners(saved: Saved, tmp_path: Path, is_there: bool) -> None:
    """A broker that runs as that user can read all of it; also where folders were missing, and a restore broke off."""
    user, group = 65534, 65533
    os.chown(tmp_path, user, group)
    path = tmp_path / "broker.db" if is_there else tmp_path / "some" / "where" / "broker.db"
    if is_there:
        (tmp_path / "broker.db.values").mkdir()
    result = care("restore", saved.folder / "backup", "--storage", url(path))
    assert result.exit_code == 0, result.output
    made = [tmp_path, *tmp_path.rglob("*")]
    assert {one.suffix for one in made} >= {".db", ".values"}
    assert {(one.lstat().st_uid, one.lstat().st_gid) for one in made} == {(user, group)}


def test_what_is_restored_is_a_storage_of_its_own(saved: Saved, tmp_path: Path) -> None:
    """It has its own values, and its fencing tokens are above those that the original gives out."""
    path = tmp_path / "broker.db"
    assert care("restore", saved.folder / "backup", "--storage", url(path)).exit_code == 0
    ((owner,),) = rows(path, "SELECT id FROM value_owner")
    ((other,),) = rows(saved.folder / "backup" / DATABASE, "SELECT id FROM value_owner")
    assert owner != other
    (before,), (after,) = (
        rows(each, "SELECT max(epoch) FROM epochs")[0] for each in (saved.folder / "backup" / DATABASE, path)
    )
    assert after == before + EPOCHS_AHEAD + 1  # that of the check after it


def test_a_running_broker_is_backed_up_and_measured_by_commands(saved: Saved, tmp_path: Path) -> None:
    """At the address that the environment names."""
    result = care("backup", tmp_path / "backup", "--no-logs")
    assert (result.exit_code, ", no logs; 0 problems\n" in result.output) == (0, True), result.output
    manifest = read_manifest(tmp_path / "backup")
    assert (manifest.logs, manifest.location) == (None, str(saved.folder / "broker.db"))
    # The third instance has ended by now.
    assert manifest.values == len(value_files(tmp_path / "backup" / VALUES)) == 6
    result = care("backup", tmp_path / "backup")
    assert (result.exit_code, "has a whole backup already" in result.output) == (3, True)
    result = care("size", "--json")
    told = json.loads(result.output)
    assert (told["values"]["count"], told["values"]["unused"]) == (6, 0)
    assert told["database"]["location"] == str(saved.folder / "broker.db")
    assert told["database"]["file_bytes"] + told["database"]["wal_bytes"] > 0
    assert told["logs"]["location"] == str(saved.folder / "broker.logs.db")
    assert "6 values" in care("size").output


def test_a_broker_that_keeps_nothing_is_told(tmp_path: Path) -> None:
    """One that keeps nothing; there is no directory for it then."""
    with launch_broker(port=0):
        result = care("backup", tmp_path / "backup")
        assert (result.exit_code, "keeps everything in memory" in result.output) == (4, True), result.output
        told = json.loads(care("size", "--json").output)
        assert (told["database"], told["logs"], told["values"]["location"]) == (None, None, "memory")
    assert not (tmp_path / "backup").exists()


def test_a_broker_that_stops_leaves_a_backup_that_is_not_whole(tmp_path: Path) -> None:
    """Its values are not held any more; the next one goes on with it."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    (tmp_path / "broker.logs.db").unlink()
    with launch_broker(port=0, storage=url(path)) as broker, BrokerCopy(broker.host, broker.port) as copy:
        broker.process.terminate()
        broker.process.wait(WAIT_S)
        with pytest.raises((dagorama.BrokerUnavailable, dagorama.BrokerRefused)):
            save(copy, tmp_path / "backup")
    with pytest.raises(CareError, match="was broken off"):
        read_manifest(tmp_path / "backup")
    result = care("backup", tmp_path / "backup", "--storage", url(path))
    assert (result.exit_code, read_manifest(tmp_path / "backup").values) == (0, 2), result.output


def test_a_stopped_storage_is_backed_up_and_measured(tmp_path: Path) -> None:
    """Its values where they are used; it is left as it is."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    before = path.read_bytes()
    result = care("backup", tmp_path / "backup", "--storage", url(path))
    assert (result.exit_code, ", 2 values of " in result.output) == (0, True), result.output
    told = json.loads(care("size", "--storage", url(path), "--json").output)
    assert (told["values"]["count"], told["values"]["unused"], told["values"]["unused_bytes"]) == (3, 1, len(UNUSED))
    assert told["database"]["free_bytes"] == 0
    assert path.read_bytes() == before
    with launch_broker(port=0, storage=url(path)):
        result = care("backup", tmp_path / "second", "--storage", url(path))
        assert (result.exit_code, "another broker holds it" in result.output) == (3, True)
    result = care("size", "--storage", url(tmp_path / "none.db"))
    assert (result.exit_code, "there is no such file" in result.output) == (3, True)
    result = care("size", "--storage", url(path), "--values", "ftp://somewhere")
    assert (result.exit_code, "values cannot be kept there" in result.output) == (3, True), result.output


def test_values_that_are_lost_are_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    """By the backup and by the restore, with status 1."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    file = next(file for file in value_files(tmp_path / "broker.db.values") if file.name == DIGESTS[0].hex())
    file.unlink()
    result = care("backup", tmp_path / "backup", "--storage", url(path))
    first, *_, last = result.output.splitlines()
    assert (result.exit_code, DIGESTS[0].hex() in first, "1 values" in last, last[-10:]) == (
        1,
        True,
        True,
        "1 problems",
    )
    result = care("restore", tmp_path / "backup", "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, f"value {DIGESTS[0].hex()}" in result.output) == (1, True)
    assert "; 1 problems" in result.output.splitlines()[-1]


def test_values_of_pruned_instances_are_not_missed(tmp_path: Path) -> None:
    """Their rows are removed bit by bit, and may be there when their values are gone already."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO sweeps SELECT seq, id FROM instances")
        connection.execute("DELETE FROM instances")
    for file in value_files(tmp_path / "broker.db.values"):
        file.unlink()
    result = care("backup", tmp_path / "backup", "--storage", url(path))
    assert (result.exit_code, ", 0 values of 0 bytes" in result.output) == (0, True), result.output
    result = care("restore", tmp_path / "backup", "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, "0 uses of 0 values" in result.output) == (0, True), result.output


def test_many_values_go_at_once_until_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the backup is not whole, and is gone on with when there is."""
    path = tmp_path / "broker.db"
    make_used_storage(path, [bytes([number]) * 1_000 for number in range(30)])
    with monkeypatch.context() as full:
        disk = SimpleNamespace(f_blocks=1_000, f_frsize=1_000, f_bavail=50)
        full.setattr("dagorama_broker.values.directory.os.fstatvfs", lambda _: disk)
        result = care("backup", tmp_path / "backup", "--storage", url(path))
    assert (result.exit_code, "there is no room for the 1000 bytes" in result.output) == (3, True), result.output
    assert not (tmp_path / "backup" / MANIFEST).exists()
    result = care("backup", tmp_path / "backup", "--storage", url(path))
    assert (result.exit_code, ", 30 values of 30000 bytes" in result.output) == (0, True), result.output
    result = care("restore", tmp_path / "backup", "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, "of 30 values of 30000 bytes" in result.output) == (0, True), result.output


def test_a_value_that_was_damaged_in_a_broken_backup_is_copied_again(tmp_path: Path) -> None:
    """It has the size that it should have: a backup that goes on reads what is there."""
    path, backup = tmp_path / "broker.db", tmp_path / "backup"
    make_used_storage(path)
    result = care("backup", backup, "--storage", url(path))
    assert result.exit_code == 0, result.output
    (backup / UNDERWAY).write_text(f"{read_manifest(backup).id}\n")
    (backup / MANIFEST).unlink()
    for file in value_files(backup / VALUES):
        file.chmod(0o600)
        with file.open("r+b") as damaged:
            damaged.write(b"X")
    result = care("backup", backup, "--storage", url(path))
    assert (result.exit_code, ", 2 values of " in result.output) == (0, True), result.output
    result = care("restore", backup, "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, "; 0 problems" in result.output) == (0, True), result.output


def test_a_backup_that_was_changed_is_found_out(tmp_path: Path) -> None:
    """A value is left out, with a line; of a changed database nothing is restored."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    assert care("backup", tmp_path / "backup", "--storage", url(path)).exit_code == 0
    file = value_files(tmp_path / "backup" / VALUES)[0]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[::-1])
    result = care("restore", tmp_path / "backup", "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, "they are not kept" in result.output) == (1, True), result.output
    with (tmp_path / "backup" / DATABASE).open("ab") as database:
        database.write(b"x")
    result = care("restore", tmp_path / "backup", "--storage", url(tmp_path / "again.db"))
    assert (result.exit_code, "has been changed since the backup was made" in result.output) == (3, True)
    assert not (tmp_path / "again.db").exists()
    with pytest.raises(StorageError, match="was broken off"):
        SqliteJournal(tmp_path / "again.db").open()


def test_a_backup_that_lacks_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    """It was whole when it was made: the message says what it lacks, and nothing is begun."""
    path, backup = tmp_path / "broker.db", tmp_path / "backup"
    make_used_storage(path)
    assert care("backup", backup, "--storage", url(path)).exit_code == 0
    (backup / DATABASE).unlink()
    result = care("restore", backup, "--storage", url(tmp_path / "restored.db"))
    assert (result.exit_code, f"{backup} lacks database.db, which it had" in result.output) == (3, True), result.output
    assert not list(tmp_path.glob("restored.db*"))


def test_a_directory_of_values_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Where it is named: to count nothing in it would look as if there were no values. A restore makes it."""
    path, nowhere = tmp_path / "broker.db", tmp_path / "nowhere"
    journal = SqliteJournal(path)  # which has no values
    journal.open()
    journal.close()
    named = "--storage", url(path), "--values", str(nowhere)
    for words in (("size",), ("check",), ("backup", tmp_path / "backup")):
        result = care(*words, *named)
        assert (result.exit_code, f"{nowhere}: there is no such directory of values" in result.output) == (3, True)
    assert care("size", "--storage", url(path)).exit_code == 0
    assert care("backup", tmp_path / "saved", "--storage", url(path)).exit_code == 0
    result = care("restore", tmp_path / "saved", "--storage", url(tmp_path / "new.db"), "--values", str(nowhere))
    assert (result.exit_code, nowhere.is_dir()) == (0, True), result.output


def test_nothing_is_restored_where_something_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database, one that a broker runs on, logs, values, the storage of no name; each stays as it is."""
    path = tmp_path / "broker.db"
    make_used_storage(path)
    backup = tmp_path / "backup"
    assert care("backup", backup, "--storage", url(path)).exit_code == 0
    result = care("restore", backup, "--storage", url(path))
    assert (result.exit_code, "is there already, and stays as it is" in result.output) == (3, True)
    with launch_broker(port=0, storage=url(path)):
        result = care("restore", backup, "--storage", url(path))
    assert (result.exit_code, "another broker holds it" in result.output) == (3, True)
    path.unlink()
    result = care("restore", backup, "--storage", url(path))
    assert (result.exit_code, f"{tmp_path}/broker.logs.db is there already" in result.output) == (3, True)
    (tmp_path / "broker.logs.db").unlink()
    result = care("restore", backup, "--storage", url(path))
    assert (result.exit_code, "broker.db.values has something in it" in result.output) == (3, True)
    assert {*os.listdir(tmp_path)} == {"backup", "broker.db.values"}
    result = care("restore", backup, "--storage", url(path), "--values", tmp_path / "values")
    assert result.exit_code == 0, result.output
    assert care("restore", backup, "--storage", "memory:").exit_code == 3
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert [care("restore", backup).exit_code for _ in range(2)] == [0, 3]


def test_what_is_no_backup_is_told(tmp_path: Path) -> None:
    """An empty directory, one that was broken off, one of a newer version, and of a newer schema."""
    path, backup, target = tmp_path / "broker.db", tmp_path / "backup", url(tmp_path / "restored.db")
    make_used_storage(path)
    backup.mkdir()
    assert "there is no backup" in care("restore", backup, "--storage", target).output
    (backup / UNDERWAY).touch()
    assert "was broken off, so it is not whole" in care("restore", backup, "--storage", target).output
    assert care("backup", backup, "--storage", url(path)).exit_code == 0
    told = json.loads((backup / MANIFEST).read_text())
    for changed, said in (
        ({"schema": 999}, "Restore it with the newer version that made it"),
        ({"form": 2}, "a newer version of dagorama has made this backup"),
        ({"database": None}, "has been changed"),
    ):
        (backup / MANIFEST).write_text(json.dumps({**told, **changed}))
        result = care("restore", backup, "--storage", target)
        assert (result.exit_code, said in result.output) == (3, True), result.output
    (backup / MANIFEST).write_text("{")
    assert "cannot be read" in care("restore", backup, "--storage", target).output
    assert not (tmp_path / "restored.db").exists()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "mine").touch()
    result = care("backup", tmp_path / "others", "--storage", url(path))
    assert (result.exit_code, "has other things in it, as mine" in result.output) == (3, True)


@pytest.mark.timeout(600)
def test_whatever_is_killed_is_never_taken_for_whole() -> None:
    """A backup and a restore, at each thing that they do: what is left says so, and is gone on with."""
    command = [sys.executable, "-m", "tests.scenarios.storage.killed_care"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stderr
    assert all(int(kills) > 40 for kills in done.stdout.split())
