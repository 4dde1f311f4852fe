"""A broker that starts again: what it finds, whom it waits for, and that nothing runs twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from dagorama_broker.core.model.values import InstanceId, NodeId
from tests.unit.core.transcript import Bench, show_value, tidy


def test_workers_go_on_with_what_they_run(bench: Bench) -> None:
    """Nothing is granted until the workers of before are back; what they name they keep under new, larger tokens."""
    transcript = """
        given
        connect w1 slots=2
        connect w2
        submit i1 a b c d(a)

        grant
        restart
        grant
        states i1
        wakeup
        ----
        WorkGranted w1 a#1 c#3
        WorkGranted w2 b#2
        a=ready b=ready c=ready d=waiting
        at 5

        connect w1 slots=2 held=a#1,c#3
        connect w3
        grant
        connect w2 held=b#2
        grant
        complete w1 a#1
        complete w1 a#2.1
        grant
        ----
        WorkerWelcomed w1 a#2.1 c#2.2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkerWelcomed w2 b#2.3
        ResultRefused w1 a#1: the lease was renewed under token 2199023255553
        NodeCompleted a a
        WorkGranted w1 d#2.4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_that_do_not_come_back_are_given_up(bench: Bench) -> None:
    """After the grace time what they held is granted to others; who comes later keeps only what is still ready."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b

        grant
        restart
        connect w2
        at 4.9
        tick
        grant
        at 5
        tick
        grant
        connect w1 slots=2 held=a#1,b#2
        complete w1 a#1
        ----
        WorkGranted w1 a#1 b#2
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerLeft w1
        WorkGranted w2 a#2.1
        WorkerJoined w1
        WorkerWelcomed w1 b#2.2
        ResultRefused w1 a#1: the worker holds no lease on the node
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_of_before_are_given_up_in_the_order_of_the_snapshot(bench: Bench) -> None:
    """What is decided hangs on no hash: it is the same in every process."""
    names = [f"w{number}" for number in (3, 8, 1, 6, 2, 7, 5, 4)]
    transcript = "\n".join(
        [
            "given",
            *(f"connect {name}" for name in names),
            "submit i1 a",
            "restart",
            "",
            "at 5",
            "tick",
            "----",
            *(f"WorkerLeft {name}" for name in names),
        ]
    )
    assert bench.replay(transcript) == tidy(transcript)


def test_without_workers_of_before_nobody_is_waited_for(bench: Bench) -> None:
    """A worker that had left in order is not expected back."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        leave w1
        restart
        connect w2
        grant
        ----
        WorkGranted w1 a#1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2.1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_of_before_are_not_awaited_where_they_can_hold_nothing(bench: Bench) -> None:
    """Without a restored node that was ready new nodes are granted at once; who comes back is no new worker."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        complete w1 a
        restart
        connect w2
        submit i2 b c
        grant
        connect w1
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        WorkerJoined w2
        WorkerWelcomed w2
        InstanceCreated i2
        NodesCreated b c
        WorkGranted w2 b#2.1
        WorkerWelcomed w1
        WorkGranted w1 c#2.2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_every_live_state_is_restored(bench: Bench) -> None:
    """Waiting, joining and backing-off nodes stand where they stood; attempts and failures are still counted."""
    transcript = """
        given
        function flaky attempts=2 interval=10
        connect w1 slots=9
        submit i1 a b(a) c:flaky d(c) x y(x)

        grant
        complete w1 a value=list promises=p,q + p q
        fail w1 c
        fail w1 x
        leave w1
        states i1
        restart
        states i1
        wakeup
        ----
        WorkGranted w1 a#1 c#2 x#3
        NodesCreated p q
        NodeJoining a list of p q
        AttemptFailed c attempt=1 ValueError again at 10
        AttemptFailed x attempt=1 ValueError
        NodeFailed x
        DependencyFailed y because of x
        WorkerLeft w1
        a=joining b=waiting c=backoff d=waiting x=failed y=dependency_failed p=ready q=ready
        a=joining b=waiting c=backoff d=waiting x=failed y=dependency_failed p=ready q=ready
        at 10

        connect w2 slots=9
        grant
        complete w2 q p
        grant
        complete w2 b
        at 10
        tick
        grant
        fail w2 c
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 p#2.1 q#2.2
        NodeCompleted q q
        NodeCompleted p p
        NodeCompleted a value
        WorkGranted w2 b#2.3
        NodeCompleted b b
        WorkGranted w2 c#2.4
        AttemptFailed c attempt=2 ValueError
        NodeFailed c
        DependencyFailed d because of c
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_retry_that_runs_goes_on_running(bench: Bench) -> None:
    """A worker keeps a node whose backoff had ended before the restart, though the journal knows only of that."""
    transcript = """
        given
        function flaky attempts=2 interval=1
        connect w1
        submit i1 a:flaky

        grant
        fail w1 a
        at 1
        tick
        grant
        restart
        connect w1 held=a#2
        complete w1 a
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 1
        WorkGranted w1 a#2
        WorkerWelcomed w1 a#2.1
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_losses_are_counted_on(bench: Bench) -> None:
    """A restart is no acquittal: the node is still a suspect, and quarantined after as many deliveries in all."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        disconnect w1
        restart
        connect w2
        grant
        disconnect w2
        restart
        connect w3
        grant
        disconnect w3
        lost w3 it was killed by SIGSEGV
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2.1
        LeaseLost a losses=2
        WorkerLeft w2
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w3 a#3.1
        LeaseLost a losses=2
        WorkerLeft w3
        AttemptFailed a attempt=3 Quarantined
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_aliases_lead_to_their_value_as_before(bench: Bench) -> None:
    """A chain of aliases, complete or still joining, has the same value after a restart."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a keep
        submit i2 k

        grant
        complete w1 a alias=b + b
        complete w1 k alias=l + l
        grant
        complete w1 b alias=c + c
        complete w1 l alias=m + m
        grant
        complete w1 c value=deep
        leave w1
        restart
        states i1
        states i2
        ----
        WorkGranted w1 a#1 keep#2 k#3
        NodesCreated b
        NodeJoining a alias of b
        NodesCreated l
        NodeJoining k alias of l
        WorkGranted w1 b#4 l#5
        NodesCreated c
        NodeJoining b alias of c
        NodesCreated m
        NodeJoining l alias of m
        WorkGranted w1 c#6 m#7
        NodeCompleted c deep
        NodeCompleted b value
        NodeCompleted a value
        WorkerLeft w1
        a=completed keep=ready b=completed c=completed
        k=joining l=joining m=ready
    """
    assert bench.replay(transcript) == tidy(transcript)
    first, second = (bench.scheduler.instances[InstanceId(name)].nodes for name in (b"i1", b"i2"))
    assert show_value(first[NodeId(b"a")]) == "deep"
    bench.replay("connect w2 slots=9\ngrant\ncomplete w2 m value=deeper")
    assert show_value(second[NodeId(b"k")]) == "deeper"


def test_numbers_grow_on(bench: Bench) -> None:
    """Instances made after a restart are younger than all of before, also than those that have finished."""
    bench.replay("connect w1\nsubmit i1 a\nsubmit i2 b\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b\nleave w1\nrestart")
    bench.replay("submit i3 c")
    instance = bench.scheduler.instances[InstanceId(b"i3")]
    assert (instance.seq, [node.seq for node in instance.nodes.values()]) == (3, [3])


def test_the_grace_of_workers_counts_from_when_they_can_connect(bench: Bench) -> None:
    """Reading what is stored may have taken longer than the grace."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        restart
        at 30
        listening
        wakeup
        at 34
        tick
        grant
        connect w1 held=a#1
        ----
        WorkGranted w1 a#1
        at 35
        WorkerWelcomed w1 a#2.1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_clock_that_was_ahead_makes_no_wait_longer(bench: Bench) -> None:
    """A backoff, a deadline and a start timeout last no longer after the restart than they were to last in all."""
    transcript = """
        given
        function flaky attempts=2 interval=3
        function hasty start_timeout=5 queue=other
        connect w1

        at 1000000
        submit i1 deadline=7 a:flaky
        submit i2 c:hasty
        grant
        fail w1 a
        leave w1
        at 10
        restart
        wakeup
        at 13
        tick
        wakeup
        at 15
        tick
        wakeup
        at 17
        tick
        ----
        InstanceCreated i1
        NodesCreated a
        InstanceCreated i2
        NodesCreated c
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 1e+06
        WorkerLeft w1
        at 13
        at 15
        AttemptFailed c attempt=0 QueueTimeout
        NodeFailed c
        InstanceFinished i2 failed
        at 17
        AttemptFailed a attempt=1 DeadlineExceeded
        NodeFailed a
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_waits_in_vain_fails_also_where_the_broker_ended_before_all_had(bench: Bench) -> None:
    """Of many that depend on a failed node some fail later; until then they are never ready, and a restart goes on."""
    bench.scheduler.queues.at_once = 1
    transcript = """
        given
        connect w1 slots=2
        submit i1 a k b(a) c(a,k) d(a) e(d)

        grant
        fail w1 a
        complete w1 k
        states i1
        restart
        connect w1 slots=2
        grant
        states i1
        ----
        WorkGranted w1 a#1 k#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed b because of a
        NodeCompleted k k
        a=failed k=completed b=dependency_failed c=waiting d=waiting e=waiting
        WorkerWelcomed w1
        DependencyFailed c because of a
        DependencyFailed d because of a
        DependencyFailed e because of a
        InstanceFinished i1 failed
        (failed) a=failed k=completed b=dependency_failed c=dependency_failed d=dependency_failed e=dependency_failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_more_of_an_instance_is_restored_beside_what_is_there(bench: Bench) -> None:
    """Where only some nodes were needed others are added to them; where all of it is there, nothing is."""
    bench.replay("connect w1 slots=4\nsubmit i1 a b c\ngrant\ncomplete w1 a b c")
    stored = bench.ledger.stored(InstanceId(b"i1"))
    counts = Counter(row.state for row in stored.nodes)
    for row in stored.nodes[:2]:
        bench.scheduler.restore_instance(replace(stored, nodes=[row], counts=counts), bench.now)
    instance = bench.scheduler.instances[stored.id]
    assert list(instance.nodes) == [b"a", b"b"]
    transcript = """
        submit i1 d(a,b)
        grant
        states i1
        ----
        InstanceReopened i1
        NodesCreated d
        WorkGranted w1 d#4
        a=completed b=completed d=leased
    """
    assert bench.replay(transcript) == tidy(transcript)
