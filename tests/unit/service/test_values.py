"""Values over gRPC: put, found, got and adopted; and what refers to them is not taken before they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeAlias
from unittest.mock import patch

import grpc
import pytest

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2, values_pb2, values_pb2_grpc, work_pb2, work_pb2_grpc
from dagorama_broker.core.model.references import MARK, Reference, write_references
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.service.server import Server
from dagorama_broker.service.values import CODES
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import StoreAway, ValuesError
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.unit.host.commands import instance_id, node_id, until
from tests.unit.logs.sending import logs_of

if TYPE_CHECKING:
    Stub: TypeAlias = values_pb2_grpc.ValueServiceAsyncStub  # a name that only the stubs' typing has

pytestmark = pytest.mark.asyncio

VALUE = b"".join(sha256(b"%d" % number).digest() for number in range(96_000))  # of no period
DIGEST = sha256(VALUE).digest()
INSTANCE = instance_id("i")
FUNCTION = graph_pb2.FunctionSpec(name="shop:f", queue="q")


@dataclass
class Serving:
    """A server that runs, and a client of it."""

    host: Host
    values: Values
    server: Server
    channel: grpc.aio.Channel
    stub: Stub

    async def put(self, value: bytes, *, digest: bytes = b"", size: int = -1, offset: int = 0) -> int:
        """Put a value; give how many bytes are stored."""
        header = values_pb2.PutValueHeader(
            digest=digest or sha256(value).digest(), size=len(value) if size < 0 else size, offset=offset
        )
        return await self.send(header, [value[at : at + 2**20] for at in range(offset, len(value), 2**20)])

    async def send(self, header: values_pb2.PutValueHeader | None, chunks: Sequence[bytes]) -> int:
        """Send the messages of an upload."""
        messages = [] if header is None else [values_pb2.PutValueRequest(header=header)]
        messages += [values_pb2.PutValueRequest(chunk=chunk) for chunk in chunks]
        return await self.upload(messages)

    async def upload(self, messages: Sequence[values_pb2.PutValueRequest]) -> int:
        """Upload; again where gRPC has lost the answer, which the broker gave while more was being sent."""
        while True:
            try:
                return (await self.stub.PutValue(iter(messages))).stored_bytes
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INTERNAL:
                    raise

    async def get(self, digest: bytes, offset: int = 0) -> bytes:
        """Get a value; the first message, and no other, tells its size."""
        got = [one async for one in self.stub.GetValue(values_pb2.GetValueRequest(digest=digest, offset=offset))]
        assert [one.size for one in got[1:]] == [0] * (len(got) - 1)
        assert got[0].size == offset + sum(len(one.chunk) for one in got)
        return b"".join(one.chunk for one in got)

    async def until_received(self, size: int) -> None:
        """Wait until so much of the value is there, and no more."""
        async with asyncio.timeout(30):
            while await self.missing(DIGEST) != [(DIGEST, size)]:  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0)

    async def missing(self, *digests: bytes) -> list[tuple[bytes, int]]:
        """Give the values that are not there, and how much is."""
        response = await self.stub.FindValues(values_pb2.FindValuesRequest(digests=digests))
        return [(one.digest, one.received_bytes) for one in response.missing]


@asynccontextmanager
async def serving(folder: Path | None = None) -> AsyncIterator[Serving]:
    """Serve a host with its values until the block is left."""
    host = Host(MemoryJournal(), settings=Settings(), rng=Random(0))
    values = Values(MemoryStore() if folder is None else DirectoryStore(folder), size_max=10 * len(VALUE))
    await values.open(bytes(16), is_used=False)
    host.find_values, host.find_reported = values.whole, values.whole_now
    server = Server(host, logs_of(host), values)
    port = server.bind("localhost", 0)
    await host.start()
    running = asyncio.create_task(host.run())
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Stub = values_pb2_grpc.ValueServiceStub(channel)
        try:
            yield Serving(host, values, server, channel, stub)
        finally:
            await server.stop()
            host.stop()
            await running
            await values.close()


def refused(code: grpc.StatusCode, match: str) -> pytest.RaisesExc[grpc.aio.AioRpcError]:
    """Expect a refusal with this code."""
    return pytest.raises(grpc.aio.AioRpcError, match=f"(?s){code}.*{match}")


async def test_a_value_is_got_as_it_was_put() -> None:
    """From any place on; it may be put again, and an empty one is a value."""
    async with serving() as served:
        assert await served.missing(DIGEST) == [(DIGEST, 0)]
        assert [await served.put(VALUE), await served.put(VALUE), await served.put(b"")] == [len(VALUE)] * 2 + [0]
        assert await served.missing(DIGEST, sha256(b"").digest()) == []
        assert await served.get(DIGEST) == VALUE
        assert await served.get(DIGEST, 1_234_567) == VALUE[1_234_567:]
        assert await served.get(sha256(b"").digest()) == b""


async def test_an_upload_goes_on_from_where_it_was_broken_off(tmp_path: Path) -> None:
    """As the broker tells it; from further it does not."""
    async with serving(tmp_path) as served:
        call = served.stub.PutValue()
        await call.write(values_pb2.PutValueRequest(header=values_pb2.PutValueHeader(digest=DIGEST, size=len(VALUE))))
        await call.write(values_pb2.PutValueRequest(chunk=VALUE[:1_000_000]))
        await served.until_received(1_000_000)
        call.cancel()
        await until(lambda: not served.values.underway)
        with refused(grpc.StatusCode.OUT_OF_RANGE, "1000000 bytes are there"):
            await served.put(VALUE, offset=1_000_001)
        assert await served.put(VALUE, offset=1_000_000) == len(VALUE)
        assert await served.get(DIGEST) == VALUE
        assert served.values.put_bytes == len(VALUE)


async def test_uploads_that_lie_are_refused() -> None:
    """Each by what is wrong with it, and nothing is kept."""
    bad = grpc.StatusCode.INVALID_ARGUMENT
    size = len(VALUE)
    async with serving() as served:
        with refused(bad, f"{DIGEST.hex()} was announced, and the bytes that came have the digest"):
            await served.put(VALUE[::-1], digest=DIGEST)
        with refused(bad, "the bytes that came have the digest"):  # chunks out of order
            header = values_pb2.PutValueHeader(digest=DIGEST, size=size)
            await served.send(header, [VALUE[2**20 : 2**21], VALUE[: 2**20], VALUE[2**21 :]])
        with refused(bad, f"is to have {size - 1} bytes, and"):
            await served.put(VALUE, size=size - 1)
        with refused(bad, f"is to have {size + 1} bytes, and the upload has ended after {size}"):
            await served.put(VALUE, size=size + 1)
        with refused(bad, "a digest has 31 bytes"):
            await served.put(VALUE, digest=DIGEST[1:])
        with refused(bad, "cannot begin at byte"):
            await served.send(values_pb2.PutValueHeader(digest=DIGEST, size=1, offset=2), [])
        with refused(bad, "has no header"):
            await served.send(None, [VALUE[:10]])
        with refused(bad, "has no header"):
            await served.send(None, [])
        with refused(bad, "a chunk has 4194305 bytes; the limit is 4194304"):
            await served.send(values_pb2.PutValueHeader(digest=DIGEST, size=2**23), [bytes(2**22 + 1)])
        with refused(bad, "other than the first, has no chunk"):
            header = values_pb2.PutValueHeader(digest=DIGEST, size=size)
            await served.upload([values_pb2.PutValueRequest(header=header)] * 2)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "Raise DAGORAMA_VALUE_MAX"):
            await served.send(values_pb2.PutValueHeader(digest=DIGEST, size=10 * size + 1), [])
        with refused(bad, "10001 values are asked for; the limit is 10000"):
            await served.missing(*[DIGEST] * 10_001)
        with refused(bad, "a digest has 1 bytes"):
            await served.missing(b"x")
        assert [digest for digest, _ in await served.missing(DIGEST)] == [DIGEST]
        await served.put(VALUE)
        assert await served.get(DIGEST) == VALUE


async def test_a_value_that_is_not_there_is_named() -> None:
    """By its digest, with what may have become of it."""
    async with serving() as served:
        with refused(grpc.StatusCode.NOT_FOUND, f"value {DIGEST.hex()} is not in the broker's store"):
            await served.get(DIGEST)


async def test_a_value_that_was_cut_short_is_missing_for_who_knows_its_size(tmp_path: Path) -> None:
    """A client that says no size hears that it is there, as before."""
    async with serving(tmp_path) as served:
        await served.put(VALUE)
        digits = DIGEST.hex()
        path = tmp_path / digits[:2] / digits[2:4] / digits
        path.chmod(0o600)
        path.write_bytes(VALUE[:-1])
        assert await served.missing(DIGEST) == []
        request = values_pb2.FindValuesRequest(digests=[DIGEST, b"x" * 32], sizes=[len(VALUE), 1])
        assert [one.digest for one in (await served.stub.FindValues(request)).missing] == [DIGEST, b"x" * 32]
        await served.put(VALUE)
        assert await served.get(DIGEST) == VALUE
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "2 values are asked for, with 1 sizes"):
            await served.stub.FindValues(values_pb2.FindValuesRequest(digests=request.digests, sizes=[1]))


async def test_a_client_on_the_same_host_has_its_file_adopted(tmp_path: Path) -> None:
    """Once it has seen by the proof that the directory is the broker's."""
    async with serving(tmp_path / "values") as served:
        told = await served.stub.DescribeStore(values_pb2.DescribeStoreRequest())
        folder = Path(told.directory)
        assert (folder / told.proof_name).read_text() == told.proof_token
        assert (told.chunk_bytes, told.value_max_bytes) == (2**20, 10 * len(VALUE))
        (folder / "incoming" / "mine").write_bytes(VALUE)
        request = values_pb2.AdoptValueRequest(digest=DIGEST, size=len(VALUE), file_name="mine")
        assert (await served.stub.AdoptValue(request)).stored_bytes == len(VALUE)
        assert await served.get(DIGEST) == VALUE
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "no file 'mine' to adopt"):
            await served.stub.AdoptValue(request)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "is no name of a file to adopt"):
            request.file_name = "../owner"
            await served.stub.AdoptValue(request)


async def test_an_adopted_file_that_is_another_value_is_found_out(tmp_path: Path) -> None:
    """When it is first read, and is then removed."""
    async with serving(tmp_path) as served:
        (tmp_path / "incoming" / "mine").write_bytes(VALUE[::-1])
        await served.stub.AdoptValue(values_pb2.AdoptValueRequest(digest=DIGEST, size=len(VALUE), file_name="mine"))
        with refused(grpc.StatusCode.DATA_LOSS, f"value {DIGEST.hex()} in {tmp_path} has been changed"):
            await served.get(DIGEST)
        assert await served.missing(DIGEST) == [(DIGEST, 0)]


async def test_a_broker_without_a_directory_says_so() -> None:
    """There is nothing to adopt then."""
    async with serving() as served:
        told = await served.stub.DescribeStore(values_pb2.DescribeStoreRequest())
        assert (told.directory, told.proof_name, told.proof_token) == ("", "", "")
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "keeps its values in memory"):
            await served.stub.AdoptValue(values_pb2.AdoptValueRequest(digest=DIGEST, file_name="x"))


async def test_streams_end_when_the_broker_stops(tmp_path: Path) -> None:
    """Clients are told to come again, and go on from where they were."""
    async with serving(tmp_path) as served:
        call = served.stub.PutValue()
        await call.write(values_pb2.PutValueRequest(header=values_pb2.PutValueHeader(digest=DIGEST, size=len(VALUE))))
        await call.write(values_pb2.PutValueRequest(chunk=VALUE[:5]))
        await served.until_received(5)
        await served.server.stop()
        with refused(grpc.StatusCode.UNAVAILABLE, "the broker is stopping"):
            await call
    assert [path.stat().st_size for path in (tmp_path / "incoming").iterdir()] == [5]


async def test_every_error_of_the_store_has_a_code() -> None:
    """An error without one would end a call with nothing said."""
    assert set(ValuesError.__subclasses__()) <= set(CODES)


# -- what refers to values --------------------------------------------------------------------------------------------


def referring(*values: bytes, stream: bytes | None = b".") -> bytes:
    """Give a payload that refers to values."""
    return write_references([Reference(sha256(value).digest(), len(value)) for value in values], stream)


def calls(*arguments: bytes) -> graph_pb2.Calls:
    """Give calls with these arguments."""
    ids = [node_id(str(number)) for number in range(len(arguments))]
    return graph_pb2.Calls(node_ids=ids, functions=[0] * len(ids), arguments=arguments)


def start(*arguments: bytes, definition: bytes = b"", hook: bytes = b"") -> dag_pb2.SubmitRequest:
    """Give the start of an instance."""
    function = graph_pb2.FunctionSpec(name="shop:f", queue="q", definition_arguments=definition)
    hooks = [dag_pb2.Hook(function=0, arguments=hook)] if hook else []
    return dag_pb2.SubmitRequest(
        instance_id=INSTANCE, definition="d", functions=[function], calls=calls(*arguments), hooks=hooks
    )


@pytest.mark.parametrize("place", ["arguments", "definition", "hook"])
async def test_a_start_is_refused_while_its_values_are_missing(place: str) -> None:
    """The missing ones are named, for the client to put them; nothing was made by then."""
    payload = referring(VALUE, b"other")
    request = start(payload) if place == "arguments" else start(b"", **{place: payload})
    async with serving() as served:
        dag: dag_pb2_grpc.DagServiceAsyncStub = dag_pb2_grpc.DagServiceStub(served.channel)
        await served.put(b"other")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, f"lacks value {DIGEST.hex()}, which") as caught:
            await dag.Submit(request)
        assert dict(caught.value.trailing_metadata() or ())["dagorama-missing-bin"] == DIGEST
        assert served.host.scheduler.instances == {}
        await served.put(VALUE)
        await dag.Submit(request)
        used = served.host.journal.find_used([DIGEST, sha256(b"other").digest(), b"x" * 32])
        assert used == {DIGEST, sha256(b"other").digest()}


async def test_many_missing_values_are_named_in_part() -> None:
    """As many as a header has room for; the rest the next time."""
    values = [b"%d" % number for number in range(100)]
    async with serving() as served:
        dag: dag_pb2_grpc.DagServiceAsyncStub = dag_pb2_grpc.DagServiceStub(served.channel)
        for expected in (64, 36):
            with refused(grpc.StatusCode.FAILED_PRECONDITION, f"and {99 if expected == 64 else 35} more") as caught:
                await dag.Submit(start(referring(*values)))
            named = dict(caught.value.trailing_metadata() or ())["dagorama-missing-bin"]
            assert isinstance(named, bytes)
            digests = {named[at : at + 32] for at in range(0, len(named), 32)}
            assert len(digests) == expected
            for value in values:
                if sha256(value).digest() in digests:
                    await served.put(value)
        await dag.Submit(start(referring(*values)))


async def test_references_that_cannot_be_are_refused() -> None:
    """Bytes that only begin like some, and a size that lies."""
    async with serving() as served:
        dag: dag_pb2_grpc.DagServiceAsyncStub = dag_pb2_grpc.DagServiceStub(served.channel)
        await served.put(VALUE)
        wrong = write_references([Reference(DIGEST, 5)], b".")
        with refused(grpc.StatusCode.INVALID_ARGUMENT, f"as one of 5 bytes; it has {len(VALUE)}"):
            await dag.Submit(start(wrong))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "as one of 5 bytes; it has|as one of"):
            await dag.Submit(start(wrong, referring(VALUE)))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "begins as one that refers to values, but"):
            await dag.Submit(start(MARK))


class Worker:
    """A worker's stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: work_pb2_grpc.WorkServiceAsyncStub = work_pb2_grpc.WorkServiceStub(channel)
        self.call = stub.Work()
        self.tokens: dict[bytes, int] = {}
        self.refusals: list[work_pb2.Refusal] = []
        self.acknowledged = 0

    async def begin(self, *, worker_id: bytes = b"w" * 16, reads_references: bool = True) -> None:
        """Say hello."""
        hello = work_pb2.Hello(worker_id=worker_id, name="w", slots=9, reads_references=reads_references)
        await self.call.write(work_pb2.WorkRequest(hello=hello))

    async def read(self) -> None:
        """Take one message in."""
        response = await self.call.read()
        assert isinstance(response, work_pb2.WorkResponse)
        self.tokens |= zip(response.grants.node_ids, response.grants.tokens, strict=True)
        self.refusals += response.refusals
        self.acknowledged = response.acknowledged

    async def report(self, sequence: int, request: work_pb2.WorkRequest) -> list[work_pb2.Refusal]:
        """Report, and give what is refused by when that is acknowledged."""
        request.sequence = sequence
        self.refusals = []
        await self.call.write(request)
        while self.acknowledged < sequence:
            await self.read()
        return self.refusals


async def test_a_report_is_not_taken_while_its_values_are_missing() -> None:
    """Its lease lives on, the others of the message count, and it is taken when it comes again."""
    async with serving() as served:
        dag: dag_pb2_grpc.DagServiceAsyncStub = dag_pb2_grpc.DagServiceStub(served.channel)
        await dag.Submit(start(b"", b"", b"", b"", b""))
        worker = Worker(served.channel)
        await worker.begin()
        while len(worker.tokens) < 5:
            await worker.read()
        ids = [node_id(str(number)) for number in range(5)]
        tokens = [worker.tokens[id] for id in ids]
        failure = graph_pb2.Failure(type="E", message="m", exception=referring(b"exception"))
        children = graph_pb2.Calls(node_ids=[node_id("c")], functions=[0], arguments=[referring(b"child")])
        request = work_pb2.WorkRequest(
            functions=[FUNCTION],
            completions=work_pb2.Completions(
                node_ids=ids[:2], tokens=tokens[:2], values=[referring(VALUE, stream=None), b"v"], durations_us=[1, 1]
            ),
            results=[
                work_pb2.Result(node_id=ids[2], token=tokens[2], failure=failure),
                work_pb2.Result(node_id=ids[3], token=tokens[3], value=b"", children=children),
                work_pb2.Result(node_id=ids[4], token=tokens[4], value=MARK),
            ],
        )

        def states() -> list[str]:
            nodes = served.host.scheduler.instances[INSTANCE].nodes
            return [str(nodes[id].state) for id in ids]

        refusals = await worker.report(1, request)
        told = [(one.node_id, one.presented, list(one.missing)) for one in refusals]
        assert told == [
            (ids[0], tokens[0], [DIGEST]),
            (ids[2], tokens[2], [sha256(b"exception").digest()]),
            (ids[3], tokens[3], [sha256(b"child").digest()]),
        ]
        leased = str(NodeState.LEASED)
        assert states() == [leased, "completed", leased, leased, "failed"]
        for value in (VALUE, b"exception", b"child"):
            await served.put(value)
        del request.results[2]
        again = await worker.report(2, request)
        assert [(one.node_id, list(one.missing)) for one in again] == [(ids[1], [])]  # it was taken before
        assert states() == ["completed", "completed", "failed", "completed", "failed"]
        digests = [sha256(value).digest() for value in (VALUE, b"exception", b"child")]
        assert served.host.journal.find_used(digests) == set(digests)
        await worker.call.done_writing()


async def test_a_store_that_is_away_is_not_taken_for_the_broker() -> None:
    """Clients are told which of the two does not answer; a report is not taken, and that of others in it is."""
    away = StoreAway(location="s3://bucket", problem="no answer")
    async with serving() as served:
        dag: dag_pb2_grpc.DagServiceAsyncStub = dag_pb2_grpc.DagServiceStub(served.channel)
        await dag.Submit(start(b"", b""))
        worker = Worker(served.channel)
        await worker.begin()
        while len(worker.tokens) < 2:
            await worker.read()
        ids = [node_id(str(number)) for number in range(2)]
        tokens = [worker.tokens[id] for id in ids]
        report = work_pb2.WorkRequest(
            functions=[FUNCTION],
            completions=work_pb2.Completions(
                node_ids=ids, tokens=tokens, values=[referring(VALUE, stream=None), b"v"], durations_us=[1, 1]
            ),
        )
        store = served.values.store
        with patch.object(store, "find", side_effect=away), patch.object(store, "begin", side_effect=away):
            request = dag_pb2.SubmitRequest(
                instance_id=instance_id("other"),
                definition="d",
                functions=[FUNCTION],
                calls=graph_pb2.Calls(node_ids=[node_id("o")], functions=[0], arguments=[referring(VALUE)]),
            )
            for asking in (lambda: dag.Submit(request), lambda: served.missing(DIGEST), lambda: served.put(VALUE)):
                with refused(grpc.StatusCode.UNAVAILABLE, "store of values s3://bucket cannot be used") as caught:
                    await asking()
                assert dict(caught.value.trailing_metadata() or ())["dagorama-store"] == "away"
            (missing,) = await worker.report(1, report)
            assert (missing.node_id, list(missing.missing)) == (ids[0], [DIGEST])
        nodes = served.host.scheduler.instances[INSTANCE].nodes
        assert [str(nodes[id].state) for id in ids] == [str(NodeState.LEASED), "completed"]
        await served.put(VALUE)
        await dag.Submit(request)
        await worker.call.done_writing()


async def test_a_node_waits_for_the_store_while_that_says_no() -> None:
    """Its worker names it with what it asks for it; other errors, and other nodes, are no wait."""
    away = StoreAway(location="s3://bucket", problem="no answer")
    header = values_pb2.PutValueHeader(digest=DIGEST, size=len(VALUE))
    for_node = (("dagorama-node-bin", node_id("n")),)
    async with serving() as served:
        waits = served.values.waiting.find
        for key in ("dagorama-node-bin", "other-bin"):
            with refused(grpc.StatusCode.NOT_FOUND, "is not in the broker's store"):
                async for _ in served.stub.GetValue(values_pb2.GetValueRequest(digest=DIGEST), metadata=((key, b"n"),)):
                    pass
        assert waits(node_id("n")) is None
        store = served.values.store
        with patch.object(store, "find", side_effect=away), patch.object(store, "begin", side_effect=away):
            with refused(grpc.StatusCode.UNAVAILABLE, "cannot be used"):
                await served.stub.PutValue(iter([values_pb2.PutValueRequest(header=header)]), metadata=for_node)
            with refused(grpc.StatusCode.UNAVAILABLE, "cannot be used"):
                await served.missing(DIGEST)
        wait = waits(node_id("n"))
        assert wait is not None
        assert "the store of values s3://bucket cannot be used now: no answer" in wait.said
        await served.stub.FindValues(values_pb2.FindValuesRequest(digests=[DIGEST]), metadata=for_node)
        assert waits(node_id("n")) is None
