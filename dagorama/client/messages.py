"""Translate requests to messages, and messages to what this side of the port knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from google.protobuf.message import Message

from dagorama.capture import FunctionSpec
from dagorama.client.convert import write_function
from dagorama.client.port import Page, Request
from dagorama.client.status import (
    AttemptStatus,
    Cause,
    Failed,
    FunctionCheck,
    InstanceStatus,
    NodeStatus,
    Outcome,
    ProgressStatus,
    QueueStatus,
    WorkerStatus,
    id_or_none,
    ids,
    time_at,
    time_or_none,
)
from dagorama.states import InstanceState
from dagorama.v1 import dag_pb2, graph_pb2
from dagorama.v1.graph_pb2 import NodeState
from dagorama.why import Reason, Why

T = TypeVar("T")

#: The states of nodes after which nothing changes, as they travel.
TERMINAL_STATES = frozenset(
    {
        NodeState.NODE_STATE_COMPLETED,
        NodeState.NODE_STATE_FAILED,
        NodeState.NODE_STATE_DEPENDENCY_FAILED,
        NodeState.NODE_STATE_CANCELLED,
    }
)

# -- requests and their answers, by the names that both sides have -----------------------------------------------------


def message_of(request: Request[Any]) -> Message:
    """Return the message of a request: it has the request's fields, and none for what is None."""
    kind = getattr(dag_pb2, f"{request.rpc}Request")
    return cast(Message, kind(**{name: _encoded(value) for name, value in request.values().items()}))


def _encoded(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    if isinstance(value, FunctionSpec):
        message = graph_pb2.FunctionSpec()
        write_function(message, value)
        return message
    return value


def answer_in(request: Request[T], response: Message) -> T:
    """Return what a response says. It has one field, beside which there may be the token of the next page."""
    if isinstance(response, dag_pb2.WhyResponse):
        return cast(T, why_in(response))
    names = [field.name for field in response.DESCRIPTOR.fields]
    if not names:
        return cast(T, None)
    value = getattr(response, names[0])
    if isinstance(value, Message):
        return cast(T, _TOLD[type(value)](value))
    items = [_TOLD[type(each)](each) for each in value]
    return cast(T, Page(items, response.next_page_token) if "next_page_token" in names else items)  # type: ignore[attr-defined]


# -- how things stand --------------------------------------------------------------------------------------------------


def why_in(response: dag_pb2.WhyResponse) -> Why:
    """Return what a broker has answered about a node."""
    return Why(
        instance_id=UUID(bytes=response.node.instance_id),
        node_id=UUID(bytes=response.node.node_id),
        function=response.node.function,
        state=_state_name(response.node.state),
        reasons=tuple(map(_reason, response.reasons)),
    )


def _reason(message: dag_pb2.Reason) -> Reason:
    return Reason(
        kind=message.kind,
        text=message.text,
        node_ids=ids(message.node_ids),
        workers=tuple(message.workers),
        until=time_or_none(message.until),
        expected_at=time_or_none(message.expected_at),
        because=tuple(map(_reason, message.because)),
    )


def instance_status(info: dag_pb2.InstanceInfo) -> InstanceStatus:
    """Return an instance as the broker tells of it."""
    return InstanceStatus(
        instance_id=UUID(bytes=info.instance_id),
        definition=info.definition,
        state=instance_state(info.state),
        created_at=time_at(info.created_at),
        finished_at=time_or_none(info.finished_at),
        deadline_at=time_or_none(info.deadline_at),
        counts={_state_name(count.state): count.count for count in info.counts},
        priority=info.priority,
        group=info.group,
        paused=info.paused,
        running_max=info.running_max or None,
    )


def node_status(info: dag_pb2.NodeInfo) -> NodeStatus:
    """Return a node as the broker tells of it."""
    return NodeStatus(
        node_id=UUID(bytes=info.node_id),
        instance_id=UUID(bytes=info.instance_id),
        function=info.function,
        queue=info.queue,
        taint=info.taint,
        state=_state_name(info.state),
        dependency_ids=ids(info.dependency_ids),
        parent_id=id_or_none(info.parent_id),
        attempts=info.attempts,
        failures=tuple(map(_attempt_status, info.failures)),
        worker=info.worker,
        created_at=time_at(info.created_at),
        finished_at=time_or_none(info.finished_at),
        retry_at=time_or_none(info.retry_at),
        cause_id=id_or_none(info.cause_id),
        change=dag_pb2.Change.Name(info.change).removeprefix("CHANGE_").lower() if info.change else "",
        progress=_progress_status(info.progress) if info.HasField("progress") else None,
    )


def _progress_status(message: dag_pb2.Progress) -> ProgressStatus:
    return ProgressStatus(fraction=message.fraction, message=message.message)


def _attempt_status(info: dag_pb2.AttemptInfo) -> AttemptStatus:
    return AttemptStatus(
        number=info.number,
        worker=info.worker,
        ended_at=time_at(info.ended_at),
        type=info.failure.type,
        message=info.failure.message,
        traceback=info.failure.traceback,
    )


def worker_status(info: dag_pb2.WorkerInfo) -> WorkerStatus:
    """Return a worker as the broker tells of it."""
    return WorkerStatus(
        worker_id=UUID(bytes=info.worker_id),
        name=info.name,
        include_queues=tuple(info.include_queues),
        exclude_queues=tuple(info.exclude_queues),
        tolerations=tuple(info.tolerations),
        slots=info.slots,
        leases=info.leases,
        draining=info.draining,
        unfit_functions=tuple(info.unfit_functions),
    )


def queue_status(info: dag_pb2.QueueInfo) -> QueueStatus:
    """Return a queue as the broker tells of it."""
    return QueueStatus(
        queue=info.queue,
        taint=info.taint,
        ready=info.ready,
        active=info.active,
        workers=info.workers,
        paused=info.paused,
        running_max=info.running_max or None,
        held=info.held,
    )


def instance_state(state: graph_pb2.InstanceState.ValueType) -> InstanceState:
    """Return the state of an instance as users see it."""
    return InstanceState(graph_pb2.InstanceState.Name(state).removeprefix("INSTANCE_STATE_").lower())


def _state_name(state: NodeState.ValueType) -> str:
    return NodeState.Name(state).removeprefix("NODE_STATE_").lower()


def function_check(check: dag_pb2.FunctionCheck) -> FunctionCheck:
    """Return what the broker says of a function and the workers."""
    return FunctionCheck(tuple(map(_reason, check.reasons)), tuple(check.unsure_workers))


def outcome_in(response: dag_pb2.WatchResponse, node_id: bytes) -> Outcome:
    """Return how a node has ended."""
    message = next(each for each in response.outcomes if each.node_id == node_id)
    state = _state_name(message.state)
    if state == "completed":
        return Outcome(node_id, state, list(zip(response.values.node_ids, response.values.payloads, strict=True)))
    told = message.failure
    failure = Failed(told.type, told.message, told.traceback, told.exception)
    cause = Cause(message.cause_id or node_id, message.cause_function, message.cause_attempts, failure)
    return Outcome(node_id, state, cause=cause)


#: How each message in an answer is told of on this side.
_TOLD: dict[type, Callable[[Any], object]] = {
    dag_pb2.InstanceInfo: instance_status,
    dag_pb2.NodeInfo: node_status,
    dag_pb2.WorkerInfo: worker_status,
    dag_pb2.QueueInfo: queue_status,
    dag_pb2.FunctionCheck: function_check,
    bytes: bytes,
}
