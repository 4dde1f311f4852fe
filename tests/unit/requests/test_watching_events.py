"""Watchers of events wait on the host's event loop, and hear of what is durable alone."""

from __future__ import annotations

import asyncio

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import WorkerId
from dagorama_broker.requests import Requests
from dagorama_broker.requests import feed as feed_module
from dagorama_broker.requests.answers import EventBatch, InstanceHappening, NodeHappening, WorkerHappening
from dagorama_broker.requests.watching import Watching
from tests.unit.host.commands import WORKER, complete, instance_id, submit
from tests.unit.host.gate import Gate, GatedMemory
from tests.unit.host.hosting import running_host

pytestmark = pytest.mark.asyncio


def told(batch: EventBatch) -> list[str]:
    """Give the kinds of events."""
    return [happening.kind.value for _, happening in batch.events]


async def test_nothing_is_told_before_it_is_durable() -> None:
    """An event whose commit is on its way is not there, also for who asks meanwhile."""
    gate = Gate()
    async with running_host(GatedMemory(gate)) as host:
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_events("", None, 0)).cursor
        gate.hold()
        submitting = asyncio.create_task(host.submit(submit("a")))
        await gate.begun()
        during = await watching.watch_events(begin, None, 0)
        gate.let_through()
        await submitting
        assert (told(during), during.cursor) == ([], begin)
        assert told(await watching.watch_events(begin, None, 0)) == ["instance_created", "nodes_created"]


async def test_who_waits_is_told_as_soon_as_something_happens() -> None:
    """Each of several, at a pace of its own; who watches one instance is not woken for good by another."""
    async with running_host() as host:
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_events("", None, 30)).cursor
        everything = [asyncio.create_task(watching.watch_events(begin, None, 30)) for _ in range(2)]
        one = asyncio.create_task(watching.watch_events(begin, instance_id("i"), 30))
        await host.submit(submit("a", instance="other"))
        for batch in await asyncio.gather(*everything):
            assert told(batch) == ["instance_created", "nodes_created"]
        assert not one.done()
        await host.submit(submit("a"))
        happened = await one
        assert told(happened) == ["instance_created", "nodes_created"]
        assert (await watching.watch_events(happened.cursor, None, 0)).events == []
        assert watching._requests.feed.waiting == {}


async def test_who_has_waited_in_vain_is_answered() -> None:
    """With a cursor to go on from, and nothing is left of the wait."""
    async with running_host() as host:
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_events("", None, 0)).cursor
        batch = await watching.watch_events(begin, None, 0.01)
        assert (batch.events, batch.cursor, watching._requests.feed.waiting) == ([], begin, {})
        waiting = asyncio.create_task(watching.watch_events(begin, None, 30))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert watching._requests.feed.waiting == {}


async def test_nobody_who_does_not_watch_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host tells nobody before somebody asks, and forgets the feed when nobody has for a while."""
    async with running_host() as host:
        requests = Requests(host)
        await host.submit(submit("a"))
        assert host.listeners.onlookers == []
        await requests.watch_events()
        assert len(host.listeners.onlookers) == 1
        monkeypatch.setattr(feed_module, "KEPT_S", -1.0)
        await host.submit(submit("b"))
        assert host.listeners.onlookers == []


async def test_workers_are_told_of() -> None:
    """Those that connect, leave in order, and are lost, by name."""
    async with running_host() as host:
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_events("", None, 0)).cursor
        for number, left in enumerate((True, False)):
            worker_id = WorkerId(bytes([number]) * 16)
            await host.commit(c.ConnectWorker(worker_id=worker_id, name=f"w{number}"))
            await host.commit(c.DisconnectWorker(worker_id=worker_id, left=left))
        happened = await watching.watch_events(begin, None, 0)
        workers = [happening for _, happening in happened.events if isinstance(happening, WorkerHappening)]
        assert [(one.kind.value, one.worker) for one in workers] == [
            ("worker_joined", "w0"),
            ("worker_left", "w0"),
            ("worker_joined", "w1"),
            ("worker_lost", "w1"),
        ]


async def test_an_instance_that_has_left_memory_is_told_of() -> None:
    """Its end comes after that of its last node."""
    async with running_host() as host:
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=0))
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_events("", None, 0)).cursor
        await host.submit(submit("a"))
        await host.commit(c.PullNode(worker_id=WORKER))
        await host.commit(complete(host, "a"))
        happened = await watching.watch_events(begin, instance_id("i"), 0)
        assert told(happened) == ["instance_created", "nodes_created", "node_completed", "instance_finished"]
        node, instance = (happening for _, happening in happened.events[2:])
        assert isinstance(node, NodeHappening)
        assert isinstance(instance, InstanceHappening)
        assert (node.function, node.attempt, instance.state.value) == ("f", 1, "completed")
