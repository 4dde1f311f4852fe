"""Waiting for the broker to tell how nodes and instances have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, TypeVar, cast
from uuid import UUID

import grpc

from dagorama.client.connection import Connection
from dagorama.client.messages import TERMINAL_STATES, why_in
from dagorama.client.requests import LOST, Attempt, Patience, ask, refused
from dagorama.client.settings import reconnect_s
from dagorama.client.silence import Silence
from dagorama.client.steps import Deadline, Pause, Steps
from dagorama.errors import BrokerRefused, BrokerUnavailable, ResultTimeout
from dagorama.v1.dag_pb2 import (
    GetInstanceRequest,
    GetNodeRequest,
    InstanceInfo,
    WatchInstanceRequest,
    WatchRequest,
    WatchResponse,
    WhyRequest,
)
from dagorama.v1.graph_pb2 import INSTANCE_STATE_RUNNING, NODE_STATE_COMPLETED
from dagorama.why import Why

Answer = TypeVar("Answer")

#: A wait whose time is over takes so much longer, at most, to ask for the value and for what holds it.
LAST_LOOK_S = 1.0
#: gRPC takes longer deadlines for past ones. An attempt that may last three years needs none.
GRPC_DEADLINE_MAX_S = 1e8
#: No request names more nodes than this: it is sent again after each hiccup, and after each part of a long answer.
NODES_MAX = 10_000


def watch(
    connection: Connection, instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None, silence: Silence
) -> Steps[WatchResponse]:
    """Wait until the nodes have ended, in their order, as far as one message brings that: one of them at least.

    Nodes after the first that has no value are not waited for. Waiting goes on while the broker restarts, and not
    beyond the deadline (`ResultTimeout`).
    """
    node_ids = node_ids[:NODES_MAX]
    what = f"watching {_nodes(instance_id, node_ids)}"

    def find_missing(until: Deadline | None) -> Steps[bytes | None]:
        ended = yield from find_ended(connection, instance_id, node_ids, what, until)
        for node_id in node_ids:
            if not ended.get(node_id):
                return None if node_id in ended else node_id
        return None

    request = WatchRequest(
        instance_id=instance_id, node_ids=node_ids, together=len(node_ids) > 1, reads_references=True
    )
    wait = _Wait(connection, instance_id, node_ids, find_missing, silence, what)
    return (yield from wait.for_answer(connection.watch_one, request, deadline))


def watch_end(
    connection: Connection, instance_id: bytes, deadline: Deadline | None, silence: Silence
) -> Steps[InstanceInfo]:
    """Wait until an instance runs no longer; otherwise like `watch`."""
    what = f"watching instance {UUID(bytes=instance_id)}"
    look = GetInstanceRequest(instance_id=instance_id)

    def find_missing(until: Deadline | None) -> Steps[bytes | None]:
        answer = yield from ask(connection, connection.dag.GetInstance, look, what, until)
        return b"" if answer.instance.state == INSTANCE_STATE_RUNNING else None

    wait = _Wait(connection, instance_id, (), find_missing, silence, what)
    request = WatchInstanceRequest(instance_id=instance_id, until_ended=True)
    return (yield from wait.for_answer(connection.watch_end, request, deadline)).instance


def find_ended(
    connection: Connection, instance_id: bytes, node_ids: Sequence[bytes], what: str = "", until: Deadline | None = None
) -> Steps[dict[bytes, bool]]:
    """Return those of the nodes that have ended, each with whether it has a value."""
    what = what or f"a look at {_nodes(instance_id, node_ids)}"
    if len(node_ids) == 1:
        look = GetNodeRequest(instance_id=instance_id, node_id=node_ids[0])
        state = (yield from ask(connection, connection.dag.GetNode, look, what, until)).node.state
        return {node_ids[0]: state == NODE_STATE_COMPLETED} if state in TERMINAL_STATES else {}
    ended: dict[bytes, bool] = {}
    for start in range(0, len(node_ids), NODES_MAX):
        asked = node_ids[start : start + NODES_MAX]
        request = WatchRequest(instance_id=instance_id, node_ids=asked, at_once=True)
        response = yield from ask(connection, connection.watch_one, request, what, until)
        ended |= {outcome.node_id: outcome.state == NODE_STATE_COMPLETED for outcome in response.outcomes}
    return ended


def _nodes(instance_id: bytes, node_ids: Sequence[bytes]) -> str:
    """Return what nodes are called in errors."""
    if len(node_ids) == 1:
        return f"node {UUID(bytes=node_ids[0])}"
    return f"{len(node_ids)} nodes of instance {UUID(bytes=instance_id)}"


@dataclass(frozen=True, slots=True)
class _Wait:
    """One wait, with all that it may have to ask and to say."""

    connection: Connection
    instance_id: bytes
    node_ids: Sequence[bytes]  #: empty: the whole instance
    #: Asks for the first of them that has not ended (empty: the instance); None where there is nothing to wait for.
    find_missing: Callable[[Deadline | None], Steps[bytes | None]]
    silence: Silence
    what: str  #: its name in errors

    def for_answer(
        self, method: grpc.UnaryUnaryMultiCallable[Any, Answer], request: object, deadline: Deadline | None
    ) -> Steps[Answer]:
        """Call a method until it answers; raise `ResultTimeout` when the deadline has passed and something misses."""
        if not self.connection.answered:
            # Gives up as soon as any other request where there is no broker.
            yield from self.find_missing(None if deadline is None else Deadline(max(deadline.rest_s(), LAST_LOOK_S)))
        patience = Patience(self.connection, reconnect_s())
        while True:
            if not self.silence.rest_s():
                yield from self.silence.end(self._ask_why)  # which may take a while
            rest_s = inf if deadline is None else deadline.rest_s()
            if deadline is not None and not rest_s:
                yield from self._check_over(deadline)
                deadline = None  # it is there, and may take its time to come
                continue
            limit_s = min(rest_s, self.silence.rest_s())
            tried_at = monotonic()
            try:
                answer: Answer = yield Attempt(method, request, limit_s if limit_s <= GRPC_DEADLINE_MAX_S else None)
            except grpc.RpcError as error:
                call = cast(grpc.Call, error)
                if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    patience.reached_by(tried_at, monotonic())
                    continue
                if call.code() not in LOST:
                    raise refused(self.connection, call, self.what) from None
                pause = patience.pause(call, tried_at)
            else:
                return answer
            yield pause if deadline is None else Pause(min(pause.seconds, deadline.rest_s()))

    def _check_over(self, deadline: Deadline) -> Steps[None]:
        """Raise `ResultTimeout`, with what holds the awaited, unless it is there."""
        missing: bytes | None = self.node_ids[0] if self.node_ids else b""
        why, answers = None, True
        try:
            missing = yield from self.find_missing(Deadline(LAST_LOOK_S))
            if missing is None:
                return
            why = yield from ask_why(self.connection, self.instance_id, missing)
        except BrokerUnavailable:
            answers = False
        raise ResultTimeout(
            instance_id=UUID(bytes=self.instance_id),
            node_id=UUID(bytes=missing) if missing else None,
            timeout_s=deadline.timeout_s,
            why=why,
            broker_answers=answers,
        )

    def _ask_why(self) -> Steps[Why | None]:
        """Ask what holds the first that is missing; None where nothing is, or the broker does not say."""
        missing: bytes | None = self.node_ids[0] if self.node_ids else b""
        if len(self.node_ids) > 1:
            try:
                missing = yield from self.find_missing(Deadline(LAST_LOOK_S))
            except (BrokerRefused, BrokerUnavailable):
                return None
        return None if missing is None else (yield from ask_why(self.connection, self.instance_id, missing))


def ask_why(connection: Connection, instance_id: bytes, node_id: bytes) -> Steps[Why | None]:
    """Ask what holds a node; with an empty id, the first of the instance that has not ended.

    Return None where the broker does not say.
    """
    request = WhyRequest(instance_id=instance_id, node_id=node_id)
    try:
        return why_in((yield from ask(connection, connection.dag.Why, request, "to say why", Deadline(LAST_LOOK_S))))
    except (BrokerRefused, BrokerUnavailable):
        return None
