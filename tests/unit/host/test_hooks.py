"""Hooks over restarts: each end has its hooks called once, and the broker knows how often an instance has ended."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.values import FunctionSpec, HookCall, NewCall
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.checks import MalformedRequest
from tests.unit.host.commands import WORKER, fail, instance_id, node_id
from tests.unit.host.conftest import Running

pytestmark = pytest.mark.asyncio

I = instance_id("i")  # noqa: E741
HOOK = HookCall(FunctionSpec(name="hooks:f", queue="h", timeout_s=7.0, definition_arguments=b"d"), b"told", False)


async def start(requests: Requests, *hooks: HookCall) -> None:
    """Start an instance."""
    call = NewCall(node_id("a"), FunctionSpec(name="f", queue="f"), b"", ())
    await requests.submit(I, "shop:Order", [call], hooks=hooks)


async def run_in_vain(host: Host) -> None:
    """Have a worker run the node, which fails."""
    queues = frozenset({"f"})
    await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", include_queues=queues, slots=0))
    await host.commit(c.PullNode(worker_id=WORKER))
    await host.commit(fail(host, "a"))


async def ends(host: Host) -> list[tuple[str, str]]:
    """Return the ends for which hooks are called: the number of each, and how it was."""
    found = await Requests(host).list_instances(definition="hooks of shop:Order")
    return [(dict(one.tags)["end"], dict(one.tags)["state"]) for one in found.items]


async def test_each_end_has_its_hooks_called_once_over_restarts(running: Running) -> None:
    """A retry that fails again is the second end, also after a restart; what calls the hooks is there as well."""
    async with running() as host:
        await start(Requests(host), HOOK)
        await run_in_vain(host)
        assert await ends(host) == [("1", "failed")]
        check_invariants(host.scheduler)
    for end in ("2", "3"):
        async with running() as host:
            await Requests(host).retry_instance(I)
            assert host.scheduler.instances[I].hooks == (HOOK,)
            await run_in_vain(host)
            assert (await ends(host))[0] == (end, "failed")
            check_invariants(host.scheduler)
    async with running() as host:
        await Requests(host).retry_instance(I)
        await host.commit(c.CancelInstance(instance_id=I))
        assert await ends(host) == [("4", "cancelled"), ("3", "failed"), ("2", "failed"), ("1", "failed")]


async def test_what_calls_hooks_is_an_instance_like_others(running: Running) -> None:
    """The broker knows it when it has left memory, though nobody has submitted it."""
    async with running() as host:
        await start(Requests(host), HOOK)
        await host.commit(c.CancelInstance(instance_id=I))
        (made,) = host.scheduler.instances.values()
        await host.commit(c.CancelInstance(instance_id=made.id))
        assert made.id not in host.scheduler.instances
        assert (await Requests(host).get_instance(made.id)).state == "cancelled"
        with pytest.raises(Exception, match="is cancelled, so it cannot be retried"):
            await Requests(host).retry_instance(made.id)


@pytest.mark.parametrize(
    ("hooks", "message"),
    [([HOOK] * 21, "there are 21 hooks; the limit is 20")],
)
async def test_hooks_that_cannot_be_are_refused(running: Running, hooks: list[HookCall], message: str) -> None:
    """Nothing is made then."""
    async with running() as host:
        with pytest.raises(MalformedRequest, match=message):
            await start(Requests(host), *hooks)
        assert not host.scheduler.instances
