"""A copy of an SQLite database, made in steps by the one connection that writes it.

A broker holds its file for itself, so nobody else can read it. SQLite's backup API copies some pages at a time, and has
the connection that is copied write its later changes to both (https://www.sqlite.org/backup.html). So between two steps
anything may be committed, and the copy is the database as it is when the last step returns.
"""

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import NamedTuple, Protocol, runtime_checkable

#: A step copies so many pages: a megabyte of the database, which takes about a millisecond.
STEP_PAGES = 128

#: So much of a disk is left free for others, above all for commits: the copy is refused where it would take it.
SPARE_BYTES, SPARE_SHARE = 256 * 2**20, 0.05

_PRAGMAS = (
    # It is thrown away where it is not finished, and synced by those who keep it.
    "journal_mode = OFF",
    "synchronous = OFF",
    "locking_mode = EXCLUSIVE",
    "cache_size = -4096",  # KiB
)


class CannotCopy(Exception):
    """A database cannot be copied; the message says why, and the way out."""


class Measure(NamedTuple):
    """How large a database is."""

    location: str = ""
    file_bytes: int = 0
    wal_bytes: int = 0  #: of its write-ahead log
    page_bytes: int = 0
    pages: int = 0
    free_pages: int = 0  #: pages that have nothing in them


@runtime_checkable
class Copied(Protocol):
    """A database that can be copied and measured. The calls are made where all others that use the disk are."""

    def begin_copy(self) -> "Copy | None":
        """Begin a copy; return None where there is nothing to copy. Raises `CannotCopy`."""
        ...

    def measure_file(self) -> Measure:
        """Return how large it is."""
        ...


class Copy:
    """A copy under way, in a file without a name. After the last step it is read."""

    def __init__(self, source: sqlite3.Connection, location: str) -> None:
        """Make the file beside the database. Raises `CannotCopy`, `OSError` or `sqlite3.Error`."""
        self._source = source
        check_room(source, location)
        path = Path(location).with_name(f".{Path(location).name}.copy-{secrets.token_hex(8)}")
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._target = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                self._target.execute(f"PRAGMA {pragma}")
        except BaseException:
            os.close(self._handle)
            raise
        finally:
            os.unlink(path)  # so nothing is left of it, however this process ends
        self._thread: Thread | None = None
        self._go, self._stands = Semaphore(0), Semaphore(0)
        self._error: BaseException | None = None
        self.has_ended = False  #: whether all of it was copied, or an error has come
        self._is_given_up = False

    def step(self) -> bool:
        """Copy some pages; return whether there are more. Nobody else may use the connection meanwhile."""
        if self._is_given_up:
            raise CannotCopy("the database was closed while it was copied")
        if self._thread is None:
            # SQLite's loop over the steps is Python's, in C: it is stopped between two of them in a thread of its own.
            self._thread = Thread(target=self._run, name="copy", daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._stands.acquire()
        if self._error is not None:
            raise self._error
        return not self.has_ended

    def _run(self) -> None:
        try:
            self._source.backup(self._target, pages=STEP_PAGES, progress=self._stand, sleep=0.001)
        except BaseException as error:
            self._error = error
        finally:
            self._target.close()
            self.has_ended = True
            self._stands.release()

    def _stand(self, status: int, left: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise CannotCopy("a change of the database is under way that was not committed")  # and never will be
        if status == sqlite3.SQLITE_DONE:
            return
        self._stands.release()
        self._go.acquire()
        if self._is_given_up:
            raise CannotCopy("the copy was given up")

    @property
    def size(self) -> int:
        """Return how many bytes the whole copy has."""
        return os.fstat(self._handle).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return some bytes of the whole copy, in any thread."""
        return os.pread(self._handle, size, offset)

    def give_up(self) -> None:
        """Let go of the database, whether all of it was copied or not. Nobody else may use the connection meanwhile."""
        if self._is_given_up:
            return
        self._is_given_up = True
        if self._thread is None:
            self._target.close()
        elif not self.has_ended:
            self._go.release()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Let the file go, after `give_up`."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Copies:
    """The copies that are made by one connection, all of which end before it is closed."""

    def __init__(self) -> None:
        self._running: list[Copy] = []

    def begin(self, source: sqlite3.Connection, location: str) -> Copy:
        """Begin a copy. Raises `CannotCopy`."""
        try:
            _clear(Path(location))
            copy = Copy(source, location)
        except (OSError, sqlite3.Error) as error:
            raise CannotCopy(f"{location} cannot be copied: {error}") from error
        self._running = [one for one in self._running if not one.has_ended] + [copy]
        return copy

    def give_up(self) -> None:
        """Give up all that are under way."""
        for copy in self._running:
            copy.give_up()
        self._running = []


def _clear(path: Path) -> None:
    """Remove the files of copies whose process was killed before it had taken their names away."""
    for name in os.listdir(path.parent):
        if name.startswith(f".{path.name}.copy-"):
            path.with_name(name).unlink(missing_ok=True)


def check_room(source: sqlite3.Connection, location: str) -> None:
    """Raise `CannotCopy` where a copy would leave too little room on the disk."""
    (pages,), (page_bytes,) = (source.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    disk = os.statvfs(Path(location).parent)
    spare = min(SPARE_BYTES, int(disk.f_blocks * disk.f_frsize * SPARE_SHARE))
    free = max(0, disk.f_bavail * disk.f_frsize - spare)
    if pages * page_bytes > free:
        raise CannotCopy(
            f"{location} has {pages * page_bytes} bytes, and there is room for {free} in its folder, where the copy "
            "lies until it is sent. Make room there, then try again"
        )


def measure(connection: sqlite3.Connection, location: str) -> Measure:
    """Return how large an open database is."""
    pages, free_pages, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return Measure(location, _size(location), _size(f"{location}-wal"), page_bytes, pages, free_pages)


def _size(path: str) -> int:
    """Return the size of a file, 0 where there is none."""
    with suppress(OSError):
        return os.stat(path).st_size
    return 0
