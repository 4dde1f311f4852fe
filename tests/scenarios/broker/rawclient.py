"""Clients and workers that speak the broker's wire by hand, over the generated stubs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import NamedTuple
from uuid import uuid4

import grpc

from dagorama.v1 import dag_pb2, dag_pb2_grpc, graph_pb2, work_pb2, work_pb2_grpc
from tests.timing import WAIT_S

#: How long leases last at brokers whose workers send no heartbeats while a test goes on, however slowly.
LEASE_S = 3600.0
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def new_id() -> bytes:
    """Give an id that nothing else has."""
    return uuid4().bytes


def function(
    name: str = "shop:f", *, queue: str = "", taint: str = "", retry: graph_pb2.RetryPolicy | None = None
) -> graph_pb2.FunctionSpec:
    """Give a function."""
    return graph_pb2.FunctionSpec(name=name, queue=queue, taint=taint, retry=retry)


class Call(NamedTuple):
    """One row of `Calls`; `function` is an index into the table of the message that it will stand in."""

    node_id: bytes
    dependency_ids: tuple[bytes, ...]
    arguments: bytes
    function: int


def call(node_id: bytes, *dependency_ids: bytes, arguments: bytes = b"", function: int = 0) -> Call:
    """Give a call of a function of the message that it will stand in."""
    return Call(node_id, dependency_ids, arguments, function)


def calls(*rows: Call) -> graph_pb2.Calls:
    """Give calls by columns."""
    message = graph_pb2.Calls(
        node_ids=[row.node_id for row in rows],
        functions=[row.function for row in rows],
        arguments=[row.arguments for row in rows],
        dependency_ids=chain.from_iterable(row.dependency_ids for row in rows),
    )
    if message.dependency_ids:
        message.dependency_counts.extend(len(row.dependency_ids) for row in rows)
    return message


class Grant(NamedTuple):
    """One row of `Grants`."""

    node_id: bytes
    token: int
    instance_id: bytes
    function: int
    arguments: bytes
    attempt: int


def grants_in(response: work_pb2.WorkResponse) -> list[Grant]:
    """Give the grants of a message by rows."""
    grants = response.grants
    columns = (grants.node_ids, grants.tokens, grants.instance_ids, grants.functions, grants.arguments, grants.attempts)
    return [Grant(*row) for row in zip(*columns, strict=True)]


def values_in(response: work_pb2.WorkResponse | dag_pb2.WatchResponse) -> list[tuple[bytes, bytes]]:
    """Give the values of a message: node ids and payloads."""
    return list(zip(response.values.node_ids, response.values.payloads, strict=True))


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
        self,
        instance_id: bytes,
        *rows: Call,
        functions: list[graph_pb2.FunctionSpec] | None = None,
        options: dag_pb2.InstanceOptions | None = None,
    ) -> None:
        """Submit calls, of this client's function unless others are given."""
        self.dag.Submit(
            dag_pb2.SubmitRequest(
                instance_id=instance_id,
                definition="shop:Order",
                functions=self.functions if functions is None else functions,
                calls=calls(*rows),
                options=options,
            ),
            timeout=WAIT_S,
        )

    def start(
        self,
        *rows: Call,
        functions: list[graph_pb2.FunctionSpec] | None = None,
        options: dag_pb2.InstanceOptions | None = None,
    ) -> bytes:
        """Submit calls as a new instance; gives its id."""
        instance_id = new_id()
        self.submit(instance_id, *rows, functions=functions, options=options)
        return instance_id

    def watch(self, instance_id: bytes, *node_ids: bytes) -> Iterator[dag_pb2.WatchResponse]:
        """Give the responses of a watch as they come."""
        return self.dag.Watch(
            dag_pb2.WatchRequest(instance_id=instance_id, node_ids=node_ids, reads_references=True), timeout=WAIT_S
        )

    def node(self, instance_id: bytes, node_id: bytes) -> dag_pb2.NodeInfo:
        """Look at a node."""
        request = dag_pb2.GetNodeRequest(instance_id=instance_id, node_id=node_id)
        return self.dag.GetNode(request, timeout=WAIT_S).node

    def cancel(self, instance_id: bytes) -> None:
        """Stop an instance."""
        self.dag.CancelInstance(dag_pb2.CancelInstanceRequest(instance_id=instance_id), timeout=WAIT_S)

    def control(
        self,
        instance_id: bytes,
        *,
        priority: int | None = None,
        paused: bool | None = None,
        running_max: int | None = None,
    ) -> dag_pb2.InstanceInfo:
        """Change how an instance is run; gives how it stands then."""
        request = dag_pb2.ControlInstanceRequest(
            instance_id=instance_id, priority=priority, paused=paused, running_max=running_max
        )
        return self.dag.ControlInstance(request, timeout=WAIT_S).instance

    def control_queue(
        self, queue: str, *, paused: bool | None = None, running_max: int | None = None
    ) -> list[dag_pb2.QueueInfo]:
        """Change how a queue is run; gives how it stands then."""
        request = dag_pb2.ControlQueueRequest(queue=queue, paused=paused, running_max=running_max)
        return list(self.dag.ControlQueue(request, timeout=WAIT_S).queues)

    def queues(self, queue: str) -> list[dag_pb2.QueueInfo]:
        """Look at a queue."""
        listed = self.dag.ListQueues(dag_pb2.ListQueuesRequest(), timeout=WAIT_S).queues
        return [info for info in listed if info.queue == queue]

    def why(self, instance_id: bytes, node_id: bytes = b"") -> dag_pb2.WhyResponse:
        """Ask what holds a node."""
        return self.dag.Why(dag_pb2.WhyRequest(instance_id=instance_id, node_id=node_id), timeout=WAIT_S)

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
        self.grants: list[Grant] = []
        self.functions: dict[bytes, graph_pb2.FunctionSpec] = {}  #: of granted nodes, by node id
        self.values: list[tuple[bytes, bytes]] = []
        self.recalls: list[work_pb2.Lease] = []
        self.revocations: list[work_pb2.Lease] = []
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
        self._report(work_pb2.WorkRequest(results=results, functions=functions or []))

    def _report(self, request: work_pb2.WorkRequest) -> None:
        self._sequence += 1
        request.sequence = self._sequence
        self.send(request)

    def finish(self, *results: work_pb2.Result, functions: list[graph_pb2.FunctionSpec] | None = None) -> None:
        """Send results and wait until they are acknowledged."""
        self.report(*results, functions=functions)
        self.wait(lambda: self.acknowledged == self._sequence)

    def report_plain(self, *rows: tuple[bytes, int, bytes]) -> None:
        """Send plain values by columns, each with node id and token, and do not wait for the acknowledgement."""
        self._report(work_pb2.WorkRequest(completions=completions(*rows)))

    def complete(self, grant: Grant, value: bytes = b"") -> None:
        """Complete a node with a plain value and wait until that is acknowledged."""
        self.report_plain((grant.node_id, grant.token, value))
        self.wait(lambda: self.acknowledged == self._sequence)

    def hand_back(self, *grants: Grant) -> None:
        """Give nodes back."""
        leases = [work_pb2.Lease(node_id=grant.node_id, token=grant.token) for grant in grants]
        self.send(work_pb2.WorkRequest(hand_backs=leases))

    def reject(self, grant: Grant, code_version: str) -> None:
        """Give a node back, because this worker has its function in this other version."""
        lease = work_pb2.Lease(node_id=grant.node_id, token=grant.token)
        self.send(work_pb2.WorkRequest(rejections=[work_pb2.Rejection(lease=lease, code_version=code_version)]))

    # -- receiving ----------------------------------------------------------------------------------------------------

    def receive(self, timeout_s: float = WAIT_S) -> work_pb2.WorkResponse:
        """Give the next message. Raises `StreamEnded`, or `queue.Empty` after the time."""
        response = self._incoming.get(timeout=timeout_s)
        if isinstance(response, StreamEnded):
            raise response
        self.responses.append(response)
        grants = grants_in(response)
        self.grants += grants
        self.functions.update({grant.node_id: response.functions[grant.function] for grant in grants})
        self.values += values_in(response)
        self.recalls += response.recalls
        self.revocations += response.revocations
        self.refusals += response.refusals
        self.acknowledged = max(self.acknowledged, response.acknowledged)
        self.drained |= response.drained
        return response

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive until the condition holds."""
        while not condition():
            self.receive()

    def take(self, count: int = 1) -> list[Grant]:
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


def completions(*rows: tuple[bytes, int, bytes]) -> work_pb2.Completions:
    """Give plain values by columns, each with node id and token."""
    return work_pb2.Completions(
        node_ids=[node_id for node_id, _, _ in rows],
        tokens=[token for _, token, _ in rows],
        values=[value for _, _, value in rows],
        durations_us=[0] * len(rows),
        waits_us=[0] * len(rows),
    )


def result(
    grant: Grant,
    *,
    value: bytes | None = None,
    alias_id: bytes | None = None,
    failure: graph_pb2.Failure | None = None,
    promise_ids: tuple[bytes, ...] = (),
    children: tuple[Call, ...] = (),
    duration_us: int = 0,
    waited_us: int = 0,
) -> work_pb2.Result:
    """Give the result of a granted node."""
    message = work_pb2.Result(
        node_id=grant.node_id,
        token=grant.token,
        failure=failure,
        promise_ids=promise_ids,
        children=calls(*children) if children else None,
        duration_us=duration_us,
        waited_us=waited_us,
    )
    if value is not None:
        message.value = value
    if alias_id is not None:
        message.alias_id = alias_id
    return message
