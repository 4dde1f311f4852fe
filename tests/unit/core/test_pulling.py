"""Workers without a stream, which ask for each node."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy


def test_who_pulls_gets_one_node_for_each_question(bench: Bench) -> None:
    """Nothing is granted unasked; each question gives the first ready node, whatever the worker holds, or nothing."""
    transcript = """
        connect p slots=0
        submit i1 a b c(a)
        grant
        ----
        WorkerWelcomed p
        InstanceCreated i1
        NodesCreated a b c

        pull p
        pull p
        pull p
        grant
        ----
        WorkGranted p a#1
        WorkGranted p b#2

        complete p a
        grant
        pull p
        complete p b#2 c#3
        pull p
        ----
        NodeCompleted a a
        WorkGranted p c#3
        NodeCompleted b b
        NodeCompleted c c
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_gets_only_what_it_serves_and_tolerates(bench: Bench) -> None:
    """Queues and taints hold for questions, too."""
    transcript = """
        function red queue=red
        function hot taint=gpu

        connect p1 slots=0 include=red
        connect p2 slots=0 exclude=red tolerate=gpu
        submit i1 a:red b:hot c d:red
        ----
        WorkerWelcomed p1
        WorkerWelcomed p2
        InstanceCreated i1
        NodesCreated a b c d

        pull p2
        pull p1
        pull p2
        pull p2
        pull p1
        ----
        WorkGranted p2 b#1
        WorkGranted p1 a#2
        WorkGranted p2 c#3
        WorkGranted p1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_with_and_without_a_stream_share_the_queue(bench: Bench) -> None:
    """A worker with slots does not wait for one that may never ask, and gets nothing that was pulled before."""
    transcript = """
        connect p slots=0
        connect w1 slots=2
        submit i1 a b c d
        pull p
        grant
        complete p a
        grant
        pull p
        ----
        WorkerWelcomed p
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a b c d
        WorkGranted p a#1
        WorkGranted w1 b#2 c#3
        NodeCompleted a a
        WorkGranted p d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_takes_no_share_of_what_is_granted_ahead(bench: Bench) -> None:
    """What is granted ahead is divided among those who are granted something."""
    transcript = """
        connect p slots=0
        connect w1
        submit i1 a
        grant
        complete w1 a seconds=0.001
        submit i2 b c d e
        grant
        ----
        WorkerWelcomed p
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        InstanceCreated i2
        NodesCreated b c d e
        WorkGranted w1 b#2 c#3 d#4 e#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_lives_by_asking(bench: Bench) -> None:
    """A worker without a stream has a lease duration of its own, which every question renews."""
    transcript = """
        connect p slots=0
        wakeup
        connect w1
        wakeup
        submit i1 a b
        at 10
        heartbeat w1
        pull p
        at 15
        tick
        heartbeat w1
        at 25
        tick
        wakeup
        ----
        WorkerWelcomed p
        at 20
        WorkerJoined w1
        WorkerWelcomed w1
        at 15
        InstanceCreated i1
        NodesCreated a b
        WorkGranted p a#1
        at 30

        at 30
        tick
        grant
        pull p
        failures a
        ----
        WorkerEvicted p
        LeaseLost a losses=1
        WorkerEvicted w1
        WorkerLeft w1
        UnknownWorker: worker 70 is not connected; say hello first
        1 p: WorkerLost: worker p was lost while it held the node: no heartbeat for 20 s
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_is_asked_back_from_who_pulls(bench: Bench) -> None:
    """Whatever a worker has asked for it has started, so an idle worker gets none of it, and is none itself."""
    transcript = """
        connect p slots=0
        submit i1 a b
        pull p
        pull p
        connect w1
        grant
        at 1
        tick
        ----
        WorkerWelcomed p
        InstanceCreated i1
        NodesCreated a b
        WorkGranted p a#1
        WorkGranted p b#2
        WorkerJoined w1
        WorkerWelcomed w1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_two_suspects_never_go_to_one_worker_that_pulls(bench: Bench) -> None:
    """Who holds a node that an earlier worker was lost with gets others, and the next such node only after it."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c

        grant
        disconnect w1
        connect p slots=0
        pull p
        pull p
        pull p
        complete p a
        pull p
        ----
        WorkGranted w1 a#1 b#2
        LeaseLost a losses=1
        LeaseLost b losses=1
        WorkerLeft w1
        WorkerWelcomed p
        WorkGranted p a#3
        WorkGranted p c#4
        NodeCompleted a a
        WorkGranted p b#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_after_a_restart_nobody_waits_for_those_who_pull(bench: Bench) -> None:
    """They cannot say what they held, so what they ran is granted at once."""
    transcript = """
        connect p slots=0
        submit i1 a
        pull p
        restart
        pull p
        connect q slots=0
        pull q
        ----
        WorkerWelcomed p
        InstanceCreated i1
        NodesCreated a
        WorkGranted p a#1
        UnknownWorker: worker 70 is not connected; say hello first
        WorkerWelcomed q
        WorkGranted q a#2.1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_waits_for_workers_of_before_a_restart(bench: Bench) -> None:
    """What others may still run is not granted to a question either, until the grace time has passed."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        restart
        connect q slots=0
        pull q
        at 5
        tick
        pull q
        ----
        WorkGranted w1 a#1
        WorkerWelcomed q
        WorkerLeft w1
        WorkGranted q a#2.1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_gets_a_node_again_only_when_it_has_reported_what_it_had_of_it(bench: Bench) -> None:
    """Its reports show no token: one that comes late must not be taken for that of a later attempt."""
    transcript = """
        function f timeout=2 attempts=3
        connect p slots=0
        submit i1 a
        pull p
        at 2
        tick
        tick
        pull p
        ----
        WorkerWelcomed p
        InstanceCreated i1
        NodesCreated a
        WorkGranted p a#1
        LeasesRevoked p a#1
        AttemptFailed a attempt=1 TimeoutError again at 2

        report p a
        pull p
        ----
        WorkGranted p a#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_one_that_pulls_has_not_reported_is_for_others(bench: Bench) -> None:
    """After a retry as well, whatever the worker goes on to ask for."""
    bench.replay("connect p slots=0\nsubmit i1 deadline=1 a\npull p\nat 1\ntick\nretry i1")
    assert bench.replay("pull p") == "pull p"
    assert bench.replay("connect q slots=0\npull q").splitlines()[-1] == "WorkGranted q a#2"


def test_what_one_that_pulls_has_not_reported_holds_up_nothing_else(bench: Bench) -> None:
    """It is granted what comes after that, in order, and the others find each node in its place."""
    transcript = """
        given
        function f timeout=2 attempts=3
        connect p slots=0
        submit i1 a b
        submit i2 c d
        pull p
        pull p
        at 2
        tick
        tick
        connect q slots=0

        pull p
        pull p
        pull p
        pull q
        pull q
        ----
        WorkGranted p c#3
        WorkGranted p d#4
        WorkGranted q a#5
        WorkGranted q b#6
    """
    assert bench.replay(transcript) == tidy(transcript)
