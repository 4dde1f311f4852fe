"""The history: who did what to an instance, a queue or a worker, noted with the decision itself."""

from tests.unit.core.transcript import Bench, tidy


def test_each_change_of_an_instance_is_noted_once(bench: Bench) -> None:
    """Wishes that change nothing leave no trace, and a command that changes two things is two entries."""
    transcript = """
        given
        submit i1 a
        control i1 priority=2 paused=yes
        control i1 paused=yes
        control i1 cap=3
        control i1 paused=no cap=0
        cancel i1

        history
        ----
        0 i1 priority by bob priority=2 before=0
        0 i1 pause by bob
        0 i1 cap by bob running_max=3 before=None
        0 i1 resume by bob
        0 i1 cap by bob running_max=None before=3
        0 i1 cancel by ann
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_end_before_a_retry_or_a_rerun_is_noted_with_it(bench: Bench) -> None:
    """An instance keeps only its last end, so the earlier ones are entries of the history; a repeat is none."""
    transcript = """
        given
        function once attempts=1
        connect w1
        submit i1 a:once b(a)
        grant
        at 5
        fail w1 a
        at 8
        retry i1 r1
        retry i1 r1
        grant
        complete w1 a
        grant
        at 9
        complete w1 b
        at 20
        rerun i1 a

        history
        ----
        5 i1 end state=failed
        8 i1 retry by cy nodes=2
        9 i1 end state=completed
        20 i1 rerun by cy function=once nodes=2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_further_calls_of_an_ended_instance_are_noted(bench: Bench) -> None:
    """It goes on without a retry, and had ended all the same."""
    transcript = """
        given
        connect w1
        submit i1 a
        grant
        at 3
        complete w1 a
        at 4
        restore i1
        submit i1 b c

        history
        ----
        3 i1 end state=completed
        4 i1 extend nodes=2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_queue_and_a_worker_have_their_histories(bench: Bench) -> None:
    """A worker that people want to end is told so once; one that says so itself was asked by nobody."""
    transcript = """
        given
        connect w1
        connect w2
        queue q paused=yes
        queue q cap=2

        asktodrain w1
        asktodrain w1
        drain w1
        drain w2
        ----
        WorkerDraining w1 asked
        WorkerDraining w2

        history
        ----
        0 queue q pause by bob
        0 queue q cap by bob running_max=2 before=None
        0 worker w1 drain by ann
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_was_asked_to_end_is_told_again_when_it_is_back(bench: Bench) -> None:
    """The word may be lost with a connection that is dead already. It is told until the worker says that it drains."""
    transcript = """
        given
        connect w1
        submit i1 a
        asktodrain w1

        connect w1
        ----
        WorkerWelcomed w1
        WorkerDraining w1 asked

        disconnect w1
        ----
        WorkerLeft w1

        connect w1
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        WorkerDraining w1 asked

        grant
        ----

        drain w1
        ----

        disconnect w1
        ----
        WorkerLeft w1

        connect w1
        ----
        WorkerJoined w1
        WorkerWelcomed w1

        history
        ----
        0 worker w1 drain by ann
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_was_silent_is_told_again(bench: Bench) -> None:
    """It was evicted, and does not know that people want it to end."""
    transcript = """
        given
        connect w1
        asktodrain w1

        at 15
        tick
        ----
        WorkerEvicted w1
        WorkerLeft w1

        connect w1
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        WorkerDraining w1 asked
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_has_ended_is_not_told_again(bench: Bench) -> None:
    """One that left in order, or of which it is known how it ended, has done what it was asked for."""
    transcript = """
        given
        connect w1
        asktodrain w1
        leave w1
        connect w2
        asktodrain w2
        lost w2 ended

        connect w1
        ----
        WorkerJoined w1
        WorkerWelcomed w1

        connect w2
        ----
        WorkerJoined w2
        WorkerWelcomed w2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_backs_off_is_tried_at_once(bench: Bench) -> None:
    """It is ready from then on, also after a restart, with the attempts that it has had."""
    transcript = """
        given
        function often attempts=3 interval=60
        connect w1
        submit i1 a:often
        grant
        fail w1 a
        at 10

        retrynow i1 a
        ----
        NodesHandedBack a

        grant
        ----
        WorkGranted w1 a#2

        retrynow i1 a
        ----
        UnfitNode: node 61 is leased, so it cannot be tried at once; only one that backs off after a failed attempt can

        history
        ----
        10 i1 retry_now by ann function=often
    """
    assert bench.replay(transcript) == tidy(transcript)
