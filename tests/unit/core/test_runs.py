"""Who ran a node, when it was granted, when it began and when it ended."""

from __future__ import annotations

from math import inf, nan
from typing import Any, cast

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.entities import View, Worker
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import StoredEnd, StoredNode
from dagorama_broker.core.model.values import (
    FailedAttempt,
    Failure,
    FunctionSpec,
    InstanceId,
    NodeId,
    WorkerId,
    measure,
)
from dagorama_broker.requests.describing import describe_node
from tests.unit.core.transcript import Bench, tidy

INSTANCE = InstanceId(b"i" * 16)
COMPLETED, WAITING, FAILED = NodeState.COMPLETED, NodeState.WAITING, NodeState.FAILED


def test_a_value_tells_of_its_attempt(bench: Bench) -> None:
    """The grant counts from when it was given, the run from so long before its report as the worker says that it took.

    The attempt of a node that joins has ended long before the node.
    """
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b
        at 100
        grant
        at 110
        complete w1 a seconds=4
        complete w1 b value=[c] promises=c + c
        grant
        at 120
        complete w1 c seconds=5

        run a
        run b
        run c
        ----
        w1 100 106 110
        w1 100 100 110
        w1 110 115 120
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_attempt_ended_when_its_worker_says_so(bench: Bench) -> None:
    """Its report may have waited for others, or for a broker that was away; it never ended before it was granted."""
    transcript = """
        given
        function t attempts=2
        connect w1 slots=5
        submit i1 a b:t d e f
        at 100
        grant
        at 110
        complete w1 a seconds=4 waited=3
        fail w1 b seconds=1 waited=2
        complete w1 d seconds=4 waited=99
        complete w1 e value=[c] promises=c waited=5 + c
        complete w1 f waited=nan

        run a
        run b
        run d
        run e
        run f
        ----
        w1 100 103 107
        w1 100 107 108
        w1 100 100 104
        w1 100 100 105
        w1 100 100 110
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_quickest_message_tells_how_long_others_were_under_way(bench: Bench) -> None:
    """Until the worker's clock has stood, or drifted; without a clock a message was written as it came."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a b d e f g
        at 100
        grant
        at 110
        complete w1 a clock=9
        at 111
        complete w1 b clock=9.5
        complete w1 d clock=11
        complete w1 e clock=10.75 waited=2
        at 120
        complete w1 f clock=11
        complete w1 g

        run a
        run b
        run d
        run e
        run f
        run g
        ----
        w1 100 100 110
        w1 100 100 110.5
        w1 100 100 111
        w1 100 100 108.75
        w1 100 100 120
        w1 100 100 120
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_clocks_that_drift_apart_are_compared_anew() -> None:
    """In an hour by no more than a third of a second; what came quicker than any message before counts at once."""
    view = cast(View, None)
    worker = Worker(id=WorkerId(b"w"), name="w", view=view, slots=1, lease_duration_s=15.0, expires_at=0.0)
    assert worker.written_at(1.0, 101.0) == 101.0
    assert worker.written_at(2.0, 102.2) == pytest.approx(102.0, abs=0.001)
    assert worker.written_at(3601.0, 3701.3) == pytest.approx(3701.3, abs=0.1)
    assert worker.written_at(3602.0, 3701.9) == 3701.9
    assert [worker.written_at(clock_s, 9.0) for clock_s in (0.0, -1.0, inf, nan)] == [9.0] * 4


@pytest.mark.parametrize("clock_s", [1e17, 1e25, 1e300])
def test_a_clock_that_tells_no_seconds_gives_no_time_to_come(clock_s: float) -> None:
    """So large a number is rounded by more than what there is to tell."""
    view = cast(View, None)
    worker = Worker(id=WorkerId(b"w"), name="w", view=view, slots=1, lease_duration_s=15.0, expires_at=0.0)
    assert [worker.written_at(clock_s, now) <= now for now in (1_796_000_007.0, 1_796_000_009.5)] == [True, True]


def test_attempts_without_a_value_tell_of_themselves(bench: Bench) -> None:
    """Failed, timed out, lost with the worker, or cancelled: the time counts to when that was seen."""
    transcript = """
        given
        function t attempts=3 timeout=5
        connect w1 slots=1
        at 10
        submit i1 a:t
        grant
        at 12
        fail w1 a
        tick
        grant
        at 17
        tick
        tick
        connect w2 slots=1
        grant
        at 19
        disconnect w2
        connect w3 slots=1
        grant
        at 20
        cancel i1

        run a
        ----
        w1 10 10 12
        w1 12 12 17
        w2 17 17 19
        w3 19 19 20
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_nobody_ran_has_no_attempt(bench: Bench) -> None:
    """No worker took it in time; what waited for it never began."""
    transcript = """
        given
        function s start_timeout=5
        at 10
        submit i1 a:s b(a)
        at 15
        tick

        run a
        run b
        ----
        - 0 0 15
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    ("granted_at", "ended_at", "told_s", "expected"),
    [
        (10.0, 20.0, 4.0, (16.0, 4.0)),
        (10.0, 20.0, 0.0, (10.0, 10.0)),  # it has not told
        (10.0, 5010.0, 4294.967295, (10.0, 5000.0)),  # the most that it can tell
        (10.0, 20.0, 11.0, (10.0, 11.0)),  # clocks differ
        (10.0, 9.0, 0.0, (10.0, 0.0)),  # the clock was set
    ],
)
def test_times_are_measured(granted_at: float, ended_at: float, told_s: float, expected: tuple[float, float]) -> None:
    """An attempt begins no earlier than it is granted; where its worker tells nothing all of the time is its own."""
    assert measure(granted_at, ended_at, told_s) == pytest.approx(expected)


def _stored(seq: int, **fields: Any) -> StoredNode:
    return StoredNode(
        **{
            "seq": seq,
            "id": NodeId(bytes([seq]) * 16),
            "function": FunctionSpec(name="f", queue="q"),
            "parent_seq": 0,
            "arguments": b"",
            "dependency_seqs": (),
            "created_at": 10.0,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [((COMPLETED, COMPLETED), 30.0), ((COMPLETED, WAITING), 0.0), ((COMPLETED, FAILED), 0.0), ((), 10.0)],
)
def test_a_node_is_ready_once_all_is_there(states: tuple[NodeState, ...], expected: float) -> None:
    """That is when the last of its dependencies completed, or else when it was made."""
    others = {seq: StoredEnd(NodeId(bytes(16)), state, 20.0 + 5 * seq) for seq, state in enumerate(states, 1)}
    info = describe_node(_stored(9, dependency_seqs=tuple(others)), INSTANCE, others, None)
    assert info.ready_at == expected


def test_a_failed_node_tells_of_its_last_attempt_and_one_that_waits_of_none() -> None:
    """What is told beside `worker` is of one attempt; those before are among the failures."""
    attempt = FailedAttempt(2, "w2", 25.0, Failure(type="E", message=""), granted_at=20.0, duration_s=4.0)
    failed, backing_off = (
        describe_node(_stored(1, state=state, failures=[attempt]), INSTANCE, {}, None)
        for state in (FAILED, NodeState.BACKOFF)
    )
    assert (failed.worker, failed.granted_at, failed.started_at, failed.duration_s) == ("w2", 20.0, 21.0, 4.0)
    assert (backing_off.worker, backing_off.granted_at, backing_off.started_at, backing_off.duration_s) == ("", 0, 0, 0)


def test_a_completion_need_not_say_how_long_it_waited(bench: Bench) -> None:
    """Those with four parts and with five may stand in one report, which may be gone over once only."""
    bench.replay("given\nconnect w1 slots=3\nsubmit i1 a b c\ngrant")
    (worker,) = bench.scheduler.fleet.workers.values()
    leases = sorted(worker.leases.items())
    told = [(node.id, token, b"v", 0.5, 0.0)[: 4 + at % 2] for at, (token, node) in enumerate(leases)]
    report = c.CompleteNodes(worker_id=worker.id, completions=cast("Any", iter(told)))
    events = bench.scheduler.handle(report, 1.0)
    assert [type(event).__name__ for event in events].count("NodeCompleted") == 3
    assert worker.leases == {}
