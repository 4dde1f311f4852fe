"""Workflows run as instances: a node for each task, under the task's id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dagorama import Instance, InstanceFailed, NodeFailed, attach
from dagorama.code.signature import _body
from dagorama.definition import DAGInstance
from dagorama.limits import Limit
from dagorama.options import Keep
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from dagorama.workflows.model import Task, TaskRun, Workflow
from dagorama.workflows.running import RunWorkflow, start_workflow

#: The tasks that have run, and those that are to fail.
ran: list[str] = []
failing: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class Adding:
    """Work that adds the values of the tasks before it."""

    kind: ClassVar[str] = "adding"
    keeps_timeout: ClassVar[bool] = False
    own: int = 1

    def run(self, here: TaskRun) -> int:
        """Add."""
        ran.append(here.task.id)
        if here.task.id in failing:
            raise ValueError(f"{here.task.id} is to fail")
        return self.own + sum(value for value in here.values.values() if isinstance(value, int))


@dataclass(frozen=True, kw_only=True)
class Telling:
    """Work that tells all that it is told."""

    kind: ClassVar[str] = "telling"
    keeps_timeout: ClassVar[bool] = False

    def run(self, here: TaskRun) -> tuple[object, ...]:
        """Tell."""
        return (here.info.name, here.info.version, here.info.parameters, here.run_id, here.attempt, here.key)


@pytest.fixture(autouse=True)
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process, and forget what ran before."""
    ran.clear()
    failing.clear()
    with in_process_broker(tolerations=["gpu"], check=True) as started:
        yield started


def task(name: str, *depends: str, **options: object) -> Task:
    """Make a task."""
    return Task(id=name, work=Adding(), depends=depends, **options)  # type: ignore[arg-type]


def diamond(**options: object) -> Workflow:
    """Make a workflow of four tasks."""
    tasks = (task("join", "left", "right"), task("top"), task("left", "top"), task("right", "top"))
    return Workflow(name="diamond", tasks=tasks, **options)  # type: ignore[arg-type]


def plain(started: DAGInstance[dict[str, object]]) -> Instance:
    """Return an instance as everybody may have it."""
    return attach(str(started.instance_id))


def test_each_task_is_a_node_with_its_id_for_a_label() -> None:
    """Dependencies are the edges, values go along them, and the result has the value of each task by its id."""
    started = start_workflow(diamond())
    assert started.result() == {"join": 5, "top": 1, "left": 2, "right": 2}
    assert [node.label for node in plain(started).nodes()] == ["diamond", "top", "left", "right", "join"]
    assert ran == ["top", "left", "right", "join"]


def test_a_run_says_which_version_it_is_of() -> None:
    """The name, the version and the file are tags, by which runs are found, and so is the description, as one line;
    others are added.
    """
    workflow = diamond(source="some/diamond.cfg", description=f" Four\n tasks {'x' * 1_000}\n")
    started = start_workflow(workflow, tags={"by": "me"})
    assert plain(started).status.tags == {
        "workflow": "diamond",
        "workflow_version": workflow.version,
        "workflow_file": "some/diamond.cfg",
        "workflow_description": f"Four tasks {'x' * 488}…",
        "by": "me",
    }


def test_tasks_have_options_of_their_own() -> None:
    """Queue, taint, timeout, retries and limits are those of each task's node."""
    large = task("b", "a", queue="large", taint="gpu", timeout_s=7, retries=2, limits=(Limit("database", max=1),))
    started = start_workflow(Workflow(name="two", tasks=(task("a"), large), parallelism=3, keep=Keep(failed_s=60)))
    instance = plain(started)
    assert started.result() == {"a": 1, "b": 2}
    _, first, second = instance.nodes()
    assert (first.queue, first.taint) == ("tasks", "")
    assert (second.queue, second.taint) == ("large", "gpu")


def test_work_is_told_of_its_run() -> None:
    """It knows the workflow's name and version, the run's id and parameters, its attempt, and a key of its own."""
    workflow = Workflow(name="told", tasks=(Task(id="a", work=Telling()),))
    started = start_workflow(workflow, parameters=("p", 1))
    told: Any = started.result()["a"]
    name, version, parameters, run_id, attempt, key = told
    assert (name, version, parameters, attempt) == ("told", workflow.version, ("p", 1), 1)
    assert run_id == str(started.instance_id)
    (_, node) = plain(started).nodes()
    assert key == str(node.id)


def test_independent_branches_go_on_after_a_failure() -> None:
    """Descendants of a failed task are dependency_failed, all else runs, and the run has failed."""
    failing.add("left")
    started = start_workflow(diamond())
    with pytest.raises(InstanceFailed):
        started.wait()
    states = {node.label: str(node.state) for node in plain(started).nodes()}
    assert states == {
        "diamond": "dependency_failed",
        "top": "completed",
        "left": "failed",
        "right": "completed",
        "join": "dependency_failed",
    }


def test_no_task_starts_after_a_failure_that_is_not_allowed() -> None:
    """Without partial failure tasks that have not started do not run, and say which one had failed."""
    failing.add("left")
    started = start_workflow(diamond(allow_partial_failure=False))
    with pytest.raises(InstanceFailed):
        started.wait()
    assert ran == ["top", "left"]
    (right,) = plain(started).nodes(label="right")
    (attempt,) = right.attempts
    assert attempt.error is not None
    assert "'left' had failed" in attempt.error.message


@pytest.mark.parametrize("partial", [True, False])
def test_a_retry_skips_what_has_succeeded(partial: bool) -> None:
    """After a retry only the tasks that failed, were not started or depend on those run; the run completes."""
    failing.add("left")
    started = start_workflow(diamond(allow_partial_failure=partial))
    with pytest.raises(NodeFailed):
        started.result()
    with pytest.raises(InstanceFailed):
        started.wait()
    ran.clear()
    failing.clear()
    plain(started).retry()
    assert started.result() == {"join": 5, "top": 1, "left": 2, "right": 2}
    assert ran == (["left", "join"] if partial else ["left", "right", "join"])


def test_retries_are_attempts_after_the_first() -> None:
    """A task with two retries has three attempts, and one without has one."""
    failing.update({"a", "b"})
    tasks = (task("a", retries=2), task("b"))
    started = start_workflow(Workflow(name="retried", tasks=tasks))
    with pytest.raises(InstanceFailed):
        started.wait()
    assert sorted(ran) == ["a", "a", "a", "b"]


def test_a_workflow_runs_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inline the same values come about."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")
    started = start_workflow(diamond(allow_partial_failure=False))
    assert started.result() == {"join": 5, "top": 1, "left": 2, "right": 2}


def test_the_version_of_the_nodes_is_not_that_of_dagorama() -> None:
    """The code that the nodes run is no part of their versions, so a run goes on when dagorama is updated under it."""
    functions: list[Any] = [RunWorkflow.entrypoint, RunWorkflow.run_task]
    for function in functions:
        files = _body(function.original_fn, RunWorkflow).files
        assert {Path(file).name for file in files} <= {"running.py"}
