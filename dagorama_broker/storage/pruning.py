"""Pruning in SQLite: an instance goes with one small commit, and what has many rows is removed later, slice by slice.

The commit takes the instance's own row away, so nothing of it is found any more, and leaves a tombstone and a note of
what is still to be removed. A slice is a transaction of its own that is not synced: after a power cut it is done again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dagorama_broker.core.model.states import ENDED, InstanceState
from dagorama_broker.core.model.stored import EndedInstance, Lived, Tombstone, Usage
from dagorama_broker.core.model.values import InstanceId, PruneReason
from dagorama_broker.storage.folding import TombstoneRow
from dagorama_broker.storage.functions import Functions
from dagorama_broker.storage.rows import RowWriter

_AMONG = "IN (SELECT value FROM json_each(?1))"
_TAGS_OF = f"""
SELECT entry.value ->> 0, entry.value ->> 1, instances.seq FROM instances, json_each(instances.tags) AS entry
WHERE instances.seq {_AMONG}
"""
#: One by one: with a list of them, all instances are looked at that have the same tag.
_UNTAG = "DELETE FROM tags WHERE name = ? AND value = ? AND instance = ?"
_TOMBSTONES = RowWriter("tombstones", TombstoneRow._fields)
_TAKE_AWAY = (
    f"INSERT INTO sweeps SELECT seq, id FROM instances WHERE seq {_AMONG}",
    "UPDATE removed SET instance_last = max(instance_last, (SELECT max(value) FROM json_each(?1)))",
    f"DELETE FROM hooks WHERE instance {_AMONG}",
    f"DELETE FROM requests WHERE instance {_AMONG}",
    f"DELETE FROM instances WHERE seq {_AMONG}",
)

_ENDED = "SELECT seq, id, definition, state, finished_at, ended_on, kept_until, key FROM instances"
#: With the condition of the index, as a statement for any state does not imply it.
_WITHOUT_OPTION = f"{_ENDED} WHERE state = ? AND state <> 'running' AND kept_until IS NULL"
_DUE = f"{_WITHOUT_OPTION} AND ended_on <= ? ORDER BY ended_on LIMIT ?"
#: Those that had ended before lived time began count from there.
_DUE_OLD = f"{_WITHOUT_OPTION} AND ended_on IS NULL LIMIT ?"
_DUE_KEPT = f"{_ENDED} WHERE kept_until <= ? ORDER BY kept_until LIMIT ?"
_OLDEST = f"{_WITHOUT_OPTION} ORDER BY ended_on, seq LIMIT ?"
#: As in the index: 9e999 is for ever.
_OLDEST_KEPT = f"{_ENDED} INDEXED BY instances_kept_since WHERE kept_until < 9e999 ORDER BY ended_on, seq LIMIT ?"

_TOMBSTONE = "SELECT id, definition, state, finished_at, pruned_at, reason, actor, coalesce(key, '') FROM tombstones"

#: The rows of an instance, table by table: each statement takes the number of the instance, and how many rows may go.
_ROWS = (
    "DELETE FROM attempts WHERE seq IN (SELECT seq FROM attempts WHERE instance = ? LIMIT ?)",
    "DELETE FROM value_uses WHERE (instance, node, part, digest) IN"
    " (SELECT instance, node, part, digest FROM value_uses WHERE instance = ? LIMIT ?)",
    "DELETE FROM actions WHERE seq IN (SELECT seq FROM actions WHERE instance = ? LIMIT ?)",
)
_NOTE_ACTIONS = "UPDATE removed SET action_last = max(action_last, (SELECT coalesce(max(seq), 0) FROM actions))"
_NODES = "SELECT seq FROM calls WHERE instance = ? ORDER BY seq LIMIT ?"
_NODE_ROWS = (
    "UPDATE removed SET node_last = max(node_last, (SELECT max(value) FROM json_each(?1)))",
    f"DELETE FROM outcomes WHERE node {_AMONG}",
    f"DELETE FROM limited WHERE node {_AMONG}",
    f"DELETE FROM notes WHERE node {_AMONG}",
    f"DELETE FROM calls WHERE seq {_AMONG}",
)


#: A value that is used many times counts once.
_VALUES = """
SELECT digest, max(size) FROM value_uses WHERE digest > ? AND instance NOT IN (SELECT instance FROM sweeps)
GROUP BY digest ORDER BY digest LIMIT ?
"""

#: The values of instances that were pruned, but for any that others use which were not. A sum of any size is a float.
_FREED = f"""
SELECT CAST(total(bytes) AS INTEGER) FROM (
    SELECT digest, max(size) AS bytes FROM value_uses WHERE instance {_AMONG} GROUP BY digest
) AS theirs WHERE NOT EXISTS (
    SELECT 1 FROM value_uses WHERE value_uses.digest = theirs.digest AND instance NOT IN (SELECT instance FROM sweeps)
)
"""

#: The mode of a database whose file can be made shorter.
_INCREMENTAL = 2


def write_pruned(connection: sqlite3.Connection, rows: Sequence[TombstoneRow]) -> None:
    """Take instances away, as a part of a commit."""
    _TOMBSTONES.write(connection, rows)
    seqs = str([row.instance for row in rows])
    connection.executemany(_UNTAG, connection.execute(_TAGS_OF, (seqs,)).fetchall())
    for statement in _TAKE_AWAY:
        connection.execute(statement, (seqs,))


def write_lived(connection: sqlite3.Connection, lived: Lived) -> None:
    """Note lived time, as a part of a commit."""
    connection.execute("DELETE FROM lived")
    connection.execute("INSERT INTO lived VALUES (?, ?)", lived)


def read_lived(connection: sqlite3.Connection) -> Lived | None:
    """Return the lived time that was noted last."""
    row = connection.execute("SELECT at, lived_s FROM lived").fetchone()
    return row and Lived(*row)


def find_due(
    connection: sqlite3.Connection, cutoffs: Mapping[InstanceState, float], lived_s: float, limit: int
) -> list[EndedInstance]:
    """Return instances that are due, see `Journal.find_due`."""
    found = _ended(connection, _DUE_KEPT, lived_s, limit)
    for state, cutoff in cutoffs.items():
        if cutoff >= 0 and len(found) < limit:
            found += _ended(connection, _DUE_OLD, str(state.value), limit - len(found))
        if len(found) < limit:
            found += _ended(connection, _DUE, str(state.value), cutoff, limit - len(found))
    return found


def find_oldest(connection: sqlite3.Connection, limit: int) -> list[EndedInstance]:
    """Return the instances that ended first, see `Journal.find_oldest`."""
    found = [ended for state in ENDED for ended in _ended(connection, _OLDEST, str(state.value), limit)]
    found += _ended(connection, _OLDEST_KEPT, limit)
    return sorted(found, key=lambda ended: (ended.ended_on, ended.seq))[:limit]


def find_ended(connection: sqlite3.Connection, instance_ids: Sequence[InstanceId]) -> list[EndedInstance]:
    """Return those of some instances that have ended."""
    marks = ", ".join("?" * len(instance_ids))
    return _ended(connection, f"{_ENDED} WHERE state <> 'running' AND id IN ({marks})", *instance_ids)


def _ended(connection: sqlite3.Connection, statement: str, *parameters: str | float | bytes) -> list[EndedInstance]:
    return [
        EndedInstance(
            seq, InstanceId(id), definition, InstanceState(state), finished_at or 0.0, ended_on or 0.0, until, key or ""
        )
        for seq, id, definition, state, finished_at, ended_on, until, key in connection.execute(statement, parameters)
    ]


def find_tombstone(connection: sqlite3.Connection, instance_id: InstanceId) -> Tombstone | None:
    """Return the tombstone of an instance."""
    return _tombstone(connection.execute(f"{_TOMBSTONE} WHERE id = ?", (instance_id,)).fetchone())


def find_tombstone_of_key(connection: sqlite3.Connection, key: str) -> Tombstone | None:
    """Return the last tombstone of an instance that was started under a key."""
    row = connection.execute(f"{_TOMBSTONE} WHERE key = ? ORDER BY instance DESC LIMIT 1", (key,)).fetchone()
    return _tombstone(row)


def _tombstone(row: tuple[bytes, str, str, float, float, str, str, str] | None) -> Tombstone | None:
    if row is None:
        return None
    id, definition, state, finished_at, pruned_at, reason, by, key = row
    return Tombstone(
        InstanceId(id), definition, InstanceState(state), finished_at, pruned_at, PruneReason(reason), by, key
    )


def list_sweeps(connection: sqlite3.Connection, limit: int) -> list[tuple[int, InstanceId]]:
    """Return pruned instances that still have rows, the oldest first."""
    return connection.execute("SELECT instance, id FROM sweeps ORDER BY instance LIMIT ?", (limit,)).fetchall()


def sweep(connection: sqlite3.Connection, instance_seqs: Sequence[int], rows_max: int) -> bool:
    """Remove up to so many rows of pruned instances; return whether none are left."""
    with _unsynced(connection):
        for seq in instance_seqs:
            rows_max -= _sweep_one(connection, seq, rows_max)
            if rows_max <= 0:
                return False
            connection.execute("DELETE FROM sweeps WHERE instance = ?", (seq,))
    return True


def _sweep_one(connection: sqlite3.Connection, instance: int, rows_max: int) -> int:
    """Remove rows of one instance; return how many, less than `rows_max` where none are left."""
    execute = connection.execute
    count = 0
    execute(_NOTE_ACTIONS)
    for statement in _ROWS:
        count += execute(statement, (instance, rows_max - count)).rowcount
        if count >= rows_max:
            return count
    seqs = [seq for (seq,) in execute(_NODES, (instance, rows_max - count))]
    if seqs:
        for statement in _NODE_ROWS:
            execute(statement, (str(seqs),))
    return count + len(seqs)


def tidy(connection: sqlite3.Connection, functions: Functions, rows_max: int) -> bool:
    """Remove functions that no node calls any more, see `Functions.sweep`."""
    with _unsynced(connection):
        return functions.sweep(connection, rows_max)


def forget_tombstones(connection: sqlite3.Connection, pruned_until: float, limit: int) -> int:
    """Remove tombstones of instances that were pruned up to some lived time; return how many."""
    which = "SELECT instance FROM tombstones WHERE pruned_on <= ? ORDER BY pruned_on LIMIT ?"
    with _unsynced(connection):
        return connection.execute(f"DELETE FROM tombstones WHERE instance IN ({which})", (pruned_until, limit)).rowcount


def measure_values(connection: sqlite3.Connection, after: bytes, limit: int) -> tuple[int, bytes]:
    """Return the bytes of some values that are used, see `Journal.measure_values`."""
    rows = connection.execute(_VALUES, (after, limit)).fetchall()
    return sum(size for _, size in rows), rows[-1][0] if rows else b""


def measure_freed(connection: sqlite3.Connection, instance_seqs: Sequence[int]) -> int:
    """Return the bytes of values that only pruned instances use, see `Journal.measure_freed`."""
    return int(connection.execute(_FREED, (str(list(instance_seqs)),)).fetchone()[0])


def measure(connection: sqlite3.Connection) -> Usage:
    """Return the room that the database takes."""
    read = ("PRAGMA page_size", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA auto_vacuum")
    page_bytes, pages, free, mode = (int(connection.execute(pragma).fetchone()[0]) for pragma in read)
    return Usage(page_bytes * (pages - free), page_bytes * free, gives_back=mode == _INCREMENTAL)


def give_back(connection: sqlite3.Connection, bytes_max: int) -> int:
    """Move the last pages to free ones before them; return the bytes that are still free.

    The file is cut off with the next checkpoint: at once where `bytes_max` is 0.
    """
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    execute = connection.execute
    execute("PRAGMA synchronous = NORMAL")
    try:
        # Not `execute`: that takes one step, which is one page, as this statement has no columns.
        if bytes_max:
            connection.executescript(f"PRAGMA incremental_vacuum({max(1, bytes_max // page_bytes)});")
        else:
            execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        execute("PRAGMA synchronous = FULL")
    return measure(connection).free


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """Make a transaction that is written to the log and not synced. The next commit syncs it with its own."""
    execute = connection.execute
    execute("PRAGMA synchronous = NORMAL")
    try:
        execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")
    finally:
        execute("PRAGMA synchronous = FULL")
