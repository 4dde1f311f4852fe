"""The Job of a command, as a dictionary of plain values."""

from __future__ import annotations

import math
import posixpath
import re
from hashlib import sha256
from typing import Any

from dagorama.workflows.executors.kubernetes.settings import SETTINGS_ENVIRONMENT_FLAG, Settings
from dagorama.workflows.executors.port import Job, facts_of
from dagorama.workflows.model import Mount
from dagorama.workflows.pods import merged, unexpanded
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.staging.runs import ROOT_SETTING, runs_root

#: The container of the command, in a pod that may get others from elsewhere, such as the proxy of a service mesh.
CONTAINER = "command"
#: The label of all objects, and the annotations that say to whom they belong.
MANAGED_BY = {"app.kubernetes.io/managed-by": "dagorama"}
KEY, TOLD, FOLLOWER = "dagorama/key", "dagorama/told", "dagorama/follower"
_RUNS_VOLUME = "dagorama-runs"
#: A name has a readable part of so many characters; with the digest, and what is added for the pod, it is below 63.
_READABLE_MAX = 30
_LABEL = re.compile(r"[a-zA-Z0-9]([-\w.]{0,61}[a-zA-Z0-9])?", re.ASCII)


def name_of(job: Job) -> str:
    """Return the name of the Job of a key: the same in all attempts, and as clusters take it (RFC 1123)."""
    readable = re.sub(r"[^a-z0-9]+", "-", job.task_id.lower())[:_READABLE_MAX].strip("-")
    return f"{readable or 'task'}-{sha256(job.key.encode()).hexdigest()[:16]}"


def job_of(job: Job, settings: Settings, *, grace_s: float, follower: str) -> dict[str, Any]:
    """Return the Job of a command, whose pod has `grace_s` to end; `TaskFailed` for a command that can have none.

    `follower` names the attempt that follows it.
    """
    for name, _ in job.command.resource_limits:
        problem = f"cannot limit {name!r} in a cluster: set limits of resources for containers"
        raise TaskFailed(task_id=job.task_id, problem=f"{problem}, in {SETTINGS_ENVIRONMENT_FLAG}")
    labels = MANAGED_BY | ({"dagorama/run": job.run_id} if _LABEL.fullmatch(job.run_id) else {})
    told = {KEY: job.key, "dagorama/workflow": job.workflow, "dagorama/task": job.task_id}
    spec: dict[str, Any] = {
        # The broker tries again, and counts.
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": math.ceil(settings.kept_s),
        "template": {"metadata": {"labels": labels, "annotations": told}, "spec": _pod(job, settings, grace_s)},
    }
    if job.timeout_s:
        spec["activeDeadlineSeconds"] = math.ceil(job.timeout_s)
    metadata = {"name": name_of(job), "labels": labels, "annotations": told | {FOLLOWER: follower}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _pod(job: Job, settings: Settings, grace_s: float) -> dict[str, Any]:
    own, pod = dict(settings.container), dict(settings.pod)
    container = _container(job, settings)
    mounts = [_mount(job, each, settings) for each in job.command.mounts]
    container["volumeMounts"] = [*mounts, *own.pop("volumeMounts", ())]
    container["env"] = [*own.pop("env", ()), *container["env"]]
    runs = [{"name": _RUNS_VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}}] if mounts else []
    return merged(
        {
            # A command is no program of the cluster, and gets no token of it.
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": max(1, math.ceil(grace_s)),
            "restartPolicy": "Never",
            "volumes": [*runs, *pod.pop("volumes", ())],
            "containers": [merged(container, own), *pod.pop("containers", ())],
        },
        pod,
    )


def _mount(job: Job, mount: Mount, settings: Settings) -> dict[str, Any]:
    """Return a folder of a run, or of a claim of an operation, as a pod has it: by the volume of all runs."""
    place = posixpath.relpath(mount.source, str(runs_root()))
    if place == ".." or place.startswith("../"):
        problem = f"needs the folder {mount.source} of its worker, which no pod has: put it below {ROOT_SETTING}"
        raise TaskFailed(task_id=job.task_id, problem=problem)
    if not settings.claim:
        problem = (
            f"works with files of its run, which its pod could not see: set claim in {SETTINGS_ENVIRONMENT_FLAG} to "
            f"that of a volume which the workers have as {ROOT_SETTING}"
        )
        raise TaskFailed(task_id=job.task_id, problem=problem)
    folder = posixpath.normpath(posixpath.join(settings.claim_folder, place))
    made = {"name": _RUNS_VOLUME, "mountPath": mount.target, "readOnly": mount.read_only}
    return made if folder == "." else {**made, "subPath": folder}


def _container(job: Job, settings: Settings) -> dict[str, Any]:
    command = job.command
    image = command.image or settings.image
    if not image:
        way_out = f"give it one, or set image in {SETTINGS_ENVIRONMENT_FLAG}"
        raise TaskFailed(task_id=job.task_id, problem=f"has no image, so a cluster has no container for it: {way_out}")
    words = ["/bin/sh", "-c", command.argv] if isinstance(command.argv, str) else list(command.argv)
    variables = {**facts_of(job), **job.env}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "env": [{"name": name, "value": unexpanded(value)} for name, value in variables.items()],
    }
    if words:  # else those of the image
        container["command"] = [unexpanded(word) for word in words]
    # The folder that the run was started in is one of another machine.
    if command.directory.startswith("/") and command.directory != job.begins_in:
        container["workingDir"] = posixpath.normpath(command.directory)
    if command.pull_policy:
        container["imagePullPolicy"] = command.pull_policy
    resources: dict[str, dict[str, str]] = {}
    for name, quantity in command.resources:
        kind, _, resource = name.partition(".")
        resources.setdefault(kind, {})[resource] = quantity
    return {**container, "resources": resources} if resources else container
