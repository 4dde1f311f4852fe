"""The API of dagorama 0.1, over the same host.

Its workers have no stream. They are workers of the core that pull: they live by their calls, are granted one node for
each `GetWork`, and are gone after a lease duration of silence, or when the broker restarts. The promises to clients
are in `docs/reference/unary-api.md`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

from dagorama.api import api_pb2, api_pb2_grpc
from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused, show_id
from dagorama_broker.core.graph.payloads import payload_of
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.references import refers_stored
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import InstanceId, NodeId, WorkerId
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.requests import Requests
from dagorama_broker.requests.checks import SumTooLarge, TooLarge, check_size
from dagorama_broker.requests.references import CANNOT_READ, READS_REFERENCES, CannotRead, takes_references
from dagorama_broker.requests.watching import Watching
from dagorama_broker.service import unary_convert as convert
from dagorama_broker.service.convert import to_failed
from dagorama_broker.service.errors import NoLease, NoWork, WorkerInvalidated, answers

log = logging.getLogger("dagorama.broker")


class UnaryService(api_pb2_grpc.DagoramaServicer):
    """Serves `main.Dagorama`. Everything that it tells is durable, but for leases."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._requests = Requests(host)
        self._watching = Watching(host, self._requests)

    # -- clients ------------------------------------------------------------------------------------------------------

    @answers
    async def CreateInstance(
        self, request: api_pb2.InstanceConfigurationMessage, context: object
    ) -> api_pb2.InstanceMessage:
        """Make an instance. Repeating it is a no-op."""
        instance_id = convert.to_instance_id(request.identifier, "identifier")
        await self._requests.submit(instance_id, "", ())
        return api_pb2.InstanceMessage(identifier=show_id(instance_id))

    @answers
    async def CreateNode(self, request: api_pb2.NodeConfigurationMessage, context: object) -> api_pb2.NodeMessage:
        """Make a node, at once. Repeating it is a no-op."""
        instance_id = convert.to_instance_id(request.instanceId, "instanceId")
        call = convert.to_call(request)
        await self._requests.check_instance(instance_id)
        await self._requests.submit(instance_id, "", [call], opaque=True)
        return await self._message(instance_id, call.node_id)

    @answers
    async def GetNode(self, request: api_pb2.NodeRetrieveMessage, context: object) -> api_pb2.NodeMessage:
        """Give a node."""
        instance_id = convert.to_instance_id(request.instanceId, "instanceId")
        return await self._message(instance_id, convert.to_node_id(request.identifier, "identifier"))

    async def SubscribeResolution(
        self, request: api_pb2.CompleteSubscriptionRequest, context: object
    ) -> AsyncIterator[api_pb2.NodeMessage]:
        """Send a node once, when it has ended."""
        yield await self._ended(request, context)

    @answers
    async def _ended(self, request: api_pb2.CompleteSubscriptionRequest, context: object) -> api_pb2.NodeMessage:
        instance_id = convert.to_instance_id(request.instanceId, "instanceId")
        node_id = convert.to_node_id(request.identifier, "identifier")
        while True:
            await self._watching.wait_for_end(instance_id, node_id)
            message = await self._message(instance_id, node_id)
            if message.completed or message.permanentlyFailed:
                return message

    # -- workers ------------------------------------------------------------------------------------------------------

    @answers
    async def CreateWorker(self, request: api_pb2.WorkerConfigurationMessage, context: object) -> api_pb2.WorkerMessage:
        """Take a worker in."""
        command = convert.to_connect(WorkerId(uuid4().bytes), request)
        self._host.apply(command)
        log.info("worker %s connected by the unary API", command.name)
        return api_pb2.WorkerMessage(identifier=show_id(command.worker_id))

    @answers
    async def Ping(self, request: api_pb2.WorkerMessage, context: object) -> api_pb2.PongMessage:
        """Take a heartbeat."""
        self._host.apply(c.Heartbeat(worker_id=self._worker(request.identifier, "identifier").id))
        return api_pb2.PongMessage(lastPing=int(self._host.now()))

    @answers
    async def GetWork(self, request: api_pb2.WorkerMessage, context: object) -> api_pb2.NodeMessage:
        """Grant a node."""
        worker = self._worker(request.identifier, "identifier")
        node, token = self._pull(worker)
        try:
            convert.check_sum(node)
        except SumTooLarge as error:
            self._host.apply(c.CompleteNodes(worker_id=worker.id, results=[to_failed(node.id, token, error)]))
            raise NoWork from None
        try:
            return await self._message(node.instance.id, node.id)
        except BaseException:
            # Nobody hears of the grant, so a worker that lives on would hold the node for ever.
            with suppress(Refused, HostStopped):
                lease = c.HeldLease(node_id=node.id, token=token)
                self._host.apply(c.HandBack(worker_id=worker.id, leases=[lease]))
            raise

    @answers
    async def SubmitWork(self, request: api_pb2.WorkCompleteMessage, context: object) -> api_pb2.NodeMessage:
        """Take a value."""
        worker, node = await self._held(request)
        try:
            check_size("the value", len(request.result))
            report = c.CompleteNodes(worker_id=worker.id, completions=[(node.id, node.token, request.result, 0.0, 0.0)])
        except TooLarge as error:
            report = c.CompleteNodes(worker_id=worker.id, results=[to_failed(node.id, node.token, error)])
        self._host.apply(report)
        return await self._message(node.instance.id, node.id)

    @answers
    async def SubmitFailure(self, request: api_pb2.WorkFailedMessage, context: object) -> api_pb2.NodeMessage:
        """Take a failure."""
        worker, node = await self._held(request)
        failure = convert.to_failure(request.traceback)
        result = c.NodeResult(node_id=node.id, token=node.token, failure=failure)
        self._host.apply(c.CompleteNodes(worker_id=worker.id, results=[result]))
        return await self._message(node.instance.id, node.id)

    def _worker(self, identifier: str, field: str) -> Worker:
        worker = self._host.scheduler.workers.get(convert.to_worker_id(identifier, field))
        if worker is None or worker.slots:  # one that has a stream is none of ours
            raise WorkerInvalidated
        return worker

    async def _held(self, request: api_pb2.WorkCompleteMessage | api_pb2.WorkFailedMessage) -> tuple[Worker, Node]:
        """Give the worker and the node that a report names; between this and the report nothing may be awaited.

        Raises `NoLease` where the worker does not hold the node: there are no fencing tokens in these messages, so
        that is all that tells a report that is late, or comes twice.
        """
        instance_id = convert.to_instance_id(request.instanceId, "instanceId")
        node_id = convert.to_node_id(request.nodeId, "nodeId")
        worker = self._worker(request.workerId, "workerId")
        node: Node | StoredNode | None = self._requests.live_node(instance_id, node_id)
        if node is None:
            node = await self._stored_node(instance_id, node_id)
        if not isinstance(node, Node) or node.worker is not worker:
            with suppress(Refused):  # it may have been given up while this was looked up
                report = c.HeldLease(node_id=node_id, token=0, instance_id=instance_id)
                self._host.apply(c.HandBack(worker_id=worker.id, leases=[report]))
            raise NoLease(worker_id=worker.id, node_id=node_id, state=node.state)
        return worker, node

    # -- nodes --------------------------------------------------------------------------------------------------------

    async def _stored_node(self, instance_id: InstanceId, node_id: NodeId) -> StoredNode:
        await self._host.flush()  # it may be on its way to the journal
        return await self._requests.find_node(instance_id, node_id, values=True)

    def _pull(self, worker: Worker) -> tuple[Node, int]:
        """Grant a node, but for those with large values, which no such worker reads. Raises `NoWork`."""
        while True:
            granted = [
                lease
                for event in self._host.apply(c.PullNode(worker_id=worker.id))
                if isinstance(event, e.WorkGranted)
                for lease in event.leases
            ]
            if not granted:
                raise NoWork
            ((node, token),) = granted
            if not takes_references(node, map(payload_of, node.dependencies)):
                return node, token
            lease = c.HeldLease(node_id=node.id, token=token)
            self._host.apply(
                c.RejectUnable(worker_id=worker.id, lease=lease, problem=CANNOT_READ, lacks=READS_REFERENCES)
            )

    async def _message(self, instance_id: InstanceId, node_id: NodeId) -> api_pb2.NodeMessage:
        """Give the message for a node as it is now, when that is durable.

        Raises `UnknownInstance`, `UnknownNode`, or `CannotRead` where it has large values.
        """
        message = await self._written(instance_id, node_id)
        payloads = [message.arguments, *(one.resolvedValue for one in (message, *message.sources))]
        if any(map(refers_stored, payloads)):
            raise CannotRead(instance_id=instance_id, node_id=node_id)
        return message

    async def _written(self, instance_id: InstanceId, node_id: NodeId) -> api_pb2.NodeMessage:
        node = self._requests.live_node(instance_id, node_id)
        if node is not None:
            message = convert.from_node(node)
            await self._host.flush()
            return message
        stored = await self._stored_node(instance_id, node_id)
        seqs = [stored.seq, *stored.dependency_seqs]
        known = await self._host.read(self._host.journal.find_values, seqs)
        return convert.from_stored(stored, instance_id, known)
