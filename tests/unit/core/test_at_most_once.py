"""Nodes that must not run twice, whatever breaks."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy

ONE_THAT_RUNS = """
    given
    function g once
    connect w1
    submit i1 a:g b(a)

    grant
    ----
    WorkGranted w1 a#1
    NodesStarted a
"""


def test_a_lost_worker_fails_the_node(bench: Bench) -> None:
    """When the connection breaks nobody else gets the node; its worker has the grace time to come back with it."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        connect w2 slots=2
        grant
        states i1
        at 4.9
        tick
        wakeup
        at 5
        tick
        grant
        failures a
        ----
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        a=started b=waiting
        at 5
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
        1 w1: AttemptLost: worker w1 was lost while it held the node, and did not come back with it; it may have run, \
and as its function is at_most_once, it is not run again
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_comes_back_with_it_keeps_it(bench: Bench) -> None:
    """Over a broken connection, over one whose end was not seen before the next, and over a restart of the broker."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        connect w1 held=a#1
        connect w1 held=a#2
        restart
        connect w1 held=a#3
        at 10
        tick
        complete w1 a
        grant
        complete w1 b
        ----
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1 a#2
        NodesStarted a
        WorkerWelcomed w1 a#3
        NodesStarted a
        WorkerWelcomed w1 a#2.1
        NodesStarted a
        NodeCompleted a a
        WorkGranted w1 b#2.2
        NodeCompleted b b
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nobody_else_comes_back_with_it(bench: Bench) -> None:
    """A worker that names what another had does not get it."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        connect w2 held=a#1
        connect w1 held=a#1
        ----
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerJoined w1
        WorkerWelcomed w1 a#2
        NodesStarted a
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_comes_back_without_it_has_lost_it(bench: Bench) -> None:
    """Whatever became of it there, it is not granted again, and nobody waits any longer for another to bring it."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        connect w1
        states i1
        ----
        WorkerLeft w1
        WorkerJoined w1
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        DependencyFailed b because of a
        WorkerWelcomed w1
        InstanceFinished i1 failed
        (failed) a=failed b=dependency_failed

        submit i2 c:g
        grant
        connect w1
        ----
        InstanceCreated i2
        NodesCreated c
        WorkGranted w1 c#2
        NodesStarted c
        AttemptFailed c attempt=1 AttemptLost
        NodeFailed c
        WorkerWelcomed w1
        InstanceFinished i2 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_after_a_restart_it_waits_for_the_workers_of_before(bench: Bench) -> None:
    """It fails when the grace time has passed: the connection of its worker may have broken before the restart."""
    transcript = """
        given
        function g once
        connect w1
        connect w2
        submit i1 a:g b

        grant
        restart
        connect w2 held=b#2
        connect w1
        states i1
        complete w2 b
        leave w2
        at 5
        tick
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        NodesStarted a
        WorkerWelcomed w2 b#2.1
        WorkerWelcomed w1
        a=started b=leased
        NodeCompleted b b
        WorkerLeft w2
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        InstanceFinished i1 failed

        submit i2 d:g
        grant
        restart
        wakeup
        at 10
        tick
        failures d
        ----
        InstanceCreated i2
        NodesCreated d
        WorkGranted w1 d#2.2
        NodesStarted d
        at 10
        WorkerLeft w1
        AttemptFailed d attempt=1 AttemptLost
        NodeFailed d
        InstanceFinished i2 failed
        1 -: AttemptLost: the broker was restarted, and no worker came back with the node; it may have run, and as its \
function is at_most_once, it is not run again
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_was_away_at_the_restart_has_its_grace(bench: Bench) -> None:
    """It counts from when workers can connect again, whoever else is there before."""
    transcript = """
        given
        function g once
        connect w1
        submit i1 a:g

        grant
        at 1
        disconnect w1
        restart
        at 4
        listening
        wakeup
        connect w2
        at 8
        tick
        connect w1 held=a#1
        ----
        WorkGranted w1 a#1
        NodesStarted a
        WorkerLeft w1
        at 9
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerJoined w1
        WorkerWelcomed w1 a#2.1
        NodesStarted a
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_expired_lease_fails_the_node(bench: Bench) -> None:
    """A worker that is silent for the lease duration, and then for the grace, loses the node for good."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        at 15
        tick
        at 20
        tick
        connect w1 held=a#1
        states i1
        ----
        WorkerEvicted w1
        WorkerLeft w1
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
        WorkerJoined w1
        WorkerWelcomed w1
        (failed) a=failed b=dependency_failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_is_handed_back_unstarted_is_ready_again(bench: Bench) -> None:
    """Storage knows too that it has not started: after a restart it is granted, and not waited for."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        handback w1 a
        restart
        connect w1
        grant
        reject w1 a 2
        connect w2
        grant
        complete w2 a
        ----
        NodesHandedBack a
        WorkerWelcomed w1
        WorkGranted w1 a#2.1
        NodesStarted a
        NodesHandedBack a
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2.2
        NodesStarted a
        NodeCompleted a a
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_it_is_never_granted_ahead(bench: Bench) -> None:
    """It goes to a free slot only, so that a worker that is lost takes no node with it that it has not begun."""
    transcript = """
        given
        function g once
        connect w1
        submit i1 a b c d:g e:g x:g

        grant
        complete w1 a seconds=0.0001
        grant
        complete w1 b
        complete w1 c
        grant
        complete w1 d seconds=0.0001
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3
        NodeCompleted b b
        NodeCompleted c c
        WorkGranted w1 d#4
        NodesStarted d
        NodeCompleted d d
        WorkGranted w1 e#5
        NodesStarted e
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_cancellation_ends_the_wait(bench: Bench) -> None:
    """A node whose worker is away is cancelled like any other, and its worker drops it when it is back."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        cancel i1
        connect w1 held=a#1
        at 5
        tick
        wakeup
        ----
        WorkerLeft w1
        NodesCancelled a b
        InstanceFinished i1 cancelled
        WorkerJoined w1
        WorkerWelcomed w1
        at 15
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_broker_that_was_away_waits_anew(bench: Bench) -> None:
    """A broker that was stopped for a while gives the worker as much time to come back as it had before."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        at 60
        tick late=55
        states i1
        connect w1 held=a#1
        ----
        WorkerLeft w1
        a=started b=waiting
        WorkerJoined w1
        WorkerWelcomed w1 a#2
        NodesStarted a
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_whoever_watched_over_the_worker_ends_the_wait(bench: Bench) -> None:
    """A worker that is known to have ended is not waited for, and how it ended is told."""
    bench.replay(ONE_THAT_RUNS)
    transcript = """
        disconnect w1
        lost w1 it was killed by SIGSEGV
        ----
        WorkerLeft w1
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)
