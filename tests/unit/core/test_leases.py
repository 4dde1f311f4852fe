"""Leases: who may report, how they end, and what a lost worker leaves behind."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import UnknownWorker
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import Bench, tidy


def test_one_result_is_accepted_and_every_repetition_refused(bench: Bench) -> None:
    """A result that comes twice, in one message or in two, changes nothing the second time."""
    transcript = """
        given
        connect w1
        submit i1 a keep

        grant
        complete w1 a#1 a#1 value=first
        complete w1 a#1 value=second
        fail w1 a#1
        ----
        WorkGranted w1 a#1
        NodeCompleted a first
        ResultRefused w1 a#1: the worker holds no lease on the node
        ResultRefused w1 a#1: the worker holds no lease on the node
        ResultRefused w1 a#1: the worker holds no lease on the node
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_last_of_many_that_become_ready_are_granted_without_another_command(bench: Bench) -> None:
    """Bit by bit they are made ready, and nothing is left over before all of them have been granted."""
    bench.scheduler.queues.at_once = 1
    bench.replay("connect w1 slots=4\nsubmit i1 a b(a) c(a) d(a)\ngrant\ncomplete w1 a")
    assert bench.scheduler.has_more
    while bench.scheduler.has_more:
        bench.replay("grant")
    assert [node.id for node in bench.scheduler.workers[WorkerId(b"w1")].leases.values()] == [b"b", b"c", b"d"]


def test_only_the_holder_of_the_lease_can_report(bench: Bench) -> None:
    """Neither a token that was never given, nor that of another node, nor another worker brings a node forward."""
    transcript = """
        given
        connect w1 slots=2
        connect w2
        submit i1 a b c

        grant
        ----
        WorkGranted w1 a#1 c#3
        WorkGranted w2 b#2

        complete w2 a#1
        complete w1 a#2
        complete w1 a#3
        complete w1 a#9 + x
        handback w2 a#1
        handback w1 a#3
        states i1
        ----
        ResultRefused w2 a#1: the worker holds no lease on the node
        ResultRefused w1 a#2: the lease was renewed under token 1099511627777
        ResultRefused w1 a#3: the lease was renewed under token 1099511627777
        ResultRefused w1 a#9: the lease was renewed under token 1099511627777
        a=leased b=leased c=leased
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_late_report_of_a_lost_lease_is_refused(bench: Bench) -> None:
    """When the lease has gone to another worker the first one's result is refused, and its children with it."""
    transcript = """
        given
        connect w1
        connect w2
        submit i1 a

        grant
        disconnect w1
        connect w1
        grant
        complete w1 a#1 + b
        complete w2 a#2
        ----
        WorkGranted w1 a#1
        LeaseLost a losses=1
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1
        WorkGranted w2 a#2
        ResultRefused w1 a#1: the worker holds no lease on the node
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_silent_worker_is_evicted(bench: Bench) -> None:
    """A worker from which nothing comes for a lease duration loses its leases; a heartbeat or a result keeps them."""
    transcript = """
        given
        connect w1
        connect w2
        submit i1 a b

        grant
        wakeup
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        at 15

        at 10
        heartbeat w2
        at 14.9
        tick
        ----

        at 15
        tick
        grant
        wakeup
        ----
        WorkerEvicted w1
        LeaseLost a losses=0
        WorkerLeft w1
        at 25

        at 24
        complete w2 b
        grant
        at 25
        tick
        wakeup
        ----
        NodeCompleted b b
        WorkGranted w2 a#3
        at 39
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nobody_is_evicted_for_the_silence_of_the_broker(bench: Bench) -> None:
    """A tick that comes long after it was due evicts nobody: everybody has another lease duration to be heard of."""
    transcript = """
        given
        connect w1
        connect w2
        submit i1 a b

        grant
        at 20
        tick late=5
        wakeup
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        at 35

        at 34
        heartbeat w2
        at 35
        tick late=0.5
        wakeup
        ----
        WorkerEvicted w1
        LeaseLost a losses=0
        WorkerLeft w1
        at 49
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_broker_that_is_late_again_and_again_gives_up_who_is_silent(bench: Bench) -> None:
    """A silence is forgiven once, until the worker is heard of again."""
    bench.replay("connect w1\nconnect w2\nat 14\nheartbeat w2\nat 20\ntick late=5\nat 30\nheartbeat w2\nat 40")
    assert bench.replay("tick late=5\nwakeup").splitlines()[3:] == ["WorkerEvicted w1", "WorkerLeft w1", "at 55"]


def test_a_broker_that_is_late_again_and_again_waits_for_nobody_longer_than_twice(bench: Bench) -> None:
    """Else nothing would be granted after a restart, and nodes that must not run twice would never fail."""
    bench.replay(
        "function f once\nconnect w1\nconnect w2\nsubmit i1 a\nsubmit i2 b\ngrant\ndisconnect w2\nrestart\nconnect w2"
    )
    bench.replay("at 6\ntick late=2")
    assert bench.replay("at 10\ntick late=2\nstates i1").splitlines()[4:] == ["a=started"]
    told = bench.replay("at 11\ntick late=2\nstates i1").splitlines()
    assert told[4] == "WorkerLeft w1"
    assert told[-1] == "(failed) a=failed"


def test_a_worker_that_leaves_in_order_is_not_blamed_on_its_nodes(bench: Bench) -> None:
    """Nodes of a worker that leaves go back to their place in the queue, and no loss is counted."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c

        grant
        leave w1
        connect w2 slots=3
        grant
        leave unknown
        ----
        WorkGranted w1 a#1 b#2
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#3 b#4 c#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_is_handed_back_goes_to_its_place_in_the_queue(bench: Bench) -> None:
    """A node that was not started goes before younger ones again; handing back twice, or too late, changes nothing."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c

        grant
        handback w1 a#1
        handback w1 a#1 c#7
        grant
        complete w1 a#3
        handback w1 a#3
        grant
        ----
        WorkGranted w1 a#1 b#2
        WorkGranted w1 a#3
        NodeCompleted a a
        WorkGranted w1 c#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_connects_again_goes_on_with_what_it_holds(bench: Bench) -> None:
    """A new connection before the end of the old is seen keeps what the worker names, under new tokens, and no more."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b

        grant
        connect w1 slots=2 held=b#2
        complete w1 b#2
        complete w1 b#3
        grant
        ----
        WorkGranted w1 a#1 b#2
        WorkerWelcomed w1 b#3
        ResultRefused w1 b#2: the lease was renewed under token 1099511627779
        NodeCompleted b b
        WorkGranted w1 a#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_may_come_back_with_other_queues(bench: Bench) -> None:
    """A new connection replaces what the worker serves, too."""
    transcript = """
        given
        function red queue=red
        connect w1 include=q

        connect w1 include=red
        submit i1 a b:red
        grant
        ----
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a b
        WorkGranted w1 b#1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_broken_connection_is_no_dead_worker(bench: Bench) -> None:
    """A worker that was taken for lost and comes back with its node keeps it, and the loss is taken back."""
    transcript = """
        given
        connect w1 slots=3
        submit i1 a b c

        grant
        disconnect w1
        connect w1 slots=3 held=a#1,b#2
        grant
        complete w1 a b
        ----
        WorkGranted w1 a#1 b#2 c#3
        LeaseLost a losses=1
        LeaseLost b losses=1
        LeaseLost c losses=1
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1 a#4 b#5
        WorkGranted w1 c#6
        NodeCompleted a a
        NodeCompleted b b
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_another_worker_has_got_or_ended_is_not_given_back(bench: Bench) -> None:
    """Of what a returning worker names it keeps only nodes that are ready."""
    transcript = """
        given
        function flaky attempts=2 interval=9
        connect w1 slots=4
        submit i1 a b c:flaky d

        grant
        disconnect w1
        connect w2
        grant
        complete w2 a
        grant
        complete w2 b
        grant
        fail w2 c
        grant
        connect w1 slots=4 held=a#1,b#2,c#3,d#4
        states i1
        ----
        WorkGranted w1 a#1 b#2 c#3 d#4
        LeaseLost a losses=1
        LeaseLost b losses=1
        LeaseLost c losses=1
        LeaseLost d losses=1
        WorkerLeft w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#5
        NodeCompleted a a
        WorkGranted w2 b#6
        NodeCompleted b b
        WorkGranted w2 c#7
        AttemptFailed c attempt=2 ValueError again at 9
        WorkGranted w2 d#8
        WorkerJoined w1
        WorkerWelcomed w1
        a=completed b=completed c=backoff d=leased
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_is_not_connected_is_told_to_say_hello(scheduler: Scheduler) -> None:
    """Every report of an unknown worker is refused, naming it."""
    worker_id = WorkerId(b"w1")
    commands: list[c.Command] = [
        c.Heartbeat(worker_id=worker_id),
        c.DrainWorker(worker_id=worker_id),
        c.CompleteNodes(worker_id=worker_id, results=[]),
        c.HandBack(worker_id=worker_id, leases=[]),
        c.PullNode(worker_id=worker_id),
    ]
    for command in commands:
        with pytest.raises(UnknownWorker, match="7731 is not connected"):
            scheduler.handle(command, 0.0)


def test_equal_node_ids_of_two_instances_do_not_meet(scheduler: Scheduler) -> None:
    """Ids are unique within an instance; one worker may hold equal ones of two."""
    worker_id, node_id = WorkerId(b"w1"), NodeId(b"n")
    scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="w1", slots=2), 0.0)
    for name in (b"i1", b"i2"):
        call = NewCall(node_id, FunctionSpec(name="f", queue="q"), b"", ())
        scheduler.handle(c.SubmitNodes(instance_id=InstanceId(name), definition="D", calls=[call]), 0.0)
    scheduler.handle(c.GrantWork(), 0.0)
    tokens = list(scheduler.workers[worker_id].leases)
    results = [c.NodeResult(node_id=node_id, token=token, payload=b"") for token in tokens]
    scheduler.handle(c.CompleteNodes(worker_id=worker_id, results=results), 0.0)
    assert (len(tokens), scheduler.instances) == (2, {})
