"""Bounds: how many nodes one function or request may make, and an instance may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest

from dagorama_broker.core.graph.bounds import Bounds
from dagorama_broker.core.invariants import check_invariants
from tests.unit.core.transcript import SETTINGS, Bench, tidy

#: How a node more is refused to an instance that is full.
FULL = (
    "TooManyNodes: a request makes 1 node, the first of f, and instance 6931 has 4 already; an instance may have 4 "
    "(DAGORAMA_INSTANCE_NODES_MAX of the broker). Start instances of their own for a part of the work, or give each "
    "node more to do, or raise the setting"
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a scheduler with small bounds."""
    bench = Bench(settings=replace(SETTINGS, call_nodes_max=2, instance_nodes_max=4))
    yield bench
    check_invariants(bench.scheduler)


def test_a_request_makes_no_more_nodes_than_it_may(bench: Bench) -> None:
    """It is refused as a whole, and names the bound; calls that are there already do not count."""
    transcript = """
        submit i1 a b c
        memory
        submit i1 a b
        submit i1 a b c
        ----
        TooManyCalls: a request makes 3 nodes, the first of f; one request may make 2 (DAGORAMA_CALL_NODES_MAX of the \
broker). Send them in several, or give each node more to do, or raise the setting
        nothing
        InstanceCreated i1
        NodesCreated a b
        NodesCreated c
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_function_makes_no_more_nodes_than_it_may(bench: Bench) -> None:
    """Else its node fails for good and has made none; a function that makes as many as it may is none the worse."""
    transcript = """
        given
        function split name=D.split attempts=9
        connect w1 slots=9
        submit i1 a:split b:split
        grant

        complete w1 a promises=c + c d e
        complete w1 b promises=c + c d
        states i1
        failures a
        ----
        AttemptFailed a attempt=1 InvalidExpansion
        NodeFailed a
        NodesCreated c d
        NodeJoining b b of c
        a=failed b=joining c=ready d=ready
        1 w1: InvalidExpansion: D.split makes 3 nodes, the first of f; one call of a function may make 2 \
(DAGORAMA_CALL_NODES_MAX of the broker). Let it call functions that make a part of them each, or give each node more \
to do, or raise the setting. The function's value and calls came to nothing, and it is not tried again: it would do \
the same. When that is mended, `dagorama retry` lets the instance go on
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_has_no_more_nodes_than_it_may(bench: Bench) -> None:
    """Whoever makes them; other instances have bounds of their own."""
    transcript = f"""
        given
        connect w1 slots=9
        submit i1 a b
        grant
        complete w1 a promises=c + c

        complete w1 b promises=d + d e
        failures b
        submit i1 d
        submit i1 e
        submit i2 v w
        ----
        AttemptFailed b attempt=1 InvalidExpansion
        NodeFailed b
        1 w1: InvalidExpansion: f makes 2 nodes, the first of f, and instance 6931 has 3 already; an instance may have \
4 (DAGORAMA_INSTANCE_NODES_MAX of the broker). Start instances of their own for a part of the work, or give each node \
more to do, or raise the setting. The function's value and calls came to nothing, and it is not tried again: it would \
do the same. When that is mended, `dagorama retry` lets the instance go on
        NodesCreated d
        {FULL}
        InstanceCreated i2
        NodesCreated v w
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_are_counted_after_a_restart(bench: Bench) -> None:
    """Also those that had ended; and those of an instance that is over, and is brought back."""
    transcript = f"""
        given
        connect w1 slots=9
        submit i1 a b
        submit i1 c d
        grant
        complete w1 a b
        restart

        submit i1 e
        states i1
        connect w2 slots=9
        at 10
        tick
        grant
        complete w2 c d
        restore i1
        submit i1 e
        memory
        ----
        {FULL}
        a=completed b=completed c=ready d=ready
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerLeft w1
        WorkGranted w2 c#2.1 d#2.2
        NodeCompleted c c
        NodeCompleted d d
        InstanceFinished i1 completed
        {FULL}
        i1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_that_a_rerun_removes_make_room(bench: Bench) -> None:
    """A function that runs again may make as many nodes as before: those that it had made are gone."""
    transcript = f"""
        given
        connect w1 slots=9
        submit i1 a z
        grant
        complete w1 z
        complete w1 a promises=b,c + b c
        grant
        complete w1 b c
        rerun i1 a
        grant

        complete w1 a promises=d + d e
        submit i1 f
        ----
        NodesCreated d e
        NodeJoining a a of d
        {FULL}
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_bounds_may_be_infinite() -> None:
    """Then nothing is refused; the defaults let a million nodes come at once."""
    bench = Bench()
    bench.replay("submit i1 a")
    (instance,) = bench.scheduler.instances.values()
    calls = bench.calls(["b"])
    bounds = Bounds(SETTINGS)
    bounds.check(instance, calls * 1_000_000, None)
    Bounds(replace(SETTINGS, call_nodes_max=inf, instance_nodes_max=inf)).check(instance, calls * 1_000_001, None)
    with pytest.raises(Exception, match="makes 1000001 nodes"):
        bounds.check(instance, calls * 1_000_001, None)
