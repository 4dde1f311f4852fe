"""The compacting of a storage that no broker runs on."""

from __future__ import annotations

from dagorama_broker.care.faults import explained
from dagorama_broker.care.stopped import existing
from dagorama_broker.storage.compacting import Compacted, compact


def compact_storage(storage: str) -> Compacted:
    """Write the file of a storage anew. Raises `CareError`, also where a broker runs on it."""
    path = existing(storage)
    with explained(path):
        return compact(path)
