"""What falls due is decided when it does, whatever the journal is at."""

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import RetryPolicy
from dagorama_broker.host import clock
from dagorama_broker.host.host import Host
from dagorama_broker.storage.uptime import uptime_s
from tests.unit.host.commands import WORKER, Channel, fail, instance_id, node_id, submit, until
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate

pytestmark = pytest.mark.asyncio


def state(host: Host, name: str) -> NodeState:
    """Tell how a node stands."""
    return host.scheduler.node(instance_id("i"), node_id(name)).state


async def test_a_backoff_ends_while_every_commit_is_followed_by_another(running: Running, gate: Gate) -> None:
    """Timers do not wait for a moment without a commit."""
    async with running() as host:
        Channel(host, gate.log)
        await host.commit(submit("a", retry=RetryPolicy(max_attempts=2, interval_s=0.02)))
        host.apply(fail(host, "a"))
        commits = 0
        while state(host, "a") is NodeState.BACKOFF:
            gate.hold()
            host.apply(submit(f"x{commits}", instance="other"))
            await gate.begun()
            host.apply(submit(f"y{commits}", instance="other"))  # so that the next batch is there when this one is done
            gate.let_through()
            commits += 1
            assert commits < 1000


async def test_a_tick_does_not_wait_for_a_commit(running: Running, gate: Gate) -> None:
    """What falls due while a commit is on its way to a slow disk is decided at once, and goes into the next batch."""
    async with running() as host:
        Channel(host, gate.log)
        await host.commit(submit("a", retry=RetryPolicy(max_attempts=2, interval_s=0.01)))
        gate.hold()
        host.apply(fail(host, "a"))
        await gate.begun()
        await until(lambda: state(host, "a") is NodeState.READY)
        assert gate.log[-1] == "committing"
        gate.let_through()
        await until(lambda: state(host, "a") is NodeState.LEASED)


async def test_workers_are_forgiven_for_the_time_of_a_suspension(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slept for longer than a lease evicts nobody when it wakes up, and knows how late it is."""
    slept_s = 0.0
    monkeypatch.setattr(clock, "uptime_s", lambda: uptime_s() + slept_s)
    async with running() as host:
        Channel(host, [])
        before = host.now()
        slept_s = 3600.0
        assert host.now() - before >= 3600
        await host.commit(c.GrantWork())
        await until(lambda: host.scheduler.workers[WORKER].expires_at > host.now())
