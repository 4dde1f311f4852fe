"""How long a request is repeated, told by a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from dagorama.client.connection import CONNECT_S, Connection
from dagorama.client.requests import ABSENT_S, PAUSE_LAST_S, RECONNECT_S, Attempt, Pause, Steps, ask, watch
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.ids import new_id
from dagorama.v1.dag_pb2 import SubmitRequest


class Lost(grpc.RpcError):
    """A call that failed, with what the requests ask of it."""

    def __init__(self, code: grpc.StatusCode) -> None:
        """`code` is how it ended."""
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Says how it ended."""
        return self._code

    def details(self) -> str:
        """Says why."""
        return "connection refused"


class Clock:
    """The time, as the requests see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Starts at a time that means nothing."""
        self.now = 1000.0
        monkeypatch.setattr("dagorama.client.requests.monotonic", lambda: self.now)

    def lose(self, steps: Steps[Any], lasting: Callable[[int], float], most: int = 10_000) -> list[float]:
        """Loses each attempt after `lasting(its number)` seconds; returns the pauses that were made until the end."""
        pauses: list[float] = []
        step = next(steps)
        for number in range(most):
            assert isinstance(step, Attempt)
            self.now += lasting(number)
            step = steps.throw(Lost(grpc.StatusCode.UNAVAILABLE))
            assert isinstance(step, Pause)
            pauses.append(step.seconds)
            self.now += step.seconds
            step = steps.send(None)
        return pauses


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only the test moves."""
    return Clock(monkeypatch)


@pytest.fixture
def to() -> Connection:
    """A connection that is never used."""
    return Connection("localhost", 1)


def submit(to: Connection) -> Steps[Any]:
    """Makes the steps of a submit."""
    return ask(to, to.dag.Submit, SubmitRequest(), "a submit")


@pytest.mark.parametrize("attempt_s", [0.0, 0.001, CONNECT_S])
def test_an_absent_broker_is_given_up_within_5_s(clock: Clock, to: Connection, attempt_s: float) -> None:
    """Whether connecting is refused or runs into nothing, it is over in time, and not too soon."""
    begun = clock.now
    with pytest.raises(BrokerUnavailable):
        clock.lose(submit(to), lambda _: attempt_s)
    assert ABSENT_S - 0.01 < clock.now - begun <= 5


def test_pauses_grow_and_differ(clock: Clock, to: Connection) -> None:
    """Pauses double up to a bound, each less a random part, so that many clients do not come back at once."""
    to.answered = True
    random.seed(1)
    pauses = clock.lose(watch(to, new_id(), new_id()), lambda _: 0.0, most=12)
    assert all(0.5 <= pause / min(0.05 * 2**number, PAUSE_LAST_S) <= 1 for number, pause in enumerate(pauses))
    assert len(set(pauses)) == len(pauses)


def test_a_watch_that_lasted_for_hours_rides_out_a_restart(clock: Clock, to: Connection) -> None:
    """Patience counts from when the broker was lost, not from when waiting began."""
    to.answered = True
    begun = clock.now
    with pytest.raises(BrokerUnavailable) as raised:
        clock.lose(watch(to, new_id(), new_id()), lambda number: 3600.0 if number == 0 else 0.0)
    assert clock.now - begun == pytest.approx(3600 + RECONNECT_S)
    assert raised.value.waited_s == pytest.approx(RECONNECT_S)


def test_each_restart_has_patience_of_its_own(clock: Clock, to: Connection) -> None:
    """A broker that came back in between is awaited as long as the first time."""
    to.answered = True
    begun = clock.now
    with pytest.raises(BrokerUnavailable):
        clock.lose(watch(to, new_id(), new_id()), lambda number: 600.0 if number in (10, 20) else 0.0)
    assert clock.now - begun > 1200 + RECONNECT_S


def test_a_refusal_is_not_repeated(to: Connection) -> None:
    """What the broker refuses is an error at once."""
    steps = submit(to)
    next(steps)
    with pytest.raises(BrokerRefused, match=r"a submit \(INVALID_ARGUMENT\)"):
        steps.throw(Lost(grpc.StatusCode.INVALID_ARGUMENT))


def test_the_first_wait_makes_sure_that_there_is_a_broker(clock: Clock, to: Connection) -> None:
    """Waiting on a connection that never answered gives up as soon as any other request."""
    begun = clock.now
    with pytest.raises(BrokerUnavailable):
        clock.lose(watch(to, new_id(), new_id()), lambda _: 0.0)
    assert clock.now - begun <= 5
