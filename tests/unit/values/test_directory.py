"""A directory of values: whose it is, what else may be in it, and what happens to it while a broker runs."""

import errno
import logging
import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import BadUpload, StoreAway, StoreFull, StoreUnusable, UnknownValue, ValuesError
from dagorama_broker.values.store import Place

OWNER, OTHER = b"o" * 16, b"p" * 16
VALUE = b"value" * 30_000
DIGEST = sha256(VALUE).digest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Name the directory; nothing is there."""
    return tmp_path / "data" / "broker.values"


@pytest.fixture
def store(folder: Path) -> Iterator[DirectoryStore]:
    """Give a store that is open."""
    store = DirectoryStore(folder)
    store.open(OWNER, is_used=False)
    yield store
    store.close()


def put(store: DirectoryStore, value: bytes = VALUE) -> None:
    """Put a value."""
    writing = store.begin(sha256(value).digest(), len(value), 0)
    try:
        writing.write(value)
        writing.finish()
    finally:
        writing.close()


def reopened(folder: Path, owner: bytes = OWNER, *, is_used: bool = False) -> tuple[DirectoryStore, Place]:
    """Open a directory as the next broker does."""
    store = DirectoryStore(folder)
    return store, store.open(owner, is_used=is_used)


def files(folder: Path) -> list[str]:
    """Give the names of all files below a directory."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def refusal(folder: Path, owner: bytes = OWNER, *, is_used: bool = False) -> str:
    """Give why a directory cannot be opened."""
    with pytest.raises(StoreUnusable) as caught:
        reopened(folder, owner, is_used=is_used)
    return str(caught.value)


def test_values_are_there_after_a_restart(store: DirectoryStore, folder: Path) -> None:
    """Each under its digest, for nobody to change, and nothing beside them but whose they are."""
    put(store)
    store.close()
    digits = DIGEST.hex()
    name = f"{digits[:2]}/{digits[2:4]}/{digits}"
    assert files(folder) == sorted([name, "lock", "owner"])
    assert ((folder / name).stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o400, 0o700)
    again, _ = reopened(folder, is_used=True)
    assert again.find([DIGEST], 0.0, 0.0) == {DIGEST: len(VALUE)}
    again.close()


def test_a_disk_that_cannot_tell_is_away(store: DirectoryStore, folder: Path) -> None:
    """A value that it has is not said to be missing: whoever needs it waits."""
    put(store)
    shard = folder / DIGEST.hex()[:2]
    shard.rename(folder / "aside")
    assert store.find([DIGEST], 0.0, 0.0) == {}
    shard.symlink_to(shard)
    with pytest.raises(StoreAway, match=f"{folder} cannot be used now: the system says: "):
        store.find([DIGEST], 0.0, 0.0)


def test_one_bad_file_does_not_stop_the_others(
    store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over, which is said once, and another may be put over it."""
    other = next(value for value in map(b"%d".__mod__, range(10_000)) if sha256(value).digest()[0] == DIGEST[0])
    put(store)
    put(store, other)
    bad, left = f"{DIGEST.hex()}", folder / "incoming" / "left.part"
    for name in (left, left.with_name(f"{bad}.part")):
        name.write_bytes(b"left")
    looked = os.stat

    def look(name: os.PathLike[str] | str, **named: Any) -> os.stat_result:
        if bad in str(name):
            raise OSError(errno.EIO, "Input/output error")
        return looked(name, **named)

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(os, "stat", look)
        assert [one.digest for one in store.list(DIGEST[0])] == [sha256(other).digest()]
        assert store.clear_incoming(time.time() + 60, []) == len(b"left")
        assert not left.exists()
        with pytest.raises(StoreAway):
            store.find([DIGEST], 0.0, 0.0)
        put(store)
        (folder / "incoming" / "mine").write_bytes(VALUE)
        store.adopt(DIGEST, len(VALUE), "mine")
    (told,) = (record.getMessage() for record in caplog.records)
    assert bad in told
    assert "cannot be looked at, and is passed over: the system says: Input/output error" in told
    assert {one.digest for one in store.list(DIGEST[0])} == {DIGEST, sha256(other).digest()}


def test_a_value_that_cannot_be_read_names_the_place(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own error says neither which store nor what to do."""
    put(store)
    reading = store.read(DIGEST)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        with pytest.raises(StoreUnusable, match=r"broker\.values: the system says: Input/output error\. Mend that"):
            reading.read(0, 10)
    assert reading.read(0, 10) == VALUE[:10]
    reading.close()


def test_empty_folders_go_with_the_last_value(store: DirectoryStore, folder: Path) -> None:
    """And are made again for the next."""
    put(store)
    store.delete(DIGEST)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["incoming"]
    put(store)
    assert store.find([DIGEST], 0.0, 0.0) == {DIGEST: len(VALUE)}


def test_a_client_on_this_host_proves_where_it_is(store: DirectoryStore, folder: Path) -> None:
    """By a file that only whoever sees the directory can read; the next broker has another."""
    store.close()
    first, one = reopened(folder)
    assert (Path(one.directory) / one.proof_name).read_text() == one.proof_token
    first.close()
    second, other = reopened(folder)
    assert (one.directory, one.proof_token == other.proof_token) == (str(folder.resolve()), False)
    assert [name for name in files(folder) if name.startswith("proof-")] == [other.proof_name]
    second.close()


def test_a_broker_that_was_killed_leaves_a_proof_that_the_next_removes(store: DirectoryStore, folder: Path) -> None:
    """So that there is one at most."""
    (folder / "proof-old").write_text("token")
    store.close()
    again, place = reopened(folder)
    assert [name for name in files(folder) if name.startswith("proof-")] == [place.proof_name]
    again.close()


def test_no_two_brokers_hold_a_directory(store: DirectoryStore, folder: Path) -> None:
    """The second is told; once the first has gone it may."""
    assert "another broker holds it" in refusal(folder)
    store.close()
    again, _ = reopened(folder)
    again.close()


def test_values_of_another_database_are_refused(store: DirectoryStore, folder: Path) -> None:
    """They would be collected as unused."""
    put(store)
    store.close()
    assert "belong to another broker's database" in refusal(folder, OTHER)
    (folder / "owner").write_text("dagorama values 2\n")
    assert "in a form that this version of dagorama does not know" in refusal(folder)


def test_a_directory_without_values_is_taken_over(store: DirectoryStore, folder: Path) -> None:
    """As where a database was removed to start empty; the one before is refused once there are values."""
    put(store)
    store.delete(DIGEST)
    store.close()
    again, _ = reopened(folder, OTHER)
    put(again)
    again.close()
    assert "belong to another broker's database" in refusal(folder)


def test_a_directory_of_something_else_is_refused(folder: Path) -> None:
    """And left as it is; an empty one is taken."""
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    assert "it is no store of values, as it has thesis.txt" in refusal(folder)
    assert files(folder) == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    store, _ = reopened(folder, is_used=True)
    store.close()


def test_what_a_kill_leaves_of_a_first_start_is_taken(folder: Path) -> None:
    """The lock is made first, then the owner, aside."""
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "owner.new").write_text("dagor")
    store, _ = reopened(folder)
    store.close()
    assert files(folder) == ["lock", "owner"]


def test_a_file_in_the_place_of_the_directory_is_refused(folder: Path) -> None:
    """It is named."""
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    assert refusal(folder).startswith(f"{folder}: it is no directory")


def test_a_directory_that_is_gone_is_not_made_anew_where_it_is_used(folder: Path) -> None:
    """A setting that was forgotten would fail every node that reads a value; whoever has lost it makes an empty one."""
    assert "there is no such directory, and the database refers to values" in refusal(folder, is_used=True)
    assert not folder.exists()
    folder.mkdir(parents=True)
    store, _ = reopened(folder, is_used=True)
    store.close()


def test_a_link_to_a_directory_elsewhere_is_followed(folder: Path, tmp_path: Path) -> None:
    """Large disks are mounted in places of their own; clients are told the place itself."""
    (tmp_path / "disk").mkdir()
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path / "disk")
    store, place = reopened(folder)
    put(store)
    assert place.directory == str((tmp_path / "disk").resolve())
    store.close()
    folder.unlink()
    folder.symlink_to(tmp_path / "nothing")
    assert "no directory" in refusal(folder)


@pytest.mark.parametrize("other", ["nothing", "directory", "link"])
def test_a_directory_that_is_taken_away_is_noticed(
    store: DirectoryStore, folder: Path, tmp_path: Path, other: str
) -> None:
    """Before a value is acknowledged that nobody would find later; once it is back all goes on."""
    writing = store.begin(DIGEST, len(VALUE), 0)
    writing.write(VALUE)
    folder.rename(tmp_path / "moved")
    if other == "directory":
        folder.mkdir()
    elif other == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnusable, match="removed or moved, or another was put in its place"):
        writing.finish()
    with pytest.raises(StoreUnusable, match="removed or moved"):
        store.begin(DIGEST, len(VALUE), 0)
    if other == "directory":
        folder.rmdir()
    elif other == "link":
        folder.unlink()
    (tmp_path / "moved").rename(folder)
    put(store)
    assert store.find([DIGEST], 0.0, 0.0) == {DIGEST: len(VALUE)}


@pytest.mark.parametrize(("call", "when"), [("pwrite", "write"), ("fsync", "finish")])
def test_a_full_disk_is_named_and_its_upload_removed(
    store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    """So that there is room for others, and it goes on when there is more."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(StoreFull, match="no room for the 150000 bytes") as caught:
            put(store)
    assert "DAGORAMA_VALUES" in str(caught.value)
    assert os.listdir(folder / "incoming") == []
    put(store)


def test_an_upload_that_a_disk_has_failed_begins_anew(
    store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second sync would find nothing to write, and the value would not be on the disk."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnusable, match="Input/output error"):
            put(store)
    assert store.received(DIGEST) == 0
    assert store.find([DIGEST], 0.0, 0.0) == {}
    put(store)


def test_room_is_left_for_the_database(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without room stops the broker; what other uploads are still to bring counts as well."""
    free = 100_000_000

    def disk(handle: int) -> os.statvfs_result:
        return os.statvfs_result((1, 1, 1_000_000_000, free, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "fstatvfs", disk)
    assert 0.05 * 1_000_000_000 == 50_000_000
    with pytest.raises(StoreFull, match="where 50000000 bytes are free"):
        store.begin(DIGEST, 50_000_001, 0)
    first = store.begin(DIGEST, 30_000_000, 0)
    first.write(VALUE)
    with pytest.raises(StoreFull, match=f"where {20_000_000 + len(VALUE)} bytes are free"):
        store.begin(b"x" * 32, 30_000_000, 0)
    first.close()
    store.begin(b"x" * 32, 30_000_000, 0).close()


def test_a_directory_that_cannot_be_written_is_named(
    store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and later."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    opened = os.open

    def refuse_writing(name: str, flags: int, *rest: object, **named: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse()
        return opened(name, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse_writing)
    with pytest.raises(StoreUnusable, match="cannot be written"):
        put(store)
    store.close()
    assert "it cannot be written (Read-only file system). Give the broker's user the right" in refusal(folder)


# -- adopting ---------------------------------------------------------------------------------------------------------


def adopt(store: DirectoryStore, name: str, size: int = len(VALUE)) -> None:
    """Have the store adopt a file."""
    store.adopt(DIGEST, size, name)


def test_a_file_is_adopted(store: DirectoryStore, folder: Path) -> None:
    """It is renamed; where the value is there already it is removed, and takes nothing's place, whatever it has."""
    for name, content in (("one", VALUE), ("other", VALUE[::-1])):
        (folder / "incoming" / name).write_bytes(content)
        adopt(store, name)
        assert os.listdir(folder / "incoming") == []
        reading = store.read(DIGEST)
        assert reading.read(0, len(VALUE)) == VALUE
        reading.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../owner", "a/b", ".hidden", "x\0y", DIGEST.hex() + ".part"])
def test_names_that_lead_elsewhere_are_refused(store: DirectoryStore, folder: Path, name: str) -> None:
    """Only files in the place for them are adopted, and no uploads of others."""
    with pytest.raises(BadUpload, match="is no name of a file to adopt"):
        adopt(store, name)
    assert (folder / "owner").exists()


def test_what_is_no_plain_file_is_not_adopted(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    """No link, no directory, no pipe, no second name of a file that somebody may change; and none of another size."""
    incoming = folder / "incoming"
    (tmp_path / "file").write_bytes(VALUE)
    (incoming / "link").symlink_to(tmp_path / "file")
    os.link(tmp_path / "file", incoming / "name")
    (incoming / "folder").mkdir()
    os.mkfifo(incoming / "pipe")
    (incoming / "short").write_bytes(VALUE[1:])
    for name in ("link", "name", "folder", "pipe", "short", "missing"):
        with pytest.raises(BadUpload):
            adopt(store, name)
    assert store.find([DIGEST], 0.0, 0.0) == {}


def test_links_among_the_values_are_no_values(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    """Nobody reads a file elsewhere by a digest."""
    put(store)
    digits = DIGEST.hex()
    path = folder / digits[:2] / digits[2:4] / digits
    path.unlink()
    (tmp_path / "file").write_bytes(VALUE)
    path.symlink_to(tmp_path / "file")
    assert (store.find([DIGEST], 0.0, 0.0), store.list(DIGEST[0])) == ({}, [])
    with pytest.raises(UnknownValue):
        store.read(DIGEST)


def test_every_error_names_the_way_out(store: DirectoryStore) -> None:
    """All of them are errors of the store, for the border to translate."""
    assert {StoreFull, StoreUnusable, BadUpload, UnknownValue} <= set(ValuesError.__subclasses__())
