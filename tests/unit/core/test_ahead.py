"""Work granted ahead: how much, to whom, when it is asked back; and the word that nothing further comes."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import Bench, tidy

F = FunctionSpec(name="f", queue="q")


def submit(scheduler: Scheduler, count: int) -> None:
    """Submit one instance with so many ready nodes, after the one that `teach` has submitted."""
    calls = [NewCall(NodeId(b"n%d" % at), F, b"", ()) for at in range(count)]
    scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=calls), 0.0)


def teach(scheduler: Scheduler, duration_s: float) -> None:
    """Have the scheduler see one attempt of `F` that took so long."""
    worker_id, node_id = WorkerId(b"teacher"), NodeId(b"lesson")
    scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="teacher"), 0.0)
    call = NewCall(node_id, F, b"", ())
    scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"lesson"), definition="D", calls=[call]), 0.0)
    (granted,) = [event for event in scheduler.handle(c.GrantWork(), 0.0) if isinstance(event, e.WorkGranted)]
    result = c.NodeResult(node_id=node_id, token=granted.leases[0][1], payload=b"", duration_s=duration_s)
    scheduler.handle(c.CompleteNodes(worker_id=worker_id, results=[result]), 0.0)
    scheduler.handle(c.DisconnectWorker(worker_id=worker_id, left=True), 0.0)


def connect(scheduler: Scheduler, name: str, slots: int = 1) -> None:
    """Connect a worker that serves everything."""
    scheduler.handle(c.ConnectWorker(worker_id=WorkerId(name.encode()), name=name, slots=slots), 0.0)


def grant(scheduler: Scheduler) -> dict[str, int]:
    """Grant what is ready; gives how much each worker holds then."""
    scheduler.handle(c.GrantWork(), 0.0)
    return {worker.name: len(worker.leases) for worker in scheduler.workers.values()}


@pytest.mark.parametrize(
    ("duration_s", "slots", "expected"),
    [
        (1.0, 1, 1),
        (1.0, 4, 4),
        (0.011, 1, 1),
        (0.004, 1, 2),
        (0.004, 2, 5),
        (50e-6, 1, 200),
        (50e-6, 4, 800),
        (1e-9, 1, 1000),  # no function is believed to take no time
    ],
)
def test_about_10_ms_are_granted_ahead(scheduler: Scheduler, duration_s: float, slots: int, expected: int) -> None:
    """A function of 1 s is never granted ahead, one of 50 us by the hundred, in proportion to the slots."""
    teach(scheduler, duration_s)
    connect(scheduler, "w1", slots)
    submit(scheduler, 5000)
    assert abs(grant(scheduler)["w1"] - expected) <= 1


@pytest.mark.parametrize(("quick", "expected"), [(1, 1), (13, 1), (14, 2), (30, 10)])
def test_a_function_that_has_become_quick_is_granted_ahead_bit_by_bit(
    scheduler: Scheduler, quick: int, expected: int
) -> None:
    """What is known of a duration falls by a tenth of the way with each attempt that was quicker."""
    teach(scheduler, 0.02)
    for _ in range(quick):
        teach(scheduler, 0.0001)
    connect(scheduler, "w1")
    submit(scheduler, 100)
    assert grant(scheduler) == {"w1": expected}


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_none_teaches_nothing(scheduler: Scheduler, duration_s: float) -> None:
    """Without a believable duration nothing is granted ahead, and a later one is believed."""
    teach(scheduler, duration_s)
    connect(scheduler, "w1")
    submit(scheduler, 5000)
    assert grant(scheduler) == {"w1": 1}
    (token,) = scheduler.workers[WorkerId(b"w1")].leases
    result = c.NodeResult(node_id=NodeId(b"n0"), token=token, payload=b"", duration_s=0.001)
    scheduler.handle(c.CompleteNodes(worker_id=WorkerId(b"w1"), results=[result]), 0.0)
    assert abs(grant(scheduler)["w1"] - 10) <= 1


def test_a_function_that_has_become_slow_is_not_granted_ahead(bench: Bench) -> None:
    """One long attempt ends the granting ahead at once."""
    transcript = """
        given
        connect w1
        submit i1 a b c d e f g h

        grant
        complete w1 a seconds=0.003
        grant
        complete w1 b seconds=0.02
        complete w1 c
        complete w1 d
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        NodeCompleted b b
        NodeCompleted c c
        NodeCompleted d d
        WorkGranted w1 e#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_drains_is_granted_nothing_ahead(bench: Bench) -> None:
    """Also where it could have been granted something ahead before, had there been anything."""
    transcript = """
        given
        connect w1
        submit i1 a b
        grant
        complete w1 a seconds=0.0001

        grant
        drain w1
        submit i1 c
        grant
        ----
        WorkGranted w1 b#2
        WorkerDraining w1
        NodesCreated c
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_every_idle_worker_gets_something_first(scheduler: Scheduler) -> None:
    """Nothing is granted ahead while a worker is idle, and what is then is shared evenly."""
    teach(scheduler, 50e-6)
    for name in ("w1", "w2", "w3"):
        connect(scheduler, name)
    submit(scheduler, 30)
    assert grant(scheduler) == {"w1": 10, "w2": 10, "w3": 10}


def test_every_idle_worker_gets_something_first_whatever_its_filter(bench: Bench) -> None:
    """Workers with other queues or tolerations count as well as equal ones."""
    transcript = """
        given
        connect w1 slots=4
        connect w2 slots=4 tolerate=gpu
        connect w3 slots=4 exclude=other
        submit i1 a b c

        grant
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        WorkGranted w3 c#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_slots_that_an_even_share_leaves_free_are_filled(bench: Bench) -> None:
    """Workers share what is ready as evenly as their slots allow; what small ones cannot take goes to the others."""
    transcript = """
        given
        connect w1 slots=2
        connect w2 slots=9
        submit i1 a b c d e f g h i j

        grant
        ----
        WorkGranted w1 a#1 c#3
        WorkGranted w2 b#2 d#4 e#5 f#6 g#7 h#8 i#9 j#10
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_granted_ahead_are_asked_back_for_an_idle_worker(bench: Bench) -> None:
    """Only when a worker has a free slot, the holder has been quiet for 20 ms, and only what it cannot have started."""
    transcript = """
        given
        connect w1
        submit i1 a b c d

        grant
        complete w1 a seconds=0.00005
        grant
        wakeup
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        at 15

        at 1
        connect w2
        grant
        wakeup
        tick
        wakeup
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        at 1
        RecallRequested w1 c#3 d#4
        at 15

        handback w1 c d
        grant
        tick
        ----
        WorkGranted w2 c#5 d#6

        complete w2 c d seconds=0.00005
        submit i1 e f g h
        grant
        complete w1 b
        grant
        ----
        NodeCompleted c c
        NodeCompleted d d
        NodesCreated e f g h
        WorkGranted w2 e#7 f#8 g#9 h#10
        NodeCompleted b b
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_busy_worker_that_reports_is_not_asked(bench: Bench) -> None:
    """A worker that gets through what it holds keeps it: asking is put off with each result."""
    transcript = """
        given
        connect w1
        submit i1 a b c d

        grant
        complete w1 a seconds=0.00005
        grant
        connect w2
        grant
        at 0.015
        complete w1 b
        grant
        wakeup
        tick
        wakeup
        at 0.025
        tick
        at 0.035
        tick
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        WorkerJoined w2
        WorkerWelcomed w2
        NodeCompleted b b
        at 0.015
        at 0.035
        RecallRequested w1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("other", ["connect w2 include=other slots=2", "connect w2\ndrain w2", "connect w2\nleave w2"])
def test_nothing_is_asked_back_for_a_worker_that_could_not_take_it(bench: Bench, other: str) -> None:
    """A worker of other queues, one that drains and one that has left are not idle."""
    bench.replay("connect w1 exclude=other\nsubmit i1 a b c d\ngrant\ncomplete w1 a seconds=0.00005\ngrant")
    bench.replay(f"function g queue=other\n\nsubmit i2 x:g\n{other}\ngrant\nat 14")
    assert bench.replay("tick") == "tick"


def test_a_free_slot_is_enough_to_be_asked_for(bench: Bench) -> None:
    """A worker that runs something may take what another holds ahead, as long as it has a slot left."""
    transcript = """
        given
        function slow queue=slow
        connect w2 slots=2 include=slow
        connect w1
        submit i1 s:slow a b c

        grant
        complete w1 a seconds=0.00005
        grant
        connect w2 slots=2 held=s#1
        grant
        at 1
        tick
        ----
        WorkGranted w2 s#1
        WorkGranted w1 a#2
        NodeCompleted a a
        WorkGranted w1 b#3 c#4
        WorkerWelcomed w2 s#5
        RecallRequested w1 c#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_asked_is_told_when_nothing_further_can_come(bench: Bench) -> None:
    """Neither while a node runs anywhere, nor while one is ready or backs off; then once."""
    transcript = """
        given
        function flaky attempts=2 interval=1
        connect w1 until_drained
        connect w2
        submit i1 a:flaky b(a)

        grant
        fail w1 a
        grant
        at 1
        tick
        grant
        complete w1 a
        grant
        complete w1 b
        grant
        grant
        ----
        WorkGranted w1 a#1
        AttemptFailed a attempt=1 ValueError again at 1
        WorkGranted w1 a#2
        NodeCompleted a a
        WorkGranted w1 b#3
        NodeCompleted b b
        InstanceFinished i1 completed
        WorkerDrained w1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_nobody_can_run_keeps_nobody_waiting(bench: Bench) -> None:
    """A node that no connected worker serves can bring nothing."""
    transcript = """
        given
        function red queue=red
        connect w1 until_drained exclude=red
        submit i1 a b:red

        grant
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkerDrained w1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_a_draining_worker_runs_may_still_bring_something(bench: Bench) -> None:
    """A node that runs may make calls for anybody, also where its worker takes nothing further itself."""
    transcript = """
        given
        function red queue=red
        connect w1 until_drained exclude=red
        connect w2 include=red
        submit i1 a:red

        grant
        drain w2
        grant
        complete w2 a alias=b + b
        grant
        complete w1 b
        grant
        ----
        WorkGranted w2 a#1
        WorkerDraining w2
        NodesCreated b
        NodeJoining a alias of b
        WorkGranted w1 b#2
        NodeCompleted b b
        NodeCompleted a value
        InstanceFinished i1 completed
        WorkerDrained w1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_granted_ahead_are_asked_back_where_younger_ones_would_overtake_them(bench: Bench) -> None:
    """When the holder has been quiet for 100 ms and another worker gets through younger nodes, nobody being idle."""
    transcript = """
        given
        connect w1
        submit i1 a b c d

        grant
        complete w1 a seconds=0.00005
        grant
        connect w2
        submit i2 t:g v:g w:g x:g
        grant
        at 0.09
        complete w2 t
        grant
        tick
        at 0.1
        wakeup
        tick
        handback w1 c d
        grant
        complete w2 v
        grant
        at 9
        tick
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        WorkerJoined w2
        WorkerWelcomed w2
        InstanceCreated i2
        NodesCreated t v w x
        WorkGranted w2 t#5
        NodeCompleted t t
        WorkGranted w2 v#6
        at 0.1
        RecallRequested w1 c#3 d#4
        WorkGranted w2 c#7 d#8
        NodeCompleted v v
    """
    bench.replay("function g")
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_is_asked_back_where_others_are_as_busy(bench: Bench) -> None:
    """A worker that has been quiet for as long takes nothing soon, and a broker that waits for it does nothing."""
    transcript = """
        given
        connect w1
        submit i1 a b c d

        grant
        complete w1 a seconds=0.00005
        grant
        connect w2
        submit i2 x:g y:g
        grant
        at 0.02
        tick
        at 0.1
        tick
        wakeup
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        WorkerJoined w2
        WorkerWelcomed w2
        InstanceCreated i2
        NodesCreated x y
        WorkGranted w2 x#5
        at 15

        complete w2 x
        grant
        wakeup
        at 0.125
        tick
        ----
        NodeCompleted x x
        WorkGranted w2 y#6
        at 0.12
        RecallRequested w1 c#3 d#4
    """
    bench.replay("function g")
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_is_asked_back_while_others_have_work_that_goes_first(bench: Bench) -> None:
    """An instance of higher priority goes first anyway; what is held ahead is asked for when its turn has come."""
    transcript = """
        given
        connect w1
        submit i1 a b c d

        grant
        complete w1 a seconds=0.00005
        grant
        connect w2
        submit i2 priority=1 x:g y:g z:g
        submit i3 u:g
        grant
        at 0.09
        complete w2 x
        grant
        at 0.1
        tick
        at 0.15
        complete w2 y
        grant
        tick
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 d#4
        WorkerJoined w2
        WorkerWelcomed w2
        InstanceCreated i2
        NodesCreated x y z
        InstanceCreated i3
        NodesCreated u
        WorkGranted w2 x#5
        NodeCompleted x x
        WorkGranted w2 y#6
        NodeCompleted y y
        WorkGranted w2 z#7
        RecallRequested w1 c#3 d#4
    """
    bench.replay("function g")
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("held", ["control i1 paused=yes", "queue q paused=yes", "control i1 cap=1", "queue q cap=1"])
def test_what_is_held_now_is_asked_back(bench: Bench, held: str) -> None:
    """What was granted ahead and is paused or capped does not start later, behind a long node; what runs goes on."""
    bench.replay("connect w1\nsubmit i1 a b c\ngrant\ncomplete w1 a seconds=0.00005\ngrant")
    assert bench.replay(held).splitlines()[-1] == "RecallRequested w1 c#3"
    assert bench.replay("handback w1 c\ngrant\nstates i1").endswith("a=completed b=leased c=ready")


def test_nodes_behind_one_that_is_still_to_stop_are_asked_back(bench: Bench) -> None:
    """A node whose lease was revoked has the slot until the worker says otherwise; what is behind it has not begun."""
    transcript = """
        given
        connect w1
        submit i1 z
        grant
        complete w1 z seconds=0.0001
        submit i2 a
        submit i3 b c

        grant
        cancel i2
        control i3 paused=yes
        ----
        WorkGranted w1 a#2 b#3 c#4
        NodesCancelled a
        LeasesRevoked w1 a#2
        InstanceFinished i2 cancelled
        InstanceControlled i3 priority=0 paused=True cap=0
        RecallRequested w1 b#3 c#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_look_at_who_was_quiet_for_long_enough_is_not_put_off_by_rounding(bench: Bench) -> None:
    """When the time has come that the broker asked to be woken at, it does not ask for the same time again."""
    transcript = """
        given
        connect w2
        connect w1 slots=2
        submit i1 z a b

        grant
        at 0.002
        disconnect w1
        connect w1 held=a#2,b#3
        grant
        tick
        at 0.022
        tick
        wakeup
        ----
        WorkGranted w2 z#1
        WorkGranted w1 a#2 b#3
        LeaseLost a losses=1
        LeaseLost b losses=1
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1 a#4 b#5
        at 0.102
    """
    assert bench.replay(transcript) == tidy(transcript)
