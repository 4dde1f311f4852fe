"""Bringing a database to the newest schema without a broker."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dagorama_broker.care.faults import CareError, explained
from dagorama_broker.care.stopped import existing, take
from dagorama_broker.storage.files import sync_folder
from dagorama_broker.storage.schema import check_schema, load_migrations, migrate


class Migrated(NamedTuple):
    """The numbers of the schemas before and after."""

    path: Path
    before: int
    after: int


def migrate_storage(storage: str, *, backup: Path | None = None) -> Migrated:
    """Migrate a database; keep a copy of it as it was in `backup`, where there is to be one.

    Raises `CareError`, also for a newer schema, a database of another program and a copy that cannot be made; then
    nothing was changed.
    """
    path = existing(storage)
    with explained(path), closing(take(path)) as connection:
        migrations = load_migrations()
        before = check_schema(connection, str(path), migrations)
        if backup is not None:
            with explained(backup):
                _copy(connection, backup)
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, str(path), migrations)
        return Migrated(path, before, migrations[-1].number)


def _copy(connection: sqlite3.Connection, backup: Path) -> None:
    """Copy a whole database into a file that is not there; it has its name once it is whole."""
    if backup.exists():
        raise CareError(f"{backup} is there already, and stays as it is. Name another file")
    begun = backup.with_name(f"{backup.name}.incomplete")
    begun.unlink(missing_ok=True)
    os.close(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(begun, isolation_level=None)) as target:
        connection.backup(target)
    os.rename(begun, backup)
    sync_folder(backup.absolute().parent)
