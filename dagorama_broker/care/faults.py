"""The errors of all care of stored data."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from dagorama_broker.copies.stepped import CannotCopy
from dagorama_broker.storage.faults import ELSEWHERE, explain
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.values.faults import ValuesError


class CareError(Exception):
    """It could not be done; the message names the place, the reason and the way out."""


class Misnamed(CareError):
    """A text names no storage."""


#: Of the system's errors: what is the matter, and the way out.
_MEANINGS = {
    errno.EACCES: (
        "this user may not read or write it",
        "Run the command as the user that it belongs to, such as the broker's, or give this one the right to",
    ),
    errno.ENOENT: ("there is no such file or directory", "Look whether the name is right"),
    errno.ENOSPC: ("the disk is full", "Make room there, then run the command again"),
    errno.EROFS: ("the disk is read-only", "Name another place, or have it mounted for writing"),
    errno.EIO: ("the disk failed to read or write", "Check the disk and the kernel's log"),
}
_MEANINGS[errno.EPERM], _MEANINGS[errno.EDQUOT] = _MEANINGS[errno.EACCES], _MEANINGS[errno.ENOSPC]


def told(error: OSError, place: object) -> str:
    """Return what the system says about a place, with the way out."""
    said = error.strerror or str(error)
    what, way_out = _MEANINGS.get(error.errno or 0, (said, "Look whether the name is right"))
    because = "" if said == what else f" ({said})"
    return f"{error.filename or place}: {what}{because}. {way_out}"


def of_storage(error: Exception) -> str:
    """Return what a storage says, as a command says it: there is no broker that could be given another one."""
    return str(error).replace(ELSEWHERE, "or name another storage with --storage")


@contextmanager
def explained(place: object) -> Iterator[None]:
    """Raise a `CareError` for what the system, SQLite, a storage or a store of values says about a place."""
    try:
        yield
    except (CannotCopy, StorageError, ValuesError) as error:
        raise CareError(of_storage(error)) from error
    except sqlite3.Error as error:
        raise CareError(of_storage(explain(str(place), error))) from error
    except ConnectionError:
        raise  # of a broker, which says itself what is to be done
    except OSError as error:
        raise CareError(told(error, place)) from error
