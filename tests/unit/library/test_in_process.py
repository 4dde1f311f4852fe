"""The in-process broker: a broker and a worker without sockets, processes and waiting."""

from __future__ import annotations

import asyncio
import decimal
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, cast
from uuid import UUID

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, generate_instance_id, resolve, resolve_async
from dagorama.errors import BrokerRefused, InstanceCancelled, NodeFailed, ResultTimeout, Stuck
from dagorama.limits import Limit
from dagorama.logging import get_logger
from dagorama.models.promise import DAGPromise
from dagorama.node_context import context
from dagorama.options import instance_options
from dagorama.retry import StaticRetry
from dagorama.settings import should_run_inline
from dagorama.testing import core, in_process_broker, inline
from dagorama.testing.in_process import InProcessBroker
from dagorama_broker.core.errors import BrokenInvariant
from dagorama_broker.core.ready import queues as ready
from dagorama_broker.core.settings import Settings

#: What has run, in order: nodes run in this process.
ran: list[object] = []
seen: ContextVar[str] = ContextVar("seen", default="nothing")
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test if anything has connected to where the broker would be."""
    ran.clear()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("DAGORAMA_HOST", "127.0.0.1")
        monkeypatch.setenv("DAGORAMA_PORT", str(listener.getsockname()[1]))
        yield
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """An in-process broker that checks itself."""
    with in_process_broker(check=True) as broker:
        yield broker


def blurred() -> tuple[int, int]:
    """Tells with how many digits decimals were computed before they are with 5."""
    before = decimal.getcontext().prec
    decimal.getcontext().prec = 5
    return before, decimal.getcontext().prec


class Numbers:
    """Is no plain data, so that the nodes on a worker share it."""

    def __init__(self) -> None:
        self.numbers = count(1)


class Steps(DAGDefinition):
    """Does what nodes may do."""

    def __init__(self) -> None:
        self.counted = list[int]()
        self.counter = Numbers()

    @dagorama()
    def entrypoint(self, name: str, width: int = 0) -> Any:
        ran.append(name)
        return self.collect([self.step(f"{name}{number}") for number in range(width)])

    @dagorama()
    def step(self, name: str) -> str:
        ran.append(name)
        return name

    @dagorama()
    def collect(self, parts: list[str]) -> str:
        return "+".join(parts)

    @dagorama(retry=StaticRetry(max_attempts=3, interval=HOUR_S))
    def flaky(self) -> int:
        ran.append(context().attempt)
        if context().attempt < 3:
            raise LookupError("not yet")
        return context().attempt

    @dagorama(retry=StaticRetry(max_attempts=2, interval=1, jitter=1))
    def jittery(self) -> None:
        raise LookupError("never")

    @dagorama(taint_name="gpu")
    def tainted(self) -> str:
        return "done"

    @dagorama(limit=Limit("slow", per_second=1))
    def slowly(self) -> str:
        return "done"

    @dagorama(queue_name="other")
    def queued(self) -> str:
        return "done"

    @dagorama()
    def wait_for(self, promise_id: bytes) -> Any:
        ran.append("waits")
        return wait(self, DAGPromise(UUID(bytes=promise_id)))

    @dagorama()
    def wait_for_itself(self) -> Any:
        return wait(self, DAGPromise(context().node_id))

    @dagorama()
    def stop(self) -> None:
        cast(Any, self).cancel()
        context().raise_if_cancelled()

    @dagorama()
    def count(self) -> int:
        return next(self.counter.numbers)

    @dagorama()
    def append(self) -> int:
        self.counted.append(1)
        return len(self.counted)

    @dagorama()
    def interrupt(self) -> None:
        raise KeyboardInterrupt

    @dagorama()
    def look(self) -> str:
        return seen.get()

    @dagorama()
    def blur(self) -> tuple[int, int]:
        return blurred()

    @dagorama().asyncfn
    async def blur_later(self) -> tuple[int, int]:
        return blurred()

    @dagorama(timeout=0.02)
    def late(self) -> None:
        until = monotonic() + 0.03
        while monotonic() < until:
            pass

    @dagorama(timeout=0.25, retry=StaticRetry(max_attempts=2, interval=HOUR_S))
    async def late_async(self) -> str:
        ran.append(context().attempt)
        if context().attempt == 1:
            await asyncio.Event().wait()
        return "in time"

    @dagorama()
    async def later(self, name: str) -> str:
        for _ in range(3):
            ran.append(name)
            await asyncio.sleep(0)
        return name

    @dagorama()
    async def hang(self) -> None:
        ran.append("hangs")
        hanging.set()
        await asyncio.Event().wait()


hanging = threading.Event()


def instance_of(definition: DAGDefinition) -> Any:
    """Makes an instance without starting an entrypoint."""
    return DAGInstance(generate_instance_id(), definition)


def wait(instance: Any, promise: Any) -> Any:
    """Returns the value of a promise."""
    return resolve(instance, promise, wait_for_results=True)


def test_bounds_of_nodes_are_those_of_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes more nodes than a broker would allow fails here as it would there."""
    monkeypatch.setattr(core, "Settings", partial(Settings, call_nodes_max=2, instance_nodes_max=4))
    with in_process_broker(check=True):
        assert Steps()("x", 1)[0].result() == "x0"
        with pytest.raises(NodeFailed, match=r"makes 3 nodes.* may make 2 \(DAGORAMA_CALL_NODES_MAX"):
            Steps()("y", 2)[0].result()


class Tables(DAGDefinition):
    """Gives so many large values."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        return self.size([self.table(number) for number in range(count)])

    @dagorama().syncfn
    def table(self, number: int) -> bytes:
        return bytes([number]) * 100_000

    @dagorama().syncfn
    def size(self, tables: list[bytes]) -> int:
        return sum(map(len, tables))


def test_the_bound_of_bytes_is_that_of_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance whose large values come to more than a broker would allow fails here as it would there."""
    monkeypatch.setattr(core, "Settings", partial(Settings, instance_bytes_max=210_000))
    with in_process_broker(check=True):
        assert Tables()(2)[0].result() == 200_000
        with pytest.raises(NodeFailed, match=r"TooManyBytes: .*DAGORAMA_INSTANCE_BYTES_MAX"):
            Tables()(3)[0].result()


class Rows(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, rows: list[dict[str, bytes]]) -> int:
        return len(rows)


class AsyncRows(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, rows: list[dict[str, bytes]]) -> int:
        return len(rows)


def test_a_start_with_too_much_names_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker knows its value by a digest alone, and whoever starts it by its place in the arguments."""
    monkeypatch.setattr(core, "Settings", partial(Settings, instance_bytes_max=210_000))
    rows = [{"image": bytes([number]) * 100_000} for number in range(3)]
    with in_process_broker(check=True):
        refused = r"has 100000 bytes .*DAGORAMA_INSTANCE_BYTES_MAX.*It is argument 'rows'\[2\]\['image'\]$"
        with pytest.raises(BrokerRefused, match=refused):
            Rows()(rows)
        with pytest.raises(BrokerRefused, match=refused):
            asyncio.run(_awaited(rows))
        assert Rows()(rows[:2])[0].result() == 2


class Frames(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, count: int, gives: bool) -> dict[str, Any]:
        frames = [bytes([number]) * 100_000 for number in range(count)]
        return {"frames": frames} if gives else {"count": self.number_of(frames=frames)}

    @dagorama().syncfn
    def number_of(self, frames: list[bytes]) -> int:
        return len(frames)


@pytest.mark.parametrize(
    ("gives", "place"),
    [
        (True, r"the result of .*entrypoint, result\['frames'\]"),
        (False, "the arguments of .*number_of, argument 'frames'"),
    ],
)
def test_a_node_with_too_much_names_the_part(monkeypatch: pytest.MonkeyPatch, gives: bool, place: str) -> None:
    """Of its result, or of the arguments of a call that it made; its worker has told the broker where each stands."""
    monkeypatch.setattr(core, "Settings", partial(Settings, instance_bytes_max=210_000))
    with in_process_broker(check=True):
        assert Frames()(2, gives)[0].result() is not None
        refused = rf"TooManyBytes: a large value in {place}\[2\], has 100000 bytes"
        with pytest.raises(NodeFailed, match=refused):
            Frames()(3, gives)[0].result()


class Shared(DAGDefinition):
    """Gives the same values in several ways."""

    @dagorama().syncfn
    def entrypoint(self, how: str) -> Any:
        few, more = ([bytes([number]) * 100_000 for number in numbers] for numbers in ((0, 1), (0, 1, 2)))
        if how == "both":
            return {"given": more, "count": self.number_of(more)}
        if how == "result":
            return {"given": more, "count": self.number_of(few)}
        if how == "hidden call":
            return {"given": more, "count": self.number_of([*range(2_000), *more])}
        if how == "two calls":
            return [self.number_of(more), self.first_of(more[::-1])]
        assert how == "hidden first call"
        return [self.number_of([*range(2_000), *more]), self.first_of(more)]

    @dagorama().syncfn
    def number_of(self, frames: list[Any]) -> int:
        return len(frames)

    @dagorama().syncfn
    def first_of(self, items: list[Any]) -> Any:
        return items[0]


class AsyncShared(DAGDefinition):
    """Does so with calls that are awaited: its result is stored before its report is made."""

    @dagorama().asyncfn
    async def entrypoint(self, how: str) -> Any:
        few, more = ([bytes([number]) * 100_000 for number in numbers] for numbers in ((0, 1), (0, 1, 2)))
        frames = {"both": more, "result": few, "hidden call": [*range(2_000), *more]}[how]
        return {"given": more, "count": await self.number_of(frames)}

    @dagorama().asyncfn
    async def number_of(self, frames: list[Any]) -> int:
        return len(frames)


@pytest.mark.parametrize(
    ("how", "place"),
    [
        ("both", r"the arguments of .*number_of, argument 'frames'\[2\],"),
        ("result", r"the result of .*entrypoint, result\['given'\]\[2\],"),
        ("hidden call", r"the arguments of [^,]*number_of"),
        ("two calls", r"the arguments of .*number_of, argument 'frames'\[2\],"),
        ("hidden first call", r"the arguments of [^,]*number_of"),
    ],
)
def test_the_part_that_is_named_is_of_what_is_named(monkeypatch: pytest.MonkeyPatch, how: str, place: str) -> None:
    """Of the first that has the value: its place in another, where it stands too, would lead people astray."""
    monkeypatch.setattr(core, "Settings", partial(Settings, instance_bytes_max=250_000))
    refused = rf"TooManyBytes: a large value in {place} has 100000 bytes"
    with in_process_broker(check=True):
        with pytest.raises(NodeFailed, match=refused):
            Shared()(how)[0].result()
        if "first" not in how and "two" not in how:
            with pytest.raises(NodeFailed, match=refused):
                asyncio.run(_shared(how)).result()


async def _shared(how: str) -> DAGInstance[Any]:
    return (await AsyncShared()(how))[0]


async def _awaited(rows: list[dict[str, bytes]]) -> object:
    return await AsyncRows()(rows)


def test_nothing_runs_before_somebody_waits(broker: InProcessBroker) -> None:
    """A call makes a node; it runs when a value is wanted."""
    instance, promise = Steps()("a", 2)
    assert isinstance(promise, DAGPromise)
    assert ran == []
    assert instance.why().reasons[0].kind == "due"
    assert instance.result() == "a0+a1"
    assert ran == ["a", "a0", "a1"]


def test_older_instances_run_first(broker: InProcessBroker) -> None:
    """The order is the scheduler's: by instance, then by creation, whoever waits."""
    Steps()("a", 2)
    second, _ = Steps()("b", 2)
    assert second.result() == "b0+b1"
    assert ran == ["a", "a0", "a1", "b", "b0", "b1"]


def test_a_higher_priority_runs_first(broker: InProcessBroker) -> None:
    """As it was given at the start, and as it was changed later; groups take turns."""
    plain, _ = Steps()("a")
    with instance_options(priority=5):
        Steps()("b")
    last, _ = Steps()("c")
    last.set_priority(9)
    plain.result()
    assert ran == ["c", "b", "a"]
    ran.clear()
    for group in ("big", "small"):
        with instance_options(group=group):
            started = [Steps()(f"{group}{number}")[0] for number in range(2)]
    started[-1].result()
    assert sorted(cast(list[str], ran[:2])) == ["big0", "small0"]


def test_what_is_paused_runs_when_it_goes_on(broker: InProcessBroker) -> None:
    """Until then, waiting for it raises and says so; what has ended cannot be paused, in memory or not."""
    instance, _ = Steps()("a")
    instance.pause()
    with pytest.raises(Stuck, match=f"paused: its instance is paused: `dagorama resume {instance.instance_id}`"):
        instance.result()
    assert ran == []
    instance.cap(1)
    asyncio.run(instance.aresume())
    instance.result()
    with pytest.raises(BrokerRefused, match="is completed already, so it cannot be paused"):
        instance.pause()


def test_resolving_without_waiting_runs_what_it_can(broker: InProcessBroker) -> None:
    """Code that asks again and again ends: asking brings things forward. None is for what cannot come."""
    instance = instance_of(Steps())
    assert resolve(instance, instance.flaky()) == 3
    assert resolve(instance, instance.tainted()) is None
    assert asyncio.run(resolve_async(instance, instance.step("a"))) == "a"


def test_backoffs_take_no_time(broker: InProcessBroker) -> None:
    """The clock jumps to the next attempt."""
    instance = instance_of(Steps())
    began = monotonic()
    assert wait(instance, instance.flaky()) == 3
    assert ran == [1, 2, 3]
    assert broker.elapsed_s == 2 * HOUR_S
    assert monotonic() - began < 60


def test_the_clock_stands_still_while_something_is_ready(broker: InProcessBroker) -> None:
    """What is ready runs before what has to wait for it to be due."""
    instance = instance_of(Steps())
    flaky, step = instance.flaky(), instance.step("a")
    assert wait(instance, step) == "a"
    assert (ran, broker.elapsed_s) == ([1, "a"], 0)
    assert instance.why(flaky).reasons[0].kind == "backs_off"


def test_jitter_is_seeded() -> None:
    """The same seed gives the same backoffs."""

    def elapsed_s(seed: int) -> float:
        with in_process_broker(seed=seed) as broker:
            instance = instance_of(Steps())
            assert resolve(instance, instance.jittery()) is None
            return round(broker.elapsed_s, 3)

    assert elapsed_s(1) == elapsed_s(1)
    assert elapsed_s(1) != elapsed_s(2)


def test_what_can_never_run_raises_and_says_why(broker: InProcessBroker) -> None:
    """Waiting for what nothing can bring is an error that says what holds it, and not endless."""
    instance = instance_of(Steps())
    with pytest.raises(Stuck, match="which worker in-process does not tolerate"):
        wait(instance, instance.tainted())
    with pytest.raises(Stuck, match=r"waits_for: .*tainted(?s:.*)taint: it has taint gpu"):
        asyncio.run(resolve_async(instance, instance.collect([instance.tainted()]), wait_for_results=True))


class Fails(DAGDefinition):
    """Has no value."""

    @dagorama().syncfn
    def entrypoint(self) -> None:
        raise ValueError("no")


@pytest.mark.parametrize("method", ["result", "aresult"])
def test_an_error_comes_from_the_method_that_the_user_called(broker: InProcessBroker, method: str) -> None:
    """How values are asked for is not in the traceback; the exception of the node is still the cause."""
    instance, _ = Fails()()

    async def wait_for_it() -> None:
        await instance.aresult()

    with pytest.raises(NodeFailed) as caught:
        instance.result() if method == "result" else asyncio.run(wait_for_it())
    own = [entry for entry in caught.traceback if "/dagorama/" in str(entry.path)]
    assert [Path(entry.path).name for entry in own] == ["methods.py"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_worker_tolerates_and_serves_what_it_is_told_to() -> None:
    """Its tolerations and queues are those of any worker."""
    with in_process_broker(tolerations=["gpu"], exclude_queues=["other"]):
        instance = instance_of(Steps())
        assert wait(instance, instance.tainted()) == "done"
        with pytest.raises(Stuck, match="queue other"):
            wait(instance, instance.queued())
    with in_process_broker(include_queues=["other"]):
        instance = instance_of(Steps())
        assert wait(instance, instance.queued()) == "done"
        with pytest.raises(Stuck, match="queue"):
            wait(instance, instance.step("a"))


def test_a_result_in_time_is_one_by_the_brokers_clock(broker: InProcessBroker) -> None:
    """What would take two hours does not come within one and a half, and comes within one more."""

    class Flaky(Steps):
        @dagorama()
        def entrypoint(self, *args: object) -> Any:
            return self.flaky()

    instance, _ = Flaky()()
    with pytest.raises(ResultTimeout, match="within 5400 s") as raised:
        instance.result(timeout=1.5 * HOUR_S)
    assert "backs_off" in str(raised.value)
    assert broker.elapsed_s == 1.5 * HOUR_S
    assert instance.result(timeout=HOUR_S) == 3
    assert broker.elapsed_s == 2 * HOUR_S


def test_an_ended_instance_takes_further_nodes(broker: InProcessBroker) -> None:
    """What has left the core's memory comes back when it gets something to do, with the values that it had."""
    instance = instance_of(Steps())
    first = instance.step("a")
    assert wait(instance, first) == "a"
    assert wait(instance, instance.collect([first, instance.step("b"), first])) == "a+b+a"
    assert wait(instance, first) == "a"
    assert instance.why(first).state == instance.why().state == "completed"
    instance.tainted()
    assert instance.why().state == "ready"  # of what has not ended


def test_no_is_said_as_by_any_broker(broker: InProcessBroker) -> None:
    """Unknown and ended things are refused, naming the request and the code."""
    instance = instance_of(Steps())
    unknown: Any = DAGInstance(UUID(int=7), Steps())
    promise = instance.step("a")
    cases = [
        (lambda: wait(unknown, promise), "watching node", "NOT_FOUND"),
        (lambda: wait(instance, DAGPromise(UUID(int=7))), "has no node", "NOT_FOUND"),
        (lambda: wait(instance, instance.collect([DAGPromise(UUID(int=7))])), "new nodes", "INVALID_ARGUMENT"),
        (unknown.why, "to say why instance", "NOT_FOUND"),
        (instance_of(Steps()).why, "has no node", "FAILED_PRECONDITION"),
        (unknown.cancel, "to cancel", "NOT_FOUND"),
        (lambda: (instance.cancel(), instance.cancel()), "cancelled already", "FAILED_PRECONDITION"),
        (lambda: instance.step("b"), "cannot be given further nodes", "FAILED_PRECONDITION"),
    ]
    for call, words, code in cases:
        with pytest.raises(BrokerRefused, match=words) as raised:
            call()
        assert raised.value.code == code


def test_what_a_broker_does_bit_by_bit_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many nodes that become ready, or are cancelled, all are at once here, where nobody would come between."""
    monkeypatch.setattr(ready, "_AT_ONCE", 1)
    with in_process_broker(check=True):
        cancelled = instance_of(Steps())
        for name in "abc":
            cancelled.step(name)
        cancelled.cancel()
        instance = instance_of(Steps())
        first = instance.step("a")
        assert wait(instance, instance.collect([instance.step(first) for _ in range(5)])) == "a+a+a+a+a"


def test_the_clock_stands_still_however_many_that_a_limit_holds_are_before_what_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a broker passes over bit by bit is passed over at once here, before time is taken to pass."""
    monkeypatch.setattr(ready, "_AT_ONCE", 1)
    with in_process_broker(check=True) as broker:
        instance = instance_of(Steps())
        for _ in range(4):
            instance.slowly()
        assert wait(instance, instance.step("a")) == "a"
        assert broker.elapsed_s == 0


def test_a_cancelled_instance_runs_no_more(broker: InProcessBroker) -> None:
    """Whoever waits for it is told, also where a node of its own cancels it."""
    instance, _ = Steps()("a", 2)
    instance.cancel()
    with pytest.raises(InstanceCancelled):
        instance.result()
    assert ran == []
    other = instance_of(Steps())
    stopping, behind = other.stop(), other.step("b")
    with pytest.raises(InstanceCancelled):
        wait(other, behind)
    with pytest.raises(InstanceCancelled):
        wait(other, stopping)
    assert ran == []


def test_a_running_coroutine_is_cancelled(broker: InProcessBroker) -> None:
    """What runs asynchronously ends when somebody else cancels its instance."""
    instance = instance_of(Steps())
    hanging.clear()
    promise = asyncio.run(instance.hang())
    canceller = threading.Thread(target=lambda: (hanging.wait(), instance.cancel()))
    canceller.start()
    with pytest.raises(InstanceCancelled):
        wait(instance, promise)
    canceller.join()
    other = instance_of(Steps())
    assert wait(other, other.step("a")) == "a"  # the node that was cancelled has let go


def test_asynchronous_functions_have_an_event_loop_of_their_own(broker: InProcessBroker) -> None:
    """They run whether the caller has an event loop or not, and whether it blocks that or not."""

    async def main() -> list[str]:
        instance = instance_of(Steps())
        promises = [await instance.later(name) for name in "abc"]
        return [
            wait(instance, promises[0]),
            *await asyncio.gather(*[resolve_async(instance, p, wait_for_results=True) for p in promises[1:]]),
        ]

    assert asyncio.run(main()) == ["a", "b", "c"]
    assert ran == [*"aaabbbccc"]  # one node at a time, whoever waits
    instance = instance_of(Steps())
    assert wait(instance, asyncio.run(instance.later("d"))) == "d"


def test_whoever_gives_up_waiting_stops_nothing(broker: InProcessBroker) -> None:
    """A node that runs while its waiter is cancelled goes on, and its value is there."""

    async def main() -> None:
        instance = instance_of(Steps())
        hanging.clear()
        promise = await instance.hang()
        waiting = asyncio.create_task(resolve_async(instance, promise, wait_for_results=True))
        await asyncio.to_thread(hanging.wait)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert instance.why(promise).state == "leased"
        await instance.acancel()

    asyncio.run(main())


def test_threads_may_wait_together(broker: InProcessBroker) -> None:
    """Each node runs once, one at a time, and everybody gets the values."""
    instance, promise = Steps()("a", 20)
    values: list[object] = []
    threads = [threading.Thread(target=lambda: values.append(wait(instance, promise))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [f"a{number}" for number in range(20)]
    assert values == ["+".join(expected)] * 4
    assert ran == ["a", *expected]


def test_a_node_may_wait_for_another(broker: InProcessBroker) -> None:
    """While a node waits for a value, others run; a node that waits for itself is stuck."""
    instance = instance_of(Steps())
    flaky = instance.flaky()
    assert wait(instance, instance.wait_for(flaky.identifier.bytes)) == 3
    assert ran == [1, "waits", 2, 3]
    with pytest.raises(NodeFailed, match=r"errors:Stuck(?s:.*)running: worker in-process has it"):
        wait(instance, instance.wait_for_itself())


def test_what_takes_too_long_times_out(broker: InProcessBroker) -> None:
    """A coroutine is cancelled when its time is over; a plain function is found late when it returns."""
    instance = instance_of(Steps())
    with pytest.raises(NodeFailed, match=r"TimeoutError: the attempt took longer than the timeout of 0\.02 s"):
        wait(instance, instance.late())
    assert wait(instance, asyncio.run(instance.late_async())) == "in time"
    assert ran == [1, 2]
    assert broker.elapsed_s == pytest.approx(HOUR_S + 0.02 + 0.25)


def test_a_function_that_was_replaced_does_not_run_in_its_place(
    broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node waits for the code that it was made with, as on any broker, and it is said that nobody has it."""
    instance = instance_of(Steps())
    assert wait(instance, instance.step("before")) == "before"
    promise = instance.step("a")

    @dagorama()
    def step(self: Steps, name: str) -> str:
        return f"another {name}"

    monkeypatch.setattr(Steps, "step", step)
    with pytest.raises(
        Stuck, match=r"code_version: it needs version \w+ of .*Steps\.step, and worker in-process is at"
    ):
        wait(instance, promise)
    assert wait(instance, instance.step("b")) == "another b"


def test_each_broker_makes_definitions_anew() -> None:
    """What a node of one test does to what its definition holds the next test doesn't see."""
    for _ in range(2):
        with in_process_broker():
            instance = instance_of(Steps())
            assert wait(instance, instance.count()) == 1
            assert wait(instance, instance.count()) == 2


def test_each_node_has_plain_data_of_its_own() -> None:
    """What one appends to a list of its definition's the next doesn't find there."""
    with in_process_broker():
        instance = instance_of(Steps())
        assert [wait(instance, instance.append()) for _ in range(2)] == [1, 1]


def test_ctrl_c_ends_the_waiting(broker: InProcessBroker) -> None:
    """An interrupt is no failure of the node in which it happens to come."""
    instance = instance_of(Steps())
    with pytest.raises(KeyboardInterrupt):
        wait(instance, instance.interrupt())


def test_context_variables_of_the_caller_are_not_seen(broker: InProcessBroker) -> None:
    """A node on a worker would not see them either."""
    seen.set("something")
    instance = instance_of(Steps())
    assert wait(instance, instance.look()) == "nothing"


def test_what_modules_have_set_is_seen() -> None:
    """Nodes begin with the context in which the broker was made, and what one changes in it ends with it."""
    before = decimal.getcontext().prec
    token = seen.set("set by a module")
    decimal.getcontext().prec = 50
    try:
        with in_process_broker():
            instance = instance_of(Steps())
            assert wait(instance, instance.look()) == "set by a module"
            assert [wait(instance, instance.blur()) for _ in range(2)] == [(50, 5)] * 2
        with inline():
            assert [instance.blur(), asyncio.run(instance.blur_later())] == [(50, 5)] * 2
        assert decimal.getcontext().prec == 50
    finally:
        seen.reset(token)
        decimal.getcontext().prec = before


def test_the_innermost_block_holds() -> None:
    """Blocks for inline and for the broker may stand in each other; each leaves things as they were."""
    with inline():
        with in_process_broker() as outer:
            first = instance_of(Steps()).step("a")
            assert isinstance(first, DAGPromise)
            with inline():
                assert instance_of(Steps()).step("b") == "b"
            with in_process_broker():
                instance_of(Steps()).step("c")
            instance = instance_of(Steps())
            assert wait(instance, instance.step("d")) == "d"
            assert outer.elapsed_s == 0
        assert should_run_inline()
        assert instance_of(Steps()).step("e") == "e"
    assert ran == ["b", "a", "d", "e"]


def test_the_broker_checks_itself(broker: InProcessBroker) -> None:
    """With `check`, a core that is not what it must be is found at the next step."""
    instance = instance_of(Steps())
    instance.step("a")
    next(iter(broker._core.scheduler.instances.values())).live += 1
    with pytest.raises(BrokenInvariant):
        instance.step("b")


def test_pytest_has_fixtures(tmp_path: Path) -> None:
    """The plugin gives fixtures for the broker and for inline mode."""
    (tmp_path / "test_it.py").write_text(
        "from tests.unit.library.test_in_process import Steps\n"
        "def test_broker(dagorama_in_process):\n"
        "    assert Steps()('a', 2)[0].result() == 'a0+a1'\n"
        "    assert dagorama_in_process.elapsed_s == 0\n"
        "def test_inline(dagorama_inline):\n"
        "    assert Steps()('a', 2)[1] == 'a0+a1'\n"
    )
    root = Path(__file__).parents[3]
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "dagorama.testing.plugin", "-p", "no:cacheprovider", tmp_path],
        # The environment's packages may be those of another tree.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in outcome.stdout, outcome.stdout + outcome.stderr


class Blocking(DAGDefinition):
    """Waits in the wrong way."""

    @dagorama()
    async def entrypoint(self) -> Any:
        other: Any = DAGInstance(generate_instance_id(), Waited())
        return resolve(other, await other.entrypoint(), wait_for_results=True)


class Waited(DAGDefinition):
    """Is waited for."""

    @dagorama()
    async def entrypoint(self) -> int:
        return 1


def test_a_blocking_wait_in_an_asynchronous_node_says_what_to_do(broker: InProcessBroker) -> None:
    """It would keep what it waits for from running, for ever."""
    instance, _ = asyncio.run(Blocking()())
    with pytest.raises(NodeFailed, match=r"use `await instance.aresult\(\)` or `await resolve_async"):
        instance.result()


class Opinionated(StaticRetry):
    """A policy that cannot tell, which is logged."""

    def retries(self, error: BaseException) -> bool:
        """Raises."""
        raise LookupError


class Breaking(DAGDefinition):
    """Fails in a way that is logged."""

    @dagorama()
    def entrypoint(self) -> object:
        return self.fail()

    @dagorama(retry=Opinionated(2, 0))
    def fail(self) -> None:
        raise ValueError


class Bursting(logging.Handler):
    """Raises what logging does not catch."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raises."""
        raise KeyboardInterrupt


def test_what_interrupts_a_node_from_outside_does_not_keep_it(broker: InProcessBroker) -> None:
    """A Ctrl-C between a function and its report leaves a broker that goes on."""
    handler = Bursting()
    get_logger().addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Breaking()()[0].result()
    finally:
        get_logger().removeHandler(handler)
    assert Steps()("a", 1)[0].result() is not None


def test_a_policy_that_cannot_tell_has_its_attempts(broker: InProcessBroker) -> None:
    """What a policy of the user's raises does not take the place of what the function raised; inline neither."""
    with pytest.raises(NodeFailed) as failed:
        Breaking()()[0].result()
    assert failed.value.exception_type == "ValueError"
    with inline(), pytest.raises(ValueError, match=r"^$"):
        Breaking()()


class Bare(DAGDefinition):
    """Fails."""

    @dagorama()
    def entrypoint(self) -> None:
        raise ValueError("no")


def test_a_failure_has_nothing_of_the_library_s_in_it(broker: InProcessBroker) -> None:
    """What a function raises was not raised while anything else was handled, on a broker or inline."""
    with pytest.raises(NodeFailed) as failed:
        Bare()()[0].result()
    assert "During handling" not in failed.value.remote_traceback
    with inline(), pytest.raises(ValueError, match="no") as raised:
        Bare()()
    assert raised.value.__context__ is None
