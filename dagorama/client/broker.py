"""What users' processes ask of the broker. Each request comes blocking, and for event loops."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from dagorama.capture import CapturedCall
from dagorama.client.connection import connection
from dagorama.client.convert import submit_request
from dagorama.client.outcomes import TERMINAL, value_in
from dagorama.client.requests import Deadline, Steps, ask, run, run_async, watch
from dagorama.v1.dag_pb2 import (
    CancelInstanceRequest,
    CancelInstanceResponse,
    GetInstanceRequest,
    GetNodeRequest,
    InstanceInfo,
    SubmitResponse,
)

Values = dict[bytes, object]


def submit(instance_id: bytes, definition: str, calls: Sequence[CapturedCall]) -> None:
    """Makes an instance, if it is new, and nodes in it; they are durable when this returns.

    `definition` is "module:Class", for people. Raises `BrokerUnavailable` and `BrokerRefused`.
    """
    run(_submit(instance_id, definition, calls))


async def submit_async(instance_id: bytes, definition: str, calls: Sequence[CapturedCall]) -> None:
    """Does what `submit` does, without blocking the event loop."""
    await run_async(_submit(instance_id, definition, calls))


def wait_for_values(instance_id: bytes, node_ids: Sequence[bytes], timeout_s: float | None = None) -> Values:
    """Waits until all these nodes have values, `timeout_s` in all at most; returns them by id.

    Raises `NodeFailed`, `InstanceCancelled`, `ResultTimeout`, `BrokerRefused`, and `BrokerUnavailable` if the broker is
    not there, or goes away and stays away.
    """
    return run(_wait_for_all(instance_id, node_ids, timeout_s))


async def wait_for_values_async(
    instance_id: bytes, node_ids: Sequence[bytes], timeout_s: float | None = None
) -> Values:
    """Does what `wait_for_values` does, without blocking the event loop and without a thread that waits."""
    return await run_async(_wait_for_all(instance_id, node_ids, timeout_s))


def poll_values(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Returns the values of these nodes by id, or None if one has not ended yet; raises like `wait_for_values`."""
    return run(_poll(instance_id, node_ids))


async def poll_values_async(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Does what `poll_values` does, without blocking the event loop."""
    return await run_async(_poll(instance_id, node_ids))


def cancel(instance_id: bytes) -> None:
    """Stops an instance, which is durable when this returns.

    Raises `BrokerRefused` for one that is not known or has ended, and `BrokerUnavailable`.
    """
    run(_cancel(instance_id))


async def cancel_async(instance_id: bytes) -> None:
    """Does what `cancel` does, without blocking the event loop."""
    await run_async(_cancel(instance_id))


def instance_info(instance_id: bytes) -> InstanceInfo:
    """Returns how an instance stands."""
    to = connection()
    request = GetInstanceRequest(instance_id=instance_id)
    return run(ask(to, to.dag.GetInstance, request, f"a look at instance {UUID(bytes=instance_id)}")).instance


def _submit(instance_id: bytes, definition: str, calls: Sequence[CapturedCall]) -> Steps[SubmitResponse]:
    to = connection()
    what = f"{len(calls)} new nodes for instance {UUID(bytes=instance_id)}"
    return ask(to, to.dag.Submit, submit_request(instance_id, definition, calls), what)


def _cancel(instance_id: bytes) -> Steps[CancelInstanceResponse]:
    to = connection()
    request = CancelInstanceRequest(instance_id=instance_id)
    return ask(to, to.dag.CancelInstance, request, f"to cancel instance {UUID(bytes=instance_id)}")


def _wait_for_all(instance_id: bytes, node_ids: Sequence[bytes], timeout_s: float | None) -> Steps[Values]:
    deadline = None if timeout_s is None else Deadline(timeout_s)
    values: Values = {}
    for node_id in node_ids:
        response = yield from watch(connection(), instance_id, node_id, deadline)
        values[node_id] = value_in(response, instance_id, node_id)
    return values


def _poll(instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[Values | None]:
    to = connection()
    for node_id in node_ids:
        request = GetNodeRequest(instance_id=instance_id, node_id=node_id)
        answer = yield from ask(to, to.dag.GetNode, request, f"a look at node {UUID(bytes=node_id)}")
        if answer.node.state not in TERMINAL:
            return None
    return (yield from _wait_for_all(instance_id, node_ids, None))
