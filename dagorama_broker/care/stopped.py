"""A storage that no broker runs on: taken as a broker takes it, and left as it is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from dagorama_broker.care.faults import CareError, Misnamed, explained
from dagorama_broker.care.keeping import are_elsewhere, used_in
from dagorama_broker.copies.stepped import Copies, measure
from dagorama_broker.storage.files import check_writable, restoring_of
from dagorama_broker.storage.taking import take_file
from dagorama_broker.storage.url import UnknownStorage, logs_file, open_journal
from dagorama_broker.values.faults import UnknownValue
from dagorama_broker.values.place import open_store
from dagorama_broker.values.store import CHUNK_BYTES, ValueStore


def database_of(storage: str) -> Path:
    """Return the file of a storage. Raises `CareError` where it has none, and `Misnamed` where it is none."""
    try:
        journal = open_journal(storage)
    except UnknownStorage as error:
        raise Misnamed(str(error)) from error
    if not journal.blocking:
        raise CareError(f"{storage} keeps nothing, so there is nothing to look after")
    return Path(journal.location)


def existing(storage: str) -> Path:
    """Return the file of a storage that is there. Raises `CareError`."""
    path = database_of(storage)
    with explained(path):
        if path.is_dir():
            raise CareError(f"{path} is a directory, not a database file. Look whether the name is right.")
        if not path.exists():
            begun = restoring_of(path)
            if begun.exists():
                raise CareError(
                    f"{path}: a backup was being restored into it, and that was broken off. Restore it again"
                )
            raise CareError(f"{path}: there is no such file. Look whether the name is right.")
    return path


def take(path: Path) -> sqlite3.Connection:
    """Open a database for this process alone. Raises `CareError`, as where a broker runs on it."""
    with explained(path):
        check_writable(path)
        return take_file(path)


def owner_of(connection: sqlite3.Connection) -> bytes | None:
    """Return whose the values are that a database refers to; None for a schema from before there were any."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'value_owner'").fetchone():
        return None
    (owner,) = connection.execute("SELECT id FROM value_owner").fetchone()
    return bytes(owner)


def existing_store(values: str, storage: str) -> ValueStore:
    """Return the store for the values of a storage. Raises `CareError` for a directory that is named and is not there.

    Where none is named, there may be no directory beside the database yet.
    """
    with explained(values):
        store = open_store(values, storage)
        if values and not are_elsewhere(store.location) and not os.path.exists(store.location):
            raise CareError(f"{store.location}: there is no such directory of values. Look whether the name is right")
    return store


class FileSizes(NamedTuple):
    """How large a database is."""

    location: str
    file_bytes: int
    wal_bytes: int
    free_bytes: int


class StoppedStorage:
    """A database, its logs and its values. In a `with` statement they are held against brokers."""

    logs_problem = ""
    lost: tuple[type[Exception], ...] = (UnknownValue,)

    def __init__(self, storage: str, values: str, *, with_logs: bool = True) -> None:
        """Name them. Raises `CareError`."""
        self._path = existing(storage)
        self._logs_path = logs_file(storage) if with_logs else None
        self.store: ValueStore = existing_store(values, storage)
        self.location = str(self._path)
        self.values_location = self.store.location
        self.version = version("dagorama")
        self.has_values = False
        self._stack = ExitStack()

    def __enter__(self) -> StoppedStorage:
        """Take them."""
        try:
            with explained(self.store.location):
                self._take()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _take(self) -> None:
        self.connection = self._stack.enter_context(closing(take(self._path)))
        owner = owner_of(self.connection)
        is_used = bool(used_in(self.connection))
        is_there = are_elsewhere(self.store.location) or os.path.exists(self.store.location)
        if owner is not None and (is_used or is_there):
            self.store.open(owner, is_used=is_used)
            self._stack.callback(self.store.close)
            self.has_values = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let them go."""
        self._stack.close()

    def database(self) -> Iterator[bytes]:
        """Yield a copy of the database."""
        return _copied(self.connection, self._path)

    def logs(self) -> Iterator[bytes]:
        """Yield a copy of the logs."""
        if self._logs_path is not None and self._logs_path.exists():
            with closing(take(self._logs_path)) as connection:
                yield from _copied(connection, self._logs_path)

    def value(self, digest: bytes, size: int) -> Iterator[bytes]:
        """Yield a value. Raises `UnknownValue`."""
        if not self.has_values:
            raise UnknownValue(digest=digest)
        with closing(self.store.read(digest)) as reading:
            for offset in range(0, reading.size, CHUNK_BYTES):
                yield reading.read(offset, CHUNK_BYTES)

    def check_is_held(self) -> None:
        """Do nothing: nobody else can have removed any."""

    def measure(self) -> tuple[FileSizes, FileSizes | None]:
        """Return how large the database is, and the logs where there are any."""
        logs: FileSizes | None = None
        if self._logs_path is not None and self._logs_path.exists():
            with closing(take(self._logs_path)) as connection:
                logs = _sizes(connection, self._logs_path)
        return _sizes(self.connection, self._path), logs

    def count_values(self) -> tuple[int, int, int, int]:
        """Return how many values there are and their bytes, and of those that nothing refers to."""
        stored = [one for shard in self.store.shards() for one in self.store.list(shard)] if self.has_values else []
        used = used_in(self.connection)
        unused = [one.size for one in stored if one.digest not in used]
        return len(stored), sum(one.size for one in stored), len(unused), sum(unused)


def _sizes(connection: sqlite3.Connection, path: Path) -> FileSizes:
    found = measure(connection, str(path))
    return FileSizes(found.location, found.file_bytes, found.wal_bytes, found.free_pages * found.page_bytes)


def _copied(connection: sqlite3.Connection, path: Path) -> Iterator[bytes]:
    copy = Copies().begin(connection, str(path))
    try:
        while copy.step():
            pass
        for offset in range(0, copy.size, CHUNK_BYTES):
            yield copy.read(offset, CHUNK_BYTES)
    finally:
        copy.give_up()
        copy.close()
