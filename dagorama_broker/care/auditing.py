"""The check of a storage that no broker runs on: what it has written of values, and the values themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from dagorama_broker.care.faults import explained
from dagorama_broker.care.stopped import existing, existing_store
from dagorama_broker.core.model.stored import ValueUse
from dagorama_broker.storage.auditing import audit_uses, list_all_uses
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.url import open_journal
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import StoreUnusable, UnknownValue
from dagorama_broker.values.store import CHUNK_BYTES, ValueStore

#: What is wrong with one value or use is told there.
Tell = Callable[[str], None]


@dataclass(slots=True)
class Audit:
    """What a check has come to."""

    problems: int = 0
    uses: int = 0
    values: int = 0  #: that are used and as they should be
    value_bytes: int = 0
    unused: int = 0  #: values that nothing refers to; a broker collects them
    unused_bytes: int = 0


def audit_storage(storage: str, values: str, tell: Tell, *, reads: bool) -> Audit:
    """Check a storage and its values, which are read as a whole where `reads` says so; tell each thing that is wrong.

    It takes both as a broker does. Raises `CareError`, also where a broker holds them.
    """
    with explained(existing(storage)):
        return _audit(storage, values, tell, reads=reads)


def _audit(storage: str, values: str, tell: Tell, *, reads: bool) -> Audit:
    journal = open_journal(storage)
    journal.open()
    try:
        audit = Audit()
        for fault in audit_uses(journal):
            audit.problems += 1
            tell(str(fault))
        store = existing_store(values, storage)
        is_used = bool(journal.list_uses(after=None, limit=1))
        if not is_used and isinstance(store, DirectoryStore) and not os.path.exists(store.location):
            return audit
        store.open(journal.owner_id, is_used=is_used)
        try:
            _audit_values(journal, store, audit, tell, reads=reads)
        finally:
            store.close()
        return audit
    finally:
        journal.close()


def _audit_values(journal: Journal, store: ValueStore, audit: Audit, tell: Tell, *, reads: bool) -> None:
    """Look at each value that is used, once, and count those that are not."""
    known: set[bytes] = set()
    for use in list_all_uses(journal):
        audit.uses += 1
        if use.digest in known:
            continue
        known.add(use.digest)
        problem = _problem_of(use, store, reads=reads)
        if problem:
            audit.problems += 1
            tell(problem)
        else:
            audit.values += 1
            audit.value_bytes += use.size
    for shard in store.shards():
        unused = [one.size for one in store.list(shard) if one.digest not in known]
        audit.unused += len(unused)
        audit.unused_bytes += sum(unused)


def _problem_of(use: ValueUse, store: ValueStore, *, reads: bool) -> str:
    """Return what is wrong with a value that is used; nothing where it is as it should be."""
    user = f"the {use.part} of node {use.node_seq} of instance {use.instance_seq}"
    name = f"value {use.digest.hex()}, which {user} refers to,"
    try:
        reading = store.read(use.digest)
    except UnknownValue:
        return f"{name} is not in {store.location}"
    except StoreUnusable as error:  # a bad part of a disk says nothing of the others
        return f"{name} cannot be read: {error}"
    try:
        if reading.size != use.size:
            return f"{name} has {reading.size} bytes in {store.location}, and should have {use.size}"
        found = sha256()
        for at in range(0, reading.size if reads else 0, CHUNK_BYTES):
            found.update(reading.read(at, CHUNK_BYTES))
        if reads and found.digest() != use.digest:
            return f"{name} has been changed in {store.location}: what is there has the digest {found.hexdigest()}"
        return ""
    except StoreUnusable as error:
        return f"{name} cannot be read: {error}"
    finally:
        reading.close()
