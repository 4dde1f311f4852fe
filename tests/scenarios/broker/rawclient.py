"""Clients and workers that speak the broker's wire by hand, over the generated stubs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from uuid import uuid4

import grpc

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2, work_pb2, work_pb2_grpc

#: How long a test waits for what is to come at once.
WAIT_S = 10.0
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def new_id() -> bytes:
    """Give an id that nothing else has."""
    return uuid4().bytes


def function(
    name: str = "shop:f", *, queue: str = "", taint: str = "", retry: graph_pb2.RetryPolicy | None = None
) -> graph_pb2.FunctionSpec:
    """Give a function."""
    return graph_pb2.FunctionSpec(name=name, queue=queue, taint=taint, retry=retry)


def call(node_id: bytes, *dependency_ids: bytes, arguments: bytes = b"", function: int = 0) -> graph_pb2.Call:
    """Give a call of a function of the message that it will stand in."""
    return graph_pb2.Call(node_id=node_id, function=function, arguments=arguments, dependency_ids=dependency_ids)


def failure(
    type: str = "ValueError", message: str = "no stock", *, traceback: str = "", permanent: bool = False
) -> graph_pb2.Failure:
    """Give a failure."""
    return graph_pb2.Failure(type=type, message=message, traceback=traceback, permanent=permanent)


def refusal(ask: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Give status and details of a call that the broker is to refuse."""
    try:
        answer = ask()
        if isinstance(answer, Iterator):
            list(answer)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("the broker did not refuse")


class Client:
    """A client on a connection of its own, for a queue of its own."""

    def __init__(self, target: str, queue: str = "") -> None:
        self.functions = [function(queue=queue)]
        self.channel = grpc.insecure_channel(target, options=(*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)))
        self.dag = dag_pb2_grpc.DagServiceStub(self.channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def submit(
        self, instance_id: bytes, *calls: graph_pb2.Call, functions: list[graph_pb2.FunctionSpec] | None = None
    ) -> None:
        """Submit calls, of this client's function unless others are given."""
        self.dag.Submit(
            dag_pb2.SubmitRequest(
                instance_id=instance_id,
                definition="shop:Order",
                functions=self.functions if functions is None else functions,
                calls=calls,
            ),
            timeout=WAIT_S,
        )

    def start(self, *calls: graph_pb2.Call, functions: list[graph_pb2.FunctionSpec] | None = None) -> bytes:
        """Submit calls as a new instance; gives its id."""
        instance_id = new_id()
        self.submit(instance_id, *calls, functions=functions)
        return instance_id

    def watch(self, instance_id: bytes, *node_ids: bytes) -> Iterator[dag_pb2.WatchResponse]:
        """Give the responses of a watch as they come."""
        return self.dag.Watch(dag_pb2.WatchRequest(instance_id=instance_id, node_ids=node_ids), timeout=WAIT_S)

    def node(self, instance_id: bytes, node_id: bytes) -> dag_pb2.NodeInfo:
        """Look at a node."""
        request = dag_pb2.GetNodeRequest(instance_id=instance_id, node_id=node_id)
        return self.dag.GetNode(request, timeout=WAIT_S).node

    def instance(self, instance_id: bytes) -> dag_pb2.InstanceInfo:
        """Look at an instance."""
        return self.dag.GetInstance(dag_pb2.GetInstanceRequest(instance_id=instance_id), timeout=WAIT_S).instance


class StreamEnded(Exception):
    """The broker has ended a worker's stream: with this status, or in order (None)."""

    def __init__(self, code: grpc.StatusCode | None, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(code, details)


class Worker:
    """A worker process's stream. What has come is added up in the attributes."""

    def __init__(self, target: str, hello: work_pb2.Hello) -> None:
        self.id = hello.worker_id
        self.grants: list[work_pb2.Grant] = []
        self.functions: dict[bytes, graph_pb2.FunctionSpec] = {}  #: of granted nodes, by node id
        self.values: list[tuple[bytes, bytes]] = []
        self.recalls: list[work_pb2.Lease] = []
        self.refusals: list[work_pb2.Refusal] = []
        self.responses: list[work_pb2.WorkResponse] = []
        self.acknowledged = 0
        self.drained = False
        self._sequence = 0
        self._requests: SimpleQueue[work_pb2.WorkRequest | None] = SimpleQueue()
        self._incoming: SimpleQueue[work_pb2.WorkResponse | StreamEnded] = SimpleQueue()
        self._channel = grpc.insecure_channel(target, options=(*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)))
        self._call = work_pb2_grpc.WorkServiceStub(self._channel).Work(iter(self._requests.get, None))
        self._reader = Thread(target=self._read, daemon=True)
        self.send(work_pb2.WorkRequest(hello=hello))
        self._reader.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._incoming.put(response)
            self._incoming.put(StreamEnded(None, ""))
        except grpc.RpcError as error:
            self._incoming.put(StreamEnded(error.code(), error.details() or ""))

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, request: work_pb2.WorkRequest) -> None:
        """Send a message as it is."""
        self._requests.put(request)

    def report(self, *results: work_pb2.Result, functions: list[graph_pb2.FunctionSpec] | None = None) -> None:
        """Send results, and do not wait for the acknowledgement."""
        self._sequence += 1
        self.send(work_pb2.WorkRequest(results=results, functions=functions or [], sequence=self._sequence))

    def finish(self, *results: work_pb2.Result, functions: list[graph_pb2.FunctionSpec] | None = None) -> None:
        """Send results and wait until they are acknowledged."""
        self.report(*results, functions=functions)
        self.wait(lambda: self.acknowledged == self._sequence)

    def complete(self, grant: work_pb2.Grant, value: bytes = b"") -> None:
        """Complete a node with a plain value and wait until that is acknowledged."""
        self.finish(result(grant, value=value))

    def hand_back(self, *grants: work_pb2.Grant) -> None:
        """Give nodes back."""
        leases = [work_pb2.Lease(node_id=grant.node_id, token=grant.token) for grant in grants]
        self.send(work_pb2.WorkRequest(hand_backs=leases))

    # -- receiving ----------------------------------------------------------------------------------------------------

    def receive(self, timeout_s: float = WAIT_S) -> work_pb2.WorkResponse:
        """Give the next message. Raises `StreamEnded`, or `queue.Empty` after the time."""
        response = self._incoming.get(timeout=timeout_s)
        if isinstance(response, StreamEnded):
            raise response
        self.responses.append(response)
        self.grants += response.grants
        self.functions.update({grant.node_id: response.functions[grant.function] for grant in response.grants})
        self.values += [(value.node_id, value.payload) for value in response.values]
        self.recalls += response.recalls
        self.refusals += response.refusals
        self.acknowledged = max(self.acknowledged, response.acknowledged)
        self.drained |= response.drained
        return response

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive until the condition holds."""
        while not condition():
            self.receive()

    def take(self, count: int = 1) -> list[work_pb2.Grant]:
        """Wait for so many grants and take them out of `grants`."""
        self.wait(lambda: len(self.grants) >= count)
        taken, self.grants = self.grants[:count], self.grants[count:]
        return taken

    def settle(self) -> None:
        """Return when the broker has answered everything that was sent: it refuses an empty report's unknown node."""
        before = len(self.refusals)
        self.report(work_pb2.Result(node_id=b"nobody", value=b""))
        self.wait(lambda: len(self.refusals) > before)
        self.refusals.pop()

    def end(self) -> StreamEnded:
        """Receive until the broker ends the stream; gives how."""
        while True:
            try:
                self.receive()
            except StreamEnded as ended:
                return ended

    # -- leaving ------------------------------------------------------------------------------------------------------

    def leave(self) -> StreamEnded:
        """End the stream in order."""
        self.send(work_pb2.WorkRequest(draining=True))
        self._requests.put(None)
        return self.end()

    def close(self) -> None:
        """Break the connection."""
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()
        self._reader.join(WAIT_S)

    def is_quiet(self, seconds: float) -> bool:
        """Tell whether nothing comes for so long."""
        with suppress(Empty):
            self.receive(seconds)
            return False
        return True


def result(
    grant: work_pb2.Grant,
    *,
    value: bytes | None = None,
    alias_id: bytes | None = None,
    failure: graph_pb2.Failure | None = None,
    promise_ids: tuple[bytes, ...] = (),
    children: tuple[graph_pb2.Call, ...] = (),
    duration_us: int = 0,
) -> work_pb2.Result:
    """Give the result of a granted node."""
    message = work_pb2.Result(
        node_id=grant.node_id,
        token=grant.token,
        failure=failure,
        promise_ids=promise_ids,
        children=children,
        duration_us=duration_us,
    )
    if value is not None:
        message.value = value
    if alias_id is not None:
        message.alias_id = alias_id
    return message
