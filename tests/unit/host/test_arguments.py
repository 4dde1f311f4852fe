"""Clock and executor of a host are those that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any, TypeVar

import pytest

from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.host.pace import SEEN_MIN
from tests.unit.host.commands import submit, until
from tests.unit.host.gate import Gate, GatedMemory

pytestmark = pytest.mark.asyncio

T = TypeVar("T")


class Standing:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.at = 5.0
        self.counts_by = 0.0

    def now(self) -> float:
        """Return the time."""
        return self.at

    def slept_s(self) -> float:
        """Return that the machine does not sleep."""
        return 0.0

    def counter(self) -> float:
        """Return a number that grows each time."""
        self.at += self.counts_by
        return self.at


class Stepped(Executor):
    """An executor without a thread, which does nothing before it is told to."""

    def __init__(self) -> None:
        self.given: list[Callable[[], None]] = []
        self.is_direct = True

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Keep a call, or make it at once."""
        future: Future[T] = Future()

        def call() -> None:
            future.set_result(function(*args))

        self.given.append(call)
        if self.is_direct:
            self.step()
        return future

    def step(self) -> None:
        """Make the call that has been there longest."""
        self.given.pop(0)()


async def test_a_host_is_as_late_as_its_clock_and_waits_for_its_executor() -> None:
    """What it decides has the clock's time, and a commit is not through before the executor has made it."""
    executor, clock = Stepped(), Standing()
    host = Host(GatedMemory(Gate()), settings=Settings(), rng=Random(0), clock=clock, executor=executor)
    await host.start()
    running = asyncio.create_task(host.run())
    executor.is_direct = False
    clock.at = 70.0
    submitting = asyncio.create_task(host.submit(submit("a")))
    await until(lambda: bool(executor.given))
    (instance,) = host.scheduler.instances.values()
    assert instance.created_at == host.now() == 70.0
    assert not submitting.done()
    executor.step()
    await submitting
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(HostStopped):
        await host.flush()


@pytest.mark.parametrize(("took_s", "in_executor"), [(0.0, SEEN_MIN), (0.5, 2 * SEEN_MIN)])
async def test_commits_stay_with_the_executor_that_are_slow_by_the_hosts_clock(took_s: float, in_executor: int) -> None:
    """How long the machine itself took for them does not count."""
    executor, clock = Stepped(), Standing()
    host = Host(GatedMemory(Gate()), settings=Settings(), rng=Random(0), clock=clock, executor=executor)
    await host.start()
    running = asyncio.create_task(host.run())
    clock.counts_by = took_s
    made, submitted = 0, executor.submit

    def count(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        nonlocal made
        made += 1
        return submitted(function, *args, **kwargs)

    executor.submit = count  # type: ignore[method-assign]
    for number in range(2 * SEEN_MIN):
        await host.submit(submit(str(number)))
    assert made == in_executor
    host.stop()
    await running
