"""The end of a node, as users see it: its value, or the error that says why there is none."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from dagorama.calls.large import ValueStore
from dagorama.calls.payload import decode, decode_value, no_promises
from dagorama.calls.references import BadReferences, is_referring, read_references
from dagorama.client.status import Cause, NodeStatus, Outcome
from dagorama.errors import InstanceCancelled, NodeFailed


def value_in(outcome: Outcome, instance_id: bytes, store: ValueStore | None = None) -> object:
    """Return the value of a node that has ended; raise `NodeFailed` or `InstanceCancelled` if it has none.

    `store` has the large values in it.
    """
    if outcome.state == "cancelled":
        raise InstanceCancelled(instance_id=UUID(bytes=instance_id), node_id=UUID(bytes=outcome.node_id))
    if outcome.cause is not None:
        raise failure_of(outcome.node_id, outcome.cause, instance_id)
    values: dict[bytes, object] = {}
    for part_id, payload in outcome.values:
        values[part_id] = decode_value(payload, values.__getitem__, part_id, store)
    return values[outcome.node_id]


def fetch(outcome: Outcome, store: ValueStore) -> object:
    """Have the large values of an outcome at hand, for as long as what this returns is kept."""
    kept = []
    for part_id, payload in outcome.values:
        if is_referring(payload):
            with suppress(BadReferences):  # who decodes it is told
                references = read_references(payload).references
                kept.append(store.get(references, f"the value of node {UUID(bytes=part_id)}"))
    return kept


def failure_of(node_id: bytes, cause: Cause, instance_id: bytes) -> NodeFailed:
    """Make the error of a node without a value, with the original exception as its cause where that decodes here."""
    error = NodeFailed(
        instance_id=UUID(bytes=instance_id),
        node_id=UUID(bytes=node_id),
        cause_id=UUID(bytes=cause.node_id),
        function=cause.function,
        attempts=cause.attempts,
        exception_type=cause.failure.type,
        exception_message=cause.failure.message,
        remote_traceback=cause.failure.traceback,
    )
    error.__cause__ = _exception_in(cause.failure.exception)
    return error


def failure_of_node(node: NodeStatus) -> NodeFailed:
    """Make the error of a node that failed itself, as a listing tells of it."""
    last = node.failures[-1] if node.failures else None
    return NodeFailed(
        instance_id=node.instance_id,
        node_id=node.node_id,
        cause_id=node.node_id,
        function=node.function,
        attempts=node.attempts,
        exception_type=last.type if last else "unknown",
        exception_message=last.message if last else "",
        remote_traceback=last.traceback if last else "",
    )


def _exception_in(payload: bytes) -> BaseException | None:
    """Return the exception in a payload, None if there is none that can be decoded here."""
    if not payload:
        return None
    try:
        exception = decode(payload, no_promises)
    except Exception:
        # The failure itself is what the user has to see. That its exception needs a module that is missing here, or
        # that its constructor fails, is no further failure.
        return None
    return exception if isinstance(exception, BaseException) else None
