"""The lists of what a broker has: instances, workers, queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from dagorama.calls.names import class_name
from dagorama.client.asking import ask_broker, ask_broker_async
from dagorama.client.port import ListInstances, ListQueues, ListWorkers
from dagorama.client.status import InstanceStatus, QueueStatus, WorkerStatus
from dagorama.definition import DAGDefinition
from dagorama.instance.handle import check_is_no_inline
from dagorama.instance.instance import Instance
from dagorama.instance.listing import Listing, checked_limit, listing
from dagorama.instance.looks import checked_states
from dagorama.states import InstanceState


def instances(
    *,
    state: InstanceState | str | Collection[InstanceState | str] | None = None,
    definition: type[DAGDefinition] | str | None = None,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    limit: int | None = None,
) -> Listing[Instance]:
    """Return the broker's instances, newest first, to be read with `for` or `async for`.

    `state` is one state, or several, such as `["failed", "cancelled"]`. `definition` is a class, or the name of one as
    "module:Class", or its end: "Class". `since` and `until` bound the time of the start: a time with its zone, or how
    long ago. There are `limit` at most. Nothing is asked before the list is read. Raises `ValueError` and `TypeError`
    for arguments that cannot be, and as it is read `BrokerUnavailable`.
    """
    check_is_no_inline("the list of instances")
    return listing(
        ListInstances,
        lambda status: Instance(status.instance_id, status),
        _fitting(
            checked_states(InstanceState, state),
            _definition(definition),
            _time("since", since),
            _time("until", until),
        ),
        checked_limit(limit),
    )


def workers() -> Sequence[WorkerStatus]:
    """Return the connected workers, in the order in which they came. Raises `BrokerUnavailable`."""
    check_is_no_inline("the list of workers")
    return ask_broker(ListWorkers())


async def workers_async() -> Sequence[WorkerStatus]:
    """Do as `workers`, without blocking the event loop."""
    check_is_no_inline("the list of workers")
    return await ask_broker_async(ListWorkers())


def queues() -> Sequence[QueueStatus]:
    """Return what is ready and running, by queue and taint; also of queues that are paused or capped and empty.

    Raises `BrokerUnavailable`.
    """
    check_is_no_inline("the list of queues")
    return ask_broker(ListQueues())


async def queues_async() -> Sequence[QueueStatus]:
    """Do as `queues`, without blocking the event loop."""
    check_is_no_inline("the list of queues")
    return await ask_broker_async(ListQueues())


def _definition(definition: object) -> str | None:
    if definition is None or isinstance(definition, str):
        return definition
    if isinstance(definition, type) and issubclass(definition, DAGDefinition):
        return class_name(definition)
    raise TypeError(f"definition must be a class of definitions, or the name of one, not {definition!r}")


def _time(name: str, value: object) -> datetime | None:
    """Return a time, given by itself or by how long ago it was; an error naming the argument for what is none."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return datetime.now(UTC) - value
    wanted = f"{name} must be a time with its zone, such as datetime.now(UTC), or a timedelta for how long ago"
    if not isinstance(value, datetime):
        raise TypeError(f"{wanted}, not {value!r}")
    if value.utcoffset() is None:
        raise ValueError(f"{wanted}; {value!r} has no zone")
    return value


def _fitting(
    states: frozenset[str] | None, definition: str | None, since: datetime | None, until: datetime | None
) -> Callable[[InstanceStatus], bool] | None:
    """Return the test of an instance's being asked for; None where all are."""
    if states is None and definition is None and since is None and until is None:
        return None
    ends = (f":{definition}", f".{definition}")

    def fits(status: InstanceStatus) -> bool:
        return (
            (states is None or status.state in states)
            and (definition is None or f":{status.definition}".endswith(ends))
            and (since is None or status.created_at >= since)
            and (until is None or status.created_at < until)
        )

    return fits
