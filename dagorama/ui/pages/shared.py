"""Answers that cost the broker something, asked for once for all readers, and not again as soon as they would like.

An answer is asked for anew once it is older than twenty times as long as it took: so readers, however many there are,
have the broker spend a twentieth of its time on it at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from uuid import UUID

from dagorama import Instance, InstanceProgress, InstanceTimes
from dagorama.states import InstanceState

T = TypeVar("T")

#: An answer is kept for so long at least, and for so many times as long as it took.
KEPT_S, KEPT_TIMES = 0.5, 20.0
#: The answers of so many instances are kept.
INSTANCES_MAX = 50


class Shared(Generic[T]):
    """The answers to one question, by instance."""

    def __init__(self, ask: Callable[[Instance], Awaitable[T]]) -> None:
        """Take the question. Nothing is asked as yet."""
        self._ask = ask
        self._answers: OrderedDict[UUID, _Answer[T]] = OrderedDict()

    async def within(self, instance: Instance, wait_s: float) -> T | None:
        """Return the answer for an instance whose `status` has been read.

        Where it does not come in time, that is the one before, or None where there was none. It is on its way then,
        for the reader who asks again.
        """
        answer = self._answers.get(instance.id)
        if answer is None or answer.is_over(instance):
            answer = self._answers[instance.id] = _Answer(self._ask, instance, answer)
            if len(self._answers) > INSTANCES_MAX:
                self._answers.popitem(last=False)
        self._answers.move_to_end(instance.id)
        done, _ = await asyncio.wait([answer.task], timeout=wait_s)
        if done and answer.task.exception() is not None:
            self._answers.pop(instance.id, None)
        return answer.task.result() if done else answer.before

    async def of(self, instance: Instance) -> T:
        """Return the answer for an instance whose `status` has been read, however long it takes."""
        found = await self.within(instance, 3600.0)
        assert found is not None
        return found


class _Answer(Generic[T]):
    """An answer, or its being on the way."""

    def __init__(self, ask: Callable[[Instance], Awaitable[T]], instance: Instance, before: _Answer[T] | None) -> None:
        self.before: T | None = None
        if before is not None and before.task.exception() is None:
            self.before = before.task.result()
        self._counts = dict(instance.status.counts)
        self._state = instance.status.state
        self._asked_at = time.monotonic()
        self._came_at = 0.0
        self.task: asyncio.Task[T] = asyncio.create_task(self._answer(ask, instance))

    async def _answer(self, ask: Callable[[Instance], Awaitable[T]], instance: Instance) -> T:
        found = await ask(instance)
        self._came_at = time.monotonic()
        return found

    def is_over(self, instance: Instance) -> bool:
        """Return whether it is to be asked for again: the instance has changed, and that is worth it, or has ended."""
        if not self.task.done() or (self._counts, self._state) == (instance.status.counts, instance.status.state):
            return False
        if instance.status.state is not InstanceState.RUNNING:
            return True
        return time.monotonic() - self._came_at > max(KEPT_S, KEPT_TIMES * (self._came_at - self._asked_at))


progress: Shared[InstanceProgress] = Shared(lambda instance: instance.aprogress())
times: Shared[InstanceTimes] = Shared(lambda instance: instance.atimes())
