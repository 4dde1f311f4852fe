"""Workflows run: one definition makes a node of each task, and its promise is the edge to all that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance
from dagorama.options import Keep, instance_options
from dagorama.retry import StaticRetry
from dagorama.workflows.artifacts import Artifact
from dagorama.workflows.model import RunInfo, Task, Workflow
from dagorama.workflows.problems import TaskNotStarted

#: The queues of the nodes that begin a run, and of tasks that name none.
WORKFLOWS_QUEUE, TASKS_QUEUE = "workflows", "tasks"
#: The tags of a run.
NAME_TAG, VERSION_TAG, FILE_TAG = "workflow", "workflow_version", "workflow_file"
DESCRIPTION_TAG = "workflow_description"
#: The longest value of a tag that is kept.
_TAG_CHARS_MAX = 500


class RunWorkflow(DAGDefinition):
    """One run of a workflow."""

    # The variables of tasks may be secret, and what is shown of inputs is for all who look.
    @dagorama(queue_name=WORKFLOWS_QUEUE, label="{workflow.name}", inputs=False).syncfn
    def entrypoint(self, workflow: Workflow, parameters: object = None, directory: str = "") -> dict[str, object]:
        """Make the nodes of all tasks, and return the value of each by its id."""
        values: dict[str, object] = _elsewhere("make_nodes")(self.run_task, workflow, parameters, directory)
        return values

    @dagorama(
        queue_name=TASKS_QUEUE, label="{task.id}", retry=StaticRetry(1, 0, give_up_on=TaskNotStarted), inputs=False
    ).syncfn
    def run_task(self, task: Task, info: RunInfo, values: dict[str, object]) -> object:
        """Do the work of a task, once the tasks that it depends on have succeeded with these values."""
        return _elsewhere("do_work")(task, info, values, self.keep_artifact)

    @dagorama(queue_name=TASKS_QUEUE, label="{artifact.label}").syncfn
    def keep_artifact(self, artifact: Artifact) -> Artifact:
        """Return a file that a task has saved, so that it is a value of the run."""
        return artifact


def start_workflow(
    workflow: Workflow, parameters: object = None, *, directory: str = "", tags: Mapping[str, str] | None = None
) -> DAGInstance[dict[str, object]]:
    """Start a run of a workflow, which must have been checked, and return it; its result has each task's value by id.

    `parameters` are told to its tasks, and to each that is `Parting` its part; its commands begin in `directory`.
    The start is durable when this returns. Tags name the workflow, its version, its file and its description;
    `tags` are added to them.
    """
    description = " ".join(workflow.description.split())
    own = {
        NAME_TAG: workflow.name,
        VERSION_TAG: workflow.version,
        FILE_TAG: workflow.source,
        DESCRIPTION_TAG: description if len(description) <= _TAG_CHARS_MAX else f"{description[: _TAG_CHARS_MAX - 1]}…",
    }
    told = {name: value[:_TAG_CHARS_MAX] for name, value in own.items() if value}
    with instance_options(
        running_max=workflow.parallelism or None, tags={**told, **(tags or {})}, keep=_kept(workflow.keep)
    ):
        instance, _ = RunWorkflow()(workflow, parameters, directory)
    return instance


def _elsewhere(name: str) -> Any:
    """Return a function whose code is no part of the version of the nodes."""
    return getattr(import_module("dagorama.workflows.nodes"), name)


def _kept(keep: Keep | None) -> dict[str, float] | None:
    if keep is None:
        return None
    return {name.removesuffix("_s"): seconds for name, seconds in keep._asdict().items() if seconds}
