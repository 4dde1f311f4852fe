"""Requests over a connection, which outlast its hiccups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import grpc

from dagorama.calls.references import DIGEST_BYTES
from dagorama.client.connection import CONNECT_S, Connection, problem_in
from dagorama.client.settings import reconnect_s, room_s, silence_s
from dagorama.client.steps import Deadline, Pause, Steps
from dagorama.client.told import time_at
from dagorama.common.jitter import chance
from dagorama.errors import BrokerRefused, BrokerUnavailable, InstancePruned, KeyConflict, refusal
from dagorama.logging import get_logger

#: A broker that never answered is given up after this long, plus one attempt to connect: 5 s at most.
ABSENT_S = 5 - CONNECT_S - 0.1

#: The pauses between attempts double from the first to the last, each less a random part of up to half.
PAUSE_FIRST_S, PAUSE_LAST_S = 0.05, 1.0

#: The evidence of a `KeyConflict`, beside the text of the refusal, as metadata of the call.
CONFLICT_KEY = "dagorama-key-bin"

#: When an instance was pruned, in seconds since 1970, beside other evidence, as metadata of the call.
PRUNED_KEY = "dagorama-pruned-at"

#: The digests of values that a request refers to and the broker lacks, joined, as metadata of the call.
MISSING_KEY = "dagorama-missing-bin"

#: Metadata of a refusal because the broker's store of values does not answer: the broker itself is there.
STORE_KEY = "dagorama-store"

#: Between attempts at a store of values that is full or away.
STORE_PAUSE_S = 1.0

#: How a request ends when the connection breaks or the broker stops.
LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})

Answer = TypeVar("Answer")


class ValuesMissing(BrokerRefused):
    """A request refers to values that the broker's store lacks: they are to be stored, and the request repeated."""

    def __init__(self, *, request: str, detail: str, digests: Sequence[bytes]) -> None:
        """Take the digests of some of them."""
        super().__init__(request=request, code=grpc.StatusCode.FAILED_PRECONDITION.name, detail=detail)
        self.digests = digests


class Attempt(NamedTuple):
    """One call of a method; with a timeout, it ends with `DEADLINE_EXCEEDED` after it."""

    method: grpc.UnaryUnaryMultiCallable[Any, Any]
    request: object
    timeout_s: float | None = None

    def run(self) -> object:
        """Wait for the answer."""
        return self.method(self.request, timeout=self.timeout_s)

    async def run_async(self) -> object:
        """Wait for the answer; no thread waits meanwhile. Cancelling the waiting cancels the attempt."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        future = self.method.future(self.request, timeout=self.timeout_s)

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        future.add_done_callback(tell)
        try:
            await done.wait()
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()


@dataclass(slots=True)
class Patience:
    """How long the broker has been away, and how long the next pause is."""

    connection: Connection
    limit_s: float
    lost_at: float = 0.0
    pauses: int = 0

    def pause(self, error: grpc.Call, tried_at: float) -> Pause:
        """Return the pause before the next attempt; raise `BrokerUnavailable` when patience has run out.

        The log tells of a long absence, once for all who wait.
        """
        now = monotonic()
        self.reached_by(tried_at, now)
        if not self.pauses:
            self.lost_at = tried_at if now - tried_at <= 2 * CONNECT_S else now
        give_up_at = self.lost_at + self.limit_s
        if now >= give_up_at:
            raise self.run_out(problem_in(error)) from None
        if now - self.lost_at >= silence_s() and self.connection.told_away_at < self.lost_at:
            self.connection.told_away_at = now
            get_logger().warning(
                "the broker at %s:%d has been away for %.0f s (%s); it is waited for, up to %.0f s more",
                *(self.connection.host, self.connection.port, now - self.lost_at, problem_in(error), give_up_at - now),
            )
        pause_s = min(PAUSE_FIRST_S * 2 ** min(self.pauses, 10), PAUSE_LAST_S) * chance.uniform(0.5, 1.0)
        self.pauses += 1
        return Pause(min(pause_s, give_up_at - now))

    def reached_by(self, tried_at: float, now: float) -> None:
        """Start afresh after an attempt that lasted longer than connecting may take: it had reached the broker."""
        if self.connection.answered and now - tried_at > 2 * CONNECT_S:
            self.pauses = 0

    def run_out(self, detail: str) -> BrokerUnavailable:
        """Make the error for when patience has run out."""
        return BrokerUnavailable(
            host=self.connection.host,
            port=self.connection.port,
            waited_s=monotonic() - self.lost_at,
            detail=detail,
            was_there=self.connection.answered,
        )


@dataclass(slots=True)
class StorePatience:
    """How long the broker's store of values has been full or away."""

    connection: Connection
    since_at: float | None = None

    def pause(self, call: grpc.Call, what: str) -> Pause:
        """Return the pause before the next attempt; raise `BrokerRefused` when `DAGORAMA_VALUE_ROOM_S` have passed."""
        now = monotonic()
        self.since_at = now if self.since_at is None else self.since_at
        rest_s = self.since_at + room_s() - now
        if rest_s <= 0:
            raise refused(self.connection, call, what, repeated=True) from None
        until = "it answers" if is_store_away(call) else "there is room"
        get_logger().warning("%s; this waits until %s", call.details(), until)
        return Pause(min(STORE_PAUSE_S, rest_s))


def is_store_away(call: grpc.Call) -> bool:
    """Return whether a call has failed only because the broker's store of values does not answer."""
    return call.code() is grpc.StatusCode.UNAVAILABLE and STORE_KEY in dict(call.trailing_metadata() or ())


def ask(
    connection: Connection,
    method: grpc.UnaryUnaryMultiCallable[Any, Answer],
    request: object,
    what: str,
    deadline: Deadline | None = None,
    patience_s: float | None = None,
) -> Steps[Answer]:
    """Send a request until it is answered, which the broker does as soon as it can. It must be idempotent.

    Raises `BrokerRefused` naming `what` if the broker says no, and `BrokerUnavailable`: within 5 s if none has ever
    answered here, otherwise when the one that did stays away for `DAGORAMA_RECONNECT_S`, or after `patience_s` in place
    of both; in any case at the deadline. A store of values that is away is awaited for `DAGORAMA_VALUE_ROOM_S`.
    """
    store = StorePatience(connection)
    if patience_s is None:
        patience_s = reconnect_s() if connection.answered else ABSENT_S
    patience = Patience(connection, patience_s if deadline is None else min(patience_s, deadline.rest_s()))
    began_at = monotonic()
    while True:
        tried_at = monotonic()
        try:
            answer: Answer = yield Attempt(method, request, None if deadline is None else deadline.rest_s())
        except grpc.RpcError as error:
            call = cast(grpc.Call, error)
            if deadline is not None and call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                patience.lost_at = began_at
                raise patience.run_out("it does not answer") from None
            if is_store_away(call):
                connection.answered = True
                pause = store.pause(call, what)
            elif call.code() in LOST:
                pause = patience.pause(call, tried_at)
            else:
                raise refused(connection, call, what, repeated=patience.pauses > 0) from None
        else:
            connection.answered = True
            return answer
        yield pause


def refused(
    connection: Connection, call: grpc.Call, what: str, *, repeated: bool = False
) -> BrokerRefused | KeyConflict:
    """Make the error of a broker that says no, or of something else that listens in its place."""
    evidence = dict(call.trailing_metadata() or ()) if call.code() is grpc.StatusCode.ALREADY_EXISTS else {}
    if CONFLICT_KEY in evidence:
        return KeyConflict(
            key=cast(bytes, evidence[CONFLICT_KEY]).decode(),
            instance_id=UUID(cast(str, evidence["dagorama-instance"])),
            differs=tuple(cast(str, evidence["dagorama-differs"]).split(",")),
        )
    detail = call.details() or "it gave no reason"
    if call.code() is grpc.StatusCode.NOT_FOUND and (pruned := _pruned_in(call, what, detail, repeated)):
        return pruned
    if call.code() is grpc.StatusCode.FAILED_PRECONDITION and (missing := _missing_in(call)):
        return ValuesMissing(request=what, detail=detail, digests=missing)
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        detail += f"; is it a dagorama broker of this version that listens at {connection.host}:{connection.port}?"
    return refusal(request=what, code=call.code().name, detail=detail, repeated=repeated)


def _pruned_in(call: grpc.Call, what: str, detail: str, repeated: bool) -> InstancePruned | None:
    """Return the error about an instance that is no more; None where it is about something else."""
    told = dict(call.trailing_metadata() or ())
    if PRUNED_KEY not in told:
        return None
    return InstancePruned(
        request=what,
        code=call.code().name,
        detail=detail,
        repeated=repeated,
        instance_id=UUID(cast(str, told["dagorama-instance"])),
        definition=cast(bytes, told["dagorama-definition-bin"]).decode(),
        state=cast(str, told["dagorama-state"]),
        pruned_at=time_at(float(cast(str, told[PRUNED_KEY]))),
    )


def _missing_in(call: grpc.Call) -> Sequence[bytes]:
    """Return the digests of values that the broker lacks."""
    joined = cast(bytes, dict(call.trailing_metadata() or ()).get(MISSING_KEY, b""))
    return [joined[first : first + DIGEST_BYTES] for first in range(0, len(joined), DIGEST_BYTES)]
