"""Nothing leaves the host before what it follows from is durable."""

import asyncio

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import UnknownDependency
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import RetryPolicy
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id, spin, submit, until
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate

pytestmark = pytest.mark.asyncio


async def test_a_reply_waits_for_the_commit(running: Running, gate: Gate) -> None:
    """`commit` returns after the journal has the batch, and not while it is on its way there."""
    async with running() as host:
        gate.hold()
        reply = asyncio.create_task(host.commit(submit("a")))
        await gate.begun()
        await spin()
        during = reply.done()
        gate.let_through()
        await reply
        assert (during, gate.log) == (False, ["committing", "durable"])


async def test_grants_wait_for_the_commit(running: Running, gate: Gate) -> None:
    """A worker hears of its welcome, and of nodes that come in with it, when they are durable."""
    async with running() as host:
        gate.hold()
        Channel(host, gate.log)
        host.apply(submit("a"))
        await gate.begun()
        await spin()
        during = list(gate.log)
        gate.let_through()
        await host.flush()
        assert (during, gate.log) == (["committing"], ["committing", "durable", "welcome", "grant a"])


async def test_a_recorded_start_is_durable_before_the_worker_hears_of_it(running: Running, gate: Gate) -> None:
    """A node that must not run twice is stored as started in the commit that its grant waits for."""
    async with running() as host:
        Channel(host, gate.log)
        await host.flush()
        gate.log.clear()
        gate.hold()
        host.apply(submit("a", at_most_once=True))
        await gate.begun()
        await spin()
        during = list(gate.log)
        gate.let_through()
        await host.flush()
        assert (during, gate.log) == (["committing"], ["committing", "durable", "grant a"])
        assert gate.commits[-1] == ["InstanceCreated", "NodesCreated", "NodesStarted"]
        found = await host.read(host.journal.find_by_id, instance_id("i"), [node_id("a")])
        stored = found.get(node_id("a"))
        assert stored is not None
        assert stored.state is NodeState.STARTED


async def test_outcomes_changes_and_acknowledgements_wait_for_the_commit(running: Running, gate: Gate) -> None:
    """Who waits for a node or an instance, and the worker that reported, hear of a result when it is durable."""
    async with running() as host:
        Channel(host, gate.log)
        await host.commit(submit("a", "b"))
        gate.log.clear()
        outcome = host.listeners.outcome(instance_id("i"), node_id("a"))
        change = host.listeners.change(instance_id("i"))
        outcome.add_done_callback(lambda _: gate.log.append("outcome"))
        change.add_done_callback(lambda _: gate.log.append("change"))
        gate.hold()
        host.apply(complete(host, "a"), lambda: gate.log.append("acknowledged"))
        await gate.begun()
        await spin()
        during = (list(gate.log), host.scheduler.node(instance_id("i"), node_id("a")).state)
        gate.let_through()
        await host.flush()
        assert during == (["committing"], NodeState.COMPLETED)
        assert gate.log == ["committing", "durable", "grant b", "acknowledged", "outcome", "change"]


async def test_what_comes_during_a_commit_shares_the_next(running: Running, gate: Gate) -> None:
    """Fifty commands that arrive while one batch is on its way are one further batch."""
    async with running() as host:
        gate.hold()
        first = asyncio.create_task(host.commit(submit("first")))
        await gate.begun()
        others = [asyncio.create_task(host.commit(submit(str(number)))) for number in range(50)]
        await spin()
        gate.let_through()
        await asyncio.gather(first, *others)
        assert [len(commit) for commit in gate.commits] == [2, 50]


async def test_new_instances_share_commits(running: Running, gate: Gate) -> None:
    """Instances that are started at the same time do not wait for each other's commits."""
    async with running() as host:
        gate.hold()
        first = asyncio.create_task(host.submit(submit("a", instance="first")))
        await gate.begun()
        others = [asyncio.create_task(host.submit(submit("a", instance=str(number)))) for number in range(50)]
        await spin()
        gate.let_through()
        await asyncio.gather(first, *others)
        assert len(gate.commits) < 10


async def test_a_flush_waits_for_what_was_decided_before(running: Running, gate: Gate) -> None:
    """A flush returns with the batch that is on its way and the one that is filling, and makes no commit itself."""
    async with running() as host:
        gate.hold()
        host.apply(submit("a"))
        await gate.begun()
        host.apply(submit("b"))
        flushed = asyncio.create_task(host.flush())
        await spin()
        during = flushed.done()
        gate.let_through()
        await flushed
        await host.flush()
        assert (during, gate.log) == (False, ["committing", "durable"] * 2)


async def test_commands_without_durable_events_make_no_commit(running: Running, gate: Gate) -> None:
    """Heartbeats and hand-backs cost no write; a node handed back is granted again."""
    async with running() as host:
        Channel(host, gate.log)
        await host.commit(submit("a"))
        node = host.scheduler.node(instance_id("i"), node_id("a"))
        before = (len(gate.commits), node.token)
        gate.log.clear()
        await host.commit(c.Heartbeat(worker_id=WORKER))
        held = c.HeldLease(node_id=node.id, token=node.token)
        await host.commit(c.HandBack(worker_id=WORKER, leases=[held]))
        assert (len(gate.commits), gate.log, node.token > before[1]) == (before[0], ["grant a"], True)


async def test_a_refused_command_changes_nothing(running: Running, gate: Gate) -> None:
    """A command at fault raises at once and is no part of any batch."""
    async with running() as host:
        with pytest.raises(UnknownDependency):
            await host.commit(submit("a", after=["nothing"]))
        await host.flush()
        assert gate.commits == []


async def test_a_backoff_ends_on_an_idle_host(running: Running, gate: Gate) -> None:
    """The host's timer grants a node whose backoff is over; nothing else needs to happen."""
    async with running() as host:
        Channel(host, gate.log)
        await host.commit(submit("a", retry=RetryPolicy(max_attempts=2, interval_s=0.2)))
        gate.log.clear()
        node = host.scheduler.node(instance_id("i"), node_id("a"))
        await host.commit(fail(host, "a"))
        await until(lambda: gate.log[-1:] == ["grant a"])
        assert (gate.log, node.state) == (["committing", "durable", "grant a"], NodeState.LEASED)


async def test_an_idle_host_has_no_timer_but_for_leases(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without workers nothing is scheduled; with one, nothing before its lease may end."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def noting(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        timers.append(call_at(*args, **kwargs))  # type: ignore[arg-type]  # passed through
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", noting)
    async with running() as host:
        await host.commit(submit("a"))
        await spin()
        alone = [timer for timer in timers if not timer.cancelled()]
        Channel(host, gate.log)
        await host.flush()
        await spin()
        armed = [timer.when() - loop.time() for timer in timers if not timer.cancelled()]
        assert (alone, [delay > 10 for delay in armed]) == ([], [True])  # of 15


async def test_an_earlier_connection_has_no_say_over_the_next(running: Running, gate: Gate) -> None:
    """What was decided for a worker's connection before it connected again does not reach the new one."""
    async with running() as host:
        gate.hold()
        Channel(host, gate.log)
        host.apply(submit("a"))
        await gate.begun()
        Channel(host, gate.log)
        gate.let_through()
        await host.flush()
        assert gate.log == ["committing", "durable", "welcome", "grant a"]


async def test_an_instance_that_is_just_leaving_memory_is_waited_for(running: Running, gate: Gate) -> None:
    """A submit to an instance whose end is not durable yet finds it as it ended, not as it was before."""
    async with running() as host:
        Channel(host, gate.log)
        await host.submit(submit("a"))
        host.apply(complete(host, "a"))
        await host.submit(submit("b", after=["a"]))
        states = {node.id: node.state for node in host.scheduler.instances[instance_id("i")].nodes.values()}
        assert states == {node_id("a"): NodeState.COMPLETED, node_id("b"): NodeState.LEASED}


async def test_a_finished_instance_is_fetched_once(running: Running, gate: Gate) -> None:
    """Submits that reopen the same instance at the same time add to the same one, and lose nothing."""
    async with running() as host:
        Channel(host, gate.log)
        await host.submit(submit("a"))
        await host.commit(complete(host, "a"))
        await asyncio.gather(*(host.submit(submit(name, after=["a"])) for name in "bcd"))
        summary = await host.read(host.journal.summarize_instance, instance_id("i"))
        assert summary is not None
        assert summary.counts == {NodeState.COMPLETED: 1, NodeState.WAITING: 3}
        assert list(host.scheduler.instances[instance_id("i")].nodes) == [node_id(name) for name in "abcd"]
