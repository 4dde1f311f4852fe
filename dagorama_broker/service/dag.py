"""Translate what people ask of instances, nodes, workers and queues to the requests' room, and its answers back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from dagorama.v1 import dag_pb2, dag_pb2_grpc
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.changing import NO_OPTIONS
from dagorama_broker.requests.watching import Watching
from dagorama_broker.service import convert
from dagorama_broker.service.errors import answers, answers_each


class DagService(dag_pb2_grpc.DagServiceServicer):
    """Serve `DagService`. Everything that it tells is durable."""

    def __init__(self, host: Host) -> None:
        self._requests = Requests(host)
        self._watching = Watching(host, self._requests)

    @answers
    async def Submit(self, request: dag_pb2.SubmitRequest, context: object) -> dag_pb2.SubmitResponse:
        """Make an instance and nodes in it."""
        functions = [convert.to_function(function) for function in request.functions]
        await self._requests.submit(
            convert.to_instance_id(request.instance_id),
            request.definition,
            convert.to_calls(request.calls, functions),
            convert.to_instance_options(request.options) if request.HasField("options") else NO_OPTIONS,
        )
        return dag_pb2.SubmitResponse()

    # -- waiting ------------------------------------------------------------------------------------------------------

    @answers_each
    async def Watch(
        self, request: dag_pb2.WatchRequest, context: object
    ) -> AsyncGenerator[dag_pb2.WatchResponse, None]:
        """Send the outcome of each node as it ends, or all together, or at once the ends that there are."""
        instance_id = convert.to_instance_id(request.instance_id)
        node_ids = [convert.to_node_id(raw) for raw in request.node_ids]
        if request.at_once:
            yield convert.from_outcomes(await self._requests.find_ended(instance_id, node_ids))
            return
        if request.together:
            yield convert.from_outcomes(await self._watching.watch_together(instance_id, node_ids))
            return
        async with aclosing(self._watching.watch(instance_id, node_ids)) as outcomes:
            async for outcome in outcomes:
                response = convert.from_outcomes([outcome])
                del outcome  # values are large: let go of each before the next
                yield response

    @answers_each
    async def WatchInstance(
        self, request: dag_pb2.WatchInstanceRequest, context: object
    ) -> AsyncGenerator[dag_pb2.WatchInstanceResponse, None]:
        """Send how an instance stands, now and after every change."""
        instance_id = convert.to_instance_id(request.instance_id)
        watch = self._watching.watch_instance(instance_id, until_ended=request.until_ended)
        async with aclosing(watch) as summaries:
            async for summary in summaries:
                yield dag_pb2.WatchInstanceResponse(instance=convert.from_instance(summary))

    # -- changing -----------------------------------------------------------------------------------------------------

    @answers
    async def CancelInstance(
        self, request: dag_pb2.CancelInstanceRequest, context: object
    ) -> dag_pb2.CancelInstanceResponse:
        """Stop an instance."""
        await self._requests.cancel(convert.to_instance_id(request.instance_id))
        return dag_pb2.CancelInstanceResponse()

    @answers
    async def ControlInstance(
        self, request: dag_pb2.ControlInstanceRequest, context: object
    ) -> dag_pb2.ControlInstanceResponse:
        """Change the priority of an instance, pause it or let it go on, or cap it."""
        summary = await self._requests.control_instance(
            convert.to_instance_id(request.instance_id),
            priority=request.priority if request.HasField("priority") else None,
            paused=request.paused if request.HasField("paused") else None,
            running_max=request.running_max if request.HasField("running_max") else None,
        )
        return dag_pb2.ControlInstanceResponse(instance=convert.from_instance(summary))

    @answers
    async def ControlQueue(self, request: dag_pb2.ControlQueueRequest, context: object) -> dag_pb2.ControlQueueResponse:
        """Pause a queue or let it go on, or cap it."""
        queues = await self._requests.control_queue(
            request.queue,
            paused=request.paused if request.HasField("paused") else None,
            running_max=request.running_max if request.HasField("running_max") else None,
        )
        return dag_pb2.ControlQueueResponse(queues=map(convert.from_queue, queues))

    @answers
    async def RetryInstance(
        self, request: dag_pb2.RetryInstanceRequest, context: object
    ) -> dag_pb2.RetryInstanceResponse:
        """Let a failed instance go on."""
        instance_id = convert.to_instance_id(request.instance_id)
        await self._requests.retry(instance_id, convert.to_request_id(request.request_id))
        return dag_pb2.RetryInstanceResponse()

    @answers
    async def RerunNode(self, request: dag_pb2.RerunNodeRequest, context: object) -> dag_pb2.RerunNodeResponse:
        """Run a node again, and whatever its value went into."""
        node_ids = await self._requests.rerun(
            convert.to_instance_id(request.instance_id),
            convert.to_node_id(request.node_id),
            convert.to_request_id(request.request_id),
        )
        return dag_pb2.RerunNodeResponse(node_ids=node_ids)

    # -- looking ------------------------------------------------------------------------------------------------------

    @answers
    async def Why(self, request: dag_pb2.WhyRequest, context: object) -> dag_pb2.WhyResponse:
        """Tell why a node is not running."""
        instance_id = convert.to_instance_id(request.instance_id)
        node_id = convert.to_node_id(request.node_id) if request.node_id else None
        node, reasons = await self._requests.why(instance_id, node_id)
        return dag_pb2.WhyResponse(node=convert.from_node(node), reasons=map(convert.from_reason, reasons))

    @answers
    async def CheckFunctions(
        self, request: dag_pb2.CheckFunctionsRequest, context: object
    ) -> dag_pb2.CheckFunctionsResponse:
        """Tell which functions no connected worker would run."""
        checks = await self._requests.check_functions([convert.to_function(each) for each in request.functions])
        return dag_pb2.CheckFunctionsResponse(
            checks=[
                dag_pb2.FunctionCheck(
                    reasons=map(convert.from_reason, check.reasons), unsure_workers=check.unsure_workers
                )
                for check in checks
            ]
        )

    @answers
    async def ListWorkers(self, request: dag_pb2.ListWorkersRequest, context: object) -> dag_pb2.ListWorkersResponse:
        """Tell who is connected."""
        return dag_pb2.ListWorkersResponse(workers=map(convert.from_worker, await self._requests.list_workers()))

    @answers
    async def ListQueues(self, request: dag_pb2.ListQueuesRequest, context: object) -> dag_pb2.ListQueuesResponse:
        """Tell what is ready and running."""
        return dag_pb2.ListQueuesResponse(queues=map(convert.from_queue, await self._requests.list_queues()))

    @answers
    async def GetInstance(self, request: dag_pb2.GetInstanceRequest, context: object) -> dag_pb2.GetInstanceResponse:
        """Give an instance."""
        summary = await self._requests.get_instance(convert.to_instance_id(request.instance_id))
        return dag_pb2.GetInstanceResponse(instance=convert.from_instance(summary))

    @answers
    async def GetNode(self, request: dag_pb2.GetNodeRequest, context: object) -> dag_pb2.GetNodeResponse:
        """Give a node."""
        instance_id = convert.to_instance_id(request.instance_id)
        node = await self._requests.get_node(instance_id, convert.to_node_id(request.node_id))
        return dag_pb2.GetNodeResponse(node=convert.from_node(node))

    @answers
    async def ListInstances(
        self, request: dag_pb2.ListInstancesRequest, context: object
    ) -> dag_pb2.ListInstancesResponse:
        """Give a page of instances, newest first."""
        page = await self._requests.list_instances(request.page_size, request.page_token)
        return dag_pb2.ListInstancesResponse(
            instances=map(convert.from_instance, page.items), next_page_token=page.next_token
        )

    @answers
    async def ListNodes(self, request: dag_pb2.ListNodesRequest, context: object) -> dag_pb2.ListNodesResponse:
        """Give a page of an instance's nodes in creation order."""
        instance_id = convert.to_instance_id(request.instance_id)
        page = await self._requests.list_nodes(instance_id, request.page_size, request.page_token)
        return dag_pb2.ListNodesResponse(nodes=map(convert.from_node, page.items), next_page_token=page.next_token)
