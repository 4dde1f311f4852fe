"""Who ran a node, when it was granted, when it began and when it ended."""

from __future__ import annotations

from typing import Any

import pytest

from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import StoredEnd, StoredNode
from dagorama_broker.core.model.values import (
    FailedAttempt,
    Failure,
    FunctionSpec,
    InstanceId,
    NodeId,
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
