"""Compacting: a database file that no broker runs on is written anew, without its free pages.

The new file can be made shorter at any time, which files of earlier versions cannot: that is chosen when a file is
made. It is written beside the old one, synced and renamed, so the database is there at any moment, old or new. It
belongs to the same user, also where root has it written.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from dagorama_broker.storage.faults import explain
from dagorama_broker.storage.files import sync_folder
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.schema import schema_number
from dagorama_broker.storage.taking import take_file


class Compacted(NamedTuple):
    """The size of a file in bytes, before and after."""

    location: str
    before: int
    after: int


def compact(path: Path) -> Compacted:
    """Write a database anew. Beside it there has to be room for a second one, without what is free in it.

    Raises `StorageError`, also where a broker runs on it.
    """
    path = path.resolve()  # of a link, the file is replaced, and not the link
    if not path.exists() or not path.stat().st_size:
        what = "there is nothing in it" if path.exists() else "there is no such file"
        raise StorageError(f"{path}: {what}. Look whether the name is right.")
    new = path.with_name(f"{path.name}.compacting")
    try:
        with closing(take_file(path)) as connection:
            schema_number(connection, str(path))  # raises for a database of another program
            connection.execute("PRAGMA journal_mode = DELETE")  # with all that a log beside it had
            before = path.stat().st_size
            new.unlink(missing_ok=True)
            _make(new, path.stat())
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM INTO ?", (str(new),))
            _sync(new)
            os.rename(new, path)
            sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise explain(str(path), error) from error
    return Compacted(str(path), before, path.stat().st_size)


def _make(new: Path, old: os.stat_result) -> None:
    """Make a file with the rights and the owner of another: the broker of another user is to go on with it."""
    handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        made = os.fstat(handle)
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, old.st_mode & 0o777)
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
