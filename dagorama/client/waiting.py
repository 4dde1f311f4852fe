"""Waiting for what the broker tells later: how nodes and instances have ended. No wait is silent for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, TypeVar, cast
from uuid import UUID

import grpc

from dagorama.client.connection import Connection
from dagorama.client.messages import TERMINAL_STATES, why_in
from dagorama.client.requests import LOST, Attempt, Deadline, Patience, Pause, Steps, ask, refused
from dagorama.client.settings import reconnect_s, silence_s
from dagorama.errors import BrokerRefused, BrokerUnavailable, ResultTimeout, WorkersCannotStart
from dagorama.logging import get_logger
from dagorama.own_workers import has_own_workers, why_given_up
from dagorama.v1.dag_pb2 import (
    GetInstanceRequest,
    GetNodeRequest,
    InstanceInfo,
    WatchInstanceRequest,
    WatchRequest,
    WatchResponse,
    WhyRequest,
)
from dagorama.v1.graph_pb2 import INSTANCE_STATE_RUNNING
from dagorama.why import Reason, Why

Answer = TypeVar("Answer")

#: So many instances are told of within one time of silence: who waits for thousands reads no more.
TOLD_MAX = 10
#: While nothing holds what is awaited, the broker is asked again after twice as long each time, up to this.
ASK_AGAIN_MAX_S = 640.0
#: A wait whose time is over takes so much longer, at most, to ask for the value and for what holds it.
LAST_LOOK_S = 1.0
#: gRPC takes longer deadlines for past ones. An attempt that may last three years needs none.
GRPC_DEADLINE_MAX_S = 1e8
#: The kinds of reasons that hold nothing up.
GOES_ON = frozenset({"running", "due", "ended"})

#: When which instances were asked about last, to be told of.
_asked_at: dict[bytes, float] = {}


class Silence:
    """How long a wait has said nothing. One for each wait, however many nodes it is for."""

    def __init__(self, instance_id: bytes, *, tells: bool = True) -> None:
        """Begins now; one that does not tell lasts for ever. `ValueError` for a setting that is no time."""
        self.instance_id = instance_id
        self._has_told = False
        self._span_s = silence_s() if tells else inf
        self._ends_at = monotonic() + self._span_s

    def rest_s(self) -> float:
        """Returns the seconds until there may be something to say, infinity where there is nothing more."""
        return max(self._ends_at - monotonic(), 0.0)

    def end(self, connection: Connection, node_id: bytes) -> Steps[None]:
        """Logs what holds the node, or the instance where that is empty: once, as soon as anything does.

        `WorkersCannotStart` where that is that no worker is connected, and none that was launched here can be again.
        """
        now = monotonic()
        waited_s = self._span_s
        self._span_s = min(2 * self._span_s, max(ASK_AGAIN_MAX_S, self._span_s))
        self._ends_at = now + self._span_s
        given_up = why_given_up()
        if not given_up and not _may_ask(self.instance_id, now):
            return
        why = yield from _why(connection, self.instance_id, node_id)
        if why is None or not is_held(why):
            return
        if given_up and all(reason.kind == "no_worker" for reason in _last(why.reasons)):
            raise WorkersCannotStart(reason=given_up)
        if not has_own_workers():  # else these may still give up
            self._ends_at = inf
        if not self._has_told:
            self._has_told = True
            whose = f"instance {why.instance_id}"
            get_logger().warning(
                "%s: nothing has come for %g s; waiting goes on. What holds it:\n%s", whose, waited_s, why
            )


def _may_ask(instance_id: bytes, now: float) -> bool:
    """Tells whether an instance may be told of now; no to those that have just been, and to too many at once."""
    since = now - silence_s()
    for known, asked_at in list(_asked_at.items()):
        if asked_at < since:
            _asked_at.pop(known, None)
    if instance_id in _asked_at or len(_asked_at) >= TOLD_MAX:
        return False
    _asked_at[instance_id] = now
    return True


def is_held(why: Why) -> bool:
    """Tells whether anything holds a node; nothing does where what it waits for, over all links, runs."""
    return any(reason.kind not in GOES_ON for reason in _last(why.reasons))


def _last(reasons: tuple[Reason, ...]) -> Iterator[Reason]:
    """Gives the reasons that have none behind them."""
    for reason in reasons:
        if reason.because:
            yield from _last(reason.because)
        else:
            yield reason


def watch(
    connection: Connection, instance_id: bytes, node_id: bytes, deadline: Deadline | None, silence: Silence
) -> Steps[WatchResponse]:
    """Waits until a node has ended, not beyond the deadline (`ResultTimeout`), also while the broker restarts."""
    wait = _Wait(connection, instance_id, node_id, silence, f"watching node {UUID(bytes=node_id)}")
    look = GetNodeRequest(instance_id=instance_id, node_id=node_id)

    def has_ended(until: Deadline | None) -> Steps[bool]:
        answer = yield from ask(connection, connection.dag.GetNode, look, wait.what, until)
        return answer.node.state in TERMINAL_STATES

    request = WatchRequest(instance_id=instance_id, node_ids=[node_id])
    return (yield from wait.for_answer(connection.watch_one, request, has_ended, deadline))


def watch_end(
    connection: Connection, instance_id: bytes, deadline: Deadline | None, silence: Silence
) -> Steps[InstanceInfo]:
    """Waits until an instance runs no longer; otherwise like `watch`."""
    wait = _Wait(connection, instance_id, b"", silence, f"watching instance {UUID(bytes=instance_id)}")
    look = GetInstanceRequest(instance_id=instance_id)

    def has_ended(until: Deadline | None) -> Steps[bool]:
        answer = yield from ask(connection, connection.dag.GetInstance, look, wait.what, until)
        return answer.instance.state != INSTANCE_STATE_RUNNING

    request = WatchInstanceRequest(instance_id=instance_id, until_ended=True)
    return (yield from wait.for_answer(connection.watch_end, request, has_ended, deadline)).instance


@dataclass(frozen=True, slots=True)
class _Wait:
    """What is awaited, and what it is called in errors."""

    connection: Connection
    instance_id: bytes
    node_id: bytes  #: empty: the whole instance
    silence: Silence
    what: str

    def for_answer(
        self,
        method: grpc.UnaryUnaryMultiCallable[Any, Answer],
        request: object,
        has_ended: Callable[[Deadline | None], Steps[bool]],
        deadline: Deadline | None,
    ) -> Steps[Answer]:
        """Calls a method until it answers; `ResultTimeout` when the deadline has passed and it has not ended."""
        if not self.connection.answered:
            # Gives up as soon as any other request where there is no broker.
            yield from has_ended(None if deadline is None else Deadline(max(deadline.rest_s(), LAST_LOOK_S)))
        patience = Patience(self.connection, reconnect_s())
        while True:
            rest_s = inf if deadline is None else deadline.rest_s()
            if deadline is not None and not rest_s:
                yield from self._check_over(deadline, has_ended)
                deadline = None  # it is there, and may take its time to come
                continue
            if not self.silence.rest_s():
                yield from self.silence.end(self.connection, self.node_id)
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

    def _check_over(self, deadline: Deadline, has_ended: Callable[[Deadline | None], Steps[bool]]) -> Steps[None]:
        """Raises `ResultTimeout`, with what holds it, unless what is awaited is there."""
        why, answers = None, True
        try:
            if (yield from has_ended(Deadline(LAST_LOOK_S))):
                return
            why = yield from _why(self.connection, self.instance_id, self.node_id)
        except BrokerUnavailable:
            answers = False
        raise ResultTimeout(
            instance_id=UUID(bytes=self.instance_id),
            node_id=UUID(bytes=self.node_id) if self.node_id else None,
            timeout_s=deadline.timeout_s,
            why=why,
            broker_answers=answers,
        )


def _why(connection: Connection, instance_id: bytes, node_id: bytes) -> Steps[Why | None]:
    """Asks what holds a node, or the first of the instance that has not ended; None where the broker does not say."""
    request = WhyRequest(instance_id=instance_id, node_id=node_id)
    try:
        return why_in((yield from ask(connection, connection.dag.Why, request, "to say why", Deadline(LAST_LOOK_S))))
    except (BrokerRefused, BrokerUnavailable):
        return None
