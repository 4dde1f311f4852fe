"""Answers that all readers share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from dagorama import Instance, generate_instance_id, instances
from dagorama.states import InstanceState
from dagorama.testing import in_process_broker
from dagorama.ui.pages import shared
from dagorama.ui.pages.shared import Shared

pytestmark = pytest.mark.asyncio


def change(instance: Instance, nodes: int) -> None:
    """Have an instance stand otherwise."""
    instance.status.counts.clear()
    instance.status.counts["ready"] = nodes


async def test_an_answer_is_asked_for_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the instance has changed, and then for as long as the answer is worth; who cannot wait gets the last."""
    gates: list[asyncio.Future[int]] = []

    async def ask(instance: Instance) -> int:
        gates.append(asyncio.get_running_loop().create_future())
        return await gates[-1]

    monkeypatch.setattr(shared, "KEPT_S", 0.0)
    monkeypatch.setattr(shared, "KEPT_TIMES", 0.0)
    question = Shared(ask)
    with in_process_broker():
        generate_instance_id()
        (instance,) = [one async for one in instances()]
        assert await question.within(instance, 0.0) is None
        both = asyncio.gather(question.of(instance), question.of(instance))
        await asyncio.sleep(0)
        gates[0].set_result(1)
        assert list(await both) == [1, 1]
        assert await question.of(instance) == 1
        change(instance, 7)
        assert await question.within(instance, 0.0) == 1
        gates[1].set_result(2)
        assert await question.of(instance) == 2
        monkeypatch.setattr(shared, "KEPT_S", 3600.0)
        change(instance, 8)
        assert await question.of(instance) == 2
        assert len(gates) == 2


async def test_an_error_is_not_kept() -> None:
    """The next reader asks again."""
    asked = 0

    async def ask(instance: Instance) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ConnectionError
        return asked

    question = Shared(ask)
    with in_process_broker():
        generate_instance_id()
        (instance,) = [one async for one in instances()]
        with pytest.raises(ConnectionError):
            await question.of(instance)
        assert await question.of(instance) == 2


async def test_the_largest_are_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers with more nodes together than are kept the oldest go; and it is told when there is a newer one."""
    monkeypatch.setattr(shared, "NODES_MAX", 25)
    asked: list[Instance] = []

    async def ask(instance: Instance) -> int:
        asked.append(instance)
        return 10

    question = Shared(ask, nodes_in=lambda found: found)
    with in_process_broker():
        for _ in range(3):
            generate_instance_id()
        found = [one async for one in instances()]
        for instance in (*found, found[1], found[0]):
            await question.of(instance)
        assert asked == [*found, found[0]]
        assert question.again_s(found[0]) == 0
        change(found[0], 7)
        assert question.again_s(found[0]) > 0


async def test_one_that_ended_again_as_before_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun may come to the same counts and state: that it ended at another time tells. Counts tell of no labels."""
    monkeypatch.setattr(shared, "KEPT_S", 0.0)
    monkeypatch.setattr(shared, "KEPT_TIMES", 0.0)
    asked = 0

    async def ask(instance: Instance) -> int:
        nonlocal asked
        asked += 1
        return asked

    question = Shared(ask)
    with in_process_broker():
        generate_instance_id()
        (instance,) = [one async for one in instances()]
        status = instance.status
        ended = replace(status, state=InstanceState.COMPLETED, finished_at=status.created_at)
        for stands, answer in (
            (ended, 1),
            (ended, 1),
            (replace(ended, finished_at=status.created_at + timedelta(minutes=8)), 2),
            (instance.status, 3),
            (instance.status, 3),
        ):
            monkeypatch.setattr(instance, "_status", stands)
            assert await question.of(instance) == answer
        monkeypatch.setattr(shared, "BELIEVED_S", -1.0)
        assert await question.of(instance) == 4
        monkeypatch.setattr(instance, "_status", ended)
        assert [await question.of(instance) for _ in range(2)] == [5, 5]
