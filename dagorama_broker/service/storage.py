"""Care of what the broker keeps: gRPC's side of backups, and of telling how large everything is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from grpc import aio

from dagorama.client.installed import installed_version
from dagorama.v1 import storage_pb2, storage_pb2_grpc
from dagorama_broker.copies.stepped import CannotCopy, Copied, Copy, Measure
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.service.errors import abort
from dagorama_broker.values.collecting import count_unused
from dagorama_broker.values.values import IDLE_S, Values

#: What is sent in one message.
CHUNK_BYTES = 2**20

#: All values stay for a caller for so long after the copies were sent. One that was stopped, or is cut off without a
#: word, would hold up collection for ever; one that needs longer goes on with its backup by a call anew.
HELD_MAX_S = 24 * 3600.0

_VERSION = installed_version("dagorama")
_IN_MEMORY = (
    "this broker keeps everything in memory, so there is nothing to back up; start one with a file, as "
    "DAGORAMA_STORAGE=sqlite:///broker.db"
)

#: Calls a function where all others use the same disk, one after the other.
Run = Callable[..., Awaitable[Any]]
_Context = aio.ServicerContext[storage_pb2.BackupRequest, storage_pb2.BackupResponse]


class StorageService(storage_pb2_grpc.StorageServiceServicer):
    """Serves `StorageService`."""

    def __init__(self, host: Host, logs: Logs, values: Values) -> None:
        self._host = host
        self._logs = logs
        self._values = values
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all backups: they are not whole."""
        self._stopping.set()

    async def Backup(self, request: storage_pb2.BackupRequest, context: _Context) -> None:  # type: ignore[override]  # it writes
        """Send copies, and have all values stay until the caller has gone, or for a day."""
        database = self._host.journal
        if not isinstance(database, Copied):
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, CannotCopy(_IN_MEMORY))
            return
        with self._values.held():
            sending = asyncio.ensure_future(self._send(request, context, database))
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                    await asyncio.wait({stopping}, timeout=HELD_MAX_S)
                    if not stopping.done():
                        text = f"values were kept for {HELD_MAX_S:g} s; make the backup again, which goes on"
                        await abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, text)
            except CannotCopy as error:
                await abort(context, grpc.StatusCode.FAILED_PRECONDITION, error)
            finally:
                stopping.cancel()
                sending.cancel()
                await asyncio.wait({sending})  # the database is let go before the call ends
            await abort(context, grpc.StatusCode.UNAVAILABLE, "the broker is stopping")

    async def _send(self, request: storage_pb2.BackupRequest, context: _Context, database: Copied) -> None:
        header = storage_pb2.BackupHeader(
            location=self._host.journal.location,
            values_location=self._values.store.location,
            broker_version=_VERSION,
        )
        await _write(context, storage_pb2.BackupResponse(header=header))
        async with _copied(database, self._host.read) as copy:
            assert copy is not None, "an open database has a copy"
            async for chunk in _chunks(copy):
                await _write(context, storage_pb2.BackupResponse(database=chunk))
        problem = ""
        if request.logs:
            try:
                async with _copied(self._logs.store, self._logs.run) as copy:
                    if copy is not None:
                        async for chunk in _chunks(copy):
                            await _write(context, storage_pb2.BackupResponse(logs=chunk))
            except CannotCopy as error:
                problem = str(error)
        await _write(context, storage_pb2.BackupResponse(sent=storage_pb2.BackupSent(logs_problem=problem)))

    async def MeasureStorage(
        self, request: storage_pb2.MeasureStorageRequest, context: aio.ServicerContext[Any, Any]
    ) -> storage_pb2.MeasureStorageResponse:
        """Tell how large everything is."""
        journal, values = self._host.journal, self._values
        database = await self._host.read(journal.measure_file) if isinstance(journal, Copied) else Measure()
        logs = await self._logs.run(self._logs.store.measure_file)
        counted = await count_unused(values, lambda digests: self._host.read(journal.find_used, digests))
        return storage_pb2.MeasureStorageResponse(
            database=_measured(database),
            logs=_measured(logs),
            values_location=values.store.location,
            values=counted.values,
            values_bytes=counted.values_bytes,
            unused_values=counted.unused,
            unused_bytes=counted.unused_bytes,
        )


@asynccontextmanager
async def _copied(database: Copied, run: Run) -> AsyncIterator[Copy | None]:
    """Copy a database step by step, while others use it. Raises `CannotCopy`."""
    loop = asyncio.get_running_loop()
    beginning = asyncio.ensure_future(run(database.begin_copy))
    try:
        copy: Copy | None = await asyncio.shield(beginning)
    except asyncio.CancelledError:
        with suppress(CannotCopy):
            if (begun := await beginning) is not None:
                await _end(begun, run)
        raise
    if copy is None:
        yield None
        return
    try:
        is_more = True
        while is_more:
            began_at = loop.time()
            is_more = await run(copy.step)
            await asyncio.sleep(loop.time() - began_at)  # commits get at least half of the disk's time
        yield copy
    finally:
        # Also where the call was given up; the copy may be at a step until then.
        await asyncio.shield(_end(copy, run))


async def _end(copy: Copy, run: Run) -> None:
    await run(copy.give_up)
    copy.close()


async def _chunks(copy: Copy) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    for offset in range(0, copy.size, CHUNK_BYTES):
        yield await loop.run_in_executor(None, copy.read, offset, CHUNK_BYTES)


async def _write(context: _Context, response: storage_pb2.BackupResponse) -> None:
    try:
        async with asyncio.timeout(IDLE_S):
            await context.write(response)
    except TimeoutError:
        await abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing has been read for {IDLE_S:g} s")


def _measured(measure: Measure) -> storage_pb2.MeasuredFile:
    return storage_pb2.MeasuredFile(**measure._asdict())
