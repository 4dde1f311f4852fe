"""Priorities, groups that share fairly, and pauses."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, LimitSpec, NewCall, NodeId, WorkerId
from tests.unit.core.transcript import Bench, tidy


def test_a_higher_priority_goes_first_and_equal_ones_in_order(bench: Bench) -> None:
    """Instances of higher priority come first, those of lower last; among equals the older one."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 priority=-1 a
        submit i2 b
        submit i3 priority=5 c
        submit i4 d
        submit i5 priority=5 f

        grant
        ----
        WorkGranted w1 c#1 f#2 b#3 d#4 a#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_priority_may_be_changed_while_nodes_are_ready(bench: Bench) -> None:
    """What is ready takes its new place at once, and there is no trace of the one before, whatever came between."""
    transcript = """
        given
        connect w1
        submit i1 a
        submit i2 b c
        submit i3 d

        grant
        control i2 priority=-2
        control i3 priority=1
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        InstanceControlled i2 priority=-2 paused=False cap=0
        InstanceControlled i3 priority=1 paused=False cap=0
        NodeCompleted a a
        InstanceFinished i1 completed
        WorkGranted w1 d#2

        handback w1 d
        control i3 priority=-3
        control i2 priority=0
        grant
        complete w1 b
        grant
        complete w1 c
        grant
        ----
        InstanceControlled i3 priority=-3 paused=False cap=0
        InstanceControlled i2 priority=0 paused=False cap=0
        WorkGranted w1 b#3
        NodeCompleted b b
        WorkGranted w1 c#4
        NodeCompleted c c
        InstanceFinished i2 completed
        WorkGranted w1 d#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_parked_node_takes_its_new_place_too(bench: Bench) -> None:
    """Who waits for a limit is let in by the priority that its instance has by then."""
    transcript = """
        given
        function f limit=1
        connect w1 slots=9
        submit i1 a
        submit i2 b
        submit i3 d

        grant
        control i3 priority=1
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        InstanceControlled i3 priority=1 paused=False cap=0
        NodeCompleted a a
        InstanceFinished i1 completed
        WorkGranted w1 d#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_parked_node_may_be_put_behind_others(bench: Bench) -> None:
    """A lowered priority holds for who waits for a limit, too: there is no trace of the place before."""
    transcript = """
        given
        function f limit=1
        connect w1 slots=9
        submit i1 a b c
        submit i2 d

        grant
        control i1 priority=-5
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        InstanceControlled i1 priority=-5 paused=False cap=0
        NodeCompleted a a
        WorkGranted w1 d#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_of_a_paused_instance_starts(bench: Bench) -> None:
    """What runs is finished; what is ready, or becomes so, waits until the instance goes on, also over a restart."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b(a) c d
        submit i2 f

        grant
        control i1 paused=yes
        complete w1 a
        grant
        complete w1 c f
        grant
        ----
        WorkGranted w1 a#1 c#2
        InstanceControlled i1 priority=0 paused=True cap=0
        NodeCompleted a a
        WorkGranted w1 f#3
        NodeCompleted c c
        NodeCompleted f f
        InstanceFinished i2 completed

        restart
        connect w1 slots=2
        grant
        control i1 paused=no
        grant
        ----
        WorkerWelcomed w1
        InstanceControlled i1 priority=0 paused=False cap=0
        WorkGranted w1 b#2.1 d#2.2
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize("priority", ["", " priority=-1"])
def test_what_is_paused_keeps_no_place_of_a_limit(bench: Bench, priority: str) -> None:
    """Others that wait for the limit go on, also where the priority is changed in the same breath."""
    transcript = f"""
        function f limit=1
        function g

        connect w1
        connect w2
        submit i1 a
        grant
        submit i2 b
        submit i3 c
        grant
        submit i4 x:g
        grant
        drain w1
        complete w1 a
        control i2 paused=yes{priority}
        complete w2 x
        grant
    """
    assert bench.replay(transcript).endswith("WorkGranted w2 c#3")


@pytest.mark.parametrize(
    ("lines", "order"),
    [
        ("submit i1 a b c d e\nsubmit i2 x y\ngrant\ncontrol i1 priority=-1", "axybcde"),
        ("submit i1 a b c d e\nsubmit i2 x y\ngrant\ncontrol i1 paused=yes", "axy"),
        ("submit i1 x y\nsubmit i2 a b c d e\ncontrol i2 priority=1", "abcdexy"),
    ],
)
def test_of_many_nodes_that_take_other_places_bit_by_bit_none_goes_out_of_its_turn(
    bench: Bench, lines: str, order: str
) -> None:
    """Whatever is still where it was before, the next that is granted is the one whose turn it is now."""
    bench.scheduler.queues.at_once = 1
    bench.replay(f"connect w1\n{lines}")
    begun = ""
    for _ in range(20):
        bench.replay("grant")
        for node in list(bench.scheduler.workers[WorkerId(b"w1")].leases.values()):
            begun += node.id.decode()
            bench.replay(f"complete w1 {node.id.decode()}")
    assert order == begun


def test_a_pause_that_ends_before_all_are_parked_leaves_none_of_them_so(bench: Bench) -> None:
    """Each change counts for all that is ready, whatever was still to be done for the one before."""
    bench.scheduler.queues.at_once = 1
    bench.replay(
        "submit i1 a b c d\ncontrol i1 paused=yes\ncontrol i1 priority=3\ngrant\ncontrol i1 paused=no priority=1"
    )
    while bench.scheduler.has_more:
        bench.replay("grant")
    nodes = bench.scheduler.instances[InstanceId(b"i1")].nodes.values()
    assert [(node.parked, node.place == node.order) for node in nodes] == 4 * [(None, True)]


def test_nothing_in_a_paused_queue_starts(bench: Bench) -> None:
    """A pause holds what is in the queue and what comes to it, of every instance, also over a restart."""
    transcript = """
        given
        function g queue=other
        connect w1 slots=9
        submit i1 a b:g

        queue q paused=yes
        submit i2 c
        grant
        restart
        connect w1 slots=9
        grant
        queue q paused=no
        grant
        ----
        QueueControlled q paused=True cap=0
        InstanceCreated i2
        NodesCreated c
        WorkGranted w1 b#1
        WorkerWelcomed w1
        WorkGranted w1 b#2.1
        QueueControlled q paused=False cap=0
        WorkGranted w1 a#2.2 c#2.3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_is_told_of_the_end_is_not_while_something_is_paused(bench: Bench) -> None:
    """A pause is no end: the workers that go when nothing can come stay."""
    transcript = """
        given
        connect w1 until_drained
        submit i1 a

        queue q paused=yes
        grant
        queue q paused=no
        grant
        complete w1 a
        grant
        ----
        QueueControlled q paused=True cap=0
        QueueControlled q paused=False cap=0
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        WorkerDrained w1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_has_ended_cannot_be_controlled(bench: Bench) -> None:
    """An instance that left memory, or never was, is refused."""
    transcript = """
        control i1 paused=yes
        ----
        UnknownInstance: no instance 6931 is known to this broker; check the id and the broker's address
    """
    assert bench.replay(transcript) == tidy(transcript)


# -- groups -----------------------------------------------------------------------------------------------------------

W1 = WorkerId(b"w1")


def submit(bench: Bench, name: str, group: str, nodes: int, *, priority: int = 0) -> None:
    """Submit an instance of a group with so many nodes of a function of its own."""
    spec = FunctionSpec(name=name, queue="q")
    calls = [NewCall(NodeId(f"{name}{number}".encode()), spec, b"", ()) for number in range(nodes)]
    options = c.InstanceOptions(group=group, priority=priority)
    bench.handle(c.SubmitNodes(instance_id=InstanceId(name.encode()), definition="D", calls=calls, options=options))


def run(bench: Bench, times: int, durations_s: dict[str, float]) -> str:
    """Run so many nodes one after the other; give the names of their functions, of one letter each."""
    ran = ""
    for _ in range(times):
        for event in bench.handle(c.GrantWork()):
            if not isinstance(event, e.WorkGranted):
                continue
            for node, token in event.leases:
                name = node.function.spec.name
                ran += name
                completion = (node.id, token, b"", durations_s.get(name, 0.1), 0.0)
                bench.handle(c.CompleteNodes(worker_id=W1, completions=[completion]))
    return ran


def connect(bench: Bench) -> None:
    """Connect a worker with one slot."""
    bench.handle(c.ConnectWorker(worker_id=W1, name="w1"))


def test_groups_take_turns(bench: Bench) -> None:
    """A group with a single short instance does not wait behind all that another group has submitted before."""
    connect(bench)
    submit(bench, "a", "many", 50)
    submit(bench, "b", "many", 50)
    submit(bench, "c", "few", 4)
    ran = run(bench, 12, {})
    assert set(ran) == {"a", "c"}, "within a group the older instance goes first"
    assert ran[:9].count("c") == 4


def test_groups_share_time_and_not_numbers(bench: Bench) -> None:
    """A group of long nodes gets as much time as one of short ones, so fewer of them run."""
    connect(bench)
    submit(bench, "a", "long", 300)
    submit(bench, "b", "short", 300)
    counts = Counter(run(bench, 220, {"a": 1.0, "b": 0.1}))
    assert 8 <= counts["b"] / counts["a"] <= 12


def test_who_was_idle_has_no_claim_on_the_past(bench: Bench) -> None:
    """A group that comes late shares from then on; it does not get all that the others have had."""
    connect(bench)
    submit(bench, "a", "early", 100)
    submit(bench, "z", "other", 1)
    run(bench, 40, {})
    submit(bench, "b", "late", 50)
    counts = Counter(run(bench, 20, {}))
    assert abs(counts["a"] - counts["b"]) <= 2


def test_what_others_had_elsewhere_is_no_debt_of_a_new_group(bench: Bench) -> None:
    """A group begins with what those have had that its workers serve, not with what was done on other workers."""
    include = frozenset({"other"})
    bench.handle(c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", include_queues=include))
    bench.handle(c.ConnectWorker(worker_id=W1, name="w1", include_queues=frozenset({"q"})))
    busy = FunctionSpec(name="busy", queue="other")
    calls = [NewCall(NodeId(b"busy%d" % number), busy, b"", ()) for number in range(50)]
    options = c.InstanceOptions(group="elsewhere")
    bench.handle(c.SubmitNodes(instance_id=InstanceId(b"busy"), definition="D", calls=calls, options=options))
    for _ in range(40):
        for event in bench.handle(c.GrantWork()):
            for node, token in event.leases if isinstance(event, e.WorkGranted) else ():
                completion = (node.id, token, b"", 10.0, 0.0)
                bench.handle(c.CompleteNodes(worker_id=WorkerId(b"w2"), completions=[completion]))
    submit(bench, "a", "here", 50)
    run(bench, 5, {})
    submit(bench, "b", "new", 50)
    counts = Counter(run(bench, 20, {}))
    assert abs(counts["a"] - counts["b"]) <= 2


def test_the_clock_of_a_worker_that_is_busy_elsewhere_gives_no_head_start(bench: Bench) -> None:
    """A worker with another filter that sits on one long node does not make a new group go before all others."""
    bench.handle(c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", tolerations=frozenset({"gpu"})))
    submit(bench, "x", "here", 1)
    bench.handle(c.GrantWork())
    connect(bench)
    submit(bench, "a", "here", 100)
    run(bench, 30, {"a": 10.0})
    submit(bench, "b", "new", 50)
    counts = Counter(run(bench, 20, {"a": 10.0, "b": 10.0}))
    assert abs(counts["a"] - counts["b"]) <= 4


def test_a_group_whose_nodes_wait_for_a_limit_is_not_idle(bench: Bench) -> None:
    """Groups share a limit by time, too: who waits for it keeps the claim that it has."""
    connect(bench)
    limits = (LimitSpec(max=1),)
    for name, group in (("a", "long"), ("b", "short")):
        spec = FunctionSpec(name=name, queue="q", limits=limits)
        calls = [NewCall(NodeId(f"{name}{number}".encode()), spec, b"", (), ("k",)) for number in range(300)]
        options = c.InstanceOptions(group=group)
        bench.handle(c.SubmitNodes(instance_id=InstanceId(name.encode()), definition="D", calls=calls, options=options))
    counts = Counter(run(bench, 220, {"a": 1.0, "b": 0.1}))
    assert 7 <= counts["b"] / counts["a"] <= 13


def test_instances_without_a_group_share_as_one(bench: Bench) -> None:
    """What is in no group is first in, first out, and gets the share of one group."""
    connect(bench)
    submit(bench, "a", "", 20)
    submit(bench, "b", "", 20)
    submit(bench, "c", "g", 20)
    counts = Counter(run(bench, 20, {}))
    assert (abs(counts["a"] - counts["c"]) <= 2, counts["b"]) == (True, 0)


def test_a_priority_goes_before_any_share(bench: Bench) -> None:
    """Groups share what is of one priority; a higher one does not wait for its share."""
    connect(bench)
    submit(bench, "a", "g", 20)
    submit(bench, "b", "h", 20, priority=1)
    assert run(bench, 20, {}) == "b" * 20


def test_lanes_go_with_their_nodes(bench: Bench) -> None:
    """Groups, queues and functions that come and go leave nothing behind that a grant would have to look at."""
    connect(bench)
    for number in range(30):
        submit(bench, f"{number}", f"group {number}", 2)
        run(bench, 2, {})
    submit(bench, "last", "last", 1)
    run(bench, 1, {})
    gc.collect()  # instances and their nodes refer to each other
    assert len(bench.scheduler.queues.lanes) <= 2


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("paused=yes", "paused"),
        ("paused=no", "resumed"),
        ("priority=1", "given another priority"),
        ("cap=1", "capped"),
        ("paused=yes priority=0 cap=0", "paused and given another priority and capped"),
        ("", "controlled"),
    ],
)
def test_what_has_ended_is_not_controlled(bench: Bench, wanted: str, said: str) -> None:
    """The refusal names all that was asked for."""
    bench.replay("connect w1\nsubmit i1 a\ngrant\ncomplete w1 a\nrestore i1")
    refusal = f"InstanceEnded: instance 6931 is completed already, so it cannot be {said}"
    assert bench.replay(f"control i1 {wanted}").splitlines()[-1] == refusal
