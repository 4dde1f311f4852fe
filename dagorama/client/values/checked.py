"""The files of values that were hashed: each once for all processes of a user on a host, until it is changed.

A file is known by where it is and by the time of its last change of any kind, which no program can set. Processes tell
each other by a table in a file of their user's. A row is a digest of all that has to be the same, so what is torn, of
another start of the machine or of another value is a file that is hashed once more.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache as once
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from dagorama.calls.references import Reference

#: The name of the table. No value has such a name.
TABLE = "hashed"
#: A process knows so many files by itself.
_CHECKED_MAX = 4096
#: The rows of the table. Values whose digests lead to the same row take it from each other.
_ROWS, _ROW_BYTES = 4096, 32
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FileState(NamedTuple):
    """A file as it is, by the time of its last change of any kind; no program can set that time."""

    device: int
    inode: int
    changed_at_ns: int

    @classmethod
    def of(cls, descriptor: int) -> FileState:
        """Return that of an open file."""
        about = os.fstat(descriptor)
        return cls(about.st_dev, about.st_ino, about.st_ctime_ns)


class Checked:
    """The files that have the bytes of their values. Any thread may ask."""

    def __init__(self, directory: Callable[[], Path | None]) -> None:
        """Keep the table in a directory that only this user writes to; without one each process has its own word."""
        self._directory = directory
        self._lock = threading.Lock()
        #: The files as they were when they were hashed, by the digests that they have.
        self._own: OrderedDict[bytes, FileState] = OrderedDict()

    def has(self, reference: Reference, state: FileState) -> bool:
        """Return whether a file was hashed as it is now, here or in another process, and has the bytes of a value."""
        with self._lock:
            if self._own.get(reference.digest) == state:
                return True
        row = _row(reference, state)
        if row is None or not self._is_told(reference, row):
            return False
        self._note_here(reference, state)
        return True

    def note(self, reference: Reference, state: FileState) -> None:
        """Note that a file has the bytes of a value. Nobody may be writing to it when its state is looked at."""
        self._note_here(reference, state)
        row = _row(reference, state)
        table = self._table() if row is not None else None
        if row is None or table is None:
            return
        with suppress(OSError):
            descriptor = os.open(table, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, row, _place(reference))
            finally:
                os.close(descriptor)

    def _note_here(self, reference: Reference, state: FileState) -> None:
        with self._lock:
            self._own[reference.digest] = state
            if len(self._own) > _CHECKED_MAX:
                self._own.popitem(last=False)

    def _is_told(self, reference: Reference, row: bytes) -> bool:
        table = self._table()
        if table is None:
            return False
        try:
            descriptor = os.open(table, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.pread(descriptor, _ROW_BYTES, _place(reference)) == row
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _table(self) -> str | None:
        directory = self._directory()
        return None if directory is None else str(directory / TABLE)


def _place(reference: Reference) -> int:
    return int.from_bytes(reference.digest[:4]) % _ROWS * _ROW_BYTES


def _row(reference: Reference, state: FileState) -> bytes | None:
    """Return the row of a file; None where it cannot be told whether the machine was started anew meanwhile."""
    boot = _boot_id()
    if not boot:
        return None
    facts = (*state, reference.size, reference.digest.hex(), boot)
    return blake2b(repr(facts).encode(), digest_size=_ROW_BYTES).digest()


@once
def _boot_id() -> str:
    """Return what is another after each start of the machine: a crash may take from files what was not synced."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
