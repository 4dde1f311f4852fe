"""The choice of a place for values, as text: the setting DAGORAMA_VALUES."""

import os
from pathlib import Path

from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.store import ValueStore

_SQLITE = "sqlite:///"


def open_store(values: str, storage: str) -> ValueStore:
    """Return the store for a directory; where that is empty, beside the database of a storage, or in memory without.

    Its `open` is still to be called.
    """
    if values:
        return DirectoryStore(Path(os.path.expanduser(values)).absolute())
    if not storage.startswith(_SQLITE):
        return MemoryStore()
    path = Path(os.path.expanduser(storage.removeprefix(_SQLITE))).absolute()
    return DirectoryStore(path.with_name(f"{path.name}.values"))
