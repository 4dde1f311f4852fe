"""Starts under a key are one start, whoever makes them, whatever has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import ConflictingKey
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.values import FunctionSpec, NewCall
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.answers import Submitted
from dagorama_broker.requests.checks import MalformedRequest
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate

pytestmark = pytest.mark.asyncio

SPEC = FunctionSpec(name="shop:Order.entrypoint", queue="q", code_version="1", definition_arguments=b"shop 1")
FIRST = Submitted(instance_id("i"), node_id("a"))


async def start(
    requests: Requests,
    instance: str,
    node: str,
    *,
    spec: FunctionSpec = SPEC,
    arguments: bytes = b"order 17",
    definition: str = "shop:Order",
    options: c.InstanceOptions = c.InstanceOptions(key="order-17"),  # noqa: B008 - it never changes
) -> Submitted | None:
    """Start an instance under a key."""
    call = NewCall(node_id(node), spec, arguments, ())
    return await requests.submit(instance_id(instance), definition, [call], options)


async def test_two_that_start_at_once_start_one(running: Running, gate: Gate) -> None:
    """The second is answered with the first one's instance, and not before that is durable."""
    async with running() as host:
        requests = Requests(host)
        gate.hold()
        starts = [asyncio.create_task(start(requests, *names)) for names in (("i", "a"), ("j", "b"), ("k", "c"))]
        await gate.begun()
        assert [task.done() for task in starts] == [False, False, False]
        gate.let_through()
        assert await asyncio.gather(*starts) == [None, FIRST, FIRST]
        assert list(host.scheduler.instances) == [instance_id("i")]
        check_invariants(host.scheduler)


async def _end(host: Host, log: list[str], state: InstanceState) -> None:
    channel = Channel(host, log)
    if state is InstanceState.CANCELLED:
        await host.commit(c.CancelInstance(instance_id=instance_id("i")))
    else:
        await host.flush()
        await host.commit((complete if state is InstanceState.COMPLETED else fail)(host, "a"))
    assert channel.worker is not None


@pytest.mark.parametrize("state", [InstanceState.COMPLETED, InstanceState.FAILED, InstanceState.CANCELLED])
async def test_an_instance_that_has_ended_is_still_the_one(running: Running, gate: Gate, state: InstanceState) -> None:
    """However it has ended; after a restart, too, and for a request that is repeated."""
    async with running() as host:
        requests = Requests(host)
        assert await start(requests, "i", "a") is None
        await _end(host, gate.log, state)
        assert instance_id("i") not in host.scheduler.instances
        assert await start(requests, "j", "b") == FIRST
    async with running() as host:
        requests = Requests(host)
        assert [await start(requests, *names) for names in (("k", "c"), ("i", "a"))] == [FIRST, None]
        assert (await requests.get_instance(instance_id("i"))).state is state
        assert len(await _ids(requests)) == 1


async def _ids(requests: Requests) -> Sequence[bytes]:
    return [summary.id for summary in (await requests.list_instances()).items]


async def test_an_end_that_is_not_durable_yet_hides_nothing(running: Running, gate: Gate) -> None:
    """The instance has left memory, and the journal is still to hear of it at all."""
    async with running() as host:
        requests = Requests(host)
        Channel(host, gate.log)
        await host.flush()
        gate.hold()
        first = asyncio.create_task(start(requests, "i", "a"))
        await gate.begun()  # it is on its way to the disk
        host.apply(c.CancelInstance(instance_id=instance_id("i")))
        second = asyncio.create_task(start(requests, "j", "b"))
        await asyncio.sleep(0)
        gate.let_through()
        assert [await first, await second] == [None, FIRST]


async def test_another_version_of_the_code_is_no_other_start(running: Running) -> None:
    """A spawner that starts again after a deploy finds what it has started before it, for the function as it is now."""
    async with running() as host:
        requests = Requests(host)
        await start(requests, "i", "a")
        newer = replace(SPEC, code_version="2", release="entrypoint 2", queue="other", timeout_s=5.0)
        assert await start(requests, "j", "b", spec=newer) == FIRST


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
async def test_another_body_is_refused_with_what_differs(running: Running, gate: Gate, ended: bool) -> None:
    """The error names the key, its instance, and each part that is another; nothing is made."""
    async with running() as host:
        requests = Requests(host)
        await start(requests, "i", "a")
        if ended:
            await _end(host, gate.log, InstanceState.COMPLETED)
        found = []
        for another in (
            {"arguments": b"order 18"},
            {"definition": "shop:Return", "spec": replace(SPEC, name="shop:Return.entrypoint")},
            {"spec": replace(SPEC, definition_arguments=b"shop 2"), "arguments": b""},
        ):
            with pytest.raises(
                ConflictingKey, match="was started under key 'order-17', and this start differs"
            ) as caught:
                await start(requests, "j", "b", **another)
            assert (caught.value.key, caught.value.instance_id) == ("order-17", instance_id("i"))
            found.append(caught.value.differs)
        assert found == [("arguments",), ("definition", "function"), ("definition arguments", "arguments")]
        assert await _ids(requests) == [instance_id("i")]


async def test_the_digests_of_the_client_say_what_is_equal(running: Running) -> None:
    """Where they are given, payloads that are other bytes are the same start, and equal ones may be another."""
    async with running() as host:
        requests = Requests(host)
        first = c.InstanceOptions(key="order-17", definition_digest=b"shop", arguments_digest=b"17")
        await start(requests, "i", "a", options=first)
        assert await start(requests, "j", "b", options=first, arguments=b"order  17") == FIRST
        with pytest.raises(ConflictingKey, match="in its arguments;"):
            await start(requests, "j", "b", options=replace(first, arguments_digest=b"18"))


async def test_what_is_added_to_an_instance_later_needs_no_key(running: Running) -> None:
    """An instance that the request names and that exists is the one that is meant."""
    async with running() as host:
        requests = Requests(host)
        await start(requests, "i", "a")
        assert await start(requests, "i", "b", arguments=b"more") is None
        assert set(host.scheduler.instances[instance_id("i")].nodes) == {node_id("a"), node_id("b")}


async def test_a_key_without_a_call_is_refused(running: Running) -> None:
    """There would be nothing to tell the next start by."""
    async with running() as host:
        with pytest.raises(MalformedRequest, match=r"options\.key is set and there are no calls"):
            await Requests(host).submit(instance_id("i"), "shop:Order", [], c.InstanceOptions(key="order-17"))


async def test_starts_under_other_keys_do_not_wait_for_each_other(running: Running) -> None:
    """Each key is one start; all of them are there."""
    async with running() as host:
        requests = Requests(host)
        keys = [c.InstanceOptions(key=f"order-{number}") for number in range(20)]
        starts = [start(requests, f"i{at}", f"n{at}", options=options) for at, options in enumerate(keys)]
        assert await asyncio.gather(*starts) == [None] * 20
        assert len(host.scheduler.graph.started) == 20
        await host.commit(c.DisconnectWorker(worker_id=WORKER))
