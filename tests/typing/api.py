"""What type checkers are told about the API. Never run; `test_typing` has mypy and pyright read it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_type
from uuid import UUID

from dagorama import (
    Attempt,
    DAGDefinition,
    DAGInstance,
    EventKind,
    EventsSkipped,
    Failure,
    FunctionProgress,
    Instance,
    InstanceEvent,
    InstanceProgress,
    InstanceShape,
    InstanceState,
    InstanceStatus,
    InstanceTimes,
    Limit,
    Listing,
    Node,
    NodeContext,
    NodeEvent,
    NodeState,
    Queue,
    QueueStatus,
    ShapeEdge,
    ShapeGroup,
    StaticRetry,
    Why,
    WorkerEvent,
    WorkerStatus,
    attach,
    context,
    dagorama,
    events,
    find,
    generate_instance_id,
    instance_options,
    instances,
    node_options,
    put,
    put_async,
    queues,
    queues_async,
    resolve,
    resolve_async,
    workers,
    workers_async,
)


class Plain(DAGDefinition):
    """A definition like those of the README."""

    def __init__(self, factor: int = 1) -> None:
        """Takes a constructor argument."""
        self.factor = factor

    @dagorama().syncfn
    def entrypoint(self, count: int, *, label: str = "") -> Counter[int]:
        """Fans out and in again."""
        assert_type(self.work(1), int)
        return self.rollup([self.work(number) for number in range(count)])

    @dagorama(queue_name="work", taint_name="gpu", retry=StaticRetry(3, 1), timeout=1.5, code_mismatch="warn").syncfn
    def work(self, number: int) -> int:
        """Works, and looks whether it should stop."""
        assert_type(context(), NodeContext)
        context().raise_if_cancelled()
        assert_type(context().remaining_s, float | None)
        return number * self.factor

    @dagorama(start_timeout=60, at_most_once=True, label="{numbers}", redact=("numbers",))
    def rollup(self, numbers: list[int]) -> Counter[int]:
        """Gathers."""
        return Counter(numbers)


def tenant_of(url: str) -> tuple[str, int]:
    """Gives a limit's key."""
    return url, 1


class Limited(DAGDefinition):
    """A definition with limits."""

    @dagorama(limit=Limit("database", max=3)).syncfn
    def entrypoint(self, url: str) -> str:
        """Has the types that it would have without a limit."""
        assert_type(self.fetch(url), str)
        return self.fetch(url)

    @dagorama(limit=[Limit(tenant_of, max=1, per_second=10, burst=5, name="tenants"), Limit("x", per_second=0.5)])
    def fetch(self, url: str) -> str:
        """Has two limits."""
        return url

    @dagorama(limit=(Limit(lambda url: url, max=1), Limit(key=lambda url, level: (url, level), max=1))).syncfn
    def crawl(self, url: str, level: int) -> str:
        """Has limits by its arguments."""
        return url


class Asynchronous(DAGDefinition):
    """A definition whose entrypoint is async."""

    @dagorama().asyncfn
    async def entrypoint(self, name: str) -> str:
        """Awaits what it calls, as it would undecorated."""
        part = await self.shout(name)
        assert_type(part, str)
        return part

    @dagorama
    async def shout(self, name: str) -> str:
        """Shouts."""
        return name.upper()


class Unannotated(DAGDefinition):
    """A definition that says nothing of types."""

    @dagorama().syncfn
    def entrypoint(self, count):  # type: ignore[no-untyped-def] # that is the point
        """Returns something."""
        return count


class Derived(Plain):
    """Inherits its entrypoint."""


class Nested(DAGDefinition):
    """Starts another definition inside a node."""

    @dagorama().syncfn
    def entrypoint(self) -> Counter[int]:
        """A sub-graph's promise is the promise of its entrypoint's value."""
        _, promise = Plain()(2)
        assert_type(promise, Counter[int])
        return promise


def use_plain() -> None:
    """An instance and a promise that passes for the value."""
    instance, promise = Plain(2)(4, label="x")
    assert_type(instance, DAGInstance[Counter[int]])
    assert_type(promise, Counter[int])
    assert_type(instance.result(timeout=1.5), Counter[int])
    assert_type(instance.why(), Why)
    assert_type(instance.why(promise), Why)
    assert_type(resolve(instance, promise, wait_for_results=True), Counter[int])
    assert_type(resolve(instance, promise), Counter[int] | None)
    assert_type(resolve(instance, promise.most_common(1)), list[tuple[int, int]] | None)
    assert_type(put(4), int)
    assert_type(put({"a": [b"x"]}), dict[str, list[bytes]])
    assert_type(resolve(instance, put("x")), str | None)
    Plain(put(2))(put(4), label=put("x"))
    assert_type(DAGInstance(generate_instance_id(), Plain(2)), DAGInstance[Counter[int]])
    assert_type(attach(instance.instance_id, Plain(2)), DAGInstance[Counter[int]])
    assert_type(attach("id", Plain()).result(), Counter[int])
    attach("id", Unannotated()).result()
    untyped, anything = Unannotated()(3)
    untyped.result()
    print(anything)
    instance.cancel()
    instance.pause()
    instance.resume()
    instance.set_priority(5)
    instance.cap(2)
    instance.cap(None)
    assert_type(instance.state, InstanceState)
    assert_type(instance.wait(timeout=0), None)
    assert_type(instance.retry(), None)
    assert_type(instance.rerun(promise), tuple[UUID, ...])
    with instance_options(priority=5, group="night", running_max=4, deadline=1.5, key="k", tags={"a": "b"}) as nothing:
        assert_type(nothing, None)
    with node_options(queue_name="q", taint_name="t", retry=StaticRetry(2, 1), timeout=1, label="l") as no_more:
        assert_type(no_more, None)
    with node_options(start_timeout=1, limit=[Limit("database", max=1)]):
        pass
    derived, _ = Derived(3)(1)
    assert_type(derived.result(), Counter[int])


async def use_asynchronous() -> None:
    """The awaitable form."""
    instance, promise = await Asynchronous()("x")
    assert_type(instance, DAGInstance[str])
    assert_type(promise, str)
    assert_type(await instance.aresult(), str)
    assert_type(await put_async("x"), str)
    await Asynchronous()(await put_async("x"))
    assert_type(await attach("id", Asynchronous()).aresult(), str)
    await instance.acancel()
    await instance.apause()
    await instance.aresume()
    await instance.aset_priority(5)
    await instance.acap(None)
    await instance.aretry()
    await instance.arerun(promise)
    assert_type(await instance.awhy(), Why)
    assert_type(await instance.astate(), InstanceState)
    assert_type(await instance.wait_async(timeout=1), None)
    assert_type(await resolve_async(instance, promise, wait_for_results=True), str)
    assert_type(await resolve_async(instance, promise), str | None)


def use_run() -> None:
    """The awaitable form is a coroutine, as that of any async function."""
    instance, promise = asyncio.run(Asynchronous()("x"))
    assert_type(instance, DAGInstance[str])
    assert_type(promise, str)


def look(untyped: UUID | str) -> None:
    """All that is known, without a definition and with one."""
    found = attach(untyped)
    assert_type(found, Instance)
    assert_type(found.result(timeout=1), object)
    listed = instances(
        state="failed", definition=Plain, tags={"customer": "c9"}, key="k", since=timedelta(hours=1), limit=3
    )
    assert_type(listed, Listing[Instance])
    for instance in instances(state=[InstanceState.FAILED, "running"], until=datetime.now()):
        assert_type(instance, Instance)
        assert_type(instance.id, UUID)
        assert_type(instance.definition, str)
        assert_type(instance.state, InstanceState)
        assert_type(instance.status, InstanceStatus)
        assert_type(instance.refresh(), Instance)
        assert_type(instance.done(), bool)
        assert_type(instance.wait(timeout=3), None)
        assert_type(instance.nodes(state={NodeState.FAILED}, function="f"), Listing[Node])
        assert_type(instance.retry(), None)
    progress = found.progress()
    assert_type(progress, InstanceProgress)
    assert_type(progress.functions, tuple[FunctionProgress, ...])
    assert_type(progress.functions[0].counts, dict[NodeState, int])
    assert_type(progress.fraction, float)
    shape = found.shape()
    assert_type(shape, InstanceShape)
    assert_type(shape.groups, tuple[ShapeGroup, ...])
    assert_type(shape.edges, tuple[ShapeEdge, ...])
    times = found.times()
    assert_type(times, InstanceTimes)
    assert_type(times.states, list[NodeState])
    assert_type(times.node_id(0), UUID)
    node = found.node(untyped)
    assert_type(node, Node)
    assert_type(node.state, NodeState)
    assert_type(node.attempts, tuple[Attempt, ...])
    assert_type(node.error, Failure | None)
    assert_type(node.result(timeout=1), object)
    assert_type(node.parent(), Node | None)
    assert_type(node.dependencies(), Listing[Node])
    assert_type(node.why(), Why)
    assert_type(node.rerun(), tuple[UUID, ...])
    assert_type(find("order-17"), Instance)
    assert_type(next(found.changes()), InstanceStatus)
    found.rerun(node)
    started, promise = Plain()(1)
    assert_type(started.done(), bool)
    assert_type(started.node(promise), Node)
    assert_type(list(started.nodes()), list[Node])
    for event in events(found, after="cursor"):
        assert_type(event, InstanceEvent | NodeEvent | WorkerEvent | EventsSkipped)
        assert_type(event.cursor, str)
        if isinstance(event, NodeEvent):
            assert_type(event.kind, EventKind)
    assert_type(events(started).begin(), str)
    assert_type(workers(), Sequence[WorkerStatus])
    assert_type(queues(), Sequence[QueueStatus])
    assert_type(Queue("x").cap(None), Sequence[QueueStatus])


async def look_async() -> None:
    """The same on an event loop."""
    async for instance in instances():
        assert_type(instance, Instance)
        assert_type(await instance.adone(), bool)
        assert_type(await instance.arefresh(), Instance)
        assert_type(await instance.astate(), InstanceState)
        assert_type(await instance.aresult(timeout=1), object)
        assert_type(await instance.wait_async(timeout=1), None)
        async for node in instance.nodes():
            assert_type(node, Node)
            assert_type(await node.arefresh(), Node)
            assert_type(await node.aparent(), Node | None)
            assert_type(await node.awhy(), Why)
        assert_type(await instance.aprogress(), InstanceProgress)
        assert_type(await instance.ashape(), InstanceShape)
        assert_type(await instance.atimes(), InstanceTimes)
        assert_type(await instance.anode("id"), Node)
    async for event in events():
        assert_type(event, InstanceEvent | NodeEvent | WorkerEvent | EventsSkipped)
    assert_type(await events().abegin(), str)
    assert_type(await workers_async(), Sequence[WorkerStatus])
    assert_type(await queues_async(), Sequence[QueueStatus])
    assert_type(await Queue("x").apause(), Sequence[QueueStatus])
