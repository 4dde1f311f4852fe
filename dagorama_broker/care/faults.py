"""The errors of all care of stored data."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from dagorama_broker.copies.stepped import CannotCopy
from dagorama_broker.storage.faults import explain
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.values.faults import ValuesError


class CareError(Exception):
    """It could not be done; the message names the place, the reason and the way out."""


class Misnamed(CareError):
    """A text names no storage."""


@contextmanager
def explained(place: object) -> Iterator[None]:
    """Raise a `CareError` for what the system, SQLite, a storage or a store of values says about a place."""
    try:
        yield
    except (CannotCopy, StorageError, ValuesError) as error:
        raise CareError(str(error)) from error
    except sqlite3.Error as error:
        raise CareError(str(explain(str(place), error))) from error
    except ConnectionError:
        raise  # of a broker, which says itself what is to be done
    except OSError as error:
        raise CareError(f"{error.filename or place}: {error.strerror or error}") from error
