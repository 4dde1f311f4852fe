"""The streams of logs: gRPC's side of taking and telling what nodes print."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from grpc import aio

from dagorama.v1 import logs_pb2, logs_pb2_grpc
from dagorama_broker.logs.blocks import NUMBER_MAX
from dagorama_broker.logs.logs import Sender
from dagorama_broker.logs.store import Taken
from dagorama_broker.requests.logs import LogRequests
from dagorama_broker.service import convert
from dagorama_broker.service.convert import logs as convert_logs
from dagorama_broker.service.errors import abort, answers_each

#: No further message is read of a stream while so many bytes of its blocks wait to be written.
STREAM_BYTES_MAX = 4 * 2**20

_LATER = "the worker has opened another stream for its logs"

_Context = aio.ServicerContext[logs_pb2.AppendRequest, logs_pb2.AppendResponse]


class LogService(logs_pb2_grpc.LogServiceServicer):
    """Serves `LogService`."""

    def __init__(self, requests: LogRequests) -> None:
        self._logs = requests.logs
        self._requests = requests
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the streams of workers in order. Each comes back to the next broker."""
        self._stopping.set()

    async def Append(self, request_iterator: object, context: _Context) -> None:  # type: ignore[override]  # aio's style
        """Take the blocks of one worker process for as long as its stream lives.

        No more is read than can wait to be written, so that nobody fills the memory with what they print.
        """
        try:
            first = await context.read()
            if not isinstance(first, logs_pb2.AppendRequest):
                return
            sender = Sender(*convert_logs.to_sender(first))
            await context.send_initial_metadata(())
            self._logs.connect(sender)
            try:
                await self._take_all(sender, first, context)
            finally:
                self._logs.disconnect(sender)
        except convert.MalformedRequest as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, error)

    async def _take_all(self, sender: Sender, first: logs_pb2.AppendRequest, context: _Context) -> None:
        """Take message after message, and acknowledge them in order."""
        stream = _Stream(self._requests, sender)
        stream.take(first)
        del first  # as large as its blocks
        stopping = asyncio.ensure_future(self._stopping.wait())
        reading: asyncio.Future[Any] | None = None
        is_over = False
        try:
            while stream.waiting or not is_over:
                if reading is None and not is_over and stream.has_room():
                    await self._logs.has_room()
                    reading = asyncio.ensure_future(context.read())
                news: set[asyncio.Future[Any]] = {stopping, *stream.oldest()}
                await asyncio.wait(news | {reading} if reading else news, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    await abort(context, grpc.StatusCode.UNAVAILABLE, "the broker is stopping")
                if (response := stream.acknowledgement()) is not None:
                    await context.write(response)
                if reading is not None and reading.done():
                    request, reading = reading.result(), None
                    is_over = not isinstance(request, logs_pb2.AppendRequest)
                    if isinstance(request, logs_pb2.AppendRequest):
                        if not self._logs.is_current(sender):
                            await abort(context, grpc.StatusCode.UNAVAILABLE, _LATER)
                        stream.take(request)
                    del request
        finally:
            stopping.cancel()
            if reading is not None:
                reading.cancel()

    @answers_each
    async def Read(self, request: logs_pb2.ReadRequest, context: object) -> AsyncGenerator[logs_pb2.ReadResponse, None]:
        """Send what is kept of an instance, and what comes."""
        chunks = self._requests.read(
            convert.to_instance_id(request.instance_id),
            convert_logs.to_read_node(request),
            attempt=request.attempt,
            after=min(request.after, NUMBER_MAX),
            follow=request.follow,
            once=request.once,
        )
        async with aclosing(chunks) as parts:
            async for chunk in parts:
                yield convert_logs.from_chunk(chunk)


class _Stream:
    """The messages of one stream that are not acknowledged yet, in order."""

    def __init__(self, requests: LogRequests, sender: Sender) -> None:
        self._requests = requests
        self._sender = sender
        self._bytes = 0
        self._acknowledged = 0
        #: Each with the number of its last block, its bytes, and the future of its being kept.
        self.waiting: deque[tuple[int, int, asyncio.Future[Taken]]] = deque()

    def take(self, request: logs_pb2.AppendRequest) -> None:
        """Have the blocks of a message kept."""
        blocks = convert_logs.to_blocks(request, self._sender.id)
        size = sum(len(block.data) for block in blocks)
        last = blocks[-1].sequence if blocks else self._acknowledged
        self.waiting.append((last, size, self._requests.append(self._sender, blocks)))
        self._bytes += size

    def has_room(self) -> bool:
        """Tell whether a further message may be read."""
        return self._bytes < STREAM_BYTES_MAX

    def oldest(self) -> list[asyncio.Future[Taken]]:
        """Return the future of the next message to be acknowledged, if there is one."""
        return [self.waiting[0][2]] if self.waiting else []

    def acknowledgement(self) -> logs_pb2.AppendResponse | None:
        """Return the response for all messages that are kept by now; None where none further is."""
        problem = None
        while self.waiting and self.waiting[0][2].done():
            last, size, done = self.waiting.popleft()
            self._acknowledged = max(self._acknowledged, last)
            self._bytes -= size
            problem = done.result().problem_of(self._sender.id) or problem or ""
        if problem is None:
            return None
        return logs_pb2.AppendResponse(acknowledged=self._acknowledged, problem=problem)
