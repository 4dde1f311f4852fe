"""What the starter of an instance may choose, on its way to the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from dagorama import DAGDefinition, DAGInstance, dagorama, generate_instance_id, instance_options
from dagorama.options import SECONDS_MAX, checked_timeout
from dagorama.runner import execute_worker
from dagorama.testing import in_process_broker
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


def test_a_deadline_travels_with_the_instances_of_its_block(server: DagServer) -> None:
    """Whatever begins an instance in the block gives it the deadline; the innermost block counts; outside is none."""
    with instance_options(deadline=60):
        Task()()
        with instance_options(deadline=1.5):
            instance: Any = DAGInstance(generate_instance_id(), Task())
        with instance_options():
            Task()()
    instance.entrypoint()
    assert [submit.options.deadline_s for submit in server.submits] == [60.0, 1.5, 60.0, 0.0]


def test_an_async_start_has_the_options_of_its_call(server: DagServer) -> None:
    """What is called in the block and awaited after it was started in it."""

    async def start() -> None:
        with instance_options(deadline=5):
            started = AsyncTask()()
        await started

    asyncio.run(start())
    assert [submit.options.deadline_s for submit in server.submits] == [5.0]


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "1", True, 1e300, 10**400])
def test_a_wrong_deadline_is_refused_where_it_is_written(deadline: Any) -> None:
    """The error names the argument and what it was."""
    with pytest.raises(ValueError, match=r"^deadline must be .* not ") as caught:
        instance_options(deadline=deadline)
    assert str(caught.value).endswith(repr(deadline))


@pytest.mark.parametrize(
    ("argument", "begin"),
    [
        ("tolerations", lambda: in_process_broker(tolerations="gpu").__enter__()),
        ("include_queues", lambda: in_process_broker(include_queues="gpu").__enter__()),
        ("exclude_queues", lambda: in_process_broker(exclude_queues="gpu").__enter__()),
        ("queue_tolerations", lambda: execute_worker(queue_tolerations="gpu")),
        ("include_queues", lambda: execute_worker(include_queues="gpu")),
        ("exclude_queues", lambda: execute_worker(exclude_queues="gpu")),
    ],
)
def test_a_text_is_not_several_names(argument: str, begin: Callable[[], object]) -> None:
    """It would be taken for its letters."""
    with pytest.raises(ValueError, match=rf"^{argument} must be several names, such as \['gpu'\], not the text 'gpu'$"):
        begin()


@pytest.mark.parametrize(
    ("name", "said"),
    [("\udc80", r"can be written as UTF-8, not '\\udc80'"), ("", "a name, not ''"), (5, "a name, not 5")],
)
def test_each_name_of_a_worker_must_be_one(name: Any, said: str) -> None:
    """What no node could have for a queue, and no message carries, is refused, naming the argument."""
    with pytest.raises(ValueError, match=rf"^each of include_queues must be .*{said}"):
        execute_worker(include_queues=["cpu", name])


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("-inf"), -(10**400)])
def test_a_timeout_that_is_no_time_is_refused(value: float) -> None:
    """The error names the argument, what it takes, and what it was."""
    with pytest.raises(ValueError, match=r"^timeout must be .*, and 0 or more, not ") as caught:
        checked_timeout(value)
    assert str(caught.value).endswith(repr(value))


def test_numbers_of_all_kinds_are_times() -> None:
    """None and infinity wait as long as it takes; what is no number is a `TypeError`."""
    times = (0, 1.5, Fraction(1, 2), 10**400, 1e300, None, float("inf"))
    assert [checked_timeout(value) for value in times] == [0.0, 1.5, 0.5, None, float(SECONDS_MAX), None, None]
    for value in (True, "1", [1]):
        with pytest.raises(TypeError, match=r"^timeout must be a number of seconds"):
            checked_timeout(value)
