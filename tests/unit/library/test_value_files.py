"""The files of large values are written with the disk at work, and hashed once for all processes of a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import pytest

from dagorama.calls.large import Content
from dagorama.calls.pickling import Buffer
from dagorama.calls.references import Reference
from dagorama.client.values import checked, mapped, spooling
from dagorama.client.values import store as stores
from dagorama.client.values.cache import Cache
from dagorama.client.values.store import RemoteValues
from tests.unit.library.value_server import CHUNK_BYTES, ValueServer

VALUE = Random(8).randbytes(5 * CHUNK_BYTES + 7)
REFERENCE = Reference(sha256(VALUE).digest(), len(VALUE))
#: For so long two changes of a file may have the same time.
SAME_TIME_S = 0.1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user that has no values as yet."""
    own = as_user("first", tmp_path, monkeypatch)
    yield own
    stores._cache.cache_clear()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValueServer]:
    """A store on this host."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        yield server


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were hashed to be read."""
    sizes: list[int] = []

    def hash_counted(data: Buffer) -> Any:
        sizes.append(len(memoryview(data)))
        return sha256(data)

    monkeypatch.setattr(mapped, "sha256", hash_counted)
    return sizes


def as_user(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go on as a user with a directory of this name; return it."""
    directory = tmp_path / f"cache-{name}"
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(directory))
    stores._cache.cache_clear()
    return directory


def read(server: ValueServer, times: int = 1) -> None:
    """Read the value in a process of its own."""
    values = RemoteValues("localhost", server.port, patience_s=60.0)
    for _ in range(times):
        (found,) = values.get([REFERENCE], "a test")
        assert bytes(found) == VALUE
        del found


def put(server: ValueServer) -> None:
    """Store the value, in a process of its own."""
    RemoteValues("localhost", server.port, patience_s=60.0).put([Content([VALUE])])
    sleep(SAME_TIME_S)


def test_who_has_written_a_file_has_hashed_it(server: ValueServer, hashed: list[int]) -> None:
    """So no process of the same user does so again."""
    put(server)
    for _ in range(3):
        read(server)
    assert hashed == []
    assert server.asked == ["find", "adopt"]


def test_another_user_takes_no_word_for_it(
    server: ValueServer, hashed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to a store may also have the wrong digest. The first process of each user hashes its files."""
    put(server)
    as_user("second", tmp_path, monkeypatch)
    for _ in range(3):
        read(server, times=2)
    assert hashed == [len(VALUE)]


def test_a_file_that_was_changed_is_hashed_again(server: ValueServer, hashed: list[int]) -> None:
    """Whoever changes it cannot hide that by the time of the file."""
    put(server)
    path = server.path(REFERENCE.digest)
    before = path.stat()
    path.chmod(0o600)
    path.write_bytes(bytes(len(VALUE)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    read(server)  # the server sends it
    assert hashed == [len(VALUE)]
    assert server.asked == ["find", "adopt", "get"]


def test_files_are_hashed_again_after_a_start_of_the_machine(
    server: ValueServer, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash may take from a file what was not on the disk, and leave its time."""
    put(server)
    monkeypatch.setattr(checked, "_boot_id", lambda: "another")
    read(server)
    read(server)
    assert hashed == [len(VALUE)]


@pytest.mark.parametrize("spoil", ["torn", "emptied", "removed", "unreadable", "a link"])
def test_without_a_whole_row_a_file_is_hashed(
    server: ValueServer, hashed: list[int], cache: Path, tmp_path: Path, spoil: str
) -> None:
    """Also where the row of another value has taken its place."""
    put(server)
    table = cache / checked.TABLE
    row = table.read_bytes()
    match spoil:
        case "torn":
            table.write_bytes(row[:-5] + bytes(5))
        case "emptied":
            table.write_bytes(b"")
        case "removed":
            table.unlink()
        case "unreadable":
            table.unlink()
            table.mkdir()
        case _:
            table.rename(tmp_path / "elsewhere")
            table.symlink_to(tmp_path / "elsewhere")
    read(server)
    assert hashed == [len(VALUE)]


def test_without_a_directory_each_process_hashes_for_itself(
    server: ValueServer, hashed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the one for temporary files cannot be written."""
    put(server)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "file"))
    stores._cache.cache_clear()
    for _ in range(2):
        read(server, times=2)
    assert hashed == [len(VALUE)] * 2


def test_what_was_fetched_is_hashed_on_its_way_alone(hashed: list[int]) -> None:
    """Other processes map the file of the cache, and so they do with what was sent from here."""
    with ValueServer() as far:
        far.values[REFERENCE.digest] = VALUE
        read(far)
        read(far)
        assert far.asked == ["get"]
    with ValueServer() as other:
        put(other)
        read(other)
        assert other.asked == ["find", "put"]
    assert hashed == []


def test_the_table_is_not_among_the_values_that_make_room(cache: Path) -> None:
    """It is small, and files would be hashed again without it."""
    kept = Cache(cache, 10)
    (cache / checked.TABLE).write_bytes(bytes(100))
    (cache / "value").write_bytes(bytes(100))
    kept.make_room()
    assert [path.name for path in cache.iterdir()] == [checked.TABLE]


def test_the_disk_begins_while_a_value_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its file is to be synced; how often depends on the disk, which is asked for one thing at a time."""
    synced: list[int] = []
    size = 10 * spooling._STEP_BYTES
    monkeypatch.setattr(spooling, "_SYNC_BYTES", spooling._STEP_BYTES)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.lseek(descriptor, 0, os.SEEK_CUR)))
    for syncs in (False, True):
        spooled = spooling.spool(Content([bytes(size)]), tmp_path, syncs=syncs)
        assert spooled is not None
        os.close(spooled.descriptor)
        assert spooled.reference == Reference(sha256(bytes(size)).digest(), size)
        assert bool(synced) is syncs
    assert len(synced) <= 10
    assert synced == sorted(synced)


def test_an_error_of_the_disk_on_the_way_is_not_lost(server: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells of it once, so a sync at the end would succeed. The value is sent, for the broker to store."""

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spooling, "_SYNC_BYTES", spooling._STEP_BYTES)
    monkeypatch.setattr(os, "fdatasync", fail)
    value = bytes(3 * spooling._STEP_BYTES)
    (reference,) = RemoteValues("localhost", server.port, patience_s=60.0).put([Content([value])])
    assert server.values == {reference.digest: value}
    assert server.asked == ["find", "put"]
    assert not list((server.path(reference.digest).parents[2] / "incoming").iterdir())
