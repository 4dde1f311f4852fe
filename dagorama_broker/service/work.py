"""The worker's stream: gRPC's side of a session."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import grpc
from grpc import aio

from dagorama.client.installed import installed_version
from dagorama.v1 import work_pb2, work_pb2_grpc
from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.model.values import WorkerId
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.requests.logs import LogRequests
from dagorama_broker.requests.session import Answer, Sent, Session, SessionClosed
from dagorama_broker.service import convert
from dagorama_broker.service.errors import abort

_VERSION = installed_version("dagorama")

#: So long a stream that is to end may take to say so to a worker that reads nothing.
_GOODBYE_S = 5.0

#: More of what is told of a worker's end is not kept.
_HOW_CHARS_MAX = 256

_VouchContext = aio.ServicerContext[work_pb2.VouchRequest, work_pb2.VouchResponse]
_Context = aio.ServicerContext[work_pb2.WorkRequest, work_pb2.WorkResponse]


class WorkService(work_pb2_grpc.WorkServiceServicer):
    """Serves `Work`."""

    def __init__(self, host: Host, logs: LogRequests | None = None) -> None:
        self._host = host
        self._logs = logs

    async def Work(self, request_iterator: object, context: _Context) -> None:  # type: ignore[override]  # aio's style
        """Serve one worker for as long as its stream lives."""
        try:
            first = await context.read()
            if not isinstance(first, work_pb2.WorkRequest) or not first.HasField("hello"):
                raise convert.MalformedRequest("the first message of a worker has no hello")
            hello = convert.to_connect(first.hello)
            if first.HasField("definitions"):
                hello = replace(hello, definitions=convert.to_definitions(first.definitions))
            # By themselves: with the first message they would be sent twice if the stream ends while that is on its
            # way.
            await context.send_initial_metadata(())
            stream = _Stream(self._host, hello.worker_id, context)
            session = Session(self._host, hello, stream, self._logs, reads_references=first.hello.reads_references)
            await session.serve()
        except convert.MalformedRequest as error:
            await _say_goodbye(context, grpc.StatusCode.INVALID_ARGUMENT, error)
        except (SessionClosed, Refused, HostStopped) as error:
            await _say_goodbye(context, grpc.StatusCode.UNAVAILABLE, error)

    async def Vouch(self, request: work_pb2.VouchRequest, context: _VouchContext) -> work_pb2.VouchResponse:
        """Hear of workers from the supervisor of their processes."""
        host = self._host
        try:
            for worker_id in request.worker_ids:
                if worker_id in host.scheduler.workers:
                    host.apply(c.Heartbeat(worker_id=WorkerId(worker_id)))
            for end in request.ended:
                how = end.how[:_HOW_CHARS_MAX]
                host.apply(c.LoseWorker(worker_id=WorkerId(end.worker_id), how=how, is_loss=not end.on_purpose))
            if request.ended:
                await host.flush()
        except HostStopped as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, error)
        return work_pb2.VouchResponse(lease_duration_s=host.scheduler.settings.lease_duration_s)


async def _say_goodbye(context: _Context, code: grpc.StatusCode, text: object) -> None:
    """End a stream with a status that says why, unless the worker reads nothing. Raises where it was said."""
    with suppress(TimeoutError):
        await asyncio.wait_for(abort(context, code, text), _GOODBYE_S)


class _Stream:
    """The connection of a session: a stream of messages."""

    def __init__(self, host: Host, worker_id: WorkerId, context: _Context) -> None:
        self._worker_id = worker_id
        self._context = context
        self._lease_duration_s = host.scheduler.settings.lease_duration_s

    async def read(self) -> Sent | None:
        """Return what the worker sends next; None for the end of the stream."""
        request = await self._context.read()
        return convert.to_sent(self._worker_id, request) if isinstance(request, work_pb2.WorkRequest) else None

    async def write(self, answer: Answer) -> None:
        """Send a message."""
        response = convert.from_answer(answer)
        if answer.welcome is not None:
            response.welcome.lease_duration_s = self._lease_duration_s
            response.welcome.broker_version = _VERSION
        await self._context.write(response)
