"""The worker's stream."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from importlib.metadata import version
from itertools import islice

import grpc
from grpc import aio

from dagorama.v1 import work_pb2, work_pb2_grpc
from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.graph.payloads import IdTaken, add_values, payload_of
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.values import NodeId, WorkerId
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.service import convert
from dagorama_broker.service.errors import abort

_VERSION = version("dagorama")
log = logging.getLogger("dagorama.broker")

#: A response is closed when its payloads come to this many bytes, so that a worker can start before all has arrived.
_RESPONSE_BYTES = 4 * 2**20

#: So many answers may wait for a worker that does not read them; until it does, no more is read of what it sends.
ANSWERS_MAX = 10_000

#: So long a stream that is to end may take to say so to a worker that reads nothing.
_GOODBYE_S = 5.0

#: More of what is told of a worker's end is not kept.
_HOW_CHARS_MAX = 256

_VouchContext = aio.ServicerContext[work_pb2.VouchRequest, work_pb2.VouchResponse]
_Context = aio.ServicerContext[work_pb2.WorkRequest, work_pb2.WorkResponse]


class WorkService(work_pb2_grpc.WorkServiceServicer):
    """Serves `Work`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def Work(self, request_iterator: object, context: _Context) -> None:  # type: ignore[override]  # aio's style
        """Serve one worker for as long as its stream lives."""
        try:
            first = await context.read()
            if not isinstance(first, work_pb2.WorkRequest) or not first.HasField("hello"):
                raise convert.MalformedRequest("the first message of a worker has no hello")
            hello = convert.to_connect(first.hello)
        except convert.MalformedRequest as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, error)
        await _Session(self._host, hello, context).serve()

    async def Vouch(self, request: work_pb2.VouchRequest, context: _VouchContext) -> work_pb2.VouchResponse:
        """Hear of workers from whoever watches over their processes."""
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


class _Session:
    """One worker's stream: a reader that feeds the host and a writer that sends what has accumulated."""

    def __init__(self, host: Host, hello: c.ConnectWorker, context: _Context) -> None:
        self._host = host
        self._hello = hello
        self._id: WorkerId = hello.worker_id
        self._context = context
        self._wake = asyncio.Event()
        self.worker: Worker | None = None
        self._welcomed = False
        self._closed: str | None = None
        self._closing = asyncio.Event()  #: set with it
        self._has_room = asyncio.Event()  #: for further answers
        self._has_room.set()
        self._welcome: e.WorkerWelcomed | None = None
        self._grants: deque[tuple[Node, int]] = deque()
        self._recalls: list[work_pb2.Lease] = []
        self._revocations: list[work_pb2.Lease] = []
        self._refusals: list[work_pb2.Refusal] = []
        self._acknowledged = 0
        self._acknowledged_sent = 0
        self._drained: e.WorkerDrained | None = None
        self._draining = False

    async def serve(self) -> None:
        """Serve until either side ends the stream."""
        # By themselves: with the first message they would be sent twice if the stream ends while that is on its way.
        await self._context.send_initial_metadata(())
        channels = self._host.listeners.channels
        earlier = channels.get(self._id)
        if earlier is not None:
            earlier.close("the worker has connected again")
        channels[self._id] = self
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        closing = asyncio.create_task(self._closing.wait())
        try:
            self._host.apply(self._hello)
            self.worker = self._host.scheduler.workers[self._id]
            slots = self._hello.slots
            log.info("worker %s connected with %d slot%s", self._hello.name, slots, "" if slots == 1 else "s")
            ended, _ = await asyncio.wait((reader, writer, closing), return_when=asyncio.FIRST_COMPLETED)
            # A message that the worker does not read is never through; what waits behind it is forgotten.
            writer.cancel()
            with suppress(TimeoutError):
                ended_tasks = [task for task in (reader, writer) if task in ended]
                await asyncio.wait_for(self._say_goodbye(ended_tasks), _GOODBYE_S)
        except HostStopped as error:
            await abort(self._context, grpc.StatusCode.UNAVAILABLE, error)
        finally:
            for task in (reader, writer, closing):
                task.cancel()
            if channels.get(self._id) is self:
                del channels[self._id]
                # If the broker ended the stream, the worker is evicted already, or comes back to the next broker,
                # which waits for it: it goes on with what it has.
                if self._closed is None:
                    self._disconnect()

    async def _say_goodbye(self, ended: list[asyncio.Task[None]]) -> None:
        """End the stream with a status that says why, where it was not the worker that ended it."""
        if self._closed is not None:
            await abort(self._context, grpc.StatusCode.UNAVAILABLE, self._closed)
        for task in ended:
            error = task.exception()
            if isinstance(error, convert.MalformedRequest):
                await abort(self._context, grpc.StatusCode.INVALID_ARGUMENT, error)
            if isinstance(error, Refused | HostStopped):
                await abort(self._context, grpc.StatusCode.UNAVAILABLE, error)
            if error is not None:
                raise error

    def _disconnect(self) -> None:
        # The end of the stream alone may be that of a worker that was killed. One that drained was about to end, and
        # whether it closed the stream in order, or gRPC cancelled it, is a matter of which came first.
        left = self._draining
        log.info("worker %s %s", self._hello.name, "left" if left else "is gone")
        with suppress(HostStopped):  # its leases end with the broker
            self._host.apply(c.DisconnectWorker(worker_id=self._id, left=left))

    # -- worker to broker ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Feed the host until the worker ends the stream in order."""
        while True:
            await self._has_room.wait()
            request = await self._context.read()
            if not isinstance(request, work_pb2.WorkRequest):
                return
            await self._take(request)

    async def _take(self, request: work_pb2.WorkRequest) -> None:
        host = self._host
        if request.draining:
            self._draining = True
            host.apply(c.DrainWorker(worker_id=self._id))
        if request.hand_backs:
            host.apply(c.HandBack(worker_id=self._id, leases=convert.to_leases(request.hand_backs)))
        for rejection in request.rejections:
            host.apply(convert.to_rejection(self._id, rejection))
        if request.HasField("progress"):
            host.apply(c.ReportProgress(worker_id=self._id, progress=convert.to_progress(request.progress)))
        if request.results or request.HasField("completions"):
            sequence = request.sequence
            command = c.CompleteNodes(
                worker_id=self._id,
                results=convert.to_results(request),
                completions=convert.to_completions(request.completions),
            )
            await host.report(command, lambda: self._acknowledge(sequence))
        else:
            host.apply(c.Heartbeat(worker_id=self._id))

    # -- broker to worker: called by the host's listeners --------------------------------------------------------------

    def _acknowledge(self, sequence: int) -> None:
        self._acknowledged = sequence
        self._wake.set()

    def grant(self, event: e.WorkGranted) -> None:
        """Send these nodes."""
        self._grants.extend(event.leases)
        self._wake.set()

    def welcome(self, event: e.WorkerWelcomed) -> None:
        """Send what the worker may keep."""
        self._welcome = event
        self._welcomed = True
        self._wake.set()

    def revoke(self, event: e.LeasesRevoked) -> None:
        """Say that these leases have ended. Nodes that were not even sent are not."""
        ended = {token for _, token in event.leases}
        self._grants = deque(grant for grant in self._grants if grant[1] not in ended)
        self._revocations += [work_pb2.Lease(node_id=node.id, token=token) for node, token in event.leases]
        self._wake.set()

    def recall(self, event: e.RecallRequested) -> None:
        """Ask for these nodes."""
        self._recalls += [work_pb2.Lease(node_id=node.id, token=token) for node, token in event.leases]
        self._wake.set()

    def refuse(self, event: e.ResultRefused) -> None:
        """Say that a result changed nothing."""
        self._refusals.append(work_pb2.Refusal(node_id=event.node_id, presented=event.presented, reason=event.reason))
        if len(self._refusals) >= ANSWERS_MAX:
            self._has_room.clear()
        self._wake.set()

    def drained(self, event: e.WorkerDrained) -> None:
        """Say that nothing further can come."""
        self._drained = event
        self._wake.set()

    def close(self, reason: str) -> None:
        """End the stream."""
        self._closed = reason
        self._closing.set()
        self._grants.clear()
        self._wake.set()

    async def _write(self) -> None:
        """Send whatever has accumulated, message after message."""
        while self._closed is None:
            await self._wake.wait()
            self._wake.clear()
            while self._closed is None and self._has_news():
                await self._context.write(self._next_response())

    def _has_news(self) -> bool:
        # A refusal to the stream before this one may come ahead of the welcome, which is to be first.
        return self._welcomed and bool(
            self._welcome
            or self._grants
            or self._recalls
            or self._revocations
            or self._refusals
            or self._drained
            or self._acknowledged > self._acknowledged_sent
        )

    def _next_response(self) -> work_pb2.WorkResponse:
        response = work_pb2.WorkResponse(
            acknowledged=self._acknowledged,
            recalls=self._recalls,
            revocations=self._revocations,
            refusals=self._refusals,
        )
        self._acknowledged_sent = self._acknowledged
        self._recalls, self._revocations, self._refusals = [], [], []
        self._has_room.set()
        if self._welcome is not None:
            self._write_welcome(response, self._welcome)
            self._welcome = None
        if self._grants:
            self._write_grants(response)
        if self._drained and not self._grants:
            response.drained = True
            if self._drained.mismatch is not None:
                response.mismatch.name, response.mismatch.code_version = self._drained.mismatch
            self._drained = None
        return response

    def _write_welcome(self, response: work_pb2.WorkResponse, event: e.WorkerWelcomed) -> None:
        response.welcome.lease_duration_s = self._host.scheduler.settings.lease_duration_s
        response.welcome.broker_version = _VERSION
        response.welcome.leases.extend(
            work_pb2.Lease(node_id=node.id, token=token, instance_id=node.instance.id) for node, token in event.leases
        )

    def _write_grants(self, response: work_pb2.WorkResponse) -> None:
        """Move grants into the response, up to its size, with the values that their arguments refer to."""
        table = convert.GrantTable()
        values: dict[NodeId, Node] = {}
        payload_bytes = 0
        while self._grants and payload_bytes < _RESPONSE_BYTES:
            node, token = self._grants[0]
            added = len(node.arguments)
            if node.dependencies:
                known = len(values)
                try:
                    add_values(node.dependencies, values)
                except IdTaken:  # by a node of another instance: this one goes with the next response
                    break
                added += sum(map(len, map(payload_of, islice(reversed(values.values()), len(values) - known))))
                if payload_bytes + added > convert.MESSAGE_BYTES_MAX:
                    while len(values) > known:
                        values.popitem()
                    if payload_bytes:  # it may fit into the next response
                        break
                    self._grants.popleft()
                    self._refuse_sum(node, token, added)
                    continue
            self._grants.popleft()
            payload_bytes += added
            table.add(node, token)
        table.write(response)
        if values:
            convert.write_values(response.values, [(node_id, payload_of(value)) for node_id, value in values.items()])

    def _refuse_sum(self, node: Node, token: int, size: int) -> None:
        """Fail a node that no message can bring to any worker."""
        error = convert.SumTooLarge(f"the values that {node.function.spec.name} takes", size)
        with suppress(Refused):  # the lease has ended meanwhile
            self._host.apply(c.CompleteNodes(worker_id=self._id, results=[convert.to_failed(node.id, token, error)]))
