"""A broker that tells what a test has made up, and instances and nodes to tell of."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from dagorama.client.asking import use_broker
from dagorama.client.log_lines import LogChunk
from dagorama.client.port import (
    Broker,
    GetInstance,
    GetNode,
    ListInstances,
    ListNodes,
    Page,
    ReadLogs,
    Request,
    Submitted,
)
from dagorama.client.status import InstanceStatus, NodeStatus
from dagorama.errors import BrokerRefused
from dagorama.states import InstanceState, NodeState

#: When the instances of tests begin.
BEGAN = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
#: The instance of tests that need one.
INSTANCE = UUID("01a2198d-1e4f-7388-9c20-dfb0513dbb11")


@dataclass
class Told:
    """Instances with their nodes, and further answers by the kind of the request."""

    instances: list[InstanceStatus] = field(default_factory=list)
    nodes: Sequence[NodeStatus] = ()
    more: Mapping[type, Callable[[Any], object]] = field(default_factory=dict)
    #: What nodes have printed.
    logs: LogChunk = field(default_factory=lambda: LogChunk([], 0, [], last=True))
    #: All that was asked, in order.
    asked: list[Request[Any]] = field(default_factory=list)

    def ask(self, request: Request[Any], deadline: object = None) -> Generator[Any, Any, Any]:
        """Answers, as a broker in this process does: without a step."""
        self.asked.append(request)
        return self._answer(request)
        yield

    def changes(self, instance_id: bytes) -> Iterator[InstanceStatus]:
        """Tells how an instance stands, once: nothing comes after that."""
        yield self.instance(instance_id)

    def read_logs(self, request: ReadLogs) -> Generator[Any, Any, LogChunk]:
        """Gives what nodes have printed, all at once."""
        return self.logs
        yield

    def submit(self, *args: object) -> Generator[Any, Any, Any]:
        """Says that the instance of the test was started before."""
        return Submitted(INSTANCE.bytes, UUID(int=2).bytes)
        yield

    def _answer(self, request: Request[Any]) -> object:
        if type(request) in self.more:
            return self.more[type(request)](request)
        if isinstance(request, ListInstances):
            return Page([one for one in self.instances if _fits(one, request)], "")
        if isinstance(request, GetInstance):
            return self.instance(request.instance_id)
        if isinstance(request, ListNodes):
            return Page(self.nodes, "")
        if isinstance(request, GetNode):
            return next(one for one in self.nodes if one.node_id.bytes == request.node_id)
        raise AssertionError(f"no answer to {request!r}")

    def instance(self, instance_id: bytes) -> InstanceStatus:
        """Tells of one instance."""
        for one in self.instances:
            if one.instance_id.bytes == instance_id:
                return one
        raise BrokerRefused(request="a look", code="NOT_FOUND", detail="unknown instance")

    def put(self, instance_id: bytes, **changed: Any) -> None:
        """Changes how an instance stands."""
        self.instances = [
            replace(one, **changed) if one.instance_id.bytes == instance_id else one for one in self.instances
        ]


def _fits(one: InstanceStatus, request: ListInstances) -> bool:
    """Tells whether an instance is asked for, as a broker does."""
    return (
        (not request.states or one.state in request.states)
        and (not request.definition or f":{one.definition}".endswith(f":{request.definition}"))
        and request.key in ("", one.key)
        and request.tags.items() <= one.tags.items()
        and one.created_at.timestamp() >= request.created_since
    )


@contextmanager
def telling(told: Told) -> Iterator[Told]:
    """Has all that is asked in the block answered by what a test has made up."""
    with use_broker(cast(Broker, told)):
        yield told


def instance(
    instance_id: UUID = INSTANCE, *, state: str = "running", took_s: float | None = None, **fields: Any
) -> InstanceStatus:
    """Makes an instance."""
    told: dict[str, Any] = {
        "definition": "shop:Order",
        "created_at": BEGAN,
        "finished_at": None if took_s is None else BEGAN + timedelta(seconds=took_s),
        "deadline_at": None,
        "counts": {},
        "priority": 0,
        "group": "",
        "paused": False,
        "running_max": None,
        "key": "",
        "tags": {},
    }
    return InstanceStatus(instance_id=instance_id, state=InstanceState(state), **{**told, **fields})


def node(number: int, *, state: str = "completed", ended_s: float | None = None, **fields: Any) -> NodeStatus:
    """Makes a node; `ended_s` and `created_s` are seconds after the instance's begin, `parent` is a number."""
    told: dict[str, Any] = {
        "function": "shop:Order.load",
        "queue": "load",
        "taint": "",
        "dependency_ids": tuple(UUID(int=one) for one in fields.pop("dependencies", ())),
        "parent_id": UUID(int=fields.pop("parent")) if "parent" in fields else None,
        "attempts": 1,
        "failures": (),
        "worker": "",
        "created_at": BEGAN + timedelta(seconds=fields.pop("created_s", 0.0)),
        "finished_at": None if ended_s is None else BEGAN + timedelta(seconds=ended_s),
        "retry_at": None,
        "cause_id": None,
        "progress": None,
        "change": "",
    }
    return NodeStatus(node_id=UUID(int=number), instance_id=INSTANCE, state=NodeState(state), **{**told, **fields})


def counted(nodes: Sequence[NodeStatus]) -> dict[str, int]:
    """Counts nodes by state."""
    found: dict[str, int] = {}
    for one in nodes:
        found[one.state] = found.get(one.state, 0) + 1
    return found
