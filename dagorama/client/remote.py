"""The broker that the environment names, over this process's connection."""

from __future__ import annotations

from collections.abc import Sequence

from dagorama.capture import CapturedCall
from dagorama.client.connection import connection
from dagorama.client.convert import submit_request
from dagorama.client.outcomes import TERMINAL
from dagorama.client.requests import Deadline, Steps, ask
from dagorama.client.waiting import Silence, watch, watch_end
from dagorama.errors import BrokerRefused
from dagorama.ids import new_id
from dagorama.main_guard import check_is_in_reach, check_is_no_import
from dagorama.options import InstanceOptions
from dagorama.v1.dag_pb2 import (
    CancelInstanceRequest,
    ControlInstanceRequest,
    GetInstanceRequest,
    GetNodeRequest,
    InstanceInfo,
    ListNodesRequest,
    NodeInfo,
    RerunNodeRequest,
    RetryInstanceRequest,
    WatchResponse,
    WhyRequest,
    WhyResponse,
)
from dagorama.v1.graph_pb2 import INSTANCE_STATE_CANCELLED, NODE_STATE_FAILED

#: The broker gives no larger pages.
PAGE_SIZE = 1000


class RemoteBroker:
    """The `Broker` at the other end of the connection. Has no state of its own."""

    def submit(
        self, instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions, what: str
    ) -> Steps[None]:
        """Repeats the request until it is known to be durable."""
        check_is_no_import("an instance is started")
        check_is_in_reach(definition)
        to = connection()
        yield from ask(to, to.dag.Submit, submit_request(instance_id, definition, calls, options), what)

    def outcome(
        self, instance_id: bytes, node_id: bytes, deadline: Deadline | None, silence: Silence
    ) -> Steps[WatchResponse]:
        """Waits until the broker tells, also while it restarts."""
        return watch(connection(), instance_id, node_id, deadline, silence)

    def end(self, instance_id: bytes, deadline: Deadline | None, silence: Silence) -> Steps[InstanceInfo]:
        """Waits until the broker tells, also while it restarts."""
        return watch_end(connection(), instance_id, deadline, silence)

    def instance(self, instance_id: bytes, what: str) -> Steps[InstanceInfo]:
        """Asks once."""
        to = connection()
        return (yield from ask(to, to.dag.GetInstance, GetInstanceRequest(instance_id=instance_id), what)).instance

    def failed_nodes(self, instance_id: bytes, most: int, what: str) -> Steps[Sequence[NodeInfo]]:
        """Asks page by page, until so many were found, or there is no further page."""
        to = connection()
        found: list[NodeInfo] = []
        request = ListNodesRequest(instance_id=instance_id, page_size=PAGE_SIZE)
        while len(found) < most:
            page = yield from ask(to, to.dag.ListNodes, request, what)
            found.extend(node for node in page.nodes if node.state == NODE_STATE_FAILED)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return found[:most]

    def deadline(self, timeout_s: float) -> Deadline:
        """Counts the time of this machine."""
        return Deadline(timeout_s)

    def has_ended(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[bool]:
        """Asks once."""
        to = connection()
        request = GetNodeRequest(instance_id=instance_id, node_id=node_id)
        answer = yield from ask(to, to.dag.GetNode, request, what)
        return answer.node.state in TERMINAL

    def first_node(self, instance_id: bytes, what: str, deadline: Deadline | None) -> Steps[NodeInfo | None]:
        """Asks once."""
        to = connection()
        request = ListNodesRequest(instance_id=instance_id, page_size=1)
        answer = yield from ask(to, to.dag.ListNodes, request, what, deadline)
        return answer.nodes[0] if answer.nodes else None

    def cancel(self, instance_id: bytes, what: str) -> Steps[None]:
        """Repeats the request until it is known to be durable."""
        to = connection()
        try:
            yield from ask(to, to.dag.CancelInstance, CancelInstanceRequest(instance_id=instance_id), what)
        except BrokerRefused as refusal:
            if not refusal.repeated:
                raise
            # An attempt whose answer was lost may have done it.
            answer = yield from ask(to, to.dag.GetInstance, GetInstanceRequest(instance_id=instance_id), what)
            if answer.instance.state != INSTANCE_STATE_CANCELLED:
                raise

    def control(self, request: ControlInstanceRequest, what: str) -> Steps[InstanceInfo]:
        """Repeats the request until it is known to be durable."""
        to = connection()
        return (yield from ask(to, to.dag.ControlInstance, request, what)).instance

    def retry(self, instance_id: bytes, what: str) -> Steps[None]:
        """Repeats the request until it is known to be durable."""
        to = connection()
        request = RetryInstanceRequest(instance_id=instance_id, request_id=new_id())
        yield from ask(to, to.dag.RetryInstance, request, what)

    def rerun(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[Sequence[bytes]]:
        """Repeats the request until it is known to be durable."""
        to = connection()
        request = RerunNodeRequest(instance_id=instance_id, node_id=node_id, request_id=new_id())
        answer = yield from ask(to, to.dag.RerunNode, request, what)
        return answer.node_ids

    def why(self, instance_id: bytes, node_id: bytes, what: str) -> Steps[WhyResponse]:
        """Asks once."""
        to = connection()
        return ask(to, to.dag.Why, WhyRequest(instance_id=instance_id, node_id=node_id), what)
