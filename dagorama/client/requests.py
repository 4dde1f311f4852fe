"""Requests that outlast hiccups of the connection.

What to do next is decided in generators that do not wait: they yield a step, such as an `Attempt` or a `Pause`, and get
the answer or the `grpc.RpcError` back. `run` and `run_async` carry them out, blocking and not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import grpc

from dagorama.client.connection import CONNECT_S, Connection, problem_in
from dagorama.client.settings import reconnect_s, silence_s
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.logging import get_logger

#: A broker that never answered is given up after this long, plus one attempt to connect: 5 s at most.
ABSENT_S = 5 - CONNECT_S - 0.1

#: The pauses between attempts double from the first to the last, each less a random part of up to half.
PAUSE_FIRST_S, PAUSE_LAST_S = 0.05, 1.0

#: How a request ends when the connection breaks or the broker stops.
LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})

T = TypeVar("T")
Answer = TypeVar("Answer")


class Step(Protocol):
    """Something that a request has to wait for."""

    def run(self) -> object:
        """Does it, blocking; returns the answer."""
        ...

    async def run_async(self) -> object:
        """Does it without blocking the event loop."""
        ...


class Attempt(NamedTuple):
    """Call the method once; with a timeout, the call ends with `DEADLINE_EXCEEDED` after it."""

    method: grpc.UnaryUnaryMultiCallable[Any, Any]
    request: object
    timeout_s: float | None = None

    def run(self) -> object:
        """Waits for the answer."""
        return self.method(self.request, timeout=self.timeout_s)

    async def run_async(self) -> object:
        """Waits for the answer; no thread waits meanwhile. Cancelling the waiting cancels the attempt."""
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


class Pause(NamedTuple):
    """Do nothing for a while."""

    seconds: float

    def run(self) -> None:
        """Sleeps."""
        sleep(self.seconds)

    async def run_async(self) -> None:
        """Sleeps."""
        await asyncio.sleep(self.seconds)


Steps = Generator[Step, Any, T]


class Deadline:
    """A time that several waits share."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] | None = None) -> None:
        """It is reached after this time from now, by the broker's clock where that is not this machine's."""
        self.timeout_s = timeout_s
        self._clock = clock or monotonic
        self._at = self._clock() + timeout_s

    def rest_s(self) -> float:
        """Returns the seconds that are left, 0 when there are none."""
        return max(self._at - self._clock(), 0.0)


@dataclass(slots=True)
class Patience:
    """How long the broker has been away, and how long the next pause is."""

    connection: Connection
    limit_s: float
    lost_at: float = 0.0
    pauses: int = 0

    def pause(self, error: grpc.Call, tried_at: float) -> Pause:
        """Returns the pause before the next attempt; `BrokerUnavailable` when patience has run out.

        A long absence is told of in the log, once for all who wait.
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
        pause_s = min(PAUSE_FIRST_S * 2 ** min(self.pauses, 10), PAUSE_LAST_S) * random.uniform(0.5, 1.0)
        self.pauses += 1
        return Pause(min(pause_s, give_up_at - now))

    def reached_by(self, tried_at: float, now: float) -> None:
        """Starts afresh after an attempt that lasted longer than connecting may take: it had reached the broker."""
        if self.connection.answered and now - tried_at > 2 * CONNECT_S:
            self.pauses = 0

    def run_out(self, detail: str) -> BrokerUnavailable:
        """Makes the error for when patience has run out."""
        return BrokerUnavailable(
            host=self.connection.host,
            port=self.connection.port,
            waited_s=monotonic() - self.lost_at,
            detail=detail,
            was_there=self.connection.answered,
        )


def ask(
    connection: Connection,
    method: grpc.UnaryUnaryMultiCallable[Any, Answer],
    request: object,
    what: str,
    deadline: Deadline | None = None,
) -> Steps[Answer]:
    """A request that the broker answers as soon as it can. It may be repeated, so it must be idempotent.

    Raises `BrokerRefused` naming `what` if the broker says no, and `BrokerUnavailable`: within 5 s if none has ever
    answered here, otherwise when the one that did stays away for `DAGORAMA_RECONNECT_S`; in any case at the deadline.
    """
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
            if call.code() not in LOST:
                raise refused(connection, call, what, repeated=patience.pauses > 0) from None
            pause = patience.pause(call, tried_at)
        else:
            connection.answered = True
            return answer
        yield pause


def refused(connection: Connection, call: grpc.Call, what: str, *, repeated: bool = False) -> BrokerRefused:
    """Makes the error of a broker that says no, or of something else that listens in its place."""
    detail = call.details() or "it gave no reason"
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        detail += f"; is it a dagorama broker of this version that listens at {connection.host}:{connection.port}?"
    return BrokerRefused(request=what, code=call.code().name, detail=detail, repeated=repeated)


def run(steps: Steps[T]) -> T:
    """Carries out a request, blocking."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step.run()
            except grpc.RpcError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return cast(T, stop.value)


async def run_async(steps: Steps[T]) -> T:
    """Carries out a request without blocking the event loop."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await step.run_async()
            except grpc.RpcError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return cast(T, stop.value)
