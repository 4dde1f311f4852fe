"""What an attempt at a node gives, wherever it runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import pytest

from dagorama import DAGDefinition, DAGInstance, NotAwaited, StaticRetry, dagorama, generate_instance_id
from dagorama.calls.capture import Process, Scope, current_scope
from dagorama.running.attempt import Failed, attempt, attempt_async
from dagorama.testing import inline

PICKY = StaticRetry(max_attempts=3, interval=0, retry_on=OSError)


@pytest.fixture(autouse=True)
def scope() -> Iterator[Scope]:
    """Make a node, and set the variable back in the end."""
    token = current_scope.set(None)
    yield Scope(b"i")
    current_scope.reset(token)


def give(value: object, *, more: object = None) -> object:
    """Give values back, and the node that runs."""
    return value, more, current_scope.get()


def fail(error: BaseException) -> None:
    """Raise an error."""
    raise error


async def later(what: Any, value: Any) -> object:
    """Do the same, asynchronously."""
    await asyncio.sleep(0)
    return what(value)


def test_a_value_is_what_the_function_returned(scope: Scope) -> None:
    """It is called for its node, with all that it is to have."""
    assert attempt(current_scope, scope, give, 1, (), {"more": 2}) == (1, 2, scope)
    current_scope.set(None)
    assert asyncio.run(attempt_async(current_scope, scope, later, give, (3,), {})) == (3, None, scope)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_is_raised_is_an_outcome(scope: Scope, kind: type[BaseException]) -> None:
    """Nothing comes out of an attempt."""
    error = kind()
    for outcome in (
        attempt(current_scope, scope, fail, error, (), {}),
        asyncio.run(attempt_async(current_scope, scope, later, fail, (error,), {})),
    ):
        assert isinstance(outcome, Failed)
        assert (outcome.error, outcome.is_fault) == (error, False)


def forget(this: Scope) -> str:
    """Begin a call and forget to await it."""
    this.begun = {1: later(give, 1)}
    return "done"


def test_what_is_forgotten_is_a_fault_for_good(scope: Scope) -> None:
    """Whatever the policy says; not in a child that the function has forked, which is no node."""
    outcome = attempt(current_scope, scope, forget, scope, (), {})
    assert isinstance(outcome, Failed)
    assert (type(outcome.error), outcome.is_fault, outcome.is_final(StaticRetry(3, 0))) == (NotAwaited, True, True)
    scope.process = Process()
    assert attempt(current_scope, scope, forget, scope, (), {}) == "done"
    assert scope.begun is not None
    for coroutine in scope.begun.values():
        coroutine.close()


def test_the_policy_says_which_errors_are_final() -> None:
    """Without one another attempt may help, as far as the error tells."""
    assert [Failed(error).is_final(PICKY) for error in (OSError(), ValueError())] == [False, True]
    assert not Failed(ValueError()).is_final(None)
    assert Failed(NotAwaited(calls=("f",))).is_final(PICKY)


def test_an_error_is_raised_again_as_it_was() -> None:
    """What was handled where it was raised stays with it, whatever is handled now."""
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 - so that it has a context
    except ValueError as error:
        failed = Failed(error)
    try:
        raise OSError("elsewhere")
    except OSError:
        with pytest.raises(ValueError, match="second") as caught:
            failed.again()
    assert str(caught.value.__context__) == "'first'"


class Thing:
    """Something that can be let go of."""


class Holding(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> None:
        thing = Thing()
        things.add(thing)
        raise ValueError("no")

    @dagorama().asyncfn
    async def later(self) -> None:
        thing = Thing()
        things.add(thing)
        raise ValueError("no")


things: WeakSet[Thing] = WeakSet()


def test_a_failed_attempt_keeps_nothing_alive() -> None:
    """What a function had is let go of with its error, without the collector."""
    gc.collect()
    gc.disable()
    try:
        with inline():
            with suppress(ValueError):
                Holding()()
            assert list(things) == []
            asyncio.run(fail_later())
        assert list(things) == []
    finally:
        gc.enable()


async def fail_later() -> None:
    """Have an asynchronous node fail."""
    instance: Any = DAGInstance(generate_instance_id(), Holding())
    with suppress(ValueError):
        await instance.later()
