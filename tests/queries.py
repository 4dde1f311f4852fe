"""Ask the broker of the environment in short, by ids as they travel, as tests often have them.

All of these raise `BrokerUnavailable`, and `BrokerRefused` for an id that the broker does not know. Programs have
`dagorama.instances()`, `attach(id)` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from dagorama.client.asking import ask_broker, broker
from dagorama.client.port import (
    PAGE_SIZE,
    ControlQueue,
    GetInstance,
    GetNode,
    ListInstances,
    ListNodes,
    ListQueues,
    ListWorkers,
    Page,
    Request,
    WhyNot,
)
from dagorama.client.status import InstanceStatus, NodeStatus, QueueStatus, WorkerStatus
from dagorama.why import Why

T = TypeVar("T")


def watch_instance(instance_id: bytes) -> Iterator[InstanceStatus]:
    """Yield how an instance stands now and after each change, until it is no longer running.

    Raises `BrokerUnavailable` as soon as the connection breaks, `BrokerRefused` for an unknown instance.
    """
    return broker().changes(instance_id)


def list_instances(
    *,
    states: Sequence[str] = (),
    definition: str = "",
    tags: Mapping[str, str] | None = None,
    key: str = "",
    created_since: float = 0.0,
    created_until: float = 0.0,
) -> Iterator[InstanceStatus]:
    """Yield instances, newest first, page by page: all, or a selection as of `ListInstances`."""
    asked = ListInstances(
        PAGE_SIZE,
        states=states,
        definition=definition,
        tags=tags or {},
        key=key,
        created_since=created_since,
        created_until=created_until,
    )
    return _items(lambda token: replace(asked, page_token=token), asked.is_chosen)


def get_instance(instance_id: bytes) -> InstanceStatus:
    """Return how an instance stands."""
    return ask_broker(GetInstance(instance_id))


def list_nodes(
    instance_id: bytes, *, states: Sequence[str] = (), functions: Sequence[str] = (), with_inputs: bool = False
) -> Iterator[NodeStatus]:
    """Yield nodes of an instance in creation order, page by page: all, or a selection as of `ListNodes`."""
    asked = ListNodes(instance_id, PAGE_SIZE, states=states, functions=functions, with_inputs=with_inputs)
    return _items(lambda token: replace(asked, page_token=token), asked.is_chosen)


def get_node(instance_id: bytes, node_id: bytes) -> NodeStatus:
    """Return how a node stands."""
    return ask_broker(GetNode(instance_id, node_id))


def list_workers() -> Sequence[WorkerStatus]:
    """Return the connected workers, in the order in which they came."""
    return ask_broker(ListWorkers())


def list_queues() -> Sequence[QueueStatus]:
    """Return what is ready and running, by queue and taint."""
    return ask_broker(ListQueues())


def control_queue(queue: str, *, paused: bool | None = None, running_max: int | None = None) -> Sequence[QueueStatus]:
    """Change how a queue is run, as `ControlQueue` says, and return how it stands then, by taint."""
    return ask_broker(ControlQueue(queue, paused=paused, running_max=running_max))


def why(instance_id: bytes, node_id: bytes | None = None) -> Why:
    """Return what holds a node; without one, the first node of the instance that has not ended."""
    return ask_broker(WhyNot(instance_id, node_id))


def _items(page_at: Callable[[str], Request[Page[T]]], is_chosen: Callable[[T], bool]) -> Iterator[T]:
    token = ""
    while True:
        items, token = ask_broker(page_at(token))
        yield from filter(is_chosen, items)
        if not token:
            return
