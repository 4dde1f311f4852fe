"""Instances that are to end in time."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy


def test_what_has_not_ended_at_the_deadline_fails(bench: Bench) -> None:
    """Leases are revoked, what could go on fails for good, and what waits or joins fails of that; the instance ends."""
    transcript = """
        given
        function g attempts=3 interval=60
        connect w1 slots=4
        submit i1 deadline=10 a b:g c g f(a) e

        grant
        fail w1 b
        complete w1 c promises=d + d
        complete w1 g
        states i1
        wakeup
        ----
        WorkGranted w1 a#1 b#2 c#3 g#4
        AttemptFailed b attempt=1 ValueError again at 60
        NodesCreated d
        NodeJoining c c of d
        NodeCompleted g g
        a=leased b=backoff c=joining g=completed f=waiting e=ready d=ready
        at 10

        at 10
        tick
        states i1
        failures a
        failures b
        ----
        LeasesRevoked w1 a#1
        AttemptFailed a attempt=1 DeadlineExceeded
        NodeFailed a
        DependencyFailed f because of a
        AttemptFailed b attempt=1 DeadlineExceeded
        NodeFailed b
        AttemptFailed e attempt=0 DeadlineExceeded
        NodeFailed e
        AttemptFailed d attempt=0 DeadlineExceeded
        NodeFailed d
        DependencyFailed c because of d
        InstanceFinished i1 failed
        (failed) a=failed b=failed c=dependency_failed g=completed f=dependency_failed e=failed d=failed
        1 w1: DeadlineExceeded: its instance had not ended 10 s after its start, which was its deadline; a retry of \
the instance goes on without one
        1 w1: ValueError: no
        1 -: DeadlineExceeded: its instance had not ended 10 s after its start, which was its deadline; a retry of the \
instance goes on without one

        complete w1 a#1
        handback w1 a#1
        ----
        ResultRefused w1 a#1: the worker holds no lease on the node
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_that_ends_in_time_is_left_alone(bench: Bench) -> None:
    """Nothing is to be done at its deadline; a second submit does not move that; nodes of others go on."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 deadline=10 a
        submit i2 b

        grant
        complete w1 a
        wakeup
        at 12
        tick late=12
        states i2
        submit i3 deadline=10 c
        submit i3 deadline=100 d
        wakeup
        at 22
        tick
        ----
        WorkGranted w1 a#1 b#2
        NodeCompleted a a
        InstanceFinished i1 completed
        at 15
        b=leased
        InstanceCreated i3
        NodesCreated c
        NodesCreated d
        at 22
        AttemptFailed c attempt=0 DeadlineExceeded
        NodeFailed c
        AttemptFailed d attempt=0 DeadlineExceeded
        NodeFailed d
        InstanceFinished i3 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_deadline_holds_over_a_restart(bench: Bench) -> None:
    """A broker that starts before it waits for the rest of the time; one that starts after it ends the instance."""
    transcript = """
        given
        submit i1 deadline=10 a b(a)
        submit i2 deadline=20 c

        at 4
        restart
        wakeup
        at 10
        tick
        at 30
        restart
        wakeup
        tick
        memory
        ----
        at 10
        AttemptFailed a attempt=0 DeadlineExceeded
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
        at 20
        AttemptFailed c attempt=0 DeadlineExceeded
        NodeFailed c
        InstanceFinished i2 failed
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_that_come_too_late_fail(bench: Bench) -> None:
    """Nodes added after the deadline fail at once, in an instance that had ended before and in one without nodes."""
    transcript = """
        given
        connect w1
        submit i1 deadline=10 a
        submit i2 deadline=10

        grant
        complete w1 a
        at 9
        restore i1
        submit i1 b(a)
        grant
        wakeup
        at 10
        tick
        restore i1
        submit i1 c(a) d(c) e(b)
        restore i2
        submit i2 f
        grant
        states i1
        memory
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        InstanceReopened i1
        NodesCreated b
        WorkGranted w1 b#2
        at 10
        InstanceFinished i2 failed
        LeasesRevoked w1 b#2
        AttemptFailed b attempt=1 DeadlineExceeded
        NodeFailed b
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesCreated c d e
        DependencyFailed e because of b
        AttemptFailed c attempt=0 DeadlineExceeded
        NodeFailed c
        DependencyFailed d because of c
        InstanceFinished i1 failed
        InstanceReopened i2
        NodesCreated f
        AttemptFailed f attempt=0 DeadlineExceeded
        NodeFailed f
        InstanceFinished i2 failed
        (failed) a=completed b=failed c=failed d=dependency_failed e=dependency_failed
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_a_worker_took_with_it_was_an_attempt(bench: Bench) -> None:
    """What must not run twice has run once, though its worker is away at the deadline; what comes late is refused."""
    transcript = """
        given
        function g once
        connect w1
        submit i1 deadline=3 a:g b:g

        grant
        disconnect w1
        at 3
        tick
        failures a
        failures b
        connect w1 held=a#1
        complete w1 a#1
        ----
        WorkGranted w1 a#1
        NodesStarted a
        WorkerLeft w1
        AttemptFailed a attempt=1 DeadlineExceeded
        NodeFailed a
        AttemptFailed b attempt=0 DeadlineExceeded
        NodeFailed b
        InstanceFinished i1 failed
        1 -: DeadlineExceeded: its instance had not ended 3 s after its start, which was its deadline; a retry of the \
instance goes on without one
        0 -: DeadlineExceeded: its instance had not ended 3 s after its start, which was its deadline; a retry of the \
instance goes on without one
        WorkerJoined w1
        WorkerWelcomed w1
        ResultRefused w1 a#1: the worker holds no lease on the node
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_without_calls_ends_at_its_deadline(bench: Bench) -> None:
    """It has failed and leaves memory; what is added later fails at once."""
    transcript = """
        given
        submit i1 deadline=2

        restart
        at 2
        wakeup
        tick
        memory
        restore i1
        submit i1 a
        memory
        ----
        at 2
        InstanceFinished i1 failed
        nothing
        InstanceReopened i1
        NodesCreated a
        AttemptFailed a attempt=0 DeadlineExceeded
        NodeFailed a
        InstanceFinished i1 failed
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_without_calls_ends_after_an_hour(bench: Bench) -> None:
    """It is complete and leaves memory. A later call lets it run again; one that came before that keeps it."""
    transcript = """
        given
        submit i1
        submit i2 deadline=9000
        submit i3
        submit i2 b

        at 3600
        tick
        memory
        wakeup
        restore i1
        submit i1 a
        memory
        ----
        InstanceFinished i1 completed
        InstanceFinished i3 completed
        i2
        at 9000
        InstanceReopened i1
        NodesCreated a
        i2 i1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_of_many_nodes_the_rest_fails_later_and_none_of_them_starts(bench: Bench) -> None:
    """What ran at the deadline fails at once; nobody is given what is still to fail, and a restart goes on with it."""
    bench.scheduler.queues.at_once = 1
    transcript = """
        given
        connect w1 slots=4
        submit i1 deadline=10 a b c d e(d)

        grant
        disconnect w1
        connect w1
        grant
        connect w2 slots=3
        at 10
        tick
        connect w2 slots=3 held=c#3
        submit i1 x
        states i1
        grant
        states i1
        ----
        WorkGranted w1 a#1 b#2 c#3 d#4
        LeaseLost a losses=1
        LeaseLost b losses=1
        LeaseLost c losses=1
        LeaseLost d losses=1
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1
        WorkGranted w1 a#5
        WorkerJoined w2
        WorkerWelcomed w2
        LeasesRevoked w1 a#5
        AttemptFailed a attempt=2 DeadlineExceeded
        NodeFailed a
        AttemptFailed b attempt=1 DeadlineExceeded
        NodeFailed b
        WorkerWelcomed w2
        NodesCreated x
        AttemptFailed c attempt=1 DeadlineExceeded
        NodeFailed c
        a=failed b=failed c=failed d=ready e=waiting x=ready
        AttemptFailed d attempt=1 DeadlineExceeded
        NodeFailed d
        DependencyFailed e because of d
        a=failed b=failed c=failed d=failed e=dependency_failed x=ready
    """
    assert bench.replay(transcript) == tidy(transcript)
    bench.replay("restart")
    bench.scheduler.queues.at_once = 1
    transcript = """
        connect w1
        tick
        grant
        states i1
        ----
        WorkerWelcomed w1
        AttemptFailed x attempt=0 DeadlineExceeded
        NodeFailed x
        InstanceFinished i1 failed
        (failed) a=failed b=failed c=failed d=failed e=dependency_failed x=failed
    """
    assert bench.replay(transcript) == tidy(transcript)
