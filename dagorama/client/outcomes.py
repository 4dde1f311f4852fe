"""What became of a node: its value, or the error that says why there is none."""

from __future__ import annotations

from uuid import UUID

from dagorama.errors import InstanceCancelled, NodeFailed
from dagorama.payload import decode, decode_value, no_promises
from dagorama.v1.dag_pb2 import NodeInfo, WatchResponse
from dagorama.v1.graph_pb2 import Failure, NodeState, Outcome

#: The states after which nothing changes.
TERMINAL = frozenset(
    {
        NodeState.NODE_STATE_COMPLETED,
        NodeState.NODE_STATE_FAILED,
        NodeState.NODE_STATE_DEPENDENCY_FAILED,
        NodeState.NODE_STATE_CANCELLED,
    }
)


def value_in(response: WatchResponse, instance_id: bytes, node_id: bytes) -> object:
    """Returns the value of a node that has ended; raises `NodeFailed` or `InstanceCancelled` if it has none."""
    outcome = next(outcome for outcome in response.outcomes if outcome.node_id == node_id)
    if outcome.state == NodeState.NODE_STATE_CANCELLED:
        raise InstanceCancelled(instance_id=UUID(bytes=instance_id), node_id=UUID(bytes=node_id))
    if outcome.state != NodeState.NODE_STATE_COMPLETED:
        raise failure_of(outcome, instance_id)
    values: dict[bytes, object] = {}
    for part_id, payload in zip(response.values.node_ids, response.values.payloads, strict=True):
        values[part_id] = decode_value(payload, values.__getitem__, part_id)
    return values[node_id]


def failure_of(outcome: Outcome, instance_id: bytes) -> NodeFailed:
    """Makes the error of a node without a value, with the original exception as its cause where that decodes here."""
    node_id = UUID(bytes=outcome.node_id)
    error = NodeFailed(
        instance_id=UUID(bytes=instance_id),
        node_id=node_id,
        cause_id=UUID(bytes=outcome.cause_id) if outcome.cause_id else node_id,
        function=outcome.cause_function,
        attempts=outcome.cause_attempts,
        exception_type=outcome.failure.type,
        exception_message=outcome.failure.message,
        remote_traceback=outcome.failure.traceback,
    )
    error.__cause__ = _exception_in(outcome.failure.exception)
    return error


def failure_of_node(info: NodeInfo) -> NodeFailed:
    """Makes the error of a node that failed itself, as a listing tells of it."""
    node_id = UUID(bytes=info.node_id)
    last = info.failures[-1].failure if info.failures else Failure(type="unknown")
    return NodeFailed(
        instance_id=UUID(bytes=info.instance_id),
        node_id=node_id,
        cause_id=node_id,
        function=info.function,
        attempts=info.attempts,
        exception_type=last.type,
        exception_message=last.message,
        remote_traceback=last.traceback,
    )


def _exception_in(payload: bytes) -> BaseException | None:
    """Returns the exception in a payload, None if there is none that can be decoded here."""
    if not payload:
        return None
    try:
        exception = decode(payload, no_promises)
    except Exception:
        # The failure itself is what the user has to see. That its exception needs a module that is missing here, or
        # that its constructor fails, is no further failure.
        return None
    return exception if isinstance(exception, BaseException) else None
