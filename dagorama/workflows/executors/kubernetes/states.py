"""Tell how a command stands by its Job and its pod, in plain words, without asking the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagorama.workflows.executors.ends import status_words
from dagorama.workflows.executors.kubernetes.manifest import CONTAINER
from dagorama.workflows.executors.port import JobState, JobStatus

if TYPE_CHECKING:
    from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated
    from lightkube.resources.batch_v1 import Job
    from lightkube.resources.core_v1 import Pod

#: The phases of a pod.
_PENDING, _SUCCEEDED, _FAILED = "Pending", "Succeeded", "Failed"
_PHASES = frozenset({_PENDING, "Running", _SUCCEEDED, _FAILED})
#: Why a container waits, where nothing is wrong.
_ON_ITS_WAY = frozenset({"ContainerCreating", "PodInitializing"})
#: Why a container waits that never will start: the cluster does not try again.
NEVER_STARTS = ("InvalidImageName", "ErrImageNeverPull")
#: Why a container waits for its image.
_NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", *NEVER_STARTS})
#: Ends of containers that have not begun.
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})


def status_of(job: Job, pod: Pod | None) -> JobStatus:
    """Return how a command stands by its Job and its pod. It has ended when the pod has, too."""
    condition = _final(job)
    if condition is not None and not (pod is not None and _is_live(pod)):
        kind, reason, message = condition
        if kind == "Complete":
            return JobStatus(state=JobState.SUCCEEDED)
        if reason == "DeadlineExceeded":
            return JobStatus(state=JobState.OVERRAN, problem="was ended, as it took longer than its timeout")
        return JobStatus(state=JobState.FAILED, problem=how_it_ended(pod, message))
    if pod is None:
        return JobStatus(state=JobState.RUNNING)
    phase = (pod.status and pod.status.phase) or _PENDING
    if phase not in _PHASES:
        return JobStatus(state=JobState.RUNNING, unknown=phase)
    return JobStatus(state=JobState.RUNNING, waiting=_why_pending(pod) if phase == _PENDING else "")


def has_started(pod: Pod) -> bool:
    """Return whether the container of a command runs, or has run: then there is a log."""
    state = _container_state(pod)
    return state is not None and (state.running is not None or state.terminated is not None)


def how_it_ended(pod: Pod | None, message: str) -> str:
    """Return why a command has failed; `message` is what its Job says."""
    if pod is None:
        return f"has failed, and its pod is gone: {message or 'the cluster does not say why'}"
    status = pod.status
    state = _container_state(pod)
    terminated = state.terminated if state is not None else None
    if status is not None and status.reason == "Evicted":
        return f"was evicted from its node: {status.message or 'the cluster does not say why'}"
    if terminated is not None:
        return _how_container_ended(terminated) + _disruption(pod)
    said = (status and " ".join(filter(None, (status.reason, status.message)))) or message
    return f"was ended by the cluster: {said or 'it does not say why'}{_disruption(pod)}"


def _how_container_ended(end: ContainerStateTerminated) -> str:
    said = f": {' '.join(end.message.split())}" if end.message else ""
    if end.reason == "OOMKilled":
        return (
            f"was killed since it used more memory than its limit (OOMKilled, exit status {end.exitCode}): raise "
            "limits.memory of its resources"
        )
    if end.reason in _NOT_STARTED:
        return f"could not be started ({end.reason}, exit status {end.exitCode}){said}"
    return f"ended with {status_words(end.exitCode, end.signal or 0)}{said}"


def _disruption(pod: Pod) -> str:
    """Return why the cluster has ended a pod, where it has: for one of higher priority, or to drain its node."""
    for one in (pod.status and pod.status.conditions) or ():
        if one.type == "DisruptionTarget" and one.status == "True":
            return f"; the cluster has ended its pod: {one.reason or ''} {one.message or ''}".rstrip()
    return ""


def _why_pending(pod: Pod) -> str:
    state = _container_state(pod)
    waiting = state.waiting if state is not None else None
    if waiting is not None and waiting.reason and waiting.reason not in _ON_ITS_WAY:
        said = f"{waiting.reason}: {' '.join((waiting.message or '').split())}".rstrip(": ")
        if waiting.reason in _NO_IMAGE:
            assert pod.spec is not None
            image = next((one.image for one in pod.spec.containers if one.name == CONTAINER), "")
            return f"waits, as the image {image!r} cannot be fetched: {said}"
        return f"waits, as its container cannot be made: {said}"
    for one in (pod.status and pod.status.conditions) or ():
        if one.type == "PodScheduled" and one.status == "False":
            return f"waits, as no node can take it: {' '.join((one.message or one.reason or '').split())}"
    return ""


def _container_state(pod: Pod) -> ContainerState | None:
    found = (pod.status and pod.status.containerStatuses) or ()
    return next((one.state for one in found if one.name == CONTAINER), None)


def _is_live(pod: Pod) -> bool:
    return ((pod.status and pod.status.phase) or _PENDING) not in (_SUCCEEDED, _FAILED)


def _final(job: Job) -> tuple[str, str, str] | None:
    """Return the condition that a Job has ended with: its kind, reason and message."""
    for one in (job.status and job.status.conditions) or ():
        if one.type in ("Complete", "Failed") and one.status == "True":
            return one.type, one.reason or "", one.message or ""
    return None
