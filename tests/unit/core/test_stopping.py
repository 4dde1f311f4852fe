"""Instances that are cancelled, and attempts that take longer than they may."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import Bench, tidy

#: A node in every live state: a is leased, b backs off, c joins on its child d, e is ready, f waits; g has completed.
EVERY_STATE = """
    given
    function g attempts=2 interval=60
    connect w1 slots=4
    submit i1 a b:g c g f(a) e

    grant
    fail w1 b
    complete w1 c promises=d + d
    complete w1 g
    ----
    WorkGranted w1 a#1 b#2 c#3 g#4
    AttemptFailed b attempt=1 ValueError again at 60
    NodesCreated d
    NodeJoining c c of d
    NodeCompleted g g

    states i1
    ----
    a=leased b=backoff c=joining g=completed f=waiting e=ready d=ready
"""


def test_every_live_node_is_cancelled(bench: Bench) -> None:
    """Whatever its state, a node that has not ended is cancelled, its lease revoked, and its instance has ended."""
    bench.replay(EVERY_STATE)
    transcript = """
        cancel i1
        memory
        states i1
        ----
        NodesCancelled a b c f e d
        LeasesRevoked w1 a#1
        InstanceFinished i1 cancelled
        nothing
        (cancelled) a=cancelled b=cancelled c=cancelled g=completed f=cancelled e=cancelled d=cancelled
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_cancelled_nodes_that_are_still_in_their_queue_never_start(bench: Bench) -> None:
    """They leave it bit by bit; neither a grant nor the end of their time to start takes one, and others follow."""
    bench.scheduler.queues.at_once = 1
    transcript = """
        given
        function f start_timeout=5
        function g
        submit i1 a:f b:f c:f d:f
        submit i2 e:g

        cancel i1
        connect w1
        grant
        at 7
        tick
        grant
        grant
        ----
        NodesCancelled a b c d
        InstanceFinished i1 cancelled
        WorkerJoined w1
        WorkerWelcomed w1
        WorkGranted w1 e#1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_of_a_cancelled_instance_comes_back(bench: Bench) -> None:
    """What was ready or backed off is never granted, also after a restart, and the backoff's end wakes nobody."""
    bench.replay(EVERY_STATE)
    transcript = """
        cancel i1
        at 60
        tick
        grant
        ----
        NodesCancelled a b c f e d
        LeasesRevoked w1 a#1
        InstanceFinished i1 cancelled
        WorkerEvicted w1
        WorkerLeft w1

        restart
        connect w2
        grant
        memory
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_late_results_of_a_cancelled_instance_are_refused(bench: Bench) -> None:
    """A worker that finishes what was cancelled meanwhile changes nothing, whatever it brings, and makes no child."""
    transcript = """
        given
        connect w1 slots=3
        submit i1 a b c
        submit i2 d

        grant
        cancel i1
        ----
        WorkGranted w1 a#1 b#2 c#3
        NodesCancelled a b c
        LeasesRevoked w1 a#1 b#2 c#3
        InstanceFinished i1 cancelled

        complete w1 a#1 + x
        fail w1 b#2
        handback w1 c#3
        grant
        ----
        ResultRefused w1 a#1: the worker holds no lease on the node
        ResultRefused w1 b#2: the worker holds no lease on the node
        WorkGranted w1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_worker_that_ran_cancelled_nodes_is_free(bench: Bench) -> None:
    """Each worker is told of its own revoked leases, and gets other work as it hands them back: then it has stopped."""
    transcript = """
        given
        connect w1 slots=2
        connect w2
        submit i1 a b c
        submit i2 d e f

        grant
        cancel i1
        grant
        handback w1 a#1
        grant
        handback w1 c#3
        handback w2 b#2
        grant
        ----
        WorkGranted w1 a#1 c#3
        WorkGranted w2 b#2
        NodesCancelled a b c
        LeasesRevoked w1 a#1 c#3
        LeasesRevoked w2 b#2
        InstanceFinished i1 cancelled
        WorkGranted w1 d#4
        WorkGranted w1 e#5
        WorkGranted w2 f#6
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("end", ["cancel i1", "complete w1 a"])
def test_what_has_ended_cannot_be_cancelled(bench: Bench, end: str) -> None:
    """An instance that was cancelled or completed has left memory: the second request is refused."""
    bench.replay(f"connect w1\nsubmit i1 a\ngrant\n{end}")
    transcript = """
        cancel i1
        ----
        UnknownInstance: no instance 6931 is known to this broker; check the id and the broker's address
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_without_nodes_can_be_cancelled(bench: Bench) -> None:
    """It has ended then like any other, and stays so over a restart."""
    transcript = """
        given
        submit i1

        cancel i1
        memory
        states i1
        ----
        InstanceFinished i1 cancelled
        nothing
        (cancelled)

        restart
        memory
        ----
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("nodes", ["", " a"], ids=["empty", "with a node"])
def test_a_cancelled_instance_takes_no_further_nodes(bench: Bench, nodes: str) -> None:
    """It is refused, naming the state; what was fetched from the journal for it leaves memory again."""
    bench.replay(f"submit i1{nodes}\ncancel i1")
    transcript = """
        restore i1
        submit i1 b
        submit i2 c
        memory
        ----
        InstanceEnded: instance 6931 is cancelled already, so it cannot be given further nodes
        InstanceCreated i2
        NodesCreated c
        i2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_repeated_submit_to_a_cancelled_instance_is_no_fault(bench: Bench) -> None:
    """A client that lost the answer repeats its request, and the instance stays as it is."""
    bench.replay("submit i1 a\ncancel i1")
    transcript = """
        restore i1
        submit i1 a
        memory
        ----
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_other_instances_do_not_notice(bench: Bench) -> None:
    """A cancelled instance gives way to the next in order, and nothing else changes."""
    transcript = """
        given
        submit i1 a b
        submit i2 c d(c)

        cancel i1
        states i2
        connect w1
        grant
        ----
        NodesCancelled a b
        InstanceFinished i1 cancelled
        c=ready d=waiting
        WorkerJoined w1
        WorkerWelcomed w1
        WorkGranted w1 c#1
    """
    assert bench.replay(transcript) == tidy(transcript)


# -- timeouts ---------------------------------------------------------------------------------------------------------


def test_an_attempt_ends_with_its_timeout(bench: Bench) -> None:
    """The lease is revoked, the attempt counts as failed, and the next one starts after the backoff."""
    transcript = """
        given
        function t attempts=2 interval=3 timeout=2
        connect w1
        submit i1 a:t

        grant
        wakeup
        at 2
        tick
        wakeup
        failures a
        at 5
        tick
        handback w1 a#1
        grant
        ----
        WorkGranted w1 a#1
        at 2
        LeasesRevoked w1 a#1
        AttemptFailed a attempt=1 TimeoutError again at 5
        at 5
        1 w1: TimeoutError: the attempt took longer than the timeout of 2 s
        WorkGranted w1 a#2

        at 7
        tick
        complete w1 a#2
        ----
        LeasesRevoked w1 a#2
        AttemptFailed a attempt=2 TimeoutError
        NodeFailed a
        InstanceFinished i1 failed
        ResultRefused w1 a#2: the worker holds no lease on the node
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_timeout_is_no_sooner_than_it_says(bench: Bench) -> None:
    """A tick before the time changes nothing."""
    transcript = """
        given
        function t timeout=2
        connect w1
        submit i1 a:t

        grant
        at 1.999
        tick
        states i1
        ----
        WorkGranted w1 a#1
        a=leased
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("end", ["complete w1 a", "fail w1 a permanent", "cancel i1"])
def test_the_timeout_of_an_attempt_that_has_ended_means_nothing(bench: Bench, end: str) -> None:
    """Whichever way it ended, nothing happens at the time."""
    bench.replay(f"function t timeout=2\n\nconnect w1\nsubmit i1 a:t\ngrant\n{end}\nat 2")
    assert bench.replay("tick\nmemory\n----\nnothing") == "tick\nmemory\n----\nnothing"


def test_the_timeout_of_an_earlier_lease_means_nothing(bench: Bench) -> None:
    """Each lease has its own time: what was handed back and granted again runs from the second grant on."""
    transcript = """
        given
        function t timeout=2
        connect w1
        submit i1 a:t

        grant
        at 1
        handback w1 a
        grant
        at 2
        tick
        states i1
        at 3
        tick
        ----
        WorkGranted w1 a#1
        WorkGranted w1 a#2
        a=leased
        LeasesRevoked w1 a#2
        AttemptFailed a attempt=1 TimeoutError
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_has_a_timeout_is_not_granted_ahead(bench: Bench) -> None:
    """Its time counts from the grant, so it must be able to start at once, however fast its function is known to be."""
    transcript = """
        given
        function t timeout=2
        connect w1
        submit i1 a:t b:t c d

        grant
        complete w1 a seconds=0.0001
        grant
        complete w1 b seconds=0.0001
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2
        NodeCompleted b b
        WorkGranted w1 c#3
    """
    assert bench.replay(transcript) == tidy(transcript)
    transcript = """
        given
        function u
        submit i2 e:u f:u g:u

        complete w1 c seconds=0.0001
        grant
        complete w1 d seconds=0.0001
        grant
        complete w1 e seconds=0.0001
        grant
        ----
        NodeCompleted c c
        WorkGranted w1 d#4
        NodeCompleted d d
        InstanceFinished i1 completed
        WorkGranted w1 e#5
        NodeCompleted e e
        WorkGranted w1 f#6 g#7
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_keeps_a_node_over_a_restart_starts_its_time_afresh(bench: Bench) -> None:
    """The broker cannot know when it began: the time counts from the new lease."""
    transcript = """
        given
        function t timeout=2
        connect w1
        submit i1 a:t

        grant
        at 1
        restart
        connect w1 held=a#1
        at 2
        tick
        states i1
        at 3
        tick
        ----
        WorkGranted w1 a#1
        WorkerWelcomed w1 a#2.1
        a=leased
        LeasesRevoked w1 a#2.1
        AttemptFailed a attempt=1 TimeoutError
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_timeouts_that_mean_nothing_any_more_are_forgotten(scheduler: Scheduler) -> None:
    """Many fast attempts with a long timeout do not pile up in memory."""
    worker_id = WorkerId(b"w")
    spec = FunctionSpec(name="t", queue="q", timeout_s=3600.0)
    scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="w"), 0.0)
    for number in range(3_000):
        name = b"%d" % number
        calls = [NewCall(NodeId(name), spec, b"", ())]
        scheduler.handle(c.SubmitNodes(instance_id=InstanceId(name), definition="D", calls=calls), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[worker_id].leases.items()
        scheduler.handle(c.CompleteNodes(worker_id=worker_id, completions=[(node.id, token, b"", 0.0)]), 0.0)
    assert len(scheduler.dispatcher._timeouts) == 0
    assert len(scheduler.dispatcher._timeouts._heap) < 100


def test_a_report_under_a_revoked_lease_frees_its_slot(bench: Bench) -> None:
    """Who reports has stopped: also where that crossed the word that it should."""
    transcript = """
        given
        connect w1
        submit i1 a
        grant

        cancel i1
        submit i2 b
        grant
        complete w1 a#1
        grant
        ----
        NodesCancelled a
        LeasesRevoked w1 a#1
        InstanceFinished i1 cancelled
        InstanceCreated i2
        NodesCreated b
        ResultRefused w1 a#1: the worker holds no lease on the node
        WorkGranted w1 b#2
    """
    assert bench.replay(transcript) == tidy(transcript)
