"""Batches of events, folded into rows, table by table.

A journal that keeps tables writes each of them once in a batch, whatever the order of the events was. That gives the
same as applying the events one after the other, because rows of different tables do not depend on each other and later
rows of the same node or instance are merged here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple, assert_never, cast

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import EndedInstance, Lived
from dagorama_broker.core.model.values import (
    Body,
    Control,
    FailedAttempt,
    HookCall,
    NodeId,
    Note,
    QueueControl,
    Request,
    Run,
    Start,
    WorkerId,
)

# Plain strings: database drivers take a slow path for subclasses of str.
STARTED = str(NodeState.STARTED.value)
WAITING = str(NodeState.WAITING.value)
JOINING = str(NodeState.JOINING.value)
BACKOFF = str(NodeState.BACKOFF.value)
COMPLETED = str(NodeState.COMPLETED.value)
FAILED = str(NodeState.FAILED.value)
DEPENDENCY_FAILED = str(NodeState.DEPENDENCY_FAILED.value)
CANCELLED = str(NodeState.CANCELLED.value)
RUNNING = str(InstanceState.RUNNING.value)


_COMPLETIONS: set[type] = {e.NodeCompleted}

#: In place of a number of losses: a mark that earlier attempts count no more, and an attempt whose value is no more.
RESET, UNDONE = -1, -2


class InstanceRow(NamedTuple):
    """An instance, whole."""

    seq: int
    id: bytes
    definition: str
    state: str
    created_at: float
    finished_at: float | None
    share_group: str
    deadline_at: float | None
    counts: str | None  #: JSON; None: it runs
    key: str | None = None
    body: str | None = None  #: JSON, see `read_start`; None: it has no key
    tags: str | None = None  #: JSON list of pairs; None: it has none
    ends: int | None = None  #: how often it has ended; None: as before
    started_by: str | None = None
    keep: str | None = None  #: JSON list of seconds; None: as the broker is set
    ended_on: float | None = None  #: None: it runs
    kept_until: float | None = None
    held_bytes: int = 0  #: 0: it runs, or has none


class TombstoneRow(NamedTuple):
    """The remains of an instance that was pruned."""

    instance: int
    id: bytes
    definition: str
    state: str
    finished_at: float
    pruned_at: float
    pruned_on: float
    reason: str
    actor: str
    key: str | None


class TagRow(NamedTuple):
    """A tag of an instance, by which it is found."""

    name: str
    value: str
    instance: int


class ControlRow(NamedTuple):
    """The settings of an instance that people have changed."""

    priority: int
    paused: bool
    running_max: int
    seq: int


class QueueRow(NamedTuple):
    """The settings that people have given a queue."""

    name: str
    paused: bool
    running_max: int


class LimitRow(NamedTuple):
    """The spec that a call gave the limit of its key."""

    key: str
    said_by: int
    running_max: int
    rate_per_s: float
    burst: int


class OutcomeRow(NamedTuple):
    """How far a node has got. None in all from `payload` on: as it was before."""

    node: int
    state: str
    at: float | None  #: when it ended; backing off, may run again; waiting, was reset or handed back
    payload: bytes | None
    promises: str | None  #: JSON list of numbers
    cause: int | None
    source: int | None = None
    worker: int | None = None  #: the number of the name of who ran it
    granted_at: float | None = None
    duration_s: float | None = None
    joined_at: float | None = None  #: when that attempt ended, where the node did not end with it


class CompletedRow(NamedTuple):
    """A node whose attempt gave a value: the columns of `OutcomeRow` that are filled then."""

    node: int
    state: str
    at: float
    payload: bytes | None
    worker: int
    granted_at: float
    duration_s: float
    joined_at: float | None


class AttemptRow(NamedTuple):
    """A failed attempt, or with `losses` a lost one; with `RESET`, a mark: earlier ones count no more.

    With `UNDONE` it gave a value, which is no more since the node began anew. Numbers grow over the node's whole life;
    a mark has the last.
    """

    instance: int
    node: int
    number: int
    losses: int
    worker: str
    ended_at: float
    type: str
    message: str
    traceback: str
    exception: bytes
    permanent: bool
    token: int  #: leases up to this one are over
    granted_at: float
    duration_s: float


class ActionRow(NamedTuple):
    """Something that somebody has done."""

    subject: str
    instance: int | None  #: None: to something else
    at: float
    verb: str
    actor: str
    details: str  #: JSON list of pairs


class WorkerRow(NamedTuple):
    """A worker that has joined."""

    id: bytes
    name: str
    joined_at: float


@dataclass(slots=True)
class Batch:
    """The rows to write."""

    instances: dict[int, InstanceRow] = field(default_factory=dict)
    tags: list[TagRow] = field(default_factory=list)
    hooks: list[tuple[int, HookCall]] = field(default_factory=list)  #: by the number of the instance
    controls: dict[int, ControlRow] = field(default_factory=dict)  #: after the instances
    pruned: list[TombstoneRow] = field(default_factory=list)  #: after all of the instances
    lived: Lived | None = None
    queues: dict[str, QueueRow | None] = field(default_factory=dict)  #: None: as it would be without a word
    limits: dict[str, LimitRow] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outcomes: dict[int, OutcomeRow] = field(default_factory=dict)
    notes: dict[int, Note] = field(default_factory=dict)  #: an empty text: as it was before
    attempts: list[AttemptRow] = field(default_factory=list)
    workers: dict[WorkerId, WorkerRow | None] = field(default_factory=dict)  #: None: has left
    actions: list[ActionRow] = field(default_factory=list)
    # Of nodes that were reset; applied before the outcomes are written, and after the nodes.
    uncaused: list[int] = field(default_factory=list)  #: whose failures are no more
    #: Whose values of before the batch are no more, with how many attempts are over.
    unvalued: dict[int, int] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)  #: what they call now
    arguments: dict[int, bytes] = field(default_factory=dict)  #: the other ones that some of them get
    previous: dict[int, bytes] = field(default_factory=dict)  #: after the outcomes
    changes: dict[int, Change] = field(default_factory=dict)  #: after the outcomes
    requests: dict[int, Request | None] = field(default_factory=dict)  #: the last ones, by instance; None: it had no id
    removed: set[int] = field(default_factory=set)  #: nodes that are no more
    #: Instances whose nodes began anew, so that they have no deadline any more, and the last token given before that;
    #: after the instances.
    reopened: dict[int, int] = field(default_factory=dict)


def fold(events: Sequence[e.DurableEvent], workers: Mapping[str, int]) -> Batch:
    """Fold events, given in order, into the rows that they come to. `workers` has a number for any name of a worker."""
    batch = Batch()
    for event in events:
        _fold_one(batch, event, workers)
    if batch.removed:
        _forget_removed(batch)
    return batch


def fold_completions(events: Sequence[e.DurableEvent], workers: Mapping[str, int]) -> list[CompletedRow] | None:
    """Return the rows of a batch in which attempts give values and nothing else happens; None for any other batch.

    Most are like that, as are those of a chain. To make room for all tables takes longer than to make their rows.
    """
    if set(map(type, events)) != _COMPLETIONS:
        return None
    rows = []
    for event in cast("Sequence[e.NodeCompleted]", events):
        if event.run is None:
            return None
        rows.append(
            CompletedRow(event.node.seq, COMPLETED, event.at, event.payload, *_ran(event.run, event.at, workers))
        )
    return rows


def _forget_removed(batch: Batch) -> None:
    """Leave out all rows of nodes that are no more; their numbers never come again, over restarts too."""
    removed = batch.removed
    batch.nodes = [node for node in batch.nodes if node.seq not in removed]
    batch.attempts = [row for row in batch.attempts if row.node not in removed]
    for seq in removed:
        for rows in (
            batch.outcomes,
            batch.functions,
            batch.arguments,
            batch.previous,
            batch.changes,
            batch.notes,
        ):
            rows.pop(seq, None)


def show_seqs(nodes: Sequence[Node]) -> str | None:
    """Return the numbers of some nodes as a JSON list, None for no nodes."""
    return str([node.seq for node in nodes]) if nodes else None


def _fold_one(batch: Batch, event: e.DurableEvent, workers: Mapping[str, int]) -> None:
    match event:  # the most frequent come first
        case e.NodeCompleted():
            seq, run = event.node.seq, event.run
            if run is None:
                row = OutcomeRow(seq, COMPLETED, event.at, event.payload, None, None, event.source_seq or None)
            else:
                row = OutcomeRow(
                    seq, COMPLETED, event.at, event.payload, None, None, None, *_ran(run, event.at, workers)
                )
            _put(batch, row)
        case e.NodesCreated():
            batch.nodes.extend(event.nodes)
            if event.labels or event.inputs:
                texts = zip(event.nodes, event.labels or repeat(""), event.inputs or repeat(""), strict=False)
                batch.notes.update({node.seq: Note(label, shown) for node, label, shown in texts if label or shown})
        case e.NodesNoted():
            for node, note in event.notes:
                earlier = batch.notes.get(node.seq)
                batch.notes[node.seq] = note.over(earlier) if earlier is not None else note
        case e.NodeJoining():
            promises = show_seqs(event.promises)
            ran = _ran(event.run, None, workers) if event.run is not None else ()
            _put(batch, OutcomeRow(event.node.seq, JOINING, None, event.payload, promises, None, None, *ran))
        case e.AttemptFailed():
            batch.attempts.append(_attempt_row(event.node, event.attempt, losses=0))
            if event.retry_at is not None:
                _put(batch, OutcomeRow(event.node.seq, BACKOFF, event.retry_at, None, None, None))
        case e.LeaseLost():
            batch.attempts.append(_attempt_row(event.node, event.attempt, losses=event.losses))
            _put(batch, OutcomeRow(event.node.seq, WAITING, None, None, None, None))
        case e.NodeFailed():
            _put(batch, OutcomeRow(event.node.seq, FAILED, event.at, None, None, event.node.seq))
        case e.DependencyFailed():
            _put(batch, OutcomeRow(event.node.seq, DEPENDENCY_FAILED, event.at, None, None, event.cause.seq))
        case e.NodesCancelled():
            for node in event.nodes:
                run = event.runs.get(node.seq)
                ran = _ran(run, event.at, workers) if run is not None else ()
                _put(batch, OutcomeRow(node.seq, CANCELLED, event.at, None, None, node.seq, None, *ran))
        case e.ValueCompared():
            batch.changes[event.node.seq] = event.change
        case e.NodesReset():
            batch.reopened[event.instance.seq] = event.void_token
            batch.requests[event.instance.seq] = event.request
            for reset in event.resets:
                _reset(batch, reset, event.at, workers)
        case e.NodesRemoved():
            batch.removed.update([node.seq for node in event.nodes])
        case e.NodesStarted():
            for node in event.nodes:
                _put(batch, OutcomeRow(node.seq, STARTED, None, None, None, None))
        case e.NodesHandedBack():
            for node in event.nodes:
                _put(batch, OutcomeRow(node.seq, WAITING, event.at, None, None, None))
        case e.InstanceCreated():
            _put_instance(batch, event.instance, RUNNING, None)
            batch.tags += [TagRow(name, value, event.instance.seq) for name, value in event.instance.tags]
            batch.hooks += [(event.instance.seq, hook) for hook in event.instance.hooks]
            if event.control != Control():
                batch.controls[event.instance.seq] = ControlRow(*event.control, event.instance.seq)
        case e.InstanceReopened():
            _put_instance(batch, event.instance, RUNNING, None)
        case e.InstanceFinished():
            _put_instance(batch, event.instance, str(event.state.value), event.at, event.counts, event.ends or None)
            batch.instances[event.instance.seq] = batch.instances[event.instance.seq]._replace(
                ended_on=event.lived_s, kept_until=event.kept_until, held_bytes=event.held_bytes
            )
        case e.InstancesPruned():
            batch.pruned += [_tombstone_row(ended, event) for ended in event.instances]
        case e.LifeNoted():
            batch.lived = Lived(event.at, event.lived_s)
        case e.InstanceControlled():
            batch.controls[event.instance.seq] = ControlRow(*event.control, event.instance.seq)
        case e.LimitChanged():
            spec = event.word.spec
            batch.limits[event.key] = LimitRow(event.key, event.word.said_by, spec.max, spec.rate_per_s, spec.burst)
        case e.QueueControlled():
            is_plain = event.control == QueueControl()
            batch.queues[event.queue] = None if is_plain else QueueRow(event.queue, *event.control)
        case e.ActionTaken():
            at, verb, by, details, subject = event.action
            instance = event.instance.seq if event.instance is not None else None
            batch.actions.append(ActionRow(subject, instance, at, verb, by, json.dumps(details)))
        case e.WorkerJoined():
            batch.workers[event.worker_id] = WorkerRow(event.worker_id, event.name, event.at)
        case e.WorkerLeft():
            batch.workers[event.worker_id] = None
        case _:
            assert_never(event)


def _ran(run: Run, at: float | None, workers: Mapping[str, int]) -> tuple[int, float, float, float | None]:
    """Return the last columns of an outcome: the attempt that came to it, of a node that ended at this time."""
    name, granted_at, ended_at, duration_s = run
    return workers[name], granted_at, duration_s, None if ended_at == at else ended_at


def _put(batch: Batch, row: OutcomeRow) -> None:
    earlier = batch.outcomes.get(row.node)
    batch.outcomes[row.node] = _merge(earlier, row) if earlier else row


def _reset(batch: Batch, reset: e.Reset, at: float, workers: Mapping[str, int]) -> None:
    node = reset.node
    state, since = (JOINING, None) if reset.joins else (WAITING, at)
    row = OutcomeRow(node.seq, state, since, None, None, None)
    earlier = batch.outcomes.get(node.seq)
    batch.outcomes[node.seq] = _merge(earlier, row)._replace(cause=None) if earlier and reset.joins else row
    if not reset.joins:
        if earlier is not None and earlier.worker is not None:
            batch.attempts.append(_undone_row(node, reset.tries, earlier, workers))
        batch.unvalued.setdefault(node.seq, reset.tries)  # the value of before the batch is that of the first reset
    if reset.previous is not None:
        batch.previous[node.seq] = reset.previous
    batch.changes.pop(node.seq, None)
    batch.uncaused.append(node.seq)
    batch.functions[node.seq] = reset.function
    if reset.arguments is not None:
        batch.arguments[node.seq] = reset.arguments
    batch.attempts.append(
        AttemptRow(node.instance.seq, node.seq, reset.tries, RESET, "", 0.0, "", "", "", b"", False, 0, 0.0, 0.0)
    )


def _undone_row(node: Node, number: int, value: OutcomeRow, workers: Mapping[str, int]) -> AttemptRow:
    """Return the attempt that gave a value in the same batch in which its node begins anew."""
    worker = next(name for name, known in workers.items() if known == value.worker)
    ended_at = value.at if value.joined_at is None else value.joined_at
    took = value.granted_at or 0.0, value.duration_s or 0.0
    return AttemptRow(
        node.instance.seq, node.seq, number, UNDONE, worker, ended_at or 0.0, "", "", "", b"", False, 0, *took
    )


def _merge(earlier: OutcomeRow, row: OutcomeRow) -> OutcomeRow:
    return row._replace(
        payload=earlier.payload if row.payload is None else row.payload,
        promises=row.promises or earlier.promises,
        cause=row.cause or earlier.cause,
        worker=earlier.worker if row.worker is None else row.worker,
        granted_at=earlier.granted_at if row.worker is None else row.granted_at,
        duration_s=earlier.duration_s if row.worker is None else row.duration_s,
        joined_at=earlier.joined_at if row.worker is None else row.joined_at,
    )


def _put_instance(
    batch: Batch,
    instance: Instance,
    state: str,
    finished_at: float | None,
    counts: Mapping[NodeState, int] | None = None,
    ends: int | None = None,
) -> None:
    if ends is None and instance.seq in batch.instances:
        ends = batch.instances[instance.seq].ends
    start = instance.start
    batch.instances[instance.seq] = InstanceRow(
        instance.seq,
        instance.id,
        instance.definition,
        state,
        instance.created_at,
        finished_at,
        instance.group,
        instance.deadline_at or None,
        None if counts is None else json.dumps({str(state.value): count for state, count in counts.items()}),
        None if start is None else start.key,
        None if start is None else _show_body(start),
        json.dumps(instance.tags) if instance.tags else None,
        ends,
        instance.started_by or None,
        None if instance.keep is None else json.dumps(instance.keep),
    )


def _tombstone_row(ended: EndedInstance, event: e.InstancesPruned) -> TombstoneRow:
    return TombstoneRow(
        ended.seq,
        ended.id,
        ended.definition,
        str(ended.state.value),
        ended.finished_at,
        event.at,
        event.lived_s,
        str(event.reason.value),
        event.by,
        ended.key or None,
    )


def _show_body(start: Start) -> str:
    """Return what was started under a key, as `read_start` takes it."""
    definition, function, *digests = start.body
    return json.dumps([start.node_id.hex(), definition, function, *(digest.hex() for digest in digests)])


def read_start(key: str, body: str) -> Start:
    """Return what was started under a key."""
    node_id, definition, function, *digests = json.loads(body)
    definition_digest, arguments_digest = map(bytes.fromhex, digests)
    return Start(key, NodeId(bytes.fromhex(node_id)), Body(definition, function, definition_digest, arguments_digest))


def _attempt_row(node: Node, attempt: FailedAttempt, *, losses: int) -> AttemptRow:
    failure = attempt.failure
    return AttemptRow(
        node.instance.seq,
        node.seq,
        attempt.number,
        losses,
        attempt.worker,
        attempt.ended_at,
        failure.type,
        failure.message,
        failure.traceback,
        failure.exception,
        failure.permanent,
        attempt.token,
        attempt.granted_at,
        attempt.duration_s,
    )
