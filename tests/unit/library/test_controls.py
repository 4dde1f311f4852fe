"""Priorities, groups, pauses and caps, on their way to the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from dagorama import BrokerRefused, DAGDefinition, DAGInstance, dagorama, generate_instance_id, instance_options
from dagorama.settings import actor
from dagorama.testing import inline
from dagorama.v1.dag_pb2 import ControlInstanceRequest
from tests.unit.library.dag_server import DagServer


class Task(DAGDefinition):
    """An ordinary definition."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Does nothing."""
        return 1


class AsyncTask(DAGDefinition):
    """An async one."""

    @dagorama().asyncfn
    async def entrypoint(self) -> int:
        """Does nothing."""
        return 1


class Pausing(Task):
    """Has a `pause` of its own."""

    def pause(self) -> str:
        """Is not what an instance has."""
        return "mine"


def options_in(server: DagServer) -> list[tuple[int, str, int]]:
    """Gives the options of each submit."""
    return [(it.options.priority, it.options.group, it.options.running_max) for it in server.submits]


@pytest.fixture
def instance(server: DagServer) -> DAGInstance[int]:
    """An instance that the server has heard of."""
    return DAGInstance(generate_instance_id(), Task())


def test_options_travel_with_the_instances_of_their_block(server: DagServer) -> None:
    """Whatever begins an instance in the block gives it the options; inner blocks add theirs; outside are none."""
    with instance_options(priority=5, group="night"):
        Task()()
        with instance_options(priority=-1000, running_max=3):
            begun: Any = DAGInstance(generate_instance_id(), Task())
        with instance_options(group=""):
            Task()()
    begun.entrypoint()
    assert options_in(server) == [(5, "night", 0), (-1000, "night", 3), (5, "", 0), (0, "", 0)]
    assert not server.submits[-1].HasField("options")


def test_options_end_with_their_block_however_it_ends(server: DagServer) -> None:
    """An exception takes them away as well."""
    with pytest.raises(KeyError), instance_options(priority=5):
        raise KeyError
    Task()()
    assert options_in(server) == [(0, "", 0)]


def test_options_reach_threads_in_a_copy_of_the_context(server: DagServer, caplog: pytest.LogCaptureFixture) -> None:
    """A bare thread of a pool has none, which the log says, once; its own block is enough for it."""

    def start() -> None:
        Task()()

    def start_with_options() -> None:
        with instance_options(priority=7):
            Task()()

    with ThreadPoolExecutor(1) as pool, instance_options(priority=5):
        pool.submit(copy_context().run, start).result()
        pool.submit(start_with_options).result()
        asyncio.run(asyncio.to_thread(start))
        assert caplog.messages == []
        pool.submit(start).result()
        pool.submit(start).result()
    Task()()
    assert options_in(server) == [(5, "", 0), (7, "", 0), (5, "", 0), (0, "", 0), (0, "", 0), (0, "", 0)]
    (told,) = caplog.messages
    assert "started tests.unit.library.test_controls:Task without the instance_options() of a block" in told


def test_an_async_start_has_the_options_of_its_call(server: DagServer) -> None:
    """Also what is called in the block and awaited after it."""

    async def start() -> None:
        with instance_options(priority=5):
            started = AsyncTask()()
            await AsyncTask()()
        await started

    asyncio.run(start())
    assert options_in(server) == [(5, "", 0), (5, "", 0)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("priority", [1001, -1001, 1.0, "1", True]),
        ("group", [1, b"g", "g" * 201, "\udc80"]),
        ("running_max", [0, -1, 2**32, 1.5, "1", True]),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(name: str, values: list[Any]) -> None:
    """The error names the argument and what it was."""
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name} must .* not ") as caught:
            instance_options(**{name: value})
        assert str(caught.value).endswith(repr(value))


def test_inline_options_mean_nothing() -> None:
    """What runs inline runs at once, whatever its priority."""
    with inline(), instance_options(priority=5, group="night", running_max=1):
        assert Task()()[1] == 1


def test_an_instance_is_controlled(server: DagServer, instance: DAGInstance[int]) -> None:
    """Each method asks for what it says and for nothing else; the async twins for the same."""
    instance.pause()
    instance.resume()
    instance.set_priority(-7)
    instance.cap(3)
    instance.cap(None)
    asked, server.controls = server.controls, []

    async def ask() -> None:
        await instance.apause()
        await instance.aresume()
        await instance.aset_priority(-7)
        await instance.acap(3)
        await instance.acap(None)

    asyncio.run(ask())
    whose = instance.instance_id.bytes
    assert server.controls == asked
    assert asked == [
        ControlInstanceRequest(instance_id=whose, paused=True, by=actor()),
        ControlInstanceRequest(instance_id=whose, paused=False, by=actor()),
        ControlInstanceRequest(instance_id=whose, priority=-7, by=actor()),
        ControlInstanceRequest(instance_id=whose, running_max=3, by=actor()),
        ControlInstanceRequest(instance_id=whose, running_max=0, by=actor()),
    ]


def test_the_refusal_is_told(instance: DAGInstance[int]) -> None:
    """What has ended cannot be paused, and the error names the instance."""
    instance.cancel()
    asks: list[Callable[[], object]] = [instance.pause, lambda: asyncio.run(instance.apause())]
    for ask in asks:
        with pytest.raises(BrokerRefused, match=f"to control instance {instance.instance_id} .*cancelled already"):
            ask()


def test_wrong_numbers_do_not_travel(server: DagServer, instance: DAGInstance[int]) -> None:
    """They are refused here, naming the argument."""
    wrong: Any = "high"
    asks: list[tuple[str, Callable[[], object]]] = [
        ("priority", lambda: instance.set_priority(1001)),
        ("priority", lambda: asyncio.run(instance.aset_priority(wrong))),
        ("running_max", lambda: instance.cap(0)),
        ("running_max", lambda: asyncio.run(instance.acap(wrong))),
    ]
    for name, ask in asks:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            ask()
    assert server.controls == []


def test_the_definition_goes_before(server: DagServer) -> None:
    """A definition's own `pause` is the one that is called."""
    instance: Any = DAGInstance(generate_instance_id(), Pausing())
    assert (instance.pause(), server.controls) == ("mine", [])


def test_a_cancel_whose_answer_was_lost_is_done(server: DagServer, instance: DAGInstance[int]) -> None:
    """The repeated request is refused, because the first one was done: that is what was asked for."""
    server.answers_lost = 1
    instance.cancel()
    assert server.cancelled == [instance.instance_id.bytes]
    with pytest.raises(BrokerRefused, match="cancelled already"):
        instance.cancel()
