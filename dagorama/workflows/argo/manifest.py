"""The manifest of an operation: a Workflow of argoproj.io/v1alpha1, as a dictionary of plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dagorama.workflows.argo.affinity import affinity_of, contexts_of_volumes
from dagorama.workflows.argo.templates import (
    EXIT_HANDLER,
    SETTINGS_VOLUME,
    exit_templates,
    labelled,
    problem_of_name,
    template_name,
    template_of,
)
from dagorama.workflows.configuration import BadOperationConfiguration, SharedDirectory
from dagorama.workflows.plan import Plan

#: The signs that names of runs do not have.
_NO_SIGNS = re.compile(r"[^-.a-z0-9]+")
#: The account that pods run under.
SERVICE_ACCOUNT = "argo-workflows"


def manifest_of(plan: Plan, *, service_account: str = SERVICE_ACCOUNT, pull_secret: str = "") -> dict[str, Any]:
    """Return the manifest of an operation, with the account that its pods run under and the secret to fetch images."""
    _check_names(plan)
    spec: dict[str, Any] = {
        "entrypoint": _graph_name(plan) if plan.suffix else template_name(plan.tasks[0].name),
        "serviceAccountName": service_account,
        "templates": _templates(plan),
        "volumes": [_settings_volume(), *(_volume(one) for one in plan.all_directories if one.claim)],
    }
    if plan.ttl is not None:
        spec["ttlStrategy"] = dict(plan.ttl)
    if plan.pod_gc:
        spec["podGC"] = {"strategy": plan.pod_gc}
    if pull_secret:
        spec["imagePullSecrets"] = [{"name": pull_secret}]
    if plan.notice is not None:
        spec["onExit"] = EXIT_HANDLER
    affinity = affinity_of(list(dict.fromkeys([*plan.contexts, *contexts_of_volumes(plan.directories)])))
    if affinity:
        spec["affinity"] = affinity
    temporary = [_claim(one, plan.volume_size_mib) for one in plan.all_directories if not one.claim]
    if temporary:
        spec["volumeClaimTemplates"] = temporary
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": _NO_SIGNS.sub("-", plan.name).lstrip("-.")},
        "spec": spec,
    }


def as_text(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as JSON, which is YAML, too."""
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _templates(plan: Plan) -> list[dict[str, Any]]:
    templates = [template_of(task, plan) for task in plan.tasks]
    if plan.suffix:
        steps = [[_step(template_name(task.name)) for task in group] for group in plan.groups]
        templates.insert(0, {"name": _graph_name(plan), **labelled(plan), "steps": steps})
    return templates + ([] if plan.notice is None else exit_templates(plan.notice, plan))


def _graph_name(plan: Plan) -> str:
    return template_name(f"{plan.name}{plan.suffix}")


def _step(name: str) -> dict[str, str]:
    return {"name": name, "template": name}


def _volume(directory: SharedDirectory) -> dict[str, Any]:
    return {"name": directory.volume_name, "persistentVolumeClaim": {"claimName": directory.claim}}


def _claim(directory: SharedDirectory, size_mib: int) -> dict[str, Any]:
    """Return the volume that is made for a run and removed with it."""
    mode = "ReadWriteMany" if directory.mode == "rwx" else "ReadWriteOnce"
    storage = {"requests": {"storage": f"{size_mib}Mi"}}
    return {"metadata": {"name": directory.volume_name}, "spec": {"accessModes": [mode], "resources": storage}}


def _settings_volume() -> dict[str, Any]:
    return {"name": SETTINGS_VOLUME, "configMap": {"name": SETTINGS_VOLUME, "optional": True}}


def _check_names(plan: Plan) -> None:
    """Raise `BadOperationConfiguration` for a name that a cluster does not take, or that two parts would have."""
    named = [(f"operation {plan.name!r}", template_name(plan.name)), ("the graph", _graph_name(plan))]
    for what, name in [*named, *((f"task {task.name!r}", template_name(task.name)) for task in plan.tasks)]:
        if problem := problem_of_name(name):
            raise BadOperationConfiguration(f"{what} {problem}")
    taken: dict[str, str] = {}
    if plan.suffix:
        taken[_graph_name(plan)] = "the operation"
    if plan.notice is not None:
        taken |= dict.fromkeys((EXIT_HANDLER, "exit-queue", "exit-url"), "what tells of the end")
    for task in plan.tasks:
        name = template_name(task.name)
        if name in taken:
            raise BadOperationConfiguration(f"task {task.name!r} and {taken[name]} are both {name!r} in a manifest")
        taken[name] = f"task {task.name!r}"
    volumes: dict[str, SharedDirectory] = {}
    for one in plan.all_directories:
        other = volumes.setdefault(one.volume_name, one)
        if other != one:
            raise BadOperationConfiguration(
                f"{str(other)!r} and {str(one)!r} are both {one.volume_name!r} in a manifest"
            )
