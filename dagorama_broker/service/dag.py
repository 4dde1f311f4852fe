"""Starting instances, waiting for them and looking at them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from grpc import aio

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.digests import digest_value
from dagorama_broker.core.errors import EmptyInstance, InstanceEnded, UnknownInstance, UnknownNode
from dagorama_broker.core.events import NodesReset
from dagorama_broker.core.model import Instance, InstanceId, Node, NodeId
from dagorama_broker.core.states import TERMINAL, NodeState
from dagorama_broker.core.stored import StoredNode
from dagorama_broker.core.why import Reason, ended, explain, explain_function
from dagorama_broker.host.host import Host
from dagorama_broker.service import convert
from dagorama_broker.service.errors import answers

#: How instances are run of which nothing is said.
NO_OPTIONS = c.InstanceOptions()

_PAGE_SIZE = 100
_PAGE_SIZE_MAX = 1000
#: A token is the number of an instance or node, of which no storage has more than 2**63.
_PAGE_TOKEN_DIGITS = 18
#: Changes that come closer together than this are told once: fast enough for an eye, slow enough to cost nothing.
_CHANGE_INTERVAL_S = 0.1


class DagService(dag_pb2_grpc.DagServiceServicer):
    """Serves `DagService`. Everything that it tells is durable."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @answers
    async def Submit(self, request: dag_pb2.SubmitRequest, context: object) -> dag_pb2.SubmitResponse:
        """Make an instance and nodes in it."""
        convert.check_size("definition", len(request.definition.encode()))
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
            for future in asyncio.as_completed(watch.waiting.values()):
                yield convert.outcome_of(await future)
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
                watch.waiting[node_id] = self._host.listeners.outcome(watch.instance_id, node_id)
        return watch

    async def _ended_before(self, watch: "_Watch", context: object) -> AsyncIterator[dag_pb2.WatchResponse]:
        """Give the outcomes of nodes that had ended when the watch began, in memory or in the journal."""
        if watch.ended or watch.elsewhere:
            await self._flush(watch, context)
        for node in watch.ended:
            yield convert.outcome_of(node)
        for node_id in watch.elsewhere:
            yield await self._stored_outcome(watch.instance_id, node_id, context)

    @answers
    async def _flush(self, watch: "_Watch", context: object) -> None:
        """Wait until what has ended in memory, or left it, is durable."""
        await self._host.flush()

    @answers
    async def _stored_outcome(self, instance_id: InstanceId, node_id: NodeId, context: object) -> dag_pb2.WatchResponse:
        """Give the outcome of a node whose instance has left memory."""
        stored = await find_node(self._host, instance_id, node_id)
        if stored.state not in TERMINAL:  # it came into being after the watch, which was for nothing then
            raise UnknownNode(instance_id=instance_id, node_id=node_id)
        if stored.state is not NodeState.COMPLETED:
            return dag_pb2.WatchResponse(outcomes=[await self._stored_failure(stored)])
        return convert.completed(node_id, await self._stored_values(stored))

    async def _stored_failure(self, stored: StoredNode) -> graph_pb2.Outcome:
        causes = await self._host.read(self._host.journal.find_nodes, [stored.cause_seq])
        cause = causes.get(stored.cause_seq, stored)
        return convert.from_outcome(
            stored.id,
            stored.state,
            (cause.id, cause.function.name, cause.attempts, cause.failures[-1].failure if cause.failures else None),
        )

    async def _stored_values(self, stored: StoredNode) -> list[tuple[NodeId, bytes]]:
        """Give what the value is made of, what others refer to first."""
        known = await self._with_promised(stored)
        return [(known[seq].id, payload) for seq, payload in _in_order(stored, known)]

    async def _with_promised(self, stored: StoredNode) -> dict[int, StoredNode]:
        """Give a node and all that its value is made of, by number."""
        known = {stored.seq: stored}
        new = dict(known)
        while missing := {seq for node in new.values() for seq in node.promise_seqs} - known.keys():
            new = await self._host.read(self._host.journal.find_nodes, sorted(missing))
            known.update(new)
        return known

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
                info = await self._instance_info(request, context)
                yield dag_pb2.WatchInstanceResponse(instance=info)
                if info.state != graph_pb2.INSTANCE_STATE_RUNNING:
                    return
                await change
            finally:
                self._host.listeners.forget_change(instance_id, change)
            await asyncio.sleep(_CHANGE_INTERVAL_S)  # gathers what comes close together

    @answers
    async def _check_instance_id(self, request: dag_pb2.WatchInstanceRequest, context: object) -> InstanceId:
        return convert.to_instance_id(request.instance_id)

    @answers
    async def _instance_info(
        self, request: dag_pb2.WatchInstanceRequest | dag_pb2.GetInstanceRequest, context: object
    ) -> dag_pb2.InstanceInfo:
        return await self._look_at(convert.to_instance_id(request.instance_id))

    async def _look_at(self, instance_id: InstanceId) -> dag_pb2.InstanceInfo:
        """Give an instance as it stands. Raises `UnknownInstance`."""
        info = self._live_info(instance_id)
        await self._host.flush()  # what was seen in memory, or has left it
        if info is not None:
            return info
        summary = await self._host.read(self._host.journal.summarize_instance, instance_id)
        if summary is None:
            raise UnknownInstance(instance_id=instance_id)
        return convert.from_summary(summary)

    def _live_info(self, instance_id: InstanceId) -> dag_pb2.InstanceInfo | None:
        """Give the message for an instance that is in memory."""
        instance = self._host.scheduler.instances.get(instance_id)
        return None if instance is None else convert.from_instance(instance)

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
        await self._host.submit(c.RetryInstance(instance_id=convert.to_instance_id(request.instance_id)))
        return dag_pb2.RetryInstanceResponse()

    @answers
    async def RerunNode(self, request: dag_pb2.RerunNodeRequest, context: object) -> dag_pb2.RerunNodeResponse:
        """Run a node again, and whatever its value went into."""
        command = c.RerunNode(
            instance_id=convert.to_instance_id(request.instance_id), node_id=convert.to_node_id(request.node_id)
        )
        events = await self._host.submit(command)
        resets = [reset for event in events if isinstance(event, NodesReset) for reset in event.resets]
        return dag_pb2.RerunNodeResponse(node_ids=[reset.node.id for reset in resets])

    # -- looking ------------------------------------------------------------------------------------------------------

    @answers
    async def Why(self, request: dag_pb2.WhyRequest, context: object) -> dag_pb2.WhyResponse:
        """Tell why a node is not running."""
        instance_id = convert.to_instance_id(request.instance_id)
        await self._host.flush()
        instance = self._host.scheduler.instances.get(instance_id)
        node_id = convert.to_node_id(request.node_id) if request.node_id else None
        if node_id is None:
            node_id = await self._first_live(instance_id, instance)
        stored = await find_node(self._host, instance_id, node_id)
        response = dag_pb2.WhyResponse(node=(await self._node_infos(instance_id, [stored]))[0])
        node = instance.nodes.get(node_id) if instance else None
        if node is not None:
            reasons = explain(self._host.scheduler, node, self._host.now())
        else:
            reasons = (await self._why_ended(stored),)
        response.reasons.extend(map(convert.from_reason, reasons))
        return response

    async def _why_ended(self, stored: StoredNode) -> Reason:
        """Give the reason of a node whose instance has left memory."""
        cause = stored
        if stored.cause_seq not in (0, stored.seq):
            cause = (await self._host.read(self._host.journal.find_nodes, [stored.cause_seq]))[stored.cause_seq]
        failure = cause.failures[-1].failure if cause.failures else None
        return ended(stored.state, cause.id, cause.function.name, cause.attempts, failure)

    async def _first_live(self, instance_id: InstanceId, instance: Instance | None) -> NodeId:
        """Give the node of an instance that it makes most sense to ask about."""
        for node in instance.nodes.values() if instance else ():
            if node.state not in TERMINAL:
                return node.id
        rows = await self._host.read(lambda: self._host.journal.list_nodes(instance_id, after_seq=0, limit=1))
        if not rows:
            await self._look_at(instance_id)  # raises for one that does not exist
            raise EmptyInstance(instance_id=instance_id)
        return rows[0].id

    @answers
    async def CheckFunctions(
        self, request: dag_pb2.CheckFunctionsRequest, context: object
    ) -> dag_pb2.CheckFunctionsResponse:
        """Tell which functions no connected worker would run."""
        told = [explain_function(self._host.scheduler, convert.to_function(message)) for message in request.functions]
        return dag_pb2.CheckFunctionsResponse(
            checks=[dag_pb2.FunctionCheck(reasons=map(convert.from_reason, reasons)) for reasons in told]
        )

    @answers
    async def ListWorkers(self, request: dag_pb2.ListWorkersRequest, context: object) -> dag_pb2.ListWorkersResponse:
        """Tell who is connected."""
        scheduler = self._host.scheduler
        lanes = scheduler.queues.lanes.values()
        return dag_pb2.ListWorkersResponse(
            workers=[convert.from_worker(worker, lanes) for worker in scheduler.workers.values()]
        )

    @answers
    async def ListQueues(self, request: dag_pb2.ListQueuesRequest, context: object) -> dag_pb2.ListQueuesResponse:
        """Tell what is ready and running."""
        return dag_pb2.ListQueuesResponse(queues=convert.from_queues(self._host.scheduler.queues))

    async def GetInstance(self, request: dag_pb2.GetInstanceRequest, context: object) -> dag_pb2.GetInstanceResponse:
        """Give an instance."""
        return dag_pb2.GetInstanceResponse(instance=await self._instance_info(request, context))

    @answers
    async def GetNode(self, request: dag_pb2.GetNodeRequest, context: object) -> dag_pb2.GetNodeResponse:
        """Give a node."""
        instance_id = convert.to_instance_id(request.instance_id)
        node_id = convert.to_node_id(request.node_id)
        stored = await find_node(self._host, instance_id, node_id)
        (info,) = await self._node_infos(instance_id, [stored])
        return dag_pb2.GetNodeResponse(node=info)

    @answers
    async def ListInstances(
        self, request: dag_pb2.ListInstancesRequest, context: object
    ) -> dag_pb2.ListInstancesResponse:
        """Give a page of instances, newest first."""
        size = _page_size(request.page_size)
        before_seq = _page_token(request.page_token)
        summaries = await self._host.read(
            lambda: self._host.journal.list_instances(before_seq=before_seq, limit=size + 1)
        )
        more = len(summaries) > size
        infos = [self._live_info(summary.id) or convert.from_summary(summary) for summary in summaries[:size]]
        await self._host.flush()
        return dag_pb2.ListInstancesResponse(
            instances=infos,
            next_page_token=str(summaries[size - 1].seq) if more else "",
        )

    @answers
    async def ListNodes(self, request: dag_pb2.ListNodesRequest, context: object) -> dag_pb2.ListNodesResponse:
        """Give a page of an instance's nodes in creation order."""
        instance_id = convert.to_instance_id(request.instance_id)
        size = _page_size(request.page_size)
        after_seq = _page_token(request.page_token) or 0
        rows = await self._host.read(
            lambda: self._host.journal.list_nodes(instance_id, after_seq=after_seq, limit=size + 1)
        )
        if not rows and not after_seq:
            await self._instance_info(dag_pb2.GetInstanceRequest(instance_id=instance_id), context)
        return dag_pb2.ListNodesResponse(
            nodes=await self._node_infos(instance_id, rows[:size]),
            next_page_token=str(rows[size - 1].seq) if len(rows) > size else "",
        )

    async def _node_infos(self, instance_id: InstanceId, rows: list[StoredNode]) -> list[dag_pb2.NodeInfo]:
        """Give the messages for nodes from the journal, with what only memory knows put in."""
        wanted = {seq for row in rows for seq in (*row.dependency_seqs, row.parent_seq, row.cause_seq) if seq}
        others = await self._host.read(self._host.journal.find_nodes, sorted(wanted))
        ids = {seq: other.id for seq, other in others.items()}
        infos = [convert.from_stored_node(row, instance_id, ids) for row in rows]
        instance = self._host.scheduler.instances.get(instance_id)
        for info in infos if instance else ():
            assert instance is not None
            node = instance.nodes.get(NodeId(info.node_id))
            if node is not None:  # else it has just been removed by a rerun
                convert.put_live_state(info, node)
        await self._put_changes(rows, infos)
        await self._host.flush()  # what memory has told may rest on something that is on its way to the journal
        return infos

    async def _put_changes(self, rows: list[StoredNode], infos: list[dag_pb2.NodeInfo]) -> None:
        """Put into the messages what reruns have changed."""
        digests: dict[NodeId, bytes] = {}
        for row, info in zip(rows, infos, strict=True):
            if row.previous is None or row.state is not NodeState.COMPLETED:
                continue
            digest = digest_value(row, _promises_in(await self._with_promised(row)), digests)
            info.change = convert.to_change(row.previous, digest)


@dataclass(slots=True)
class _Watch:
    """The nodes of a watch, by where their outcomes are to come from."""

    instance_id: InstanceId
    waiting: dict[NodeId, asyncio.Future[Node]] = field(default_factory=dict)
    ended: list[Node] = field(default_factory=list)  #: in memory, maybe not durable yet
    elsewhere: list[NodeId] = field(default_factory=list)  #: in the journal, or unknown


async def find_node(host: Host, instance_id: InstanceId, node_id: NodeId) -> StoredNode:
    """Give a node from the journal. Raises `UnknownInstance` or `UnknownNode`."""
    stored = await host.read(host.journal.find_node, instance_id, node_id)
    if stored is None:
        if await host.read(host.journal.summarize_instance, instance_id) is None:
            raise UnknownInstance(instance_id=instance_id)
        raise UnknownNode(instance_id=instance_id, node_id=node_id)
    return stored


def _promises_in(known: dict[int, StoredNode]) -> Callable[[StoredNode], list[StoredNode]]:
    return lambda node: [known[seq] for seq in node.promise_seqs]


def _in_order(root: StoredNode, known: dict[int, StoredNode]) -> Iterable[tuple[int, bytes]]:
    """Give number and payload of each node that the root's value is made of, what others refer to first."""
    payloads: dict[int, bytes] = {}
    stack = [root.seq]
    while stack:
        source = known[stack[-1]]
        while source.payload is None and source.promise_seqs:  # an alias
            source = known[source.promise_seqs[0]]
        pending = [seq for seq in source.promise_seqs if seq not in payloads]
        if pending:
            stack.extend(reversed(pending))
        else:
            payloads[stack.pop()] = source.payload or b""
    return payloads.items()


def _page_size(asked: int) -> int:
    return min(asked or _PAGE_SIZE, _PAGE_SIZE_MAX)


def _page_token(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= _PAGE_TOKEN_DIGITS):
        raise convert.MalformedRequest(f"page_token {token!r} is none that this broker gave")
    return int(token)
