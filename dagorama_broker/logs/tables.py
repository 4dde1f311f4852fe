"""The tables of the log store: one SQLite file beside the database, or none, in memory.

Each call is to be made within a transaction of its caller. Blocks are numbered by the store, in the order in which they
are kept. Numbers only grow, also from one file to the next in its place, so that a reader who knows one can go on.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import (
    Arrival,
    Awaited,
    Block,
    IsRunning,
    Loss,
    Missing,
    Part,
    StoredBlock,
    pack,
    unpack,
)
from dagorama_broker.logs.deciding import size_of, stored_size

_SCHEMA = 1
_TABLES = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE about (schema INTEGER NOT NULL, began_at REAL NOT NULL);
    CREATE TABLE senders (id BLOB PRIMARY KEY, last INTEGER NOT NULL, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE instances (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL);
    CREATE TABLE blocks (
        number INTEGER PRIMARY KEY,
        instance INTEGER NOT NULL,
        worker TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        compression INTEGER NOT NULL,
        parts BLOB NOT NULL,
        data BLOB NOT NULL
    );
    CREATE INDEX blocks_of_instance ON blocks (instance);
    CREATE TABLE nodes (
        instance INTEGER NOT NULL, node BLOB NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (instance, node, block)
    ) WITHOUT ROWID;
    CREATE TABLE missing (
        instance BLOB NOT NULL, loss TEXT NOT NULL, blocks INTEGER NOT NULL, lines INTEGER NOT NULL,
        text_bytes INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL, number INTEGER NOT NULL,
        told INTEGER NOT NULL, PRIMARY KEY (instance, loss)
    ) WITHOUT ROWID;
    INSERT INTO about VALUES ({_SCHEMA}, strftime('%s', 'now'));
    COMMIT;
"""
#: Came later than the others, and is made where it is missing: an earlier version goes on without it.
_AWAITED = """
    CREATE TABLE IF NOT EXISTS awaited (
        instance BLOB NOT NULL, node BLOB NOT NULL, attempt INTEGER NOT NULL, worker TEXT NOT NULL, since REAL NOT NULL,
        PRIMARY KEY (instance, node, attempt, worker)
    ) WITHOUT ROWID
"""
_PRAGMAS = (
    "page_size = 16384",  # blocks are large, and a long chain of pages costs a seek for each
    "auto_vacuum = INCREMENTAL",
    "locking_mode = EXCLUSIVE",  # first: only then does WAL mode work without a shared-memory file
    "journal_mode = WAL",
    # A commit is the kernel's when it returns: it outlives the process, not a power cut. It never makes the disk sync
    # while the journal's commits want to.
    "synchronous = NORMAL",
    "wal_autocheckpoint = 1000",  # 16 MiB
    "journal_size_limit = 67108864",
    "cache_size = -8192",  # KiB
    "temp_store = MEMORY",
)

#: So many senders are remembered, those that have sent something last. Beyond, a part of them is forgotten at once.
SENDERS_MAX, _SENDERS_FORGOTTEN = 100_000, 10_000

#: Of a node so many blocks are looked at, the last ones, for an attempt that was just told to be over.
_LOOKED_AT = 8

#: The name of a worker, and a node and the number of an attempt, of which a block has lines.
_Came = tuple[str, NodeId, int]

#: `LOG_COMPRESSION_NONE` on the wire, for blocks without lines that are made here.
_AS_THEY_ARE = 1

#: So many pages are given back to the file system at once.
_VACUUMED_PAGES = 4096


class NewerStore(Exception):
    """The file was written by a newer version of dagorama, or is another program's database."""


class Tables:
    """Read and write one open store."""

    def __init__(self, location: str) -> None:
        """Open the file, which is made where there is none. Raises `sqlite3.Error` or `NewerStore`."""
        self.connection = sqlite3.connect(location, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except BaseException:
            self.connection.close()
            raise

    def _open(self) -> None:
        execute = self.connection.execute
        for pragma in _PRAGMAS:
            execute(f"PRAGMA {pragma}")
        if not execute("SELECT 1 FROM sqlite_master").fetchone():
            self.connection.executescript(_TABLES)
        try:
            schema, self.began_at = execute("SELECT schema, began_at FROM about").fetchone()
        except sqlite3.OperationalError as error:
            raise NewerStore("it is a database of another program") from error
        if schema > _SCHEMA:
            raise NewerStore(f"its schema has number {schema}, and this version of dagorama knows {_SCHEMA}")
        execute(_AWAITED)
        (self.used_bytes,) = execute("SELECT coalesce(sum(bytes), 0) FROM instances").fetchone()
        (number_last,) = execute("SELECT coalesce(max(number), 0) FROM blocks").fetchone()
        (senders,) = execute("SELECT count(*) FROM senders").fetchone()
        self._senders: int = senders
        # The time in milliseconds, with room for a million numbers in each: above all that an earlier file has had.
        self._number_last: int = max(number_last, time.time_ns() // 1_000_000 << 20)

    # -- writing ------------------------------------------------------------------------------------------------------

    def lasts(self, sender_ids: Iterable[bytes]) -> dict[bytes, int]:
        """Return the number of the last block of each sender that is known."""
        found: dict[bytes, int] = {}
        for sender_id in sender_ids:
            row = self.connection.execute("SELECT last FROM senders WHERE id = ?", (sender_id,)).fetchone()
            if row is not None:
                found[sender_id] = row[0]
        return found

    def remember(self, lasts: Mapping[bytes, int]) -> None:
        """Store the number of the last block of each sender."""
        rows = [(sender_id, last, self._number_last) for sender_id, last in lasts.items()]
        self._senders += len(lasts) - len(self.lasts(lasts))
        self.connection.executemany("INSERT OR REPLACE INTO senders VALUES (?, ?, ?)", rows)
        if self._senders > SENDERS_MAX:
            oldest = "SELECT id FROM senders ORDER BY number LIMIT ?"
            self.connection.execute(f"DELETE FROM senders WHERE id IN ({oldest})", (_SENDERS_FORGOTTEN,))
            self._senders -= _SENDERS_FORGOTTEN

    def insert(self, arrivals: Sequence[Arrival]) -> None:
        """Store blocks, in this order."""
        blocks: list[tuple[object, ...]] = []
        nodes: list[tuple[int, bytes, int]] = []
        sizes: dict[int, int] = {}
        instances: dict[InstanceId, int] = {}
        for _, worker, block in arrivals:
            instance = instances.get(block.instance_id) or self._instance(block.instance_id)
            instances[block.instance_id] = instance
            number = self._next_number()
            row = (number, instance, worker, block.sequence, block.compression, pack(block.parts), block.data)
            blocks.append(row)
            nodes += [(instance, node_id, number) for node_id in {part.node_id for part in block.parts}]
            sizes[instance] = sizes.get(instance, 0) + size_of(block)
        execute = self.connection.executemany
        execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", blocks)
        execute("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
        execute("UPDATE instances SET bytes = bytes + ? WHERE seq = ?", [(size, seq) for seq, size in sizes.items()])
        self.used_bytes += sum(sizes.values())

    def wait_for(self, attempts: Iterable[Awaited], now: float) -> None:
        """Store attempts of which lines are to come, but for those of which some have."""
        seen: dict[int, set[_Came]] = {}
        rows = [(*each, now) for each in attempts if not self._has_some(each, seen)]
        self.connection.executemany("INSERT OR IGNORE INTO awaited VALUES (?, ?, ?, ?, ?)", rows)

    def _has_some(self, attempt: Awaited, seen: dict[int, set[_Came]]) -> bool:
        """Return whether lines of an attempt have come.

        `seen` keeps what blocks have, by number, as very many attempts may share one.
        """
        numbers = self.connection.execute(
            "SELECT block FROM nodes WHERE instance = (SELECT seq FROM instances WHERE id = ?) AND node = ?"
            " ORDER BY block DESC LIMIT ?",
            (attempt.instance_id, attempt.node_id, _LOOKED_AT),
        )
        wanted = (attempt.worker, attempt.node_id, attempt.attempt)
        return any(wanted in (seen.get(number) or self._look(number, seen)) for (number,) in numbers.fetchall())

    def _look(self, number: int, seen: dict[int, set[_Came]]) -> set[_Came]:
        rows = self.connection.execute("SELECT worker, parts FROM blocks WHERE number = ?", (number,))
        seen[number] = {(worker, part.node_id, part.attempt) for worker, parts in rows for part in unpack(parts)}
        return seen[number]

    def have_come(self, arrivals: Iterable[Arrival]) -> None:
        """Forget attempts that were waited for, once something has come of them: that says whether the end has."""
        rows = [
            (block.instance_id, part.node_id, part.attempt, worker)
            for _, worker, block in arrivals
            for part in block.parts
        ]
        where = "instance = ? AND node = ? AND attempt = ? AND worker = ?"
        self.connection.executemany(f"DELETE FROM awaited WHERE {where}", rows)

    def finished(self, is_running: IsRunning) -> Iterator[tuple[int, int]]:
        """Yield the instances that run no longer, oldest first, each with the bytes that are kept of it."""
        for seq, instance_id, size in self.connection.execute("SELECT seq, id, bytes FROM instances ORDER BY seq"):
            if not is_running(InstanceId(instance_id)):
                yield seq, size

    def remove_oldest(self, instance: int, wanted_bytes: int, now: float) -> tuple[InstanceId, Missing]:
        """Remove blocks of an instance, oldest first, until so many bytes are free; return what is missing by that."""
        execute = self.connection.execute
        (instance_id,) = execute("SELECT id FROM instances WHERE seq = ?", (instance,)).fetchone()
        gone = Missing(Loss.REMOVED, 0, 0, 0, now, now)
        freed_bytes = 0
        numbers: list[tuple[int]] = []
        nodes: list[tuple[int, bytes, int]] = []
        rows = execute("SELECT number, parts, length(data) FROM blocks WHERE instance = ? ORDER BY number", (instance,))
        for number, raw, data_bytes in rows:
            parts = unpack(raw)
            block = Block(instance_id=instance_id, sequence=0, parts=parts, data=b"", compression=0)
            numbers.append((number,))
            nodes += [(instance, node_id, number) for node_id in {part.node_id for part in parts}]
            gone = gone.add(Missing(Loss.REMOVED, 1, *block.count(), now, now))
            freed_bytes += stored_size(data_bytes, len(parts))
            if freed_bytes >= wanted_bytes:
                break
        self.connection.executemany("DELETE FROM blocks WHERE number = ?", numbers)
        self.connection.executemany("DELETE FROM nodes WHERE instance = ? AND node = ? AND block = ?", nodes)
        execute("UPDATE instances SET bytes = bytes - ? WHERE seq = ?", (freed_bytes, instance))
        rest = "SELECT 1 FROM blocks WHERE instance = ?1"
        execute(f"DELETE FROM instances WHERE seq = ?1 AND NOT EXISTS ({rest})", (instance,))
        self.used_bytes -= freed_bytes
        return InstanceId(instance_id), gone

    def note_missing(self, instance_id: InstanceId, missing: Missing) -> None:
        """Add to what is missing of an instance. Readers are told again whenever it has doubled."""
        key = (instance_id, missing.loss.value)
        row = self.connection.execute(f"{_MISSING} WHERE instance = ? AND loss = ?", key).fetchone()
        number = told = 0
        if row is not None:
            missing = _missing(row).add(missing)
            number, told = row[6:]
        if missing.blocks >= 2 * told:
            number, told = self._next_number(), missing.blocks
        _, *counts = missing
        counts = [min(count, 2**62) for count in counts]
        self.connection.execute(
            "INSERT OR REPLACE INTO missing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *counts, number, told)
        )

    def remove(self, instance_id: InstanceId) -> None:
        """Remove all that is kept of an instance."""
        execute = self.connection.execute
        row = execute("SELECT seq, bytes FROM instances WHERE id = ?", (instance_id,)).fetchone()
        execute("DELETE FROM missing WHERE instance = ?", (instance_id,))
        execute("DELETE FROM awaited WHERE instance = ?", (instance_id,))
        if row is not None:
            execute("DELETE FROM nodes WHERE instance = ?", row[:1])
            execute("DELETE FROM blocks WHERE instance = ?", row[:1])
            execute("DELETE FROM instances WHERE seq = ?", row[:1])
            self.used_bytes -= row[1]

    def shrink(self) -> None:
        """Give free pages back to the file system. Not within a transaction."""
        # Not `execute`: that takes one step, which is one page, as this statement has no columns.
        self.connection.executescript(f"PRAGMA incremental_vacuum({_VACUUMED_PAGES});")

    def _instance(self, instance_id: InstanceId) -> int:
        execute = self.connection.execute
        row = execute("SELECT seq FROM instances WHERE id = ?", (instance_id,)).fetchone()
        if row is not None:
            return int(row[0])
        seq = execute("INSERT INTO instances (id, bytes) VALUES (?, 0)", (instance_id,)).lastrowid
        assert seq is not None
        return seq

    def _next_number(self) -> int:
        self._number_last += 1
        return self._number_last

    # -- reading ------------------------------------------------------------------------------------------------------

    def blocks(self, instance_id: InstanceId, node_id: NodeId | None, after: int) -> Iterator[StoredBlock]:
        """Yield the blocks of an instance, or of one of its nodes, with higher numbers than that."""
        columns = "number, worker, sequence, compression, parts, data"
        if node_id is None:
            rows = self.connection.execute(
                f"SELECT {columns} FROM blocks WHERE instance = (SELECT seq FROM instances WHERE id = ?)"
                " AND number > ? ORDER BY number",
                (instance_id, after),
            )
        else:
            rows = self.connection.execute(
                f"SELECT {columns} FROM nodes JOIN blocks ON number = block"
                " WHERE nodes.instance = (SELECT seq FROM instances WHERE id = ?) AND node = ? AND block > ?"
                " ORDER BY block",
                (instance_id, node_id, after),
            )
        for number, worker, sequence, compression, parts, data in rows:
            block = Block(
                instance_id=instance_id, sequence=sequence, parts=unpack(parts), data=data, compression=compression
            )
            yield StoredBlock(number, worker, block)

    def awaited(
        self, instance_id: InstanceId, node_id: NodeId | None, attempt: int, before: float
    ) -> Iterator[StoredBlock]:
        """Yield a block without lines for each attempt that has been waited for since before then.

        Readers take it for one of which the end has not come.
        """
        rows = self.connection.execute(
            "SELECT node, attempt, worker FROM awaited WHERE instance = ? AND since <= ? ORDER BY since, node",
            (instance_id, before),
        )
        # A later one of a node has a higher token, and all are below those that leases have.
        for token, (node, number, worker) in enumerate(rows):
            if node_id in (None, node) and attempt in (0, number):
                part = Part(NodeId(node), number, token, 0, 0, 0, 0, ended=False)
                block = Block(instance_id=instance_id, sequence=0, parts=[part], data=b"", compression=_AS_THEY_ARE)
                yield StoredBlock(0, worker, block)

    def list_instances(self, after: InstanceId, limit: int) -> list[InstanceId]:
        """Return instances of which there is anything, in the order of their ids, after that one."""
        columns = ("id FROM instances", "instance FROM missing", "instance FROM awaited")
        some = " UNION ".join(
            f"SELECT * FROM (SELECT DISTINCT {each} WHERE {each.split()[0]} > ?1 ORDER BY 1 LIMIT ?2)"
            for each in columns
        )
        rows = self.connection.execute(f"{some} ORDER BY 1 LIMIT ?2", (after, limit))
        return [InstanceId(instance_id) for (instance_id,) in rows]

    def missing(self, instance_id: InstanceId) -> list[tuple[int, bool, Missing]]:
        """Return what is missing of an instance: with the number under which it was told, and whether all of it was."""
        rows = self.connection.execute(f"{_MISSING} WHERE instance = ? ORDER BY number", (instance_id,))
        return [(row[6], row[7] == row[1], _missing(row)) for row in rows]


_MISSING = "SELECT loss, blocks, lines, text_bytes, first_at, last_at, number, told FROM missing"


def _missing(row: Sequence[object]) -> Missing:
    loss, *counts = row[:6]
    return Missing(Loss(loss), *counts)  # type: ignore[arg-type]  # columns have no types
