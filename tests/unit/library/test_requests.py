"""How long a request is repeated, told by a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Never

import grpc
import pytest

from dagorama.calls.ids import new_id
from dagorama.client.connection import CONNECT_S, Connection
from dagorama.client.requests import ABSENT_S, PAUSE_LAST_S, Attempt, ask
from dagorama.client.settings import RECONNECT_S
from dagorama.client.silence import Silence
from dagorama.client.steps import Deadline, Pause, Steps
from dagorama.client.waiting import watch as watch_steps
from dagorama.errors import BrokerRefused, BrokerUnavailable
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

    def trailing_metadata(self) -> tuple[Never, ...]:
        """Says nothing more: there was nobody to say it."""
        return ()


class Clock:
    """The time, as the requests see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Starts at a time that means nothing."""
        self.now = 1000.0
        for module in ("requests", "silence", "steps", "waiting"):
            monkeypatch.setattr(f"dagorama.client.{module}.monotonic", lambda: self.now)
        monkeypatch.setenv("DAGORAMA_SILENCE_S", "inf")

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


def watch(to: Connection, instance_id: bytes, node_id: bytes) -> Steps[Any]:
    """Makes the steps of a wait without an end."""
    return watch_steps(to, instance_id, [node_id], None, Silence(instance_id))


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


def test_a_broker_that_was_there_is_awaited_by_every_request(clock: Clock, to: Connection) -> None:
    """A start, a look or a control that meets a restart waits as long for the broker as who waits for a value."""
    to.answered = True
    begun = clock.now
    with pytest.raises(BrokerUnavailable, match=r"has gone away \(tried for 60\.0 s; .*DAGORAMA_RECONNECT_S") as raised:
        clock.lose(submit(to), lambda _: 0.0)
    assert clock.now - begun == pytest.approx(RECONNECT_S)
    assert raised.value.was_there


def test_a_deadline_ends_the_patience_of_a_request(clock: Clock, to: Connection) -> None:
    """Who waits with a timeout does not wait longer for a broker that has gone away."""
    to.answered = True
    begun = clock.now
    with pytest.raises(BrokerUnavailable):
        clock.lose(ask(to, to.dag.Submit, SubmitRequest(), "a submit", Deadline(2.0)), lambda _: 0.0)
    assert clock.now - begun == pytest.approx(2.0)


def test_a_broker_that_hangs_is_given_up_at_the_deadline(clock: Clock, to: Connection) -> None:
    """An attempt that a deadline ended is not repeated."""
    steps = ask(to, to.dag.Submit, SubmitRequest(), "a submit", Deadline(2.0))
    attempt = next(steps)
    assert isinstance(attempt, Attempt)
    assert attempt.timeout_s == 2.0
    clock.now += 2.0
    with pytest.raises(BrokerUnavailable, match=r"tried for 2\.0 s; it does not answer"):
        steps.throw(Lost(grpc.StatusCode.DEADLINE_EXCEEDED))


@pytest.mark.parametrize("lasting", [0.0, 2.0])
def test_a_broker_that_stays_away_is_told_of_once(
    clock: Clock, to: Connection, lasting: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many wait for it; and again when it goes away another time."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "10")
    to.answered = True
    for _ in range(2):
        lost_at = clock.now
        for _ in range(3):
            clock.now = lost_at
            with pytest.raises(BrokerUnavailable):
                clock.lose(submit(to), lambda _: lasting)
        (line,) = capsys.readouterr().err.splitlines()
        assert "[WARNING] - the broker at localhost:1 has been away for 1" in line
        assert "(connection refused); it is waited for, up to 4" in line or "up to 5" in line


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
