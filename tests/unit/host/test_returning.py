"""Calls in instances that have left memory: what they need comes back, and no more."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import (
    ConflictingNode,
    TooManyBytes,
    TooManyNodes,
    UnfitInstance,
    UnknownDependency,
    UnknownNode,
)
from dagorama_broker.core.events import ActionTaken, InstanceReopened, NodesCreated, RequestRepeated
from dagorama_broker.core.graph.payloads import collect_values
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.references import SIZE_END, Reference, write_references
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId, RequestId
from dagorama_broker.core.settings import Settings
from dagorama_broker.host import returning
from dagorama_broker.host.host import Host
from dagorama_broker.storage.auditing import audit_uses
from dagorama_broker.storage.journal import Journal
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id, submit
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate
from tests.unit.host.hosting import running_host

pytestmark = pytest.mark.asyncio

I = instance_id("i")  # noqa: E741


async def run_chain(host: Host) -> None:
    """Have an instance end: `r` has handed on to `s`, whose value is a list with that of `t`; `z` stands alone."""
    await host.commit(submit("r", "z"))
    for name, child, result in (
        ("r", "s", {"alias_id": node_id("s")}),
        ("s", "t", {"payload": b"[t]", "promise_ids": [node_id("t")]}),
    ):
        node = host.scheduler.node(I, node_id(name))
        call = NewCall(node_id(child), node.function.spec, b"", ())
        told = c.NodeResult(node_id=node.id, token=node.token, children=[call], **result)
        await host.commit(c.CompleteNodes(worker_id=WORKER, results=[told]))
    await host.commit(complete(host, "z"))
    await host.commit(complete(host, "t"))
    assert I not in host.scheduler.instances


async def test_an_instance_is_as_full_as_it_was(journal: Journal, gate: Gate) -> None:
    """Nodes that are not brought back count, also where it runs again with those that are."""
    async with running_host(journal, settings=Settings(instance_nodes_max=5)) as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        with pytest.raises(TooManyNodes, match="has 4 already"):
            await host.submit(submit("u", "v", after=["r"]))
        await host.submit(submit("z", "u"))
        assert node_id("r") not in host.scheduler.instances[I].nodes
        with pytest.raises(TooManyNodes, match="has 5 already"):
            await host.submit(submit("v"))
        check_invariants(host.scheduler)
        assert set(host.scheduler.instances[I].nodes) == {node_id("u")}


async def test_results_that_can_be_read_once_are_taken_beside_an_instance_in_part(journal: Journal, gate: Gate) -> None:
    """A report comes as columns, which are not kept; the look for what has to be brought back leaves them there."""
    async with running_host(journal) as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        await host.submit(submit("u"))
        assert host.scheduler.graph.partial
        node = host.scheduler.node(I, node_id("u"))
        told = iter([(node.id, node.token, b"", 0.0, 0.0)])
        await host.report(c.CompleteNodes(worker_id=WORKER, completions=told), lambda: None)
        assert node.state is NodeState.COMPLETED


async def test_an_instance_holds_what_it_held(journal: Journal, gate: Gate) -> None:
    """Values of nodes that are not brought back count, once: also where a call, or a result, has them again."""
    x, y, z = (Reference(name.encode() * 32, size) for name, size in (("x", 60), ("y", 30), ("z", 11)))
    async with running_host(journal, settings=Settings(instance_bytes_max=100)) as host:
        Channel(host, gate.log, slots=10)
        await host.commit(with_values(submit("a", "b"), [x]))
        await host.report(giving(host, "a", [y]), lambda: None)
        await host.report(giving(host, "b", [x]), lambda: None)
        await host.flush()
        assert I not in host.scheduler.instances
        with pytest.raises(TooManyBytes, match="come to 90 already"):
            await host.submit(with_values(submit("c"), [z]))
        await host.submit(with_values(submit("c"), [x]))
        await host.submit(submit("d", "e"))
        assert host.scheduler.instances[I].held_bytes == 90
        await host.report(giving(host, "d", [x, y]), lambda: None)
        await host.report(giving(host, "e", [z]), lambda: None)
        check_invariants(host.scheduler)
        states = {name: host.scheduler.node(I, node_id(name)).state for name in "cde"}
        assert states == {"c": NodeState.LEASED, "d": NodeState.COMPLETED, "e": NodeState.FAILED}
        await host.commit(complete(host, "c"))
        head = journal.find_head(I)
        assert head is not None
        assert (head.held_bytes, list(audit_uses(journal))) == (90, [])


async def test_an_instance_holds_no_more_than_the_largest_number(journal: Journal, gate: Gate) -> None:
    """Bytes of clients that know of no references may read as those of values of any size: what is stored is cut."""
    huge = [Reference(name.encode() * 32, SIZE_END - 1) for name in "xy"]
    async with running_host(journal, settings=Settings(instance_bytes_max=inf)) as host:
        Channel(host, gate.log)
        await host.commit(with_values(submit("a"), huge))
        await host.commit(complete(host, "a"))
        head = journal.find_head(I)
        assert head is not None
        assert (head.held_bytes, list(audit_uses(journal))) == (SIZE_END - 1, [])


def with_values(command: c.SubmitNodes, references: Sequence[Reference]) -> c.SubmitNodes:
    """Give each call of a command arguments that refer to these values."""
    arguments = write_references(references, b"")
    return replace(command, calls=[call._replace(arguments=arguments) for call in command.calls])


def giving(host: Host, name: str, references: Sequence[Reference]) -> c.CompleteNodes:
    """Complete a node, in the short form, with a payload that refers to these values."""
    node = host.scheduler.node(I, node_id(name))
    payload = write_references(references, b"")
    return c.CompleteNodes(worker_id=WORKER, completions=[(node.id, node.token, payload, 0.5)])


async def test_a_call_brings_back_only_what_it_depends_on(running: Running, gate: Gate) -> None:
    """Its dependency is there with all that its value is made of; all nodes are counted; others are looked up."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        await host.submit(submit("u", after=["r"]))
        instance = host.scheduler.instances[I]
        check_invariants(host.scheduler)
        assert node_id("z") not in instance.nodes
        assert instance.counts[NodeState.COMPLETED] == 4
        values = collect_values(instance.nodes[node_id("u")].dependencies)
        assert values == [(node_id("t"), b"v"), (node_id("r"), b"[t]")]
        await host.submit(submit("v", after=["z", "u"]))  # while it runs
        check_invariants(host.scheduler)
        await host.commit(complete(host, "u"))
        await host.commit(complete(host, "v"))
        assert I not in host.scheduler.instances
        assert not host.scheduler.graph.partial
        summary = host.journal.summarize_instance(I)
        assert summary is not None
        assert (summary.state, summary.counts) == (InstanceState.COMPLETED, {NodeState.COMPLETED: 6})


async def test_what_is_repeated_brings_nothing_back(running: Running, gate: Gate) -> None:
    """The same calls again, or none, change nothing; another body under a known id is refused, here as in memory."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        first = submit("a", "b")
        await host.commit(first)
        await host.commit(submit("d", after=["a", "b"]))
        for name in "abd":
            await host.commit(complete(host, name))
        gate.commits.clear()
        for again in (first, submit("d", after=["a", "b"]), replace(first, calls=())):
            assert await host.submit(again) == ()
        with pytest.raises(ConflictingNode):
            await host.submit(submit("d", after=["a"]))
        assert I not in host.scheduler.instances
        assert gate.commits == []


async def test_what_had_failed_fails_what_depends_on_it(running: Running, gate: Gate) -> None:
    """The root cause comes back too, and the instance stays failed."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await host.commit(submit("a"))
        await host.commit(submit("b", after=["a"]))
        await host.commit(fail(host, "a"))
        assert I not in host.scheduler.instances
        await host.submit(submit("c", "e", after=["b"]))
        found = host.journal.find_by_id(I, [node_id("a"), node_id("c")])
        assert found[node_id("c")].state is NodeState.DEPENDENCY_FAILED
        assert found[node_id("c")].cause_seq == found[node_id("a")].seq
        summary = host.journal.summarize_instance(I)
        assert summary is not None
        assert summary.counts == {NodeState.FAILED: 1, NodeState.DEPENDENCY_FAILED: 3}


async def test_a_result_may_refer_to_what_had_ended_before(running: Running, gate: Gate) -> None:
    """A function that returns the promise of a node which is not in memory any more is given its value."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        await host.submit(submit("u"))
        node = host.scheduler.node(I, node_id("u"))
        told = c.NodeResult(node_id=node.id, token=node.token, alias_id=node_id("r"))
        await host.report(c.CompleteNodes(worker_id=WORKER, results=[told]), lambda: None)
        await host.flush()
        found = host.journal.find_by_id(I, [node_id("u"), node_id("s")])
        assert found[node_id("u")].state is NodeState.COMPLETED
        assert found[node_id("u")].source_seq == found[node_id("s")].seq


async def test_what_is_repeated_counts_as_such_where_a_part_is_in_memory(running: Running, gate: Gate) -> None:
    """What came back for another call lacks what it depends on itself; that makes it no other call."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await host.commit(submit("a"))
        await host.commit(submit("b", after=["a"]))
        await host.commit(complete(host, "a"))
        await host.commit(complete(host, "b"))
        await host.submit(submit("u", after=["b"]))
        assert await host.submit(submit("b", after=["a"])) == ()
        assert await host.submit(submit("u", after=["b"])) == ()
        with pytest.raises(ConflictingNode):
            await host.submit(submit("b"))
        check_invariants(host.scheduler)


async def test_a_repeated_rerun_is_answered_wherever_its_nodes_are(running: Running, gate: Gate) -> None:
    """Where some are in memory, or none, they are told by their numbers, and nothing comes back for that."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await host.commit(submit("a", "z"))
        await host.commit(complete(host, "a"))
        await host.commit(complete(host, "z"))
        rerun = c.RerunNode(instance_id=I, node_id=node_id("a"), request_id=RequestId(b"r" * 16))
        await host.submit(rerun)
        await host.commit(complete(host, "a"))
        await host.submit(submit("u", after=["z"]))
        assert await seqs_of_repeated(host, rerun) == [1]
        assert node_id("a") not in host.scheduler.instances[I].nodes
        await host.commit(complete(host, "u"))
        assert await seqs_of_repeated(host, rerun) == [1]
        assert I not in host.scheduler.instances


async def seqs_of_repeated(host: Host, command: c.RerunNode) -> list[int]:
    """Send a rerun again and give what nodes it is said to have been of."""
    (event,) = await host.submit(command)
    assert isinstance(event, RequestRepeated)
    return list(event.seqs)


async def test_what_is_refused_leaves_nothing_behind(running: Running, gate: Gate) -> None:
    """The nodes that came back, only to see that a rerun cannot be, go at once, and not when a collector finds them."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        gc.collect()
        gc.disable()
        try:
            for command, refusal in (
                (c.RetryInstance(instance_id=I), UnfitInstance),
                (c.RerunNode(instance_id=I, node_id=node_id("nowhere")), UnknownNode),
            ):
                with pytest.raises(refusal):
                    await host.submit(command)
            await host.flush()
            left = [thing for thing in gc.get_objects() if type(thing) is Node and thing.instance.id == I]
        finally:
            gc.enable()
        assert left == []


async def test_what_was_brought_back_for_a_refused_call_leaves_with_the_next_look(running: Running, gate: Gate) -> None:
    """Values of any size would stay in memory where nothing else happens for a while."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await run_chain(host)
        with pytest.raises(UnknownDependency):
            await host.submit(submit("u", after=["r", "nothing"]))
        await host.flush()
        assert I not in host.scheduler.instances
        check_invariants(host.scheduler)


async def test_comparing_calls_reads_few_values_at_once(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the nodes have given is beside what their calls were; it may be of any size."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        again = submit("a", "b", "c", "d")
        await host.commit(again)
        for name in "abcd":
            await host.commit(complete(host, name))  # a value of one byte
        read: list[int] = []
        find_by_id = host.journal.find_by_id

        def note(instance_id: InstanceId, node_ids: list[NodeId], *, values: bool = False) -> dict[NodeId, StoredNode]:
            read.append(len(node_ids) if values else 0)
            return find_by_id(instance_id, node_ids, values=values)

        monkeypatch.setattr(host.journal, "find_by_id", note)
        monkeypatch.setattr(returning, "_BESIDE_BYTES_MAX", 2)
        assert await host.submit(again) == ()
        assert read == [0, 2, 2]


def soon(function: Callable[[], object]) -> Callable[[], None]:
    """Have a function called when a batch is durable, before those go on that wait for it."""

    def then() -> None:
        asyncio.get_running_loop().call_soon(function)

    return then


async def test_an_instance_that_ends_meanwhile_comes_back_as_ended(running: Running, gate: Gate) -> None:
    """A call that waits for the journal does not take it for complete, when the instance has just left memory."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await host.commit(submit("a"))
        await host.commit(complete(host, "a"))
        await host.submit(submit("b", after=["a"]))
        host.apply(c.Tick(), soon(lambda: host.apply(complete(host, "b"))))
        events = await host.submit(submit("c", after=["a"]))
        assert [type(event) for event in events] == [ActionTaken, ActionTaken, InstanceReopened, NodesCreated]
        await host.commit(complete(host, "c"))
        summary = host.journal.summarize_instance(I)
        assert summary is not None
        assert (summary.state, summary.counts) == (InstanceState.COMPLETED, {NodeState.COMPLETED: 3})


async def test_a_retry_meets_an_instance_as_it_has_ended(running: Running, gate: Gate) -> None:
    """One that fails just now can be retried, as one that failed long ago."""
    async with running() as host:
        Channel(host, gate.log, slots=10)
        await host.commit(submit("a"))
        await host.commit(complete(host, "a"))
        await host.submit(submit("b", after=["a"]))
        host.apply(c.Tick(), soon(lambda: host.apply(fail(host, "b"))))
        await host.submit(c.RetryInstance(instance_id=I, request_id=RequestId(b"r" * 16)))
        await host.commit(complete(host, "b"))
        summary = host.journal.summarize_instance(I)
        assert summary is not None
        assert (summary.state, summary.counts) == (InstanceState.COMPLETED, {NodeState.COMPLETED: 2})
