"""Restoring a backup: values and logs come first, and the database gets its name last, by one rename.

Until then it has another (`storage.files.restoring_of`), with which no broker begins an empty one in its place, and
another restore goes on. What is restored is a database of its own, beside the one that was backed up: it has an owner
id of its own, so that neither takes the values of the other, and its fencing tokens are above all that the other has
given out. Where a backup refers to values in an object store they are copied from there, unless the restored database
is to have that place, and with it the owner id, in the stead of the original.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dagorama_broker.care.backups import (
    COPIED,
    DATABASE,
    LOGS,
    VALUES,
    FileEntry,
    Manifest,
    check_has_all,
    chunks_of,
    locked,
    read_manifest,
    remove,
    write_file,
)
from dagorama_broker.care.faults import CareError, explained
from dagorama_broker.care.keeping import NotThere, are_elsewhere, keep_values, read_only, used_values
from dagorama_broker.care.owning import Place
from dagorama_broker.care.stopped import database_of, owner_of, take
from dagorama_broker.storage.files import prepare_folder, restoring_of, sync_folder
from dagorama_broker.storage.schema import load_migrations
from dagorama_broker.storage.url import logs_file
from dagorama_broker.values.faults import UnknownValue
from dagorama_broker.values.place import open_store
from dagorama_broker.values.store import CHUNK_BYTES, ValueStore

#: So often the broker of the original may be started after the backup, before its fencing tokens reach those of the
#: restored one.
EPOCHS_AHEAD = 1024


class Restored(NamedTuple):
    """What a restore has come to."""

    manifest: Manifest
    problems: tuple[str, ...]  #: values that the backup lacks


def restore(directory: Path, storage: str, values: str, *, takes_over: bool = False) -> Restored:
    """Restore a backup into a storage that is not there. Raises `CareError`.

    With `takes_over` it takes the place in an object store that its values are in from the original.
    """
    manifest = read_manifest(directory)
    newest = load_migrations()[-1].number
    if manifest.schema > newest:
        raise CareError(
            f"{directory}: the schema of its database has number {manifest.schema}, and this version of dagorama knows "
            f"those up to {newest}. Restore it with the newer version that made it ({manifest.version})"
        )
    path = database_of(storage)
    begun = restoring_of(path)
    with explained(path):
        check_has_all(directory, manifest)
        has_place = _check_place(manifest, storage, values, takes_over=takes_over)
        _check_is_free(path, storage, values, goes_on=begun.exists())
        location = open_store(values, storage).location
        kept = None if are_elsewhere(location) else Path(location)
        place, place_of_values = Place(path), Place(kept or path)
        prepare_folder(path)
        place.hand_over()
        with locked(begun, f"{path}: another backup is being restored into it. Wait for that one"):
            _check_is_free(path, storage, values, goes_on=True)
            remove(*(Path(f"{begun}{end}") for end in ("-wal", "-shm", "-journal")))
            _check(write_file(begun, chunks_of(directory / DATABASE)), manifest.database, directory / DATABASE)
            _set_apart(begun, manifest, path, keeps_owner=has_place)
            restore_values = _look_for_values if has_place else partial(_restore_values, directory, manifest)
            problems = restore_values(begun, storage, values)
            logs = logs_file(storage)
            _restore_logs(directory, manifest, logs)
            place.hand_over(begun, *([logs] if logs is not None else []))
            place_of_values.hand_over(*([kept] if kept is not None else []))
            os.rename(begun, path)
            sync_folder(path.parent)
    return Restored(manifest, problems)


def _check_place(manifest: Manifest, storage: str, values: str, *, takes_over: bool) -> bool:
    """Return whether the values are where the backup refers to; raise `CareError` where they may be the original's."""
    location = open_store(values, storage).location
    has_place = manifest.values_kept != COPIED and location.rstrip("/") == manifest.values_location.rstrip("/")
    if has_place and not takes_over:
        raise CareError(
            f"{location} has the values of the database that was backed up, and a broker on the restored one would "
            "remove those that only the original uses. Name another place with --values or DAGORAMA_VALUES, and the "
            "values are copied there; or say --take-over if the original will never run again"
        )
    if takes_over and not has_place:
        raise CareError(
            f"there is nothing to take over in {location}: the backup "
            + (f"refers to {manifest.values_location}" if manifest.values_kept != COPIED else "has its own values")
            + ". Leave out --take-over, or name that place with --values or DAGORAMA_VALUES"
        )
    return has_place


def _check_is_free(path: Path, storage: str, values: str, *, goes_on: bool) -> None:
    """Raise `CareError` where anything is in the way."""
    if path.exists():
        take(path).close()  # which tells of a broker that runs on it
        raise CareError(f"{path} is there already, and stays as it is. Move it away, or name another storage")
    logs = logs_file(storage)
    location = open_store(values, storage).location
    in_the_way = [Path(f"{path}{end}") for end in ("-wal", "-journal")]
    for other in in_the_way if goes_on or logs is None else [*in_the_way, logs]:
        if other.exists():
            raise CareError(f"{other} is there already, and stays as it is. Move it away, or name another storage")
    if not goes_on and not are_elsewhere(location) and os.path.isdir(location) and os.listdir(location):
        raise CareError(
            f"{location} has something in it, and values would be restored there. Move it away, or name another "
            "directory with --values or DAGORAMA_VALUES"
        )


def _check(found: FileEntry, expected: FileEntry, path: Path) -> None:
    if found != expected:
        raise CareError(
            f"{path} has been changed since the backup was made: it has {found.bytes} bytes with the SHA-256 "
            f"{found.sha256}, and had {expected.bytes} with {expected.sha256}. Restore another backup"
        )


def _set_apart(begun: Path, manifest: Manifest, path: Path, *, keeps_owner: bool) -> None:
    """Give the restored database later epochs, and an owner id of its own unless it has the place of the original."""
    # The same again where a restore is gone on with.
    own_id = sha256(f"{manifest.id} {path.absolute()}".encode()).digest()[:16]
    with closing(take(begun)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO epochs (epoch, opened_at) SELECT coalesce(max(epoch), 0) + ?, ? FROM epochs",
            (EPOCHS_AHEAD, time.time()),
        )
        if not keeps_owner and owner_of(connection) is not None:
            connection.execute("UPDATE value_owner SET id = ?", (own_id,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _restore_values(directory: Path, manifest: Manifest, database: Path, storage: str, values: str) -> tuple[str, ...]:
    """Put the values of the backup where a broker looks for them; return what is wrong with any."""
    is_copied = manifest.values_kept == COPIED
    original = None if is_copied else open_store(manifest.values_location, storage)

    def read(digest: bytes, size: int) -> Iterator[bytes]:
        name = digest.hex()
        try:
            if original is None:
                yield from chunks_of(directory / VALUES / name[:2] / name[2:4] / name)
            else:
                with closing(original.read(digest)) as reading:
                    for at in range(0, reading.size, CHUNK_BYTES):
                        yield reading.read(at, CHUNK_BYTES)
        except (FileNotFoundError, UnknownValue):
            where = directory / VALUES if is_copied else manifest.values_location
            raise NotThere(f"value {name} of {size} bytes is not in {where}") from None

    wanted = used_values(database)
    # A place that was named is made, as a broker does, also where there are none yet.
    if not wanted and not (values and _owner(database)):
        return ()
    with _opened(database, storage, values, is_used=False) as store:
        return keep_values(store, wanted, read, time.time()).problems


def _look_for_values(database: Path, storage: str, values: str) -> tuple[str, ...]:
    """Return which values are missing in the place that is taken from the original, or are not whole."""
    wanted = used_values(database)
    with _opened(database, storage, values, is_used=bool(wanted)) as store:
        return tuple(
            f"value {digest.hex()} of {size} bytes is not in {store.location}"
            for digest, size in wanted.items()
            if not _is_there(store, digest, size)
        )


def _is_there(store: ValueStore, digest: bytes, size: int) -> bool:
    """Tell whether a value has its size, up to its last byte."""
    try:
        with closing(store.read(digest)) as reading:
            return reading.size == size and (not size or len(reading.read(size - 1, 1)) == 1)
    except UnknownValue:
        return False


def _owner(database: Path) -> bytes | None:
    with closing(read_only(database)) as connection:
        return owner_of(connection)


@contextmanager
def _opened(database: Path, storage: str, values: str, *, is_used: bool) -> Iterator[ValueStore]:
    """Take the place for the values of a restored database."""
    owner = _owner(database)
    assert owner is not None, "whoever has values has an id"
    store = open_store(values, storage)
    store.open(owner, is_used=is_used)
    try:
        yield store
    finally:
        store.close()


def _restore_logs(directory: Path, manifest: Manifest, path: Path | None) -> None:
    if manifest.logs is None or path is None:
        return
    begun = restoring_of(path)
    _check(write_file(begun, chunks_of(directory / LOGS)), manifest.logs, directory / LOGS)
    os.rename(begun, path)
    sync_folder(path.parent)
