"""The manifest of an operation: a Workflow of argoproj.io/v1alpha1, as a dictionary of plain values."""

from __future__ import annotations

from typing import Any

from dagorama.workflows.argo.affinity import affinity_of, contexts_of_volumes
from dagorama.workflows.argo.templates import (
    EXIT_HANDLER,
    SETTINGS_VOLUME,
    exit_templates,
    labelled,
    template_name,
    template_of,
)
from dagorama.workflows.configuration import BadOperationConfiguration, SharedDirectory
from dagorama.workflows.plan import Plan

#: The account that pods run under.
SERVICE_ACCOUNT = "argo-workflows"


def manifest_of(plan: Plan, *, service_account: str = SERVICE_ACCOUNT, pull_secret: str = "") -> dict[str, Any]:
    """Return the manifest of an operation, with the account that its pods run under and the secret to fetch images."""
    _check_names(plan)
    spec: dict[str, Any] = {
        "entrypoint": f"{plan.name}{plan.suffix}" if plan.suffix else template_name(plan.tasks[0].name),
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
    affinity = affinity_of([*plan.contexts, *contexts_of_volumes(plan.directories)])
    if affinity:
        spec["affinity"] = affinity
    temporary = [_claim(one, plan.volume_size_mib) for one in plan.all_directories if not one.claim]
    if temporary:
        spec["volumeClaimTemplates"] = temporary
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": plan.name},
        "spec": spec,
    }


def _templates(plan: Plan) -> list[dict[str, Any]]:
    templates = [template_of(task, plan) for task in plan.tasks]
    if plan.suffix:
        steps = [[_step(template_name(task.name)) for task in group] for group in plan.groups]
        templates.insert(0, {"name": f"{plan.name}{plan.suffix}", **labelled(plan), "steps": steps})
    return templates + ([] if plan.notice is None else exit_templates(plan.notice, plan))


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
    """Raise `BadOperationConfiguration` for two parts that would have the same name in the manifest."""
    taken: dict[str, str] = {}
    if plan.suffix:
        taken[f"{plan.name}{plan.suffix}"] = "the operation"
    if plan.notice is not None:
        taken |= dict.fromkeys((EXIT_HANDLER, "exit-queue", "exit-url"), "what tells of the end")
    for task in plan.tasks:
        name = template_name(task.name)
        if name in taken:
            raise BadOperationConfiguration(f"task {task.name!r} and {taken[name]} are both {name!r} in a manifest")
        taken[name] = f"task {task.name!r}"
