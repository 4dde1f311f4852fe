"""What a node that runs inline knows of itself, which errors are retried there, and how long it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from threading import Thread
from typing import Any, NamedTuple

import pytest

from dagorama import (
    DAGDefinition,
    DAGInstance,
    NodeStopped,
    NotInNode,
    StaticRetry,
    context,
    dagorama,
    generate_instance_id,
    node_context,
)
from dagorama.calls.capture import Scope, current_scope
from dagorama.running import inline as inline_nodes
from dagorama.testing import inline
from dagorama.worker.shell.held import Function, Held
from tests.unit.ui import clock

#: Names no type that a timeout is of.
CHOOSY = StaticRetry(max_attempts=3, interval=3600, retry_on=ValueError)
PICKY = StaticRetry(max_attempts=3, interval=3600, retry_on=OSError, give_up_on=FileNotFoundError)


class Seen(NamedTuple):
    """What a node saw in its context."""

    function: str
    instance_id: object
    node_id: object
    attempt: int
    token: int
    key: str


def seen() -> Seen:
    """Gives what the context says."""
    node = context()
    assert (node.cancelled, node.remaining_s) == (False, None)
    node.raise_if_cancelled()
    node.progress(0.5, "half")
    return Seen(
        node.function.rpartition(".")[2],
        node.instance_id,
        node.node_id,
        node.attempt,
        node.fencing_token,
        node.idempotency_key,
    )


class Nodes(DAGDefinition):
    def __init__(self) -> None:
        self.log = list[Any]()

    @dagorama()
    def entrypoint(self) -> None: ...

    @dagorama()
    def outer(self) -> None:
        self.log.append(seen())
        self.inner()
        self.log.append(seen())
        thread = Thread(target=self.in_thread)
        thread.start()
        thread.join()

    @dagorama()
    def inner(self) -> None:
        self.log.append(seen())

    def in_thread(self) -> None:
        with pytest.raises(NotInNode):
            context()

    @dagorama().asyncfn
    async def later(self) -> None:
        self.log.append(seen())
        self.log.append(await asyncio.create_task(self.seen_later()))
        self.log.append(await asyncio.to_thread(seen))

    async def seen_later(self) -> Seen:
        return seen()

    @dagorama(retry=PICKY)
    def fail(self, kind: type[Exception]) -> None:
        self.log.append(seen())
        raise kind("not this time")

    @dagorama(retry=PICKY).asyncfn
    async def fail_later(self, kind: type[Exception]) -> None:
        self.log.append(seen())
        raise kind("not this time")

    # -- with a timeout

    @dagorama(timeout=0.02, retry=CHOOSY)
    def overrun(self) -> None:
        try:
            while True:
                time.sleep(0.001)
                context().raise_if_cancelled()
        except NodeStopped:
            self.log.append(context().remaining_s)

    @dagorama(timeout=0.02).asyncfn
    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append(context().cancelled)

    @dagorama(timeout=0.02, retry=CHOOSY).asyncfn
    async def swallow(self) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append("swallowed")
        return "a value, but too late"

    @dagorama(timeout=0.02).asyncfn
    async def block(self) -> None:
        time.sleep(0.03)  # noqa: ASYNC251 - so that both timers are due when the loop goes on
        await asyncio.sleep(3600)

    @dagorama(timeout=60).asyncfn
    async def quick(self) -> str:
        return "quick"

    @dagorama(timeout=60).asyncfn
    async def hold(self) -> None:
        await asyncio.sleep(3600)

    @dagorama()
    def slow(self) -> None:
        self.log.append(4)

    @dagorama().asyncfn
    async def slow_later(self) -> None:
        await asyncio.sleep(4)

    @dagorama(timeout=3)
    def calls(self) -> float | None:
        self.log.append(1)
        self.slow()
        return context().remaining_s

    @dagorama(timeout=3).asyncfn
    async def calls_later(self) -> float | None:
        await asyncio.sleep(1)
        await asyncio.gather(self.slow_later(), self.slow_later())
        return context().remaining_s

    @dagorama(timeout=3).asyncfn
    async def calls_and_hangs(self) -> None:
        await self.slow_later()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def mode() -> Iterator[None]:
    """Runs each test inline."""
    with inline():
        yield


@pytest.fixture
def log() -> list[Any]:
    """What the nodes of the instance note."""
    return []


@pytest.fixture
def nodes(log: list[Any]) -> Any:
    """An instance whose nodes note things in `log`."""
    definition = Nodes()
    definition.log = log
    return DAGInstance(generate_instance_id(), definition)


def timed_out(call: Coroutine[Any, Any, object], run: Callable[..., object] = asyncio.run) -> None:
    """Runs an async node that must overrun."""
    with pytest.raises(TimeoutError, match=r"^the attempt took longer than the timeout of [\d.]+ s$"):
        run(call)


def test_each_node_has_a_context_of_its_own(nodes: Any, log: list[Any]) -> None:
    """A node that is called has its own, and the caller has its own again when it goes on."""
    nodes.outer()
    outer, inner, outer_again = log
    assert (outer, outer.function, inner.function) == (outer_again, "outer", "inner")
    assert outer.instance_id == inner.instance_id == nodes.instance_id
    assert (outer.node_id != inner.node_id, outer.key != inner.key, inner.token > outer.token) == (True, True, True)
    with pytest.raises(NotInNode):
        context()


def test_tasks_and_threads_share_it(nodes: Any, log: list[Any]) -> None:
    """As on a worker, in whatever has a copy of the function's context."""
    asyncio.run(nodes.later())
    assert (len(log), len(set(log)), log[0].function) == (3, 1, "later")


def test_it_is_that_of_the_node_inside(nodes: Any, log: list[Any]) -> None:
    """Also where a worker's node runs another instance inline."""
    held = Held(b"n" * 16, 7, b"i" * 16, Function("m:C.f", b""), b"", 1, None)
    token = current_scope.set(Scope(b"i" * 16, held))
    try:
        nodes.inner()
        assert (log[0].function, context().function) == ("inner", "m:C.f")
    finally:
        current_scope.reset(token)


@pytest.mark.parametrize(("kind", "attempts"), [(ConnectionError, 3), (FileNotFoundError, 1), (ValueError, 1)])
@pytest.mark.parametrize("later", [False, True])
def test_only_some_exceptions_are_retried(
    nodes: Any, log: list[Any], kind: type[Exception], attempts: int, later: bool
) -> None:
    """A policy's types count; node and key stay over the attempts, and each has a larger token."""
    with pytest.raises(kind):
        asyncio.run(nodes.fail_later(kind)) if later else nodes.fail(kind)
    assert [one.attempt for one in log] == list(range(1, attempts + 1))
    assert len({(one.node_id, one.key) for one in log}) == 1
    assert [one.token for one in log] == sorted({one.token for one in log})


def grouped(message: str) -> BaseExceptionGroup[BaseException]:
    """Makes what a TaskGroup would raise."""
    return BaseExceptionGroup(message, [ConnectionError()])


def test_groups_are_looked_into(nodes: Any, log: list[Any]) -> None:
    """What the types say holds for what is in a group."""
    with pytest.raises(ExceptionGroup):
        nodes.fail(grouped)
    assert [one.attempt for one in log] == [1, 2, 3]


def test_a_function_that_overran_has_failed(nodes: Any, log: list[Any]) -> None:
    """Nothing interrupts it, but it can see that its time is over; such attempts are retried whatever the types say."""
    with pytest.raises(TimeoutError, match=r"^the attempt took longer than the timeout of 0\.02 s$"):
        nodes.overrun()
    assert log == [0.0] * 3


def test_an_async_function_is_cancelled(nodes: Any, log: list[Any]) -> None:
    """It sees why, and what it does about it changes nothing."""
    timed_out(nodes.hang())
    timed_out(nodes.swallow())
    assert log == [True, *["swallowed"] * 3]


def test_who_is_in_time_is_left_alone(nodes: Any) -> None:
    """A caller that stops waiting stops the node as ever, which is no timeout."""

    async def main() -> str:
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(nodes.hold(), 0.02)
        assert str(caught.value) == ""
        value: str = await nodes.quick()
        return value

    assert asyncio.run(main()) == "quick"


def test_a_caller_that_stops_hears_of_no_timeout(nodes: Any) -> None:
    """Who is cancelled in the same moment is cancelled, and not told that it failed."""

    async def main() -> None:
        caller = asyncio.create_task(nodes.block())
        asyncio.get_running_loop().call_later(0.001, caller.cancel)
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(main())


def test_what_it_calls_does_not_count(nodes: Any, log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a broker a called node runs after its caller, so its time is its own; then the caller's clock goes on."""
    with monkeypatch.context() as patch:
        for module in (inline_nodes, node_context):
            patch.setattr(module, "monotonic", lambda: sum(log))  # what nodes have noted is how long they took
        assert nodes.calls() == 2
    for module in (inline_nodes, node_context):
        monkeypatch.setattr(module, "monotonic", clock.now)
    assert clock.run(nodes.calls_later()) == 2
    timed_out(nodes.calls_and_hangs(), clock.run)
