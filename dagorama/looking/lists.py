"""The lists of what a broker has: instances, workers, queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dagorama.calls.names import class_name
from dagorama.client.asking import ask_broker, ask_broker_async, broker
from dagorama.client.history import HistoryEntry
from dagorama.client.port import (
    PAGE_SIZE,
    DrainWorker,
    ListHistory,
    ListInstances,
    ListLimits,
    ListQueues,
    ListSettings,
    ListWorkers,
    Page,
)
from dagorama.client.status import BrokerSetting, InstanceStatus, LimitStatus, QueueStatus, WorkerStatus
from dagorama.client.steps import Steps, run, run_async
from dagorama.definition import DAGDefinition
from dagorama.errors import UnknownId
from dagorama.instance.handle import check_is_no_inline
from dagorama.instance.instance import Instance
from dagorama.instance.listing import Listing, checked_limit, listing
from dagorama.instance.looks import checked_states
from dagorama.options import checked_key, checked_name, checked_tags
from dagorama.states import InstanceState

#: The first time that is one: 0 stands for any.
_FIRST = 1e-6


def instances(
    *,
    state: InstanceState | str | Collection[InstanceState | str] | None = None,
    definition: type[DAGDefinition] | str | None = None,
    tags: Mapping[str, str] | None = None,
    key: str | None = None,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    limit: int | None = None,
) -> Listing[Instance]:
    """Return the broker's instances, newest first, to be read with `for` or `async for`.

    `state` is one state, or several, such as `["failed", "cancelled"]`. `definition` is a class, or the name of one as
    "module:Class", or its end: "Class". All of `tags` have to be an instance's, and `key` is that which it was started
    with. `since` and `until` bound the time of the start: a time with its zone, or how long ago. There are `limit` at
    most. Nothing is asked before the list is read. Raises `ValueError` and `TypeError` for arguments that cannot be,
    and as it is read `BrokerUnavailable`.
    """
    check_is_no_inline("the list of instances")
    asked = ListInstances(
        PAGE_SIZE,
        states=checked_states(InstanceState, state),
        definition=definition_name(definition),
        tags={} if tags is None else dict(checked_tags(tags)),
        key="" if key is None else checked_key(key),
        created_since=_time("since", since),
        created_until=_time("until", until),
    )
    return listing(asked, lambda status: Instance(status.instance_id, status), checked_limit(limit))


def find(key: str) -> Instance:
    """Return the instance that was started under a key, whatever has become of it.

    Raises `UnknownId` where the broker knows of none, `ValueError` for what cannot be a key, and `BrokerUnavailable`.
    """
    return run(_find(key))


async def find_async(key: str) -> Instance:
    """Do as `find`, without blocking the event loop."""
    return await run_async(_find(key))


def _find(key: str) -> Steps[Instance]:
    check_is_no_inline("to find an instance by its key")
    asked = ListInstances(PAGE_SIZE, key=checked_key(key))
    while True:
        page: Page[InstanceStatus] = yield from broker().ask(asked)
        for status in filter(asked.is_chosen, page.items):
            return Instance(status.instance_id, status)
        if not page.next_token:
            raise UnknownId(
                request=f"to find the instance with key {key!r}",
                code="NOT_FOUND",
                detail="it knows of no instance that was started under this key, or does not know of it any more",
            )
        asked = replace(asked, page_token=page.next_token)  # an earlier broker, which lists all


def history(*, queue: str | None = None, worker: str | None = None, limit: int | None = None) -> Listing[HistoryEntry]:
    """Return what was done to anything that the broker has, and by whom, newest first, to be read with `for`.

    With the name of a `queue`, or of a `worker`, it is what was done to that. The starts and ends of instances are in
    their own histories. `async for` does not block the event loop. Raises `ValueError` for both names at once.
    """
    check_is_no_inline("the history")
    if queue is not None and worker is not None:
        raise ValueError("the history is that of a queue or of a worker: give one of them")
    subject = ""
    if queue is not None:
        subject = f"queue {checked_name('queue', queue)}"
    elif worker is not None:
        subject = f"worker {checked_name('worker', worker)}"
    return listing(ListHistory(PAGE_SIZE, subject=subject), lambda entry: entry, checked_limit(limit))


def workers() -> Sequence[WorkerStatus]:
    """Return the connected workers, in the order in which they came. Raises `BrokerUnavailable`."""
    check_is_no_inline("the list of workers")
    return ask_broker(ListWorkers())


async def workers_async() -> Sequence[WorkerStatus]:
    """Do as `workers`, without blocking the event loop."""
    check_is_no_inline("the list of workers")
    return await ask_broker_async(ListWorkers())


def list_limits() -> Sequence[LimitStatus]:
    """Return the limits of nodes that are on their way, and the caps of instances and queues, with their holders.

    They come by how many nodes wait for them; there are 1,000 at most. Raises `BrokerUnavailable`.
    """
    check_is_no_inline("the list of limits")
    return ask_broker(ListLimits())


async def list_limits_async() -> Sequence[LimitStatus]:
    """Do as `list_limits`, without blocking the event loop."""
    check_is_no_inline("the list of limits")
    return await ask_broker_async(ListLimits())


def broker_settings() -> Sequence[BrokerSetting]:
    """Return the settings that the broker runs with, without passwords. Raises `BrokerUnavailable`."""
    check_is_no_inline("the settings of the broker")
    return ask_broker(ListSettings())


async def broker_settings_async() -> Sequence[BrokerSetting]:
    """Do as `broker_settings`, without blocking the event loop."""
    check_is_no_inline("the settings of the broker")
    return await ask_broker_async(ListSettings())


def drain(worker: WorkerStatus | UUID | str) -> None:
    """Have a worker take no more nodes, finish what it runs, and end. No other one is started in its place.

    It is one of `workers()`, or the id or the name of one; doing it again is a no-op. Its history tells who asked, and
    that is durable when this returns. A worker of an earlier version of dagorama takes no more nodes, and lives on.
    Raises `LookupError` for a name that no worker has, or several, `UnknownId` for one that is not connected, and
    `BrokerUnavailable`.
    """
    check_is_no_inline("to drain a worker")
    run(_drain(worker))


async def drain_async(worker: WorkerStatus | UUID | str) -> None:
    """Do as `drain`, without blocking the event loop."""
    check_is_no_inline("to drain a worker")
    await run_async(_drain(worker))


def _drain(worker: WorkerStatus | UUID | str) -> Steps[None]:
    worker_id = worker.worker_id if isinstance(worker, WorkerStatus) else worker
    if isinstance(worker_id, str):
        name = worker_id
        try:
            worker_id = UUID(name)
        except ValueError:
            worker_id = _only_worker((yield from broker().ask(ListWorkers())), name)
    if not isinstance(worker_id, UUID):
        raise TypeError(f"drain() takes a worker, its id or its name, not {worker!r}")
    yield from broker().ask(DrainWorker(worker_id.bytes))


def _only_worker(listed: Sequence[WorkerStatus], name: str) -> UUID:
    found = [one.worker_id for one in listed if one.name == name]
    if len(found) != 1:
        problem = f"{len(found)} connected workers have" if found else "no connected worker has"
        raise LookupError(f"{problem} the name {name!r}; workers() lists them, with their ids")
    return found[0]


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


def definition_name(definition: object) -> str:
    """Return the name of a definition, given as a class or by name; empty for None. `TypeError` for what is neither."""
    if definition is None:
        return ""
    if isinstance(definition, str):
        return checked_name("definition", definition)
    if isinstance(definition, type) and issubclass(definition, DAGDefinition):
        return class_name(definition)
    raise TypeError(f"definition must be a class of definitions, or the name of one, not {definition!r}")


def _time(name: str, value: object) -> float:
    """Return a time in seconds since the epoch, given by itself or by how long ago it was, 0 for none.

    Raise an error naming the argument for what is none.
    """
    if value is None:
        return 0.0
    if isinstance(value, timedelta):
        return max(datetime.now(UTC).timestamp() - value.total_seconds(), _FIRST)
    wanted = f"{name} must be a time with its zone, such as datetime.now(UTC), or a timedelta for how long ago"
    if not isinstance(value, datetime):
        raise TypeError(f"{wanted}, not {value!r}")
    if value.utcoffset() is None:
        raise ValueError(f"{wanted}; {value!r} has no zone")
    return max(value.timestamp(), _FIRST)
