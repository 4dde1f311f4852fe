"""The streams of values: gRPC's side of putting and getting what is too large for messages."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from grpc import aio

from dagorama.v1 import values_pb2, values_pb2_grpc
from dagorama_broker.requests.checks import MalformedRequest
from dagorama_broker.service.errors import abort
from dagorama_broker.values import faults
from dagorama_broker.values.store import CHUNK_BYTES
from dagorama_broker.values.values import IDLE_S, Values

#: The codes of the errors of the store, for clients: `values.proto` says what each means.
CODES: dict[type[Exception], grpc.StatusCode] = {
    faults.UnknownValue: grpc.StatusCode.NOT_FOUND,
    faults.DamagedValue: grpc.StatusCode.DATA_LOSS,
    faults.ValueTooLarge: grpc.StatusCode.FAILED_PRECONDITION,
    faults.BadUpload: grpc.StatusCode.INVALID_ARGUMENT,
    faults.BadOffset: grpc.StatusCode.OUT_OF_RANGE,
    faults.UploadIdle: grpc.StatusCode.DEADLINE_EXCEEDED,
    faults.StoreFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    faults.StoreAway: grpc.StatusCode.UNAVAILABLE,
    faults.StoreUnusable: grpc.StatusCode.FAILED_PRECONDITION,
    MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
}

#: Clients ask again after these, and a node waits meanwhile.
WAITED_FOR = faults.StoreFull, faults.StoreAway
#: The metadata with the node that a call is made for.
NODE_KEY = "dagorama-node-bin"
NODE_ID_BYTES = 16

DIGEST_BYTES = 32
#: So many values may be asked for at once.
FOUND_MAX = 10_000
#: The largest chunk that is taken.
CHUNK_BYTES_MAX = 4 * 2**20
SIZE_MAX = 2**63 - 1

_PutContext = aio.ServicerContext[values_pb2.PutValueRequest, values_pb2.PutValueResponse]
_GetContext = aio.ServicerContext[values_pb2.GetValueRequest, values_pb2.GetValueResponse]


class ValueService(values_pb2_grpc.ValueServiceServicer):
    """Serves `ValueService`."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all that is on its way. Clients go on with it at the next broker."""
        self._stopping.set()

    async def DescribeStore(
        self, request: values_pb2.DescribeStoreRequest, context: aio.ServicerContext[Any, Any]
    ) -> values_pb2.DescribeStoreResponse:
        """Tell how the store is laid out."""
        directory, name, token = self._values.place
        return values_pb2.DescribeStoreResponse(
            directory=directory,
            proof_name=name,
            proof_token=token,
            chunk_bytes=CHUNK_BYTES,
            value_max_bytes=self._values.size_max,
            unused_s=self._values.unused_s,
        )

    async def FindValues(
        self, request: values_pb2.FindValuesRequest, context: aio.ServicerContext[Any, Any]
    ) -> values_pb2.FindValuesResponse:
        """Tell which of some values are missing."""
        try:
            missing = await self._values.missing(_digests(request.digests), _sizes(request))
        except tuple(CODES) as error:
            await self._refuse(context, error)
        self._done(context)
        found = [values_pb2.MissingValue(digest=digest, received_bytes=received) for digest, received in missing]
        return values_pb2.FindValuesResponse(missing=found)

    async def PutValue(self, request_iterator: object, context: _PutContext) -> values_pb2.PutValueResponse:
        """Take a value, chunk by chunk: none is read before the one before it is written."""
        try:
            first = await context.read()
            if not isinstance(first, values_pb2.PutValueRequest) or not first.HasField("header"):
                raise MalformedRequest("the first message of an upload has no header")
            header = first.header
            _check(header.digest, header.size)
            if header.offset > header.size:
                raise MalformedRequest(f"an upload of {header.size} bytes cannot begin at byte {header.offset}")
            await self._unless_stopping(
                self._values.put(header.digest, header.size, header.offset, lambda: _read_chunk(context)), context
            )
        except tuple(CODES) as error:
            await self._refuse(context, error)
        self._done(context)
        return values_pb2.PutValueResponse(stored_bytes=header.size)

    async def AdoptValue(
        self, request: values_pb2.AdoptValueRequest, context: aio.ServicerContext[Any, Any]
    ) -> values_pb2.AdoptValueResponse:
        """Take over a file of a client on this host."""
        try:
            _check(request.digest, request.size)
            await self._values.adopt(request.digest, request.size, request.file_name)
        except tuple(CODES) as error:
            await self._refuse(context, error)
        self._done(context)
        return values_pb2.AdoptValueResponse(stored_bytes=request.size)

    async def GetValue(self, request: values_pb2.GetValueRequest, context: _GetContext) -> None:  # type: ignore[override]  # it writes
        """Send a value, chunk by chunk."""
        try:
            _check(request.digest, request.offset)
            await self._unless_stopping(self._send(request, context), context)
        except tuple(CODES) as error:
            await self._refuse(context, error)

    async def _refuse(self, context: aio.ServicerContext[Any, Any], error: Exception) -> None:
        """End a call with an error; where that is over some time, the node that it is for waits, and `why` says so."""
        node_id = _node_in(context)
        if node_id and isinstance(error, WAITED_FOR):
            self._values.waiting.note(node_id, str(error))
        await abort(context, CODES[type(error)], error)

    def _done(self, context: aio.ServicerContext[Any, Any]) -> None:
        """Note that a call has gone well."""
        if node_id := _node_in(context):
            self._values.waiting.end(node_id)

    async def _send(self, request: values_pb2.GetValueRequest, context: _GetContext) -> None:
        chunks: AsyncGenerator[tuple[int, bytes], None] = self._values.get(request.digest, request.offset)
        is_first = True
        async with aclosing(chunks) as parts:
            async for size, chunk in parts:
                response = values_pb2.GetValueResponse(size=size if is_first else 0, chunk=chunk)
                if is_first:
                    self._done(context)
                is_first = False
                try:
                    async with asyncio.timeout(IDLE_S):
                        await context.write(response)
                except TimeoutError:
                    text = f"nothing has been read for {IDLE_S:g} s"
                    await abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, text)

    async def _unless_stopping(self, work: Coroutine[Any, Any, None], context: aio.ServicerContext[Any, Any]) -> None:
        """Await something, but for as long as the broker runs."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            else:
                await abort(context, grpc.StatusCode.UNAVAILABLE, "the broker is stopping")
        finally:
            stopping.cancel()
            task.cancel()
            await asyncio.wait({task})


def _node_in(context: aio.ServicerContext[Any, Any]) -> bytes:
    """Return the node that a call is made for; empty where it is for none."""
    for key, value in context.invocation_metadata() or ():
        if key == NODE_KEY and isinstance(value, bytes) and len(value) == NODE_ID_BYTES:
            return value
    return b""


async def _read_chunk(context: _PutContext) -> bytes | None:
    """Return the next bytes of an upload. Raises `MalformedRequest`."""
    request = await context.read()
    if not isinstance(request, values_pb2.PutValueRequest):
        return None
    if not request.HasField("chunk"):
        raise MalformedRequest("a message of an upload, other than the first, has no chunk")
    if len(request.chunk) > CHUNK_BYTES_MAX:
        raise MalformedRequest(f"a chunk has {len(request.chunk)} bytes; the limit is {CHUNK_BYTES_MAX}")
    return request.chunk


def _check(digest: bytes, size: int) -> None:
    """Raise `MalformedRequest` where there can be no such value."""
    if len(digest) != DIGEST_BYTES:
        raise MalformedRequest(f"a digest has {len(digest)} bytes; those of values have {DIGEST_BYTES}")
    if size > SIZE_MAX:
        raise MalformedRequest(f"a value has {size} bytes; none has more than {SIZE_MAX}")


def _digests(raw: Sequence[bytes]) -> list[bytes]:
    if len(raw) > FOUND_MAX:
        raise MalformedRequest(f"{len(raw)} values are asked for; the limit is {FOUND_MAX} at once")
    for digest in raw:
        _check(digest, 0)
    return list(raw)


def _sizes(request: values_pb2.FindValuesRequest) -> dict[bytes, int]:
    """Return the sizes that values are said to have; none where the client does not say. Raises `MalformedRequest`."""
    if request.sizes and len(request.sizes) != len(request.digests):
        raise MalformedRequest(f"{len(request.digests)} values are asked for, with {len(request.sizes)} sizes")
    return dict(zip(request.digests, request.sizes, strict=False))
