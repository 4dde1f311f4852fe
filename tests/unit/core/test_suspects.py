"""Nodes that workers were lost with: run apart, counted, and in the end quarantined."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy


def test_suspects_run_one_to_a_worker(bench: Bench) -> None:
    """Of the nodes that a lost worker held each runs with no other of them, so that the one to blame is found."""
    transcript = """
        given
        connect w1 slots=3
        submit i1 a b c d e

        grant
        disconnect w1
        connect w2 slots=3
        connect w3 slots=3
        grant
        ----
        WorkGranted w1 a#1 b#2 c#3
        LeaseLost a losses=1
        LeaseLost b losses=1
        LeaseLost c losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w2 a#4 d#6 e#7
        WorkGranted w3 b#5

        complete w2 a
        grant
        ----
        NodeCompleted a a
        WorkGranted w2 c#8
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_is_granted_ahead_behind_a_suspect(bench: Bench) -> None:
    """What waits in a worker would go down with a suspect, so a worker that has one gets nothing beyond its slots."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        complete w1 a seconds=0.00005
        submit i2 b
        grant
        disconnect w1
        submit i3 c d e f
        connect w2
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        InstanceCreated i2
        NodesCreated b
        WorkGranted w1 b#2
        LeaseLost b losses=1
        WorkerLeft w1
        InstanceCreated i3
        NodesCreated c d e f
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 b#3

        complete w2 b
        grant
        ----
        NodeCompleted b b
        InstanceFinished i2 completed
        WorkGranted w2 c#4 d#5 e#6 f#7
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_work_granted_ahead_does_not_keep_suspects_waiting(bench: Bench) -> None:
    """When a suspect is first in order, workers run out of what they hold, and the first free slot takes it."""
    transcript = """
        given
        function slow queue=slow
        connect w1
        connect w2 include=slow
        submit i1 a b:slow

        grant
        complete w1 a seconds=0.004
        submit i2 c d e f g h
        grant
        disconnect w2
        grant
        complete w1 c
        grant
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        NodeCompleted a a
        InstanceCreated i2
        NodesCreated c d e f g h
        WorkGranted w1 c#3 d#4
        LeaseLost b losses=1
        WorkerLeft w2
        NodeCompleted c c

        complete w1 d
        grant
        complete w1 b
        grant
        ----
        NodeCompleted d d
        WorkGranted w1 b#5
        NodeCompleted b b
        InstanceFinished i1 completed
        WorkGranted w1 e#6 f#7
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_keeps_killing_workers_is_quarantined(bench: Bench) -> None:
    """After the last allowed delivery the node fails with the names of the workers, whatever its retry policy."""
    transcript = """
        given
        function flaky attempts=9
        connect w1
        submit i1 a:flaky b(a)

        grant
        disconnect w1
        connect w2
        grant
        disconnect w2
        connect w3
        grant
        disconnect w3
        at 5
        tick
        failures a
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        LeaseLost a losses=2
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w3 a#3
        LeaseLost a losses=2
        WorkerLeft w3
        AttemptFailed a attempt=3 Quarantined
        NodeFailed a
        DependencyFailed b because of a
        InstanceFinished i1 failed
        1 w1: WorkerLost: worker w1 was lost while it held the node: its connection broke
        2 w2: WorkerLost: worker w2 was lost while it held the node: its connection broke
        3 w3: WorkerLost: worker w3 was lost while it held the node: its connection broke
    """
    lines = bench.replay(transcript).splitlines()
    quarantine = lines.pop()
    assert "\n".join(lines) == tidy(transcript)
    seen = "w1: its connection broke; w2: its connection broke; w3: its connection broke"
    said = f"3 w3: Quarantined: 3 workers were lost while they held this node, so it is not tried again: {seen}. "
    assert quarantine.startswith(said)


def test_losses_and_failed_attempts_are_counted_apart(bench: Bench) -> None:
    """A lost worker uses up no attempt of the node, and a failed attempt is no loss."""
    transcript = """
        given
        function flaky attempts=2
        connect w1
        submit i1 a:flaky

        grant
        disconnect w1
        connect w2
        grant
        fail w2 a
        tick
        grant
        complete w2 a
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        AttemptFailed a attempt=2 ValueError again at 0
        WorkGranted w2 a#3
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_comes_back_with_two_suspects_gets_no_third(bench: Bench) -> None:
    """As long as a worker holds any suspect it is given no further one."""
    transcript = """
        given
        connect w1 slots=3
        submit i1 a b c

        grant
        disconnect w1
        connect w2
        grant
        disconnect w2
        connect w2
        grant
        leave w2
        connect w3 slots=3 held=a#1,b#2
        grant
        complete w3 b
        grant
        complete w3 a
        grant
        ----
        WorkGranted w1 a#1 b#2 c#3
        LeaseLost a losses=1
        LeaseLost b losses=1
        LeaseLost c losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#4
        LeaseLost a losses=2
        WorkerLeft w2
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#5
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3 a#6 b#7
        NodeCompleted b b
        NodeCompleted a a
        WorkGranted w3 c#8
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_evidence_is_quoted(bench: Bench) -> None:
    """Who watched over workers tells how they ended, at once or later: the verdict quotes it, and waits no longer."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        lost w1 it was killed by SIGSEGV
        connect w2
        grant
        disconnect w2
        connect w3
        grant
        lost w2 it exited with status 7
        disconnect w3
        lost w3 it was killed by SIGKILL
        failures a
        ----
        WorkGranted w1 a#1
        WorkerEvicted w1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        LeaseLost a losses=2
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w3 a#3
        LeaseLost a losses=2
        WorkerLeft w3
        AttemptFailed a attempt=3 Quarantined
        NodeFailed a
        InstanceFinished i1 failed
    """
    *lines, _, _, _, quarantine = bench.replay(transcript).splitlines()
    assert "\n".join(lines) == tidy(transcript)
    seen = "w1: it was killed by SIGSEGV; w2: it exited with status 7; w3: it was killed by SIGKILL. "
    assert seen in quarantine


def test_a_worker_that_comes_back_was_not_lost(bench: Bench) -> None:
    """A connection that breaks is no death: whoever comes back with the node has taken it down with nobody."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        disconnect w1
        connect w2
        grant
        connect w1 held=a#1
        disconnect w2
        connect w3
        grant
        disconnect w3
        connect w2 held=a#2
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        WorkerJoined w1
        WorkerWelcomed w1
        LeaseLost a losses=1
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w1 a#3
        WorkerLeft w3
        WorkerJoined w2
        WorkerWelcomed w2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_accused_node_is_cleared_by_its_worker(bench: Bench) -> None:
    """When the last of the workers comes back before the verdict it goes on with the node."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        disconnect w1
        connect w2
        grant
        disconnect w2
        connect w3
        grant
        disconnect w3
        grant
        connect w3 held=a#3
        complete w3 a#4
        at 9
        tick
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        LeaseLost a losses=2
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w3 a#3
        LeaseLost a losses=2
        WorkerLeft w3
        WorkerJoined w3
        WorkerWelcomed w3 a#4
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_was_ended_on_purpose_is_no_loss(bench: Bench) -> None:
    """A worker that its own side has ended, for another node's sake or as it was told to, counts against nobody."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        disconnect w1
        connect w2
        grant
        lost w1 it was ended blameless
        disconnect w2
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        LeaseLost a losses=1
        WorkerLeft w2
    """
    assert bench.replay(transcript) == tidy(transcript)
