"""Calls that need a stack of their own: within each other deeper than one holds, or beside an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, ContextVar
from typing import TypeVar

from dagorama.running.base_context import own_copy

T = TypeVar("T")

#: So many calls within each other share a thread's stack. Each takes a handful of the 1,000 frames that Python allows,
#: beside those of the user's own.
CALLS_PER_THREAD = 25
#: A chain of nodes with an end is hardly ever longer. One that has none must end somehow.
CALLS_MAX = 10_000

_depth: ContextVar[int] = ContextVar("_depth", default=0)


def run_in_copy(context: Context, function: Callable[[], T]) -> T:
    """Call a function in a copy of a context.

    That is in another thread where this one's stack is getting full, or where it runs an event loop: as on a worker, a
    plain function finds none there, and may run one of its own.

    Raises `RecursionError` where it is called by itself, directly or not, more than `CALLS_MAX` deep.
    """
    context = own_copy(context)
    depth = _depth.get() + 1
    if depth > CALLS_MAX:
        raise RecursionError(f"nodes have called each other {CALLS_MAX:,} deep; is there an end to it?")
    context.run(_depth.set, depth)
    if depth % CALLS_PER_THREAD == 0:
        return run_in_thread(context, function)
    return run_off_loop(context, function)


def copy_for_task(context: Context) -> Context:
    """Copy a context for a task of an asynchronous function, which takes no stack, and counts for no depth."""
    copied = own_copy(context)
    copied.run(_depth.set, _depth.get())
    return copied


def run_off_loop(context: Context, function: Callable[[], T]) -> T:
    """Call a function in this thread, or in another where this one runs an event loop, which is blocked meanwhile."""
    # Called outside of any handler, or all that the function raises would carry what is handled there.
    return run_in_thread(context, function) if _runs_loop() else context.run(function)


def _runs_loop() -> bool:
    """Return whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_in_thread(context: Context, function: Callable[[], T]) -> T:
    """Call a function in another thread, and blocks this one meanwhile."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(context.run(function))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="dagorama-node", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()
