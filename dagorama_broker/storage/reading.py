"""Reading the metadata tables of SQLite back."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import cast

from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, Selected
from dagorama_broker.core.model.states import TERMINAL, Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import (
    InstanceSummary,
    NodeCounts,
    StoredAction,
    StoredEnd,
    StoredInstance,
    StoredNode,
    ValueUse,
)
from dagorama_broker.core.model.values import (
    Action,
    Control,
    FailedAttempt,
    Failure,
    FunctionSpec,
    HookCall,
    InstanceId,
    Keep,
    KnownStart,
    LimitSpec,
    NodeId,
    Note,
    Pause,
    QueueControl,
    Request,
    RequestId,
    RetryPolicy,
    Tags,
    UndoneAttempt,
    pauses_in,
)
from dagorama_broker.storage.folding import RESET, UNDONE, read_start
from dagorama_broker.storage.rows import Parameter
from dagorama_broker.storage.selecting import find_instances, find_nodes

_INSTANCES = """
SELECT seq, id, definition, state, created_at, finished_at, deadline_at, counts, key, body, tags, ends, share_group,
       priority, paused, running_max, started_by, keep, held_bytes
FROM instances"""

#: Through a partial index, so that opening does not slow down as finished instances pile up.
RUNNING_INSTANCES = f"{_INSTANCES} WHERE state = 'running' ORDER BY seq"

#: What was done to some instances. No times go through JSON here, which would round them to 10 microseconds.
DEEDS = "SELECT instance, verb, at FROM actions WHERE instance IN (SELECT value FROM json_each(?)) ORDER BY seq"

_NODES = """
SELECT calls.seq, calls.id, calls.instance, calls.function, calls.parent, {arguments}, calls.dependencies,
       calls.created_at, outcomes.state, outcomes.at, {payload}, length(outcomes.payload), outcomes.promises,
       outcomes.source, outcomes.cause, outcomes.previous, outcomes.change, limited.keys, outcomes.worker,
       outcomes.granted_at, outcomes.duration_s, outcomes.joined_at, notes.label, notes.inputs,
       length(calls.arguments)
FROM calls
LEFT JOIN outcomes ON outcomes.node = calls.seq
LEFT JOIN limited ON limited.node = calls.seq
LEFT JOIN notes ON notes.node = calls.seq
"""
_NODES_WITH_VALUES = _NODES.format(arguments="calls.arguments", payload="outcomes.payload")
#: SQLite does not read what is not asked for: large payloads are on pages of their own.
_NODES_PLAIN = _NODES.format(arguments="x''", payload="NULL")

_ENDS = """
SELECT calls.seq, calls.id, outcomes.state, outcomes.at
FROM json_each(?) AS wanted
JOIN calls ON calls.seq = wanted.value
LEFT JOIN outcomes ON outcomes.node = calls.seq
"""

#: What the values of some nodes are made of, themselves included: of an alias its source, however far away.
_PARTS = """
WITH RECURSIVE parts (seq) AS (
    SELECT value FROM json_each(?)
    UNION
    SELECT entry.value FROM parts JOIN outcomes ON outcomes.node = parts.seq, json_each(
        CASE WHEN outcomes.payload IS NULL AND outcomes.source IS NOT NULL THEN json_array(outcomes.source)
        ELSE outcomes.promises END
    ) AS entry
)
SELECT seq FROM parts
"""

_OF_INSTANCE = "WHERE calls.instance = (SELECT seq FROM instances WHERE id = ?)"

_FUNCTION = """
SELECT name, code_version, queue, taint, {definition_arguments},
       max_attempts, interval_s, multiplier, interval_max_s, jitter, timeout_s, start_timeout_s, at_most_once, release,
       limits, parameters, shows_inputs
FROM functions WHERE id = ?
"""

_HOOKS = "SELECT function, arguments, only_failed FROM hooks WHERE instance = ? ORDER BY place"
#: So many values are looked up in one statement.
_USES_AT_ONCE = 500
_VOID_TOKEN = "SELECT void_token FROM instances WHERE seq = ?"

_COUNTS = """
SELECT coalesce(outcomes.state, 'waiting'), count(*) FROM calls LEFT JOIN outcomes ON outcomes.node = calls.seq
WHERE calls.instance = ? GROUP BY 1
"""

#: Through an index that has both columns.
_SEQ_LAST = """
SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM calls WHERE instance = ? AND seq > ? ORDER BY seq LIMIT ?)
"""
_COUNTS_BY_FUNCTION = """
SELECT functions.name, coalesce(outcomes.state, 'waiting'), count(*)
FROM calls JOIN functions ON functions.id = calls.function LEFT JOIN outcomes ON outcomes.node = calls.seq
WHERE calls.instance = ? AND calls.seq BETWEEN ? AND ? AND calls.seq NOT IN (SELECT value FROM json_each(?))
GROUP BY 1, 2 ORDER BY min(calls.seq)
"""

_ATTEMPTS = """
SELECT node, number, losses, worker, ended_at, type, message, traceback, {exception}, permanent, token,
       granted_at, duration_s
FROM attempts WHERE instance = ? AND node {which} ORDER BY node, seq
"""

_ACTIONS = """
SELECT actions.seq, instances.id, subject, at, verb, actor, details
FROM actions LEFT JOIN instances ON instances.seq = actions.instance
"""
_SEQ_MAX = 2**63 - 1

#: So many ids are asked for in one statement.
_IDS_MAX = 500

_STATES = {str(state.value): state for state in NodeState}

_Text = str | None
_Time = float | None
_Number = int | None
_InstanceColumns = tuple[
    int,
    bytes,
    str,
    str,
    float,
    _Time,
    _Time,
    _Text,
    _Text,
    _Text,
    _Text,
    _Number,
    str,
    int,
    int,
    int,
    _Text,
    _Text,
    int,
]
_InstanceRow = tuple[_InstanceColumns, tuple[Pause, ...]]


class Reader:
    """Reads instances and nodes. Equal functions of one reader are one object."""

    def __init__(self, connection: sqlite3.Connection, *, values: bool = True, arguments_max: int = 0) -> None:
        """Read arguments, results and exceptions too where `values` is set; else of arguments only so many bytes."""
        self._connection = connection
        self._values = values
        self._select_nodes = _NODES_WITH_VALUES if values else _NODES_PLAIN
        if arguments_max:
            arguments = f"substr(calls.arguments, 1, {arguments_max:d})"
            self._select_nodes = _NODES.format(arguments=arguments, payload="NULL")
        self._select_function = _FUNCTION.format(definition_arguments="definition_arguments" if values else "x''")
        self._functions: dict[int, FunctionSpec] = {}
        self._workers: dict[int, str] = {}

    def running_instances(self) -> list[StoredInstance]:
        """Return all running instances, with their nodes, in creation order."""
        return [self._stored_instance(row) for row in self._rows(RUNNING_INSTANCES)]

    def instance(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance with its nodes."""
        rows = self._instance_rows("WHERE id = ?", instance_id)
        return self._stored_instance(rows[0]) if rows else None

    def start(self, key: str) -> KnownStart | None:
        """Return what was started under a key."""
        rows = self._connection.execute("SELECT id, body FROM instances WHERE key = ? ORDER BY seq LIMIT 1", (key,))
        return next((KnownStart(InstanceId(id), read_start(key, body)) for id, body in rows), None)

    def summary(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Return an instance without its nodes."""
        rows = self._instance_rows("WHERE id = ?", instance_id)
        return self._summary(rows[0]) if rows else None

    def summaries(self, before_seq: int | None, limit: int) -> list[InstanceSummary]:
        """Return up to `limit` instances, newest first."""
        if before_seq is None:
            rows = self._instance_rows("ORDER BY seq DESC LIMIT ?", limit)
        else:
            rows = self._instance_rows("WHERE seq < ? ORDER BY seq DESC LIMIT ?", before_seq, limit)
        return [self._summary(row, counts_all=False) for row in rows]

    def page(self, instance_id: InstanceId, after_seq: int, limit: int) -> list[StoredNode]:
        """Give up to `limit` nodes of an instance, in creation order."""
        return self._nodes(
            f"{_OF_INSTANCE} AND calls.seq > ? ORDER BY calls.seq LIMIT ?", instance_id, after_seq, limit
        )

    def select_instances(
        self, selection: InstanceSelection, before_seq: int | None, limit: int, looked_at_max: int
    ) -> Selected[InstanceSummary]:
        """Return some of these instances, newest first."""
        seqs, next_seq = find_instances(self._connection, selection, before_seq, limit, looked_at_max)
        rows = self._instance_rows("WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq DESC", json.dumps(seqs))
        return Selected([self._summary(row, counts_all=False) for row in rows], next_seq)

    def select_nodes(
        self, instance_id: InstanceId, selection: NodeSelection, after_seq: int, limit: int, looked_at_max: int
    ) -> Selected[StoredNode]:
        """Return some of these nodes of an instance, in creation order."""
        for (seq,) in self._connection.execute("SELECT seq FROM instances WHERE id = ?", (instance_id,)):
            seqs, next_seq = find_nodes(self._connection, seq, selection, after_seq, limit, looked_at_max)
            nodes = self.nodes(seqs)
            return Selected([nodes[seq] for seq in seqs], next_seq)
        return Selected([], None)

    def count(self, instance_id: InstanceId, after_seq: int, limit: int, without: Sequence[int]) -> NodeCounts:
        """Count up to `limit` nodes of an instance, in creation order, by function and state."""
        counts: dict[str, dict[NodeState, int]] = {}
        execute = self._connection.execute
        row = execute("SELECT seq FROM instances WHERE id = ?", (instance_id,)).fetchone()
        if row is None:
            return NodeCounts(counts, 0)
        (last,) = execute(_SEQ_LAST, (row[0], after_seq, limit)).fetchone()
        for name, state, count in execute(
            _COUNTS_BY_FUNCTION, (row[0], after_seq + 1, last, json.dumps(list(without)))
        ):
            counts.setdefault(name, {})[_STATES[state]] = count
        return NodeCounts(counts, last)

    def by_id(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> dict[NodeId, StoredNode]:
        """Return nodes of an instance by id."""
        found: dict[NodeId, StoredNode] = {}
        for start in range(0, len(node_ids), _IDS_MAX):
            ids = node_ids[start : start + _IDS_MAX]
            marks = ", ".join("?" * len(ids))
            nodes = self._nodes(f"{_OF_INSTANCE} AND calls.id IN ({marks})", instance_id, *ids)
            found.update((node.id, node) for node in nodes)
        return found

    def parts(self, seqs: Sequence[int]) -> list[int]:
        """Return the numbers of these nodes, and of all that their values are made of."""
        return [seq for (seq,) in self._connection.execute(_PARTS, (json.dumps(list(seqs)),))]

    def nodes(self, seqs: Sequence[int]) -> dict[int, StoredNode]:
        """Return nodes by number."""
        nodes = self._nodes("WHERE calls.seq IN (SELECT value FROM json_each(?))", json.dumps(list(seqs)))
        return {node.seq: node for node in nodes}

    def ends(self, seqs: Sequence[int]) -> dict[int, StoredEnd]:
        """Return how nodes have ended, by number."""
        found = {}
        for seq, id, state_name, at in self._connection.execute(_ENDS, (json.dumps(list(seqs)),)):
            state = _STATES[state_name or "waiting"]
            found[seq] = StoredEnd(id, state, at if state in TERMINAL else 0.0)
        return found

    def queues(self) -> dict[str, QueueControl]:
        """Return the settings that people have given queues."""
        rows = self._connection.execute("SELECT name, paused, running_max FROM queues")
        return {name: QueueControl(bool(paused), running_max) for name, paused, running_max in rows}

    def _instance_rows(self, condition: str, *parameters: Parameter) -> list[_InstanceRow]:
        return self._rows(f"{_INSTANCES} {condition}", *parameters)

    def _rows(self, select: str, *parameters: Parameter) -> list[_InstanceRow]:
        rows: list[_InstanceColumns] = self._connection.execute(select, parameters).fetchall()
        deeds: dict[int, list[tuple[str, float]]] = {}
        for seq, verb, at in self._connection.execute(DEEDS, (json.dumps([row[0] for row in rows]),)):
            deeds.setdefault(seq, []).append((verb, at))
        return [(row, pauses_in(deeds.get(row[0], ()))) for row in rows]

    def head(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance without its nodes, to which they can be added."""
        rows = self._instance_rows("WHERE id = ?", instance_id)
        return self._stored_instance(rows[0], with_nodes=False) if rows else None

    def _stored_instance(self, row: _InstanceRow, *, with_nodes: bool = True) -> StoredInstance:
        columns, pauses = row
        seq, id, definition, state, created_at, finished_at, deadline_at, _, key, body, tags, ends, group, *more = (
            columns
        )
        *control, started_by, keep, held_bytes = more
        return StoredInstance(
            seq=seq,
            id=InstanceId(id),
            definition=definition,
            state=InstanceState(state),
            created_at=created_at,
            finished_at=finished_at or 0.0,
            deadline_at=deadline_at or 0.0,
            group=group,
            control=_control(*cast(list[int], control)),
            request=self._request(seq),
            void_token=self._void_token(seq),
            start=read_start(key, body) if key and body else None,
            tags=_tags(tags),
            hooks=self._hooks(seq),
            ends=ends or 0,
            started_by=str(started_by or ""),
            keep=Keep(*json.loads(str(keep))) if keep else None,
            pauses=pauses,
            held_bytes=cast(int, held_bytes),
            nodes=self._nodes("WHERE calls.instance = ? ORDER BY calls.seq", seq) if with_nodes else [],
        )

    def _void_token(self, instance: int) -> int:
        (void_token,) = self._connection.execute(_VOID_TOKEN, (instance,)).fetchone()
        return int(void_token)

    def _hooks(self, instance: int) -> tuple[HookCall, ...]:
        rows = self._connection.execute(_HOOKS, (instance,)).fetchall()
        return tuple(
            HookCall(self._functions.get(function) or self._function(function), arguments, bool(only_failed))
            for function, arguments, only_failed in rows
        )

    def _request(self, instance: int) -> Request | None:
        rows = self._connection.execute("SELECT id, node, nodes FROM requests WHERE instance = ?", (instance,))
        for id, node, nodes in rows:
            return Request(RequestId(id), node and NodeId(node), tuple(json.loads(nodes)))
        return None

    def _summary(self, row: _InstanceRow, *, counts_all: bool = True) -> InstanceSummary:
        columns, pauses = row
        seq, id, definition, state, created_at, finished_at, deadline_at, counts, key, _, tags, _, group, *more = (
            columns
        )
        *control, started_by, _, held_bytes = more
        known: Iterable[tuple[str, int]]
        if counts is not None:
            known = json.loads(counts).items()
        else:
            is_counted = counts_all or state != InstanceState.RUNNING
            known = self._connection.execute(_COUNTS, (seq,)) if is_counted else ()
        return InstanceSummary(
            seq=seq,
            id=InstanceId(id),
            definition=definition,
            state=InstanceState(state),
            created_at=created_at,
            finished_at=finished_at or 0.0,
            deadline_at=deadline_at or 0.0,
            counts={_STATES[state]: number for state, number in known},
            group=group,
            control=_control(*cast(list[int], control)),
            key=key or "",
            tags=_tags(tags),
            started_by=str(started_by or ""),
            pauses=pauses,
            held_bytes=cast(int, held_bytes),
        )

    def actions_on(self, instance_id: InstanceId, after_seq: int, limit: int) -> list[StoredAction]:
        """Return up to `limit` actions on an instance, in their order."""
        condition = "actions.instance = (SELECT seq FROM instances WHERE id = ?) AND actions.seq > ?"
        return self._actions(f"WHERE {condition} ORDER BY actions.seq LIMIT ?", instance_id, after_seq, limit)

    def actions(self, subject: str, before_seq: int | None, limit: int) -> list[StoredAction]:
        """Return up to `limit` actions, newest first: on a subject, or on all."""
        condition = "WHERE actions.seq < ? AND (actions.instance IS NULL OR instances.id IS NOT NULL)" + (
            " AND actions.instance IS NULL AND subject = ?" if subject else ""
        )
        parameters: list[Parameter] = [_SEQ_MAX if before_seq is None else before_seq]
        parameters += [subject, limit] if subject else [limit]
        return self._actions(f"{condition} ORDER BY actions.seq DESC LIMIT ?", *parameters)

    def _actions(self, condition: str, *parameters: Parameter) -> list[StoredAction]:
        rows = self._connection.execute(f"{_ACTIONS} {condition}", parameters)
        return [
            StoredAction(
                seq, Action(at, verb, by, tuple(map(tuple, json.loads(details))), subject), id and InstanceId(id)
            )
            for seq, id, subject, at, verb, by, details in rows
        ]

    def _nodes(self, condition: str, *parameters: Parameter) -> list[StoredNode]:
        nodes = []
        #: of each instance that the nodes are of, the nodes by number
        by_instance: dict[int, dict[int, StoredNode]] = {}
        for (
            seq,
            id,
            instance,
            function,
            parent,
            arguments,
            dependencies,
            created_at,
            state_name,
            at,
            payload,
            payload_bytes,
            promises,
            source,
            cause,
            previous,
            change,
            limit_keys,
            worker,
            granted_at,
            duration_s,
            joined_at,
            label,
            inputs,
            arguments_bytes,
        ) in self._connection.execute(self._select_nodes + condition, parameters):
            state = _STATES[state_name or "waiting"]
            node = StoredNode(
                seq=seq,
                id=id,
                function=self._functions.get(function) or self._function(function),
                parent_seq=parent,
                arguments=arguments,
                dependency_seqs=tuple(json.loads(dependencies)) if dependencies else (),
                limit_keys=tuple(json.loads(limit_keys)) if limit_keys else (),
                created_at=created_at,
                state=state,
                finished_at=at if state in TERMINAL else 0.0,
                run=None if worker is None else (self._worker(worker), granted_at, joined_at or at or 0.0, duration_s),
                note=Note(label or "", inputs or "") if label or inputs else None,
                arguments_bytes=arguments_bytes,
                retry_at=at if state is NodeState.BACKOFF else 0.0,
                waiting_since=(at or 0.0) if state is NodeState.WAITING else 0.0,
                payload=payload,
                payload_bytes=payload_bytes or 0,
                promise_seqs=tuple(json.loads(promises)) if promises else (),
                source_seq=source or 0,
                cause_seq=cause or 0,
                previous=previous,
                change=Change(change) if change else None,
            )
            nodes.append(node)
            by_instance.setdefault(instance, {})[seq] = node
        for instance, by_seq in by_instance.items():
            self._add_attempts(instance, by_seq)
        return nodes

    def _add_attempts(self, instance: int, nodes: dict[int, StoredNode]) -> None:
        """Add to nodes of one instance their failed attempts."""
        first, last = min(nodes), max(nodes)
        # One range is the fastest, but where most in it are other nodes, their tracebacks would be read too.
        is_sparse = last - first > 2 * len(nodes)
        select = _ATTEMPTS.format(
            exception="exception" if self._values else "x''",
            which="IN (SELECT value FROM json_each(?))" if is_sparse else "BETWEEN ? AND ?",
        )
        which = (json.dumps(list(nodes)),) if is_sparse else (first, last)
        rows = self._connection.execute(select, (instance, *which))
        for seq, number, losses, worker, ended_at, type, message, traceback, exception, permanent, token, *took in rows:
            node = nodes.get(seq)
            if node is None:
                continue
            is_new, node.tries = number > node.tries, max(node.tries, number)
            if losses == RESET:
                node.attempts = node.losses = 0
                continue
            if losses == UNDONE:
                node.undone.append(UndoneAttempt(number, worker, ended_at, *took))
                continue
            if losses:
                node.losses = losses
            elif worker or is_new:  # else none ran: its time was over before
                node.attempts += 1
            failure = Failure(
                type=type, message=message, traceback=traceback, exception=exception, permanent=bool(permanent)
            )
            node.failures.append(FailedAttempt(number, worker, ended_at, failure, token, *took))

    def used(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads refer to."""
        found: set[bytes] = set()
        for start in range(0, len(digests), _USES_AT_ONCE):
            some = digests[start : start + _USES_AT_ONCE]
            wanted = ", ".join("?" * len(some))
            rows = self._connection.execute(f"SELECT DISTINCT digest FROM value_uses WHERE digest IN ({wanted})", some)
            found.update([digest for (digest,) in rows])
        return found

    def held(self, instance: int, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads of an instance refer to."""
        find = "SELECT 1 FROM value_uses WHERE digest = ? AND instance = ? LIMIT 1"
        execute = self._connection.execute
        return {digest for digest in digests if execute(find, (digest, instance)).fetchone()}

    def uses(self, after: ValueUse | None, limit: int) -> list[ValueUse]:
        """Return uses of values after one, in order."""
        place = after[:4] if after is not None else (-1, -1, "", b"")
        rows = self._connection.execute(
            "SELECT instance, node, part, digest, size FROM value_uses WHERE (instance, node, part, digest) >"
            " (?, ?, ?, ?) AND instance NOT IN (SELECT instance FROM sweeps)"
            " ORDER BY instance, node, part, digest LIMIT ?",
            (*place, limit),
        )
        return list(map(ValueUse._make, rows))

    def _worker(self, number: int) -> str:
        """Return the name of a worker by its number."""
        name = self._workers.get(number)
        if name is None:
            (name,) = self._connection.execute("SELECT name FROM worker_names WHERE number = ?", (number,)).fetchone()
            self._workers[number] = name
        return name

    def _function(self, id: int) -> FunctionSpec:
        name, code_version, queue, taint, definition_arguments, *retry = self._connection.execute(
            self._select_function, (id,)
        ).fetchone()
        max_attempts, interval_s, multiplier, interval_max_s, jitter, *further = retry
        timeout_s, start_timeout_s, once, release, limits, parameters, shows_inputs = further
        spec = FunctionSpec(
            name=name,
            code_version=code_version,
            queue=queue,
            taint=taint,
            retry=RetryPolicy(
                max_attempts=max_attempts,
                interval_s=interval_s,
                multiplier=multiplier,
                interval_max_s=interval_max_s,
                jitter=jitter,
            ),
            timeout_s=timeout_s,
            start_timeout_s=start_timeout_s,
            at_most_once=bool(once),
            definition_arguments=definition_arguments,
            release=release,
            parameters=parameters,
            shows_inputs=bool(shows_inputs),
            limits=tuple(
                LimitSpec(max=max, rate_per_s=rate_per_s, burst=burst)
                for max, rate_per_s, burst in json.loads(limits or "[]")
            ),
        )
        self._functions[id] = spec
        return spec


def _tags(shown: str | None) -> Tags:
    return tuple((name, value) for name, value in json.loads(shown)) if shown else ()


def _control(priority: int, paused: int, running_max: int) -> Control:
    return Control(priority, bool(paused), running_max)
