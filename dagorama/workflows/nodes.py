"""The work of the nodes of a run: making a node of each task, and doing the work of one.

The definition reaches these functions by their names alone, so that their code is no part of its version: a run goes on
when dagorama is updated under it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from dagorama.call_options import node_options
from dagorama.definition import attach
from dagorama.node_context import context
from dagorama.retry import StaticRetry
from dagorama.settings import should_run_inline
from dagorama.workflows.artifacts import Artifact
from dagorama.workflows.checks import in_start_order
from dagorama.workflows.model import Parting, RunInfo, Task, Workflow
from dagorama.workflows.problems import TaskNotStarted, quoted
from dagorama.workflows.task_run import RunningTask

#: Makes the node of a task, given the values of the tasks before it, and returns its promise.
MakeNode = Callable[[Task, RunInfo, dict[str, object]], object]


def make_nodes(make_node: MakeNode, workflow: Workflow, parameters: object, directory: str) -> dict[str, object]:
    """Make the nodes of all tasks, and return the promise of each by its id, in the order of the file."""
    info = RunInfo(
        name=workflow.name,
        version=workflow.version,
        allow_partial_failure=workflow.allow_partial_failure,
        directory=directory,
        parameters=parameters,
    )
    values: dict[str, object] = {}
    for task in in_start_order(workflow.tasks):
        told = replace(info, parameters=task.work.part_of(parameters)) if isinstance(task.work, Parting) else info
        with _options_of(task):
            values[task.id] = make_node(task, told, {one: values[one] for one in task.depends})
    return {task.id: values[task.id] for task in workflow.tasks}


def do_work(
    task: Task, info: RunInfo, values: Mapping[str, object], keep_artifact: Callable[[Artifact], object]
) -> object:
    """Do the work of a task, and return its value. `keep_artifact` makes a node of a file that it saves."""
    if not should_run_inline():
        context().show_as(task.id)
    if not info.allow_partial_failure:
        _check_none_has_failed(task)
    return task.work.run(RunningTask(task=task, info=info, values=values, keep_artifact=keep_artifact))


def _options_of(task: Task) -> AbstractContextManager[None]:
    """Return the options of a task's node."""
    return node_options(
        queue_name=task.queue or None,
        taint_name=task.taint or None,
        retry=StaticRetry(task.retries + 1, task.retry_interval_s) if task.retries else None,
        timeout=task.timeout_s if task.timeout_s and not task.work.keeps_timeout else None,
        limit=task.limits or None,
    )


def _check_none_has_failed(task: Task) -> None:
    """Raise `TaskNotStarted` where another task of the run has failed; inline the first failure ends the run anyway."""
    if should_run_inline():
        return
    instance = attach(context().instance_id)
    failed = next(iter(instance.nodes(state="failed", inputs=False)), None)
    if failed is not None:
        name = quoted(failed.label or failed.function)
        problem = f"was not started: {name} had failed, and allow_partial_failure is false"
        raise TaskNotStarted(task_id=task.id, problem=problem)
