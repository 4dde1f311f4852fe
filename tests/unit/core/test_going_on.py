"""Who may go on with what it held when its connection broke, and from when on its time counts."""

from __future__ import annotations

import pytest

from tests.unit.core.transcript import Bench, tidy

OVER_A_RESTART = pytest.mark.parametrize("meanwhile", ["", "restart"])


@OVER_A_RESTART
def test_what_was_reckoned_before_a_rerun_is_not_gone_on_with(bench: Bench, meanwhile: str) -> None:
    """A worker that comes back with a lease from before loses it, and the node is run on the new input."""
    bench.replay("""
        connect w1
        submit i1 up down(up)
        grant
        complete w1 up
        grant
        disconnect w1
        connect w2
        grant
        complete w2 down
        rerun i1 up
        grant
        complete w2 up value=new
        leave w2
    """)
    bench.replay(meanwhile or "tick")
    assert bench.replay("connect w1 held=down#2").splitlines()[-1] == "WorkerWelcomed w1"
    assert bench.replay("states i1").endswith("up=completed down=ready")


@OVER_A_RESTART
def test_what_was_reckoned_before_a_retry_is_not_gone_on_with(bench: Bench, meanwhile: str) -> None:
    """The same holds for a failed instance that is retried, and for its second retry."""
    bench.replay("""
        connect w1
        submit i1 a
        grant
        disconnect w1
        connect w2
        grant
        fail w2 a
        retry i1
        grant
        fail w2 a
        retry i1
        leave w2
    """)
    bench.replay(meanwhile or "tick")
    for token in (1, 2, 3):
        assert bench.replay(f"connect w1 held=a#{token}").splitlines()[-1] == "WorkerWelcomed w1"
    assert bench.replay("states i1").endswith("a=ready")


@OVER_A_RESTART
def test_an_attempt_that_is_over_is_not_gone_on_with(bench: Bench, meanwhile: str) -> None:
    """Neither the one that has failed nor one of before, though its worker could not be told."""
    bench.replay("""
        function t attempts=3
        connect w1
        submit i1 a:t
        grant
        disconnect w1
        connect w2
        grant
        fail w2 a
        leave w2
        tick
    """)
    bench.replay(meanwhile or "tick")
    for token in (1, 2):
        assert bench.replay(f"connect w1 held=a#{token}").splitlines()[-1] == "WorkerWelcomed w1"


@OVER_A_RESTART
def test_an_id_that_is_used_again_is_another_node(bench: Bench, meanwhile: str) -> None:
    """A lease on a node that a rerun removed is none on the node that was made under its id since."""
    bench.replay("""
        function g queue=other
        connect w1 slots=2
        submit i1 a
        grant
        complete w1 a alias=x + x
        grant
        disconnect w1
        connect w2
        grant
        complete w2 x
        rerun i1 a
        submit i1 x:g
        leave w2
    """)
    bench.replay(meanwhile or "tick")
    assert bench.replay("connect w1 held=x#2").splitlines()[-1] == "WorkerWelcomed w1"


@OVER_A_RESTART
@pytest.mark.parametrize("now", ["", "tolerate=gpu exclude=red", "tolerate=gpu include=other", "tolerate=gpu has=g:2"])
def test_who_may_not_have_a_node_any_more_does_not_go_on_with_it(bench: Bench, meanwhile: str, now: str) -> None:
    """Without the toleration, the queue or the version of the code it is for others, whoever had it."""
    bench.replay("""
        function g queue=red taint=gpu version=1
        connect w1 tolerate=gpu
        submit i1 a:g
        grant
    """)
    bench.replay(meanwhile or "disconnect w1")
    assert bench.replay(f"connect w1 {now} held=a#1").splitlines()[-1] == "WorkerWelcomed w1"
    assert bench.replay("connect w1 tolerate=gpu held=a#1").splitlines()[-1].startswith("WorkerWelcomed w1 a#")


def test_the_time_of_an_attempt_does_not_begin_anew_with_a_connection(bench: Bench) -> None:
    """It counts from its first lease, however often the connection breaks."""
    transcript = """
        given
        function t timeout=2
        connect w1
        submit i1 a:t

        grant
        at 1
        connect w1 held=a#1
        at 1.5
        disconnect w1
        connect w1 held=a#2
        at 2
        tick
        ----
        WorkGranted w1 a#1
        WorkerWelcomed w1 a#2
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1 a#3
        LeasesRevoked w1 a#3
        AttemptFailed a attempt=2 TimeoutError
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(("said", "ends_at"), [("for=1.5", 10.5), ("", 12), ("for=7", 5)])
def test_after_a_restart_the_worker_says_how_long_it_has_been_at_it(bench: Bench, said: str, ends_at: float) -> None:
    """The broker cannot know; of a worker that does not say, the time begins anew."""
    bench.replay("function t timeout=2\nconnect w1\nsubmit i1 a:t\ngrant\nat 10\nrestart")
    bench.replay(f"connect w1 held=a#1 {said}")
    assert bench.replay("wakeup") == f"wakeup\n----\nat {ends_at:g}"
