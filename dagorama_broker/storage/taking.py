"""Taking a database file for this process alone.

SQLite locks the file that it has opened. Where another process has put a file of the same name in its place between the
opening and the lock, as compacting does, that lock is on one that nobody will find again: so it is opened anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dagorama_broker.storage.faults import REPLACED
from dagorama_broker.storage.journal import StorageError

#: So often a file is opened anew. To have it replaced in that moment each time is no accident.
_TRIES = 5


def take_file(path: Path, pragmas: Sequence[str] = (), *, cached_statements: int = 128) -> sqlite3.Connection:
    """Return a connection that holds the file until it is closed, its statements `pragmas` being run before.

    Raises `sqlite3.Error`, as where another process holds it, `OSError`, or `StorageError`.
    """
    for _ in range(_TRIES):
        before = file_id(path)
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=cached_statements
        )
        try:
            for pragma in (*pragmas, "locking_mode = EXCLUSIVE"):
                connection.execute(f"PRAGMA {pragma}")
            # In exclusive mode the lock outlives the transaction.
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            if file_id(path) == before:
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise StorageError(f"{path}: {REPLACED}.")


def file_id(path: str | Path) -> tuple[int, int] | None:
    """Return the device and inode of the file that has a name now; None where there is none."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
