"""A small storage with values that are used, one that is not, and logs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from dagorama_broker.core import events as e
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.values.directory import DirectoryStore
from tests.conformance.graphs import Graph

VALUES = (b"first" * 50_000, b"second" * 20_000)
DIGESTS = [sha256(value).digest() for value in VALUES]
UNUSED = b"unused" * 1_000


def memory_folder() -> str | None:
    """Return a folder that is in memory, where the system has one: a kill takes nothing from that either."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def make_used_storage(path: Path, values: Sequence[bytes] = VALUES) -> str:
    """Make it; return its URL."""
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    instance = graph.instance()
    references = [Reference(sha256(value).digest(), len(value)) for value in values]
    nodes = [graph.node(instance, arguments=write_references(references, b".")) for _ in range(2)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    store = DirectoryStore(path.with_name(f"{path.name}.values"))
    store.open(journal.owner_id, is_used=False)
    for value in (*values, UNUSED):
        writing = store.begin(sha256(value).digest(), len(value), 0)
        writing.write(value)
        writing.finish()
    store.close()
    journal.close()
    with closing(sqlite3.connect(path.with_name(f"{path.stem}.logs{path.suffix}"))) as connection, connection:
        connection.execute("CREATE TABLE lines (line TEXT)")
    return f"sqlite:///{path}"
