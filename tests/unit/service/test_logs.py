"""The streams of logs, over a real server in this process and a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest

from dagorama.v1 import logs_pb2, logs_pb2_grpc
from dagorama_broker.core import commands as c
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.logs import logs as logs_module
from dagorama_broker.logs.blocks import Arrival, Chunk, IsRunning
from dagorama_broker.logs.logs import Logs
from dagorama_broker.logs.store import LogStore, Taken
from dagorama_broker.requests import logs as requests_logs
from dagorama_broker.service import logs as service_logs
from dagorama_broker.service import server
from dagorama_broker.service.server import Server
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.unit.host.commands import instance_id, node_id, submit, until
from tests.unit.logs.sending import logs_of

if TYPE_CHECKING:
    Stub: TypeAlias = logs_pb2_grpc.LogServiceAsyncStub  # a name that only the stubs' typing has

pytestmark = pytest.mark.asyncio

INSTANCE, A, B = instance_id("i"), node_id("a"), node_id("b")
NONE = logs_pb2.LOG_COMPRESSION_NONE


def part(node: bytes = A, *, ended: bool = False) -> logs_pb2.LogPart:
    """Give a part with one line."""
    return logs_pb2.LogPart(node_id=node, attempt=1, token=1, lines=1, text_bytes=5, ended=ended)


def block(sequence: int, data: bytes = b"lines", *, node: bytes = A, ended: bool = False) -> logs_pb2.LogBlock:
    """Give a block with one line of a node."""
    return logs_pb2.LogBlock(
        instance_id=INSTANCE, sequence=sequence, parts=[part(node, ended=ended)], data=data, compression=NONE
    )


class Serving:
    """A host with an instance of two nodes, served, and a stub."""

    def __init__(self, host: Host, logs: Logs, server: Server, stub: Stub) -> None:
        self.host = host
        self.logs = logs
        self.server = server
        self.stub = stub

    def sender(self, name: str = "s") -> Sender:
        """Open a stream of a worker process."""
        return Sender(self.stub, name)

    async def read(self, node: bytes = b"", **fields: object) -> list[logs_pb2.ReadResponse]:
        """Read until the stream closes."""
        request = logs_pb2.ReadRequest(instance_id=INSTANCE, node_id=node, **fields)  # type: ignore[arg-type]  # the test's
        return [response async for response in self.stub.Read(request)]


class Sender:
    """One stream of a worker process."""

    def __init__(self, stub: Stub, name: str) -> None:
        self.call = stub.Append()
        self._first = {"sender_id": name.encode().ljust(16), "worker": name}

    async def write(self, *blocks: logs_pb2.LogBlock) -> None:
        """Send blocks in one message."""
        first, self._first = self._first, {}
        await self.call.write(logs_pb2.AppendRequest(blocks=blocks, **first))  # type: ignore[arg-type]  # the test's

    async def read(self) -> tuple[int, str]:
        """Give what is acknowledged, and the problem."""
        response = await self.call.read()
        assert isinstance(response, logs_pb2.AppendResponse)
        return response.acknowledged, response.problem

    async def send(self, *blocks: logs_pb2.LogBlock) -> tuple[int, str]:
        """Send blocks and wait for their acknowledgement."""
        await self.write(*blocks)
        return await self.read()


@asynccontextmanager
async def serving(store: LogStore | None = None) -> AsyncIterator[Serving]:
    """Serve a host until the block is left."""
    host = Host(MemoryJournal(), settings=Settings(), rng=Random(0))
    logs = logs_of(host, store)
    server = Server(host, logs, Values(MemoryStore()))
    port = server.bind("localhost", 0)
    await host.start()
    await logs.open()
    running = asyncio.create_task(host.run())
    await server.start()
    await host.commit(submit("a", "b"))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Stub = logs_pb2_grpc.LogServiceStub(channel)
            yield Serving(host, logs, server, stub)
    finally:  # else a failure here would have a later test fail as well, with a server whose event loop is closed
        await server.stop()
        host.stop()
        await running
        await logs.close()


async def test_sent_blocks_are_read() -> None:
    """As they were sent, with the name of their worker, and only those of the node that is asked for."""
    async with serving() as served:
        assert await served.sender().send(block(1, b"\x00"), block(2, node=B)) == (2, "")
        (response,) = await served.read()
        assert [stored.block for stored in response.blocks] == [block(1, b"\x00"), block(2, node=B)]
        assert ([stored.worker for stored in response.blocks], response.last) == (["s", "s"], True)
        (response,) = await served.read(B)
        assert [stored.block for stored in response.blocks] == [block(2, node=B)]


async def test_reader_goes_on_from_a_cursor() -> None:
    """Nothing is told twice, also where each request brings one response only."""
    async with serving() as served:
        sender = served.sender()
        await sender.send(block(1, b"a" * 2**20), block(2, b"b" * 2**20))
        (first,) = await served.read(once=True)
        (second,) = await served.read(once=True, after=first.cursor)
        (third,) = await served.read(once=True, after=second.cursor)
        blocks = [[stored.block.sequence for stored in response.blocks] for response in (first, second, third)]
        assert (blocks, [first.last, second.last, third.last]) == ([[1], [2], []], [False, True, True])


async def test_follower_is_told_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who follows hears of each block, and of those that lag behind the end of the instance, and is let go."""
    monkeypatch.setattr(requests_logs, "_QUIET_S", 0.0)
    async with serving() as served:
        sender = served.sender()
        reading = aiter(served.stub.Read(logs_pb2.ReadRequest(instance_id=INSTANCE, follow=True)))
        for sequence in (1, 2):
            await sender.send(block(sequence))
            response = await anext(reading)
            assert ([stored.block.sequence for stored in response.blocks], response.last) == ([sequence], False)
        await served.host.commit(c.CancelInstance(instance_id=INSTANCE))
        await sender.send(block(3, ended=True))
        rest = [response async for response in reading]
        assert [stored.block.sequence for response in rest for stored in response.blocks] == [3]
        assert rest[-1].last


async def test_follower_does_not_wait_for_a_worker_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its attempts have not sent does not come any more."""
    monkeypatch.setattr(requests_logs, "_QUIET_S", 0.0)
    monkeypatch.setattr(requests_logs, "_REST_S", 1e9)
    async with serving() as served:
        sender = served.sender()
        await sender.send(block(1))
        await served.host.commit(c.CancelInstance(instance_id=INSTANCE))
        reading = asyncio.create_task(served.read(follow=True))
        sender.call.cancel()
        responses = await asyncio.wait_for(reading, 60)
        assert [stored.block.sequence for response in responses for stored in response.blocks] == [1]


async def test_follower_that_asks_once_is_told_of_what_comes() -> None:
    """One response, with the first that comes."""
    async with serving() as served:
        sender = served.sender()
        reading = asyncio.create_task(served.read(follow=True, once=True))
        await sender.send(block(1))
        (response,) = await reading
        assert ([stored.block.sequence for stored in response.blocks], response.last) == ([1], False)


class Young(LogStore):
    """A store that is younger than every instance."""

    def read(self, *args: Any, created_at: float = 0.0, **settings: Any) -> Chunk:
        """Say so where an instance's age is asked about."""
        chunk = super().read(*args, **settings)
        return chunk._replace(gaps=["begun"]) if created_at else chunk


async def test_beginning_of_the_store_wakes_nobody() -> None:
    """That an instance is older than the store is told with what there is, and is no news to who waits."""
    async with serving(Young(None)) as served:
        (response,) = await served.read(once=True)
        assert list(response.gaps) == ["begun"]
        reading = asyncio.create_task(served.read(follow=True, once=True))
        await served.sender().send(block(1))
        (response,) = await reading
        assert (len(response.blocks), list(response.gaps)) == (1, [])
        following = aiter(served.stub.Read(logs_pb2.ReadRequest(instance_id=INSTANCE, follow=True)))
        assert list((await anext(following)).gaps) == ["begun"]


async def test_unknown_ids_are_not_found() -> None:
    """An instance, and a node of a known one."""
    async with serving() as served:
        for request in (
            logs_pb2.ReadRequest(instance_id=bytes(16)),
            logs_pb2.ReadRequest(instance_id=INSTANCE, node_id=bytes(16)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.Read(request).read()
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


Bad = Callable[[], list[logs_pb2.AppendRequest]]


def message(*blocks: logs_pb2.LogBlock, sender: bytes = b"s" * 16) -> logs_pb2.AppendRequest:
    """Give the first message of a stream."""
    return logs_pb2.AppendRequest(sender_id=sender, worker="w", blocks=blocks)


def changed(**fields: object) -> logs_pb2.LogBlock:
    """Give a block with other fields."""
    found = block(1)
    found.MergeFrom(logs_pb2.LogBlock(**fields))  # type: ignore[arg-type]  # the test's
    return found


def without(field: str) -> logs_pb2.LogBlock:
    """Give a block that lacks a field."""
    found = block(1)
    found.ClearField(field)  # type: ignore[arg-type]  # the test's
    return found


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: [message(sender=b"s")], "sender_id has 1 bytes"),
        (lambda: [logs_pb2.AppendRequest()], "sender_id has 0 bytes"),
        (lambda: [logs_pb2.AppendRequest(sender_id=bytes(16), worker="w" * 3000)], "worker"),
        (lambda: [message(), message(sender=b"t" * 16)], "two senders"),
        (lambda: [message(changed(instance_id=b"i"))], "instance_id has 1 bytes"),
        (lambda: [message(block(0))], "number 0 after 0"),
        (lambda: [message(block(2), block(2))], "number 2 after 2"),
        (lambda: [message(block(2**63))], "number 9223372036854775808"),
        (lambda: [message(without("parts"))], "no parts"),
        (lambda: [message(without("compression"))], "no compression"),
        (lambda: [message(changed(parts=[logs_pb2.LogPart(node_id=b"n")]))], "node_id has 1 bytes"),
        (lambda: [message(changed(parts=[logs_pb2.LogPart(node_id=A, text_bytes=2**60)]))], "text_bytes of"),
        (lambda: [message(changed(parts=[logs_pb2.LogPart(node_id=A, token=2**63)]))], "the token"),
        (lambda: [message(*(block(number) for number in range(1, 1002)))], "1001 blocks; at most are 1000"),
        (lambda: [message(changed(parts=[part()] * 5000))], "5001 parts; at most are 5000"),
        (lambda: [message(block(1, b"x" * 2**23))], "at most are 8388608"),
    ],
)
async def test_malformed_messages_are_refused(make: Bad, complaint: str) -> None:
    """The status names the field and what it has, and nothing is kept."""
    async with serving() as served:
        call = served.stub.Append()

        async def send() -> None:
            for each in make():
                await call.write(each)
                await call.read()

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await send()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert complaint in str(refused.value.details())
        (response,) = await served.read()
        assert not response.blocks


async def test_later_stream_takes_the_place_of_the_earlier() -> None:
    """What comes late over the earlier one is not stored: it would be above what the later one still has to send."""
    async with serving() as served:
        earlier, later = served.sender(), served.sender()
        assert await earlier.send(block(1)) == (1, "")
        assert await later.send(block(2)) == (2, "")
        await earlier.write(block(4))
        assert await earlier.call.code() is grpc.StatusCode.UNAVAILABLE
        assert await later.send(block(3), block(4)) == (4, "")
        (response,) = await served.read()
        assert [stored.block.sequence for stored in response.blocks] == [1, 2, 3, 4]


async def test_problem_is_told_to_those_whose_blocks_are_dropped() -> None:
    """And to readers, as a gap; the blocks are acknowledged."""
    async with serving(LogStore(None, bytes_max=1)) as served:
        assert await served.sender().send(block(1)) == (1, "the broker's log store is full (1 bytes)")
        assert await served.sender("t").send() == (0, "")
        (response,) = await served.read()
        assert (list(response.blocks), len(response.gaps)) == ([], 1)


class Gated(LogStore):
    """A store that writes when a test lets it; notes how many blocks it was given at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None)
        self.given: list[int] = []
        self._loop = loop
        self.gate = asyncio.Event()
        self.came = asyncio.Event()

    def append(self, arrivals: list[Arrival], is_running: IsRunning, now: float) -> Taken:  # type: ignore[override]
        """Wait for the gate, in the store's thread."""
        self.given.append(len(arrivals))
        self._loop.call_soon_threadsafe(self.came.set)
        asyncio.run_coroutine_threadsafe(self.gate.wait(), self._loop).result()
        return super().append(arrivals, is_running, now)


async def test_slow_store_holds_up_nothing_else() -> None:
    """While a block is written, those that come wait together, and nodes go on."""
    store = Gated(asyncio.get_running_loop())
    async with serving(store) as served:
        senders = [served.sender(name) for name in "abc"]
        await senders[0].write(block(1))
        await store.came.wait()
        for sender in senders[1:]:
            await sender.write(block(1))
        await senders[0].write(block(2))
        await served.host.commit(submit("c"))
        store.gate.set()
        assert [await sender.read() for sender in senders[1:]] == [(1, "")] * 2
        assert await senders[0].read() == (1, "")
        assert await senders[0].read() == (2, "")
        assert store.given[0] == 1
        assert sum(store.given) == 4


async def test_flood_is_not_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream with enough that waits to be written nothing more is read before it is; others are."""
    monkeypatch.setattr(service_logs, "STREAM_BYTES_MAX", 1000)
    store = Gated(asyncio.get_running_loop())
    async with serving(store) as served:
        sender, other = served.sender(), served.sender("t")
        await sender.write(block(1, b"x" * 1000))
        await store.came.wait()
        await sender.write(block(2))
        for sequence in (1, 2, 3):
            await other.write(block(sequence))
        waiting = served.logs._waiting
        await until(lambda: len(waiting) == 3)
        assert {arrival.worker for each in waiting for arrival in each.arrivals} == {"t"}
        store.gate.set()
        assert [await sender.read(), await sender.read()] == [(1, ""), (2, "")]
        while (await other.read())[0] < 3:
            pass


async def test_nothing_is_read_while_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams together have a bound, too."""
    monkeypatch.setattr(logs_module, "WAITING_BYTES_MAX", 1000)
    store = Gated(asyncio.get_running_loop())
    async with serving(store) as served:
        first, second = served.sender(), served.sender("t")
        await first.write(block(1))
        await store.came.wait()
        await second.write(block(1, b"x" * 1000))
        await until(lambda: bool(served.logs._waiting))
        assert not served.logs._has_room.is_set()
        store.gate.set()
        assert [await first.read(), await second.read()] == [(1, ""), (1, "")]
        await until(served.logs._has_room.is_set)


async def test_streams_end_when_the_broker_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is idle does not hold up its end, and its worker hears why."""
    monkeypatch.setattr(server, "_GRACE_S", 60.0)
    async with serving() as served:
        sender = served.sender()
        await sender.send(block(1))
        began_at = asyncio.get_running_loop().time()
        await served.server.stop()
        assert await sender.call.code() is grpc.StatusCode.UNAVAILABLE
        assert asyncio.get_running_loop().time() - began_at < 30
