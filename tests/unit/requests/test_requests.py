"""What is asked of a broker is answered alike by every keeper of its state, without gRPC and without messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from dagorama.testing.core import Core, worker_with
from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import (
    ConflictingRequest,
    EmptyInstance,
    InstanceEnded,
    Refused,
    UnfitInstance,
    UnknownInstance,
    UnknownNode,
)
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import RequestId
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.answers import Outcome
from dagorama_broker.requests.checks import MalformedRequest
from dagorama_broker.requests.keeper import Keeper
from dagorama_broker.requests.refusals import CODES
from dagorama_broker.requests.watching import Watching
from tests.unit.host.commands import WORKER, complete, fail, instance_id, node_id, submit, until
from tests.unit.host.hosting import running_host

pytestmark = pytest.mark.asyncio

Keeping = Callable[[], AbstractAsyncContextManager[Keeper]]
ORDER = instance_id("i")
A, B, C = node_id("a"), node_id("b"), node_id("c")


@asynccontextmanager
async def hosting() -> AsyncIterator[Host]:
    """Give a host that runs, with a worker that pulls."""
    async with running_host() as host:
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=0))
        yield host


@asynccontextmanager
async def in_process() -> AsyncIterator[Core]:
    """Give the keeper that is in the broker of unit tests, with the same worker."""
    worker = worker_with(tolerations=(), include_queues=(), exclude_queues=())
    core = Core(worker=worker, seed=0, check=True, revoked=lambda tokens: None, changed=lambda: None)
    await core.commit(c.DisconnectWorker(worker_id=worker.worker_id, left=True))
    await core.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=0))
    yield core


@pytest.fixture(params=[hosting, in_process])
def keeping(request: pytest.FixtureRequest) -> Keeping:
    """Give each keeper in turn."""
    made: Keeping = request.param
    return made


async def run(keeper: Keeper, *names: str, result: Callable[..., c.CompleteNodes] = complete) -> None:
    """Run nodes one by one, in the broker's order, which is that of the names."""
    for name in names:
        await keeper.commit(c.PullNode(worker_id=WORKER))
        await keeper.commit(result(keeper, name))


async def test_looks_and_outcomes_outlast_the_instance_in_memory(keeping: Keeping) -> None:
    """A node is told of by its id, whether it waits, has ended, or its instance has left memory."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a"))
        await keeper.submit(submit("b", after=["a"]))
        await run(keeper, "a")
        first = await requests.outcome(ORDER, A)
        with pytest.raises(UnknownNode):
            await requests.outcome(ORDER, B)
        assert (await requests.has_ended(ORDER, A), await requests.has_ended(ORDER, B)) == (True, False)
        assert (await requests.get_node(ORDER, B)).state is NodeState.READY
        await run(keeper, "b")
        assert ORDER not in keeper.scheduler.instances
        assert await requests.outcome(ORDER, A) == first == (A, NodeState.COMPLETED, [(A, b"v")], None)
        node = await requests.get_node(ORDER, B)
        assert (node.state, node.dependency_ids, node.attempts) == (NodeState.COMPLETED, [A], 1)
        assert (await requests.get_instance(ORDER)).state is InstanceState.COMPLETED
        assert await requests.is_over(ORDER)


async def test_a_node_without_a_value_names_its_root_cause(keeping: Keeping) -> None:
    """The outcome has the failed node, its function and its last failure, in memory and from the journal."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a", "c"))
        await keeper.submit(submit("b", after=["a"]))
        await run(keeper, "a", result=fail)
        early = await requests.outcome(ORDER, B)
        await run(keeper, "c")
        assert await requests.outcome(ORDER, B) == early
        assert early.cause is not None
        assert early.cause.failure is not None
        assert (early.state, early.cause.node_id, early.cause.failure.message) == (
            NodeState.DEPENDENCY_FAILED,
            A,
            "no stock",
        )
        (reason,) = (await requests.why(ORDER, B)).reasons
        assert (reason.kind, reason.node_ids) == ("ended", (A,))


async def test_what_has_ended_is_not_changed(keeping: Keeping) -> None:
    """An instance that has left memory is refused by its state; one that never was, as unknown."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a"))
        assert (await requests.control_instance(ORDER, paused=True, priority=3)).control == (3, True, 0)
        await requests.cancel_instance(ORDER)
        for change in (requests.cancel_instance, requests.control_instance):
            with pytest.raises(InstanceEnded, match="is cancelled already"):
                await change(ORDER)
            with pytest.raises(UnknownInstance):
                await change(instance_id("none"))
        with pytest.raises(UnfitInstance):
            await requests.retry_instance(ORDER)


async def test_beginning_anew_is_repeated_by_its_id(keeping: Keeping) -> None:
    """The same request answers the same and changes nothing; another with its id is refused."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a"))
        await keeper.submit(submit("b", after=["a"]))
        await run(keeper, "a", result=fail)
        again, anew = RequestId(b"r" * 16), RequestId(b"s" * 16)
        await requests.retry_instance(ORDER, again)
        await requests.retry_instance(ORDER, again)
        await run(keeper, "a", "b")
        assert await requests.rerun_node(ORDER, A, anew) == [A, B] == await requests.rerun_node(ORDER, A, anew)
        with pytest.raises(ConflictingRequest):
            await requests.rerun_node(ORDER, B, anew)


async def test_lists_come_page_by_page(keeping: Keeping) -> None:
    """A page has the token of the next; what is no token is refused, as is a list of what is not there."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a", "b", "c"))
        first = await requests.list_nodes(ORDER, 2)
        last = await requests.list_nodes(ORDER, 2, first.next_token)
        assert [[node.id for node in page.items] for page in (first, last)] == [[A, B], [C]]
        assert last.next_token == ""
        with pytest.raises(MalformedRequest, match="page_token '-1' is none that this broker gave"):
            await requests.list_nodes(ORDER, 2, "-1")
        with pytest.raises(UnknownInstance):
            await requests.list_nodes(instance_id("none"))
        await keeper.submit(submit(instance="j"))
        page = await requests.list_instances(1)
        rest = await requests.list_instances(1, page.next_token)
        assert [one.id for one in (*page.items, *rest.items)] == [instance_id("j"), ORDER]


async def test_queues_and_workers_are_told_of(keeping: Keeping) -> None:
    """A queue without nodes is told of while it is paused or capped, and a node that it holds says so."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        (empty,) = await requests.control_queue("f", paused=True)
        await keeper.submit(submit("a"))
        (queue,) = await requests.list_queues()
        (worker,) = await requests.list_workers()
        (reason,) = (await requests.why(ORDER)).reasons
        assert (empty.ready, empty.workers, queue.ready, queue.held, queue.paused) == (0, 1, 1, 1, True)
        assert (worker.name, worker.leases, reason.kind) == ("w", 0, "paused")
        with pytest.raises(MalformedRequest, match="queue is empty"):
            await requests.control_queue("")


async def test_an_instance_of_a_definition_with_an_endless_name_is_refused(keeping: Keeping) -> None:
    """Names are kept and shown, so they have a limit, whoever asks."""
    async with keeping() as keeper:
        with pytest.raises(MalformedRequest, match=r"definition .xxx.* has 2001 bytes; the limit is 2000"):
            await Requests(keeper).submit(ORDER, "x" * 2001, ())
        assert ORDER not in keeper.scheduler.instances


async def test_an_instance_without_nodes_cannot_say_why(keeping: Keeping) -> None:
    """There is none to ask about, and that is another answer than that there is no such instance."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await requests.submit(ORDER, "d", [])
        await requests.check_instance(ORDER)
        with pytest.raises(EmptyInstance):
            await requests.why(ORDER)
        with pytest.raises(UnknownInstance):
            await requests.check_instance(instance_id("none"))


async def test_a_watch_tells_of_each_node_once_it_has_ended() -> None:
    """Those that had ended come first, whether they are in memory, and each that is named twice comes once."""
    async with hosting() as host:
        requests = Requests(host)
        watching = Watching(host, requests)
        await host.submit(submit("a"))
        await host.submit(submit("b", after=["a"]))
        await run(host, "a")
        watch = watching.watch(ORDER, [B, A, B])
        assert (await anext(watch)).node_id == A
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await run(host, "b")
        assert (await waiting).node_id == B
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        assert [outcome.node_id async for outcome in watching.watch(ORDER, [B, A])] == [B, A]
        with pytest.raises(UnknownNode):
            await anext(watching.watch(ORDER, [C]))


async def test_a_watch_of_nodes_together_gives_all_outcomes_in_order() -> None:
    """It waits for each, wherever it stands; a node that is named twice comes twice."""
    async with hosting() as host:
        watching = Watching(host, Requests(host))
        await host.submit(submit("a", "c"))
        await host.submit(submit("b", after=["a"]))
        waiting = asyncio.ensure_future(watching.watch_together(ORDER, [B, A, B]))
        await run(host, "a", "c")
        assert not waiting.done()
        await run(host, "b")
        assert await waiting == [(one, NodeState.COMPLETED, [(one, b"v")], None) for one in (B, A, B)]
        assert host.listeners.waiting == 0
        assert ORDER not in host.scheduler.instances
        assert [outcome.node_id for outcome in await watching.watch_together(ORDER, [C, B, A])] == [C, B, A]
        with pytest.raises(UnknownNode):
            await watching.watch_together(ORDER, [A, node_id("none")])


async def test_a_watch_of_nodes_together_ends_with_the_first_failure() -> None:
    """What comes after it is not waited for, and what is before it is."""
    async with hosting() as host:
        watching = Watching(host, Requests(host))
        await host.submit(submit("a", "b", "c"))
        await run(host, "a", result=fail)
        assert [outcome.state for outcome in await watching.watch_together(ORDER, [A, B])] == [NodeState.FAILED]
        waiting = asyncio.ensure_future(watching.watch_together(ORDER, [B, A, C]))
        await host.flush()
        assert not waiting.done()
        await run(host, "b")
        assert [outcome.node_id for outcome in await waiting] == [B, A]


async def test_a_watch_of_nodes_together_has_no_more_than_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large values come in several answers, one at least in each, from memory and from the journal."""
    monkeypatch.setattr("dagorama_broker.requests.watching.TOGETHER_BYTES", 2)
    async with hosting() as host:
        watching = Watching(host, Requests(host))
        await host.submit(submit("a", "b", "c"))
        await run(host, "a", "b")
        assert [outcome.node_id for outcome in await watching.watch_together(ORDER, [A, B, C])] == [A, B]
        await run(host, "c")
        assert [outcome.node_id for outcome in await watching.watch_together(ORDER, [A, B, C])] == [A, B]
        monkeypatch.setattr("dagorama_broker.requests.watching.TOGETHER_BYTES", 0)
        assert [outcome.node_id for outcome in await watching.watch_together(ORDER, [C, A])] == [C]


async def test_the_ends_of_nodes_are_told_without_values(keeping: Keeping) -> None:
    """Of those that have ended, in memory and from the journal; nobody waits for the others."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a", "b"))
        await keeper.submit(submit("c", after=["a"]))
        await run(keeper, "a", result=fail)
        ended = [(A, NodeState.FAILED, (), None), (C, NodeState.DEPENDENCY_FAILED, (), None)]
        assert await requests.find_ended(ORDER, [A, B, C]) == ended
        await run(keeper, "b")
        assert len(await requests.find_ended(ORDER, [A, B, C])) == 3
        with pytest.raises(UnknownNode):
            await requests.find_ended(ORDER, [A, node_id("none")])


async def test_a_watch_that_is_closed_waits_no_longer() -> None:
    """Nothing is kept for those who have gone away."""
    async with hosting() as host:
        await host.submit(submit("a"))
        watching = Watching(host, Requests(host))
        waiting = asyncio.ensure_future(anext(watching.watch(ORDER, [A])))
        changes = watching.watch_instance(ORDER)
        assert (await anext(changes)).state is InstanceState.RUNNING
        assert host.listeners.waiting == 2
        waiting.cancel()
        await asyncio.wait([waiting])
        await changes.aclose()
        assert host.listeners.waiting == 0


@pytest.mark.parametrize("together", [False, True])
async def test_a_watch_goes_on_where_the_instance_comes_back_while_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """A node that a retry has just taken up is no unknown one: it is waited for."""
    async with hosting() as host:
        requests = Requests(host)
        await host.submit(submit("a"))
        await run(host, "a", result=fail)
        assert ORDER not in host.scheduler.instances
        flush = host.flush

        async def flush_late() -> None:
            monkeypatch.setattr(host, "flush", flush)
            await requests.retry_instance(ORDER)

        monkeypatch.setattr(host, "flush", flush_late)
        watching = Watching(host, requests)
        one, all_ = watching.watch(ORDER, [A]), watching.watch_together
        watch: Awaitable[object] = all_(ORDER, [A]) if together else anext(one)
        waiting = asyncio.ensure_future(watch)
        await until(lambda: host.listeners.waiting == 1 or waiting.done())
        await run(host, "a")
        outcome = Outcome(A, NodeState.COMPLETED, [(A, b"v")])
        assert await waiting == ([outcome] if together else outcome)


async def test_every_refusal_has_a_code() -> None:
    """A client is told what kind of refusal it is by one of few words."""
    kinds = set(Refused.__subclasses__())
    assert kinds <= CODES.keys()
