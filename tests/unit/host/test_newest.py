"""New instances are not looked for in the journal; all others are."""

from __future__ import annotations

import pytest

from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.host.host import Host
from dagorama_broker.host.newest import NewestIds
from tests.unit.host.commands import Channel, complete, instance_id, node_id, submit
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate


def ids(*names: str) -> list[InstanceId]:
    """Give the ids of these names, which are in the order of the alphabet."""
    return [instance_id(name) for name in names]


def told(newest: NewestIds, *names: str) -> str:
    """Give those of the names that are new."""
    return "".join(name for name, each in zip(names, ids(*names), strict=True) if newest.is_new(each))


def test_an_id_is_new_above_all_that_were_stored() -> None:
    """What is not greater than the least of the greatest may be one of those below it, which nobody has named."""
    assert told(NewestIds(ids(*"bd"), kept_max=2), *"abcde") == "ce"


def test_an_id_is_new_below_those_that_are_all_there_are() -> None:
    """Where fewer are stored than are kept, each other id is new."""
    assert told(NewestIds(ids(*"bd"), kept_max=3), *"abcde") == "ace"


def test_an_id_is_new_once() -> None:
    """An id that was added is not new, and those between are, whatever the order in which they come."""
    newest = NewestIds(())
    for each in ids("d", "b"):
        newest.add(each)
    assert told(newest, *"abcde") == "ace"


def test_only_the_greatest_are_kept() -> None:
    """When there are too many, all up to the least of them count as old from then on."""
    newest = NewestIds((), kept_max=2)
    for each in ids(*"fdbh", "h"):
        newest.add(each)
    assert told(newest, *"abcdefghi") == "egi"


def reads_of(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that takes the names of the journal's functions that are called for a submit."""
    reads: list[str] = []
    read = host.read

    async def noting(function: object, *args: object) -> object:
        reads.append(getattr(function, "__name__", "") or "lambda")
        return await read(function, *args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(host, "read", noting)
    return reads


@pytest.mark.asyncio
async def test_a_new_instance_is_not_looked_for(running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting an instance reads nothing and takes one commit; adding to one that has left memory reads it."""
    async with running() as host:
        Channel(host, gate.log)
        await host.flush()
        before = len(gate.commits)
        reads = reads_of(host, monkeypatch)
        await host.submit(submit("a", instance="m"))
        assert reads == ["_time_commit"]
        assert gate.commits[before:] == [["InstanceCreated", "NodesCreated"]]
        await host.commit(complete(host, "a", instance="m"))
        reads.clear()
        await host.submit(submit("b", after=["a"], instance="m"))
        assert "find_head" in reads
        assert host.scheduler.node(instance_id("m"), node_id("a")).state is NodeState.COMPLETED


@pytest.mark.asyncio
async def test_ids_that_may_have_been_stored_before_a_restart_are_looked_for(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart an instance of before is found again, and one that is greater than all of them is new."""
    async with running() as host:
        Channel(host, gate.log)
        await host.submit(submit("a", instance="m"))
        await host.commit(complete(host, "a", instance="m"))
    async with running() as host:
        reads = reads_of(host, monkeypatch)
        await host.submit(submit("b", after=["a"], instance="m"))
        assert "find_head" in reads
        reads.clear()
        await host.submit(submit("a", instance="n"))
        assert "find_head" not in reads


@pytest.mark.asyncio
async def test_an_id_from_a_clock_that_is_ahead_has_no_others_looked_for(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has one that is of no time, as those of the first API are: after a restart neither."""
    async with running() as host:
        Channel(host, gate.log)
        await host.submit(submit("a", instance="z"))
        await host.commit(complete(host, "a", instance="z"))
    async with running() as host:
        reads = reads_of(host, monkeypatch)
        await host.submit(submit("a", instance="n"))
        assert "find_head" not in reads
        await host.submit(submit("b", after=["a"], instance="z"))
        assert "find_head" in reads
