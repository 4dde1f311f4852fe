"""Templates of a manifest: a pod for each task, and the one that tells of the end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dagorama.workflows.argo.affinity import affinity_of, contexts_of_volumes, labels_of
from dagorama.workflows.argo.sources import script_of
from dagorama.workflows.configuration import (
    NOTIFY_IMAGE,
    RUN_NAME,
    BadOperationConfiguration,
    ExitNotice,
    SharedDirectory,
)
from dagorama.workflows.plan import Plan
from dagorama.workflows.pods import merged, unexpanded
from dagorama.workflows.tasks import ContainerizedTask, CustomTask, InlinedTask, PythonTask, Task, nothing_to_run

#: The template that tells of the end.
EXIT_HANDLER = "exit-handler"
#: The settings of the cluster's applications, for tasks that read them; a cluster may have none.
SETTINGS_VOLUME = "cloudharness-allvalues"
_SETTINGS_FOLDER = "/opt/cloudharness/resources"
#: The signs that names of templates and steps do not have, and the longest such name.
_NO_SIGNS, _NAME_CHARS_MAX = re.compile(r"[^-a-zA-Z0-9]+"), 128
#: Double braces that hold no variable of Argo's, which refuses them.
_NO_VARIABLE = re.compile(r"\{\{(?!-?\s*(?:=|(?:workflow|pod|node|inputs|steps|retries|lastRetry)\b))")
#: Names of variables, as clusters take them.
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def template_name(name: str) -> str:
    """Return the name that a task has in a manifest, which `problem_of_name` may find to be none."""
    return _NO_SIGNS.sub("-", name).lstrip("-")


def problem_of_name(name: str) -> str:
    """Return why a name of a manifest cannot be one; empty for one that can."""
    if not name:
        return "has no letter or digit that a manifest could name it by"
    return f"has more than the {_NAME_CHARS_MAX} signs that a name may have" if len(name) > _NAME_CHARS_MAX else ""


def template_of(task: Task, plan: Plan) -> dict[str, Any]:
    """Return the template of a task."""
    directories = plan.directories_of(task)
    own = contexts_of_volumes(task.directories)
    template: dict[str, Any] = {"name": template_name(task.name), **_labelled(plan, directories)}
    if own:
        template["affinity"] = affinity_of([*plan.contexts, *contexts_of_volumes(directories)])
    if task.retry_limit:
        template["retryStrategy"] = {"limit": task.retry_limit}
    kind, content = _content(task)
    content["env"] = _variables(task, plan)
    _check_braces(task, content)
    content["volumeMounts"] = [_settings_mount(), *map(_mount, directories)]
    if task.resources:
        # Clusters have quantities as texts.
        content["resources"] = {
            kind: {name: str(value) for name, value in given.items()} for kind, given in task.resources.items()
        }
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
        if task.command is not None:
            content["command"] = [unexpanded(word) for word in task.command]
        return "container", content
    if isinstance(task, PythonTask):
        source = script_of(task.name, task.func, task.args)
    elif isinstance(task, InlinedTask):
        source = task.source
    else:
        raise nothing_to_run(task)
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
    told = {"status": "{{workflow.status}}", "payload": notice.payload, "workflow": RUN_NAME}
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
    variables = plan.variables(task)
    wrong = next((name for name in variables if not _VARIABLE.fullmatch(name)), None)
    if wrong is not None:
        raise BadOperationConfiguration(
            f"task {task.name!r} cannot have the variable {wrong!r} on a cluster: names have letters, digits and -._"
        )
    return [{"name": name, "value": unexpanded(value)} for name, value in variables.items()]


def _check_braces(task: Task, content: Mapping[str, Any]) -> None:
    """Raise `BadOperationConfiguration` for double braces of which a cluster would make something else."""
    texts = [content.get("source", ""), *content.get("command", ()), *(each["value"] for each in content["env"])]
    found = next(filter(None, map(_NO_VARIABLE.search, texts)), None)
    if found is not None:
        told = found.string[found.start() : found.start() + 30]
        raise BadOperationConfiguration(
            f"task {task.name!r} has {told!r} in it, which Argo reads as a variable of its own: write it in another way"
        )


def _mount(directory: SharedDirectory) -> dict[str, Any]:
    # Clusters read "readOnly"; tests of scripts from the other system ask for "readonly".
    return {
        "name": directory.volume_name,
        "mountPath": directory.path,
        "readOnly": directory.is_read_only,
        "readonly": directory.is_read_only,
    }


def _settings_mount() -> dict[str, Any]:
    return {"name": SETTINGS_VOLUME, "mountPath": _SETTINGS_FOLDER, "readOnly": True}
