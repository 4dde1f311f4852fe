"""A gRPC server that speaks `DagService` over real connections; the test decides how nodes end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, NoReturn

import grpc

from dagorama.calls.payload import encode
from dagorama.v1 import dag_pb2, graph_pb2
from dagorama.v1.dag_pb2_grpc import DagServiceServicer, add_DagServiceServicer_to_server
from tests.ports import kept_port

State = graph_pb2.NodeState


class Call(NamedTuple):
    """One row of `Calls`."""

    node_id: bytes
    function: int
    arguments: bytes
    dependency_ids: tuple[bytes, ...]


def calls_in(request: dag_pb2.SubmitRequest) -> list[Call]:
    """Gives the calls of a request by rows."""
    calls = request.calls
    dependency_ids = iter(calls.dependency_ids)
    counts = calls.dependency_counts or [0] * len(calls.node_ids)
    rows = [
        Call(node_id, function, arguments, tuple(islice(dependency_ids, count)))
        for node_id, function, arguments, count in zip(
            calls.node_ids, calls.functions, calls.arguments, counts, strict=True
        )
    ]
    assert list(dependency_ids) == []
    return rows


class DagServer(DagServiceServicer):
    """Keeps what was submitted, over restarts too, and tells outcomes when the test gives them."""

    def __init__(self) -> None:
        """Starts without any instance."""
        self.port = 0
        self.submits: list[dag_pb2.SubmitRequest] = []
        self.cancelled: list[bytes] = []
        self.controls: list[dag_pb2.ControlInstanceRequest] = []
        self.heeds = ["key", "hooks"]  #: brokers before 0.2 say nothing of these, and heed none
        self.answers_lost = 0  #: so many requests to cancel, retry or rerun are still to be done without an answer
        self.requests: list[bytes] = []  #: ids of those to retry or rerun, as they came
        self.retried: list[bytes] = []
        self.rerun: list[tuple[bytes, bytes]] = []
        self.nodes: dict[bytes, Call] = {}
        self.why: dag_pb2.WhyResponse | None = None  #: what holds any node; None: asking is not known here
        self.asked_why = 0
        self.why_asked = threading.Semaphore(0)
        self.ended = graph_pb2.INSTANCE_STATE_RUNNING  #: how instances stand that are not cancelled
        self.failed: list[dag_pb2.NodeInfo] = []  #: nodes of any instance beside those that were submitted
        self.watched = threading.Semaphore(0)
        self.watches: list[dag_pb2.WatchRequest] = []
        self.together_max = 1_000  #: so many outcomes go into one message
        self._responses: dict[bytes, dag_pb2.WatchResponse] = {}
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Listens, at the port of last time if there was one."""
        server = grpc.server(ThreadPoolExecutor(300), options=[("grpc.so_reuseport", 0)])
        add_DagServiceServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{kept_port(self.port)}")
        server.start()
        self._server = server

    def stop(self) -> None:
        """Breaks all connections and frees the port."""
        server, self._server = self._server, None
        if server is not None:
            stopped = server.stop(0)
            with self._changed:
                self._changed.notify_all()
            stopped.wait()

    def end(self, node_id: bytes, outcome: graph_pb2.Outcome, values: Mapping[bytes, bytes] | None = None) -> None:
        """Ends a node; `values` are payloads by node id."""
        outcome.node_id = node_id
        columns = graph_pb2.Values(node_ids=values.keys(), payloads=values.values()) if values else None
        with self._changed:
            self._responses[node_id] = dag_pb2.WatchResponse(outcomes=[outcome], values=columns)
            self._changed.notify_all()

    def complete(self, node_id: bytes, value: object) -> None:
        """Gives a node its value."""
        outcome = graph_pb2.Outcome(state=State.NODE_STATE_COMPLETED)
        self.end(node_id, outcome, {node_id: encode(value, what="a value").data})

    def Submit(self, request: dag_pb2.SubmitRequest, context: grpc.ServicerContext) -> dag_pb2.SubmitResponse:
        """Keeps the calls; refuses an id that has another call."""
        for call in calls_in(request):
            if self.nodes.setdefault(call.node_id, call) != call:
                _refuse(context, grpc.StatusCode.ALREADY_EXISTS, "the id has another body")
        self.submits.append(request)
        return dag_pb2.SubmitResponse(heeded=self.heeds, broker_version="0.1.9" if self.heeds else "")

    def CancelInstance(
        self, request: dag_pb2.CancelInstanceRequest, context: grpc.ServicerContext
    ) -> dag_pb2.CancelInstanceResponse:
        """Keeps the id; refuses one that it was told before."""
        if request.instance_id in self.cancelled:
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "it is cancelled already")
        self.cancelled.append(request.instance_id)
        self._lose_answer(context)
        return dag_pb2.CancelInstanceResponse()

    def _lose_answer(self, context: grpc.ServicerContext) -> None:
        if self.answers_lost:
            self.answers_lost -= 1
            _refuse(context, grpc.StatusCode.UNAVAILABLE, "the connection broke")

    def _is_new(self, request_id: bytes, context: grpc.ServicerContext) -> bool:
        """Tells whether a request has not been done before."""
        if len(request_id) != 16:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "an id has 16 bytes")
        self.requests.append(request_id)
        return self.requests.count(request_id) == 1

    def ControlInstance(
        self, request: dag_pb2.ControlInstanceRequest, context: grpc.ServicerContext
    ) -> dag_pb2.ControlInstanceResponse:
        """Keeps the request; refuses one for an instance that is cancelled."""
        if request.instance_id in self.cancelled:
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "it is cancelled already")
        self.controls.append(request)
        info = dag_pb2.InstanceInfo(instance_id=request.instance_id, state=self.ended)
        return dag_pb2.ControlInstanceResponse(instance=info)

    def ControlQueue(self, request: dag_pb2.ControlQueueRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there, as in a broker of another version."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def RetryInstance(
        self, request: dag_pb2.RetryInstanceRequest, context: grpc.ServicerContext
    ) -> dag_pb2.RetryInstanceResponse:
        """Keeps the id; refuses one that it was told before, by another request."""
        if request.request_id not in self.requests and request.instance_id in self.retried:
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "it is running")
        if self._is_new(request.request_id, context):
            self.retried.append(request.instance_id)
        self._lose_answer(context)
        return dag_pb2.RetryInstanceResponse()

    def RerunNode(self, request: dag_pb2.RerunNodeRequest, context: grpc.ServicerContext) -> dag_pb2.RerunNodeResponse:
        """Keeps the ids."""
        if self._is_new(request.request_id, context):
            self.rerun.append((request.instance_id, request.node_id))
        self._lose_answer(context)
        return dag_pb2.RerunNodeResponse(node_ids=[request.node_id])

    def RetryNode(self, request: dag_pb2.RetryNodeRequest, context: grpc.ServicerContext) -> dag_pb2.RetryNodeResponse:
        """Does nothing."""
        return dag_pb2.RetryNodeResponse()

    def DeleteInstance(
        self, request: dag_pb2.DeleteInstanceRequest, context: grpc.ServicerContext
    ) -> dag_pb2.DeleteInstanceResponse:
        """Does nothing."""
        return dag_pb2.DeleteInstanceResponse()

    def PruneInstances(
        self, request: dag_pb2.PruneInstancesRequest, context: grpc.ServicerContext
    ) -> dag_pb2.PruneInstancesResponse:
        """Finds none."""
        return dag_pb2.PruneInstancesResponse()

    def DrainWorker(
        self, request: dag_pb2.DrainWorkerRequest, context: grpc.ServicerContext
    ) -> dag_pb2.DrainWorkerResponse:
        """Does nothing."""
        return dag_pb2.DrainWorkerResponse()

    def GetArguments(
        self, request: dag_pb2.GetArgumentsRequest, context: grpc.ServicerContext
    ) -> dag_pb2.GetArgumentsResponse:
        """Gives none out."""
        return dag_pb2.GetArgumentsResponse(arguments=dag_pb2.NodeArguments())

    def ListDefinitions(
        self, request: dag_pb2.ListDefinitionsRequest, context: grpc.ServicerContext
    ) -> dag_pb2.ListDefinitionsResponse:
        """Knows of none."""
        return dag_pb2.ListDefinitionsResponse()

    def ListLimits(
        self, request: dag_pb2.ListLimitsRequest, context: grpc.ServicerContext
    ) -> dag_pb2.ListLimitsResponse:
        """Knows of none."""
        return dag_pb2.ListLimitsResponse()

    def ListSettings(
        self, request: dag_pb2.ListSettingsRequest, context: grpc.ServicerContext
    ) -> dag_pb2.ListSettingsResponse:
        """Has none."""
        return dag_pb2.ListSettingsResponse()

    def ListHistory(
        self, request: dag_pb2.ListHistoryRequest, context: grpc.ServicerContext
    ) -> dag_pb2.ListHistoryResponse:
        """Knows of nothing that was done."""
        return dag_pb2.ListHistoryResponse()

    def GetNode(self, request: dag_pb2.GetNodeRequest, context: grpc.ServicerContext) -> dag_pb2.GetNodeResponse:
        """Tells how a node stands."""
        self._known(request.node_id, context)
        response = self._responses.get(request.node_id)
        state = State.NODE_STATE_READY if response is None else response.outcomes[0].state
        return dag_pb2.GetNodeResponse(
            node=dag_pb2.NodeInfo(node_id=request.node_id, instance_id=request.instance_id, state=state)
        )

    def Watch(self, request: dag_pb2.WatchRequest, context: grpc.ServicerContext) -> Iterator[dag_pb2.WatchResponse]:
        """Waits until each node has ended, and tells of each, or of all together."""
        self.watches.append(request)
        for node_id in request.node_ids:
            self._known(node_id, context)
        if request.at_once:
            ended = [self._responses[node_id] for node_id in request.node_ids if node_id in self._responses]
            yield dag_pb2.WatchResponse(outcomes=[outcome for response in ended for outcome in response.outcomes])
            return
        together: list[dag_pb2.WatchResponse] = []
        for node_id in request.node_ids:
            self._known(node_id, context)
            self.watched.release()
            context.add_callback(self._wake)
            with self._changed:
                while node_id not in self._responses and context.is_active():
                    self._changed.wait()
            if not context.is_active():
                return
            if not request.together:
                yield self._responses[node_id]
                continue
            together.append(self._responses[node_id])
            if together[-1].outcomes[0].state != State.NODE_STATE_COMPLETED or len(together) == self.together_max:
                break
        if together:
            yield _joined(together)

    def GetInstance(
        self, request: dag_pb2.GetInstanceRequest, context: grpc.ServicerContext
    ) -> dag_pb2.GetInstanceResponse:
        """Tells the name of the definition."""
        first = next(submit for submit in self.submits if submit.instance_id == request.instance_id)
        info = dag_pb2.InstanceInfo(instance_id=request.instance_id, definition=first.definition, state=self.ended)
        info.counts.add(state=State.NODE_STATE_FAILED, count=len(self.failed))
        if request.instance_id in self.cancelled:
            info.state = graph_pb2.INSTANCE_STATE_CANCELLED
        return dag_pb2.GetInstanceResponse(instance=info)

    def end_instances(self, state: graph_pb2.InstanceState.ValueType) -> None:
        """Ends all instances."""
        with self._changed:
            self.ended = state
            self._changed.notify_all()

    def WatchInstance(
        self, request: dag_pb2.WatchInstanceRequest, context: grpc.ServicerContext
    ) -> Iterator[dag_pb2.WatchInstanceResponse]:
        """Waits until instances have ended."""
        self.watched.release()
        context.add_callback(self._wake)
        with self._changed:
            while self.ended == graph_pb2.INSTANCE_STATE_RUNNING and context.is_active():
                self._changed.wait()
        if context.is_active():
            answer = self.GetInstance(dag_pb2.GetInstanceRequest(instance_id=request.instance_id), context)
            yield dag_pb2.WatchInstanceResponse(instance=answer.instance)

    def ListInstances(self, request: dag_pb2.ListInstancesRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there either."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def WatchEvents(
        self, request: dag_pb2.WatchEventsRequest, context: grpc.ServicerContext
    ) -> dag_pb2.WatchEventsResponse:
        """Tells of nothing."""
        return dag_pb2.WatchEventsResponse()

    def WatchChanges(
        self, request: dag_pb2.WatchChangesRequest, context: grpc.ServicerContext
    ) -> dag_pb2.WatchChangesResponse:
        """Tells of nothing."""
        return dag_pb2.WatchChangesResponse()

    def CountNodes(
        self, request: dag_pb2.CountNodesRequest, context: grpc.ServicerContext
    ) -> dag_pb2.CountNodesResponse:
        """Tells of no nodes."""
        return dag_pb2.CountNodesResponse()

    def GetShape(self, request: dag_pb2.GetShapeRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there, as with a broker that is older."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def ListTimes(self, request: dag_pb2.ListTimesRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there either."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def ListNodes(self, request: dag_pb2.ListNodesRequest, context: grpc.ServicerContext) -> dag_pb2.ListNodesResponse:
        """Tells ids and functions of the first nodes; there is no further page."""
        nodes = [
            dag_pb2.NodeInfo(
                node_id=call.node_id,
                function=submit.functions[call.function - 1].name,
                state=State.NODE_STATE_READY,
            )
            for submit in self.submits
            if submit.instance_id == request.instance_id
            for call in calls_in(submit)
        ]
        nodes.extend(self.failed)
        for node in nodes:
            node.instance_id = request.instance_id
        return dag_pb2.ListNodesResponse(nodes=nodes[: request.page_size])

    def Why(self, request: dag_pb2.WhyRequest, context: grpc.ServicerContext) -> dag_pb2.WhyResponse:
        """Tells what the test has it tell; otherwise it is not there, as in a broker of another version."""
        self.asked_why += 1
        self.why_asked.release()
        if self.why is None:
            _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")
        return self.why

    def ListWorkers(self, request: dag_pb2.ListWorkersRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there either."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def ListQueues(self, request: dag_pb2.ListQueuesRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there either."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def CheckFunctions(self, request: dag_pb2.CheckFunctionsRequest, context: grpc.ServicerContext) -> NoReturn:
        """Is not there either."""
        _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _known(self, node_id: bytes, context: grpc.ServicerContext) -> None:
        if node_id not in self.nodes:
            _refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no node {node_id.hex()}")


def _joined(responses: list[dag_pb2.WatchResponse]) -> dag_pb2.WatchResponse:
    """Gives one message for several."""
    joined = dag_pb2.WatchResponse()
    for response in responses:
        joined.MergeFrom(response)
        joined.outcomes[-1].value_count = len(response.values.node_ids)
    return joined


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, detail: str) -> NoReturn:
    context.abort(code, detail)
    raise AssertionError("abort raises")
