"""The embedded storage: one SQLite file, which one broker holds.

The keys of its large tables are numbers that grow, so that inserts append. Ids have an index of their own: clients make
them as UUIDs of version 7, which begin with the time (decision 0006), so it mostly appends as well.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dagorama_broker.copies.stepped import CannotCopy, Copies, Copy, Measure, measure
from dagorama_broker.core.events import DurableEvent
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, Selected
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import (
    INSTANCE_IDS_MAX,
    EndedInstance,
    InstanceSummary,
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
    InstanceId,
    KnownStart,
    LimitSpec,
    LimitWord,
    NodeId,
    Note,
    WorkerId,
)
from dagorama_broker.storage import pruning
from dagorama_broker.storage.faults import GONE, REPLACED, explain
from dagorama_broker.storage.files import fill_up, prepare_file
from dagorama_broker.storage.folding import (
    UNDONE,
    ActionRow,
    AttemptRow,
    Batch,
    CompletedRow,
    InstanceRow,
    LimitRow,
    OutcomeRow,
    QueueRow,
    TagRow,
    fold,
    fold_completions,
    show_seqs,
)
from dagorama_broker.storage.functions import Functions
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.names import WorkerNames
from dagorama_broker.storage.reading import Reader
from dagorama_broker.storage.rows import Parameter, RowWriter
from dagorama_broker.storage.schema import load_migrations, migrate
from dagorama_broker.storage.shaping import ShapeReader
from dagorama_broker.storage.taking import file_id, take_file
from dagorama_broker.storage.uptime import boot_id, wall_offset_s
from dagorama_broker.storage.uses import RESULT, uses_of_attempts, uses_of_hooks, uses_of_nodes, uses_of_outcomes

_PAGE_BYTES = 8192  #: of a new file; measured fastest for small payloads, which fill a few pages in each batch
_CHECKPOINT_PAGES = 2000  #: 16 MiB: takes about 10 ms, and not with each batch
#: The log as long as it gets before a checkpoint, after which it is begun anew: each page has a header in it.
_LOG_BYTES = _CHECKPOINT_PAGES * (_PAGE_BYTES + 24)
#: After so many commits, as there will be more, it gets that long: by so many bytes with each, in half a millisecond.
_FILLED_AFTER = 32
_FILLED_AT_ONCE = 256 << 10

#: Applied before the file is locked, which is the first thing: only then WAL mode needs no shared-memory file.
_PRAGMAS = (
    f"page_size = {_PAGE_BYTES}",
    "auto_vacuum = INCREMENTAL",  # the same: it can be made shorter; an older one is as it is, see `compacting`
)
_PRAGMAS_LOCKED = (
    "journal_mode = WAL",
    "synchronous = FULL",
    f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    "journal_size_limit = 67108864",  # a log that one huge batch has blown up shrinks again
    "cache_size = -16384",  # KiB
    "temp_store = MEMORY",
    "secure_delete = FAST",  # Debian has it on: each page that is freed would be written, all zeros
)

#: A clock that stands differently by more than this was set; by less, it may have been read at another moment.
_CLOCK_SET_S = 1.0

_OF_RUNNING = "instance IN (SELECT seq FROM instances WHERE state = 'running')"
_SHIFT_TIMES = (
    "UPDATE instances SET created_at = created_at + ?1, deadline_at = deadline_at + ?1 WHERE state = 'running'",
    f"UPDATE calls SET created_at = created_at + ? WHERE {_OF_RUNNING}",
    "UPDATE outcomes SET at = at + ?1, granted_at = granted_at + ?1, joined_at = joined_at + ?1"
    f" WHERE node IN (SELECT seq FROM calls WHERE {_OF_RUNNING})",
    f"UPDATE attempts SET ended_at = ended_at + ? WHERE {_OF_RUNNING} AND ended_at > 0",  # the others are marks
    f"UPDATE attempts SET granted_at = granted_at + ? WHERE {_OF_RUNNING} AND granted_at > 0",
    f"UPDATE actions SET at = at + ? WHERE {_OF_RUNNING}",  # they tell when it was over, by the same clock
)

_IDS_LAST = """
SELECT id FROM (SELECT id FROM instances ORDER BY id DESC LIMIT ?1)
UNION ALL SELECT id FROM (SELECT id FROM tombstones ORDER BY id DESC LIMIT ?1) ORDER BY id DESC LIMIT ?1
"""
_INSTANCE_LAST = "SELECT max(instance_last, coalesce((SELECT max(seq) FROM instances), 0)) FROM removed"
_ACTION_LAST = "SELECT max(action_last, coalesce((SELECT max(seq) FROM actions), 0)) FROM removed"
_NODE_LAST = "SELECT max(node_last, coalesce((SELECT max(seq) FROM calls), 0)) FROM removed"
_UNCAUSE = "UPDATE outcomes SET cause = NULL, change = NULL WHERE node IN (SELECT value FROM json_each(?))"
_UNVALUE = (
    "UPDATE outcomes SET payload = NULL, promises = NULL, source = NULL, worker = NULL, granted_at = NULL,"
    " duration_s = NULL, joined_at = NULL WHERE node IN (SELECT value FROM json_each(?))"
)
#: Keeps the attempts that gave values which are about to be no more, given as pairs of node and number.
_UNDO = f"""
INSERT INTO attempts (instance, node, number, losses, worker, ended_at, type, message, traceback, exception, permanent,
                      granted_at, duration_s)
SELECT calls.instance, calls.seq, entry.value ->> 1, {UNDONE}, worker_names.name,
       coalesce(outcomes.joined_at, outcomes.at), '', '', '', x'', 0, outcomes.granted_at, outcomes.duration_s
FROM json_each(?) AS entry
JOIN calls ON calls.seq = entry.value ->> 0
JOIN outcomes ON outcomes.node = calls.seq
JOIN worker_names ON worker_names.number = outcomes.worker
"""
_REMOVED = "IN (SELECT value FROM json_each(?1))"
_UNUSE = f"DELETE FROM value_uses WHERE (instance, node) IN (SELECT instance, seq FROM calls WHERE seq {_REMOVED})"
_REMOVE = (
    "UPDATE removed SET node_last = max(node_last, (SELECT max(value) FROM json_each(?1)))",
    f"DELETE FROM attempts WHERE instance IN (SELECT instance FROM calls WHERE seq {_REMOVED}) AND node {_REMOVED}",
    _UNUSE,
    f"DELETE FROM outcomes WHERE node {_REMOVED}",
    f"DELETE FROM limited WHERE node {_REMOVED}",
    f"DELETE FROM notes WHERE node {_REMOVED}",
    f"DELETE FROM calls WHERE seq {_REMOVED}",
)
_USE = "INSERT OR IGNORE INTO value_uses VALUES (?, ?, ?, ?, ?)"
_USE_RESULT = "INSERT OR IGNORE INTO value_uses VALUES ((SELECT instance FROM calls WHERE seq = ?1), ?1, ?2, ?3, ?4)"
_UNUSE_RESULTS = f"{_UNUSE} AND part = ?2"


class SqliteJournal:
    """A journal in one SQLite file: write-ahead log, synced with each commit, locked for as long as it is open.

    It has one connection, which any thread may use, one at a time. After a failed commit it takes no more calls but
    `close`, so that no later batch can be stored without the one that failed.
    """

    blocking = True

    def __init__(self, path: str | Path) -> None:
        """Name the file; its folder is made if missing, and the file readable by its owner alone. `~` is the home."""
        self._path = Path(os.path.expanduser(path)).absolute()
        self.location = str(self._path)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  #: the one that is open
        self._copies = Copies()
        self._failure: StorageError | None = None
        self.sync_s = 0.0
        self.owner_id = b""
        self._functions = Functions()
        self._names: WorkerNames
        self._action_last = 0  #: the number that was given last
        self._fills = True  #: the log is still to get longer
        self._commits = 0  #: since it was opened, as long as that is so

    def open(self) -> Snapshot:
        """Take the file, see `Journal.open`."""
        prepare_file(self._path)
        try:
            self._connection = take_file(self._path, _PRAGMAS)
            self._file = file_id(self._path)
            self._failure = None
            self._fills, self._commits = True, 0
            return self._take(self._connection)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise explain(self.location, error) from error
        except BaseException:
            self.close()
            raise

    def _take(self, connection: sqlite3.Connection) -> Snapshot:
        execute = connection.execute
        migrations = load_migrations()
        migrate(connection, self.location, migrations)
        for pragma in _PRAGMAS_LOCKED:
            execute(f"PRAGMA {pragma}")
        epoch = _open_epoch(connection)
        (function_last,) = execute("SELECT coalesce(max(id), 0) FROM functions").fetchone()
        self._functions = Functions(function_last)
        self._names = WorkerNames(connection)
        (self.owner_id,) = execute("SELECT id FROM value_owner").fetchone()
        (self._action_last,) = execute(_ACTION_LAST).fetchone()
        reader = Reader(connection)
        instances = reader.running_instances()
        return Snapshot(
            epoch=epoch,
            instance_seq_last=execute(_INSTANCE_LAST).fetchone()[0],
            instance_ids_last=tuple(InstanceId(id) for (id,) in execute(_IDS_LAST, (INSTANCE_IDS_MAX,))),
            node_seq_last=execute(_NODE_LAST).fetchone()[0],
            instances=instances,
            lived=pruning.read_lived(connection),
            workers={WorkerId(id): name for id, name in execute("SELECT id, name FROM workers")},
            queues=reader.queues(),
            limits=_take_limits(connection, instances),
        )

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Write a batch and sync it, see `Journal.commit`."""
        connection = self._live()
        if not events:
            return
        if self._fills:
            self._fill_log()
        self._names.trim()
        completed = fold_completions(events, self._names)
        batch = fold(events, self._names) if completed is None else None
        try:
            connection.execute("BEGIN IMMEDIATE")
            if batch is not None:
                self._write(connection, batch)
            elif completed:
                self._names.write()
                _write_outcomes(connection, _COMPLETED, completed)
            found = file_id(self.location)
            if found != self._file:
                # SQLite would go on with the file that has no name any more, and nobody could read it later.
                raise FileNotFoundError(GONE if found is None else REPLACED)
            began_at = time.perf_counter()
            connection.execute("COMMIT")
            self.sync_s = time.perf_counter() - began_at
        except Exception as error:
            self._failure = explain(self.location, error)
            raise self._failure from error

    def _fill_log(self) -> None:
        self._commits += 1
        if self._commits > _FILLED_AFTER and file_id(self.location) == self._file:  # else the log is another broker's
            self._fills = fill_up(Path(f"{self._path.resolve()}-wal"), _LOG_BYTES, _FILLED_AT_ONCE)

    def _write(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if batch.nodes:
            functions = self._functions.identify({node.function for node in batch.nodes})
            self._functions.write(connection)
            calls = [_call_row(node, functions[node.function]) for node in batch.nodes]
            _CALLS.write(connection, calls, sum([len(node.arguments) for node in batch.nodes]))
            _LIMITED.write(connection, [_limited_row(node) for node in batch.nodes if node.limits])
            connection.executemany(_USE, uses_of_nodes(batch.nodes, functions))
        for statement in _REMOVE if batch.removed else ():
            connection.execute(statement, (str(list(batch.removed)),))
        if batch.functions:
            self._reset(connection, batch)
        self._names.write()
        if batch.outcomes:
            _write_outcomes(connection, _OUTCOMES, list(batch.outcomes.values()))
        if batch.notes:
            notes = [(seq, note.label, note.inputs) for seq, note in batch.notes.items()]
            _NOTES.write(connection, notes)
        if batch.attempts:
            _ATTEMPTS.write(connection, batch.attempts)
            connection.executemany(_USE, uses_of_attempts(batch.attempts))
        if batch.instances:
            _INSTANCES.write(connection, list(batch.instances.values()))
        if batch.tags:
            _TAGS.write(connection, batch.tags)
        if batch.hooks:
            self._write_hooks(connection, batch)
        # A statement costs as much as a row, also where it has nothing to do, and these seldom have.
        if batch.previous or batch.changes or batch.reopened or batch.requests:
            self._write_details(connection, batch)
        if batch.controls or batch.limits or batch.queues or batch.workers:
            self._write_words(connection, batch)
        if batch.actions:
            first = self._action_last + 1
            self._action_last += len(batch.actions)
            _ACTIONS.write(connection, [(seq, *row) for seq, row in enumerate(batch.actions, first)])
        if batch.pruned:
            pruning.write_pruned(connection, batch.pruned)
        if batch.lived:
            pruning.write_lived(connection, batch.lived)

    def _write_hooks(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Write the calls for the ends of instances."""
        functions = self._functions.identify_specs([hook.function for _, hook in batch.hooks])
        self._functions.write(connection)
        rows = [
            (instance, place, function, hook.arguments, hook.only_failed)
            for place, ((instance, hook), function) in enumerate(zip(batch.hooks, functions, strict=True))
        ]
        connection.executemany("INSERT INTO hooks VALUES (?, ?, ?, ?, ?)", rows)
        for instance, hook in batch.hooks:
            connection.executemany(_USE, uses_of_hooks(instance, [hook]))

    @staticmethod
    def _write_details(connection: sqlite3.Connection, batch: Batch) -> None:
        """Write how values compare with those before, and which requests had nodes begin anew."""
        previous = [(digest, seq) for seq, digest in batch.previous.items()]
        connection.executemany("UPDATE outcomes SET previous = ? WHERE node = ?", previous)
        changes = [(str(change.value), seq) for seq, change in batch.changes.items()]
        connection.executemany("UPDATE outcomes SET change = ? WHERE node = ?", changes)
        reopened = [(void_token, seq) for seq, void_token in batch.reopened.items()]
        connection.executemany("UPDATE instances SET deadline_at = NULL, void_token = ? WHERE seq = ?", reopened)
        for seq, request in batch.requests.items():
            connection.execute("DELETE FROM requests WHERE instance = ?", (seq,))
            if request:
                row = (seq, request.id, request.node_id, json.dumps(request.seqs))
                connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", row)

    @staticmethod
    def _write_words(connection: sqlite3.Connection, batch: Batch) -> None:
        """Write what people and calls have said about instances, limits and queues, and which workers are there."""
        connection.executemany(_CONTROL, batch.controls.values())
        _LIMITS.write(connection, list(batch.limits.values()))
        _QUEUES.write(connection, [row for row in batch.queues.values() if row])
        plain = [(queue,) for queue, row in batch.queues.items() if not row]
        connection.executemany("DELETE FROM queues WHERE name = ?", plain)
        for worker_id, worker in batch.workers.items():
            if worker:
                connection.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", worker)
            else:
                connection.execute("DELETE FROM workers WHERE id = ?", (worker_id,))

    def _reset(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Undo the values and causes of nodes that begin anew, and have them call their present functions."""
        connection.execute(_UNCAUSE, (str(batch.uncaused),))
        connection.execute(_UNDO, (str(list(map(list, batch.unvalued.items()))),))
        connection.execute(_UNVALUE, (str(list(batch.unvalued)),))
        connection.execute(_UNUSE_RESULTS, (str(list(batch.unvalued)), RESULT))
        functions = self._functions.identify(set(batch.functions.values()))
        self._functions.write(connection)
        rows = [(functions[function], seq) for seq, function in batch.functions.items()]
        connection.executemany("UPDATE calls SET function = ? WHERE seq = ?", rows)
        others = [(arguments, seq) for seq, arguments in batch.arguments.items()]
        connection.executemany("UPDATE calls SET arguments = ? WHERE seq = ?", others)

    def find_instance(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance with its nodes, see `Journal.find_instance`."""
        with self._reading() as reader:
            return reader.instance(instance_id)

    def find_head(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance with no nodes, see `Journal.find_head`."""
        with self._reading() as reader:
            return reader.head(instance_id)

    def find_start(self, key: str) -> KnownStart | None:
        """Return what was started under a key, see `Journal.find_start`."""
        with self._reading() as reader:
            return reader.start(key)

    def summarize_instance(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Return an instance without its nodes. They are counted now where it runs, else when it finished."""
        with self._reading() as reader:
            return reader.summary(instance_id)

    def list_instances(self, *, before_seq: int | None, limit: int) -> list[InstanceSummary]:
        """Return instances, newest first, see `Journal.list_instances`."""
        with self._reading() as reader:
            return reader.summaries(before_seq, limit)

    def list_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, values: bool = False, arguments_max: int = 0
    ) -> list[StoredNode]:
        """Return nodes in creation order, see `Journal.list_nodes`."""
        with self._reading(values, arguments_max) as reader:
            return reader.page(instance_id, after_seq, limit)

    def select_instances(
        self, selection: InstanceSelection, *, before_seq: int | None, limit: int, looked_at_max: int
    ) -> Selected[InstanceSummary]:
        """Return some of these instances, newest first, see `Journal.select_instances`."""
        with self._reading() as reader:
            return reader.select_instances(selection, before_seq, limit, looked_at_max)

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
        """Return some of these nodes in creation order, see `Journal.select_nodes`."""
        with self._reading(False, arguments_max) as reader:
            return reader.select_nodes(instance_id, selection, after_seq, limit, looked_at_max)

    def count_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> NodeCounts:
        """Count nodes by function and state, see `Journal.count_nodes`."""
        with self._reading() as reader:
            return reader.count(instance_id, after_seq, limit, without)

    def fold_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> ShapePart:
        """Count nodes and edges by group, see `Journal.fold_nodes`."""
        with self._shaping() as reader:
            return reader.fold(instance_id, after_seq, limit, without)

    def list_times(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredTimes]:
        """Return the times of nodes, see `Journal.list_times`."""
        with self._shaping() as reader:
            return reader.times(instance_id, after_seq, limit)

    def find_by_id(
        self, instance_id: InstanceId, node_ids: Sequence[NodeId], *, values: bool = False
    ) -> dict[NodeId, StoredNode]:
        """Return nodes of an instance by id, see `Journal.find_by_id`."""
        with self._reading(values) as reader:
            return reader.by_id(instance_id, node_ids)

    def find_nodes(self, seqs: Sequence[int], *, values: bool = False) -> dict[int, StoredNode]:
        """Return these nodes by number, see `Journal.find_nodes`."""
        with self._reading(values) as reader:
            return reader.nodes(seqs)

    def find_ends(self, seqs: Sequence[int]) -> dict[int, StoredEnd]:
        """Return how these nodes have ended, see `Journal.find_ends`."""
        with self._reading() as reader:
            return reader.ends(seqs)

    def find_values(self, seqs: Sequence[int]) -> dict[int, StoredNode]:
        """Return these nodes and what their values are made of, see `Journal.find_values`."""
        with self._reading() as reader:
            return reader.nodes(reader.parts(seqs))

    def list_actions(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredAction]:
        """Return actions on an instance, see `Journal.list_actions`."""
        with self._reading() as reader:
            return reader.actions_on(instance_id, after_seq, limit)

    def list_all_actions(self, subject: str, *, before_seq: int | None, limit: int) -> list[StoredAction]:
        """Return actions, newest first, see `Journal.list_all_actions`."""
        with self._reading() as reader:
            return reader.actions(subject, before_seq, limit)

    def find_used(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values that payloads refer to, see `Journal.find_used`."""
        with self._reading() as reader:
            return reader.used(digests)

    def list_uses(self, *, after: ValueUse | None, limit: int) -> list[ValueUse]:
        """Return uses of values in order, see `Journal.list_uses`."""
        with self._reading() as reader:
            return reader.uses(after, limit)

    def find_held(self, instance_seq: int, digests: Sequence[bytes]) -> set[bytes]:
        """Return values that an instance refers to, see `Journal.find_held`."""
        with self._reading() as reader:
            return reader.held(instance_seq, digests)

    def find_due(self, cutoffs: Mapping[InstanceState, float], *, lived_s: float, limit: int) -> list[EndedInstance]:
        """Return instances that are due, see `Journal.find_due`."""
        with self._using() as connection:
            return pruning.find_due(connection, cutoffs, lived_s, limit)

    def find_oldest(self, limit: int) -> list[EndedInstance]:
        """Return the instances that ended first, see `Journal.find_oldest`."""
        with self._using() as connection:
            return pruning.find_oldest(connection, limit)

    def find_ended(self, instance_ids: Sequence[InstanceId]) -> list[EndedInstance]:
        """Return those of some instances that have ended."""
        with self._using() as connection:
            return pruning.find_ended(connection, instance_ids)

    def find_tombstone(self, instance_id: InstanceId) -> Tombstone | None:
        """Return the tombstone of an instance."""
        with self._using() as connection:
            return pruning.find_tombstone(connection, instance_id)

    def find_tombstone_of_key(self, key: str) -> Tombstone | None:
        """Return the last tombstone of an instance that was started under a key."""
        with self._using() as connection:
            return pruning.find_tombstone_of_key(connection, key)

    def list_sweeps(self, limit: int) -> list[tuple[int, InstanceId]]:
        """Return pruned instances of which something is left, see `Journal.list_sweeps`."""
        with self._using() as connection:
            return pruning.list_sweeps(connection, limit)

    def sweep(self, instance_seqs: Sequence[int], *, rows_max: int) -> bool:
        """Remove what is left of pruned instances, see `Journal.sweep`."""
        with self._using() as connection:
            return pruning.sweep(connection, instance_seqs, rows_max)

    def forget_tombstones(self, *, pruned_until: float, limit: int) -> int:
        """Remove old tombstones, see `Journal.forget_tombstones`."""
        with self._using() as connection:
            return pruning.forget_tombstones(connection, pruned_until, limit)

    def tidy(self, *, rows_max: int) -> bool:
        """Remove rows that no instance needs any more, see `Journal.tidy`."""
        with self._using() as connection:
            return pruning.tidy(connection, self._functions, rows_max)

    def measure(self) -> Usage:
        """Return the room that the file takes, see `Journal.measure`."""
        with self._using() as connection:
            return pruning.measure(connection)

    def measure_values(self, *, after: bytes, limit: int) -> tuple[int, bytes]:
        """Return the bytes of values that are used, see `Journal.measure_values`."""
        with self._using() as connection:
            return pruning.measure_values(connection, after, limit)

    def measure_freed(self, instance_seqs: Sequence[int]) -> int:
        """Return the bytes of values that only pruned instances use, see `Journal.measure_freed`."""
        with self._using() as connection:
            return pruning.measure_freed(connection, instance_seqs)

    def give_back(self, bytes_max: int) -> int:
        """Make the file shorter, see `Journal.give_back`."""
        with self._using() as connection:
            return pruning.give_back(connection, bytes_max)

    def begin_copy(self) -> Copy:
        """Begin a copy of the database, which is made between commits. Raises `CannotCopy`."""
        try:
            return self._copies.begin(self._live(), self.location)
        except StorageError as error:
            raise CannotCopy(str(error)) from error

    def measure_file(self) -> Measure:
        """Return how large the database is."""
        try:
            return measure(self._live(), self.location)
        except sqlite3.Error as error:
            raise explain(self.location, error) from error

    def close(self) -> None:
        """Let the file go; a transaction that failed is undone."""
        self._copies.give_up()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _live(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise self._failure
        if self._connection is None:
            raise StorageError(f"{self.location}: the storage is not open. Call open() first.")
        return self._connection

    @contextmanager
    def _reading(self, values: bool = True, arguments_max: int = 0) -> Iterator[Reader]:
        reader = Reader(self._live(), values=values, arguments_max=arguments_max)
        try:
            yield reader
        except sqlite3.Error as error:
            raise explain(self.location, error) from error

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._live()
        except sqlite3.Error as error:
            raise explain(self.location, error) from error

    @contextmanager
    def _shaping(self) -> Iterator[ShapeReader]:
        try:
            yield ShapeReader(self._live())
        except sqlite3.Error as error:
            raise explain(self.location, error) from error


def _open_epoch(connection: sqlite3.Connection) -> int:
    """Count the epoch. Where the clock was set since the last one began, move the times of running instances along."""
    execute = connection.execute
    boot, offset_s = boot_id(), wall_offset_s()
    execute("BEGIN IMMEDIATE")
    before = execute("SELECT boot, offset_s FROM epochs ORDER BY epoch DESC LIMIT 1").fetchone()
    if before and boot and before[0] == boot and abs(offset_s - before[1]) > _CLOCK_SET_S:
        for statement in _SHIFT_TIMES:
            execute(statement, (offset_s - before[1],))
    row = (time.time(), boot, offset_s)
    epoch = execute("INSERT INTO epochs (opened_at, boot, offset_s) VALUES (?, ?, ?)", row).lastrowid
    execute("COMMIT")
    assert epoch is not None
    return epoch


def _take_limits(connection: sqlite3.Connection, instances: Iterable[StoredInstance]) -> dict[str, LimitWord]:
    """Return the specs given to the limits that nodes of these instances are subject to; forget the rest."""
    if not connection.execute("SELECT 1 FROM limits LIMIT 1").fetchone():
        return {}
    keys = {key for instance in instances for node in instance.nodes for key in node.limit_keys}
    connection.execute("DELETE FROM limits WHERE key NOT IN (SELECT value FROM json_each(?))", (json.dumps([*keys]),))
    rows = connection.execute("SELECT key, said_by, running_max, rate_per_s, burst FROM limits")
    return {
        key: LimitWord(said_by, LimitSpec(max=running_max, rate_per_s=rate_per_s, burst=burst))
        for key, said_by, running_max, rate_per_s, burst in rows
    }


def _write_outcomes(
    connection: sqlite3.Connection, writer: RowWriter, rows: Sequence[OutcomeRow] | Sequence[CompletedRow]
) -> None:
    """Write how far nodes have got, and the values that their results refer to."""
    payload_bytes = sum([len(row.payload) for row in rows if row.payload])
    writer.write(connection, rows, payload_bytes)
    uses = [use[1:] for use in uses_of_outcomes(rows)]
    if uses:
        connection.executemany(_USE_RESULT, uses)


def _limited_row(node: Node) -> tuple[Parameter, ...]:
    return node.seq, json.dumps([limit.key for limit in node.limits])


def _call_row(node: Node, function: int) -> tuple[Parameter, ...]:
    return (
        node.seq,
        node.id,
        node.instance.seq,
        function,
        node.parent_seq,
        node.created_at,
        show_seqs(node.dependencies),
        node.arguments,
    )


_CALLS = RowWriter(
    "calls",
    ("seq", "id", "instance", "function", "parent", "created_at", "dependencies", "arguments"),
    blobs=("id", "arguments"),
)
_OVER_EARLIER = (
    "ON CONFLICT (node) DO UPDATE SET state = excluded.state, at = excluded.at,"
    " payload = coalesce(excluded.payload, payload), promises = coalesce(excluded.promises, promises),"
    " cause = coalesce(excluded.cause, cause), source = coalesce(excluded.source, source),"
    " worker = coalesce(excluded.worker, worker), granted_at = coalesce(excluded.granted_at, granted_at),"
    " duration_s = coalesce(excluded.duration_s, duration_s), joined_at = coalesce(excluded.joined_at, joined_at)"
)
_OUTCOMES = RowWriter("outcomes", OutcomeRow._fields, _OVER_EARLIER, blobs=("payload",))
_COMPLETED = RowWriter("outcomes", CompletedRow._fields, _OVER_EARLIER, blobs=("payload",))
_ATTEMPTS = RowWriter("attempts", AttemptRow._fields)
_INSTANCES = RowWriter(
    "instances",
    InstanceRow._fields,
    "ON CONFLICT (seq) DO UPDATE SET state = excluded.state, finished_at = excluded.finished_at,"
    " counts = excluded.counts, ends = coalesce(excluded.ends, ends), ended_on = excluded.ended_on,"
    " kept_until = excluded.kept_until, held_bytes = excluded.held_bytes",
)
_TAGS = RowWriter("tags", TagRow._fields)
_LIMITS = RowWriter(
    "limits",
    LimitRow._fields,
    "ON CONFLICT (key) DO UPDATE SET said_by = excluded.said_by, running_max = excluded.running_max,"
    " rate_per_s = excluded.rate_per_s, burst = excluded.burst",
)
_NOTES = RowWriter(
    "notes",
    ("node", *Note._fields),
    "ON CONFLICT (node) DO UPDATE SET label = coalesce(nullif(excluded.label, ''), label),"
    " inputs = coalesce(nullif(excluded.inputs, ''), inputs)",
)
_ACTIONS = RowWriter("actions", ("seq", *ActionRow._fields))
_LIMITED = RowWriter("limited", ("node", "keys"))
_QUEUES = RowWriter(
    "queues",
    QueueRow._fields,
    "ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, running_max = excluded.running_max",
)
_CONTROL = "UPDATE instances SET priority = ?, paused = ?, running_max = ? WHERE seq = ?"
