"""The meaning of SQLite's errors, for people who run the broker."""

import sqlite3

from dagorama_broker.storage.journal import StorageError

#: The way out of most.
ELSEWHERE = "or give this broker another storage with DAGORAMA_STORAGE=sqlite:///PATH"

#: By primary result code: what is the matter, and the way out.
_MEANINGS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: (
        "another broker holds it, or a program that has the file open",
        f"Stop that one, {ELSEWHERE}.",
    ),
    sqlite3.SQLITE_NOTADB: ("it is not an SQLite database", f"Look whether the name is right, {ELSEWHERE}."),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "Restore it from a backup, or rescue what is readable with `sqlite3 FILE .recover`; to start empty, move it.",
    ),
    sqlite3.SQLITE_FULL: ("the disk is full", "Make room, then start the broker again: nothing acknowledged is lost."),
    sqlite3.SQLITE_IOERR: (
        "the disk failed to read or write",
        "Check the disk and the kernel's log, then start the broker again: nothing acknowledged is lost.",
    ),
    sqlite3.SQLITE_READONLY: ("it cannot be written", f"Give the broker's user the right to write it, {ELSEWHERE}."),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        f"Check that it is a file and that the broker's user may write it and its folder, {ELSEWHERE}.",
    ),
}

#: Said of a file that somebody has taken away from under the broker.
GONE = (
    "the file was removed or moved while the broker ran, so nothing more can be kept in it. Put it back where it was, "
    "or restore it from a backup, then start the broker again; without it the broker starts empty"
)
#: Said where there is another file by its name then.
REPLACED = (
    "another file was put in its place while it was used, so nothing more can be kept in the one that was opened. Look "
    "which one it is to be, then start the broker again"
)


def explain(location: str, error: Exception) -> StorageError:
    """Return the error to raise for an error that came out of SQLite."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, FileNotFoundError):
        return StorageError(f"{location}: {error}.")
    if code is None:
        return StorageError(f"{location}: {type(error).__name__}: {error}")
    # The low byte is the primary result code; the rest says more precisely where it came from.
    what, way_out = _MEANINGS.get(code & 0xFF, ("SQLite reports an error", "Start the broker again."))
    return StorageError(f"{location}: {what} ({error}). {way_out}")
