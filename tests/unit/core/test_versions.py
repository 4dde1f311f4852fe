"""Nodes go to workers that have their functions in the version that they were made with."""

from __future__ import annotations

from dagorama_broker.core.model.values import WorkerId
from tests.unit.core.transcript import Bench, tidy

#: A function in two versions, in one queue with another function.
FUNCTIONS = """
    function old name=f version=1
    function new name=f version=2
    function other
"""


def test_functions_and_versions_share_a_queue_first_in_first_out(bench: Bench) -> None:
    """Whatever the function and its version: the node of the oldest instance goes first, then the first created."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1
        submit i1 a1:new b1:other
        submit i2 a2:old b2:other c2:new
        submit i1 c1:old

        grant
        complete w1 a1
        grant
        complete w1 b1
        grant
        complete w1 c1
        grant
        complete w1 a2
        grant
        complete w1 b2
        grant
        ----
        WorkGranted w1 a1#1
        NodeCompleted a1 a1
        WorkGranted w1 b1#2
        NodeCompleted b1 b1
        WorkGranted w1 c1#3
        NodeCompleted c1 c1
        InstanceFinished i1 completed
        WorkGranted w1 a2#4
        NodeCompleted a2 a2
        WorkGranted w1 b2#5
        NodeCompleted b2 b2
        WorkGranted w1 c2#6
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_gets_no_more_of_a_version_that_it_rejected(bench: Bench) -> None:
    """Everything else it still gets: other versions of the function, and other functions of the queue."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 slots=3
        submit i1 a:old

        grant
        reject w1 a 2
        grant
        submit i2 b:old c:new d:other
        grant
        ----
        WorkGranted w1 a#1
        InstanceCreated i2
        NodesCreated b c d
        WorkGranted w1 c#2 d#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_one_worker_rejected_another_gets_in_its_old_place(bench: Bench) -> None:
    """A node that was given back keeps its turn, and the rejection is no attempt and no loss."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1
        submit i1 a:old
        submit i2 b:old

        grant
        reject w1 a 2
        connect w2
        grant
        failures a
        complete w2 a
        grant
        ----
        WorkGranted w1 a#1
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        NodeCompleted a a
        InstanceFinished i1 completed
        WorkGranted w2 b#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_several_versions_may_be_rejected(bench: Bench) -> None:
    """What a worker rejected adds up."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 slots=2
        submit i1 a:old b:new

        grant
        reject w1 a 3
        reject w1 b 3
        grant
        submit i2 c:old d:new e:other
        grant
        ----
        WorkGranted w1 a#1 b#2
        InstanceCreated i2
        NodesCreated c d e
        WorkGranted w1 e#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rejection_of_what_the_worker_does_not_hold_changes_nothing(bench: Bench) -> None:
    """Neither under a token that is not live nor by a worker that has another lease."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1
        connect w2
        submit i1 a:old b:old c:old

        grant
        reject w1 b#2 9
        reject w1 a#7 9
        states i1
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        a=leased b=leased c=ready
        NodeCompleted a a
        WorkGranted w1 c#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_connects_anew_is_asked_again(bench: Bench) -> None:
    """What it rejected belongs to the connection: a process that was restarted may have other code."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1
        submit i1 a:old

        grant
        reject w1 a 2
        grant
        connect w1
        grant
        ----
        WorkGranted w1 a#1
        WorkerWelcomed w1
        WorkGranted w1 a#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_keeps_what_else_it_runs_when_it_rejects(bench: Bench) -> None:
    """Its other leases stay live, and their results count."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 slots=2
        submit i1 a:other b:old

        grant
        reject w1 b 2
        complete w1 a
        states i1
        ----
        WorkGranted w1 a#1 b#2
        NodeCompleted a a
        a=completed b=ready
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_asked_is_drained_when_only_what_it_rejected_is_left(bench: Bench) -> None:
    """Nodes that no connected worker has the code for keep nobody waiting for the end."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 until_drained
        submit i1 a:old

        grant
        reject w1 a 2
        grant
        ----
        WorkGranted w1 a#1
        WorkerDrained w1 mismatch=f:1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rejection_rules_out_every_other_version(bench: Bench) -> None:
    """A worker has one version of a function: none of the others is tried on it."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 slots=3
        submit i1 a:old

        grant
        reject w1 a 9
        submit i2 b:new c:other
        grant
        ----
        WorkGranted w1 a#1
        InstanceCreated i2
        NodesCreated b c
        WorkGranted w1 c#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_version_that_a_worker_named_last_counts(bench: Bench) -> None:
    """A class that a function makes anew may be another one each time."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        function third name=f version=3
        function fourth name=f version=4
        connect w1 slots=2
        submit i1 a:old b:new

        grant
        reject w1 a 3
        reject w1 b 4
        submit i2 c:third d:fourth
        grant
        ----
        WorkGranted w1 a#1 b#2
        InstanceCreated i2
        NodesCreated c d
        WorkGranted w1 d#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_versions_that_were_announced_need_no_rejection(bench: Bench) -> None:
    """Each worker gets its version from the first grant on, and nodes without a version; of other functions, all."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        function any name=f
        connect w1 slots=4 has=f:1,g:7
        connect w2 slots=4 has=f:2
        submit i1 a:old b:new c:new d:old

        grant
        submit i2 e:any f:other
        disconnect w2
        grant
        ----
        WorkGranted w1 a#1 d#3
        WorkGranted w2 b#2 c#4
        InstanceCreated i2
        NodesCreated e f
        LeaseLost b losses=1
        LeaseLost c losses=1
        WorkerLeft w2
        WorkGranted w1 e#5 f#6
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_workers_with_the_same_versions_share_a_view(bench: Bench) -> None:
    """Whether they announced them or rejected others: the broker looks through one list for all."""
    bench.replay(
        FUNCTIONS
        + """
        connect w1 has=f:2
        connect w2 has=f:2
        submit i1 a:old b:old
        connect w3
        grant
        reject w3 a 2
        connect w4
        grant
        reject w4 a 2
    """
    )
    assert [len(view.workers) for view in bench.scheduler.queues.views.values()] == [4]


def test_a_batch_that_is_rejected_makes_one_view(bench: Bench) -> None:
    """What the first node of a version has told costs nothing for the others."""
    bench.replay(FUNCTIONS + "\nconnect w1 slots=3\nsubmit i1 a:old b:old c:old\ngrant\nreject w1 a 2")
    view = bench.scheduler.workers[WorkerId(b"w1")].view
    bench.replay("reject w1 b 2\nreject w1 c 2")
    assert bench.scheduler.workers[WorkerId(b"w1")].view is view
    assert bench.replay("grant\nstates i1\n----").splitlines()[-1] == "a=ready b=ready c=ready"


def test_a_worker_with_modules_gets_functions_of_these_alone(bench: Bench) -> None:
    """Modules inside them count, those whose names merely begin like them do not."""
    transcript = """
        given
        function in name=shop.orders:Task.f
        function inside name=shop.orders.parts:Task.f
        function around name=shop:Task.f
        function beside name=shop.orders_old:Task.f
        function main name=__main__:Task.f
        connect w1 slots=9 modules=shop.orders,bank
        submit i1 a:in b:inside c:around d:beside e:main

        grant
        connect w2 slots=9 modules=shop
        grant
        states i1
        ----
        WorkGranted w1 a#1 b#2
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 c#3 d#4
        a=leased b=leased c=leased d=leased e=ready
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_asked_hears_of_a_mismatch_only_when_nothing_else_can_come(bench: Bench) -> None:
    """Neither while somebody runs something, nor when there is simply no work, nor while another has the version."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        connect w1 until_mismatched
        connect w2 has=f:1

        grant
        submit i1 a:other b:old
        grant
        complete w1 a
        grant
        complete w2 b
        grant
        disconnect w2
        submit i2 c:old
        grant
        reject w1 c 2
        grant
        ----
        InstanceCreated i1
        NodesCreated a b
        WorkGranted w1 a#1
        WorkGranted w2 b#2
        NodeCompleted a a
        NodeCompleted b b
        InstanceFinished i1 completed
        WorkerLeft w2
        InstanceCreated i2
        NodesCreated c
        WorkGranted w1 c#3
        WorkerDrained w1 mismatch=f:1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_cannot_run_a_node_gets_no_more_of_its_function(bench: Bench) -> None:
    """In no version, also not of what takes any; others get it in its old place, and it is no attempt and no loss."""
    bench.replay(FUNCTIONS)
    transcript = """
        given
        function any name=f
        connect w1 slots=3
        submit i1 a:old

        grant
        unable w1 a
        submit i2 b:new c:any d:other
        grant
        connect w2 slots=3
        grant
        failures a
        ----
        WorkGranted w1 a#1
        InstanceCreated i2
        NodesCreated b c d
        WorkGranted w1 d#2
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#3 b#4 c#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_only_some_nodes_need_keeps_a_worker_from_these_alone(bench: Bench) -> None:
    """Another that lacks something else gets each once, and so nobody is asked twice."""
    transcript = """
        given
        function f
        connect w1 slots=2
        submit i1 a b c

        grant
        unable w1 a lacks=m:Order
        grant
        complete w1 b
        complete w1 c
        connect w2 slots=2
        grant
        unable w2 a lacks=m:Line
        submit i2 d
        grant
        connect w3
        grant
        complete w3 a
        ----
        WorkGranted w1 a#1 b#2
        WorkGranted w1 c#3
        NodeCompleted b b
        NodeCompleted c c
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#4
        InstanceCreated i2
        NodesCreated d
        WorkGranted w1 d#5
        WorkerJoined w3
        WorkerWelcomed w3
        WorkGranted w3 a#6
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_asked_hears_of_what_it_lacks(bench: Bench) -> None:
    """As of other versions: what is left it cannot run, and somebody waits for it to end."""
    bench.replay("connect w1 until_mismatched\nsubmit i1 a\ngrant\nunable w1 a")
    assert bench.replay("grant\n----") == tidy("grant\n----\nWorkerDrained w1 mismatch=f:")


def test_a_worker_that_connects_again_is_asked_anew(bench: Bench) -> None:
    """Somebody may have installed what it lacked."""
    bench.replay("connect w1\nsubmit i1 a\ngrant\nunable w1 a\ndisconnect w1\nconnect w1")
    assert bench.replay("grant\n----") == tidy("grant\n----\nWorkGranted w1 a#2")
