"""Watchers of the latest changes are answered four times a second at most, with what is durable alone."""

from __future__ import annotations

import asyncio

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests import watching as module
from dagorama_broker.requests.checks import CHANGES_NAMED_MAX, MalformedRequest
from dagorama_broker.requests.watching import Watching
from tests.unit.host.commands import WORKER, complete, instance_id, node_id, submit
from tests.unit.host.gate import Gate, GatedMemory
from tests.unit.host.hosting import running_host

pytestmark = pytest.mark.asyncio


async def test_nothing_is_told_before_it_is_durable() -> None:
    """A change whose commit is on its way is not there, and what is told of an instance waits for what it rests on."""
    gate = Gate()
    async with running_host(GatedMemory(gate)) as host:
        watching = Watching(host, Requests(host))
        begin = (await watching.watch_changes("", [], 0)).cursor
        await host.submit(submit("a"))
        gate.hold()
        submitting = asyncio.create_task(host.submit(submit("b")))
        await gate.begun()
        telling = asyncio.create_task(watching.watch_changes(begin, [], 0))
        await asyncio.sleep(0)
        assert not telling.done()
        gate.let_through()
        await submitting
        (change,) = (await telling).instances
        assert sum(change.counts.values()) == 2


async def test_who_waits_is_told_as_soon_as_something_changes() -> None:
    """Each at a pace of its own, with the nodes that were asked for; and nothing is left of the wait."""
    async with running_host() as host:
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=0))
        requests = Requests(host)
        watching = Watching(host, requests)
        await host.submit(submit("a"))
        begin = (await watching.watch_changes("", [], 0)).cursor
        first = await watching.watch_changes(begin, [instance_id("i")], 0)
        assert not first
        waiting = [
            asyncio.create_task(watching.watch_changes(first.cursor, named, 30)) for named in ([], [instance_id("i")])
        ]
        await host.commit(c.PullNode(worker_id=WORKER))
        await host.commit(complete(host, "a"))
        for batch, named in zip(await asyncio.gather(*waiting), ([], [node_id("a")]), strict=True):
            (change,) = batch.instances
            assert (change.state, change.node_ids) == ("completed", named)
            assert batch.workers
        assert requests.latest.waiting == {}


async def test_many_changes_are_few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again and again while very much happens is answered once in each interval, and misses nothing."""
    monkeypatch.setattr(module, "_CHANGES_INTERVAL_S", 0.1)
    async with running_host() as host:
        watching = Watching(host, Requests(host))
        cursor = (await watching.watch_changes("", [], 0)).cursor
        clock = asyncio.get_running_loop().time
        began_at, answers, seen = clock(), 0, 0
        submitting = asyncio.create_task(_submit(host, 300))
        while seen < 300:
            batch = await watching.watch_changes(cursor, [], 30)
            cursor, answers = batch.cursor, answers + 1
            seen = max(sum(change.counts.values()) for change in batch.instances)
        assert answers <= (clock() - began_at) / 0.1 + 1
        await submitting


async def _submit(host: Host, count: int) -> None:
    for number in range(count):
        await host.submit(submit(f"n{number}"))


async def test_more_names_than_are_watched_are_refused() -> None:
    """And what is no id."""
    async with running_host() as host:
        requests = Requests(host)
        with pytest.raises(MalformedRequest, match="200 are watched"):
            await requests.watch_changes("", [instance_id(str(number)) for number in range(CHANGES_NAMED_MAX + 1)])
        with pytest.raises(MalformedRequest, match="3 bytes"):
            await requests.watch_changes("", [InstanceId(b"abc")])
