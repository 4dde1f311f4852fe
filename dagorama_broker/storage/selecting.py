"""Selecting instances and nodes in SQLite: the statements that find some of many, and look at so many at most.

Each selection is read along one index, in the order of the list. Where that one stops after so many rows is found
first, by an OFFSET, which steps over rows without reading what is in them.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.storage.rows import Parameter

#: A column that is a name, or whose end at a colon or a dot is.
_IS_END = "({column} = ? OR substr({column}, -length(?)) IN (?, ?))"
#: Those of which there are few, or that people ask for while there are few, have an index of their own.
_INDEXED = {
    InstanceState.RUNNING: "instances_running",
    InstanceState.FAILED: "instances_failed",
    InstanceState.CANCELLED: "instances_cancelled",
}
_SEQ = "instances.seq"


class Part(NamedTuple):
    """A part of a statement, with its parameters."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


class Found(NamedTuple):
    """The numbers that were found, and the one to go on after; None where that was all."""

    seqs: list[int]
    next_seq: int | None


def find_instances(
    connection: sqlite3.Connection,
    selection: InstanceSelection,
    before_seq: int | None,
    limit: int,
    looked_at_max: int,
) -> Found:
    """Return the numbers of up to `limit` instances, newest first."""
    source, seq, where = _source(selection)
    if before_seq is not None:
        where.append(Part(f"{seq} < ?", (before_seq,)))
    order = f"ORDER BY {seq} DESC"
    last = _last(connection, f"SELECT {seq} FROM {source}", where, order, looked_at_max)
    if last is not None:
        where.append(Part(f"{seq} >= ?", (last,)))
    if seq != _SEQ:
        source += f" CROSS JOIN instances ON {_SEQ} = {seq}"  # in this order
    where += _instance_conditions(selection)
    found = _execute(connection, f"SELECT {seq} FROM {source}", where, f"{order} LIMIT {limit}")
    return Found(found, found[-1] if len(found) == limit else last)


def find_nodes(
    connection: sqlite3.Connection,
    instance: int,
    selection: NodeSelection,
    after_seq: int,
    limit: int,
    looked_at_max: int,
) -> Found:
    """Return the numbers of up to `limit` nodes of an instance, in creation order."""
    where = [Part("calls.instance = ?", (instance,)), Part("calls.seq > ?", (after_seq,))]
    last = _last(connection, "SELECT calls.seq FROM calls", where, "ORDER BY calls.seq", looked_at_max)
    if last is not None:
        where.append(Part("calls.seq <= ?", (last,)))
    source = "calls"
    if selection.states:
        source += " LEFT JOIN outcomes ON outcomes.node = calls.seq"
        states = tuple(str(state.value) for state in selection.stored_states)
        where.append(Part(f"coalesce(outcomes.state, 'waiting') IN ({_marks(states)})", states))
    if selection.functions:
        source += " JOIN functions ON functions.id = calls.function"
        ends = [_is_end("functions.name", end) for end in selection.functions]
        any_end = " OR ".join(end.sql for end in ends)
        where.append(Part(f"({any_end})", tuple(value for end in ends for value in end.parameters)))
    if selection.label:
        source += " JOIN notes ON notes.node = calls.seq"
        where.append(Part("notes.label = ?", (selection.label,)))
    order = f"ORDER BY calls.seq LIMIT {limit}"
    found = _execute(connection, f"SELECT calls.seq FROM {source}", where, order)
    return Found(found, found[-1] if len(found) == limit else last)


def _source(selection: InstanceSelection) -> tuple[str, str, list[Part]]:
    """Return the table to read along, its column with the number of the instance, and what its index goes by."""
    if selection.key:
        return "instances", _SEQ, [Part("instances.key = ?", (selection.key,))]
    if selection.tags:
        return "tags AS first", "first.instance", [Part("first.name = ? AND first.value = ?", selection.tags[0])]
    if len(selection.states) == 1:
        (state,) = selection.states
        index = _INDEXED.get(state)
        if index is not None:
            return f"instances INDEXED BY {index}", _SEQ, [Part(f"instances.state = '{state.value}'")]
    return "instances", _SEQ, []


def _instance_conditions(selection: InstanceSelection) -> list[Part]:
    conditions = []
    if selection.states:
        states = tuple(str(state.value) for state in selection.states)
        conditions.append(Part(f"instances.state IN ({_marks(states)})", states))
    if selection.definition:
        conditions.append(_is_end("instances.definition", selection.definition))
    for tag in selection.tags:
        has = "SELECT 1 FROM tags WHERE name = ? AND value = ? AND instance = instances.seq"
        conditions.append(Part(f"EXISTS ({has})", tag))
    if selection.created_since:
        conditions.append(Part("instances.created_at >= ?", (selection.created_since,)))
    if selection.created_until:
        conditions.append(Part("instances.created_at < ?", (selection.created_until,)))
    return conditions


def _is_end(column: str, end: str) -> Part:
    return Part(_IS_END.format(column=column), (end, f":{end}", f":{end}", f".{end}"))


def _marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" * len(values))


def _last(connection: sqlite3.Connection, select: str, where: list[Part], order: str, count: int) -> int | None:
    """Return the number at which so many rows have been looked at; None where there are no more than that."""
    found = _execute(connection, select, where, f"{order} LIMIT 2 OFFSET {count - 1}")
    return found[0] if len(found) == 2 else None


def _execute(connection: sqlite3.Connection, select: str, where: list[Part], order: str) -> list[int]:
    conditions = " AND ".join(part.sql for part in where) or "1"
    parameters = [value for part in where for value in part.parameters]
    return [seq for (seq,) in connection.execute(f"{select} WHERE {conditions} {order}", parameters)]
