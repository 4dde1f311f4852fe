"""The manifest of a workflow that was read from a file: a DAG of its tasks, each in a container of its image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import Any

from dagorama.workflows.argo.affinity import affinity_of
from dagorama.workflows.argo.manifest import SERVICE_ACCOUNT, as_text
from dagorama.workflows.argo.staged import (
    RUN_PATH,
    folder_of,
    input_artifacts,
    lacking,
    lines_after,
    lines_before,
    output_artifacts,
)
from dagorama.workflows.argo.templates import problem_of_name, template_name
from dagorama.workflows.configuration import PodExecutionContext
from dagorama.workflows.formats import FORMATS
from dagorama.workflows.jobs.work import NOTHING_STAGED, StagedCommand
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.pods import unexpanded
from dagorama.workflows.problems import Place, Problem, WorkflowError, in_order, quoted
from dagorama.workflows.staging.steps import Staging

#: The volume with the directory of a run, and how large it is.
RUN_VOLUME, RUN_SIZE = "dagorama-run", "10Gi"
#: The pods of a run are on one machine, as its volume is.
RUN_CONTEXT = PodExecutionContext("dagorama-run", "{{workflow.name}}", required=True)
#: The template of the graph.
ENTRYPOINT = "tasks"


def write(workflow: Workflow) -> str:
    """Return the manifest of a workflow as JSON, which is YAML, too. `WorkflowError` for what it has no words for."""
    return as_text(dag_of(workflow))


def dag_of(workflow: Workflow) -> dict[str, Any]:
    """Return the manifest of a workflow; `WorkflowError` with all parts that it has no words for."""
    problems = [*_names(workflow), *(problem for task in workflow.tasks for problem in _lacking(task))]
    if problems:
        raise WorkflowError(in_order(problems))
    tasks = [_edge(task) for task in workflow.tasks]
    dag = {"tasks": tasks, **({"failFast": False} if workflow.allow_partial_failure else {})}
    spec: dict[str, Any] = {
        "entrypoint": ENTRYPOINT,
        "serviceAccountName": SERVICE_ACCOUNT,
        "templates": [{"name": ENTRYPOINT, "dag": dag}, *map(_template, workflow.tasks)],
        **({"parallelism": workflow.parallelism} if workflow.parallelism else {}),
        **_ttl(workflow),
    }
    if any(_is_staged(task) for task in workflow.tasks):
        spec["volumeClaimTemplates"] = [_run_claim()]
    name = re.sub(r"[^a-z0-9]+", "-", workflow.name.lower()).strip("-") or "workflow"
    metadata: dict[str, Any] = {"generateName": f"{name[:50]}-"}
    if workflow.description:
        metadata["annotations"] = {"workflows.argoproj.io/description": workflow.description}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def _parts(task: Task) -> tuple[Command, Staging] | None:
    """Return the command of a task and what is staged for it; None for other work."""
    if isinstance(task.work, StagedCommand):
        return task.work.command, task.work.staging
    return (task.work, NOTHING_STAGED) if isinstance(task.work, Command) else None


def _is_staged(task: Task) -> bool:
    return isinstance(task.work, StagedCommand)


def _edge(task: Task) -> dict[str, Any]:
    name = template_name(task.id)
    depends = [template_name(one) for one in task.depends]
    return {"name": name, "template": name, **({"dependencies": depends} if depends else {})}


def _template(task: Task) -> dict[str, Any]:
    parts = _parts(task)
    assert parts is not None, "other work was refused before"
    command, staging = parts
    template: dict[str, Any] = {"name": template_name(task.id), "container": _container(task, command, staging)}
    if task.retries:
        template["retryStrategy"] = {"limit": task.retries, **_backoff(task)}
    if task.timeout_s:
        template["activeDeadlineSeconds"] = max(1, round(task.timeout_s))
    if _is_staged(task):
        template["metadata"] = {"labels": {RUN_CONTEXT.key: RUN_CONTEXT.value}}
        template["affinity"] = affinity_of([RUN_CONTEXT])
        for name, artifacts in (("inputs", input_artifacts(staging)), ("outputs", output_artifacts(staging))):
            if artifacts:
                template[name] = {"artifacts": artifacts}
    return template


def _container(task: Task, command: Command, staging: Staging) -> dict[str, Any]:
    words = ["sh", "-c", command.argv] if isinstance(command.argv, str) else list(command.argv)
    before, after = lines_before(staging), lines_after(staging)
    if before or after:
        words = ["sh", "-ec", "\n".join([*before, '"$@"', *after]), "sh", *words]
    container: dict[str, Any] = {"image": command.image, "command": [unexpanded(word) for word in words]}
    variables = {**dict(task.env), **dict(command.env)}
    if variables:
        container["env"] = [{"name": name, "value": unexpanded(value)} for name, value in variables.items()]
    if _is_staged(task):
        container["workingDir"] = folder_of(staging)
        container["volumeMounts"] = [{"name": RUN_VOLUME, "mountPath": RUN_PATH}]
    elif command.directory:
        container["workingDir"] = command.directory
    return container


def _backoff(task: Task) -> dict[str, Any]:
    return {"backoff": {"duration": f"{round(task.retry_interval_s)}s"}} if task.retry_interval_s >= 1 else {}


def _run_claim() -> dict[str, Any]:
    storage = {"requests": {"storage": RUN_SIZE}}
    return {"metadata": {"name": RUN_VOLUME}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": storage}}


def _ttl(workflow: Workflow) -> dict[str, Any]:
    keep = workflow.keep
    if keep is None:
        return {}
    told = {"secondsAfterSuccess": keep.completed_s, "secondsAfterFailure": keep.failed_s}
    times = {name: round(seconds) for name, seconds in told.items() if seconds and seconds != inf}
    return {"ttlStrategy": times} if times else {}


def _names(workflow: Workflow) -> Iterator[Problem]:
    taken = {ENTRYPOINT: "the graph itself"}
    for task in workflow.tasks:
        name = template_name(task.id)
        if problem := problem_of_name(name):
            yield Problem(place=task.place, message=f"the id {quoted(task.id)} {problem}", way_out="give it another id")
        elif name in taken:
            message = f"the id {quoted(task.id)} is {name!r} in a manifest, and so is {taken[name]}"
            yield Problem(place=task.place, message=message, way_out="give it another id")
        taken.setdefault(name, quoted(task.id))


def _lacking(task: Task) -> Iterator[Problem]:
    """Yield a problem for each part of a task that a manifest has no words for."""
    parts = _parts(task)
    if parts is None:
        message = f"{quoted(task.id)} is no command but a {task.work.kind}, which no container runs"
        yield Problem(place=task.place, message=message, way_out="export operations by to_workflow(engine='argo')")
        return
    command, staging = parts
    if not command.image:
        message = f"{quoted(task.id)} has no image, so a cluster has no container for it"
        suffixes = ", ".join(FORMATS["yaml"].suffixes)
        way_out = "give it one" if _is_staged(task) else f"only jobs files ({suffixes}) can name one"
        yield Problem(place=task.place or Place(), message=message, way_out=way_out)
    texts = [*command.words(), *(value for _, value in (*task.env, *command.env))]
    texts += [str(artifact) for artifact in input_artifacts(staging)]
    if any("{{" in text for text in texts):
        message = f"{quoted(task.id)} has '{{{{' in it, which Argo reads as a variable of its own"
        yield Problem(place=task.place, message=message, way_out="write it in another way")
    for message, way_out in lacking(staging):
        yield Problem(place=task.place, message=f"{quoted(task.id)}: {message}", way_out=way_out)
