"""The storage that is gone with its process: for tests, for trying things out, and for work that is not worth a disk.

It keeps what a table would keep, in columns: about 70 bytes for a node, beside its id, arguments and payload, which are
the core's own objects. Columns that are mostly empty have entries only where there is something to tell.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from copy import copy
from heapq import nlargest
from itertools import islice
from struct import Struct, pack
from typing import Any, TypeVar, assert_never

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.references import ABOVE_MARK, refers
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, Selected
from dagorama_broker.core.model.states import COMPLETED, TERMINAL, WAITING, Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import (
    ATTEMPTS_TOLD_MAX,
    INSTANCE_IDS_MAX,
    EndedInstance,
    InstanceSummary,
    Lived,
    NodeCounts,
    ShapePart,
    Snapshot,
    StoredAction,
    StoredEnd,
    StoredInstance,
    StoredNode,
    StoredTimes,
    Tombstone,
    Usage,
    ValueUse,
)
from dagorama_broker.core.model.values import (
    REVIVALS,
    Control,
    FailedAttempt,
    FunctionSpec,
    InstanceId,
    KnownStart,
    LimitWord,
    NodeId,
    Note,
    Pause,
    QueueControl,
    Request,
    Run,
    UndoneAttempt,
    WorkerId,
    pauses_in,
)
from dagorama_broker.storage.tombs import Ends, Tombs
from dagorama_broker.storage.uses import EXCEPTION, RESULT, UsesInMemory, uses_in, uses_of_hooks, uses_of_nodes

T = TypeVar("T")

#: So many runs of nodes of instances that were pruned are kept in any case.
_RUNS_MIN = 10_000

#: A state is kept as its place in here: waiting is 0.
_STATES = tuple(NodeState)
_PLACES = {state: place for place, state in enumerate(_STATES)}
_COMPLETED = _PLACES[COMPLETED]

#: The times of each row stand side by side, so that those of one row are written at once.
_TIMES = 4
_TIMES_BYTES = 8 * _TIMES
_write_times = Struct(f"{_TIMES}d").pack_into


class MemoryJournal:
    """A journal without a disk. Opening it again, after `close` or without, is what a restart is to the others."""

    blocking = False
    location = "memory (nothing is kept when the broker stops)"
    sync_s = 0.0
    owner_id = bytes(16)  # with the process everything goes that refers to values

    def __init__(self) -> None:
        self._epoch = 0
        self._records: list[_Record] = []  #: by the instance's number
        self._by_id: dict[InstanceId, _Record] = {}
        self._by_key: dict[str, _Record] = {}
        self._running: dict[int, _Record] = {}
        self._workers: dict[WorkerId, str] = {}
        self._queues: dict[str, QueueControl] = {}
        self._limits: dict[str, LimitWord] = {}
        self._actions: list[StoredAction] = []  #: in their order
        self._action_last = 0
        self._actions_on: dict[InstanceId, list[StoredAction]] = {}
        self._removed_last = 0  #: highest number of a node that was removed
        self._instance_last = 0  #: highest number of an instance
        self._lived: Lived | None = None
        self._ends = Ends(self._is_so)
        self._tombs = Tombs()
        self._swept: dict[int, _Record] = {}  #: instances that were pruned, and still have rows
        self._uses = UsesInMemory()
        # Which instance a node is of: the first number of each run of nodes of one instance, and that instance.
        self._run_starts = array("q")
        self._run_instances = array("q")

    def open(self) -> Snapshot:
        """Count the epoch and return all that is live. Never fails."""
        self._epoch += 1
        instances = [self._running[seq].stored() for seq in sorted(self._running)]
        return Snapshot(
            epoch=self._epoch,
            instance_seq_last=self._instance_last,
            instance_ids_last=tuple(nlargest(INSTANCE_IDS_MAX, [*self._by_id, *self._tombs.by_id])),
            node_seq_last=max([self._removed_last, *(record.seqs[-1] for record in self._records if record.seqs)]),
            instances=instances,
            lived=self._lived,
            workers=dict(self._workers),
            queues=dict(self._queues),
            limits=self._take_limits(instances),
        )

    def _take_limits(self, instances: Sequence[StoredInstance]) -> dict[str, LimitWord]:
        """Return the specs given to the limits that nodes of these instances are subject to; forget the rest."""
        keys = {key for instance in instances for node in instance.nodes for key in node.limit_keys}
        self._limits = {key: word for key, word in self._limits.items() if key in keys}
        return dict(self._limits)

    def commit(self, events: Sequence[e.DurableEvent]) -> None:
        """Take a batch over, event by event."""
        for event in events:
            match event:  # the most frequent come first
                case e.NodeCompleted():  # without a call for each of thousands in a second, where it can do without
                    node, payload = event.node, event.payload
                    self._running[node.instance.seq].complete(event)
                    if payload is not None and payload < ABOVE_MARK and refers(payload):
                        self._use_result(node, payload)
                case e.NodesCreated():
                    self._add_nodes(event)
                case e.NodesNoted():
                    for node, note in event.notes:
                        self._record(node.instance).note(node, note)
                case e.NodeJoining():
                    self._record(event.node.instance).join(event)
                    if event.payload is not None and refers(event.payload):
                        self._use_result(event.node, event.payload)
                case e.AttemptFailed():
                    self._record(event.node.instance).fail_attempt(event)
                    exception = event.attempt.failure.exception
                    self._uses.add(uses_in(event.node.instance.seq, event.node.seq, EXCEPTION, exception))
                case e.LeaseLost():
                    self._record(event.node.instance).lose(event)
                case e.NodeFailed():
                    self._record(event.node.instance).end(event.node, NodeState.FAILED, event.node, event.at)
                case e.NodesCancelled():
                    for node in event.nodes:
                        self._record(node.instance).cancel(node, event.at, event.runs.get(node.seq))
                case e.DependencyFailed():
                    self._record(event.node.instance).end(
                        event.node, NodeState.DEPENDENCY_FAILED, event.cause, event.at
                    )
                case e.ValueCompared():
                    self._record(event.node.instance).compare(event)
                case e.NodesReset():
                    record = self._record(event.instance)
                    record.deadline_at = 0.0
                    record.request = event.request
                    record.void_token = event.void_token
                    for reset in event.resets:
                        record.reset(reset, event.at)
                        if not reset.joins:
                            self._uses.drop(record.seq, reset.node.seq, RESULT)
                case e.NodesRemoved():
                    seqs = {node.seq for node in event.nodes}
                    self._removed_last = max(self._removed_last, *seqs)
                    self._record(event.instance).remove(seqs)
                    for seq in seqs:
                        self._uses.drop(event.instance.seq, seq)
                case e.NodesStarted():
                    for node in event.nodes:
                        self._record(node.instance).stand(node, NodeState.STARTED, 0.0)
                case e.NodesHandedBack():
                    for node in event.nodes:
                        self._record(node.instance).stand(node, WAITING, event.at)
                case e.InstanceCreated():
                    record = _Record(event.instance, event.control)
                    self._records.append(record)
                    self._instance_last = record.seq
                    self._by_id[record.id] = self._running[record.seq] = record
                    if record.start is not None:
                        self._by_key[record.start.key] = record
                    self._uses.add(uses_of_hooks(record.seq, record.hooks))
                case e.InstanceReopened():
                    record = self._by_id[event.instance.id]
                    record.state, record.finished_at = InstanceState.RUNNING, 0.0
                    record.held_bytes = 0
                    self._running[record.seq] = record
                case e.InstanceFinished():
                    record = self._running.pop(event.instance.seq)
                    record.state, record.finished_at = event.state, event.at
                    record.ends = event.ends
                    record.ended_on, record.kept_until = event.lived_s, event.kept_until
                    record.held_bytes = event.held_bytes
                    self._ends.add(record.ended())
                case e.InstancesPruned():
                    self._prune(event)
                case e.LifeNoted():
                    self._lived = Lived(event.at, event.lived_s)
                case e.InstanceControlled():
                    self._record(event.instance).control = event.control
                case e.QueueControlled():
                    self._queues.pop(event.queue, None)
                    if event.control != QueueControl():
                        self._queues[event.queue] = event.control
                case e.ActionTaken():
                    self._keep_action(event)
                case e.LimitChanged():
                    self._limits[event.key] = event.word
                case e.WorkerJoined():
                    self._workers[event.worker_id] = event.name
                case e.WorkerLeft():
                    self._workers.pop(event.worker_id, None)
                case _:
                    assert_never(event)

    def find_instance(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance with its nodes."""
        record = self._by_id.get(instance_id)
        return record.stored() if record else None

    def find_start(self, key: str) -> KnownStart | None:
        """Return what was started under a key."""
        record = self._by_key.get(key)
        return KnownStart(record.id, record.start) if record and record.start else None

    def summarize_instance(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Return an instance without its nodes."""
        record = self._by_id.get(instance_id)
        return record.summary() if record else None

    def list_instances(self, *, before_seq: int | None, limit: int) -> list[InstanceSummary]:
        """Return instances, newest first."""
        end = len(self._records) if before_seq is None else self._place(before_seq)
        return [record.summary(counts_all=False) for record in reversed(self._records[max(0, end - limit) : end])]

    def find_head(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance with no nodes."""
        record = self._by_id.get(instance_id)
        return record.stored(with_nodes=False) if record else None

    def list_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, values: bool = False, arguments_max: int = 0
    ) -> list[StoredNode]:
        """Return nodes in creation order; the nodes that they refer to are in memory anyway."""
        record = self._by_id.get(instance_id)
        if record is None:
            return []
        start = bisect_right(record.seqs, after_seq)
        return [record.node(row) for row in range(start, min(start + limit, len(record.seqs)))]

    def select_instances(
        self, selection: InstanceSelection, *, before_seq: int | None, limit: int, looked_at_max: int
    ) -> Selected[InstanceSummary]:
        """Return some of these instances, newest first."""
        end = len(self._records) if before_seq is None else self._place(before_seq)
        start = max(0, end - looked_at_max)
        found: list[InstanceSummary] = []
        for place in reversed(range(start, end)):
            summary = self._records[place].summary(counts_all=False)
            if selection.admits(summary):
                found.append(summary)
                if len(found) == limit:
                    start = place
                    break
        return Selected(found, self._records[start].seq if start else None)

    def select_nodes(
        self,
        instance_id: InstanceId,
        selection: NodeSelection,
        *,
        after_seq: int,
        limit: int,
        looked_at_max: int,
        arguments_max: int = 0,
    ) -> Selected[StoredNode]:
        """Return some of these nodes in creation order."""
        record = self._by_id.get(instance_id)
        if record is None:
            return Selected([], None)
        start = bisect_right(record.seqs, after_seq)
        end = min(start + looked_at_max, len(record.seqs))
        states, label = selection.stored_states, selection.label
        found: list[StoredNode] = []
        for row in range(start, end):
            node = record.node(row)
            if label and (node.note is None or node.note.label != label):
                continue
            if (not states or node.state in states) and selection.admits_function(node.function.name):
                found.append(node)
                if len(found) == limit:
                    end = row + 1
                    break
        return Selected(found, record.seqs[end - 1] if end < len(record.seqs) else None)

    def count_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> NodeCounts:
        """Count nodes by function and state."""
        record = self._by_id.get(instance_id)
        return record.count(after_seq, limit, frozenset(without)) if record else NodeCounts({}, 0)

    def fold_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> ShapePart:
        """Count nodes and edges by group."""
        record = self._by_id.get(instance_id)
        if record is None:
            return ShapePart({}, {}, 0)
        counts: dict[tuple[str, str], dict[NodeState, int]] = {}
        edges: dict[tuple[tuple[str, str], tuple[str, str], bool], int] = {}
        rows, left_out = record.rows_after(after_seq, limit), frozenset(without)
        for row in rows:
            if record.seqs[row] in left_out:
                continue
            group = record.fold(record.seqs[row])
            of_group = counts.setdefault(group, {})
            state = record.state_of(row)
            of_group[state] = of_group.get(state, 0) + 1
            for source, is_call in record.sources_of(row):
                edge = record.fold(source), group, is_call
                edges[edge] = edges.get(edge, 0) + 1
        return ShapePart(counts, edges, record.seqs[rows[-1]] if rows else 0)

    def list_times(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredTimes]:
        """Return the times of nodes, in creation order."""
        record = self._by_id.get(instance_id)
        return [record.times(row) for row in record.rows_after(after_seq, limit)] if record else []

    def find_by_id(
        self, instance_id: InstanceId, node_ids: Sequence[NodeId], *, values: bool = False
    ) -> dict[NodeId, StoredNode]:
        """Return nodes by id."""
        record = self._by_id.get(instance_id)
        if record is None:
            return {}
        rows = record.rows_by_id()
        return {node_id: record.node(rows[node_id]) for node_id in node_ids if node_id in rows}

    def find_nodes(self, seqs: Sequence[int], *, values: bool = False) -> dict[int, StoredNode]:
        """Return these nodes by number."""
        return {seq: record.node(row) for seq, record, row in self._rows(seqs)}

    def find_ends(self, seqs: Sequence[int]) -> dict[int, StoredEnd]:
        """Return how these nodes have ended."""
        return {seq: record.end_of(row) for seq, record, row in self._rows(seqs)}

    def _rows(self, seqs: Sequence[int]) -> Iterator[tuple[int, "_Record", int]]:
        """Yield where each of these nodes is."""
        for seq in seqs:
            run = bisect_right(self._run_starts, seq) - 1
            if run < 0:
                continue
            place = self._place(self._run_instances[run])
            if place == len(self._records) or self._records[place].seq != self._run_instances[run]:
                continue  # it was pruned
            record = self._records[place]
            row = record.row(seq)
            if row < len(record.seqs) and record.seqs[row] == seq:
                yield seq, record, row

    def find_values(self, seqs: Sequence[int]) -> dict[int, StoredNode]:
        """Return these nodes and what their values are made of."""
        found: dict[int, StoredNode] = {}
        missing = set(seqs)
        while missing:
            new = self.find_nodes(sorted(missing))
            found |= new
            missing = {
                seq
                for node in new.values()
                for seq in ((node.source_seq,) if node.payload is None and node.source_seq else node.promise_seqs)
            } - found.keys()
        return found

    def list_actions(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredAction]:
        """Return actions on an instance in their order."""
        found = self._actions_on.get(instance_id, [])
        start = bisect_right(found, after_seq, key=lambda stored: stored.seq)
        return found[start : start + limit]

    def list_all_actions(self, subject: str, *, before_seq: int | None, limit: int) -> list[StoredAction]:
        """Return actions, newest first."""
        end = len(self._actions) if before_seq is None else bisect_left(self._actions, (before_seq,))
        newest = (stored for stored in reversed(self._actions[:end]) if subject in ("", stored.action.subject))
        return list(islice(newest, limit))

    def _keep_action(self, event: e.ActionTaken) -> None:
        instance_id = event.instance.id if event.instance is not None else None
        self._action_last += 1
        stored = StoredAction(self._action_last, event.action, instance_id)
        self._actions.append(stored)
        if instance_id is not None:
            on_it = self._actions_on.setdefault(instance_id, [])
            on_it.append(stored)
            if event.action.verb in REVIVALS:
                self._by_id[instance_id].pauses = pauses_in((one.action.verb, one.action.at) for one in on_it)

    def find_used(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads refer to."""
        return self._uses.find(digests)

    def find_due(self, cutoffs: Mapping[InstanceState, float], *, lived_s: float, limit: int) -> list[EndedInstance]:
        """Return instances that are due."""
        return list(islice(self._ends.due(cutoffs, lived_s), limit))

    def find_oldest(self, limit: int) -> list[EndedInstance]:
        """Return the instances that ended first."""
        return self._ends.oldest(limit)

    def _is_so(self, ended: EndedInstance) -> bool:
        record = self._by_id.get(ended.id)
        return record is not None and record.state is ended.state and record.ended_on == ended.ended_on

    def find_ended(self, instance_ids: Sequence[InstanceId]) -> list[EndedInstance]:
        """Return those of some instances that have ended."""
        records = [self._by_id[each] for each in instance_ids if each in self._by_id]
        return [record.ended() for record in records if record.state is not InstanceState.RUNNING]

    def find_tombstone(self, instance_id: InstanceId) -> Tombstone | None:
        """Return the tombstone of an instance."""
        return self._tombs.by_id.get(instance_id)

    def find_tombstone_of_key(self, key: str) -> Tombstone | None:
        """Return the last tombstone of an instance that was started under a key."""
        return self._tombs.by_key.get(key)

    def list_sweeps(self, limit: int) -> list[tuple[int, InstanceId]]:
        """Return pruned instances of which something is left."""
        return [(record.seq, record.id) for record in islice(self._swept.values(), limit)]

    def sweep(self, instance_seqs: Sequence[int], *, rows_max: int) -> bool:
        """Let go of the rows of pruned instances, as many at a time as are wanted."""
        for seq in instance_seqs:
            record = self._swept.get(seq)
            if record is None:
                continue
            gone = record.shrink(rows_max)
            for node in gone:
                self._uses.drop(seq, node)
            rows_max -= len(gone)
            if rows_max <= 0:
                return False
            self._uses.drop(seq, 0)
            del self._swept[seq]
        return True

    def forget_tombstones(self, *, pruned_until: float, limit: int) -> int:
        """Remove old tombstones."""
        return self._tombs.forget(pruned_until, limit)

    def tidy(self, *, rows_max: int) -> bool:
        """Do nothing: Python frees a function with the last node that calls it."""
        return True

    def measure(self) -> Usage:
        """Return that no room is taken on any disk."""
        return Usage(0, 0)

    def measure_values(self, *, after: bytes, limit: int) -> tuple[int, bytes]:
        """Return that no room is taken on any disk."""
        return 0, b""

    def measure_freed(self, instance_seqs: Sequence[int]) -> int:
        """Return that no room becomes free on any disk."""
        return 0

    def give_back(self, bytes_max: int) -> int:
        """Do nothing."""
        return 0

    def _prune(self, event: e.InstancesPruned) -> None:
        """Take instances away; their rows go when they are swept."""
        seqs = {ended.seq for ended in event.instances}
        numbers: set[int] = set()
        for ended in event.instances:
            record = self._by_id.pop(ended.id)
            self._swept[record.seq] = record
            if ended.key and self._by_key.get(ended.key) is record:
                del self._by_key[ended.key]
            if record.seqs:
                self._removed_last = max(self._removed_last, record.seqs[-1])
            numbers.update([stored.seq for stored in self._actions_on.pop(ended.id, [])])
            self._tombs.add(ended, event)
        if numbers:
            self._actions = [stored for stored in self._actions if stored.seq not in numbers]
        self._uses.hide(seqs)
        self._records = [record for record in self._records if record.seq not in seqs]
        if len(self._run_starts) > 2 * len(self._records) + _RUNS_MIN:
            self._forget_runs()

    def _forget_runs(self) -> None:
        """Leave out the runs of nodes of instances that are no more."""
        known = {record.seq for record in self._records}
        kept = [run for run, seq in enumerate(self._run_instances) if seq in known]
        self._run_starts = array("q", [self._run_starts[run] for run in kept])
        self._run_instances = array("q", [self._run_instances[run] for run in kept])

    def list_uses(self, *, after: ValueUse | None, limit: int) -> list[ValueUse]:
        """Return uses of values in order."""
        return self._uses.list(after, limit)

    def find_held(self, instance_seq: int, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads of an instance refer to."""
        return self._uses.held(instance_seq, digests)

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""

    def _place(self, instance_seq: int) -> int:
        return bisect_left(self._records, instance_seq, key=lambda record: record.seq)

    def _record(self, instance: Instance) -> "_Record":
        return self._running[instance.seq]

    def _add_nodes(self, event: e.NodesCreated) -> None:
        nodes = event.nodes
        instance = nodes[0].instance
        if not self._run_instances or self._run_instances[-1] != instance.seq:
            self._run_starts.append(nodes[0].seq)
            self._run_instances.append(instance.seq)
        self._record(instance).add(nodes, event.labels, event.inputs)
        self._uses.add(uses_of_nodes(nodes, {node.function for node in nodes}))

    def _use_result(self, node: Node, payload: bytes) -> None:
        self._uses.add(uses_in(node.instance.seq, node.seq, RESULT, payload))


class _Record:
    """An instance and its nodes, a row for each, in columns."""

    __slots__ = (
        "_arguments",
        "_attempts",
        "_causes",
        "_changes",
        "_created_at",
        "_dependencies",
        "_dependencies_end",
        "_failures",
        "_functions",
        "_inputs",
        "_labels",
        "_limit_keys",
        "_losses",
        "_parents",
        "_payloads",
        "_previous",
        "_promises",
        "_rows_by_id",
        "_sources",
        "_states",
        "_times",
        "_tries",
        "_undone",
        "_workers",
        "control",
        "created_at",
        "deadline_at",
        "definition",
        "ended_on",
        "ends",
        "finished_at",
        "group",
        "held_bytes",
        "hooks",
        "id",
        "ids",
        "keep",
        "kept_until",
        "pauses",
        "request",
        "seq",
        "seqs",
        "start",
        "started_by",
        "state",
        "tags",
        "void_token",
    )

    def __init__(self, instance: Instance, control: Control) -> None:
        self.seq = instance.seq
        self.id = instance.id
        self.definition = instance.definition
        self.created_at = instance.created_at
        self.deadline_at = instance.deadline_at
        self.group = instance.group
        self.start = instance.start
        self.tags = instance.tags
        self.hooks = instance.hooks
        self.started_by = instance.started_by
        self.keep = instance.keep
        self.ended_on = 0.0
        self.kept_until: float | None = None
        self.held_bytes = 0
        self.ends = 0
        self.control = control
        self.request: Request | None = None
        self.void_token = 0
        self.state = InstanceState.RUNNING
        self.finished_at = 0.0
        self.pauses: tuple[Pause, ...] = ()
        self.seqs = array("q")
        self.ids: list[NodeId] = []
        self._functions: list[FunctionSpec] = []
        self._parents = array("q")
        self._created_at = array("d")
        self._arguments: list[bytes] = []
        self._dependencies = array("q")  #: of all rows, one after the other
        self._dependencies_end = array("q")
        self._states = bytearray()
        #: Four of each row: the one of its state, see `OutcomeRow`; when it was granted and ended, and what it took.
        self._times = array("d")
        self._payloads: list[bytes | None] = []
        self._workers: list[str | None] = []  #: who ran it last; None for nobody
        self._labels: dict[int, str] = {}
        self._inputs: dict[int, str] = {}
        self._promises: dict[int, tuple[int, ...]] = {}
        self._sources: dict[int, int] = {}
        self._causes: dict[int, int] = {}
        self._rows_by_id: dict[NodeId, int] = {}  #: of the first so many rows; filled as it is needed
        self._limit_keys: dict[int, tuple[str, ...]] = {}
        self._attempts: dict[int, int] = {}
        self._losses: dict[int, int] = {}
        self._tries: dict[int, int] = {}
        self._undone: dict[int, list[UndoneAttempt]] = {}
        self._previous: dict[int, bytes] = {}
        self._changes: dict[int, Change] = {}
        self._failures: dict[int, list[FailedAttempt]] = {}

    def row(self, seq: int) -> int:
        """Return the row of a node; where there is none, the row that it would have."""
        seqs = self.seqs
        if not seqs:
            return 0
        most = max(0, seq - seqs[0])  # it is that one where no other instance was given nodes meanwhile
        if most < len(seqs) and seqs[most] == seq:
            return most
        return bisect_left(seqs, seq, 0, min(most, len(seqs)))

    def rows_by_id(self) -> dict[NodeId, int]:
        """Return the row of each node. Kept once they have been asked for."""
        rows = self._rows_by_id
        for row in range(len(rows), len(self.ids)):
            rows[self.ids[row]] = row
        return rows

    def add(self, nodes: Sequence[Node], labels: Sequence[str], inputs: Sequence[str]) -> None:
        """Take new nodes in, all waiting."""
        start = len(self.seqs)
        self._labels.update({row: label for row, label in enumerate(labels, start) if label})
        self._inputs.update({row: shown for row, shown in enumerate(inputs, start) if shown})
        self.seqs.frombytes(_packed("q", [node.seq for node in nodes]))
        self.ids += [node.id for node in nodes]
        self._functions += [node.function.spec for node in nodes]
        self._parents.frombytes(_packed("q", [node.parent_seq for node in nodes]))
        self._created_at.frombytes(_packed("d", [node.created_at for node in nodes]))
        self._arguments += [node.arguments for node in nodes]
        ends = []
        for node in nodes:
            if node.dependencies:
                self._dependencies.extend([dependency.seq for dependency in node.dependencies])
            ends.append(len(self._dependencies))
            if node.limits:
                self._limit_keys[self.row(node.seq)] = tuple(limit.key for limit in node.limits)
        self._dependencies_end.frombytes(_packed("q", ends))
        count = len(nodes)
        self._states += bytes(count)
        self._times.frombytes(bytes(_TIMES_BYTES * count))
        self._payloads += [None] * count
        self._workers += [None] * count

    def complete(self, event: e.NodeCompleted) -> None:
        """Store the value of a node, unless it has stored it when it joined."""
        row = self.row(event.node.seq)  # the rest as `_move` and `_set_run` do, without calls
        self._states[row] = _COMPLETED
        if event.payload is not None:
            self._payloads[row] = event.payload
        if event.run is not None:
            self._workers[row], granted_at, ended_at, duration_s = event.run
            _write_times(self._times, _TIMES_BYTES * row, event.at, granted_at, ended_at, duration_s)
        else:
            self._times[_TIMES * row] = event.at
        if event.source_seq:
            self._sources[row] = event.source_seq

    def join(self, event: e.NodeJoining) -> None:
        """Note the nodes that a node waits for after its function has returned."""
        row = self._move(event.node, NodeState.JOINING, 0.0)
        self._payloads[row] = event.payload
        self._set_run(row, event.run)
        self._promises[row] = tuple(promise.seq for promise in event.promises)

    def fail_attempt(self, event: e.AttemptFailed) -> None:
        """Note a failed attempt and when the next may be."""
        row = self.row(event.node.seq)
        if event.retry_at is not None:
            self._move(event.node, NodeState.BACKOFF, event.retry_at)
        is_new = event.attempt.number > self._tries.get(row, 0)
        self._tries[row] = event.attempt.number
        if event.attempt.worker or is_new:  # else none ran: its time was over before
            self._attempts[row] = self._attempts.get(row, 0) + 1
        self._failures.setdefault(row, []).append(event.attempt)

    def lose(self, event: e.LeaseLost) -> None:
        """Note that a worker was lost with a node."""
        row = self._move(event.node, WAITING, 0.0)
        self._losses[row] = event.losses
        self._tries[row] = event.attempt.number
        self._failures.setdefault(row, []).append(event.attempt)

    def stand(self, node: Node, state: NodeState, at: float) -> None:
        """Note the state of a node that has not ended."""
        self._move(node, state, at)

    def reset(self, reset: e.Reset, at: float) -> None:
        """Let a node that has ended begin anew."""
        state, since = (NodeState.JOINING, 0.0) if reset.joins else (WAITING, at)
        row = self.row(reset.node.seq)
        run = self._run(row)
        row = self._move(reset.node, state, since)
        self._functions[row] = reset.function.spec
        for column in (self._causes, self._attempts, self._losses, self._changes):
            column.pop(row, None)
        self._tries[row] = max(self._tries.get(row, 0), reset.tries)
        if not reset.joins:
            if run is not None:
                worker, granted_at, ended_at, duration_s = run
                attempt = UndoneAttempt(reset.tries, worker, ended_at, granted_at, duration_s)
                self._undone.setdefault(row, []).append(attempt)
            self._payloads[row] = None
            self._workers[row] = None
            self._promises.pop(row, None)
        self._sources.pop(row, None)
        if reset.arguments is not None:
            self._arguments[row] = reset.arguments
        if reset.previous is not None:
            self._previous[row] = reset.previous

    def compare(self, event: e.ValueCompared) -> None:
        """Note how a node's value compares to the one before."""
        self._changes[self.row(event.node.seq)] = event.change

    def remove(self, seqs: set[int]) -> None:
        """Forget nodes: the rows of the others are written anew."""
        old = copy(self)
        rows = [row for row, seq in enumerate(self.seqs) if seq not in seqs]
        self.seqs = array("q", [old.seqs[row] for row in rows])
        self.ids = [old.ids[row] for row in rows]
        self._functions = [old._functions[row] for row in rows]
        self._limit_keys = _moved(old._limit_keys, rows)
        self._parents = array("q", [old._parents[row] for row in rows])
        self._created_at = array("d", [old._created_at[row] for row in rows])
        self._arguments = [old._arguments[row] for row in rows]
        self._dependencies, self._dependencies_end = array("q"), array("q")
        for row in rows:
            start = old._dependencies_end[row - 1] if row else 0
            self._dependencies.extend(old._dependencies[start : old._dependencies_end[row]])
            self._dependencies_end.append(len(self._dependencies))
        self._states = bytearray([old._states[row] for row in rows])
        self._times = array("d")
        for row in rows:
            self._times += old._times[_TIMES * row : _TIMES * (row + 1)]
        self._payloads = [old._payloads[row] for row in rows]
        self._workers = [old._workers[row] for row in rows]
        self._labels = _moved(old._labels, rows)
        self._inputs = _moved(old._inputs, rows)
        self._promises = _moved(old._promises, rows)
        self._sources = _moved(old._sources, rows)
        self._causes = _moved(old._causes, rows)
        self._rows_by_id = {}
        self._attempts = _moved(old._attempts, rows)
        self._losses = _moved(old._losses, rows)
        self._tries = _moved(old._tries, rows)
        self._undone = _moved(old._undone, rows)
        self._failures = _moved(old._failures, rows)
        self._previous = _moved(old._previous, rows)
        self._changes = _moved(old._changes, rows)

    def end(self, node: Node, state: NodeState, cause: Node, at: float) -> None:
        """End a node without a value."""
        self._causes[self._move(node, state, at)] = cause.seq

    def note(self, node: Node, note: Note) -> None:
        """Store what is shown of a node."""
        row = self.row(node.seq)
        if note.label:
            self._labels[row] = note.label
        if note.inputs:
            self._inputs[row] = note.inputs

    def _note(self, row: int) -> Note | None:
        label, inputs = self._labels.get(row, ""), self._inputs.get(row, "")
        return Note(label, inputs) if label or inputs else None

    def cancel(self, node: Node, at: float, run: Run | None) -> None:
        """End a node on request, with the attempt that was under way."""
        self.end(node, NodeState.CANCELLED, node, at)
        self._set_run(self.row(node.seq), run)

    def _set_run(self, row: int, run: Run | None) -> None:
        if run is not None:
            self._workers[row] = run[0]
            self._times[_TIMES * row + 1 : _TIMES * (row + 1)] = array("d", run[1:])

    def _run(self, row: int) -> Run | None:
        name = self._workers[row]
        if name is None:
            return None
        _, granted_at, ended_at, duration_s = self._times[_TIMES * row : _TIMES * (row + 1)]
        return name, granted_at, ended_at, duration_s

    def end_of(self, row: int) -> StoredEnd:
        """Return how one node has ended."""
        state = _STATES[self._states[row]]
        return StoredEnd(self.ids[row], state, self._times[_TIMES * row] if state in TERMINAL else 0.0)

    def node(self, row: int) -> StoredNode:
        """Return one node."""
        state = _STATES[self._states[row]]
        at = self._times[_TIMES * row]
        start = self._dependencies_end[row - 1] if row else 0
        return StoredNode(
            seq=self.seqs[row],
            id=self.ids[row],
            function=self._functions[row],
            parent_seq=self._parents[row],
            arguments=self._arguments[row],
            dependency_seqs=tuple(self._dependencies[start : self._dependencies_end[row]]),
            limit_keys=self._limit_keys.get(row, ()),
            created_at=self._created_at[row],
            state=state,
            finished_at=at if state in TERMINAL else 0.0,
            run=self._run(row),
            note=self._note(row),
            arguments_bytes=len(self._arguments[row]),
            attempts=self._attempts.get(row, 0),
            losses=self._losses.get(row, 0),
            tries=self._tries.get(row, 0),
            retry_at=at if state is NodeState.BACKOFF else 0.0,
            waiting_since=at if state is WAITING else 0.0,
            payload=self._payloads[row],
            payload_bytes=len(self._payloads[row] or b""),
            promise_seqs=self._promises.get(row, ()),
            source_seq=self._sources.get(row, 0),
            cause_seq=self._causes.get(row, 0),
            failures=list(self._failures.get(row, ())),
            undone=list(self._undone.get(row, ())),
            previous=self._previous.get(row),
            change=self._changes.get(row),
        )

    def count(self, after_seq: int, limit: int, without: frozenset[int]) -> NodeCounts:
        """Count some of the nodes by function and state."""
        start = bisect_right(self.seqs, after_seq)
        end = min(start + limit, len(self.seqs))
        counts: dict[str, dict[NodeState, int]] = {}
        for row in range(start, end):
            if self.seqs[row] not in without:
                of_function = counts.setdefault(self._functions[row].name, {})
                state = _STATES[self._states[row]]
                of_function[state] = of_function.get(state, 0) + 1
        return NodeCounts(counts, self.seqs[end - 1] if end > start else 0)

    def rows_after(self, after_seq: int, limit: int) -> range:
        """Return the rows of up to `limit` nodes with higher numbers."""
        start = bisect_right(self.seqs, after_seq)
        return range(start, min(start + limit, len(self.seqs)))

    def state_of(self, row: int) -> NodeState:
        """Return the state of a node."""
        return _STATES[self._states[row]]

    def fold(self, seq: int) -> tuple[str, str]:
        """Return the names of the functions of a node, and of its maker, by the number of the node."""
        row = self.row(seq)
        parent = self._parents[row]
        return self._functions[row].name, self._functions[self.row(parent)].name if parent else ""

    def sources_of(self, row: int) -> list[tuple[int, bool]]:
        """Return the numbers of the nodes that lead to one, with whether by a call."""
        start = self._dependencies_end[row - 1] if row else 0
        sources = [(seq, False) for seq in self._dependencies[start : self._dependencies_end[row]]]
        return [(self._parents[row], True), *sources] if self._parents[row] else sources

    def times(self, row: int) -> StoredTimes:
        """Return the times of a node."""
        node = self.node(row)
        run = node.run
        attempts = [(one.worker, one.granted_at, one.ended_at, one.duration_s) for one in node.failures]
        if node.state is NodeState.FAILED and attempts:
            run = attempts.pop()
        return StoredTimes(
            node.seq,
            node.id,
            node.function.name,
            node.parent_seq,
            node.dependency_seqs,
            node.note.label if node.note is not None else "",
            node.created_at,
            node.state,
            node.finished_at,
            run,
            attempts[-ATTEMPTS_TOLD_MAX:],
        )

    def stored(self, *, with_nodes: bool = True) -> StoredInstance:
        """Return the instance with its nodes."""
        return StoredInstance(
            seq=self.seq,
            id=self.id,
            definition=self.definition,
            state=self.state,
            created_at=self.created_at,
            finished_at=self.finished_at,
            deadline_at=self.deadline_at,
            group=self.group,
            control=self.control,
            request=self.request,
            void_token=self.void_token,
            start=self.start,
            tags=self.tags,
            hooks=self.hooks,
            ends=self.ends,
            started_by=self.started_by,
            keep=self.keep,
            pauses=self.pauses,
            held_bytes=self.held_bytes,
            nodes=[self.node(row) for row in range(len(self.seqs))] if with_nodes else [],
        )

    def ended(self) -> EndedInstance:
        """Return how the instance has ended."""
        key = self.start.key if self.start is not None else ""
        return EndedInstance(
            self.seq, self.id, self.definition, self.state, self.finished_at, self.ended_on, self.kept_until, key
        )

    def shrink(self, rows_max: int) -> list[int]:
        """Let go of the last rows, so many at most, for good; return the numbers of their nodes."""
        start = max(0, len(self.seqs) - rows_max)
        gone = list(self.seqs[start:])
        columns: tuple[MutableSequence[Any], ...] = (
            self.seqs,
            self.ids,
            self._functions,
            self._arguments,
            self._payloads,
            self._workers,
        )
        for column in columns:
            del column[start:]
        if not start:  # the small columns, and those that are mostly empty
            self._promises, self._failures, self._undone, self._inputs = {}, {}, {}, {}
        return gone

    def summary(self, *, counts_all: bool = True) -> InstanceSummary:
        """Return the instance without its nodes."""
        return InstanceSummary(
            seq=self.seq,
            id=self.id,
            definition=self.definition,
            state=self.state,
            created_at=self.created_at,
            finished_at=self.finished_at,
            deadline_at=self.deadline_at,
            counts={
                state: count
                for place, state in enumerate(_STATES)
                if (counts_all or self.state is not InstanceState.RUNNING) and (count := self._states.count(place))
            },
            group=self.group,
            control=self.control,
            key=self.start.key if self.start is not None else "",
            tags=self.tags,
            started_by=self.started_by,
            pauses=self.pauses,
            held_bytes=self.held_bytes,
        )

    def _move(self, node: Node, state: NodeState, at: float) -> int:
        row = self.row(node.seq)
        self._states[row] = _PLACES[state]
        self._times[_TIMES * row] = at
        return row


def _packed(kind: str, column: Sequence[float]) -> bytes:
    """Return what an array of this kind has of a column; an array itself takes five times as long to take it in."""
    return pack(f"{len(column)}{kind}", *column)


def _moved(column: dict[int, T], rows: Sequence[int]) -> dict[int, T]:
    """Return a column with only these rows, one after the other."""
    return {place: column[row] for place, row in enumerate(rows) if row in column}
