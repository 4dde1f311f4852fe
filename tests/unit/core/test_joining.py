"""Nodes that wait for each other: dependencies, promises, aliases."""

from __future__ import annotations

from dagorama_broker.core import commands as c
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import Bench, show_value, tidy

F = FunctionSpec(name="f", queue="q")
W = WorkerId(b"w1")
I1 = InstanceId(b"i1")


def test_a_node_starts_when_all_its_dependencies_have_completed(bench: Bench) -> None:
    """A diamond runs from top to bottom; one dependency passed twice counts once at run time."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a b(a) c(a) d(b,c) e(a,a)

        grant
        ----
        WorkGranted w1 a#1

        complete w1 a
        grant
        complete w1 c
        grant
        complete w1 b e
        grant
        complete w1 d
        ----
        NodeCompleted a a
        WorkGranted w1 b#2 c#3 e#4
        NodeCompleted c c
        NodeCompleted b b
        NodeCompleted e e
        WorkGranted w1 d#5
        NodeCompleted d d
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_returns_one_promise_is_an_alias(bench: Bench) -> None:
    """It completes with its child, without another value; who depends on it starts only then."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a z(a)

        grant
        complete w1 a alias=b + b
        grant
        states i1
        ----
        WorkGranted w1 a#1
        NodesCreated b
        NodeJoining a alias of b
        WorkGranted w1 b#2
        a=joining z=waiting b=leased

        complete w1 b
        grant
        states i1
        ----
        NodeCompleted b b
        NodeCompleted a value
        WorkGranted w1 z#3
        a=completed z=leased b=completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_returns_a_list_of_promises_waits_for_all_of_them(bench: Bench) -> None:
    """A value that refers to promises is final when the last of them is, in whatever order they come."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a z(a)

        grant
        complete w1 a value=list promises=b,d + b c d(c)
        grant
        complete w1 c b
        grant
        states i1
        ----
        WorkGranted w1 a#1
        NodesCreated b c d
        NodeJoining a list of b d
        WorkGranted w1 b#2 c#3
        NodeCompleted c c
        NodeCompleted b b
        WorkGranted w1 d#4
        a=joining z=waiting b=completed c=completed d=leased

        complete w1 d
        grant
        complete w1 z
        ----
        NodeCompleted d d
        NodeCompleted a value
        WorkGranted w1 z#5
        NodeCompleted z z
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_promises_that_are_complete_already_are_not_waited_for(bench: Bench) -> None:
    """Returning a promise that came in as an argument completes the node at once, whether alone or inside a value."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a b(a) c(a) keep

        grant
        complete w1 a
        grant
        complete w1 b alias=a
        complete w1 c value=pair promises=a,b
        states i1
        ----
        WorkGranted w1 a#1 keep#2
        NodeCompleted a a
        WorkGranted w1 b#3 c#4
        NodeJoining b alias of a
        NodeCompleted b value
        NodeJoining c pair of a b
        NodeCompleted c value
        a=completed b=completed c=completed keep=leased
    """
    assert bench.replay(transcript) == tidy(transcript)
    nodes = bench.scheduler.instances[I1].nodes
    assert show_value(nodes[NodeId(b"c")]) == "pair(a,a)"


def test_a_consumer_of_a_node_that_returns_promises_starts_when_they_are_final(bench: Bench) -> None:
    """However deep promises are nested, a dependent sees final values only."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a z(a)

        grant
        complete w1 a alias=b + b
        grant
        complete w1 b value=list promises=c + c
        grant
        complete w1 c alias=d + d
        grant
        states i1
        ----
        WorkGranted w1 a#1
        NodesCreated b
        NodeJoining a alias of b
        WorkGranted w1 b#2
        NodesCreated c
        NodeJoining b list of c
        WorkGranted w1 c#3
        NodesCreated d
        NodeJoining c alias of d
        WorkGranted w1 d#4
        a=joining z=waiting b=joining c=joining d=leased

        complete w1 d
        grant
        ----
        NodeCompleted d d
        NodeCompleted c value
        NodeCompleted b value
        NodeCompleted a value
        WorkGranted w1 z#5
    """
    assert bench.replay(transcript) == tidy(transcript)
    nodes = bench.scheduler.instances[I1].nodes
    assert show_value(nodes[NodeId(b"a")]) == "list(d)"


def test_a_join_on_something_that_fails_fails(bench: Bench) -> None:
    """A node that returned promises ends with the first of them that fails, naming the root cause."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a z(a)

        grant
        complete w1 a value=list promises=b,c + b c
        grant
        fail w1 b
        complete w1 c
        ----
        WorkGranted w1 a#1
        NodesCreated b c
        NodeJoining a list of b c
        WorkGranted w1 b#2 c#3
        AttemptFailed b attempt=1 ValueError
        NodeFailed b
        DependencyFailed a because of b
        DependencyFailed z because of b
        NodeCompleted c c
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_promise_that_has_failed_already_fails_the_join_at_once(bench: Bench) -> None:
    """Returning the promise of a failed node is no way around its failure."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 bad a keep

        grant
        fail w1 bad
        complete w1 a value=list promises=b,bad + b
        states i1
        ----
        WorkGranted w1 bad#1 a#2 keep#3
        AttemptFailed bad attempt=1 ValueError
        NodeFailed bad
        NodesCreated b
        NodeJoining a list of b bad
        DependencyFailed a because of bad
        bad=failed a=dependency_failed keep=leased b=ready
    """
    assert bench.replay(transcript) == tidy(transcript)


# -- long chains ------------------------------------------------------------------------------------------------------


def connect(scheduler: Scheduler) -> None:
    """Connect a worker with one slot."""
    scheduler.handle(c.ConnectWorker(worker_id=W, name="w1"), 0.0)


def grant_one(scheduler: Scheduler) -> c.NodeResult:
    """Grant the only ready node; gives a result for it, to be filled in."""
    scheduler.handle(c.GrantWork(), 0.0)
    (lease,) = scheduler.workers[W].leases.items()
    return c.NodeResult(node_id=lease[1].id, token=lease[0], payload=b"")


def number(value: int) -> NodeId:
    """Give the id of the node with this number."""
    return NodeId(value.to_bytes(16, "big"))


def test_who_waits_for_a_join_on_what_has_completed_is_told(bench: Bench) -> None:
    """Where a node returns what has completed already, it completes with its report, and its dependents go on."""
    transcript = """
        given
        connect w1
        submit i1 x a b(a)

        grant
        complete w1 x
        grant
        complete w1 a promises=x
        grant
        ----
        WorkGranted w1 x#1
        NodeCompleted x x
        WorkGranted w1 a#2
        NodeJoining a a of x
        NodeCompleted a value
        WorkGranted w1 b#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_value_goes_up_a_chain_of_aliases_also_where_the_broker_ended_meanwhile(bench: Bench) -> None:
    """Of many that join some complete later; a restart goes on, and who leaves when nothing is left stays so long."""
    bench.scheduler.queues.at_once = 1
    bench.replay("connect w1 until_drained\nsubmit i1 a z(a)\ngrant")
    bench.replay("complete w1 a alias=b + b\ngrant\ncomplete w1 b alias=c + c\ngrant\ncomplete w1 c alias=d + d\ngrant")
    transcript = """
        complete w1 d
        states i1
        grant
        states i1
        restart
        states i1
        connect w1 until_drained
        grant
        states i1
        ----
        NodeCompleted d d
        NodeCompleted c value
        a=joining z=waiting b=joining c=completed d=completed
        NodeCompleted b value
        a=joining z=waiting b=completed c=completed d=completed
        a=joining z=waiting b=completed c=completed d=completed
        WorkerWelcomed w1
        NodeCompleted a value
        WorkGranted w1 z#2.1
        a=completed z=leased b=completed c=completed d=completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_tail_recursive_chain_of_100_000_completes(scheduler: Scheduler) -> None:
    """Aliases lead to the value in one step, however long the chain, and completing it needs no recursion."""
    length = 100_000
    connect(scheduler)
    scheduler.handle(c.SubmitNodes(instance_id=I1, definition="D", calls=[NewCall(number(0), F, b"", ())]), 0.0)
    for hop in range(1, length):
        result = grant_one(scheduler)
        result.payload, result.alias_id = None, number(hop)
        result.children = [NewCall(number(hop), F, b"", ())]
        scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)
    instance = scheduler.instances[I1]
    nodes = dict(instance.nodes)
    check_invariants(scheduler)
    last = grant_one(scheduler)
    last.payload = b"the value"
    scheduler.handle(c.CompleteNodes(worker_id=W, results=[last]), 0.0)
    while scheduler.has_more:
        scheduler.handle(c.GrantWork(), 0.0)
    assert instance.state is InstanceState.COMPLETED
    assert {node.source for node in nodes.values()} == {nodes[number(length - 1)], None}
    assert show_value(nodes[number(0)]) == "the value"


def test_a_chain_of_100_000_completes(scheduler: Scheduler) -> None:
    """Each node of a chain becomes ready when the one before has completed; nothing recurses along it."""
    length = 100_000
    connect(scheduler)
    calls = [NewCall(number(at), F, b"", (number(at - 1),) if at else ()) for at in range(length)]
    scheduler.handle(c.SubmitNodes(instance_id=I1, definition="D", calls=calls), 0.0)
    instance = scheduler.instances[I1]
    check_invariants(scheduler)
    for at in range(length):
        result = grant_one(scheduler)
        assert result.node_id == number(at)
        scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)
    assert instance.state is InstanceState.COMPLETED
    assert scheduler.instances == {}


def test_a_failure_runs_down_a_chain_of_100_000(scheduler: Scheduler) -> None:
    """A failure reaches the far end of a chain without recursion, and names where it began."""
    length = 100_000
    connect(scheduler)
    calls = [NewCall(number(at), F, b"", (number(at - 1),) if at else ()) for at in range(length)]
    scheduler.handle(c.SubmitNodes(instance_id=I1, definition="D", calls=calls), 0.0)
    instance = scheduler.instances[I1]
    first, last = instance.nodes[number(0)], instance.nodes[number(length - 1)]
    scheduler.handle(c.GrantWork(), 0.0)
    scheduler.handle(c.DisconnectWorker(worker_id=W), 0.0)
    for name in b"xy":  # the third lost worker has it quarantined
        worker_id = WorkerId(bytes([name]))
        scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="other"), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        scheduler.handle(c.LoseWorker(worker_id=worker_id, how="it was killed by SIGKILL"), 0.0)
    while scheduler.has_more:
        scheduler.handle(c.GrantWork(), 0.0)
    assert instance.state is InstanceState.FAILED
    assert (last.state, last.cause) == (NodeState.DEPENDENCY_FAILED, first)
