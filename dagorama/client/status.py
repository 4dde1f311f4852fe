"""How an instance stands, and its nodes, for those who show it to people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast
from uuid import UUID

import grpc

from dagorama.client.connection import connection
from dagorama.client.requests import ask, run
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.v1.dag_pb2 import InstanceInfo, ListNodesRequest, NodeInfo, WatchInstanceRequest
from dagorama.v1.graph_pb2 import InstanceState, NodeState

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """An instance at one moment. States are in small letters, such as "running" and "dependency_failed"."""

    state: str
    #: How many nodes are in a state; states without nodes are left out.
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node at one moment."""

    node_id: UUID
    function: str
    state: str
    taint: str
    #: Type, message and traceback of the last attempt that failed, empty for none.
    failure: str


def watch_instance(instance_id: bytes) -> Iterator[InstanceStatus]:
    """Yields how an instance stands now and after each change, until it is no longer running.

    Raises `BrokerUnavailable` as soon as the connection breaks, `BrokerRefused` for an unknown instance.
    """
    to = connection()
    try:
        for response in to.dag.WatchInstance(WatchInstanceRequest(instance_id=instance_id)):
            yield _instance_status(response.instance)
    except grpc.RpcError as error:
        call = cast(grpc.Call, error)
        detail = call.details() or call.code().name
        if call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise BrokerUnavailable(host=to.host, port=to.port, waited_s=0.0, detail=detail) from None
        what = f"watching instance {UUID(bytes=instance_id)}"
        raise BrokerRefused(request=what, code=call.code().name, detail=detail) from None


def list_nodes(instance_id: bytes) -> Iterator[NodeStatus]:
    """Yields the nodes of an instance in creation order, page by page; raises like any request to the broker."""
    to = connection()
    token = ""
    while True:
        request = ListNodesRequest(instance_id=instance_id, page_size=PAGE_SIZE, page_token=token)
        page = run(ask(to, to.dag.ListNodes, request, f"the nodes of instance {UUID(bytes=instance_id)}"))
        yield from map(_node_status, page.nodes)
        token = page.next_page_token
        if not token:
            return


def _instance_status(info: InstanceInfo) -> InstanceStatus:
    return InstanceStatus(
        state=InstanceState.Name(info.state).removeprefix("INSTANCE_STATE_").lower(),
        counts={_state_name(count.state): count.count for count in info.counts},
    )


def _node_status(info: NodeInfo) -> NodeStatus:
    return NodeStatus(
        node_id=UUID(bytes=info.node_id),
        function=info.function,
        state=_state_name(info.state),
        taint=info.taint,
        failure=info.failures[-1].failure.traceback if info.failures else "",
    )


def _state_name(state: NodeState.ValueType) -> str:
    return NodeState.Name(state).removeprefix("NODE_STATE_").lower()
