"""The streams of logs: gRPC's side of taking and telling what nodes print."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
from grpc import aio

from dagorama.v1 import logs_pb2, logs_pb2_grpc
from dagorama_broker.host.host import Host
from dagorama_broker.logs.blocks import NUMBER_MAX
from dagorama_broker.logs.logs import Logs, Sender
from dagorama_broker.requests import Requests
from dagorama_broker.requests.logs import LogRequests
from dagorama_broker.service import convert
from dagorama_broker.service.convert import logs as convert_logs
from dagorama_broker.service.errors import abort, answers_each

_Context = aio.ServicerContext[logs_pb2.AppendRequest, logs_pb2.AppendResponse]


class LogService(logs_pb2_grpc.LogServiceServicer):
    """Serves `LogService`."""

    def __init__(self, host: Host, logs: Logs) -> None:
        self._logs = logs
        self._requests = LogRequests(host, Requests(host), logs)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the streams of workers in order. Each comes back to the next broker."""
        self._stopping.set()

    async def Append(self, request_iterator: object, context: _Context) -> None:  # type: ignore[override]  # aio's style
        """Take the blocks of one worker process for as long as its stream lives.

        The next message is read when the one before is written, so that nobody fills the memory with what they print.
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

    async def _take_all(self, sender: Sender, request: logs_pb2.AppendRequest, context: _Context) -> None:
        acknowledged = 0
        while True:
            if not self._logs.is_current(sender):
                await abort(context, grpc.StatusCode.UNAVAILABLE, "the worker has opened another stream for its logs")
            blocks = convert_logs.to_blocks(request, sender.id)
            del request  # as large as the blocks
            problem = await self._requests.append(sender, blocks)
            acknowledged = blocks[-1].sequence if blocks else acknowledged
            del blocks
            await context.write(logs_pb2.AppendResponse(acknowledged=acknowledged, problem=problem))
            await self._logs.has_room()
            following = await self._read(context)
            if following is None:
                return
            request = following
            del following

    async def _read(self, context: _Context) -> logs_pb2.AppendRequest | None:
        """Return what the worker sends next; None when it has ended the stream. End it where the broker stops."""
        reading = asyncio.ensure_future(context.read())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await abort(context, grpc.StatusCode.UNAVAILABLE, "the broker is stopping")
        finally:
            reading.cancel()
            stopping.cancel()
        following = reading.result()
        return following if isinstance(following, logs_pb2.AppendRequest) else None

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
