"""Restoring a backup: values and logs come first, and the database gets its name last, by one rename.

Until then it has another (`storage.files.restoring_of`), with which no broker begins an empty one in its place, and
another restore goes on. What is restored is a database of its own, beside the one that was backed up: it has an owner
id of its own, so that neither takes the values of the other, and its fencing tokens are above all that the other has
given out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
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
from dagorama_broker.care.stopped import database_of, owner_of, take
from dagorama_broker.storage.files import prepare_folder, restoring_of, sync_folder
from dagorama_broker.storage.schema import load_migrations
from dagorama_broker.storage.url import logs_file
from dagorama_broker.values.place import open_store

#: So often the broker of the original may be started after the backup, before its fencing tokens reach those of the
#: restored one.
EPOCHS_AHEAD = 1024


class Restored(NamedTuple):
    """What a restore has come to."""

    manifest: Manifest
    problems: tuple[str, ...]  #: values that the backup lacks


def restore(directory: Path, storage: str, values: str) -> Restored:
    """Restore a backup into a storage that is not there. Raises `CareError`."""
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
        _check_is_free(path, storage, values, goes_on=begun.exists())
        prepare_folder(path)
        with locked(begun, f"{path}: another backup is being restored into it. Wait for that one"):
            _check_is_free(path, storage, values, goes_on=True)
            remove(*(Path(f"{begun}{end}") for end in ("-wal", "-shm", "-journal")))
            _check(write_file(begun, chunks_of(directory / DATABASE)), manifest.database, directory / DATABASE)
            _set_apart(begun, manifest, path)
            problems = _restore_values(directory, manifest, begun, storage, values)
            _restore_logs(directory, manifest, logs_file(storage))
            os.rename(begun, path)
            sync_folder(path.parent)
    return Restored(manifest, problems)


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


def _set_apart(begun: Path, manifest: Manifest, path: Path) -> None:
    """Give the restored database an owner id of its own, where its values are its own, and later epochs."""
    # The same again where a restore is gone on with.
    own_id = sha256(f"{manifest.id} {path.absolute()}".encode()).digest()[:16]
    with closing(take(begun)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO epochs (epoch, opened_at) SELECT coalesce(max(epoch), 0) + ?, ? FROM epochs",
            (EPOCHS_AHEAD, time.time()),
        )
        if manifest.values_kept == COPIED and owner_of(connection) is not None:
            connection.execute("UPDATE value_owner SET id = ?", (own_id,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _restore_values(directory: Path, manifest: Manifest, database: Path, storage: str, values: str) -> tuple[str, ...]:
    """Put the values of the backup where a broker looks for them; return what is wrong with any."""

    def read(digest: bytes, size: int) -> Iterator[bytes]:
        name = digest.hex()
        try:
            yield from chunks_of(directory / VALUES / name[:2] / name[2:4] / name)
        except FileNotFoundError:
            raise NotThere(f"value {name} of {size} bytes is not in {directory / VALUES}") from None

    with closing(read_only(database)) as connection:
        owner = owner_of(connection)
    wanted = used_values(database)
    # A place that was named is made, as a broker does, also where there are none yet.
    if manifest.values_kept != COPIED or owner is None or not (wanted or values):
        return ()
    store = open_store(values, storage)
    store.open(owner, is_used=False)
    try:
        return keep_values(store, wanted, read, time.time()).problems
    finally:
        store.close()


def _restore_logs(directory: Path, manifest: Manifest, path: Path | None) -> None:
    if manifest.logs is None or path is None:
        return
    begun = restoring_of(path)
    _check(write_file(begun, chunks_of(directory / LOGS)), manifest.logs, directory / LOGS)
    os.rename(begun, path)
    sync_folder(path.parent)
