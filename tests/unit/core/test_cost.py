"""What things cost, counted in calls of functions and not in time, so that it is the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from math import inf
from random import Random
from types import FrameType

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.containers.lines import Line
from dagorama_broker.core.graph.resetting import plan_rerun
from dagorama_broker.core.graph.restoring import Restoring
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import StoredInstance, StoredNode
from dagorama_broker.core.model.values import (
    Failure,
    FunctionSpec,
    InstanceId,
    LimitSpec,
    NewCall,
    NodeId,
    RetryPolicy,
    WorkerId,
)
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.why import explain

W = WorkerId(b"w1")
SMALL, LARGE = 1_000, 10_000


def count_calls(function: Callable[[], object]) -> int:
    """Count the calls, of Python functions and of built-in ones, until `function` has returned."""
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def make_scheduler() -> Scheduler:
    """Make a scheduler with one worker for queue `q`."""
    scheduler = Scheduler(rng=Random(0))
    scheduler.handle(c.ConnectWorker(worker_id=W, name="w1", include_queues=frozenset({"q"})), 0.0)
    return scheduler


def submit(scheduler: Scheduler, at: int, *, queue: str = "q", nodes: int = 1, chained: bool = False) -> None:
    """Submit an instance with so many nodes."""
    spec = FunctionSpec(name="f", queue=queue)
    ids = [NodeId(b"%d.%d" % (at, number)) for number in range(nodes)]
    calls = [NewCall(ids[n], spec, b"", (ids[n - 1],) if chained and n else ()) for n in range(nodes)]
    scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"%d" % at), definition="D", calls=calls), 0.0)


def run_some(scheduler: Scheduler) -> None:
    """Grant and complete twenty nodes, one after the other."""
    for _ in range(20):
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[W].leases.items()
        result = c.NodeResult(node_id=node.id, token=token, payload=b"")
        scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)


def many_instances(scheduler: Scheduler, count: int) -> None:
    """Have many instances with a ready node each."""
    for at in range(count):
        submit(scheduler, at)


def many_ready(scheduler: Scheduler, count: int) -> None:
    """Have one instance with many ready nodes."""
    submit(scheduler, 0, nodes=count)


def many_waiting(scheduler: Scheduler, count: int) -> None:
    """Have one instance with many nodes that wait, each for the one before."""
    submit(scheduler, 0, nodes=count, chained=True)


def many_foreign_queues(scheduler: Scheduler, count: int) -> None:
    """Have older instances with ready nodes in many queues that the worker doesn't serve."""
    for at in range(count // 10):
        submit(scheduler, at, queue=f"q{at}")
    submit(scheduler, count, nodes=30)


@pytest.mark.parametrize("fill", [many_instances, many_ready, many_waiting, many_foreign_queues])
def test_a_grant_costs_the_same_however_much_there_is(fill: Callable[[Scheduler, int], None]) -> None:
    """Granting and completing a node takes as many calls with ten times the instances, nodes or foreign queues."""
    calls = {}
    for size in (SMALL, LARGE):
        scheduler = make_scheduler()
        fill(scheduler, size)
        calls[size] = count_calls(partial(run_some, scheduler))
    assert calls[SMALL] > 100
    assert calls[LARGE] < 1.1 * calls[SMALL]


def test_a_worker_of_other_queues_costs_no_more_for_what_others_hold_ahead() -> None:
    """Planning recalls compares no filter with every node that a worker holds."""
    calls = {}
    for size in (1, 100):
        scheduler = make_scheduler()
        submit(scheduler, 0, nodes=200)
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[W].leases.items()
        result = c.NodeResult(node_id=node.id, token=token, payload=b"", duration_s=0.01 / size)
        scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)
        idle = c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", include_queues=frozenset({"other"}))
        scheduler.handle(idle, 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        assert abs(len(scheduler.workers[W].leases) - size) <= 1
        calls[size] = count_calls(partial(scheduler.handle, c.GrantWork(), 0.0))
    assert calls[100] < calls[1] + 20


def test_who_is_let_in_and_parked_again_leaves_nothing_behind() -> None:
    """Two functions share a limit; of the younger one a node is let in, and parked again, each time."""
    calls = {}
    for size in (50, 500):
        scheduler = make_scheduler()
        for at, name in enumerate(("f", "g")):
            spec = FunctionSpec(name=name, queue="q", limits=(LimitSpec(max=1),))
            nodes = [NewCall(NodeId(b"%d.%d" % (at, number)), spec, b"", (), ("k",)) for number in range(size)]
            scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"%d" % at), definition="D", calls=nodes), 0.0)
        for _ in range(size // 20 - 1):
            run_some(scheduler)
        calls[size] = count_calls(partial(run_some, scheduler)) + count_calls(partial(run_some, scheduler))
    assert calls[500] < 1.5 * calls[50]


def test_a_cap_over_many_nodes_comes_and_goes_in_slices() -> None:
    """No command takes longer for ten times the nodes that are ready, and all of them are let in again."""
    longest = {}
    for size in (3_000, 12_000):
        scheduler = make_scheduler()
        submit(scheduler, 0, nodes=size)
        calls = []
        for running_max in (1, 0):
            command = c.ControlInstance(instance_id=InstanceId(b"0"), running_max=running_max)
            calls.append(count_calls(partial(scheduler.handle, command, 0.0)))
            calls.append(count_calls(partial(scheduler.handle, c.GrantWork(), 0.0)))
            while scheduler.has_more:
                scheduler.handle(c.GrantWork(), 0.0)
            check_invariants(scheduler)
        ready = scheduler.queues.views[scheduler.workers[W].view.filter].count(size)
        assert ready + len(scheduler.workers[W].leases) == size
        longest[size] = max(calls)
    assert longest[12_000] < 1.2 * longest[3_000]


@pytest.mark.parametrize("is_capped", [True, False])
def test_a_limit_costs_the_same_however_many_groups_wait_for_it(is_capped: bool) -> None:
    """With ten times the groups that share a limit, or the cap of a queue, granting takes as many calls."""
    calls = {}
    for size in (20, 200):
        scheduler = make_scheduler()
        spec = FunctionSpec(name="f", queue="q", limits=() if is_capped else (LimitSpec(max=1),))
        keys = () if is_capped else ("k",)
        if is_capped:
            scheduler.handle(c.ControlQueue(queue="q", running_max=1), 0.0)
        for at in range(size):
            nodes = [NewCall(NodeId(b"%d.%d" % (at, number)), spec, b"", (), keys) for number in range(3)]
            options = c.InstanceOptions(group=f"group {at}")
            scheduler.handle(
                c.SubmitNodes(instance_id=InstanceId(b"%d" % at), definition="D", calls=nodes, options=options), 0.0
            )
        run_some(scheduler)
        calls[size] = count_calls(partial(run_some, scheduler))
    assert calls[200] < 1.5 * calls[20]


def test_a_large_instance_is_cancelled_in_slices() -> None:
    """No command takes more calls for four times the nodes, though all of them are cancelled at once."""
    longest = {}
    for size in (3_000, 12_000):
        scheduler = make_scheduler()
        submit(scheduler, 0, nodes=size)
        nodes = list(scheduler.instances[InstanceId(b"0")].nodes.values())
        calls = [count_calls(partial(scheduler.handle, c.CancelInstance(instance_id=InstanceId(b"0")), 0.0))]
        assert {node.state for node in nodes} == {NodeState.CANCELLED}
        assert not scheduler.instances
        while scheduler.has_more:
            calls.append(count_calls(partial(scheduler.handle, c.GrantWork(), 0.0)))
            check_invariants(scheduler)
        assert not any(lane.active for lane in scheduler.queues.lanes.values())
        longest[size] = max(calls)
    assert longest[12_000] < 1.2 * longest[3_000]


@pytest.mark.parametrize("chained", [True, False])
def test_what_depends_on_a_failed_node_fails_in_slices(chained: bool) -> None:
    """No command takes more calls for four times the nodes, whether they form a chain or all wait for one."""
    longest = {}
    for size in (4_000, 16_000):
        scheduler = make_scheduler()
        spec = FunctionSpec(name="f", queue="q")
        ids = [NodeId(b"%d" % number) for number in range(size)]
        nodes = [NewCall(ids[n], spec, b"", (ids[n - 1 if chained else 0],) if n else ()) for n in range(size)]
        scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=nodes), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        instance = scheduler.instances[InstanceId(b"i")]
        ((token, node),) = scheduler.workers[W].leases.items()
        failure = Failure(type="ValueError", message="no", permanent=True)
        report = c.CompleteNodes(worker_id=W, results=[c.NodeResult(node_id=node.id, token=token, failure=failure)])
        calls = [count_calls(partial(scheduler.handle, report, 0.0))]
        while scheduler.has_more:
            calls.append(count_calls(partial(scheduler.handle, c.GrantWork(), 0.0)))
            check_invariants(scheduler)
        assert instance.state is InstanceState.FAILED
        assert instance.counts[NodeState.DEPENDENCY_FAILED] == size - 1
        longest[size] = max(calls)
    assert longest[16_000] < 1.2 * longest[4_000]


def longest_command(scheduler: Scheduler, *commands: c.Command, now: float = 0.0) -> int:
    """Give what the longest of some commands takes, and of the grants and ticks after each, until nothing is left."""
    calls = []
    for command in commands:
        calls.append(count_calls(partial(scheduler.handle, command, now)))
        check_invariants(scheduler)
        while scheduler.has_more or (scheduler.next_wakeup() or inf) <= now:
            calls.append(count_calls(partial(scheduler.handle, c.GrantWork(), now)))
            calls.append(count_calls(partial(scheduler.handle, c.Tick(), now)))
            check_invariants(scheduler)
    return max(calls)


def test_a_large_instance_is_paused_and_given_other_priorities_in_slices() -> None:
    """No command takes more calls for four times the nodes that are ready, and all of them are where they belong."""
    longest = {}
    instance_id = InstanceId(b"0")
    for size in (3_000, 12_000):
        scheduler = make_scheduler()
        submit(scheduler, 0, nodes=size)
        view = scheduler.workers[W].view
        calls = []
        for control, ready in (
            (c.ControlInstance(instance_id=instance_id, priority=1), size),
            (c.ControlInstance(instance_id=instance_id, priority=-1), size),
            (c.ControlInstance(instance_id=instance_id, paused=True), 0),
            (c.ControlInstance(instance_id=instance_id, priority=0), 0),
            (c.ControlInstance(instance_id=instance_id, paused=False), size),
        ):
            calls.append(longest_command(scheduler, control))
            assert view.count(size) + len(scheduler.workers[W].leases) == max(ready, 1)
        longest[size] = max(calls)
    assert longest[12_000] < 1.2 * longest[3_000]


def test_what_many_nodes_wait_for_is_told_to_them_in_slices() -> None:
    """However many nodes one report makes ready, or the end of a tail recursion completes, no command does it all."""
    longest = {}
    for size in (3_000, 12_000):
        scheduler = make_scheduler()
        spec = FunctionSpec(name="f", queue="q")
        worker = c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", include_queues=frozenset({"first"}), slots=10)
        scheduler.handle(worker, 0.0)
        first = [NewCall(NodeId(b"first%d" % n), FunctionSpec(name="g", queue="first"), b"", ()) for n in range(10)]
        nodes = [NewCall(NodeId(b"%d" % n), spec, b"", (first[n % 10].node_id,)) for n in range(size)]
        scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=first + nodes), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        completions = [
            (node.id, token, b"", 0.0, 0.0) for token, node in scheduler.workers[worker.worker_id].leases.items()
        ]
        report = c.CompleteNodes(worker_id=worker.worker_id, completions=completions)
        longest[size] = longest_command(scheduler, report)
        assert scheduler.instances[InstanceId(b"i")].counts[NodeState.READY] == size - 1
    assert longest[12_000] < 1.2 * longest[3_000]


def test_a_tail_recursion_ends_in_slices() -> None:
    """The last value of a chain of aliases goes up to the first of them bit by bit."""
    longest = {}
    for size in (3_000, 12_000):
        scheduler = make_scheduler()
        submit(scheduler, 0)
        instance = scheduler.instances[InstanceId(b"0")]
        for number in range(size):
            scheduler.handle(c.GrantWork(), 0.0)
            ((token, node),) = scheduler.workers[W].leases.items()
            child = NewCall(NodeId(b"child%d" % number), node.function.spec, b"", ())
            result = c.NodeResult(node_id=node.id, token=token, alias_id=child.node_id, children=[child])
            scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[W].leases.items()
        longest[size] = longest_command(
            scheduler, c.CompleteNodes(worker_id=W, completions=[(node.id, token, b"", 0.0)])
        )
        assert instance.state is InstanceState.COMPLETED
    assert longest[12_000] < 1.2 * longest[3_000]


@pytest.mark.parametrize("ends", ["deadline", "start_timeout", "backoff"])
def test_what_falls_due_for_many_nodes_at_a_time_is_done_in_slices(ends: str) -> None:
    """A deadline, or the same time of thousands of nodes, takes no command longer, and all of them come to it."""
    longest = {}
    retry = RetryPolicy(max_attempts=2, interval_s=10.0)
    spec = FunctionSpec(name="f", queue="q", start_timeout_s=10.0 if ends == "start_timeout" else 0.0, retry=retry)
    for size in (3_000, 12_000):
        scheduler = Scheduler(rng=Random(0))
        options = c.InstanceOptions(deadline_s=10.0 if ends == "deadline" else 0.0)
        calls = [NewCall(NodeId(b"%d" % number), spec, b"", ()) for number in range(size)]
        submit_all = c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=calls, options=options)
        scheduler.handle(submit_all, 0.0)
        instance = scheduler.instances[InstanceId(b"i")]
        if ends == "backoff":
            scheduler.handle(c.ConnectWorker(worker_id=W, name="w1", slots=size), 0.0)
            scheduler.handle(c.GrantWork(), 0.0)
            failure = Failure(type="ValueError", message="no")
            results = [
                c.NodeResult(node_id=node.id, token=token, failure=failure)
                for token, node in scheduler.workers[W].leases.items()
            ]
            scheduler.handle(c.CompleteNodes(worker_id=W, results=results), 0.0)
            scheduler.handle(c.DisconnectWorker(worker_id=W, left=True), 0.0)
        longest[size] = longest_command(scheduler, c.Tick(), now=10.0)
        assert instance.counts[NodeState.READY if ends == "backoff" else NodeState.FAILED] == size
    assert longest[12_000] < 1.2 * longest[3_000]


def test_a_worker_that_pulls_parks_what_a_cap_holds_in_slices() -> None:
    """Whoever asks for a node waits no longer for ten thousand before it that may not start, and gets it later."""
    longest = {}
    for size in (3_000, 12_000):
        scheduler = Scheduler(rng=Random(0))
        scheduler.handle(c.ConnectWorker(worker_id=W, name="w1", slots=0), 0.0)
        submit(scheduler, 0, nodes=size)
        submit(scheduler, 1)
        scheduler.handle(c.ControlInstance(instance_id=InstanceId(b"0"), running_max=1), 0.0)
        pull = c.PullNode(worker_id=W)
        longest[size] = longest_command(scheduler, pull, pull, pull)
        assert {node.instance.id for node in scheduler.workers[W].leases.values()} == {b"0", b"1"}
    assert longest[12_000] < 1.2 * longest[3_000]


def test_a_limit_that_was_widened_lets_in_a_slice_with_each_grant_only() -> None:
    """As long as it has more to let in, it lets in no further ones for each node that leaves its queue."""
    longest = {}
    for size in (8_000, 16_000):
        scheduler = make_scheduler()
        for at, limit_max in enumerate((1, 100_000)):
            spec = FunctionSpec(name="f", queue="q", limits=(LimitSpec(max=limit_max),))
            nodes = [NewCall(NodeId(b"%d.%d" % (at, n)), spec, b"", (), ("k",)) for n in range(1 if at else size)]
            scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"%d" % at), definition="D", calls=nodes), 0.0)
            if not at:
                scheduler.handle(c.GrantWork(), 0.0)
                scheduler.handle(c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", slots=1), 0.0)
                scheduler.handle(c.GrantWork(), 0.0)
                while scheduler.has_more:
                    scheduler.handle(c.GrantWork(), 0.0)
        calls = [count_calls(partial(scheduler.handle, c.GrantWork(), 0.0))]
        calls.append(longest_command(scheduler, c.CancelInstance(instance_id=InstanceId(b"0"))))
        longest[size] = max(calls)
    assert longest[16_000] < 1.2 * longest[8_000]


def test_what_begins_anew_in_vain_fails_in_slices() -> None:
    """Where a node runs again, very many of its dependents may still want another that has failed."""
    longest = {}
    instance_id, spec = InstanceId(b"i"), FunctionSpec(name="f", queue="q")
    command = c.RerunNode(instance_id=instance_id, node_id=NodeId(b"1"))

    def row(seq: int) -> StoredNode:
        state = {1: NodeState.COMPLETED, 2: NodeState.FAILED}.get(seq, NodeState.DEPENDENCY_FAILED)
        node = StoredNode(
            seq=seq,
            id=NodeId(b"%d" % seq),
            function=spec,
            parent_seq=0,
            arguments=b"",
            dependency_seqs=(1, 2) if seq > 2 else (),
            created_at=0.0,
            state=state,
            cause_seq=2 if seq > 1 else 0,
        )
        node.payload = b"" if seq == 1 else None
        return node

    for size in (4_000, 16_000):
        scheduler = make_scheduler()
        head = StoredInstance(
            seq=1, id=instance_id, definition="D", state=InstanceState.FAILED, created_at=0.0, nodes=[]
        )
        restoring = Restoring(scheduler.graph, head, 0.0)
        restoring.add([row(seq) for seq in range(1, size + 3)])
        assert sum(1 for _ in restoring.link(0.0)) == 2 * size // 1_000, "others come between"
        plan = plan_rerun(restoring.instance, command)
        assert plan is not None
        for _ in plan.carry_out(scheduler.graph):
            pass
        scheduler.resets.plans[instance_id] = plan
        restoring.enter(0.0)
        longest[size] = longest_command(scheduler, command)
        counts = restoring.instance.counts
        assert (counts[NodeState.LEASED], counts[NodeState.DEPENDENCY_FAILED]) == (1, size)
    assert longest[16_000] < 1.2 * longest[4_000]


def test_numbers_that_stand_for_nothing_are_passed_over_in_few_steps() -> None:
    """Where as many things have left a line from its middle as are in it, its heap is made anew, not worked off."""
    line: Line[int] = Line()
    for number in range(20_000):
        line.add(number, number)
    for number in range(1, 10_000):
        line.drop(number)
    line.drop(0)
    assert count_calls(line.first) < 2_000
    assert line.first() == 10_000


def test_a_link_of_a_chain_costs_one_step_to_whoever_asks_why() -> None:
    """The end of a chain of ten thousand nodes is told what holds its beginning, in no more calls than it has links."""
    scheduler = make_scheduler()
    submit(scheduler, 0, nodes=LARGE, chained=True)
    last = scheduler.node(InstanceId(b"0"), NodeId(b"0.%d" % (LARGE - 1)))
    assert count_calls(partial(explain, scheduler, last, 0.0)) < 1.1 * LARGE


def test_submitting_costs_the_same_for_each_node() -> None:
    """A request with ten times the nodes takes ten times the calls."""
    calls = {}
    for size in (SMALL, LARGE):
        scheduler = make_scheduler()
        calls[size] = count_calls(partial(submit, scheduler, 0, nodes=size, chained=True))
    assert calls[LARGE] < 10.5 * calls[SMALL]


def test_a_hop_of_a_tail_recursion_costs_the_same_however_deep_it_is() -> None:
    """The first hundred aliases of a chain cost as much as a hundred that come after a thousand."""
    scheduler = make_scheduler()
    submit(scheduler, 0)
    made = iter(range(1, 100_000))

    def hop(times: int) -> None:
        for _ in range(times):
            scheduler.handle(c.GrantWork(), 0.0)
            ((token, node),) = scheduler.workers[W].leases.items()
            child = NewCall(NodeId(b"child%d" % next(made)), node.function.spec, b"", ())
            result = c.NodeResult(node_id=node.id, token=token, alias_id=child.node_id, children=[child])
            scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)

    hop(10)
    early = count_calls(partial(hop, 100))
    hop(1000)
    late = count_calls(partial(hop, 100))
    assert late <= 1.05 * early


@pytest.mark.parametrize("is_over", [True, False])
def test_restoring_a_tail_recursion_costs_the_same_for_each_hop(is_over: bool) -> None:
    """Whether it has come to its end or not, a chain of aliases is restored in time that grows with its length only."""
    spec = FunctionSpec(name="f", queue="q")

    def row(seq: int, last: int) -> StoredNode:
        node = StoredNode(
            seq=seq,
            id=NodeId(b"%d" % seq),
            function=spec,
            parent_seq=seq - 1,
            arguments=b"",
            dependency_seqs=(),
            created_at=0.0,
            state=NodeState.COMPLETED if is_over else NodeState.JOINING,
            promise_seqs=(seq + 1,),
        )
        if seq == last:
            node.promise_seqs = ()
            node.payload, node.state = (b"", NodeState.COMPLETED) if is_over else (None, NodeState.WAITING)
        return node

    calls = {}
    for length in (SMALL, LARGE):
        nodes = [row(seq, length) for seq in range(1, length + 1)]
        stored = StoredInstance(
            seq=1, id=InstanceId(b"i"), definition="D", state=InstanceState.RUNNING, created_at=0.0, nodes=nodes
        )
        scheduler = make_scheduler()
        calls[length] = count_calls(partial(scheduler.restore_instance, stored, 0.0))
        check_invariants(scheduler)
    assert calls[LARGE] < 10.5 * calls[SMALL]


def test_a_view_that_waits_does_not_grow_with_what_others_run() -> None:
    """While a worker is busy, what passes through the queues that it shares leaves nothing behind in its view."""
    scheduler = make_scheduler()
    both = c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", exclude_queues=frozenset({"other"}))
    scheduler.handle(both, 0.0)
    submit(scheduler, 0, queue="slow", nodes=2)  # one for w2, one that stays first in its view
    scheduler.handle(c.GrantWork(), 0.0)
    for at in range(1, 201):
        submit(scheduler, at, nodes=1)
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[W].leases.items()
        result = c.NodeResult(node_id=node.id, token=token, payload=b"")
        scheduler.handle(c.CompleteNodes(worker_id=W, results=[result]), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
    sizes = [len(merge.lanes.heap) for view in scheduler.queues.views.values() for merge in view.merges]
    sizes += [len(line.heap) for lane in scheduler.queues.lanes.values() for line in lane.lines]
    check_invariants(scheduler)
    assert max(sizes) <= 40  # of numbers that stand for nothing; nothing else is kept


def hold_one_each(scheduler: Scheduler, count: int, *, queue: str = "") -> None:
    """Have further workers hold a node each, with more of them waiting."""
    submit(scheduler, 0, queue="held", nodes=3 * count)
    queues = frozenset({queue}) if queue else frozenset()
    for number in range(count):
        worker_id = WorkerId(b"other%d" % number)
        scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="other", include_queues=queues), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)


def stand_idle(scheduler: Scheduler, count: int) -> None:
    """Have further workers stand idle."""
    for number in range(count):
        command = c.ConnectWorker(
            worker_id=WorkerId(b"other%d" % number), name="other", include_queues=frozenset({"none"})
        )
        scheduler.handle(command, 0.0)
        scheduler.handle(c.GrantWork(), 0.0)


def stand_idle_apart(scheduler: Scheduler, count: int) -> None:
    """Have further workers stand idle, each for a queue of its own."""
    for number in range(count):
        queues = frozenset({f"none {number}"})
        worker_id = WorkerId(b"other%d" % number)
        scheduler.handle(c.ConnectWorker(worker_id=worker_id, name="other", include_queues=queues), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)


@pytest.mark.parametrize(
    "fill", [partial(hold_one_each, queue="held"), hold_one_each, stand_idle, stand_idle_apart], ids=range(4)
)
def test_a_node_costs_the_same_however_many_workers_there_are(fill: Callable[[Scheduler, int], None]) -> None:
    """With thirty times the workers, busy or idle, for other nodes or for all, a node takes as many calls."""
    calls = {}
    for size in (10, 300):
        scheduler = make_scheduler()
        fill(scheduler, size)
        submit(scheduler, 1_000, nodes=40)
        run_some(scheduler)
        calls[size] = count_calls(partial(run_some, scheduler))
        check_invariants(scheduler)
    assert calls[300] < 1.1 * calls[10]


@pytest.mark.parametrize("is_capped", [True, False])
def test_a_limit_costs_the_same_however_many_functions_wait_for_it(is_capped: bool) -> None:
    """With ten times the functions that share a limit, or the cap of an instance, granting takes as many calls."""
    calls = {}
    for size in (20, 200):
        scheduler = make_scheduler()
        limits = () if is_capped else (LimitSpec(max=1),)
        specs = [FunctionSpec(name=f"f{number}", queue="q", limits=limits) for number in range(size)]
        nodes = [
            NewCall(NodeId(b"%d" % number), specs[number % size], b"", (), () if is_capped else ("k",))
            for number in range(3 * size)
        ]
        options = c.InstanceOptions(running_max=1 if is_capped else 0)
        scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=nodes, options=options), 0.0)
        run_some(scheduler)
        calls[size] = count_calls(partial(run_some, scheduler))
        check_invariants(scheduler)
    assert calls[200] < 1.2 * calls[20]


def test_what_has_ended_beside_a_worker_that_is_full_leaves_nothing_behind() -> None:
    """Groups and functions of instances that have ended are not kept by views whose own first nodes wait."""
    scheduler = make_scheduler()
    scheduler.handle(c.ConnectWorker(worker_id=WorkerId(b"w2"), name="w2", tolerations=frozenset({"t"})), 0.0)
    spec = FunctionSpec(name="train", queue="other", taint="t")
    calls = [NewCall(NodeId(b"t%d" % number), spec, b"", ()) for number in range(3)]
    options = c.InstanceOptions(priority=1)
    scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"t"), definition="D", calls=calls, options=options), 0.0)
    scheduler.handle(c.GrantWork(), 0.0)
    for at in range(200):
        calls = [NewCall(NodeId(b"%d" % at), FunctionSpec(name=f"f{at}", queue="q"), b"", ())]
        options = c.InstanceOptions(group=f"user {at}")
        instance_id = InstanceId(b"%d" % at)
        scheduler.handle(c.SubmitNodes(instance_id=instance_id, definition="D", calls=calls, options=options), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
        ((token, node),) = scheduler.workers[W].leases.items()
        scheduler.handle(c.CompleteNodes(worker_id=W, completions=[(node.id, token, b"", 0.0)]), 0.0)
        scheduler.handle(c.GrantWork(), 0.0)
    del node
    check_invariants(scheduler)
    assert [*scheduler.queues.groups] == [""]
    assert len(scheduler.queues.lanes) == 1
