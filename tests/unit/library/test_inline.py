"""Inline mode: nodes run where they are called, and no broker is asked for anything."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from threading import Thread
from typing import Any, cast

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, generate_instance_id, resolve, resolve_async
from dagorama.errors import BrokerRefused, PayloadError
from dagorama.inspection import find_promises
from dagorama.retry import ExponentialRetry, StaticRetry
from dagorama.running import own_stack
from dagorama.settings import INLINE_ENVIRONMENT_FLAG, should_run_inline
from dagorama.testing import inline

seen: ContextVar[str] = ContextVar("seen", default="nothing")
chain: ContextVar[str] = ContextVar("chain", default="main")


@pytest.fixture
def variable() -> Iterator[pytest.MonkeyPatch]:
    """Lets a test set `DAGORAMA_INLINE`, and sets it back before the block that is inline ends."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(autouse=True)
def no_broker() -> Iterator[None]:
    """Runs each test inline, and fails it if anything has connected to where the broker would be."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGORAMA_HOST", "127.0.0.1")
        patch.setenv("DAGORAMA_PORT", str(listener.getsockname()[1]))
        with inline():
            yield
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@dataclass
class Box:
    """An object that holds a value."""

    value: Any


class Sums(DAGDefinition):
    """Fans out and in, and does what nodes may do."""

    def __init__(
        self, factor: int = 1, fetch: Callable[[], object] | None = None, attempts: list[object] | None = None
    ) -> None:
        self.factor = factor
        self.fetch = fetch
        self.attempts = list[object]() if attempts is None else attempts

    @dagorama().syncfn
    def entrypoint(self, count: int) -> Any:
        return self.total([self.scale(number) for number in range(count)])

    @dagorama().syncfn
    def scale(self, number: int) -> int:
        return number * self.factor

    @dagorama(taint_name="gpu", queue_name="sums").syncfn
    def total(self, numbers: list[int]) -> int:
        assert find_promises(numbers) == []
        return sum(numbers)

    @dagorama()
    def give(self, value: Any) -> Any:
        return value

    @dagorama()
    def append(self, values: list[int], number: int) -> list[int]:
        values.append(number)
        return values

    @dagorama()
    def append_twice(self) -> Any:
        values = self.give([1])
        return [self.append(values, 2), self.append(values, 3), values]

    @dagorama()
    def write(self) -> int:
        self.factor = 100
        seen.set("written")
        return self.scale(1)

    @dagorama()
    def count_down(self, n: int, fails: bool = False) -> Any:
        if n:
            return self.count_down(n - 1, fails)
        if fails:
            raise LookupError("at the bottom")
        return [self.factor, chain.get()]

    @dagorama()
    def fetched(self) -> object:
        assert self.fetch is not None
        return self.fetch()

    @dagorama(retry=StaticRetry(max_attempts=3, interval=3600)).syncfn
    def flaky(self, failures: int, log: list[int]) -> int:
        assert log == []
        log.append(1)
        self.attempts.append(1)
        if len(self.attempts) <= failures:
            raise LookupError(f"attempt {len(self.attempts)}")
        return len(self.attempts)

    @dagorama(retry=ExponentialRetry(max_attempts=3, base_interval=3600)).asyncfn
    async def flaky_later(self, failures: int) -> int:
        self.attempts.append(1)
        if len(self.attempts) <= failures:
            raise LookupError(f"attempt {len(self.attempts)}")
        return len(self.attempts)

    @dagorama(retry=StaticRetry(max_attempts=3, interval=3600)).syncfn
    def function(self) -> object:
        self.attempts.append(1)
        return lambda: 1

    @dagorama()
    def fail(self) -> int:
        raise LookupError("no such thing")


class Later(DAGDefinition):
    """Has async functions."""

    @dagorama().asyncfn
    async def entrypoint(self, number: int) -> Any:
        seen.set("written")
        doubled = await asyncio.gather(*[self.double(part) for part in range(number)])
        return await self.double(sum(doubled))

    @dagorama().asyncfn
    async def double(self, number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @dagorama().asyncfn
    async def fail(self) -> int:
        raise LookupError("no such thing")


class Plain(DAGDefinition):
    """Returns the id of its instance."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        return cast(Any, self).instance_id


class Nested(DAGDefinition):
    """Starts other definitions inside of its nodes."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        return [cast(Any, self).instance_id, Plain()()[1], self.deeper()]

    @dagorama()
    def deeper(self) -> Any:
        instance, value = Sums(2)(4)
        return [instance.instance_id, value, instance.result()]


def instance_of(definition: DAGDefinition) -> Any:
    """Makes an instance without starting an entrypoint."""
    return DAGInstance(generate_instance_id(), definition)


def any_sums() -> Any:
    """Makes a definition that no type checker looks at."""
    return Sums()


def fail_inline() -> None:
    """Fails in a block that is inline."""
    with inline():
        assert should_run_inline()
        raise LookupError


def test_a_definition_gives_the_value() -> None:
    """Calling a definition gives the instance and, in the promise's place, the value."""
    instance, value = Sums(2)(4)
    assert (type(instance), value, instance.result(), instance.result(timeout=1)) == (DAGInstance, 12, 12, 12)


def test_an_async_definition_is_awaited() -> None:
    """Calling a definition with an async entrypoint gives an awaitable of instance and value."""

    async def main() -> tuple[object, object, object]:
        instance, value = await Later()(4)
        return value, await instance.aresult(), await resolve_async(instance, value)

    assert asyncio.run(main()) == (24, 24, 24)


@pytest.mark.parametrize("wait_for_results", [False, True])
@pytest.mark.parametrize("value", [0, "", [], None, {"k": (1, 2)}, Box(1)])
def test_resolve_gives_the_value_back(value: object, wait_for_results: bool) -> None:
    """What is no promise is its own value, falsy or not, for each way of resolving."""
    instance = instance_of(Sums())
    given = instance.give(value)
    assert given == value
    assert resolve(instance, given, wait_for_results) is given
    assert asyncio.run(resolve_async(instance, given, wait_for_results)) is given


def test_containers_hold_values() -> None:
    """What a node returns can be put anywhere and looked at at once."""
    instance = instance_of(Sums())
    one = instance.give(1)
    assert instance.give({"a": [one], one: Box(one), "b": {one, (one,)}}) == {"a": [1], 1: Box(1), "b": {1, (1,)}}
    assert instance.give({"sizes": [3, 5]})["sizes"][1] + 1 == 6


def test_each_node_has_arguments_of_its_own() -> None:
    """What a node does to its arguments nobody else sees, as with a broker."""
    instance = instance_of(Sums())
    assert instance.append_twice() == [[1, 2], [1, 3], [1]]


def test_each_node_has_an_instance_of_its_own() -> None:
    """What a node writes to `self` or to context variables stays with it, as with a broker."""
    definition = Sums(7)
    instance = instance_of(definition)
    assert (instance.write(), instance.scale(1), definition.factor, seen.get()) == (7, 7, 7, "nothing")


def test_async_nodes_have_contexts_of_their_own() -> None:
    """What an async node writes to a context variable stays with it."""

    async def main() -> str:
        await Later()(1)
        return seen.get()

    assert asyncio.run(main()) == "nothing"


def test_the_definition_is_the_one_that_was_called() -> None:
    """A stand-in given to the definition's constructor is used as it is; it need not be able to travel."""
    marker = object()
    instance = instance_of(Sums(fetch=lambda: f"fetched {marker is not None}"))
    assert instance.fetched() == "fetched True"


def test_nested_definitions_join_the_instance() -> None:
    """A definition called inside a node gives a value there, and has the node's instance."""
    instance, value = Nested()()
    assert value == [instance.instance_id, instance.instance_id, [instance.instance_id, 12, 12]]
    assert Plain()()[1] != Plain()()[1]


def test_nodes_call_each_other_deeper_than_the_stack() -> None:
    """A long chain has the end that it has with a broker; its instance, its values and its failure come through."""
    instance = instance_of(Sums(7))
    context = copy_context()
    context.run(chain.set, "caller")
    assert context.run(instance.count_down, 700) == [7, "caller"]
    with pytest.raises(LookupError, match="at the bottom"):
        instance.count_down(700, fails=True)


def test_a_chain_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that call each other for ever are an error, as functions are."""
    monkeypatch.setattr(own_stack, "CALLS_MAX", 120)
    with pytest.raises(RecursionError, match="called each other 120 deep"):
        instance_of(Sums()).count_down(200)
    assert instance_of(Sums()).count_down(100)[0] == 1


def test_nothing_is_left_to_ask_about() -> None:
    """No broker has the instance, which is said at once, and where to look instead."""
    instance = instance_of(Sums())
    for ask in (
        instance.cancel,
        instance.why,
        instance.pause,
        lambda: asyncio.run(instance.aset_priority(3)),
        lambda: asyncio.run(instance.acancel()),
        lambda: asyncio.run(instance.awhy()),
    ):
        with pytest.raises(
            BrokerRefused, match=r"instance .* \(FAILED_PRECONDITION\): nodes run inline.*in_process_broker"
        ):
            ask()


def test_greedy_execution_runs_the_body_in_place() -> None:
    """`greedy_execution` is what it is with a broker: the body runs with the caller's `self` and arguments."""
    instance = instance_of(Sums(3))
    instance.factor = 5
    values = [1]
    assert instance.scale(2, greedy_execution=True) == 10
    assert instance.append(values, 2, greedy_execution=True) is values


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_attempts_follow_each_other_at_once(failures: int) -> None:
    """A retry policy gives as many attempts as with a broker, each with fresh arguments, and no wait between."""
    assert instance_of(Sums(attempts=[])).flaky(failures, []) == failures + 1
    assert asyncio.run(instance_of(Sums(attempts=[])).flaky_later(failures)) == failures + 1


def test_the_last_attempt_raises() -> None:
    """When no attempt is left, the exception of the last one comes out."""
    with pytest.raises(LookupError, match="attempt 3"):
        instance_of(Sums(attempts=[])).flaky(9, [])
    with pytest.raises(LookupError, match="attempt 3"):
        asyncio.run(instance_of(Sums(attempts=[])).flaky_later(9))


def test_exceptions_come_out_as_they_are() -> None:
    """No `NodeFailed` around them: the caller gets what the node raised, where it called."""
    with pytest.raises(LookupError, match="no such thing") as raised:
        instance_of(Sums()).fail()
    assert raised.traceback[-1].name == "fail"
    with pytest.raises(LookupError, match="no such thing"):
        asyncio.run(instance_of(Later()).fail())


def test_what_cannot_travel_is_refused() -> None:
    """An argument or a result that no broker could carry is an error inline as well, and no reason to try again."""
    definition = Sums(attempts=[])
    instance = instance_of(definition)
    with pytest.raises(PayloadError, match=r"argument 'value' of .*Sums\.give"):
        instance.give(lambda: 1)
    with pytest.raises(PayloadError, match=r"the result of .*Sums\.function"):
        instance.function()
    assert len(definition.attempts) == 1


@pytest.mark.parametrize(
    "call", [lambda: any_sums()(), lambda: any_sums()(1, 2), lambda: instance_of(Sums()).scale(nr=1)]
)
def test_wrong_arguments_are_errors_at_the_call(call: Callable[[], object]) -> None:
    """Python's own rules hold for a decorated call."""
    with pytest.raises(TypeError):
        call()


def test_calls_on_the_definition_are_still_refused() -> None:
    """A decorated method needs an instance inline, too: the code would not work with a broker."""
    with pytest.raises(ValueError, match="belong to an instance"):
        Sums().scale(1)


def test_it_holds_in_other_threads() -> None:
    """A server under test may call from its own threads."""
    values = []
    thread = Thread(target=lambda: values.append(Sums(2)(4)[1]))
    thread.start()
    thread.join()
    assert values == [12]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, True) for text in ("true", "True", " TRUE ", "1", "yes", "on")],
        *[(text, False) for text in ("", "false", "False", "0", "no", "off")],
    ],
)
def test_the_variable_is_read_at_each_use(text: str, expected: bool, variable: pytest.MonkeyPatch) -> None:
    """`DAGORAMA_INLINE` counts as it is now."""
    variable.setenv(INLINE_ENVIRONMENT_FLAG, text)
    assert should_run_inline() is expected
    variable.delenv(INLINE_ENVIRONMENT_FLAG)
    assert should_run_inline() is False


def test_a_misspelt_variable_is_an_error(variable: pytest.MonkeyPatch) -> None:
    """What is neither true nor false does not count as either."""
    variable.setenv(INLINE_ENVIRONMENT_FLAG, "ture")
    with pytest.raises(ValueError, match="DAGORAMA_INLINE='ture'"):
        should_run_inline()


@pytest.mark.parametrize("before", [None, "", "false", "true"])
def test_the_block_leaves_things_as_they_were(before: str | None, variable: pytest.MonkeyPatch) -> None:
    """After `inline()` the variable is what it was, also when the block fails."""
    if before is None:
        variable.delenv(INLINE_ENVIRONMENT_FLAG)
    else:
        variable.setenv(INLINE_ENVIRONMENT_FLAG, before)
    with pytest.raises(LookupError):
        fail_inline()
    assert os.environ.get(INLINE_ENVIRONMENT_FLAG) == before
