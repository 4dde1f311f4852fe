"""Calls of asynchronous functions that a node makes and forgets to await: without `await` there is no call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from itertools import count
from typing import Any, cast

from dagorama.calls.capture import Begun, Caller
from dagorama.errors import NotAwaited

_keys = count()


def remembered(
    caller: Caller, make: Callable[..., Coroutine[Any, Any, object]], *args: object
) -> Coroutine[Any, Any, object]:
    """Return the coroutine of a call, `make(begun, key, *args)`, which takes `key` out when it is awaited."""
    begun = caller.begun
    if begun is None:
        begun = caller.begun = {}
    key = next(_keys)
    coroutine = begun[key] = make(begun, key, *args)
    return coroutine


def check_all_awaited(begun: Begun) -> None:
    """Raise `NotAwaited` for calls of a node, which has ended, that were never awaited; closed ones are no calls."""
    # Each is held here until then, so what is closed was closed by the user. A thread of the node may still make calls.
    made = list(begun.values())
    forgotten = [coroutine for coroutine in made if getcoroutinestate(cast(Any, coroutine)) == CORO_CREATED]
    if forgotten:
        _give_up(forgotten)
        raise NotAwaited(calls=tuple(str(cast(Any, coroutine).__qualname__) for coroutine in forgotten))


def _give_up(forgotten: list[Coroutine[object, object, object]]) -> None:
    """Let calls never begin, not even in tasks: the node fails. Python, too, need not warn of them any more."""
    try:
        tasks = {task.get_coro(): task for task in asyncio.all_tasks()}
    except RuntimeError:  # a plain function, without a loop
        tasks = {}
    for coroutine in forgotten:
        task = tasks.get(cast(Any, coroutine))
        if task is None:
            coroutine.close()
        else:
            task.cancel()
