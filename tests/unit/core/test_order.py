"""Which node a free worker gets: order, queues and taints."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy


def test_equal_nodes_are_granted_in_creation_order(bench: Bench) -> None:
    """Within an instance the order of creation is the order of grants."""
    transcript = """
        given
        connect w1 slots=3
        submit i1 a b c d e

        grant
        ----
        WorkGranted w1 a#1 b#2 c#3

        complete w1 b
        grant
        ----
        NodeCompleted b b
        WorkGranted w1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_older_instance_goes_first_whenever_its_nodes_become_ready(bench: Bench) -> None:
    """A node of the oldest instance goes before all nodes of younger ones, also when it was made later."""
    transcript = """
        given
        connect w1
        submit i1 a1 b1(a1)
        submit i2 a2 b2
        submit i1 c1(a1)

        grant
        ----
        WorkGranted w1 a1#1

        complete w1 a1
        grant
        complete w1 b1
        grant
        complete w1 c1
        grant
        ----
        NodeCompleted a1 a1
        WorkGranted w1 b1#2
        NodeCompleted b1 b1
        WorkGranted w1 c1#3
        NodeCompleted c1 c1
        InstanceFinished i1 completed
        WorkGranted w1 a2#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_is_looked_past_only_while_nothing_of_it_can_run(bench: Bench) -> None:
    """While the oldest instance waits for its own node the next one's run; as soon as it can, it goes first again."""
    transcript = """
        given
        connect w1
        connect w2
        submit i1 a1 b1(a1)
        submit i2 a2 b2 c2

        grant
        ----
        WorkGranted w1 a1#1
        WorkGranted w2 a2#2

        complete w2 a2
        grant
        complete w1 a1
        complete w2 b2
        grant
        ----
        NodeCompleted a2 a2
        WorkGranted w2 b2#3
        NodeCompleted a1 a1
        NodeCompleted b2 b2
        WorkGranted w1 b1#4
        WorkGranted w2 c2#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_gets_only_nodes_of_its_queues(bench: Bench) -> None:
    """Included queues are the only ones served, excluded ones are not; without either, all are."""
    transcript = """
        given
        function red queue=red
        function blue queue=blue
        connect only_red include=red slots=9
        connect not_red exclude=red slots=9
        connect neither include=red,blue exclude=red,blue slots=9
        submit i1 r:red b:blue f

        grant
        ----
        WorkGranted only_red r#1
        WorkGranted not_red b#2 f#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_tainted_node_in_a_shared_queue_waits_for_a_worker_that_tolerates_it(bench: Bench) -> None:
    """Taints are per node: a worker without the toleration gets the others of the same queue, never that one."""
    transcript = """
        given
        function train queue=q taint=gpu
        connect plain slots=9
        connect other tolerate=tpu slots=9
        submit i1 t:train a b

        grant
        ----
        WorkGranted plain a#1
        WorkGranted other b#2

        connect gpu tolerate=gpu
        grant
        ----
        WorkerJoined gpu
        WorkerWelcomed gpu
        WorkGranted gpu t#3

        complete gpu t
        submit i1 c
        grant
        ----
        NodeCompleted t t
        NodesCreated c
        WorkGranted plain c#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_comes_later_sees_what_waits_for_it(bench: Bench) -> None:
    """Nodes that nobody served are found by the first worker that does, and lanes made later by workers of before."""
    transcript = """
        given
        function red queue=red
        submit i1 a:red b:red

        grant

        connect w1 include=red
        connect w2 include=blue
        grant
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w1 a#1

        function blue queue=blue

        submit i2 c:blue
        grant
        ----
        InstanceCreated i2
        NodesCreated c
        WorkGranted w2 c#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_draining_worker_gets_nothing_further(bench: Bench) -> None:
    """What a draining worker holds it may finish; what is ready goes to others."""
    transcript = """
        given
        connect w1
        submit i1 a b

        grant
        drain w1
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        WorkerDraining w1
        NodeCompleted a a

        connect w2
        grant
        ----
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 b#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_with_more_slots_than_there_are_nodes_share_them_evenly(bench: Bench) -> None:
    """Nobody takes all that is ready while others with the same slots would have one."""
    transcript = """
        given
        connect w1 slots=10
        connect w2 slots=10
        submit i1 a b c d e f

        grant
        ----
        WorkGranted w1 a#1 c#3 d#4
        WorkGranted w2 b#2 e#5 f#6
    """
    assert bench.replay(transcript) == tidy(transcript)
