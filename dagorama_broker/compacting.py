"""The compacting of a storage that no broker runs on."""

from __future__ import annotations

from pathlib import Path

from dagorama_broker.storage.compacting import Compacted, compact
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.url import UnknownStorage, open_journal


class CannotCompact(Exception):
    """A storage cannot be compacted. `is_misnamed` where its name is that of none."""

    def __init__(self, reason: Exception, *, is_misnamed: bool = False) -> None:
        self.is_misnamed = is_misnamed
        super().__init__(str(reason))


def compact_storage(storage: str) -> Compacted:
    """Write the file of a storage anew. Raises `CannotCompact`, also where a broker runs on it."""
    try:
        journal = open_journal(storage)
        if not journal.blocking:
            raise StorageError(f"{storage}: there is no file, as it keeps nothing")
        return compact(Path(journal.location))
    except UnknownStorage as error:
        raise CannotCompact(error, is_misnamed=True) from error
    except StorageError as error:
        raise CannotCompact(error) from error
