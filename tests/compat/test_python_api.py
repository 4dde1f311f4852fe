"""The Python API of dagorama 0.1, row by row: names, signatures and behaviour that code written for it relies on.

Real brokers and workers where a row speaks of what happens, nothing of the library's inside.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import os
import pickle
import subprocess
import sys
import tomllib
from abc import ABC
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from functools import partial
from multiprocessing import Process, get_context
from pathlib import Path
from threading import Thread
from typing import Any, cast
from uuid import UUID, uuid4

import click
import pytest

from dagorama.code_signature import calculate_function_hash
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, generate_instance_id, resolve, resolve_async
from dagorama.hot_reload import EventHandler, run_hot_reload_worker
from dagorama.inspection import (
    extract_promise_identifiers,
    find_promises,
    map_promises,
    resolve_promises,
    verify_function_call,
)
from dagorama.logging import get_default_console_width, get_log_level, get_logger
from dagorama.models.arguments import DAGArguments
from dagorama.models.promise import DAGPromise
from dagorama.retry import ExponentialRetry, RetryConfiguration, StaticRetry
from dagorama.runner import CodeMismatchException, execute_worker, execute_worker_async, launch_workers
from dagorama.serializer import function_to_name, name_to_function, register_definition
from dagorama.settings import INLINE_ENVIRONMENT_FLAG, should_run_inline
from dagorama_broker.launch import LaunchedBroker, launch_broker

ROOT = Path(__file__).parents[2]

#: Runs all that is there and returns; what a node raises comes out.
work = partial(execute_worker, infinite_loop=False, catch_exceptions=False)
work_async = partial(execute_worker_async, infinite_loop=False, catch_exceptions=False)


class Helper:
    """Something callable that is not a method."""

    def __call__(self) -> str:
        return "called"

    def method(self) -> str:
        return "of the helper"


class Sample(DAGDefinition):
    """What 0.1's README does, and more."""

    shared = "of the class"

    def __init__(self) -> None:
        self.helper = Helper()
        self.helper_method = self.helper.method

    @dagorama().syncfn
    def entrypoint(self, number: int, scale: int = 1) -> Any:
        return self.total([self.double(part * scale) for part in range(number)])

    @dagorama().syncfn
    def double(self, number: int) -> int:
        return number * 2

    @dagorama().syncfn
    def total(self, numbers: list[int]) -> int:
        return sum(numbers)

    @dagorama()
    def bare(self, value: object) -> object:
        return value

    @dagorama
    def barest(self, value: object) -> object:
        return value

    @dagorama().syncfn
    def self_of_a_node(self) -> object:
        return [
            isinstance(self, DAGInstance),
            self.plain() is self,
            self.shared,
            self.helper(),
            self.helper_method(),
            self.double(21, greedy_execution=True),  # type: ignore[call-arg] # the decorator takes it away
        ]

    def plain(self) -> object:
        return self

    @dagorama().syncfn
    def raises(self) -> int:
        raise LookupError("no such thing")

    @dagorama(queue_name="other").syncfn
    def in_other_queue(self) -> int:
        return os.getpid()

    @dagorama(taint_name="gpu").syncfn
    def tainted(self) -> str:
        return "tolerated"

    @dagorama(retry=StaticRetry(max_attempts=3, interval=0.05)).syncfn
    def flaky(self, record: str) -> int:
        with open(record, "a") as file:
            file.write("attempt\n")
        attempts = len(Path(record).read_text().splitlines())
        if attempts < 3:
            raise LookupError("not yet")
        return attempts


class SampleAsync(DAGDefinition):
    """The async forms."""

    @dagorama().asyncfn
    async def entrypoint(self, number: int) -> Any:
        return await self.double(await self.bare(number))

    @dagorama().asyncfn
    async def double(self, number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    @dagorama()
    async def bare(self, value: int) -> int:
        return value

    @dagorama
    async def barest(self, value: int) -> int:
        return value


class WithArgument(DAGDefinition):
    """Is made with an argument."""

    def __init__(self, number: int = 1) -> None:
        self.number = number

    @dagorama().syncfn
    def entrypoint(self) -> int:
        return self.number


def instance_of(definition: DAGDefinition) -> Any:
    """Makes an instance without calling an entrypoint."""
    return DAGInstance(generate_instance_id(), definition)


def signature_of(fn: Callable[..., object]) -> str:
    """Writes the parameters of a function and their defaults."""
    parameters = inspect.signature(fn).parameters.values()
    return ", ".join(
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}"
        for p in parameters
        if p.kind is not inspect.Parameter.KEYWORD_ONLY
    )


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (dagorama, "queue_name=None, taint_name=None, retry=None"),
        (DAGInstance, "instance_id, definition"),
        (generate_instance_id, ""),
        (resolve, "instance, promise, wait_for_results=False"),
        (resolve_async, "instance, promise, wait_for_results=False"),
        (DAGPromise, "identifier, function_name=None, arguments=None"),
        (DAGArguments, "calltime_args, calltime_kwargs"),
        (find_promises, "obj"),
        (resolve_promises, "obj, values"),
        (extract_promise_identifiers, "obj"),
        (map_promises, "obj, fn"),
        (verify_function_call, "fn, args, kwargs"),
        (StaticRetry, "max_attempts, interval"),
        (ExponentialRetry, "max_attempts, base_interval=2"),
        *[
            (
                fn,
                "exclude_queues=None, include_queues=None, queue_tolerations=None, infinite_loop=True, "
                "catch_exceptions=True",
            )
            for fn in (execute_worker, execute_worker_async)
        ],
        (launch_workers, "n=1, exit_on_completion=False"),
        (register_definition, "definition"),
        (name_to_function, "name, instance_id"),
        (calculate_function_hash, "fn, include_package_versions=False"),
        (get_log_level, ""),
        (get_logger, ""),
        (get_default_console_width, "default_value=80"),
        (should_run_inline, ""),
        (launch_broker, "port=50051"),
    ],
)
def test_parameters_are_called_what_they_were_called(fn: Callable[..., object], expected: str) -> None:
    """Arguments may be given by name, by place, or left to their defaults as in 0.1."""
    assert signature_of(fn) == expected


# -- dagorama.decorators -----------------------------------------------------------------------------------------------


def test_a_call_on_an_instance_makes_a_node_and_returns_its_promise() -> None:
    """The promise is a `DAGPromise`, and a worker gives its value."""
    instance = instance_of(Sample())
    promise = instance.double(4)
    assert [type(promise)] == [DAGPromise]
    work()
    assert resolve(instance, promise) == 8


def test_the_decorated_function_carries_the_original() -> None:
    """`original_fn` is the function as it was written."""
    for decorated in (Sample.double, Sample.bare, Sample.barest, SampleAsync.double, SampleAsync.bare):
        original: Any = getattr(decorated, "original_fn")  # noqa: B009 - no type knows it
        assert original.__qualname__ == decorated.__qualname__
        assert original is not decorated
    assert Sample.double.original_fn(None, 4) == 8  # type: ignore[attr-defined] # added by the decorator


def test_each_decorator_wants_its_kind_of_function() -> None:
    """`syncfn` refuses async functions, `asyncfn` the others."""

    def sync() -> None: ...

    async def later() -> None: ...

    with pytest.raises(ValueError, match="asyncfn"):
        dagorama().syncfn(later)
    with pytest.raises(ValueError, match="syncfn"):
        dagorama().asyncfn(sync)


@pytest.mark.parametrize("receiver", [Sample(), object(), None, 3])
def test_a_call_on_anything_else_is_refused(receiver: Any) -> None:
    """Only instances have nodes; a definition has none."""
    with pytest.raises(ValueError):
        Sample.double(receiver, 1)


def test_greedy_execution_runs_the_body_at_once() -> None:
    """With `greedy_execution=True` there is no node and no promise."""
    assert instance_of(Sample()).double(4, greedy_execution=True) == 8
    assert asyncio.run(instance_of(SampleAsync()).double(4, greedy_execution=True)) == 8


def test_bare_decorators_take_both_kinds() -> None:
    """`@dagorama()` and `@dagorama` decorate sync and async functions."""
    plain, later = instance_of(Sample()), instance_of(SampleAsync())

    async def call_all() -> list[object]:
        return [plain.bare(1), plain.barest(2), await later.bare(3), await later.barest(4)]

    promises = asyncio.run(call_all())
    work()
    assert [resolve(plain, promise) for promise in promises[:2]] == [1, 2]
    assert [resolve(later, promise) for promise in promises[2:]] == [3, 4]


def test_the_queue_is_named_after_the_function(own_broker: LaunchedBroker) -> None:
    """Without `queue_name` a node is in the queue of its function's name."""
    instance = instance_of(Sample())
    promise, other = instance.double(4), instance.in_other_queue()
    work(include_queues=[function_to_name(Sample.double)])
    assert (resolve(instance, promise), resolve(instance, other)) == (8, None)


def test_taint_and_retry_are_those_of_the_decorator(own_broker: LaunchedBroker, tmp_path: Path) -> None:
    """`taint_name` keeps workers without the toleration off, `retry` gives further attempts."""
    instance = instance_of(Sample())
    tainted, flaky = instance.tainted(), instance.flaky(str(tmp_path / "record"))
    execute_worker(infinite_loop=False)
    assert (resolve(instance, tainted), resolve(instance, flaky)) == (None, 3)
    execute_worker(queue_tolerations=["gpu"], infinite_loop=False)
    assert resolve(instance, tainted) == "tolerated"


# -- dagorama.definition -----------------------------------------------------------------------------------------------


def test_a_definition_is_abstract_without_an_entrypoint() -> None:
    """`DAGDefinition` is an ABC whose `entrypoint` subclasses have to write."""
    assert issubclass(DAGDefinition, ABC)
    assert DAGDefinition.__abstractmethods__ == {"entrypoint"}
    with pytest.raises(TypeError, match="entrypoint"):
        DAGDefinition()  # type: ignore[abstract] # that is the mistake


def test_calling_a_definition_starts_an_instance() -> None:
    """It gives instance and promise, each time new ones."""
    definition = Sample()
    started = [definition(4), definition(4, scale=10)]
    work()
    assert [type(instance) for instance, _ in started] == [DAGInstance] * 2
    assert [type(promise) for _, promise in started] == [DAGPromise] * 2
    assert [resolve(instance, promise) for instance, promise in started] == [12, 120]


def test_an_async_definition_is_awaited() -> None:
    """With an async entrypoint the call gives an awaitable of the same."""

    async def main() -> object:
        started = SampleAsync()(4)
        assert isinstance(started, Awaitable)
        instance, promise = await started
        await work_async()
        return resolve(instance, promise)

    assert asyncio.run(main()) == 8


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"size": 1}), ((1,), {"number": 1})])
def test_wrong_arguments_are_errors_at_the_call(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """A start with arguments that the entrypoint doesn't take is a `TypeError`, where it stands."""
    definition: Any = Sample()
    with pytest.raises(TypeError):
        definition(*args, **kwargs)


def test_a_node_has_the_instance_as_self() -> None:
    """Reads go to the definition, undecorated methods run inline with that `self`, other callables are left alone."""
    instance = instance_of(Sample())
    promise = instance.self_of_a_node()
    work()
    assert resolve(instance, promise) == [True, True, "of the class", "called", "of the helper", 42]


def test_an_instance_is_made_of_id_and_definition() -> None:
    """`DAGInstance(generate_instance_id(), definition)` is an instance like one that was started."""
    definition = Sample()
    instance_id = generate_instance_id()
    instance: Any = DAGInstance(instance_id, definition)
    assert isinstance(instance_id, UUID)
    assert (instance.instance_id, instance.definition) == (instance_id, definition)
    assert instance.plain() is instance
    assert instance.helper is definition.helper
    assert generate_instance_id() != instance_id


def test_resolve_without_waiting_gives_none_while_pending(own_broker: LaunchedBroker) -> None:
    """Before a worker was there, there is no value, and asking does not block."""
    instance, promise = Sample()(2)
    assert resolve(instance, promise) is None
    assert asyncio.run(resolve_async(instance, promise)) is None
    work()
    assert (resolve(instance, promise), asyncio.run(resolve_async(instance, promise))) == (2, 2)


@pytest.mark.parametrize("is_async", [False, True])
def test_resolve_without_waiting_logs_a_failure(is_async: bool) -> None:
    """A failed promise gives `None`, and a warning that says what failed."""
    instance = instance_of(Sample())
    promise = instance.total([instance.raises()])
    execute_worker(infinite_loop=False)
    with redirect_stderr(io.StringIO()) as err:
        value = asyncio.run(resolve_async(instance, promise)) if is_async else resolve(instance, promise)
    assert value is None
    logged = err.getvalue()
    assert [word for word in ("WARNING", "Sample.raises", "LookupError", "no such thing") if word not in logged] == []


@pytest.mark.parametrize("is_async", [False, True])
def test_resolve_with_waiting_raises_on_failure(is_async: bool) -> None:
    """Whoever waits is told."""
    instance = instance_of(Sample())
    promise = instance.raises()
    execute_worker(infinite_loop=False)
    with pytest.raises(Exception, match="no such thing"):
        _ = asyncio.run(resolve_async(instance, promise, True)) if is_async else resolve(instance, promise, True)


def test_resolve_with_waiting_blocks_until_the_value() -> None:
    """The value comes from a worker that starts after the wait did."""
    instance, promise = Sample()(4)
    with launch_workers():
        assert resolve(instance, promise, wait_for_results=True) == 12


def test_resolve_works_inside_a_running_event_loop() -> None:
    """Both forms do, waiting or not, in a coroutine."""

    async def main() -> list[object]:
        instance, promise = await SampleAsync()(4)
        waiting = asyncio.create_task(resolve_async(instance, promise, wait_for_results=True))
        await work_async()
        return [
            await waiting,
            resolve(instance, promise),
            resolve(instance, promise, wait_for_results=True),
            await resolve_async(instance, promise),
        ]

    assert asyncio.run(main()) == [8, 8, 8, 8]


# -- dagorama.models, dagorama.inspection ------------------------------------------------------------------------------


def test_promises_are_equal_by_field() -> None:
    """Two promises with the same fields are the same promise."""
    identifier = uuid4()
    arguments = DAGArguments((1,), {})
    assert DAGPromise(identifier) == DAGPromise(identifier, None, None)
    assert DAGPromise(identifier, "f", arguments) == DAGPromise(identifier, "f", DAGArguments((1,), {}))
    assert DAGPromise(identifier, "f", arguments) != DAGPromise(identifier, "g", arguments)
    assert DAGPromise(identifier) != DAGPromise(uuid4())
    assert (DAGPromise(identifier).function_name, DAGPromise(identifier).arguments) == (None, None)


def test_arguments_travel_as_bytes() -> None:
    """`from_server_bytes` reads what `to_server_bytes` wrote, promises included."""
    arguments = DAGArguments((1, [DAGPromise(uuid4())]), {"key": {"inner": DAGPromise(uuid4())}})
    data = arguments.to_server_bytes()
    assert type(data) is bytes
    assert DAGArguments.from_server_bytes(data) == arguments


def test_promises_are_found_and_replaced_anywhere() -> None:
    """The functions of `dagorama.inspection` see into nested containers, and leave the rest as it is."""
    one, two = DAGPromise(uuid4(), "f", DAGArguments((), {})), DAGPromise(uuid4())
    value = {"a": [one, (two, 3)], "b": {"c": one}}
    assert find_promises(value) == [one, two, one]
    assert find_promises(one) == [one]
    assert find_promises([1, "x"]) == []
    assert resolve_promises(value, {one.identifier: 1, two.identifier: 2}) == {"a": [1, (2, 3)], "b": {"c": 1}}
    assert map_promises(value, lambda promise: promise.identifier)["b"] == {"c": one.identifier}  # type: ignore[index]
    assert extract_promise_identifiers([one]) == [DAGPromise(one.identifier)]


@pytest.mark.parametrize(
    ("args", "kwargs", "is_right"),
    [
        ((1, 2), {}, True),
        ((1,), {"b": 2}, True),
        ((), {"a": 1, "b": 2, "c": 4}, True),
        ((1,), {"b": 2, "d": 4}, False),
        ((1,), {}, False),
        ((1, 2, 3, 4), {}, False),
        ((1, 2), {"a": 3}, False),
    ],
)
def test_calls_are_verified_by_pythons_rules(args: tuple[int, ...], kwargs: dict[str, int], is_right: bool) -> None:
    """`verify_function_call` says True or raises `TypeError`, as the call itself would."""

    def fn(a: int, b: int, c: int = 3) -> None: ...

    if is_right:
        assert verify_function_call(fn, args, kwargs) is True
    else:
        with pytest.raises(TypeError):
            verify_function_call(fn, args, kwargs)


# -- dagorama.retry ----------------------------------------------------------------------------------------------------


def test_retry_policies_become_messages() -> None:
    """The original arguments, and those that were added as keywords."""
    policies: list[RetryConfiguration] = [
        StaticRetry(2, 1),
        StaticRetry(max_attempts=2, interval=1, jitter=0.1),
        ExponentialRetry(2),
        ExponentialRetry(max_attempts=2, base_interval=3, jitter=0.1, max_interval=60),
    ]
    assert [policy.as_message().max_attempts for policy in policies] == [2] * 4


# -- dagorama.runner ---------------------------------------------------------------------------------------------------


def test_queues_can_be_included_and_excluded(own_broker: LaunchedBroker) -> None:
    """A worker leaves to others what it may not run, and does not wait for it."""
    instance = instance_of(Sample())
    promise, other = instance.double(4), instance.in_other_queue()
    work(exclude_queues=["other"])
    assert (resolve(instance, promise), resolve(instance, other)) == (8, None)
    work(include_queues=["other"])
    assert resolve(instance, other) == os.getpid()


def test_several_workers_finish_a_graph_together(own_broker: LaunchedBroker) -> None:
    """With `infinite_loop=False` none of them returns while its share may still come from another."""
    instance, promise = Sample()(20)
    others = [Thread(target=execute_worker, kwargs={"infinite_loop": False}, daemon=True) for _ in range(2)]
    for thread in others:
        thread.start()
    execute_worker(infinite_loop=False)
    assert resolve(instance, promise) == 380
    for thread in others:
        thread.join(60)
    assert [thread.is_alive() for thread in others] == [False, False]


def test_a_worker_waits_for_what_backs_off(tmp_path: Path) -> None:
    """A node between two attempts keeps the worker, which runs all of them."""
    instance = instance_of(Sample())
    promise = instance.flaky(str(tmp_path / "record"))
    execute_worker(infinite_loop=False)
    assert resolve(instance, promise) == 3


def test_a_nodes_exception_comes_out_if_asked() -> None:
    """`catch_exceptions=False` lets it out; by default the worker goes on."""
    instance = instance_of(Sample())
    instance.raises()
    with pytest.raises(LookupError, match="no such thing"):
        execute_worker(catch_exceptions=False)
    instance.raises()
    execute_worker(infinite_loop=False)

    async def main() -> None:
        instance.raises()
        with pytest.raises(LookupError, match="no such thing"):
            await execute_worker_async(catch_exceptions=False)

    asyncio.run(main())


def test_launched_workers_are_processes() -> None:
    """`launch_workers` gives a list of `multiprocessing.Process`, gone when the block is left."""
    with launch_workers(n=2) as workers:
        assert type(workers) is list
        assert [isinstance(worker, Process) and worker.is_alive() for worker in workers] == [True, True]
        instance, promise = Sample()(4)
        assert resolve(instance, promise, wait_for_results=True) == 12
    assert [worker.is_alive() for worker in workers] == [False, False]


def test_launched_workers_end_when_all_is_done() -> None:
    """With `exit_on_completion` they need not be stopped."""
    instance, promise = Sample()(4)
    with launch_workers(2, exit_on_completion=True) as workers:
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0]
    assert resolve(instance, promise) == 12


def test_no_worker_cannot_be_launched() -> None:
    """`launch_workers(n=0)` is a `ValueError`."""
    with pytest.raises(ValueError), launch_workers(n=0):
        pass


def in_version(number: int) -> DAGDefinition:
    """Makes a definition whose class has one name in both versions of its code: here is the one that was made last."""
    if number == 1:

        class Versioned(DAGDefinition):
            @dagorama().syncfn
            def entrypoint(self) -> int:
                return 1

    else:

        class Versioned(DAGDefinition):  # type: ignore[no-redef]  # that is what a new version of the code is
            @dagorama().syncfn
            def entrypoint(self) -> int:
                return 2

    return Versioned()


@pytest.mark.parametrize("infinite_loop", [False, True])
def test_a_worker_raises_when_nothing_but_another_code_version_is_left(infinite_loop: bool) -> None:
    """With `catch_exceptions=False`; it runs what it can before that, and the node waits for another worker."""
    old = in_version(1)
    other, other_promise = Sample()(1)
    instance, promise = cast(Any, old)()
    new = in_version(2)
    with pytest.raises(CodeMismatchException, match=r"Versioned\.entrypoint"):
        execute_worker(infinite_loop=infinite_loop, catch_exceptions=False)
    assert new is not old
    assert resolve(instance, promise) is None
    assert resolve(other, other_promise) is not None
    again = in_version(1)
    execute_worker(infinite_loop=False, catch_exceptions=False)
    assert (resolve(instance, promise), again is old) == (1, False)


def test_a_worker_that_catches_exceptions_leaves_other_code_versions_alone() -> None:
    """It ends when it is drained, as if the node were not there."""
    instance, promise = cast(Any, in_version(1))()
    new = in_version(2)
    execute_worker(infinite_loop=False)
    assert (resolve(instance, promise), new is None) == (None, False)
    again = in_version(1)
    execute_worker(infinite_loop=False)
    assert (resolve(instance, promise), again is None) == (1, False)


# -- dagorama.serializer, dagorama.code_signature ----------------------------------------------------------------------


def test_functions_have_names_and_names_lead_to_functions() -> None:
    """A name is "module:Qual.name"; on a worker it leads to the method, bound to the instance."""
    name = function_to_name(Sample.double)
    assert name == f"{__name__}:Sample.double"
    instance_id = uuid4()
    bound: Any = name_to_function(name, instance_id)
    assert bound.__self__.instance_id == instance_id
    assert bound(4, greedy_execution=True) == 8


@pytest.mark.parametrize("name", ["nowhere:Sample.double", f"{__name__}:Sample.triple", f"{__name__}:None.x", "x", ""])
def test_unknown_names_are_refused(name: str) -> None:
    """What leads to no decorated method is a `ValueError`."""
    with pytest.raises(ValueError):
        name_to_function(name, uuid4())


def test_classes_are_made_without_arguments_unless_registered() -> None:
    """A registered definition stands for its class in this process."""

    class Local(WithArgument):
        pass

    name = f"{function_to_name(Local)}.entrypoint"
    made: Any = name_to_function(name, uuid4())
    assert made(greedy_execution=True) == 1
    register_definition(Local(10))
    made = name_to_function(name, uuid4())
    assert made(greedy_execution=True) == 10


def test_a_registered_definition_runs_nodes() -> None:
    """The worker of this process runs methods on the object that was registered."""

    class Local(WithArgument):
        pass

    definition = Local(number=10)
    register_definition(definition)
    instance, promise = definition()
    work()
    assert resolve(instance, promise) == 10


def hash_here(_: int) -> str:
    """Hashes a function that is made here."""

    def fn() -> None:
        print("Testing")

    return calculate_function_hash(fn)


def test_hashes_depend_on_name_and_body() -> None:
    """`__name__` is read each time; signature and body count, the name in the source does not."""

    def first() -> None:
        print("Testing")

    def second() -> None:
        print("Testing")

    def third() -> None:
        print("Other")

    assert calculate_function_hash(first) != calculate_function_hash(second)
    second.__name__ = third.__name__ = "first"
    assert calculate_function_hash(first) == calculate_function_hash(second)
    assert calculate_function_hash(first) != calculate_function_hash(third)
    assert calculate_function_hash(first) != calculate_function_hash(first, include_package_versions=True)
    assert isinstance(calculate_function_hash(first), str)


def test_hashes_are_the_same_in_every_process() -> None:
    """Processes with hash seeds of their own agree."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(hash_here, range(4))) == {hash_here(0)}


# -- dagorama.logging, dagorama.settings -------------------------------------------------------------------------------


def test_the_log_has_the_level_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DAGORAMA_LOG_LEVEL` is read at each use; without it, it is WARNING."""
    levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    for level in levels:
        monkeypatch.setenv("DAGORAMA_LOG_LEVEL", level)
        with redirect_stderr(io.StringIO()) as err:
            for name in levels:
                get_logger().log(logging.getLevelNamesMapping()[name], f"{name}_LOG")
        assert [name for name in levels if f"{name}_LOG" in err.getvalue()] == levels[levels.index(level) :]
    monkeypatch.delenv("DAGORAMA_LOG_LEVEL")
    assert (get_log_level(), get_logger().name) == ("WARNING", "Dagorama")


def test_the_console_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal it is the default."""
    code = "from dagorama.logging import get_default_console_width as w; print(w(), w(100), w(default_value=7))"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.split() == ["80", "100", "7"]


def test_inline_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `DAGORAMA_INLINE` nodes run where they are called, and a definition gives instance and value."""
    assert (INLINE_ENVIRONMENT_FLAG, should_run_inline()) == ("DAGORAMA_INLINE", False)
    monkeypatch.setenv(INLINE_ENVIRONMENT_FLAG, "true")
    monkeypatch.setenv("DAGORAMA_PORT", "1")
    assert should_run_inline()
    instance, value = Sample()(4)
    assert (value, resolve(instance, value), instance.result()) == (12, 12, 12)
    later, value = asyncio.run(SampleAsync()(4))
    assert (value, resolve(later, value, wait_for_results=True)) == (8, 8)


# -- dagorama.hot_reload, scripts, dagorama_broker ---------------------------------------------------------------------


def test_hot_reload_watches_a_folder() -> None:
    """The click command has `--watch-dir`, the current folder unless given; its handler is a class."""
    assert isinstance(run_hot_reload_worker, click.Command)
    (watch_dir,) = [option for option in run_hot_reload_worker.params if "--watch-dir" in option.opts]
    assert (watch_dir.default, isinstance(EventHandler, type)) == (".", True)


@pytest.mark.parametrize("script", ["worker", "worker-hot-reload"])
def test_scripts_take_queues_and_tolerations(script: str) -> None:
    """Both scripts have the three options, each as often as one likes."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts[script].partition(":")
    command: click.Command = getattr(__import__(module, fromlist=[name]), name)
    repeatable = {opt for option in command.params if getattr(option, "multiple", False) for opt in option.opts}
    assert repeatable >= {"--include-queue", "--exclude-queue", "--toleration"}


def test_the_worker_script_finds_the_broker_by_the_environment(broker: LaunchedBroker) -> None:
    """`DAGORAMA_HOST` and `DAGORAMA_PORT` say where, and the options what it runs."""
    instance = instance_of(Sample())
    promise, tainted = instance.in_other_queue(), instance.tainted()
    words = ["--include-queue", "other", "--include-queue", function_to_name(Sample.tainted), "--toleration", "gpu"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DAGORAMA_HOST": "127.0.0.1",
        "DAGORAMA_PORT": str(broker.port),
    }
    with subprocess.Popen([sys.executable, "-m", "dagorama.cli.worker", *words], env=environment, cwd=ROOT) as worker:
        assert resolve(instance, promise, wait_for_results=True) != os.getpid()
        assert resolve(instance, tainted, wait_for_results=True) == "tolerated"
        worker.terminate()
    assert worker.returncode == 0


def test_a_launched_broker_is_fresh_and_gone_afterwards() -> None:
    """It is empty when entered, on the port that was asked for, and the port is free when it is left."""
    with launch_broker(port=0) as first:
        port = first.port
        instance, promise = Sample()(4)
    with launch_broker(port=port) as second:
        assert second.port == port
        with pytest.raises(Exception, match="NOT_FOUND"):
            resolve(instance, promise)
    with launch_broker(port=port):
        pass


def test_two_brokers_run_side_by_side() -> None:
    """Each has its own instances and workers; `DAGORAMA_PORT`, read at each use, says which is meant."""
    with launch_broker(port=0) as one, launch_broker(port=0) as two, pytest.MonkeyPatch.context() as patch:
        ports = [one.port, two.port]
        started = []
        for port in ports:
            patch.setenv("DAGORAMA_PORT", str(port))
            started.append(Sample()(3, scale=port))
        values = []
        for port, (instance, promise) in zip(ports, started, strict=True):
            patch.setenv("DAGORAMA_PORT", str(port))
            assert resolve(instance, promise) is None
            work()
            values.append(resolve(instance, promise))
        assert values == [6 * one.port, 6 * two.port]
        patch.setenv("DAGORAMA_PORT", str(one.port))
        with pytest.raises(Exception, match="NOT_FOUND"):
            resolve(*started[1])


def test_promises_survive_ordinary_pickling() -> None:
    """A promise that a program keeps and reads back is still the same."""
    instance, promise = Sample()(2)
    work()
    assert resolve(instance, pickle.loads(pickle.dumps(promise))) == 2
