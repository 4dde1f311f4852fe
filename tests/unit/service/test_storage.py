"""Copies for backups over gRPC: for how long all values stay for whoever has asked for one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest

from dagorama.v1 import storage_pb2, storage_pb2_grpc
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.service import storage
from dagorama_broker.service.server import Server
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.timing import WAIT_S
from tests.unit.logs.sending import logs_of

if TYPE_CHECKING:
    Stub: TypeAlias = storage_pb2_grpc.StorageServiceAsyncStub  # a name that only the stubs' typing has


@pytest.mark.asyncio
async def test_a_caller_that_was_stopped_holds_values_for_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing any more would hold up collection for ever; it is told when it goes on."""
    monkeypatch.setattr(storage, "HELD_MAX_S", 0.01)
    host = Host(SqliteJournal(str(tmp_path / "broker.db")), settings=Settings(), rng=Random(0))
    values = Values(MemoryStore())
    await values.open(bytes(16), is_used=False)
    server = Server(host, logs_of(host), values)
    port = server.bind("localhost", 0)
    await host.start()
    running = asyncio.create_task(host.run())
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(WAIT_S):
            stub: Stub = storage_pb2_grpc.StorageServiceStub(channel)
            call = stub.Backup(storage_pb2.BackupRequest(logs=False))
            response = None
            while response is None or not response.HasField("sent"):
                read = await call.read()
                assert isinstance(read, storage_pb2.BackupResponse)
                response = read
            with pytest.raises(grpc.aio.AioRpcError, match=r"(?s)DEADLINE_EXCEEDED.*make the backup again"):
                await call.read()
            while values.is_held:  # noqa: ASYNC110 - the broker notes it a moment later
                await asyncio.sleep(0)
    finally:
        await server.stop()
        host.stop()
        await running
        await values.close()
