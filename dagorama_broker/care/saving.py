"""Making a backup: the database first, then the logs, then every value that the copied database refers to.

A value is there before anything refers to it, and whoever gives the database sees to it that none is collected until
the backup is whole. So the backup has all values that its database refers to, except those that were lost before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from dagorama_broker.care.backups import (
    COPIED,
    DATABASE,
    LOGS,
    REFERRED,
    VALUES,
    Manifest,
    remove,
    underway,
    write_file,
    write_manifest,
)
from dagorama_broker.care.faults import CareError, explained
from dagorama_broker.care.keeping import (
    Kept,
    NotThere,
    are_elsewhere,
    keep_values,
    read_only,
    remove_others,
    used_values,
)
from dagorama_broker.values.directory import DirectoryStore


class Source(Protocol):
    """What a backup is made of: a running broker, or a storage that none runs on. Each part is read once, in order."""

    location: str
    values_location: str
    version: str
    logs_problem: str  #: why there are no logs, once they have been read
    lost: tuple[type[Exception], ...]  #: the errors of a value that is not there

    def database(self) -> Iterator[bytes]:
        """Yield the database."""
        ...

    def logs(self) -> Iterator[bytes]:
        """Yield the logs; nothing where there are none."""
        ...

    def value(self, digest: bytes, size: int) -> Iterator[bytes]:
        """Yield a value. Raises one of `lost`."""
        ...

    def check_is_held(self) -> None:
        """Raise an error unless all values that were used when the database was copied have stayed until now."""
        ...


def save(source: Source, directory: Path, *, with_values: bool | None = None) -> Manifest:
    """Make a backup in a directory, which is new, empty, or has one that was broken off. Raises `CareError`.

    Values in an object store stay there, and the backup refers to them, unless `with_values` says otherwise.
    """
    copies_values = not are_elsewhere(source.values_location) if with_values is None else with_values
    with explained(directory), underway(directory, uuid4().hex) as id:
        database = write_file(directory / DATABASE, source.database())
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        schema = _check_database(directory / DATABASE)
        logs = write_file(directory / LOGS, source.logs())
        if not logs.bytes:
            remove(directory / LOGS)
        kept = _save_values(source, directory, id) if copies_values else Kept(0, 0, ())
        source.check_is_held()
        manifest = Manifest(
            id=id,
            made_at=made_at,
            version=source.version,
            schema=schema,
            location=source.location,
            database=database,
            logs=logs if logs.bytes else None,
            values_kept=COPIED if copies_values else REFERRED,
            values_location=source.values_location,
            values=kept.values,
            values_bytes=kept.values_bytes,
            problems=(*([source.logs_problem] if source.logs_problem else []), *kept.problems),
        )
        write_manifest(directory, manifest)
        return manifest


def _check_database(path: Path) -> int:
    """Return the number of its schema. Raise `CareError` where SQLite finds that the copy is damaged."""
    with closing(read_only(path)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise CareError(
                f"{path}: the copy of the database is damaged ({found}), and so the database may be. Check the disk; "
                "stop the broker and run `sqlite3 FILE .recover` to rescue what is readable"
            )
        (schema,) = connection.execute("SELECT max(number) FROM schema").fetchone()
        return int(schema)


def _save_values(source: Source, directory: Path, id: str) -> Kept:
    def read(digest: bytes, size: int) -> Iterator[bytes]:
        try:
            yield from source.value(digest, size)
        except source.lost as error:
            raise NotThere(str(error)) from error

    wanted = used_values(directory / DATABASE)
    store = DirectoryStore(directory / VALUES)
    store.open(bytes.fromhex(id), is_used=False)
    try:
        remove_others(store, wanted)
        return keep_values(store, wanted, read, time.time())
    finally:
        store.close()
