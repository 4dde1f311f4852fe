"""Nodes that no worker takes in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core.transcript import SETTINGS, Bench, tidy


def test_what_nobody_takes_in_time_fails(bench: Bench) -> None:
    """A node that is ready for too long fails for good, whatever its policy, and what waits for it fails of it."""
    transcript = """
        given
        function g start_timeout=10 attempts=3
        connect w1
        submit i1 a b:g c(b)

        grant
        wakeup
        at 9.9
        heartbeat w1
        tick
        at 10
        tick
        states i1
        failures b
        ----
        WorkGranted w1 a#1
        at 10
        AttemptFailed b attempt=0 QueueTimeout
        NodeFailed b
        DependencyFailed c because of b
        a=leased b=failed c=dependency_failed
        0 -: QueueTimeout: it was ready for 10 s, its start_timeout, and no worker took it: all 1 that could run it \
had other nodes (w1)

        complete w1 a
        grant
        ----
        NodeCompleted a a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_message_says_who_was_missing(bench: Bench) -> None:
    """Without a worker that serves its queue, and with one that only drains, the failure says that."""
    transcript = """
        given
        function g start_timeout=1 taint=gpu
        connect w1
        submit i1 a:g

        at 1
        tick
        failures a
        ----
        AttemptFailed a attempt=0 QueueTimeout
        NodeFailed a
        InstanceFinished i1 failed
        0 -: QueueTimeout: it was ready for 1 s, its start_timeout, and no worker took it: none that serves queue q \
and tolerates taint gpu is connected

        connect w2 tolerate=gpu
        drain w2
        submit i2 b:g
        at 2
        tick
        failures b
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerDraining w2
        InstanceCreated i2
        NodesCreated b
        AttemptFailed b attempt=0 QueueTimeout
        NodeFailed b
        InstanceFinished i2 failed
        0 -: QueueTimeout: it was ready for 1 s, its start_timeout, and no worker took it: all 1 that could run it are \
draining
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    ("transcript", "obstacle"),
    [
        ("submit i1 a:g|control i1 paused=yes|grant", "its instance is paused"),
        ("submit i1 a:g|queue q paused=yes|grant", "its queue, q, is paused"),
        ("submit i1 b:limited a:limited|grant", "limit k lets 1 run at once, and 1 run"),
        ("submit i1 cap=1 b:g a:g|grant", "the cap of instance 6931 lets 1 run at once, and 1 run"),
        ("submit i1 b:rated a:rated|grant", "limit k lets 0.01 start in a second"),
        ("submit i1 b:limited a:limited|grant|control i1 paused=yes", "its instance is paused"),
        ("submit i1 a:g|restart", "the broker has restarted and waits for the workers that it had"),
        ("submit i1 b:g a:g c:g|grant", "all 1 that could run it had other nodes (w1)"),
    ],
)
def test_the_message_says_what_held_it(transcript: str, obstacle: str) -> None:
    """What people or limits hold back fails of that, and not of workers that have no free slot or seem to have one."""
    bench = Bench(settings=replace(SETTINGS, reconnect_grace_s=60.0))
    bench.replay("function g start_timeout=10\nfunction limited start_timeout=10 limit=1")
    bench.replay("function rated start_timeout=10 rate=0.01\nconnect w1")
    bench.replay(f"{transcript.replace('|', chr(10))}\nat 10\ntick")
    (failure,) = bench.replay("failures a\n----").splitlines()[2:]
    message = "0 -: QueueTimeout: it was ready for 10 s, its start_timeout, and no worker took it"
    assert failure == f"{message}: {obstacle}"


def test_a_node_that_is_taken_is_in_time(bench: Bench) -> None:
    """A lease stops the clock; each time that the node is ready anew, by whatever way, the time begins anew."""
    transcript = """
        given
        function g start_timeout=10 attempts=2 interval=100
        connect w1
        submit i1 a:g

        at 9
        grant
        at 12
        heartbeat w1
        tick
        handback w1 a
        ----
        WorkGranted w1 a#1
        NodesStarted a
        NodesHandedBack a

        at 15
        grant
        fail w1 a
        leave w1
        at 22
        tick
        wakeup
        at 115
        tick
        wakeup
        ----
        WorkGranted w1 a#2
        NodesStarted a
        AttemptFailed a attempt=1 ValueError again at 115
        WorkerLeft w1
        at 115
        at 125

        connect w2
        grant
        at 120
        disconnect w2
        at 129.9
        tick
        at 130
        tick
        failures a
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#3
        NodesStarted a
        LeaseLost a losses=1
        WorkerLeft w2
        AttemptFailed a attempt=2 QueueTimeout
        NodeFailed a
        InstanceFinished i1 failed
        1 w1: ValueError: no
        2 w2: WorkerLost: worker w2 was lost while it held the node: its connection broke
        2 -: QueueTimeout: it was ready for 10 s, its start_timeout, and no worker took it: none that serves queue q \
is connected
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_time_goes_on_over_a_restart(bench: Bench) -> None:
    """What was never leased has waited since its last dependency ended, or since it was made or its worker was lost."""
    transcript = """
        given
        function g start_timeout=10
        connect w1
        submit i1 a b:g(a) c:g d:g

        grant
        at 4
        complete w1 a
        submit i2 e
        grant
        at 6
        disconnect w1
        restart
        wakeup
        at 10
        tick
        at 14
        tick
        wakeup
        at 16
        tick
        states i1
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceCreated i2
        NodesCreated e
        WorkGranted w1 b#2
        NodesStarted b
        LeaseLost b losses=1
        WorkerLeft w1
        at 10
        AttemptFailed c attempt=0 QueueTimeout
        NodeFailed c
        AttemptFailed d attempt=0 QueueTimeout
        NodeFailed d
        at 16
        AttemptFailed b attempt=1 QueueTimeout
        NodeFailed b
        InstanceFinished i1 failed
        (failed) a=completed b=failed c=failed d=failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_began_anew_waits_anew_over_a_restart(bench: Bench) -> None:
    """What was retried, rerun or handed back before a restart has waited since then, however old it is."""
    transcript = """
        given
        function g start_timeout=10
        connect w1 slots=3
        submit i1 a:g
        submit i2 b:g
        submit i3 c:g

        grant
        at 12
        handback w1 c
        fail w1 a
        complete w1 b
        leave w1
        at 13
        retry i1
        restart
        tick
        wakeup
        at 15
        rerun i2 b
        restart
        tick
        wakeup
        at 22
        tick
        at 23
        tick
        wakeup
        at 25
        tick
        ----
        WorkGranted w1 a#1 b#2 c#3
        NodesStarted a b c
        NodesHandedBack c
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        InstanceFinished i1 failed
        NodeCompleted b b
        InstanceFinished i2 completed
        WorkerLeft w1
        InstanceReopened i1
        NodesReset a
        at 22
        InstanceReopened i2
        NodesReset b
        at 22
        AttemptFailed c attempt=0 QueueTimeout
        NodeFailed c
        InstanceFinished i3 failed
        AttemptFailed a attempt=1 QueueTimeout
        NodeFailed a
        InstanceFinished i1 failed
        at 25
        AttemptFailed b attempt=1 QueueTimeout
        NodeFailed b
        InstanceFinished i2 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_a_worker_had_has_not_waited(bench: Bench) -> None:
    """A node that was leased when the broker ended is kept by its worker, and begins to wait only if that is lost."""
    transcript = """
        given
        function g start_timeout=10 attempts=2 interval=1
        connect w1 slots=3
        submit i1 a:g b:g c:g

        grant
        fail w1 c
        at 100
        heartbeat w1
        restart
        at 101
        connect w1 slots=2 held=a#1
        wakeup
        at 110
        heartbeat w1
        drain w1
        tick
        states i1
        ----
        WorkGranted w1 a#1 b#2 c#3
        NodesStarted a b c
        AttemptFailed c attempt=1 ValueError again at 1
        WorkerWelcomed w1 a#2.1
        NodesStarted a
        at 11
        WorkerDraining w1
        AttemptFailed c attempt=1 QueueTimeout
        NodeFailed c
        AttemptFailed b attempt=0 QueueTimeout
        NodeFailed b
        a=leased b=failed c=failed
    """
    assert bench.replay(transcript) == tidy(transcript)
