"""Runs that have failed, told of for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import pytest

from dagorama import InstanceFailed, attach
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from dagorama.workflows.endings import told_end
from dagorama.workflows.model import Task, TaskRun, Workflow
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.faults import Missing
from tests.timing import WAIT_S


@dataclass(frozen=True, kw_only=True)
class Failing:
    """Work that fails in one of the ways that there are."""

    kind: ClassVar[str] = "failing"
    keeps_timeout: ClassVar[bool] = False
    how: str = ""

    def run(self, here: TaskRun) -> None:
        """Fail."""
        if self.how == "status":
            raise TaskFailed(task_id=here.task.id, problem="ended with exit status 3")
        if self.how == "late":
            raise TimeoutError(f"{here.task.id!r} took longer than its timeout of 1 s")
        if self.how == "missing":
            raise Missing(what="the output a.txt")
        if self.how == "function":
            raise KeyError("name")


@pytest.fixture(autouse=True)
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process."""
    with in_process_broker(check=True) as started:
        yield started


def ended(*tasks: Task, allow_partial_failure: bool = True) -> list[str]:
    """Return the lines that tell the end of a run of these tasks."""
    run = start_workflow(Workflow(name="w", tasks=tasks, allow_partial_failure=allow_partial_failure))
    with suppress(InstanceFailed):
        attach(str(run.instance_id)).wait(WAIT_S)
    return told_end(run)


def task(name: str, *depends: str, how: str = "", retries: int = 0) -> Task:
    """Make a task."""
    return Task(id=name, work=Failing(how=how), depends=depends, retries=retries)


@pytest.mark.parametrize(
    ("how", "retries", "told"),
    [
        ("status", 2, "x failed: exit status 3 (3 attempts)"),
        ("late", 0, "x failed: took longer than its timeout of 1 s"),
        ("missing", 0, "x failed: the output a.txt is not there"),
        ("function", 0, "x failed: KeyError: 'name'"),
    ],
)
def test_each_failure_is_a_sentence(how: str, retries: int, told: str) -> None:
    """It has the reason and the number of attempts, and no names of dagorama's."""
    assert ended(task("x", how=how, retries=retries)) == [told]


def test_what_did_not_run_is_told_with_the_task_that_failed() -> None:
    """Each failed task has a line of those that depend on it, over others too."""
    tasks = (task("a", how="status"), task("b", "a"), task("c", "b"), task("d"), task("e", how="status"))
    assert ended(*tasks) == ["a failed: exit status 3", "e failed: exit status 3", "Not run, since a failed: b, c"]


def test_without_partial_failure_the_rest_did_not_run() -> None:
    """Tasks that depend on nothing are among those that did not run because of the first that failed."""
    tasks = (task("a", how="status"), task("b"), task("c", "b"))
    assert ended(*tasks, allow_partial_failure=False) == ["a failed: exit status 3", "Not run, since a failed: b, c"]


def test_a_run_that_succeeded_has_nothing_to_tell() -> None:
    """There are no lines."""
    assert ended(task("a")) == []
