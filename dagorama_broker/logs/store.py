"""The log store: it takes blocks, however the disk fares. It counts what it cannot keep, and tells readers.

A fault never reaches a caller. The store goes on without the file, looks after it from time to time, and begins a new
one where the file was removed or is damaged.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dagorama_broker.copies.stepped import Copies, Copy, Measure, measure
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import Arrival, Awaited, Chunk, IsRunning, Loss, Missing, StoredBlock
from dagorama_broker.logs.deciding import Sorted, make_room, missing, sort, tell, tell_of_beginning
from dagorama_broker.logs.faults import FAULTS, explain, is_damage
from dagorama_broker.logs.tables import Tables

log = logging.getLogger("dagorama.broker")

#: How large the store may become, on disk and in memory.
BYTES_MAX, MEMORY_BYTES_MAX = 10 * 2**30, 256 * 2**20

#: So many bytes of blocks go into one chunk, if there are two; and so many blocks.
CHUNK_BYTES, CHUNK_BLOCKS = 2**20, 1000

#: Lines of an attempt that is over may take so long. After that readers are told that they may be lost.
AWAITED_S = 1.0

#: A file that could not be used is tried again after this time.
_RETRY_S = 5.0

#: While nothing can be kept, losses are counted for so many instances by themselves.
_COUNTED_MAX = 100_000

#: The store says that it is full, or cannot be written, once in this time.
_SAY_AGAIN_S = 600.0


class Taken(NamedTuple):
    """Tell what became of blocks."""

    problem: str = ""  #: why some were dropped, for people
    dropped: frozenset[bytes] = frozenset()  #: whose
    dropped_bytes: int = 0

    def problem_of(self, sender_id: bytes) -> str:
        """Return why blocks of a sender were dropped, if they were."""
        return self.problem if sender_id in self.dropped else ""


class LogStore:
    """Keep blocks in a file, or in memory. Used by one thread at a time."""

    def __init__(self, path: Path | None, *, bytes_max: int | None = None) -> None:
        """Name the file, or none for a store in memory. It is opened by `open`."""
        self._path = path
        self.bytes_max = bytes_max or (MEMORY_BYTES_MAX if path is None else BYTES_MAX)
        self.location = "memory" if path is None else str(path)
        self._tables: Tables | None = None
        self._copies = Copies()
        self._file: tuple[int, int] | None = None  #: device and inode of the open file
        self._problem = ""  #: why the file cannot be used
        self._retry_at = 0.0
        self._damage: Exception | None = None  #: that of the file, which is to be put aside
        #: What is not in the file yet: losses, and the numbers of the last blocks that were dropped.
        self._losses: dict[tuple[InstanceId, Loss], Missing] = {}
        self._lasts: dict[bytes, int] = {}
        self._said_at: dict[Loss, float] = {}

    @property
    def used_bytes(self) -> int:
        """Return how much is kept; 0 while the file cannot be used. Any thread may ask."""
        tables = self._tables
        return tables.used_bytes if tables is not None else 0

    def open(self, now: float) -> None:
        """Open the file, or make it. Where that cannot be, it is tried again later."""
        self._usable(now)

    def begin_copy(self) -> Copy | None:
        """Begin a copy; return None where nothing is kept in a file now. Raises `CannotCopy`."""
        if self._path is None or self._tables is None:
            return None
        return self._copies.begin(self._tables.connection, self.location)

    def measure_file(self) -> Measure:
        """Return how large the file is; nothing where there is none that can be used."""
        if self._path is None or self._tables is None:
            return Measure()
        try:
            return measure(self._tables.connection, self.location)
        except FAULTS:
            return Measure()

    def close(self) -> None:
        """Let the file go."""
        self._copies.give_up()
        if self._tables is not None:
            self._tables.connection.close()
            self._tables = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, arrivals: Sequence[Arrival], is_running: IsRunning, now: float) -> Taken:
        """Keep blocks, all in one transaction; pass over any that came before, and count any that find no room.

        After this call they may be acknowledged: a broker that is killed has them when it starts again.
        """
        tables = self._usable(now)
        if tables is not None:
            try:
                return self._keep(tables, arrivals, is_running, now)
            except FAULTS as error:
                self._fail(error, now)
                tables = self._usable(now)  # a damaged file has been put aside
            if tables is not None:
                try:
                    return self._keep(tables, arrivals, is_running, now)
                except FAULTS as error:
                    self._fail(error, now)
        return self._drop(arrivals, now)

    def _keep(self, tables: Tables, arrivals: Sequence[Arrival], is_running: IsRunning, now: float) -> Taken:
        execute = tables.connection.execute
        used_bytes = tables.used_bytes
        execute("BEGIN IMMEDIATE")
        try:
            known = tables.lasts({arrival.sender_id for arrival in arrivals})
            ordered = sort(arrivals, _later(known, self._lasts))
            room = make_room(
                ordered.fresh,
                used_bytes=tables.used_bytes,
                bytes_max=self.bytes_max,
                finished=tables.finished(is_running),
            )
            losses = dict(self._losses)
            for instance, size in room.removals:
                instance_id, gone = tables.remove_oldest(instance, size, now)
                _add(losses, instance_id, gone)
            _add_all(losses, ordered, room.dropped, now)
            tables.insert(room.kept)
            tables.have_come(arrivals)
            for (instance_id, _), loss in losses.items():
                tables.note_missing(instance_id, loss)
            tables.remember(_later(_later(known, self._lasts), ordered.lasts))
            execute("COMMIT")
        except BaseException:
            tables.used_bytes = used_bytes
            if tables.connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._losses, self._lasts = {}, {}
        if not room.dropped:
            return Taken()
        problem = f"the broker's log store is full ({self.bytes_max:,} bytes)"
        if self._may_say(Loss.FULL, now):
            log.warning(
                "the log store %s is full of the logs of running instances, at %d bytes: what they print is dropped "
                "until there is room; DAGORAMA_LOG_STORE_BYTES_MAX sets how much there is",
                *(self.location, self.bytes_max),
            )
        return _dropped(problem, room.dropped)

    def wait_for(self, attempts: Sequence[Awaited], now: float) -> None:
        """Remember attempts that are over and of which lines may come; readers are told of those of which none do."""
        tables = self._usable(now)
        if tables is None:
            return
        execute = tables.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            tables.wait_for(attempts, now)
            execute("COMMIT")
        except FAULTS as error:
            self._fail(error, now)

    def _drop(self, arrivals: Sequence[Arrival], now: float) -> Taken:
        """Count blocks that cannot be kept. They are done with: nobody is to send them again."""
        ordered = sort(arrivals, self._lasts)
        for arrival in ordered.fresh:
            self._count(arrival.block.instance_id, missing(Loss.FAILED, arrival.block, now))
        self._lasts = _later(self._lasts, ordered.lasts)
        problem = f"the broker's log store cannot be written: {self._problem}"
        return _dropped(problem, ordered.fresh)

    def _count(self, instance_id: InstanceId, loss: Missing) -> None:
        if len(self._losses) < _COUNTED_MAX or (instance_id, loss.loss) in self._losses:
            _add(self._losses, instance_id, loss)

    def remove(self, instance_id: InstanceId, now: float) -> bool:
        """Remove all that is kept of an instance, which is no more. False where the file cannot be used now."""
        return self.remove_all([instance_id], now)

    def remove_all(self, instance_ids: Sequence[InstanceId], now: float) -> bool:
        """Do as `remove` for several instances, in one transaction."""
        for instance_id in instance_ids:
            for loss in Loss:
                self._losses.pop((instance_id, loss), None)
        tables = self._usable(now)
        if tables is None:
            return False
        execute = tables.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for instance_id in instance_ids:
                tables.remove(instance_id)
            execute("COMMIT")
            tables.shrink()
        except FAULTS as error:
            self._fail(error, now)
            return False
        return True

    def list_instances(self, after: InstanceId, limit: int, now: float) -> list[InstanceId] | None:
        """Return up to `limit` instances of which something is kept, in the order of their ids, after that one.

        None while the file cannot be used.
        """
        tables = self._usable(now)
        if tables is None:
            return None
        try:
            return tables.list_instances(after, limit)
        except FAULTS as error:
            self._fail(error, now)
            return None

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(
        self,
        instance_id: InstanceId,
        node_id: NodeId | None = None,
        *,
        attempt: int = 0,
        after: int = 0,
        created_at: float = 0.0,
        is_final: bool = True,
        now: float,
    ) -> Chunk:
        """Return the next of what is kept of an instance that came into being then.

        With the last chunk comes what is missing, exactly, if the read `is_final`; else as far as readers are to know
        at once.
        """
        tables = self._usable(now)
        problem = self._problem
        if tables is not None:
            try:
                chunk = self._read(tables, instance_id, node_id, attempt, after, is_final)
                if is_final and chunk.last:
                    awaited = tables.awaited(instance_id, node_id, attempt, now - AWAITED_S)
                    chunk = chunk._replace(blocks=[*chunk.blocks, *awaited])
            except FAULTS as error:
                problem = explain(error)
                log.warning("the log store %s cannot be read: %s", self.location, problem)
            else:
                is_older = not after and 0 < created_at < tables.began_at
                began = (tell_of_beginning(tables.began_at),) if is_older else ()
                lost = self._untold(instance_id) if is_final and chunk.last else ()
                return chunk._replace(gaps=[*began, *chunk.gaps, *lost])
        if not is_final:
            return Chunk((), after, (), last=True)
        gap = f"the broker's log store cannot be read: {problem}"
        return Chunk((), after, [*self._untold(instance_id), gap], last=True)

    def _untold(self, instance_id: InstanceId) -> list[str]:
        """Return what is missing of an instance and could not be written down yet."""
        keys = [(instance_id, loss) for loss in Loss]
        return [tell(self._losses[key], self._problem) for key in keys if key in self._losses]

    @staticmethod
    def _read(
        tables: Tables, instance_id: InstanceId, node_id: NodeId | None, attempt: int, after: int, is_final: bool
    ) -> Chunk:
        found: list[StoredBlock] = []
        cursor, seen_bytes, is_last = after, 0, True
        for seen, stored in enumerate(tables.blocks(instance_id, node_id, after)):
            if seen and (seen_bytes + len(stored.block.data) > CHUNK_BYTES or seen >= CHUNK_BLOCKS):
                is_last = False
                break
            cursor = stored.number
            seen_bytes += len(stored.block.data)
            if not attempt or any(part.attempt == attempt for part in stored.block.parts):
                found.append(stored)
        gaps: list[str] = []
        for number, is_told, lost in tables.missing(instance_id):
            if number > after and (is_last or number <= cursor):
                cursor = max(cursor, number)
                gaps.append(tell(lost))
            elif is_last and is_final and not is_told:
                gaps.append(tell(lost))
        return Chunk(found, cursor, gaps, is_last)

    # -- the file -----------------------------------------------------------------------------------------------------

    def _usable(self, now: float) -> Tables | None:
        """Return the open tables; None while the file cannot be used."""
        if self._path is None:
            if self._tables is None:
                self._tables = Tables(":memory:")
            return self._tables
        if self._tables is not None and self._is_in_place(self._path):
            return self._tables
        if self._tables is not None:
            # Closing moves the write-ahead log into the file, wherever that is now.
            self.close()
            log.warning("the log store %s was removed while the broker ran; it is begun anew", self.location)
        elif now < self._retry_at:
            return None
        return self._open(self._path, now)

    def _open(self, path: Path, now: float) -> Tables | None:
        try:
            self._put_aside(path)
            try:
                self._tables = _open_file(path)
            except FAULTS as error:
                if not is_damage(error):
                    raise
                self._damage = error
                self._put_aside(path)
                self._tables = _open_file(path)
            stat = path.stat()
            self._file = stat.st_dev, stat.st_ino
        except FAULTS as error:
            self._fail(error, now)
            return None
        if self._problem:
            self._problem = ""
            log.info("the log store %s can be written again", self.location)
        return self._tables

    def _is_in_place(self, path: Path) -> bool:
        """Tell whether the open file is where it was, with its write-ahead log: SQLite would not notice."""
        try:
            stat = os.stat(path)
            os.stat(f"{path}-wal")
        except OSError:
            return False
        return (stat.st_dev, stat.st_ino) == self._file

    def _fail(self, error: Exception, now: float) -> None:
        """Go on without the file for a while; begin another at once where waiting is of no use."""
        self.close()
        self._problem = explain(error)
        self._damage = error if is_damage(error) else None
        self._retry_at = 0.0 if self._damage else now + _RETRY_S
        if self._may_say(Loss.FAILED, now):
            log.warning(
                "the log store %s cannot be used: %s. Nodes go on; what they print is dropped until it can be",
                *(self.location, self._problem),
            )

    def _put_aside(self, path: Path) -> None:
        """Move a damaged file out of the way, for somebody to look at; an earlier one is overwritten."""
        if self._damage is None:
            return
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        log.warning("the log store %s: %s. It is moved to %s, and begun anew", path, explain(self._damage), aside)
        self._damage = None

    def _may_say(self, loss: Loss, now: float) -> bool:
        if now - self._said_at.get(loss, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
            return False
        self._said_at[loss] = now
        return True


def _dropped(problem: str, arrivals: Sequence[Arrival]) -> Taken:
    sizes = [len(arrival.block.data) for arrival in arrivals]
    return Taken(problem, frozenset(arrival.sender_id for arrival in arrivals), sum(sizes))


def _open_file(path: Path) -> Tables:
    """Open a file, which is made for its owner alone where there is none: people print all kinds of things."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return Tables(str(path))


def _later(lasts: Mapping[bytes, int], others: Mapping[bytes, int]) -> dict[bytes, int]:
    """Return the higher number of each sender."""
    return {**lasts, **{sender: max(last, lasts.get(sender, 0)) for sender, last in others.items()}}


def _add(losses: dict[tuple[InstanceId, Loss], Missing], instance_id: InstanceId, loss: Missing) -> None:
    before = losses.get((instance_id, loss.loss))
    losses[instance_id, loss.loss] = loss if before is None else before.add(loss)


def _add_all(
    losses: dict[tuple[InstanceId, Loss], Missing], ordered: Sorted, dropped: Sequence[Arrival], now: float
) -> None:
    """Count blocks that found no room, and blocks that were skipped."""
    for arrival in dropped:
        _add(losses, arrival.block.instance_id, missing(Loss.FULL, arrival.block, now))
    for arrival, blocks in ordered.skipped:
        _add(losses, arrival.block.instance_id, Missing(Loss.SKIPPED, blocks, 0, 0, now, now))
