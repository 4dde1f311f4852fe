"""The log store on an event loop: all that has come since the last write is the next one, in a thread of its own.

It is the group commit of the host once more, and has nothing to do with it: a slow or broken disk of logs holds up
nobody but senders and readers of logs.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import Arrival, Awaited, Block, Chunk, IsRunning
from dagorama_broker.logs.store import LogStore, Taken
from dagorama_broker.logs.underway import Underway

log = logging.getLogger("dagorama.broker")

T = TypeVar("T")

#: No further message is read of any sender while so much waits to be written.
WAITING_BYTES_MAX = 32 * 2**20


class _Waiting(NamedTuple):
    """One message of a sender, and who waits for it to be written."""

    arrivals: Sequence[Arrival]
    done: asyncio.Future[Taken]


class Sender:
    """One stream of a worker process that prints."""

    def __init__(self, sender_id: bytes, worker: str) -> None:
        """Name the process, by its id and for people."""
        self.id = sender_id
        self.worker = worker


class Logs:
    """Write and read the logs of nodes. Used from one event loop."""

    def __init__(
        self, store: LogStore, *, is_running: IsRunning, now: Callable[[], float], executor: Executor | None = None
    ) -> None:
        """Have `executor` do whatever uses the disk, one thing after another; the default is a thread."""
        self._store = store
        self._is_running = is_running
        self._now = now
        self._thread = executor or ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._awaited: list[Awaited] = []
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._writing: asyncio.Task[None] | None = None
        self._senders: dict[bytes, Sender] = {}
        self._changes: dict[InstanceId, list[asyncio.Future[None]]] = {}
        self.underway = Underway()
        self.taken_bytes = 0  #: that have come, since the start
        self.dropped_bytes = 0  #: of these, the ones that could not be kept

    @property
    def streams(self) -> int:
        """Return how many processes have a stream open."""
        return len(self._senders)

    @property
    def used_bytes(self) -> int:
        """Return how much is kept, as of the last write; 0 while the file cannot be used."""
        return self._store.used_bytes

    @property
    def bytes_max(self) -> int:
        """Return how much may be kept."""
        return self._store.bytes_max

    async def open(self) -> None:
        """Open the store. Its faults are told in the log, and to readers."""
        await self.run(self._store.open, self._now())

    async def close(self) -> None:
        """Write what has come, and let the store go."""
        while self._writing is not None:
            await asyncio.wait({self._writing})
        await self.run(self._store.close)
        self._thread.shutdown()

    # -- senders ------------------------------------------------------------------------------------------------------

    def connect(self, sender: Sender) -> None:
        """Take the blocks of a process from this stream of it, and from no earlier one any more."""
        self._senders[sender.id] = sender

    def is_current(self, sender: Sender) -> bool:
        """Tell whether the process has no later stream; of an earlier one nothing may be taken any more."""
        return self._senders.get(sender.id) is sender

    def disconnect(self, sender: Sender) -> None:
        """Forget a stream that has ended."""
        if self.is_current(sender):
            del self._senders[sender.id]
            self.underway.forget(sender.id)

    async def has_room(self) -> None:
        """Wait until further blocks may be read of a stream."""
        await self._has_room.wait()

    def append(self, sender: Sender, blocks: Sequence[Block]) -> asyncio.Future[Taken]:
        """Have blocks kept; return a future that is set when they may be acknowledged. They are so in order."""
        done: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting([Arrival(sender.id, sender.worker, block) for block in blocks], done))
        size = sum(len(block.data) for block in blocks)
        self._waiting_bytes += size
        self.taken_bytes += size
        if self._waiting_bytes >= WAITING_BYTES_MAX:
            self._has_room.clear()
        self._begin()
        return done

    def wait_for(self, attempts: Sequence[Awaited]) -> None:
        """Have attempts remembered that are over and of which lines may come, so that readers know if none do."""
        self._awaited += attempts
        self._begin()

    def _begin(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write what has come until nothing more has."""
        try:
            while self._waiting or self._awaited:
                waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
                self._has_room.set()
                awaited, self._awaited = self._awaited, []
                arrivals = [arrival for one in waiting for arrival in one.arrivals]
                if awaited:
                    await self._expect(awaited)
                if not waiting:
                    continue
                try:
                    taken = await self.run(self._store.append, arrivals, self._is_running, self._now())
                except Exception as error:  # a defect of ours; each sender is told, and sends again
                    for one in waiting:
                        if not one.done.done():
                            one.done.set_exception(error)
                    continue
                self.dropped_bytes += taken.dropped_bytes
                self._tell(arrivals)
                for one in waiting:
                    if not one.done.done():
                        one.done.set_result(taken)
        finally:
            self._writing = None

    async def _expect(self, attempts: Sequence[Awaited]) -> None:
        try:
            await self.run(self._store.wait_for, attempts, self._now())
        except Exception:  # a defect of ours; nobody waits for this, and what comes is kept all the same
            log.exception("readers will not be told if lines of %d attempts do not come", len(attempts))

    def _tell(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self.underway.note(arrival)
        for instance_id in {arrival.block.instance_id for arrival in arrivals}:
            for change in self._changes.pop(instance_id, ()):
                if not change.done():
                    change.set_result(None)

    # -- readers ------------------------------------------------------------------------------------------------------

    async def read(
        self,
        instance_id: InstanceId,
        node_id: NodeId | None,
        *,
        attempt: int,
        after: int,
        created_at: float,
        is_final: bool,
    ) -> Chunk:
        """Return the next of what is kept, see `LogStore.read`."""
        return await self.run(
            lambda: self._store.read(
                instance_id,
                node_id,
                attempt=attempt,
                after=after,
                created_at=created_at,
                is_final=is_final,
                now=self._now(),
            )
        )

    async def remove_all(self, instance_ids: Sequence[InstanceId]) -> bool:
        """Remove all that is kept of instances, which are no more. False where the file cannot be used now."""
        return await self.run(self._store.remove_all, instance_ids, self._now())

    async def list_instances(self, after: InstanceId, limit: int) -> list[InstanceId] | None:
        """Return instances of which something is kept, see `LogStore.list_instances`."""
        return await self.run(self._store.list_instances, after, limit, self._now())

    def change(self, instance_id: InstanceId) -> asyncio.Future[None]:
        """Return a future that is set when something further of an instance has come."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.setdefault(instance_id, []).append(future)
        return future

    def forget_change(self, instance_id: InstanceId, future: asyncio.Future[None]) -> None:
        """Take back what `change` gave; a no-op after it was set."""
        futures = self._changes.get(instance_id, [])
        if future in futures:
            futures.remove(future)
            if not futures:
                del self._changes[instance_id]

    @property
    def store(self) -> LogStore:
        """For `run`."""
        return self._store

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of the store, after all others."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
