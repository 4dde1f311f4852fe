"""A worker that reads nothing costs the broker no more than a bounded number of answers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest

from dagorama.v1 import work_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.requests import session as sessions
from dagorama_broker.service import work
from tests.unit.host.commands import instance_id, node_id, submit
from tests.unit.host.hosting import running_host

WORKER = b"w" * 16


class Aborted(Exception):
    """The call was ended with a status."""


class DeafContext:
    """The context of a stream whose worker sends, and never reads: no write is ever through."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[work_pb2.WorkRequest] = asyncio.Queue()
        self.status: grpc.StatusCode | None = None

    async def send_initial_metadata(self, metadata: object) -> None:
        """Nothing reads it."""

    async def read(self) -> work_pb2.WorkRequest:
        """Give the next message, when others had their turn, as a connection does."""
        for _ in range(5):
            await asyncio.sleep(0)
        return await self.sent.get()

    async def write(self, response: work_pb2.WorkResponse) -> None:
        """Wait for a reader that never comes."""
        await asyncio.Event().wait()

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """Note the status."""
        self.status = code
        raise Aborted(details)


def refused_results(n: int) -> work_pb2.WorkRequest:
    """Give a message with results for leases that the worker does not have."""
    completions = work_pb2.Completions(
        node_ids=[b"n" * 16] * n, tokens=range(1, n + 1), values=[b""] * n, durations_us=[1] * n
    )
    return work_pb2.WorkRequest(sequence=1, completions=completions)


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(500):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_no_more_is_read_of_a_worker_that_reads_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many answers as there is room for wait, and what is sent beyond stays with the sender."""
    monkeypatch.setattr(sessions, "ANSWERS_MAX", 10)
    async with running_host() as host:
        context = DeafContext()
        context.sent.put_nowait(work_pb2.WorkRequest(hello=work_pb2.Hello(worker_id=WORKER, name="deaf", slots=1)))
        serving = asyncio.create_task(work.WorkService(host).Work(None, cast(Any, context)))
        await settle()
        for _ in range(100):
            context.sent.put_nowait(refused_results(4))
        await settle()
        assert context.sent.qsize() >= 95  # three fill the room, and the next may be read before that is decided
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.asyncio
async def test_the_stream_of_an_evicted_worker_ends_though_it_reads_nothing() -> None:
    """What was granted to it is let go, and the stream ends with its status, behind a message that is never through."""
    async with running_host() as host:
        context = DeafContext()
        hello = work_pb2.Hello(worker_id=WORKER, name="deaf", slots=8)
        context.sent.put_nowait(work_pb2.WorkRequest(hello=hello))
        serving = asyncio.create_task(work.WorkService(host).Work(None, cast(Any, context)))
        await settle()
        await host.submit(submit(*"abcdefgh"))
        await settle()
        session = cast(Any, host.listeners.channels[cast(Any, WORKER)])
        assert host.scheduler.node(instance_id("i"), node_id("a")).worker is session.worker
        session.close("the worker was silent for longer than its leases last")
        with pytest.raises(Aborted, match="silent"):
            await asyncio.wait_for(serving, 60)
        assert context.status is grpc.StatusCode.UNAVAILABLE
        assert not session._grants
        await host.commit(c.CancelInstance(instance_id=instance_id("i")))
