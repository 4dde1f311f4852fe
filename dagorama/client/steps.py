"""The steps of a request, and the two ways to carry them out: blocking, and on an event loop.

Generators decide on each next step, and do not wait: they yield it, such as a `Pause`, and get its answer, or the error
that it ended with, back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol, TypeVar, cast

T = TypeVar("T")


class Step(Protocol):
    """Something that a request has to wait for."""

    def run(self) -> object:
        """Do it, blocking; return the answer."""
        ...

    async def run_async(self) -> object:
        """Do it without blocking the event loop."""
        ...


class Pause(NamedTuple):
    """A while in which nothing is done."""

    seconds: float

    def run(self) -> None:
        """Sleep."""
        sleep(self.seconds)

    async def run_async(self) -> None:
        """Sleep."""
        await asyncio.sleep(self.seconds)


Steps = Generator[Step, Any, T]


class Deadline:
    """A time that several waits share."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] | None = None) -> None:
        """Set it to this time from now, by the broker's clock where that is not this machine's."""
        self.timeout_s = timeout_s
        self._clock = clock or monotonic
        self._at = self._clock() + timeout_s

    def rest_s(self) -> float:
        """Return the seconds that are left, 0 when there are none."""
        return max(self._at - self._clock(), 0.0)


class InThread(NamedTuple):
    """Something that blocks, and that an event loop leaves to another thread."""

    function: Callable[[], object]

    def run(self) -> object:
        """Do it here."""
        return self.function()

    async def run_async(self) -> object:
        """Do it in another thread."""
        return await run_in_thread(self.function)


async def run_in_thread(function: Callable[..., T], *args: object) -> T:
    """Call a function that blocks, while the event loop goes on."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args))


def run(steps: Steps[T]) -> T:
    """Carry out a request, blocking."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step.run()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        steps.close()  # at Ctrl-C they put in order what they have begun, before anything else is written


async def run_async(steps: Steps[T]) -> T:
    """Carry out a request without blocking the event loop."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await step.run_async()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return cast(T, stop.value)
