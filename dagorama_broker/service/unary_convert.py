"""The one place where the messages of dagorama 0.1 and core types meet."""

import re
from collections.abc import Mapping
from uuid import UUID

from dagorama.api import api_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.payloads import payload_of
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import UNSUCCESSFUL, NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import Failure, FunctionSpec, InstanceId, NewCall, NodeId, RetryPolicy, WorkerId
from dagorama_broker.requests.checks import (
    MESSAGE_BYTES_MAX,
    MalformedRequest,
    SumTooLarge,
    check_name,
    check_size,
)

#: The last line of a traceback: the exception's type and, mostly, what it says.
_RAISED = re.compile(r"(?P<type>[^\W\d][\w.]*)(: (?P<message>.*))?")


# -- messages to core types -------------------------------------------------------------------------------------------


def _to_id(text: str, field: str) -> bytes:
    try:
        return UUID(text).bytes
    except ValueError:
        raise MalformedRequest(f"{field} {text!r} is not a UUID") from None


def to_worker_id(text: str, field: str) -> WorkerId:
    """Give the id of a worker. Raises `MalformedRequest`, as the next two do, naming the field."""
    return WorkerId(_to_id(text, field))


def to_instance_id(text: str, field: str) -> InstanceId:
    """Give the id of an instance."""
    return InstanceId(_to_id(text, field))


def to_node_id(text: str, field: str) -> NodeId:
    """Give the id of a node."""
    return NodeId(_to_id(text, field))


def to_connect(worker_id: WorkerId, message: api_pb2.WorkerConfigurationMessage) -> c.ConnectWorker:
    """Give the command for a worker that pulls."""
    for field in ("includeQueues", "excludeQueues", "queueTolerations"):
        for text in getattr(message, field):
            check_name(f"one of the {field}", text)
    return c.ConnectWorker(
        worker_id=worker_id,
        name=f"unary-{worker_id.hex()[:8]}",
        include_queues=frozenset(message.includeQueues),
        exclude_queues=frozenset(message.excludeQueues),
        tolerations=frozenset(message.queueTolerations),
        slots=0,
    )


def to_call(message: api_pb2.NodeConfigurationMessage) -> NewCall:
    """Give a call."""
    if not message.functionName:
        raise MalformedRequest("functionName is empty")
    for field in ("functionName", "functionHash", "queueName", "taintName"):
        check_name(field, getattr(message, field))
    check_size(f"arguments of {message.functionName[:200]}", len(message.arguments))
    function = FunctionSpec(
        name=message.functionName,
        code_version=message.functionHash,
        queue=message.queueName or message.functionName,
        taint=message.taintName,
        retry=_to_retry(message.retry) if message.HasField("retry") else RetryPolicy(),
    )
    dependency_ids = tuple(to_node_id(text, "sourceIds") for text in message.sourceIds)
    return NewCall(to_node_id(message.identifier, "identifier"), function, message.arguments, dependency_ids)


def _to_retry(message: api_pb2.RetryMessage) -> RetryPolicy:
    """Give a policy. 0.1 counted the attempts after the first, and waited 1, b, b^2, ... seconds or always the same."""
    for field in ("maxAttempts", "staticInterval", "exponentialBase"):
        number: int = getattr(message, field)
        if number < 0:
            raise MalformedRequest(f"retry.{field} is {number}; it must be 0 or more")
    attempts = message.maxAttempts + 1
    if message.exponentialBase and not message.staticInterval:
        return RetryPolicy(max_attempts=attempts, interval_s=1.0, multiplier=float(message.exponentialBase))
    return RetryPolicy(max_attempts=attempts, interval_s=message.staticInterval)


def to_failure(traceback: str) -> Failure:
    """Give the failure that a traceback, or any other text, tells of. Raises `TooLarge`."""
    check_size("traceback", len(traceback.encode()))
    last = next((line for line in reversed(traceback.splitlines()) if line.strip()), "").strip()
    raised = _RAISED.fullmatch(last)
    if raised is None:
        return Failure(type="Failure", message=last, traceback=traceback)
    return Failure(type=raised["type"], message=raised["message"] or "", traceback=traceback)


# -- core types to messages -------------------------------------------------------------------------------------------


def from_node(node: Node) -> api_pb2.NodeMessage:
    """Give the message for a node in memory."""
    message = _message(node.instance.id, node.id, node.function.spec, node.arguments, node.state)
    message.MergeFrom(_standing(node.id, node.state, payload_of(node)))
    message.sources.extend(_standing(other.id, other.state, payload_of(other)) for other in node.dependencies)
    return message


def check_sum(node: Node) -> None:
    """Raise `SumTooLarge` where no message can hold a node with the values that it takes."""
    size = len(node.arguments) + sum(len(payload_of(other)) for other in node.dependencies)
    if size > MESSAGE_BYTES_MAX:
        raise SumTooLarge(f"the values that {node.function.spec.name} takes", size)


def from_stored(node: StoredNode, instance_id: InstanceId, known: Mapping[int, StoredNode]) -> api_pb2.NodeMessage:
    """Give the message for a node from the journal; `known` has by number the nodes that it and its value refer to."""
    message = _message(instance_id, node.id, node.function, node.arguments, node.state)
    message.MergeFrom(_standing(node.id, node.state, _stored_payload(node, known)))
    sources = [known[seq] for seq in node.dependency_seqs]
    message.sources.extend(_standing(other.id, other.state, _stored_payload(other, known)) for other in sources)
    return message


def _stored_payload(node: StoredNode, known: Mapping[int, StoredNode]) -> bytes:
    while node.state is NodeState.COMPLETED and node.payload is None and node.promise_seqs:  # an alias
        node = known[node.source_seq or node.promise_seqs[0]]
    return node.payload or b""


def _message(
    instance_id: InstanceId, node_id: NodeId, function: FunctionSpec, arguments: bytes, state: NodeState
) -> api_pb2.NodeMessage:
    return api_pb2.NodeMessage(
        functionName=function.name,
        functionHash=function.code_version,
        queueName=function.queue,
        taintName=function.taint,
        arguments=arguments,
        instanceId=show_id(instance_id),
        permanentlyFailed=state in UNSUCCESSFUL,
    )


def _standing(node_id: NodeId, state: NodeState, payload: bytes) -> api_pb2.NodeMessage:
    """Give what is told of a source: a payload is a value only when its node has completed."""
    completed = state is NodeState.COMPLETED
    return api_pb2.NodeMessage(
        identifier=show_id(node_id), completed=completed, resolvedValue=payload if completed else b""
    )
