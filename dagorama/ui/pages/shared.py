"""Answers that cost the broker something, asked for once for all readers, and not again as soon as they would like.

An answer is asked for anew once it is older than twenty times as long as it took: so readers, however many there are,
have the broker spend a twentieth of its time on it at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from dagorama import Instance, InstanceProgress, InstanceTimes
from dagorama.states import InstanceState

T = TypeVar("T")

#: An answer is kept for so long at least, and for so many times as long as it took.
KEPT_S, KEPT_TIMES = 0.5, 20.0
#: The answers of so many instances are kept, and of no more than have so many nodes together, where that says how large
#: they are; one at least.
INSTANCES_MAX, NODES_MAX = 50, 500_000
#: An answer about an instance that runs is believed for so long, though all its counts are the same: a node may have
#: got a label meanwhile, or have begun its next attempt.
BELIEVED_S = 5.0


class Shared(Generic[T]):
    """The answers to one question, by instance."""

    def __init__(self, ask: Callable[[Instance], Awaitable[T]], *, nodes_in: Callable[[T], int] | None = None) -> None:
        """Take the question, and how many nodes are in an answer. Nothing is asked as yet."""
        self._ask = ask
        self._nodes_in = nodes_in
        self._answers: OrderedDict[UUID, _Answer[T]] = OrderedDict()

    async def within(self, instance: Instance, wait_s: float) -> T | None:
        """Return the answer for an instance whose `status` has been read.

        Where it does not come in time, that is the one before, or None where there was none. It is on its way then,
        for the reader who asks again.
        """
        answer = self._answers.get(instance.id)
        if answer is None or answer.is_over(instance):
            answer = self._answers[instance.id] = _Answer(self._ask, instance, answer)
        self._answers.move_to_end(instance.id)
        while len(self._answers) > 1 and (len(self._answers) > INSTANCES_MAX or self._nodes() > NODES_MAX):
            self._answers.popitem(last=False)
        done, _ = await asyncio.wait([answer.task], timeout=wait_s)
        if done and answer.task.exception() is not None:
            self._answers.pop(instance.id, None)
        return answer.task.result() if done else answer.before

    def again_s(self, instance: Instance) -> float:
        """Return after how many seconds there is a newer answer than the last; 0 where that tells how it stands."""
        answer = self._answers.get(instance.id)
        return 0.0 if answer is None else answer.again_s(instance)

    def _nodes(self) -> int:
        """Return how many nodes are in the answers that have come."""
        if self._nodes_in is None:
            return 0
        came = [answer.task for answer in self._answers.values() if answer.task.done() and not answer.task.exception()]
        return sum(self._nodes_in(task.result()) for task in came)

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
        self._stood = _standing(instance)
        self._asked_at = time.monotonic()
        self._came_at = 0.0
        self.task: asyncio.Task[T] = asyncio.create_task(self._answer(ask, instance))

    async def _answer(self, ask: Callable[[Instance], Awaitable[T]], instance: Instance) -> T:
        found = await ask(instance)
        self._came_at = time.monotonic()
        return found

    def is_over(self, instance: Instance) -> bool:
        """Return whether it is to be asked for again: the instance has changed, and that is worth it, or has ended."""
        is_old = instance.status.state is InstanceState.RUNNING and time.monotonic() - self._asked_at > BELIEVED_S
        if not self.task.done() or (self._tells(instance) and not is_old):
            return False
        return instance.status.state is not InstanceState.RUNNING or self._worth_s() < 0

    def again_s(self, instance: Instance) -> float:
        """Return after how many seconds it is over; 0 where it tells how the instance stands."""
        return 0.0 if self._tells(instance) else max(self._worth_s(), 0.01)

    def _tells(self, instance: Instance) -> bool:
        """Return whether the instance stands as it stood."""
        return self._stood == _standing(instance)

    def _worth_s(self) -> float:
        """Return for how many seconds it is still worth more than another."""
        return self._came_at + max(KEPT_S, KEPT_TIMES * (self._came_at - self._asked_at)) - time.monotonic()


def _standing(instance: Instance) -> tuple[dict[str, int], InstanceState, datetime | None]:
    """Return all of its status that says whether something has happened to it since.

    One that was retried or rerun may have ended as before, but not at the same time.
    """
    status = instance.status
    return dict(status.counts), status.state, status.finished_at


progress: Shared[InstanceProgress] = Shared(lambda instance: instance.aprogress())
times: Shared[InstanceTimes] = Shared(lambda instance: instance.atimes(), nodes_in=len)
