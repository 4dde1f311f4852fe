"""A host whose storage or core has failed stops, and lets nothing out that is not durable."""

import asyncio
from random import Random

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import RetryPolicy
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.storage.journal import Journal, StorageError
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id, spin, submit
from tests.unit.host.gate import Gate

pytestmark = pytest.mark.asyncio


async def test_a_failed_commit_ends_the_host(started: Host, gate: Gate) -> None:
    """`run` raises what made the commit fail; calls of that batch and of the next are refused, and nothing is told."""
    host = started
    await host.start()
    running = asyncio.create_task(host.run())
    Channel(host, gate.log)
    await host.commit(submit("a"))
    gate.log.clear()
    outcome = host.listeners.outcome(instance_id("i"), node_id("a"))
    gate.hold()
    gate.failure = StorageError("the disk is full")
    host.apply(complete(host, "a"), lambda: gate.log.append("acknowledged"))
    waiting = [asyncio.create_task(host.flush())]
    await gate.begun()
    waiting.append(asyncio.create_task(host.commit(submit("b"))))
    await spin()
    gate.let_through()
    answers = await asyncio.gather(running, *waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["the disk is full", *["the broker is stopping"] * 2]
    assert (gate.log, outcome.done(), len(gate.commits)) == (["committing"], False, 2)
    await host.close()


async def test_a_host_that_has_failed_refuses_at_once(started: Host, gate: Gate) -> None:
    """Commands and flushes that come after the end are refused; none of them waits for ever."""
    host = started
    await host.start()
    running = asyncio.create_task(host.run())
    gate.failure = StorageError("the disk is full")
    host.apply(submit("a"))
    with pytest.raises(StorageError):
        await running
    for ask in (host.commit(submit("b")), host.flush(), host.flush()):
        with pytest.raises(HostStopped):
            await asyncio.wait_for(ask, 5)
    assert len(gate.commits) == 1
    await host.close()


class _Broken:
    """A source of randomness that fails, and with it the core in the middle of a command."""

    def random(self) -> float:
        """Fail."""
        raise RuntimeError("no randomness left")


async def test_a_core_that_fails_ends_the_host(journal: Journal, gate: Gate) -> None:
    """What the core left half done is neither stored nor told, and `run` raises its error."""
    host = Host(journal, settings=Settings(), rng=_Broken())
    await host.start()
    running = asyncio.create_task(host.run())
    Channel(host, gate.log)
    retry = RetryPolicy(max_attempts=2, interval_s=1, jitter=0.5)
    await host.commit(submit("a", retry=retry))
    gate.log.clear()
    host.apply(submit("b"))
    flushed = asyncio.create_task(host.flush())
    with pytest.raises(RuntimeError, match="no randomness left"):
        host.apply(fail(host, "a"))
    answers = await asyncio.gather(running, flushed, return_exceptions=True)
    assert ([str(answer) for answer in answers], gate.log) == (["no randomness left", "the broker is stopping"], [])
    await host.close()


async def test_a_failed_release_ends_the_host(started: Host, gate: Gate) -> None:
    """When telling a batch fails the host stops, and calls that waited for that batch are refused."""
    host = started
    await host.start()
    running = asyncio.create_task(host.run())

    def fail_to_tell() -> None:
        raise RuntimeError("cannot tell")

    host.apply(submit("a"), fail_to_tell)
    flushed = asyncio.create_task(host.flush())
    answers = await asyncio.gather(running, flushed, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["cannot tell", "the broker is stopping"]
    await host.close()


async def test_stopping_commits_what_was_taken(started: Host, journal: Journal, gate: Gate) -> None:
    """After `stop` nothing is taken, but what was decided before becomes durable and is answered."""
    host = started
    await host.start()
    running = asyncio.create_task(host.run())
    gate.hold()
    first = asyncio.create_task(host.commit(submit("a")))
    await gate.begun()
    second = asyncio.create_task(host.commit(submit("b")))
    await spin()
    host.stop()
    with pytest.raises(HostStopped):
        host.apply(submit("c"))
    gate.let_through()
    await asyncio.gather(first, second, running)
    await host.close()
    snapshot = journal.open()
    assert [node.id for node in snapshot.instances[0].nodes] == [node_id("a"), node_id("b")]
    journal.close()


async def test_a_host_carries_on_where_another_failed(started: Host, journal: Journal, gate: Gate) -> None:
    """After a failed commit a new host on the same storage has what was acknowledged, and grants it again."""
    host = started
    await host.start()
    running = asyncio.create_task(host.run())
    Channel(host, gate.log)
    await host.commit(submit("a", "b"))
    await host.commit(complete(host, "a"))
    gate.failure = StorageError("the disk is full")
    host.apply(complete(host, "b"))
    with pytest.raises(StorageError):
        await running
    await host.close()
    gate.failure = None
    gate.log.clear()
    successor = Host(journal, settings=Settings(reconnect_grace_s=60), rng=Random(0))
    await successor.start()
    running = asyncio.create_task(successor.run())
    Channel(successor, gate.log)
    await successor.flush()
    assert "grant b" in gate.log
    await successor.commit(c.DisconnectWorker(worker_id=WORKER, left=True))
    successor.stop()
    await running
    await successor.close()
