"""Templates of a manifest: a pod for each task, and the one that tells of the end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dagorama.workflows.argo.affinity import affinity_of, contexts_of_volumes, labels_of
from dagorama.workflows.argo.sources import script_of
from dagorama.workflows.configuration import SHARED_VARIABLE, BadOperationConfiguration, ExitNotice, SharedDirectory
from dagorama.workflows.plan import Plan
from dagorama.workflows.pods import merged
from dagorama.workflows.tasks import BashTask, ContainerizedTask, CustomTask, InlinedTask, PythonTask, Task

#: The variable that has the name of the run.
RUN_NAME = "CH_WORKFLOW_NAME"
#: The template that tells of the end.
EXIT_HANDLER = "exit-handler"
#: The image that puts the end into a queue.
NOTIFY_IMAGE = "workflows-notify-queue"
#: The settings of the cluster's applications, for tasks that read them; a cluster may have none.
SETTINGS_VOLUME = "cloudharness-allvalues"
_SETTINGS_FOLDER = "/opt/cloudharness/resources"
#: Names of templates and steps, as Argo takes them.
_NAME = re.compile(r"[^-a-zA-Z0-9]+")


def template_name(name: str) -> str:
    """Return the name that a task has in a manifest."""
    return _NAME.sub("-", name)


def template_of(task: Task, plan: Plan) -> dict[str, Any]:
    """Return the template of a task."""
    directories = (*plan.directories, *task.directories)
    own = contexts_of_volumes(task.directories)
    template: dict[str, Any] = {"name": template_name(task.name), **_labelled(plan, directories)}
    if own:
        template["affinity"] = affinity_of([*plan.contexts, *contexts_of_volumes(directories)])
    if task.retry_limit:
        template["retryStrategy"] = {"limit": task.retry_limit}
    kind, content = _content(task)
    content["env"] = _variables(task, plan)
    content["volumeMounts"] = [_settings_mount(), *map(_mount, directories)]
    if task.resources:
        content["resources"] = _quantities(task.resources)
    template[kind] = content
    return merged(template, task.template_overrides)


def exit_templates(notice: ExitNotice, plan: Plan) -> list[dict[str, Any]]:
    """Return the template that tells of the end, and its parts where it tells in two ways."""
    by_image = bool(notice.image or notice.queue)
    if not (by_image and notice.url):
        return [_exit_container(notice, plan, EXIT_HANDLER) if by_image else _exit_request(notice, plan, EXIT_HANDLER)]
    parts = [_exit_container(notice, plan, "exit-queue"), _exit_request(notice, plan, "exit-url")]
    steps = [[{"name": part["name"], "template": part["name"]} for part in parts]]
    return [{"name": EXIT_HANDLER, **_labelled(plan, plan.directories), "steps": steps}, *parts]


def labelled(plan: Plan) -> dict[str, Any]:
    """Return the metadata of a template that runs others."""
    return _labelled(plan, plan.directories)


def _content(task: Task) -> tuple[str, dict[str, Any]]:
    """Return the kind of a template, and what it runs."""
    if isinstance(task, ContainerizedTask):
        content: dict[str, Any] = {"image": task.image_name, "imagePullPolicy": task.image_pull_policy}
        return "container", content if task.command is None else {**content, "command": task.command}
    if isinstance(task, PythonTask):
        source = script_of(task.name, task.func, task.args)
    elif isinstance(task, InlinedTask):
        source = task.source
    else:
        raise BadOperationConfiguration(
            f"task {task.name!r} of {type(task).__name__} says nothing of what it runs: take a PythonTask, a "
            f"{BashTask.__name__} or a {CustomTask.__name__}"
        )
    return "script", {"image": task.image_name, "command": [task.command], "source": source}


def _exit_container(notice: ExitNotice, plan: Plan, name: str) -> dict[str, Any]:
    told = {"workflow_result": "{{workflow.status}}"}
    if notice.queue:
        told["queue_name"] = notice.queue
    if notice.payload is not None:
        told["payload"] = notice.payload
    task = CustomTask(name, notice.image or NOTIFY_IMAGE)
    task.env.update(told)
    return template_of(task, plan)


def _exit_request(notice: ExitNotice, plan: Plan, name: str) -> dict[str, Any]:
    told = {"status": "{{workflow.status}}", "payload": notice.payload, "workflow": "{{workflow.name}}"}
    request = {
        "url": notice.url,
        "method": "POST",
        "headers": [{"name": "Content-Type", "value": "application/json"}],
        "body": json.dumps(told, ensure_ascii=False),
    }
    return {"name": name, **_labelled(plan, ()), "retryStrategy": {"limit": 10}, "http": request}


def _labelled(plan: Plan, directories: Sequence[SharedDirectory]) -> dict[str, Any]:
    labels = labels_of(plan.contexts, directories)
    return {"metadata": {"labels": labels}} if labels else {}


def _variables(task: Task, plan: Plan) -> list[dict[str, str]]:
    shared = {SHARED_VARIABLE: plan.directories[0].path} if plan.directories else {}
    variables = {**shared, **task.env, RUN_NAME: "{{workflow.name}}"}
    return [{"name": name, "value": value} for name, value in variables.items()]


def _mount(directory: SharedDirectory) -> dict[str, Any]:
    # Clusters read "readOnly"; tests of scripts from the other system ask for "readonly".
    return {
        "name": directory.volume_name,
        "mountPath": directory.path,
        "readOnly": directory.is_read_only,
        "readonly": directory.is_read_only,
    }


def _quantities(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return requests and limits with their quantities as texts, which is how clusters have them."""
    return {
        kind: {name: str(value) for name, value in given.items()} if isinstance(given, Mapping) else given
        for kind, given in resources.items()
    }


def _settings_mount() -> dict[str, Any]:
    return {"name": SETTINGS_VOLUME, "mountPath": _SETTINGS_FOLDER, "readOnly": True}
