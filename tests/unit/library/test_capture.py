"""A decorated call leaves a captured call behind and returns a promise; nothing else happens."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest

from dagorama.calls.capture import Scope, current_scope
from dagorama.calls.ids import new_id
from dagorama.calls.payload import decode, no_promises
from dagorama.code_signature import calculate_function_hash
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, instance_of, resolve
from dagorama.errors import PayloadError, PromiseMisuse
from dagorama.limits import Limit
from dagorama.models.promise import DAGPromise, node_id_of
from dagorama.retry import StaticRetry
from dagorama.worker.shell.listing import functions_of
from tests.unit.library.conftest import Running
from tests.unit.library.dag_server import DagServer

RETRY = StaticRetry(max_attempts=3, interval=1)


class Task(DAGDefinition):
    """A definition."""

    def __init__(self, factor: Any = 1) -> None:
        """Takes one argument."""
        self.factor = factor

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        """Calls another."""
        return self.work(count, scale=2)

    @dagorama(queue_name="heavy", taint_name="gpu", retry=RETRY).syncfn
    def work(self, number: int, *, scale: int = 1) -> int:
        """Computes."""
        return number * scale * int(self.factor)

    @dagorama()
    async def wait(self, number: int) -> int:
        """Is async."""
        return number

    @dagorama
    def bare(self, *values: int) -> int:
        """Is decorated without parentheses."""
        return sum(values)


class Derived(Task):
    """Overrides a decorated method."""

    @dagorama().syncfn
    def work(self, number: int, *, scale: int = 1) -> int:
        """Asks the base class, which makes no node of its own."""
        return super().work(number, scale=scale)


def test_a_call_is_captured(running: Running) -> None:
    """Inside a running node a call joins the node's scope, with all that a worker needs."""
    self: Any = running.instance(Task())
    promise = self.work(2, scale=3)
    assert type(promise) is DAGPromise
    (call,) = running.scope.calls
    assert (call.node_id, call.dependency_ids) == (node_id_of(promise), ())
    assert decode(call.arguments, no_promises) == ((2,), {"scale": 3})
    spec = call.function
    assert (spec.name, spec.queue, spec.taint, spec.retry, spec.definition_arguments) == (
        f"{__name__}:Task.work",
        "heavy",
        "gpu",
        RETRY,
        b"",
    )
    assert spec.code_version == calculate_function_hash(Task.work)
    assert spec.name in repr(promise)


def test_the_queue_is_the_functions_name_by_default(running: Running) -> None:
    """Without a queue of its own a function has one to itself, and no taint and no retry."""
    self: Any = running.instance(Task())
    self.bare(1, 2)
    spec = running.scope.calls[0].function
    assert (spec.queue, spec.taint, spec.retry) == (f"{__name__}:Task.bare", "", None)


def test_promises_are_dependencies(running: Running) -> None:
    """A call depends on each promise among its arguments, once, wherever it is."""
    self: Any = running.instance(Task())
    first, second = self.work(1), self.work(2)
    self.bare(second, [first], {first: second["k"]})
    assert running.scope.calls[-1].dependency_ids == (node_id_of(second), node_id_of(first))


def test_calls_are_in_order(running: Running) -> None:
    """The scope has the calls in the order in which they were made, with ids that grow."""
    self: Any = running.instance(Task())
    made = [node_id_of(self.work(number)) for number in range(10)]
    assert [call.node_id for call in running.scope.calls] == made == sorted(made)


def test_specs_are_shared(running: Running) -> None:
    """All calls of a function have one spec, from all definitions of a class that were made without arguments."""
    one: Any = running.instance(Task())
    other: Any = running.instance(Task())
    one.work(1)
    other.work(2)
    assert running.scope.calls[0].function is running.scope.calls[1].function


def test_constructor_arguments_travel(running: Running) -> None:
    """A definition that was made with arguments carries them in its functions' specs."""
    self: Any = running.instance(Task(factor=3))
    self.work(1)
    assert decode(running.scope.calls[0].function.definition_arguments, no_promises) == ((), {"factor": 3})


def test_inherited_functions_belong_to_the_class_that_inherits(running: Running) -> None:
    """A worker must find the function on the class that the instance has, with its overrides."""
    self: Any = running.instance(Derived())
    self.bare(1)
    self.work(1)
    assert [call.function.name for call in running.scope.calls] == [
        f"{__name__}:Derived.bare",
        f"{__name__}:Derived.work",
    ]


def test_an_overridden_function_is_no_node(running: Running) -> None:
    """No name leads to what an override hides; the error says how to run it."""
    self: Any = running.instance(Derived())
    with pytest.raises(ValueError, match="greedy_execution=True"):
        Task.work(self, 1)
    assert Task.work(self, 2, scale=5, greedy_execution=True) == 10  # type: ignore[call-arg] # not for type checkers


def test_greedy_execution_runs_the_body(running: Running) -> None:
    """The body runs at once with the instance as `self`, and no node is made."""
    self: Any = running.instance(Task(3))
    assert self.work(2, scale=5, greedy_execution=True) == 30
    assert asyncio.run(self.wait(4, greedy_execution=True)) == 4
    assert running.scope.calls == []


def test_a_sub_graph_joins_the_running_node(running: Running) -> None:
    """A definition that is called inside a node makes a child in the same instance."""
    self: Any = running.instance(Task())
    instance, promise = Derived(2)(7)
    assert instance.instance_id.bytes == running.scope.instance_id
    (call,) = running.scope.calls
    assert (call.function.name, call.node_id) == (f"{__name__}:Derived.entrypoint", node_id_of(promise))  # type: ignore[arg-type] # a promise
    assert self(8)[0].instance_id.bytes == running.scope.instance_id


def test_async_calls_are_captured_when_awaited(running: Running) -> None:
    """An async function's call is a coroutine that gives the promise; it can be gathered like any other."""
    self: Any = running.instance(Task())

    async def body() -> list[Any]:
        return [await self.wait(1), *await asyncio.gather(*[self.wait(number) for number in (2, 3)])]

    promises = asyncio.run(body())
    assert [decode(call.arguments, no_promises) for call in running.scope.calls] == [
        ((1,), {}),
        ((2,), {}),
        ((3,), {}),
    ]
    assert [call.node_id for call in running.scope.calls] == [node_id_of(promise) for promise in promises]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"number": 2}), ((1,), {"scal": 2}), ((), {"scale": 1})]
)
def test_wrong_arguments_are_type_errors(running: Running, args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    """A call that Python would not make raises at once, names the function, and makes no node."""
    self: Any = running.instance(Task())
    with pytest.raises(TypeError, match=r"Task\.work\(\): "):
        self.work(*args, **kwargs)
    assert running.scope.calls == []


def test_wrong_arguments_of_async_functions_are_type_errors_at_the_call(running: Running) -> None:
    """Also an async function complains when it is called, not when it is awaited."""
    self: Any = running.instance(Task())
    with pytest.raises(TypeError, match="missing a required argument: 'number'"):
        self.wait()


def test_arguments_that_do_not_encode_are_named(running: Running) -> None:
    """The error names the argument and the function."""
    self: Any = running.instance(Task())
    with pytest.raises(PayloadError) as raised:
        self.work(1, scale=[threading.Lock()])
    assert raised.value.what == f"argument 'scale' of {__name__}:Task.work"
    assert running.scope.calls == []


def test_constructor_arguments_that_do_not_encode_are_named(running: Running) -> None:
    """The error says so at the call, and names both ways out."""
    self: Any = running.instance(Task(threading.Lock()))
    with pytest.raises(PayloadError, match=r"the arguments that .*:Task was made with") as raised:
        self.work(1)
    assert any("register_definition" in note for note in raised.value.__notes__)


def test_constructor_arguments_cannot_be_promises(running: Running) -> None:
    """A definition is made before any value is known."""
    self: Any = running.instance(Task())
    with pytest.raises(PayloadError, match="Pass the promise to the entrypoint"):
        Task(self.work(1))(2)


def test_calls_on_a_definition_are_refused() -> None:
    """A node belongs to an instance; the error says how to get one."""
    with pytest.raises(ValueError, match=r"Task\.work was called on a DAGDefinition.*definition\("):
        Task().work(1)


@pytest.mark.parametrize("args", [(), (1,), (object(), 2)])
def test_calls_on_anything_else_are_refused(args: tuple[Any, ...]) -> None:
    """A decorated function is not called without an instance."""
    with pytest.raises(ValueError, match="only be called as a method of a DAGInstance"):
        Task.work(*args)


def test_own_children_cannot_be_waited_for(running: Running) -> None:
    """A node that waits for its own child would wait for ever."""
    self: Any = running.instance(Task())
    promise = self.work(1)
    with pytest.raises(PromiseMisuse, match="comes into being when this function returns"):
        resolve(self, [promise], wait_for_results=True)


def test_each_kind_of_function_has_its_decorator() -> None:
    """The wrong kind is a `ValueError`, and so is what is no function at all."""

    async def asynchronous() -> None: ...

    def ordinary() -> None: ...

    async def asynchronous_generator() -> Any:
        yield

    def generator() -> Any:
        yield 1

    with pytest.raises(ValueError, match="asynchronous is an async function"):
        dagorama().syncfn(asynchronous)
    with pytest.raises(ValueError, match="is not an async function"):
        dagorama().asyncfn(ordinary)
    with pytest.raises(ValueError, match="generator is a generator"):
        dagorama().syncfn(generator)
    with pytest.raises(ValueError, match="asynchronous_generator is a generator, which is no value that can travel"):
        dagorama().asyncfn(asynchronous_generator)
    with pytest.raises(ValueError, match="decorates functions"):
        dagorama().syncfn(staticmethod(ordinary))


def test_decorated_functions_look_like_the_original() -> None:
    """Name, docstring and signature are kept, and the original is at hand."""
    original = Task.work.original_fn  # type: ignore[attr-defined] # not for type checkers
    assert (Task.work.__name__, Task.work.__doc__) == ("work", "Computes.")
    assert inspect.signature(Task.work) == inspect.signature(original)
    assert original(Task(), 2, scale=2) == 4


def test_outside_of_nodes_calls_are_submitted_at_once(server: DagServer) -> None:
    """A start is one request, with the instance and its first node; further calls are one each."""
    instance, promise = Task(3)(5)
    promised: Any = promise
    behaves: Any = instance
    behaves.work(promised)
    first, second = server.submits
    assert (first.instance_id, first.definition) == (instance.instance_id.bytes, f"{__name__}:Task")
    assert first.calls.node_ids == [node_id_of(promised)]
    assert first.functions[0].name == f"{__name__}:Task.entrypoint"
    assert second.calls.dependency_ids == [node_id_of(promised)]
    function = second.functions[0]
    assert (function.queue, function.taint, function.retry.max_attempts) == ("heavy", "gpu", 3)


def test_calls_from_threads_join_the_running_node() -> None:
    """A node's function may hand its `self` to threads; their calls come into being with its result, too."""
    scope = Scope(new_id())
    self: Any = instance_of(scope.instance_id, Task(), scope)
    with ThreadPoolExecutor(2) as threads:
        promises = list(threads.map(self.work, range(10)))
    assert {call.node_id for call in scope.calls} == {node_id_of(promise) for promise in promises}
    assert len(scope.calls) == 10


def test_another_instance_is_none_of_the_running_nodes_business(server: DagServer, running: Running) -> None:
    """A call on an instance of its own is submitted, also inside a node."""
    token = current_scope.set(None)
    instance: Any = Task()(1)[0]
    current_scope.reset(token)
    instance.work(1)
    assert running.scope.calls == []
    assert len(server.submits) == 2


def test_async_starts_are_awaited(server: DagServer) -> None:
    """A definition with an async entrypoint is started by awaiting it."""

    class Asynchronous(DAGDefinition):
        @dagorama().asyncfn
        async def entrypoint(self, name: str) -> str:
            """Returns its argument."""
            return name

    instance, promise = asyncio.run(Asynchronous()("x"))
    promised: Any = promise
    assert isinstance(instance.instance_id, UUID)
    assert server.submits[0].calls.node_ids == [node_id_of(promised)]


def test_capturing_does_no_work_per_function() -> None:
    """A captured call costs a few function calls: specs, signatures and digests are made once. Counted, not timed."""
    scope = Scope(new_id())
    self: Any = instance_of(scope.instance_id, Task(), scope)
    self.work(0)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    token = current_scope.set(scope)
    sys.setprofile(count)
    try:
        for number in range(100):
            self.work(number)
    finally:
        sys.setprofile(None)
        current_scope.reset(token)
    assert len(scope.calls) == 101
    assert calls < 100 * 40


class Decorated(DAGDefinition):
    """Has a function of which its decorator says all that there is to say."""

    @dagorama()
    def entrypoint(self) -> None:
        """Does nothing."""

    @dagorama("q", "t", timeout=4, limit=Limit("db", max=1), start_timeout=3, at_most_once=True)
    def full(self) -> None:
        """Does nothing."""


def test_a_listed_function_is_as_a_submit_has_it(running: Running) -> None:
    """`dagorama check` asks about functions with all that their decorators say."""
    instance: Any = running.instance(Decorated())
    instance.full()
    (listed,) = (one.spec for one in functions_of([__name__]) if one.spec.name == f"{__name__}:Decorated.full")
    assert asdict(listed) == asdict(running.scope.calls[0].function)
    assert (listed.start_timeout_s, listed.at_most_once, len(listed.limits)) == (3.0, True, 1)
