"""Ask the broker for values and for the ends of instances: all that takes more than one request.

Each comes blocking, and for event loops. Single requests, and their answers, are in `port`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from dagorama.calls.capture import CapturedCall
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.references import is_referring
from dagorama.client.asking import broker
from dagorama.client.onlooking import People
from dagorama.client.outcomes import failure_of_node, fetch, value_in
from dagorama.client.port import PAGE_SIZE, GetInstance, ListNodes, Submitted
from dagorama.client.silence import Silence
from dagorama.client.status import InstanceStatus, NodeStatus
from dagorama.client.steps import Deadline, InThread, Steps, run, run_async
from dagorama.errors import InstanceCancelled, InstanceFailed
from dagorama.options import InstanceOptions, current_options
from dagorama.states import InstanceState

#: So many of the nodes that failed are in an `InstanceFailed`, the first.
FAILURES_MAX = 20
#: So long a look may take whose time was over before it began: there may be something to be had.
FIRST_LOOK_S = 1.0

Values = dict[bytes, object]


class FirstNode(NamedTuple):
    """The node that an instance began with: the entrypoint, unless calls were added to it from outside."""

    node_id: bytes
    function: str


def submit(
    instance_id: bytes,
    definition: str,
    calls: Sequence[CapturedCall],
    options: InstanceOptions | None = None,
    hooks: Sequence[HookCall] = (),
) -> Submitted | None:
    """Make an instance, if it is new, and nodes in it; they are durable when this returns.

    A new one gets the hooks and the options, those of the context unless given. `definition` is "module:Class", for
    people. Return the other instance that was started under the key of the options, None where there is none. Raises
    `BrokerUnavailable`, `BrokerRefused` and `KeyConflict`.
    """
    return run(_submit(instance_id, definition, calls, options or current_options.get(), hooks))


async def submit_async(
    instance_id: bytes,
    definition: str,
    calls: Sequence[CapturedCall],
    options: InstanceOptions | None = None,
    hooks: Sequence[HookCall] = (),
) -> Submitted | None:
    """Do what `submit` does, without blocking the event loop."""
    return await run_async(_submit(instance_id, definition, calls, options or current_options.get(), hooks))


def deadline_in(timeout_s: float | None) -> Deadline | None:
    """Return the deadline that is so long from now, for several waits to share; None for none."""
    return None if timeout_s is None else broker().deadline(timeout_s)


def wait_for_values(instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None = None) -> Values:
    """Wait until all these nodes have values, not beyond the deadline; return them by id.

    When nothing has come for a while, the log says what holds them. Raises `NodeFailed`, `InstanceCancelled`,
    `ResultTimeout`, `BrokerRefused`, and `BrokerUnavailable` if the broker is not there, or goes away and stays away.
    """
    return run(values_of(instance_id, node_ids, deadline))


async def wait_for_values_async(
    instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None = None
) -> Values:
    """Do what `wait_for_values` does, without blocking the event loop and without a thread that waits."""
    return await run_async(values_of(instance_id, node_ids, deadline))


def poll_values(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Return the values of these nodes by id, or None if one has not ended yet; raise like `wait_for_values`."""
    return run(_poll(instance_id, node_ids))


async def poll_values_async(instance_id: bytes, node_ids: Sequence[bytes]) -> Values | None:
    """Do what `poll_values` does, without blocking the event loop."""
    return await run_async(_poll(instance_id, node_ids))


def wait_for_end(instance_id: bytes, timeout_s: float | None = None) -> None:
    """Wait until an instance runs no longer.

    Raises `InstanceFailed` and `InstanceCancelled` for one that has not completed; otherwise like `wait_for_values`.
    """
    run(end_of(instance_id, timeout_s))


async def wait_for_end_async(instance_id: bytes, timeout_s: float | None = None) -> None:
    """Do what `wait_for_end` does, without blocking the event loop and without a thread that waits."""
    await run_async(end_of(instance_id, timeout_s))


def state_of(instance_id: bytes) -> InstanceState:
    """Return the state of an instance.

    Raises `BrokerRefused` for an instance that is not known, and `BrokerUnavailable`.
    """
    return run(_state_of(instance_id))


async def state_of_async(instance_id: bytes) -> InstanceState:
    """Do what `state_of` does, without blocking the event loop."""
    return await run_async(_state_of(instance_id))


def first_node(instance_id: bytes, deadline: Deadline | None = None) -> FirstNode | None:
    """Return an instance's first node; None where there is none.

    Raises `BrokerRefused` for an instance that is not known, and `BrokerUnavailable`, also at the deadline.
    """
    return run(first_of(instance_id, deadline))


async def first_node_async(instance_id: bytes, deadline: Deadline | None = None) -> FirstNode | None:
    """Do what `first_node` does, without blocking the event loop."""
    return await run_async(first_of(instance_id, deadline))


def _submit(
    instance_id: bytes,
    definition: str,
    calls: Sequence[CapturedCall],
    options: InstanceOptions,
    hooks: Sequence[HookCall],
) -> Steps[Submitted | None]:
    what = f"{len(calls)} new nodes for instance {UUID(bytes=instance_id)}"
    return broker().submit(instance_id, definition, calls, options, what, hooks)


def first_of(instance_id: bytes, deadline: Deadline | None) -> Steps[FirstNode | None]:
    """Take the steps of `first_node`."""
    if deadline is not None:
        deadline = Deadline(max(deadline.rest_s(), FIRST_LOOK_S))
    first, _ = yield from broker().ask(ListNodes(instance_id, 1), deadline)
    return FirstNode(first[0].node_id.bytes, first[0].function) if first else None


def _state_of(instance_id: bytes) -> Steps[InstanceState]:
    return (yield from broker().ask(GetInstance(instance_id))).state


def end_of(instance_id: bytes, timeout_s: float | None) -> Steps[None]:
    """Take the steps of `wait_for_end`."""
    silence = Silence(instance_id, onlooker=People(instance_id))
    try:
        status = yield from broker().end(instance_id, deadline_in(timeout_s), silence)
    finally:
        silence.close()
    if status.state is InstanceState.CANCELLED:
        raise InstanceCancelled(instance_id=status.instance_id, node_id=None)
    if status.state is InstanceState.FAILED:
        raise (yield from _failure(status))


def _failure(status: InstanceStatus) -> Steps[InstanceFailed]:
    """Make the error of an instance that is failed."""
    count = status.counts.get("failed", 0)
    most = min(count, FAILURES_MAX)
    failed: list[NodeStatus] = []
    token = ""
    while len(failed) < most:
        asked = ListNodes(status.instance_id.bytes, PAGE_SIZE, token, states=["failed"])
        nodes, token = yield from broker().ask(asked)
        failed += filter(asked.is_chosen, nodes)
        if not token:
            break
    failures = [failure_of_node(node) for node in failed[:most]]
    return InstanceFailed(instance_id=status.instance_id, failures=failures, failed_count=count)


def values_of(instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None) -> Steps[Values]:
    """Take the steps of `wait_for_values`."""
    asked = broker()
    silence = Silence(instance_id, onlooker=People(instance_id))
    values: Values = {}
    missing = node_ids
    try:
        while missing:
            outcomes = yield from asked.outcomes(instance_id, missing, deadline, silence)
            for outcome in outcomes:
                store = fetched = None
                if any(is_referring(payload) for _, payload in outcome.values):
                    store = asked.values()
                    fetched = yield InThread(partial(fetch, outcome, store))
                values[outcome.node_id] = value_in(outcome, instance_id, store)
                del fetched
            missing = missing[len(outcomes) :]
    finally:
        silence.close()
    return values


def _poll(instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[Values | None]:
    if not (yield from broker().have_ended(instance_id, node_ids)):
        return None
    return (yield from values_of(instance_id, node_ids, None))
