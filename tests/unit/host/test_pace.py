"""Small batches are committed on the event loop while the disk is quick, and only then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from time import sleep

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.events import DurableEvent
from dagorama_broker.core.model.values import RetryPolicy
from dagorama_broker.host.host import Host
from dagorama_broker.host.pace import LATE_S, QUICK_S, REST_FACTOR, SEEN_MIN, SMALL, Pace
from dagorama_broker.storage.memory import MemoryJournal
from tests.unit.host.commands import WORKER, Channel, complete, fail, instance_id, node_id, submit, until
from tests.unit.host.hosting import running_host


def seen(pace: Pace, took_s: float, count: int = SEEN_MIN, now: float = 0.0) -> bool:
    """Note so many commits that took so long; tell whether the next one is made on the event loop then."""
    for _ in range(count):
        pace.note(took_s, now)
    return pace.is_quick(now)


def test_a_disk_is_quick_when_some_commits_were() -> None:
    """Nothing is presumed of a disk before it was measured."""
    pace = Pace()
    assert (seen(pace, QUICK_S / 2, SEEN_MIN - 1), seen(pace, QUICK_S / 2, 1)) == (False, True)


def test_a_slow_disk_is_left_to_the_thread() -> None:
    """Commits that take longer than handing them over does are not made on the event loop."""
    assert not seen(Pace(), QUICK_S * 1.5, 1000)


def test_a_disk_that_becomes_slow_or_quick_is_noticed() -> None:
    """What counts are the last commits."""
    pace = Pace()
    assert [seen(pace, took_s, 50) for took_s in (QUICK_S / 2, QUICK_S * 2, QUICK_S / 2)] == [True, False, True]


def test_a_late_commit_keeps_others_off_the_event_loop_for_a_multiple_of_its_time() -> None:
    """A disk that is quick but for hiccups holds the event loop up for a twentieth of the time at most."""
    pace = Pace()
    seen(pace, QUICK_S / 100, 1000)
    pace.note(LATE_S, 10.0)
    rest_s = REST_FACTOR * LATE_S
    assert (pace.is_quick(10.0), pace.is_quick(10.0 + rest_s * 0.99), pace.is_quick(10.0 + rest_s)) == (
        False,
        False,
        True,
    )


class NotingJournal(MemoryJournal):
    """A journal that could block, and tells in which thread each commit was made."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.on_loop: list[bool] = []
        self.begun = threading.Event()
        self.gate = threading.Event()

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Note the thread."""
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        super().commit(events)

    def wait(self) -> None:
        """Read for as long as the test wants."""
        self.begun.set()
        assert self.gate.wait(60)


def running(journal: NotingJournal) -> AbstractAsyncContextManager[Host]:
    """Run a host on a disk that is known to be quick."""
    pace = Pace()
    seen(pace, 0.0)
    return running_host(journal, pace)


@pytest.mark.asyncio
async def test_a_small_batch_is_committed_at_once_and_a_large_one_in_the_thread() -> None:
    """What is large, in events or in nodes of one, may take its time."""
    journal = NotingJournal()
    async with running(journal) as host:
        await host.commit(submit("a"))
        await host.commit(submit(*map(str, range(SMALL + 1))))
        for number in range(SMALL + 1):
            host.apply(submit("b", instance=f"i{number}"))
        await host.flush()
    assert journal.on_loop == [True, False, False]


@pytest.mark.asyncio
async def test_no_commit_overtakes_what_the_thread_was_given() -> None:
    """The journal is used by one at a time: while something is read, commits queue behind it."""
    journal = NotingJournal()
    async with running(journal) as host:
        reading = asyncio.create_task(host.read(journal.wait))
        assert await asyncio.to_thread(journal.begun.wait, 60)
        committing = asyncio.create_task(host.commit(submit("a")))
        for _ in range(20):
            await asyncio.sleep(0)
        during = list(journal.on_loop)
        journal.gate.set()
        await asyncio.gather(reading, committing)
        await host.commit(submit("b"))
    assert (during, journal.on_loop) == ([], [False, True])


@pytest.mark.asyncio
async def test_a_reading_that_nobody_waits_for_any_more_still_comes_first() -> None:
    """Whoever gave up waiting has not ended what the thread does."""
    journal = NotingJournal()
    async with running(journal) as host:
        reading = asyncio.create_task(host.read(journal.wait))
        assert await asyncio.to_thread(journal.begun.wait, 60)
        reading.cancel()
        await asyncio.sleep(0)
        committing = asyncio.create_task(host.commit(submit("a")))
        for _ in range(20):
            await asyncio.sleep(0)
        during = list(journal.on_loop)
        journal.gate.set()
        await committing
    assert (during, journal.on_loop) == ([], [False])


@pytest.mark.asyncio
async def test_a_reading_that_was_called_off_says_nothing_of_those_before_it() -> None:
    """Whoever hangs up behind a long reading does not bring the next commit beside it."""
    journal = NotingJournal()
    async with running(journal) as host:
        reading = asyncio.create_task(host.read(journal.wait))
        assert await asyncio.to_thread(journal.begun.wait, 60)
        behind = asyncio.create_task(host.read(len, ()))
        await asyncio.sleep(0)
        behind.cancel()
        await asyncio.sleep(0)
        committing = asyncio.create_task(host.commit(submit("a")))
        for _ in range(20):
            await asyncio.sleep(0)
        during = list(journal.on_loop)
        journal.gate.set()
        await asyncio.gather(reading, committing)
        await host.commit(submit("b"))
    assert (during, journal.on_loop) == ([], [False, True])


@pytest.mark.asyncio
async def test_a_tick_says_how_long_a_commit_has_held_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: workers were not heard meanwhile, so none of them is taken for silent."""
    took_s = 1.0
    journal = NotingJournal()
    ticks: list[float] = []
    async with running(journal) as host:
        handle = host.scheduler.handle

        def noting(command: c.Command, now: float) -> object:
            if isinstance(command, c.Tick):
                ticks.append(command.late_s)
            return handle(command, now)

        monkeypatch.setattr(host.scheduler, "handle", noting)
        commit = journal.commit

        def commit_slowly(events: Sequence[DurableEvent]) -> None:
            sleep(took_s)
            commit(events)

        with monkeypatch.context() as slow:
            slow.setattr(journal, "commit", commit_slowly)
            await host.commit(submit("a", retry=RetryPolicy(max_attempts=3, interval_s=0.01)))
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=1))
        for count in (1, 2):
            await host.commit(fail(host, "a"))
            await until(lambda: len(ticks) == count)  # noqa: B023 - called before it changes
            await host.flush()
    assert (ticks[0] >= took_s, ticks[1] < took_s) == (True, True)


@pytest.mark.asyncio
async def test_a_report_that_came_in_time_counts_though_a_commit_held_up_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read before it is looked whose time is over; who has not reported by then is late."""
    monkeypatch.setattr("dagorama_broker.host.host._READ_S", 0.4)  # a busy machine may take long to read
    journal = NotingJournal()
    async with running(journal) as host:
        Channel(host, [], slots=2)
        await host.commit(submit("a", "b", timeout_s=0.4))
        commit = journal.commit

        def commit_slowly(events: Sequence[DurableEvent]) -> None:
            sleep(0.5)
            commit(events)

        with monkeypatch.context() as slow:
            slow.setattr(journal, "commit", commit_slowly)
            await host.commit(submit("c"))
        for _ in range(20):  # as it takes turns of the loop to read a message
            await asyncio.sleep(0)
        host.apply(complete(host, "a"))
        nodes = [host.scheduler.node(instance_id("i"), node_id(name)) for name in "ab"]
        await until(lambda: nodes[1].state != "leased")
        assert [node.state for node in nodes] == ["completed", "failed"]


@pytest.mark.asyncio
async def test_who_only_waits_has_nothing_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in which nothing was decided is passed by the dispatcher; a new node costs one pass."""
    journal = NotingJournal()
    async with running(journal) as host:
        await host.flush()  # what it begins with
        passes: list[c.Command] = []
        handle = host.scheduler.handle

        def noting(command: c.Command, now: float) -> object:
            if isinstance(command, c.GrantWork):
                passes.append(command)
            return handle(command, now)

        monkeypatch.setattr(host.scheduler, "handle", noting)
        await host.flush()
        await host.flush()
        before = len(passes)
        await host.submit(submit("a"))
        assert (before, len(passes)) == (0, 1)
