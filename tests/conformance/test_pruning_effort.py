"""What retention costs in SQLite: it grows with what goes, and not with what is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from math import inf

import pytest

from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.storage import pruning
from dagorama_broker.storage.folding import TombstoneRow
from dagorama_broker.storage.schema import load_migrations

#: The least number of steps of SQLite's virtual machine that is told apart.
STEPS = 10


def effort_of(use: Callable[[sqlite3.Connection], object], *, kept: int) -> int:
    """Return about how many steps something takes beside so many instances that are kept for ever, all with one tag."""
    count = 0

    def step() -> int:
        nonlocal count
        count += STEPS
        return 0

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in load_migrations():
            connection.executescript(migration.sql)
        rows = [(seq, seq.to_bytes(16, "big"), inf) for seq in range(2, kept + 2)]
        rows.append((1, bytes(16), 10_000.0))  # this one is to be kept for some time
        connection.executemany(
            "INSERT INTO instances (seq, id, definition, state, created_at, finished_at, ended_on, kept_until, tags)"
            """ VALUES (?, ?, 'd', 'completed', 0, 1, 1, ?, '[["a", "b"]]')""",
            rows,
        )
        connection.executemany("INSERT INTO tags VALUES ('a', 'b', ?)", [(seq,) for seq, _, _ in rows])
        connection.set_progress_handler(step, STEPS)
        use(connection)
        connection.set_progress_handler(None, 0)
    return count


def find_due(connection: sqlite3.Connection) -> None:
    """Find nothing."""
    assert pruning.find_due(connection, {InstanceState.COMPLETED: 100.0}, lived_s=100.0, limit=100) == []


def find_oldest(connection: sqlite3.Connection) -> None:
    """Find one."""
    assert [ended.seq for ended in pruning.find_oldest(connection, 100)] == [1]


def prune(connection: sqlite3.Connection) -> None:
    """Take one away."""
    row = TombstoneRow(1, bytes(16), "d", "completed", 1.0, 2.0, 2.0, "request", "", None)
    pruning.write_pruned(connection, [row])
    tags = connection.execute("SELECT instance FROM tags WHERE name = 'a' AND value = 'b' ORDER BY instance LIMIT 1")
    assert tags.fetchall() == [(2,)]


@pytest.mark.parametrize("use", [find_due, find_oldest, prune])
def test_nothing_that_stays_is_looked_at(use: Callable[[sqlite3.Connection], object]) -> None:
    """A commit waits for this, so a million instances that are kept for ever must not make it longer."""
    assert effort_of(use, kept=3_000) < effort_of(use, kept=10) + 1_000
