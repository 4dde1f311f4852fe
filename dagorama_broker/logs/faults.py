"""The meaning of what goes wrong with the log store, for people who run the broker."""

import sqlite3

from dagorama_broker.logs.tables import NewerStore

#: By SQLite's primary result code.
_MEANINGS = {
    sqlite3.SQLITE_BUSY: "another program has the file open",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write",
    sqlite3.SQLITE_READONLY: "the file cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
}

_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}

#: Everything that a store may raise that cannot be used.
FAULTS = (sqlite3.Error, OSError, NewerStore)


def explain(error: Exception) -> str:
    """Return what is the matter, in a few words."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (meaning := _MEANINGS.get(code & 0xFF)):
        return meaning
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def is_damage(error: Exception) -> bool:
    """Tell whether nothing can be kept in a file any more, however long one waits."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
