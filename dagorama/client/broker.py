"""What users' processes ask of the broker. Each request comes blocking, and for event loops.

Which broker that is, is chosen here: the one that the environment names, or one in this process (`use_broker`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from uuid import UUID

from dagorama.capture import CapturedCall
from dagorama.client.connection import connection
from dagorama.client.outcomes import failure_of_node, value_in
from dagorama.client.remote import RemoteBroker
from dagorama.client.requests import Deadline, Steps, ask, run, run_async
from dagorama.client.status import instance_state
from dagorama.client.waiting import LAST_LOOK_S, Silence
from dagorama.errors import InstanceCancelled, InstanceFailed
from dagorama.options import InstanceOptions, current_options
from dagorama.states import InstanceState
from dagorama.v1.dag_pb2 import (
    ControlInstanceRequest,
    GetInstanceRequest,
    InstanceInfo,
    NodeInfo,
    WatchResponse,
    WhyResponse,
)
from dagorama.v1.graph_pb2 import NODE_STATE_FAILED

#: So many of the nodes that failed are in an `InstanceFailed`, the first.
FAILURES_MAX = 20

Values = dict[bytes, object]


class FirstNode(NamedTuple):
    """What an instance began with: the entrypoint, unless calls were added to it from outside."""

    node_id: bytes
    function: str


class Broker(Protocol):
    """What answers the requests of this process.

    Each request raises `BrokerRefused`, naming `what` was asked, where the broker says no.
    """

    def submit(
        self, instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions, what: str
    ) -> Steps[None]:
        """Makes an instance, if it is new, with these options, and nodes in it."""
        ...

    def outcome(
        self, instance_id: bytes, node_id: bytes, deadline: Deadline | None, silence: Silence
    ) -> Steps[WatchResponse]:
        """Waits until the node has ended, not beyond the deadline (`ResultTimeout`)."""
        ...

    def end(self, instance_id: bytes, deadline: Deadline | None, silence: Silence) -> Steps[InstanceInfo]:
        """Waits until the instance runs no longer, not beyond the deadline (`ResultTimeout`); tells how it stands."""
        ...

    def instance(self, instance_id: bytes, what: str) -> Steps[InstanceInfo]:
        """Tells how the instance stands."""
        ...

    def failed_nodes(self, instance_id: bytes, most: int, what: str) -> Steps[Sequence[NodeInfo]]:
        """Returns the first nodes that failed themselves, in creation order, `most` at most."""
        ...

    def deadline(self, timeout_s: float) -> Deadline:
        """Returns the deadline that is so long from now by the broker's clock."""
        ...

    def has_ended(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[bool]:
        """Tells whether the node has ended."""
        ...

    def first_node(self, instance_id: bytes, what: str, deadline: Deadline | None) -> Steps[NodeInfo | None]:
        """Returns the node that was made first: its id and function at least; None where there is none.

        At the deadline it is `BrokerUnavailable`.
        """
        ...

    def cancel(self, instance_id: bytes, what: str) -> Steps[None]:
        """Stops an instance."""
        ...

    def control(self, request: ControlInstanceRequest, what: str) -> Steps[InstanceInfo]:
        """Changes how an instance is run; returns how it stands then."""
        ...

    def retry(self, instance_id: bytes, what: str) -> Steps[None]:
        """Lets a failed instance go on from where it failed."""
        ...

    def rerun(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[Sequence[bytes]]:
        """Runs a node again, and what its value went into; returns all nodes that begin anew."""
        ...

    def why(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[WhyResponse]:
        """Tells what holds a node; with no id, the instance's first that has not ended."""
        ...


_chosen: Broker = RemoteBroker()


def broker() -> Broker:
    """Returns what answers the requests of this process now."""
    return _chosen


@contextmanager
def use_broker(broker: Broker) -> Iterator[None]:
    """Has all requests of this process, from every thread, answered by `broker` for as long as the block lasts."""
    global _chosen
    before, _chosen = _chosen, broker
    try:
        yield
    finally:
        _chosen = before


def submit(
    instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions | None = None
) -> None:
    """Makes an instance, if it is new, and nodes in it; they are durable when this returns.

    A new one gets the options, those of the context unless given. `definition` is "module:Class", for people. Raises
    `BrokerUnavailable` and `BrokerRefused`.
    """
    run(_submit(instance_id, definition, calls, options or current_options.get()))


async def submit_async(
    instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions | None = None
) -> None:
    """Does what `submit` does, without blocking the event loop."""
    await run_async(_submit(instance_id, definition, calls, options or current_options.get()))


def deadline_in(timeout_s: float | None) -> Deadline | None:
    """Returns the deadline that is so long from now, for several waits to share; None for none."""
    return None if timeout_s is None else broker().deadline(timeout_s)


def wait_for_values(
    instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None = None, *, tells: bool = True
) -> Values:
    """Waits until all these nodes have values, not beyond the deadline; returns them by id.

    When nothing has come for a while, the log says what holds them, unless it `tells` nothing. Raises `NodeFailed`,
    `InstanceCancelled`, `ResultTimeout`, `BrokerRefused`, and `BrokerUnavailable` if the broker is not there, or goes
    away and stays away.
    """
    return run(_wait_for_all(instance_id, node_ids, deadline, tells))


async def wait_for_values_async(
    instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None = None
) -> Values:
    """Does what `wait_for_values` does, without blocking the event loop and without a thread that waits."""
    return await run_async(_wait_for_all(instance_id, node_ids, deadline))


def poll_values(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Returns the values of these nodes by id, or None if one has not ended yet; raises like `wait_for_values`."""
    return run(_poll(instance_id, node_ids))


async def poll_values_async(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Does what `poll_values` does, without blocking the event loop."""
    return await run_async(_poll(instance_id, node_ids))


def wait_for_end(instance_id: bytes, timeout_s: float | None = None) -> None:
    """Waits until an instance runs no longer.

    Raises `InstanceFailed` and `InstanceCancelled` for one that has not completed; otherwise like `wait_for_values`.
    """
    run(_wait_for_end(instance_id, timeout_s))


async def wait_for_end_async(instance_id: bytes, timeout_s: float | None = None) -> None:
    """Does what `wait_for_end` does, without blocking the event loop and without a thread that waits."""
    await run_async(_wait_for_end(instance_id, timeout_s))


def state_of(instance_id: bytes) -> InstanceState:
    """Returns the state of an instance.

    Raises `BrokerRefused` for an instance that is not known, and `BrokerUnavailable`.
    """
    return run(_state_of(instance_id))


async def state_of_async(instance_id: bytes) -> InstanceState:
    """Does what `state_of` does, without blocking the event loop."""
    return await run_async(_state_of(instance_id))


def failure_in(instance_id: bytes) -> InstanceFailed | None:
    """Returns the error that tells which nodes of an instance failed; None for one that is not failed."""
    return run(_failure_in(instance_id))


def first_node(instance_id: bytes, deadline: Deadline | None = None) -> FirstNode | None:
    """Returns an instance's first node; None where there is none.

    Raises `BrokerRefused` for an instance that is not known, and `BrokerUnavailable`, also at the deadline.
    """
    return run(_first_node(instance_id, deadline))


async def first_node_async(instance_id: bytes, deadline: Deadline | None = None) -> FirstNode | None:
    """Does what `first_node` does, without blocking the event loop."""
    return await run_async(_first_node(instance_id, deadline))


def cancel(instance_id: bytes) -> None:
    """Stops an instance, which is durable when this returns.

    Raises `BrokerRefused` for one that is not known or has ended, and `BrokerUnavailable`.
    """
    run(_cancel(instance_id))


async def cancel_async(instance_id: bytes) -> None:
    """Does what `cancel` does, without blocking the event loop."""
    await run_async(_cancel(instance_id))


def retry(instance_id: bytes) -> None:
    """Lets a failed instance go on from where it failed, which is durable when this returns.

    Raises `BrokerRefused` for one that is not known or has not failed, and `BrokerUnavailable`.
    """
    run(_retry(instance_id))


async def retry_async(instance_id: bytes) -> None:
    """Does what `retry` does, without blocking the event loop."""
    await run_async(_retry(instance_id))


def rerun(instance_id: bytes, node_id: bytes) -> list[bytes]:
    """Runs a node of a finished instance again, and what its value went into; returns all nodes that begin anew.

    That is durable when this returns. Raises `BrokerRefused` for what is not known or has not ended, and
    `BrokerUnavailable`.
    """
    return list(run(_rerun(instance_id, node_id)))


async def rerun_async(instance_id: bytes, node_id: bytes) -> list[bytes]:
    """Does what `rerun` does, without blocking the event loop."""
    return list(await run_async(_rerun(instance_id, node_id)))


def instance_info(instance_id: bytes) -> InstanceInfo:
    """Returns how an instance stands."""
    to = connection()
    request = GetInstanceRequest(instance_id=instance_id)
    return run(ask(to, to.dag.GetInstance, request, f"a look at instance {UUID(bytes=instance_id)}")).instance


def _submit(
    instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions
) -> Steps[None]:
    what = f"{len(calls)} new nodes for instance {UUID(bytes=instance_id)}"
    return broker().submit(instance_id, definition, calls, options, what)


def _first_node(instance_id: bytes, deadline: Deadline | None) -> Steps[FirstNode | None]:
    if deadline is not None:
        deadline = Deadline(max(deadline.rest_s(), LAST_LOOK_S))
    what = f"the first node of instance {UUID(bytes=instance_id)}"
    first = yield from broker().first_node(instance_id, what, deadline)
    return None if first is None else FirstNode(first.node_id, first.function)


def _cancel(instance_id: bytes) -> Steps[None]:
    return broker().cancel(instance_id, f"to cancel instance {UUID(bytes=instance_id)}")


def _retry(instance_id: bytes) -> Steps[None]:
    return broker().retry(instance_id, f"to retry instance {UUID(bytes=instance_id)}")


def _rerun(instance_id: bytes, node_id: bytes) -> Steps[Sequence[bytes]]:
    return broker().rerun(instance_id, node_id, f"to rerun node {UUID(bytes=node_id)}")


def _state_of(instance_id: bytes) -> Steps[InstanceState]:
    info = yield from broker().instance(instance_id, f"a look at instance {UUID(bytes=instance_id)}")
    return instance_state(info.state)


def _wait_for_end(instance_id: bytes, timeout_s: float | None) -> Steps[None]:
    info = yield from broker().end(instance_id, deadline_in(timeout_s), Silence(instance_id))
    state = instance_state(info.state)
    if state is InstanceState.CANCELLED:
        raise InstanceCancelled(instance_id=UUID(bytes=instance_id), node_id=None)
    if state is InstanceState.FAILED:
        raise (yield from _failure(info))


def _failure_in(instance_id: bytes) -> Steps[InstanceFailed | None]:
    info = yield from broker().instance(instance_id, f"a look at instance {UUID(bytes=instance_id)}")
    return (yield from _failure(info)) if instance_state(info.state) is InstanceState.FAILED else None


def _failure(info: InstanceInfo) -> Steps[InstanceFailed]:
    """Makes the error of an instance that is failed."""
    count = next((each.count for each in info.counts if each.state == NODE_STATE_FAILED), 0)
    most = min(count, FAILURES_MAX)
    what = f"the failed nodes of instance {UUID(bytes=info.instance_id)}"
    nodes = yield from broker().failed_nodes(info.instance_id, most, what)
    failures = [failure_of_node(node) for node in nodes]
    return InstanceFailed(instance_id=UUID(bytes=info.instance_id), failures=failures, failed_count=count)


def _wait_for_all(
    instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None, tells: bool = True
) -> Steps[Values]:
    asked = broker()
    silence = Silence(instance_id, tells=tells)
    values: Values = {}
    for node_id in node_ids:
        response = yield from asked.outcome(instance_id, node_id, deadline, silence)
        values[node_id] = value_in(response, instance_id, node_id)
    return values


def _poll(instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[Values | None]:
    for node_id in node_ids:
        has_ended = yield from broker().has_ended(instance_id, node_id, f"a look at node {UUID(bytes=node_id)}")
        if not has_ended:
            return None
    return (yield from _wait_for_all(instance_id, node_ids, None))
