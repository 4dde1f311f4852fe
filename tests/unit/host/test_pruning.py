"""Pruning beside others: nothing that goes on is lost, and what is gone is told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import PrunedInstance, UnknownInstance, UnknownNode
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import FunctionSpec, HookCall, InstanceId, Keep, NewCall, PruneReason
from dagorama_broker.core.settings import Settings
from dagorama_broker.host import returning
from dagorama_broker.host.clock import SystemClock
from dagorama_broker.host.host import Host
from dagorama_broker.logs.blocks import Block, Part
from dagorama_broker.logs.logs import Logs, Sender
from dagorama_broker.logs.store import LogStore
from dagorama_broker.pruning import Pruning, adjusted
from dagorama_broker.requests import Requests, looking, outcomes, shaping
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.timing import WAIT_S
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id, submit
from tests.unit.host.conftest import Running
from tests.unit.host.gate import Gate

pytestmark = pytest.mark.asyncio

T = TypeVar("T")

I = instance_id("i")  # noqa: E741
REQUEST = c.PruneInstances(reason=PruneReason.REQUEST)


class SteppedClock(SystemClock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1_000.0

    def now(self) -> float:
        """Return the time at which it stands."""
        return self.at


async def end(host: Host, instance: str = "i", *, key: str = "", fails: bool = False) -> None:
    """Have an instance of one node end."""
    command = submit("a", instance=instance)
    if key:
        options = c.InstanceOptions(key=key)
        await Requests(host).submit(command.instance_id, command.definition, command.calls, options)
    else:
        await host.submit(command)
    await host.commit((fail if fails else complete)(host, "a", instance=instance))
    await host.flush()


async def test_a_pruned_instance_is_told_of(running: Running, gate: Gate) -> None:
    """Whatever is asked about it, and whoever starts it again: it was, and is no more; so it is after a restart."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await end(host, fails=True)
        pruned = await host.prune([I], replace(REQUEST, by="ann"))
        assert [(one.id, one.state) for one in pruned] == [(I, InstanceState.FAILED)]
        assert await host.prune([I], REQUEST) == []
    async with running() as host:
        requests = Requests(host)
        asked = [
            requests.get_instance(I),
            requests.check_instance(I),
            requests.find_node(I, node_id("a")),
            requests.outcome(I, node_id("a")),
            requests.cancel_instance(I),
            requests.retry_instance(I),
            requests.rerun_node(I, node_id("a")),
            requests.submit(I, "d", submit("a").calls),
            requests.submit(I, "d", submit("b").calls),
        ]
        for answer in asked:
            with pytest.raises(PrunedInstance, match="of d is failed and was deleted by ann on 2") as refused:
                await answer
            assert (refused.value.instance_id, refused.value.reason) == (I, PruneReason.REQUEST)
        with pytest.raises(UnknownInstance, match="no instance"):
            await requests.get_instance(instance_id("j"))


async def test_what_is_read_in_parts_does_not_end_in_silence(running: Running, gate: Gate) -> None:
    """An instance that is pruned between two pages, or two reads, is not taken for one with fewer nodes."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await host.submit(submit("a", "b"))
        await host.commit(complete(host, "a"))
        await host.commit(complete(host, "b"))
        requests = Requests(host)
        token = (await requests.list_nodes(I, 1)).next_token
        times = (await requests.list_times(I, 1)).next_page_token
        assert token
        assert times
        assert await host.prune([I], REQUEST)
        asked = [
            requests.list_nodes(I, 1, token),
            requests.list_nodes(I, 1, token, states=["completed"]),
            requests.list_nodes(I, 1, token, functions=["f"]),
            requests.list_times(I, 1, times),
        ]
        for answer in asked:
            with pytest.raises(PrunedInstance):
                await answer


@pytest.mark.parametrize("ask", ["outcome", "why"])
async def test_nobody_is_blamed_for_what_is_no_more(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """Where an instance is pruned before the cause of a failure is read, that is told, and no other cause."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await host.submit(submit("a"))
        await host.submit(submit("b", after=["a"]))
        await host.commit(fail(host, "a"))
        await host.flush()
        requests = Requests(host)
        causing = requests.find_cause

        async def prune_first(*arguments: Any) -> StoredNode | None:
            assert await host.prune([I], REQUEST)
            await Pruning(host, None, Keep(inf, inf, inf)).sweep()
            return await causing(*arguments)

        monkeypatch.setattr(requests, "find_cause", prune_first)
        with pytest.raises(PrunedInstance):
            await getattr(requests, ask)(I, node_id("b"))


@pytest.mark.parametrize("ask", ["outcome", "why"])
async def test_nobody_is_blamed_for_what_has_begun_anew(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """Where the node that failed is removed by a rerun before it is read, its dependent has not ended, and waits."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await host.submit(submit("p"))
        parent = host.scheduler.node(I, node_id("p"))
        calls = [NewCall(node_id("a"), FunctionSpec(name="f", queue="f"), b"", ())]
        calls.append(NewCall(node_id("b"), FunctionSpec(name="f", queue="f"), b"", (node_id("a"),)))
        result = c.NodeResult(
            node_id=parent.id, token=parent.token, children=calls, promise_ids=(node_id("b"),), alias_id=node_id("b")
        )
        await host.commit(c.CompleteNodes(worker_id=WORKER, results=[result]))
        await host.commit(fail(host, "a"))
        await host.flush()
        requests = Requests(host)
        causing = requests.find_cause

        async def rerun_first(*arguments: Any) -> StoredNode | None:
            monkeypatch.setattr(requests, "find_cause", causing)
            await requests.rerun_node(I, node_id("p"))
            return await causing(*arguments)

        monkeypatch.setattr(requests, "find_cause", rerun_first)
        if ask == "why":
            explanation = await requests.why(I, node_id("p"))
            assert [reason.kind for reason in explanation.reasons] == ["running"]
        else:
            with pytest.raises(UnknownNode):
                await requests.outcome(I, node_id("p"))


@pytest.mark.parametrize("read", ["count_nodes", "fold_nodes", "list_times"])
async def test_one_that_is_pruned_while_it_is_read_is_told_of(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """What was read of it until then is no answer."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await host.submit(submit("a", "b"))
        await host.commit(complete(host, "a"))
        await host.commit(complete(host, "b"))
        await host.flush()
        for module in (looking, shaping):
            monkeypatch.setattr(module, "_READ_AT_ONCE", 1)
        journal_read, is_pruned = host.read, False

        async def pruning_read(function: Callable[..., T], *arguments: object) -> T:
            nonlocal is_pruned
            answer = await journal_read(function, *arguments)
            if isinstance(function, partial) and function.func.__name__ == read and not is_pruned:
                is_pruned = True
                assert await host.prune([I], REQUEST)
            return answer

        monkeypatch.setattr(host, "read", pruning_read)
        requests = Requests(host)
        ask: dict[str, Callable[[InstanceId], Awaitable[object]]] = {
            "count_nodes": requests.count_nodes,
            "fold_nodes": requests.get_shape,
            "list_times": requests.list_times,
        }
        with pytest.raises(PrunedInstance):
            await ask[read](I)
        assert is_pruned


async def test_a_value_of_one_that_is_pruned_is_told_of(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for several values and had one of them learns why there are no more."""
    monkeypatch.setattr(outcomes, "_READ_MAX", 1)
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await host.submit(submit("a", "b"))
        await host.commit(complete(host, "a"))
        await host.commit(complete(host, "b"))
        await host.flush()
        async with aclosing(Requests(host).stored_outcomes(I, [node_id("a"), node_id("b")])) as asked:
            assert (await anext(asked)).node_id == node_id("a")
            assert await host.prune([I], REQUEST)
            await Pruning(host, None, Keep(inf, inf, inf)).sweep()
            with pytest.raises(PrunedInstance):
                await anext(asked)


async def test_a_key_is_not_started_again(running: Running, gate: Gate) -> None:
    """By the same start neither, until nothing is known of it any more: it may have had its effects."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await end(host, key="invoice 9")
        await host.prune([I], REQUEST)
        requests, options = Requests(host), c.InstanceOptions(key="invoice 9")
        for name in ("i", "j"):
            again = submit("a", instance=name)
            with pytest.raises(PrunedInstance, match="under key 'invoice 9', is completed and was deleted on 2"):
                await requests.submit(again.instance_id, again.definition, again.calls, options)
        assert await host.read(lambda: host.journal.forget_tombstones(pruned_until=1e9, limit=9)) == 1
        again = submit("a", instance="j")
        assert await requests.submit(again.instance_id, again.definition, again.calls, options) is None


async def test_one_that_is_brought_back_is_left_out(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that has read some of the instance finds the rest of it, and it goes on."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await end(host, fails=True)
        reads, may_go_on = asyncio.Event(), asyncio.Event()
        prepare = returning._prepare

        async def held(*arguments: object) -> object:
            reads.set()
            await may_go_on.wait()
            return await prepare(*arguments)  # type: ignore[arg-type] # they are handed on

        monkeypatch.setattr(returning, "_prepare", held)
        retry = asyncio.create_task(host.submit(c.RetryInstance(instance_id=I)))
        await reads.wait()
        assert await host.prune([I], REQUEST) == []
        waiting = asyncio.create_task(host.prune([I], REQUEST, waits=True))
        may_go_on.set()
        await retry
        assert await waiting == []
        check_invariants(host.scheduler)
        await host.commit(complete(host, "a"))
        await host.flush()
        assert [one.id for one in await host.prune([I], REQUEST)] == [I]


async def test_one_that_runs_again_by_the_time_of_the_command_stays(running: Running, gate: Gate) -> None:
    """A retry that is decided while a prune waits for the disk goes first; one that comes after is told."""
    async with running() as host:
        Channel(host, gate.log, slots=9)
        await end(host, fails=True)
        await asyncio.gather(host.submit(c.RetryInstance(instance_id=I)), host.prune([I], REQUEST, waits=True))
        assert host.scheduler.instance(I).state is InstanceState.RUNNING
        await host.commit(fail(host, "a"))
        await host.flush()
        gate.hold()
        pruning = asyncio.create_task(host.prune([I], REQUEST))
        await gate.begun()
        retry = asyncio.create_task(host.submit(c.RetryInstance(instance_id=I)))
        again = asyncio.create_task(host.submit(submit("b")))
        gate.let_through()
        assert [one.id for one in await pruning] == [I]
        for late in (retry, again):
            with pytest.raises(PrunedInstance):
                await late
        check_invariants(host.scheduler)
        assert I not in host.scheduler.instances


@asynccontextmanager
async def stepped(journal: Journal, clock: SteppedClock, settings: Settings) -> AsyncIterator[Host]:
    """Run a host by a clock that stands."""
    host = Host(journal, settings=settings, rng=Random(0), clock=clock)
    await host.start()
    task = asyncio.create_task(host.run())
    yield host
    host.stop()
    await task
    await host.close()


async def test_rounds_remove_what_is_due(journal: Journal, gate: Gate) -> None:
    """With what belongs to it, logs and tombstones too, when the time of each is over."""
    clock = SteppedClock()
    keep = Keep(completed_s=100, failed_s=1e9, cancelled_s=100)
    settings = replace(Settings(), keep=keep, keep_tombstones_s=1_000)
    async with stepped(journal, clock, settings) as host:
        logs = Logs(LogStore(None), is_running=lambda _: False, now=host.now)
        removed: list[InstanceId] = []
        await logs.open()
        remove = logs.remove_all

        async def note(instance_ids: Sequence[InstanceId]) -> bool:
            removed.extend(instance_ids)
            return await remove(instance_ids)

        logs.remove_all = note  # type: ignore[method-assign] # it does what it did
        pruning = Pruning(host, logs, keep)
        assert pruning.pause_s == 25
        Channel(host, gate.log, slots=999)
        names = [f"i{number}" for number in range(130)]
        for name in names:
            await end(host, name)
        await end(host, "f", fails=True)
        await pruning.round()
        assert removed == []
        clock.at += 100
        await pruning.round()
        assert sorted(removed) == sorted(instance_id(name) for name in names)
        listed = host.journal.list_instances(before_seq=None, limit=999)
        assert [one.id for one in listed] == [instance_id("f")]
        assert host.journal.list_sweeps(9) == []
        assert host.journal.find_tombstone(instance_id("i7")) is not None
        clock.at += 1_000
        await pruning.round()
        assert host.journal.find_tombstone(instance_id("i7")) is None
        await logs.close()


async def test_a_clock_set_forward_by_years_removes_nothing(journal: Journal, gate: Gate) -> None:
    """A restart with such a clock costs a day of the time for which all is kept, and each further one a day more."""
    clock = SteppedClock()
    for years in range(3):
        clock.at += years * 365 * 86_400
        async with stepped(journal, clock, Settings()) as host:
            Channel(host, gate.log, slots=9)
            if not years:
                await end(host)
            await Pruning(host, None, Keep()).round()
            assert host.journal.find_ended([I]) != []


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    """Where a storage takes more than it may, those go that ended first, and no more than have to; what runs stays."""
    journal, clock = SqliteJournal(tmp_path / "broker.db"), SteppedClock()
    async with stepped(journal, clock, Settings()) as host:
        Channel(host, [], slots=999)
        names = [f"i{number}" for number in range(60)]
        for name in names:
            spec = FunctionSpec(name="f", queue="f")
            calls = [NewCall(node_id("a"), spec, bytes(20_000), ())]
            await host.submit(c.SubmitNodes(instance_id=instance_id(name), definition="d", calls=calls))
            await host.commit(complete(host, "a", instance=name))
            clock.at += 1
        await host.submit(submit("a", instance="running"))
        before = journal.measure()
        pruning = Pruning(host, None, Keep(), bytes_max=before.used // 2)
        await pruning.round()
        kept = [one.seq for one in journal.list_instances(before_seq=None, limit=99)]
        assert kept == list(range(61, 61 - len(kept), -1))
        assert 20 < len(kept) < 41
        assert journal.measure().used <= before.used // 2
        assert journal.measure().free <= 4 << 20
        await pruning.round()
        assert [one.seq for one in journal.list_instances(before_seq=None, limit=99)] == kept
        await Pruning(host, None, Keep(), bytes_max=1).round()
        listed = journal.list_instances(before_seq=None, limit=99)
        assert [one.id for one in listed] == [instance_id("running")]


async def test_values_are_measured_once_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many instances go: what becomes free with each is known. A value that another uses stays counted."""
    journal, clock = SqliteJournal(tmp_path / "broker.db"), SteppedClock()
    async with stepped(journal, clock, Settings()) as host:
        Channel(host, [], slots=999)
        shared = Reference(b"s" * 32, 1_000_000)
        for number in range(90):
            own = Reference(bytes([number]) * 32, 100_000)
            spec, name = FunctionSpec(name="f", queue="f"), f"i{number:02}"
            calls = [NewCall(node_id("a"), spec, write_references([own, shared], b"."), ())]
            await host.submit(c.SubmitNodes(instance_id=instance_id(name), definition="d", calls=calls))
            await host.commit(complete(host, "a", instance=name))
            clock.at += 1
        assert journal.measure_values(after=b"", limit=99)[0] == 10_000_000
        measured = 0
        measure = journal.measure_values

        def count(*, after: bytes, limit: int) -> tuple[int, bytes]:
            nonlocal measured
            measured += after == b""
            return measure(after=after, limit=limit)

        monkeypatch.setattr(journal, "measure_values", count)
        await Pruning(host, None, Keep(), bytes_max=journal.measure().used + 3_000_000).round()
        left = journal.list_instances(before_seq=None, limit=99)
        assert (measured, len(left)) == (1, 10)
        assert measure(after=b"", limit=99)[0] == 2_000_000


async def test_one_with_a_short_option_does_not_wait_for_the_usual_time(journal: Journal, gate: Gate) -> None:
    """The next round is when it is due, over a restart too; one that ends meanwhile has it begin earlier."""
    clock = SteppedClock()
    keep = Keep(completed_s=4_000, failed_s=1e9, cancelled_s=1e9)

    async def end_with(host: Host, name: str, kept_s: float) -> None:
        options = c.InstanceOptions(keep=Keep(kept_s, kept_s, kept_s))
        command = submit("a", instance=name)
        await Requests(host).submit(command.instance_id, command.definition, command.calls, options)
        await host.commit(complete(host, "a", instance=name))
        await host.flush()

    async with stepped(journal, clock, replace(Settings(), keep=keep)) as host:
        pruning = Pruning(host, None, keep)
        Channel(host, gate.log, slots=9)
        await pruning.round()
        assert await pruning.next_pause_s() == 600
        await end_with(host, "late", 900)
        assert not host.leftovers.is_set()
        await end_with(host, "soon", 60)
        assert host.leftovers.is_set()
        await pruning.round()
        assert await pruning.next_pause_s() == 60
        await end_with(host, "as soon", 60)
        assert not host.leftovers.is_set()
        clock.at += 20
    async with stepped(journal, clock, replace(Settings(), keep=keep)) as host:
        pruning = Pruning(host, None, keep)
        await pruning.round()
        assert await pruning.next_pause_s() == 40
        clock.at += 40
        await pruning.round()
        listed = host.journal.list_instances(before_seq=None, limit=9)
        assert [one.id for one in listed] == [instance_id("late")]
        assert await pruning.next_pause_s() == 600


async def test_what_goes_wrong_once_is_tried_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a round, or as the next one is planned: pruning goes on for as long as the broker does."""
    async with stepped(journal, SteppedClock(), Settings()) as host:
        pruning, happened = Pruning(host, None, Keep()), list[str]()
        planned = asyncio.Event()
        make_round, plan = pruning.round, pruning.next_pause_s

        async def failing_round() -> None:
            happened.append("round")
            if len(happened) == 1:
                raise OSError("no room")
            await make_round()

        async def failing_plan() -> float:
            happened.append("plan")
            host.leftovers.set()
            if happened.count("plan") == 1:
                raise OSError("no room")
            planned.set()
            return await plan()

        monkeypatch.setattr(pruning, "round", failing_round)
        monkeypatch.setattr(pruning, "next_pause_s", failing_plan)
        host.leftovers.set()
        running = asyncio.create_task(pruning.run())
        await asyncio.wait_for(planned.wait(), WAIT_S)
        running.cancel()
        assert happened[:5] == ["round", "round", "plan", "round", "plan"]


async def test_those_whose_hooks_have_not_run_hold_up_no_others(journal: Journal, gate: Gate) -> None:
    """However many these are, and over a restart: what has no hooks goes, and they go once the hooks have run."""
    clock = SteppedClock()
    keep = Keep(100, 100, 100)
    hook = HookCall(FunctionSpec(name="hooks:f", queue="h"), b"told", False)
    held = [f"h{number}" for number in range(120)]
    settings = replace(Settings(), keep=keep)
    async with stepped(journal, clock, settings) as host:
        await Pruning(host, None, keep).round()  # which notes lived time
        host.apply(c.ConnectWorker(worker_id=WORKER, name="w1", slots=999, include_queues=frozenset({"f"})))
        for name in held:
            command = submit("a", instance=name)
            await Requests(host).submit(command.instance_id, command.definition, command.calls, hooks=[hook])
            await host.commit(complete(host, "a", instance=name))
        clock.at += 1
        await host.submit(submit("a"))
        await host.commit(complete(host, "a"))
        clock.at += 100
    async with stepped(journal, clock, settings) as host:
        await Pruning(host, None, keep).round()
        check_invariants(host.scheduler)
        listed = host.journal.list_instances(before_seq=None, limit=999)
        ended = {one.id for one in listed if one.state is InstanceState.COMPLETED}
        assert ended == {instance_id(name) for name in held}
        for one in listed:
            if one.state is InstanceState.RUNNING:
                await host.commit(c.CancelInstance(instance_id=one.id))
        await Pruning(host, None, keep).round()
        listed = host.journal.list_instances(before_seq=None, limit=999)
        assert {one.definition for one in listed} == {"hooks of d"}


async def test_logs_that_could_not_be_removed_go_later(journal: Journal, gate: Gate, tmp_path: Path) -> None:
    """A log store that cannot be used holds up nothing, and keeps nothing of an instance that is no more."""
    clock, folder = SteppedClock(), tmp_path / "logs"
    folder.mkdir()
    async with stepped(journal, clock, Settings()) as host:
        store = LogStore(folder / "broker.logs.db")
        logs = Logs(store, is_running=lambda _: False, now=host.now)
        await logs.open()
        Channel(host, gate.log, slots=9)

        async def log_of(*names: str) -> None:
            arrivals = [arrival_of(number, name) for number, name in enumerate(names, start=1)]
            await logs.append(Sender(b"s" * 16, "w"), arrivals)

        def arrival_of(number: int, name: str) -> Block:
            part = Part(node_id("a"), 1, 1, 1, 10, 0, 0, ended=False)
            return Block(instance_id=instance_id(name), sequence=number, parts=[part], data=b"data", compression=1)

        for name in ("gone", "late", "kept"):
            await end(host, name)
        await log_of("gone", "kept")
        pruning = Pruning(host, logs, Keep())
        await pruning.round()
        store.close()
        aside = folder.rename(tmp_path / "aside")  # as a disk that is not mounted
        folder.write_bytes(b"")
        await host.prune([instance_id("gone"), instance_id("late")], REQUEST)
        await pruning.round()
        assert host.journal.list_sweeps(9) == []
        assert await logs.list_instances(InstanceId(b""), 9) is None
        folder.unlink()
        aside.rename(folder)
        clock.at += 3_600
        await pruning.round()
        assert await logs.list_instances(InstanceId(b""), 9) == [instance_id("kept")]
        # Lines that come after their instance has gone are found with the next start.
        await logs.append(Sender(b"t" * 16, "w"), [arrival_of(1, "late")])
        await Pruning(host, logs, Keep()).round()
        assert await logs.list_instances(InstanceId(b""), 9) == [instance_id("kept")]
        await logs.close()


@pytest.mark.parametrize(
    ("rows_max", "took_s", "expected"),
    [(200, 0.001, 400), (4_000, 0.001, 4_000), (200, 0.012, 200), (200, 0.04, 50), (200, 9.0, 20), (10, 9.0, 10)],
)
async def test_slices_are_as_large_as_they_are_quick(rows_max: int, took_s: float, expected: int) -> None:
    """Nobody who waits for the journal is to notice one."""
    assert adjusted(rows_max, took_s) == expected
