"""Starting instances, waiting for them, and what people ask of them while they run."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from grpc import aio

from dagorama.v1 import dag_pb2, graph_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import InstanceEnded, UnknownInstance, UnknownNode
from dagorama_broker.core.events import NodesReset, RequestRepeated
from dagorama_broker.core.model import InstanceId, Node, NodeId
from dagorama_broker.core.states import TERMINAL, InstanceState, NodeState
from dagorama_broker.core.stored import StoredNode
from dagorama_broker.service import convert
from dagorama_broker.service.errors import answers
from dagorama_broker.service.looking import Looking, find_node

#: How instances are run of which nothing is said.
NO_OPTIONS = c.InstanceOptions()

#: Changes that come closer together than this are told once: fast enough for an eye, slow enough to cost nothing.
_CHANGE_INTERVAL_S = 0.1

#: So many nodes of an instance that has left memory are looked up at once, and the values of so many read, if they are
#: no larger than this in all.
_LOOKED_UP_MAX = 500
_READ_MAX = 100
_READ_BYTES_MAX = 1 << 20


class DagService(Looking):
    """Serves `DagService`. Everything that it tells is durable."""

    @answers
    async def Submit(self, request: dag_pb2.SubmitRequest, context: object) -> dag_pb2.SubmitResponse:
        """Make an instance and nodes in it."""
        convert.check_name("definition", request.definition)
        functions = [convert.to_function(function) for function in request.functions]
        await self._host.submit(
            c.SubmitNodes(
                instance_id=convert.to_instance_id(request.instance_id),
                definition=request.definition,
                calls=convert.to_calls(request.calls, functions),
                options=convert.to_instance_options(request.options) if request.HasField("options") else NO_OPTIONS,
            )
        )
        return dag_pb2.SubmitResponse()

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def Watch(
        self, request: dag_pb2.WatchRequest, context: aio.ServicerContext[dag_pb2.WatchRequest, dag_pb2.WatchResponse]
    ) -> AsyncIterator[dag_pb2.WatchResponse]:
        """Send the outcome of each node as it ends."""
        watch = await self._begin_watch(request, context)
        try:
            async for outcome in self._ended_before(watch, context):
                yield outcome
            while watch.waiting:
                await watch.news.wait()
                watch.news.clear()
                while watch.done:  # let go of each before the next: values are large
                    future = watch.waiting.pop(watch.done.popleft())
                    yield await self._outcome(future.result(), context)
        finally:
            for node_id, future in watch.waiting.items():
                self._host.listeners.forget_outcome(watch.instance_id, node_id, future)

    @answers
    async def _begin_watch(self, request: dag_pb2.WatchRequest, context: object) -> "_Watch":
        """Tell the nodes that are still to end, each with its future, from the others."""
        watch = _Watch(convert.to_instance_id(request.instance_id))
        node_ids = {convert.to_node_id(raw): None for raw in request.node_ids}
        instance = self._host.scheduler.instances.get(watch.instance_id)
        for node_id in node_ids:
            node = instance.nodes.get(node_id) if instance else None
            if node is None:
                watch.elsewhere.append(node_id)
            elif node.state in TERMINAL:
                watch.ended.append(node)
            else:
                future = watch.waiting[node_id] = self._host.listeners.outcome(watch.instance_id, node_id)
                future.add_done_callback(partial(watch.note, node_id))
        return watch

    async def _ended_before(self, watch: "_Watch", context: object) -> AsyncIterator[dag_pb2.WatchResponse]:
        """Give the outcomes of nodes that had ended when the watch began, in memory or in the journal."""
        if watch.ended or watch.elsewhere:
            await self._flush(watch, context)
        ended = watch.ended
        ended.reverse()
        while ended:
            yield await self._outcome(ended.pop(), context)
        for start in range(0, len(watch.elsewhere), _LOOKED_UP_MAX):
            async for outcome in self._stored_outcomes(
                watch.instance_id, watch.elsewhere[start:][:_LOOKED_UP_MAX], context
            ):
                yield outcome

    @answers
    async def _outcome(self, node: Node, context: object) -> dag_pb2.WatchResponse:
        """Give the outcome of a node in memory that has ended."""
        return convert.outcome_of(node)

    @answers
    async def _flush(self, watch: "_Watch", context: object) -> None:
        """Wait until what has ended in memory, or left it, is durable."""
        await self._host.flush()

    async def _stored_outcomes(
        self, instance_id: InstanceId, node_ids: list[NodeId], context: object
    ) -> AsyncIterator[dag_pb2.WatchResponse]:
        """Give the outcomes of nodes whose instance has left memory."""
        found = await self._find_ended(instance_id, node_ids, context)
        known: dict[int, StoredNode] = {}
        for place, node_id in enumerate(node_ids):
            stored = found[node_id]
            if stored.state is not NodeState.COMPLETED:
                yield dag_pb2.WatchResponse(outcomes=[await self._stored_failure(stored)])
                continue
            if stored.seq not in known:
                ahead = [found[other] for other in node_ids[place : place + _READ_MAX]]
                known = await self._read_values(stored, ahead, context)
            yield await self._stored_value(known[stored.seq], known, context)

    @answers
    async def _stored_value(
        self, stored: StoredNode, known: dict[int, StoredNode], context: object
    ) -> dag_pb2.WatchResponse:
        """Give the value of a node of which all that it is made of is known."""
        values = [(known[seq].id, payload) for seq, payload in _in_order(stored, known)]
        return convert.completed(stored.id, values)

    @answers
    async def _find_ended(
        self, instance_id: InstanceId, node_ids: list[NodeId], context: object
    ) -> dict[NodeId, StoredNode]:
        """Give these nodes without their values. Raises `UnknownInstance` or `UnknownNode`."""
        found = await self._host.read(self._host.journal.find_by_id, instance_id, node_ids)
        for node_id in node_ids:
            if node_id not in found:
                await find_node(self._host, instance_id, node_id)
            elif found[node_id].state not in TERMINAL:  # it came into being after the watch, which was for nothing then
                raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return found

    @answers
    async def _read_values(self, first: StoredNode, ahead: list[StoredNode], context: object) -> dict[int, StoredNode]:
        """Give what the value of a node is made of, and of those after it if that is little."""
        journal = self._host.journal
        seqs, payload_bytes = [first.seq], 0
        for stored in ahead[1:]:
            payload_bytes += stored.payload_bytes
            if stored.state is not NodeState.COMPLETED or stored.promise_seqs or payload_bytes > _READ_BYTES_MAX:
                break
            seqs.append(stored.seq)
        return await self._host.read(journal.find_values, seqs)

    async def _stored_failure(self, stored: StoredNode) -> graph_pb2.Outcome:
        causes = await self._host.read(lambda: self._host.journal.find_nodes([stored.cause_seq], values=True))
        cause = causes.get(stored.cause_seq, stored)
        return convert.from_outcome(
            stored.id,
            stored.state,
            (cause.id, cause.function.name, cause.attempts, cause.failures[-1].failure if cause.failures else None),
        )

    async def WatchInstance(
        self,
        request: dag_pb2.WatchInstanceRequest,
        context: aio.ServicerContext[dag_pb2.WatchInstanceRequest, dag_pb2.WatchInstanceResponse],
    ) -> AsyncIterator[dag_pb2.WatchInstanceResponse]:
        """Send how an instance stands, now and after every change."""
        instance_id = await self._check_instance_id(request, context)
        while True:
            # Before looking, so that no change falls between.
            change = self._host.listeners.change(instance_id)
            try:
                if not (request.until_ended and self._is_running(instance_id)):
                    info = await self._instance_info(request, context)
                    yield dag_pb2.WatchInstanceResponse(instance=info)
                    if info.state != graph_pb2.INSTANCE_STATE_RUNNING:
                        return
                await change
            finally:
                self._host.listeners.forget_change(instance_id, change)
            await asyncio.sleep(_CHANGE_INTERVAL_S)  # gathers what comes close together

    def _is_running(self, instance_id: InstanceId) -> bool:
        instance = self._host.scheduler.instances.get(instance_id)
        return instance is not None and instance.state is InstanceState.RUNNING

    @answers
    async def _check_instance_id(self, request: dag_pb2.WatchInstanceRequest, context: object) -> InstanceId:
        return convert.to_instance_id(request.instance_id)

    # -- stopping -----------------------------------------------------------------------------------------------------

    @answers
    async def CancelInstance(
        self, request: dag_pb2.CancelInstanceRequest, context: object
    ) -> dag_pb2.CancelInstanceResponse:
        """Stop an instance."""
        instance_id = convert.to_instance_id(request.instance_id)
        await self._change(c.CancelInstance(instance_id=instance_id), "cancelled")
        return dag_pb2.CancelInstanceResponse()

    async def _change(self, command: c.CancelInstance | c.ControlInstance, wanted: str) -> None:
        """Commit a command to an instance that runs. Raises `UnknownInstance`, or `InstanceEnded` naming the state."""
        try:
            await self._host.commit(command)
        except UnknownInstance:  # at least to memory
            await self._host.flush()  # it may be on its way to the journal
            summary = await self._host.read(self._host.journal.summarize_instance, command.instance_id)
            if summary is None:
                raise
            raise InstanceEnded(instance_id=command.instance_id, state=summary.state, wanted=wanted) from None

    # -- controlling --------------------------------------------------------------------------------------------------

    @answers
    async def ControlInstance(
        self, request: dag_pb2.ControlInstanceRequest, context: object
    ) -> dag_pb2.ControlInstanceResponse:
        """Change the priority of an instance, pause it or let it go on, or cap it."""
        command = convert.to_control_instance(request)
        await self._change(command, command.wanted)
        return dag_pb2.ControlInstanceResponse(instance=await self._look_at(command.instance_id))

    @answers
    async def ControlQueue(self, request: dag_pb2.ControlQueueRequest, context: object) -> dag_pb2.ControlQueueResponse:
        """Pause a queue or let it go on, or cap it."""
        command = convert.to_control_queue(request)
        await self._host.commit(command)
        queues = convert.from_queues(self._host.scheduler.queues, always=command.queue)
        return dag_pb2.ControlQueueResponse(queues=[info for info in queues if info.queue == command.queue])

    # -- beginning anew -----------------------------------------------------------------------------------------------

    @answers
    async def RetryInstance(
        self, request: dag_pb2.RetryInstanceRequest, context: object
    ) -> dag_pb2.RetryInstanceResponse:
        """Let a failed instance go on."""
        await self._host.submit(
            c.RetryInstance(
                instance_id=convert.to_instance_id(request.instance_id),
                request_id=convert.to_request_id(request.request_id),
            )
        )
        return dag_pb2.RetryInstanceResponse()

    @answers
    async def RerunNode(self, request: dag_pb2.RerunNodeRequest, context: object) -> dag_pb2.RerunNodeResponse:
        """Run a node again, and whatever its value went into."""
        command = c.RerunNode(
            instance_id=convert.to_instance_id(request.instance_id),
            node_id=convert.to_node_id(request.node_id),
            request_id=convert.to_request_id(request.request_id),
        )
        response = dag_pb2.RerunNodeResponse()
        for event in await self._host.submit(command):
            if isinstance(event, NodesReset):
                response.node_ids.extend(reset.node.id for reset in event.resets)
            elif isinstance(event, RequestRepeated):
                response.node_ids.extend(await self._ids_of(event.seqs))
        return response

    async def _ids_of(self, seqs: Sequence[int]) -> list[NodeId]:
        """Give the ids of nodes by number; they may be many, and have left memory."""
        ids: list[NodeId] = []
        for start in range(0, len(seqs), _LOOKED_UP_MAX):
            found = await self._host.read(self._host.journal.find_nodes, seqs[start : start + _LOOKED_UP_MAX])
            ids += [found[seq].id for seq in seqs[start : start + _LOOKED_UP_MAX] if seq in found]
        return ids


@dataclass(slots=True)
class _Watch:
    """The nodes of a watch, by where their outcomes are to come from."""

    instance_id: InstanceId
    waiting: dict[NodeId, asyncio.Future[Node]] = field(default_factory=dict)
    ended: list[Node] = field(default_factory=list)  #: in memory, maybe not durable yet
    elsewhere: list[NodeId] = field(default_factory=list)  #: in the journal, or unknown
    done: deque[NodeId] = field(default_factory=deque)  #: of those that were waited for
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, node_id: NodeId, future: asyncio.Future[Node]) -> None:
        """Note that a node that was waited for has ended."""
        self.done.append(node_id)
        self.news.set()


def _in_order(root: StoredNode, known: dict[int, StoredNode]) -> Iterable[tuple[int, bytes]]:
    """Give number and payload of each node that the root's value is made of, what others refer to first."""
    payloads: dict[int, bytes] = {}
    stack = [root.seq]
    while stack:
        source = known[stack[-1]]
        while source.payload is None and source.promise_seqs:  # an alias
            source = known[source.source_seq or source.promise_seqs[0]]
        pending = [seq for seq in source.promise_seqs if seq not in payloads]
        if pending:
            stack.extend(reversed(pending))
        else:
            payloads[stack.pop()] = source.payload or b""
    return payloads.items()
