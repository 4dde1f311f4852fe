"""Reading the whole of a large instance from SQLite: its graph folded, and the times of its nodes.

The statements give one row for very many nodes: Python's sqlite3 gives up the interpreter lock for each row, and while
the event loop is busy it gets it back only after a switch interval.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from dagorama_broker.core.model.states import TERMINAL, NodeState
from dagorama_broker.core.model.stored import ATTEMPTS_TOLD_MAX, ShapePart, StoredTimes
from dagorama_broker.core.model.values import InstanceId, NodeId, Run

_INSTANCE = "SELECT seq, created_at FROM instances WHERE id = ?"

#: Through an index that has both columns.
_SEQ_LAST = """
SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM calls WHERE instance = ? AND seq > ? ORDER BY seq LIMIT ?)
"""

_PART = """
WITH part AS (
    SELECT calls.seq, calls.function, coalesce(maker.function, 0) AS maker, calls.parent, maker.parent AS above,
           calls.dependencies
    FROM calls LEFT JOIN calls AS maker ON maker.seq = calls.parent
    WHERE calls.instance = ?1 AND calls.seq BETWEEN ?2 AND ?3
          AND (?4 = '[]' OR calls.seq NOT IN (SELECT value FROM json_each(?4)))
)
"""
_GROUPS = f"""{_PART}
SELECT json_group_array(json_array(function, maker, state, count)) FROM (
    SELECT function, maker, coalesce(outcomes.state, 'waiting') AS state, count(*) AS count
    FROM part LEFT JOIN outcomes ON outcomes.node = part.seq
    GROUP BY 1, 2, 3 ORDER BY min(part.seq)
)
"""
_CALLS = f"""{_PART}
SELECT json_group_array(json_array(maker, above, function, count)) FROM (
    SELECT part.maker, coalesce(upper.function, 0) AS above, part.function, count(*) AS count
    FROM part LEFT JOIN calls AS upper ON upper.seq = part.above
    WHERE part.maker > 0 GROUP BY 1, 2, 3
)
"""
_VALUES = f"""{_PART}
SELECT json_group_array(json_array(source, above, function, maker, count)) FROM (
    SELECT given.function AS source, coalesce(upper.function, 0) AS above, part.function, part.maker, count(*) AS count
    FROM part, json_each(part.dependencies) AS entry
    JOIN calls AS given ON given.seq = entry.value LEFT JOIN calls AS upper ON upper.seq = given.parent
    GROUP BY 1, 2, 3, 4
)
"""

#: Times count from when the instance was created: JSON gives 15 digits of a number.
_TIMES = """
SELECT json_group_array(json_array(
    seq, id, function, parent, json(dependencies), label, created, state, at, worker, granted, duration_s, joined
)) FROM (
    SELECT calls.seq, hex(calls.id) AS id, calls.function, calls.parent, coalesce(calls.dependencies, '[]') AS
           dependencies, notes.label, calls.created_at - ?4 AS created, outcomes.state, outcomes.at - ?4 AS at,
           outcomes.worker, outcomes.granted_at - ?4 AS granted, outcomes.duration_s, outcomes.joined_at - ?4 AS joined
    FROM calls LEFT JOIN outcomes ON outcomes.node = calls.seq LEFT JOIN notes ON notes.node = calls.seq
    WHERE calls.instance = ?1 AND calls.seq > ?2 ORDER BY calls.seq LIMIT ?3
)
"""
#: The attempts that gave no value: of failed nodes the last is the one that failed it, which `outcomes` does not have.
_ATTEMPTS = """
SELECT json_group_array(json_array(node, worker, granted, ended, duration_s)) FROM (
    SELECT node, worker, granted_at - ?4 AS granted, ended_at - ?4 AS ended, duration_s
    FROM attempts WHERE instance = ?1 AND node BETWEEN ?2 AND ?3 ORDER BY node, seq
)
"""

_STATES = {str(state.value): state for state in NodeState}


class ShapeReader:
    """Reads the shape and the times of instances."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read over a connection."""
        self._connection = connection
        self._functions: dict[int, str] = {0: ""}
        self._workers: dict[int, str] = {}

    def fold(self, instance_id: InstanceId, after_seq: int, limit: int, without: Sequence[int]) -> ShapePart:
        """Count nodes by function, maker's function and state, and the edges that lead to them by both their groups."""
        execute = self._connection.execute
        row = execute(_INSTANCE, (instance_id,)).fetchone()
        if row is None:
            return ShapePart({}, {}, 0)
        (last,) = execute(_SEQ_LAST, (row[0], after_seq, limit)).fetchone()
        part = (row[0], after_seq + 1, last, json.dumps([seq for seq in without if after_seq < seq <= last]))
        name = self._function
        counts: dict[tuple[str, str], dict[NodeState, int]] = {}
        for function, maker, state, count in self._rows(_GROUPS, part):
            of_group = counts.setdefault((name(function), name(maker)), {})
            of_group[_STATES[state]] = of_group.get(_STATES[state], 0) + count
        edges: dict[tuple[tuple[str, str], tuple[str, str], bool], int] = {}
        for maker, above, function, count in self._rows(_CALLS, part):
            edge = (name(maker), name(above)), (name(function), name(maker)), True
            edges[edge] = edges.get(edge, 0) + count
        for source, above, function, maker, count in self._rows(_VALUES, part):
            edge = (name(source), name(above)), (name(function), name(maker)), False
            edges[edge] = edges.get(edge, 0) + count
        return ShapePart(counts, edges, last)

    def times(self, instance_id: InstanceId, after_seq: int, limit: int) -> list[StoredTimes]:
        """Return the times of nodes, in creation order."""
        row = self._connection.execute(_INSTANCE, (instance_id,)).fetchone()
        if row is None:
            return []
        instance, began_at = row
        found = self._rows(_TIMES, (instance, after_seq, limit, began_at))
        if not found:
            return []
        attempts: dict[int, list[Run]] = {}
        for node, worker, granted, ended, duration_s in self._rows(
            _ATTEMPTS, (instance, found[0][0], found[-1][0], began_at)
        ):
            attempts.setdefault(node, []).append((worker, granted + began_at, ended + began_at, duration_s))
        return [self._stored(row, attempts.get(row[0], []), began_at) for row in found]

    def _stored(self, row: Sequence[Any], attempts: list[Run], began_at: float) -> StoredTimes:
        """Return the times of a node, given its attempts that gave no value."""
        seq, id, function, parent, dependencies, label, created, *outcome = row
        word, at, worker, granted, duration_s, joined = outcome
        state = _STATES[word or "waiting"]
        finished_at = at + began_at if state in TERMINAL else 0.0
        run = attempts.pop() if state is NodeState.FAILED and attempts else None
        if run is None and worker is not None:
            ended_at = (at if joined is None else joined) + began_at
            run = (self._worker(worker), granted + began_at, ended_at, duration_s)
        return StoredTimes(
            seq=seq,
            id=NodeId(bytes.fromhex(id)),
            function=self._function(function),
            parent_seq=parent,
            dependency_seqs=dependencies,
            label=label or "",
            created_at=created + began_at,
            state=state,
            finished_at=finished_at,
            run=run,
            attempts=attempts[-ATTEMPTS_TOLD_MAX:],
        )

    def _rows(self, statement: str, parameters: Sequence[object]) -> list[list[Any]]:
        (found,) = self._connection.execute(statement, parameters).fetchone()
        rows: list[list[Any]] = json.loads(found)
        return rows

    def _function(self, id: int) -> str:
        name = self._functions.get(id)
        if name is None:
            (name,) = self._connection.execute("SELECT name FROM functions WHERE id = ?", (id,)).fetchone()
            self._functions[id] = name
        return name

    def _worker(self, number: int) -> str:
        name = self._workers.get(number)
        if name is None:
            (name,) = self._connection.execute("SELECT name FROM worker_names WHERE number = ?", (number,)).fetchone()
            self._workers[number] = name
        return name
