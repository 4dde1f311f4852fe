"""Look at instances, nodes, workers and queues, and ask why a node does not run.

All of these raise `BrokerUnavailable`, and `BrokerRefused` for an id that the broker does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from dagorama.calls.capture import FunctionSpec
from dagorama.client.asking import ask_broker, broker
from dagorama.client.port import (
    PAGE_SIZE,
    CheckFunctions,
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
from dagorama.client.status import FunctionStatus, InstanceStatus, NodeStatus, QueueStatus, WorkerStatus
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


def newest_instances(limit: int) -> list[InstanceStatus]:
    """Return the `limit` newest instances, newest first."""
    return list(islice(list_instances(), limit))


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


def check_functions(functions: Sequence[FunctionSpec]) -> list[FunctionStatus]:
    """Return for each function what would keep its nodes from every connected worker, in the same order."""
    return [
        FunctionStatus(
            function=function.name,
            code_version=function.code_version,
            queue=function.queue,
            taint=function.taint,
            reasons=check.reasons,
            unsure_workers=check.unsure_workers,
        )
        for function, check in zip(functions, ask_broker(CheckFunctions(functions)), strict=True)
    ]


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
