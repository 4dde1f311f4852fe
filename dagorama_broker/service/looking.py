"""Looking at instances, nodes, workers and queues. Everything that is told is durable."""

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2
from dagorama_broker.core.errors import EmptyInstance, UnknownInstance, UnknownNode
from dagorama_broker.core.model import Instance, InstanceId, NodeId
from dagorama_broker.core.states import TERMINAL
from dagorama_broker.core.stored import StoredNode
from dagorama_broker.core.why import Reason, ended, explain, explain_function, unsure_workers
from dagorama_broker.host.host import Host
from dagorama_broker.service import convert
from dagorama_broker.service.errors import answers

_PAGE_SIZE = 100
_PAGE_SIZE_MAX = 1000
#: A token is the number of an instance or node, of which no storage has more than 2**63.
_PAGE_TOKEN_DIGITS = 18


class Looking(dag_pb2_grpc.DagServiceServicer):
    """The part of `DagService` that changes nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host

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
            causes = await self._host.read(lambda: self._host.journal.find_nodes([stored.cause_seq], values=True))
            cause = causes[stored.cause_seq]
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
        scheduler = self._host.scheduler
        return dag_pb2.CheckFunctionsResponse(
            checks=[
                dag_pb2.FunctionCheck(
                    reasons=map(convert.from_reason, explain_function(scheduler, spec)),
                    unsure_workers=unsure_workers(scheduler, spec),
                )
                for spec in map(convert.to_function, request.functions)
            ]
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
        stored = await find_node(self._host, instance_id, node_id, values=True)
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
        # One that has ended since it was read is not counted in the summary.
        infos = [
            info
            if info.counts or info.state != graph_pb2.INSTANCE_STATE_RUNNING
            else await self._look_at(InstanceId(info.instance_id))
            for info in infos
        ]
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
        await self._host.flush()  # what memory has told may rest on something that is on its way to the journal
        return infos


async def find_node(host: Host, instance_id: InstanceId, node_id: NodeId, *, values: bool = False) -> StoredNode:
    """Give a node from the journal. Raises `UnknownInstance` or `UnknownNode`."""
    found = await host.read(lambda: host.journal.find_by_id(instance_id, [node_id], values=values))
    stored = found.get(node_id)
    if stored is None:
        if await host.read(host.journal.summarize_instance, instance_id) is None:
            raise UnknownInstance(instance_id=instance_id)
        raise UnknownNode(instance_id=instance_id, node_id=node_id)
    return stored


def _page_size(asked: int) -> int:
    return min(asked or _PAGE_SIZE, _PAGE_SIZE_MAX)


def _page_token(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= _PAGE_TOKEN_DIGITS):
        raise convert.MalformedRequest(f"page_token {token!r} is none that this broker gave")
    return int(token)
