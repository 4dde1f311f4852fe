"""The executor that runs commands as Jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from lightkube.resources.batch_v1 import Job as KubernetesJob

from dagorama.workflows.executors.asking import NotYet, ask_patiently, is_overdue, not_waited_for, stop_wait_s
from dagorama.workflows.executors.kubernetes.cluster import Cluster, ClusterAway, ClusterRefuses
from dagorama.workflows.executors.kubernetes.logs import PodLogs, Position
from dagorama.workflows.executors.kubernetes.manifest import FOLLOWER, KEY, TOLD, job_of, name_of
from dagorama.workflows.executors.kubernetes.settings import Settings, read_settings
from dagorama.workflows.executors.kubernetes.states import NEVER_STARTS, has_started, status_of
from dagorama.workflows.executors.port import ENDED, Handle, Job, JobState, JobStatus
from dagorama.workflows.executors.process.launching import grace_s
from dagorama.workflows.problems import TaskFailed, TaskLeft

T = TypeVar("T")

#: The cluster is asked about a job so often, while something is about to change, and else.
_LOOK_S, _LOOK_MAX_S = 0.05, 1.0
#: So begins what a Job without a pod waits for.
_NO_POD = "has no pod: "
#: A pod that is to go is waited for so long, that its log be connected.
_CONNECTION_S = 5.0
_RUNNING = JobStatus(state=JobState.RUNNING)


@dataclass
class _Followed:
    """A Job that an attempt follows."""

    handle: Handle
    job: Job
    name: str
    uid: str
    logs: PodLogs
    status: JobStatus = _RUNNING
    look_at: float = 0.0
    pause_s: float = _LOOK_S
    cuts: int = 0
    #: Since when the cluster does not answer; None where it does.
    away_since: float | None = None
    #: Why its pod could not be started, as the cluster has said last, and since when; empty where it can.
    waiting: str = ""
    waits_since: float | None = None
    #: When the cluster is asked why there is no pod.
    warnings_at: float | None = None
    #: How it ends where this attempt has decided that; it is deleted then.
    verdict: JobStatus | None = None
    is_deleted: bool = False
    #: Since when it is to stop; None where it is not.
    unwanted_since: float | None = None
    #: There is no such Job any more.
    is_gone: bool = False
    #: Another attempt follows it now: this one may have been taken for dead. It is no longer its to end or delete.
    is_taken: bool = False


class KubernetesExecutor:
    """Runs commands as Jobs; a Job is found again by its name, which comes of its key."""

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._followed: dict[Handle, _Followed] = {}
        self._lock = Lock()
        self._made: tuple[Settings, Cluster] | None = None

    def submit(self, job: Job) -> Handle:
        """Make a Job, or find the one of its key in the cluster. The handle names this attempt to follow it."""
        handle = Handle(token_hex(8))
        try:
            settings, cluster = self._connected()
            manifest = job_of(job, settings, grace_s=grace_s(), follower=handle)
            found = self._patiently(
                job, "cannot be started", lambda: self._made_or_found(cluster, manifest, job, handle)
            )
        except (ClusterRefuses, ValueError) as error:
            raise TaskFailed(task_id=job.task_id, problem=f"cannot be started in the cluster: {error}") from None
        with self._lock:
            self._followed[handle] = found
        return handle

    def status(self, handle: Handle) -> JobStatus:
        """Return how a job stands, as the cluster has said within the last second; `TaskLeft` for another's."""
        followed = self._job(handle)
        if followed.status.state not in ENDED and monotonic() >= followed.look_at:
            self._look(followed)
        if followed.is_taken and followed.status.state not in ENDED:
            raise TaskLeft(task_id=followed.job.task_id, problem="is followed by another attempt now")
        return followed.status

    def cancel(self, handle: Handle) -> None:
        """Delete the Job with its pod, which gets SIGTERM, and SIGKILL after the grace time.

        The end is not waited for too long.
        """
        followed = self._job(handle)
        self._look(followed)
        followed.unwanted_since = monotonic()
        if followed.status.state not in ENDED and followed.verdict is None:
            self._end(followed, JobStatus(state=JobState.CANCELLED, problem="was ended, as it was cancelled"))

    def logs(self, handle: Handle) -> PodLogs:
        """Return the output of a job, both streams in one, as its pod has it."""
        return self._job(handle).logs

    def wait(self, handle: Handle, timeout_s: float) -> None:
        """Wait until there is output, or it is time to look at the job again, `timeout_s` at most."""
        followed = self._job(handle)
        followed.logs.wait(max(0.0, min(timeout_s, followed.look_at - monotonic())))
        if followed.logs.cuts != followed.cuts:  # it may have ended
            followed.cuts = followed.logs.cuts
            followed.look_at, followed.pause_s = 0.0, _LOOK_S

    def forget(self, handle: Handle) -> None:
        """Delete the Job of a command that has ended: else the next attempt would take that end for its own.

        The cluster is waited for. Raises `TaskLeft` where the Job stays: then it is the next attempt's to tell its end.
        """
        followed = self._job(handle)
        try:
            if not followed.is_gone and not followed.is_deleted:
                _, cluster = self._connected()
                self._patiently(
                    followed.job, "has ended, and that cannot be noted", lambda: self._rid(followed, cluster)
                )
        except ClusterRefuses as error:
            problem = f"has ended, and its Job {followed.name} cannot be deleted: the cluster says: {error}"
            raise TaskLeft(task_id=followed.job.task_id, problem=problem) from None
        finally:
            self.leave(handle)

    def leave(self, handle: Handle) -> None:
        """Follow a Job no more; it goes on."""
        with self._lock:
            followed = self._followed.pop(handle)
        followed.logs.close()

    def close(self) -> None:
        """Close the connections to the cluster, and follow nothing any more; a later call opens others."""
        with self._lock:
            for followed in self._followed.values():
                followed.logs.close()
            self._followed.clear()
            if self._made is not None:
                self._made[1].close()
            self._made = None

    def _connected(self) -> tuple[Settings, Cluster]:
        with self._lock:
            if self._made is None:
                settings = read_settings()
                self._made = settings, Cluster(context=settings.context, namespace=settings.namespace)
            return self._made

    def _job(self, handle: Handle) -> _Followed:
        with self._lock:
            return self._followed[handle]

    def _look(self, followed: _Followed) -> None:
        """Ask the cluster how a job stands, and decide what has to be."""
        settings, cluster = self._connected()
        try:
            status = self._seen(followed, cluster)
        except ClusterAway as error:
            status = self._away(followed, settings, error)
        except ClusterRefuses as error:
            problem = f"cannot be followed: the cluster says: {error}"
            raise TaskLeft(task_id=followed.job.task_id, problem=problem) from None
        else:
            followed.away_since = None
        if status.state is not followed.status.state or status.waiting != followed.status.waiting:
            followed.pause_s = _LOOK_S
        followed.status = status
        followed.look_at = monotonic() + followed.pause_s
        followed.pause_s = min(2 * followed.pause_s, _LOOK_MAX_S)
        if status.state in ENDED:
            followed.logs.finish()
        elif is_overdue(followed.unwanted_since):  # its log goes on, and is not followed to its end
            told = followed.verdict if followed.is_deleted else None
            followed.status = not_waited_for(followed.job.task_id, f"its Job {followed.name}", told, status)
        elif followed.verdict is None and self._is_given_up(followed, settings):
            self._end(followed, JobStatus(state=JobState.FAILED, problem=self._why_not_started(followed)))

    def _seen(self, followed: _Followed, cluster: Cluster) -> JobStatus:
        job = self._own(followed, cluster)
        if job is None:
            followed.is_gone = True
            gone = "was ended: somebody else has deleted its Job in the cluster"
            return followed.verdict or JobStatus(state=JobState.FAILED, problem=gone)
        if followed.is_taken:
            verdict = followed.verdict
            return verdict if verdict is not None and verdict.state is JobState.CANCELLED else followed.status
        pods = cluster.pods_of(job)
        pod = pods[-1] if pods else None
        if pod is not None and pod.metadata is not None and has_started(pod):
            followed.logs.begin(str(pod.metadata.name))
        if followed.verdict is not None:
            if not followed.is_deleted:
                is_wanted = followed.unwanted_since is None
                # Its last words are told, too.
                followed.logs.wait_for_connection(_CONNECTION_S if is_wanted else stop_wait_s() / 2)
                followed.is_deleted = cluster.delete_job(job, waits_for_pods=True)
            return _RUNNING
        status = status_of(job, pod)
        if status.state is JobState.RUNNING and pod is None:
            status = replace(status, waiting=self._why_no_pod(followed, cluster))
        if status.state is JobState.OVERRAN:
            return replace(status, waiting=followed.waiting)
        followed.waiting = status.waiting
        return status

    def _why_no_pod(self, followed: _Followed, cluster: Cluster) -> str:
        """Return why a Job has no pod, such as a quota. It is asked for seldom, and holds meanwhile."""
        now = monotonic()
        if followed.warnings_at is None:
            followed.warnings_at = now + _LOOK_MAX_S  # nearly all have one by then
        if now < followed.warnings_at:
            return followed.waiting if followed.waiting.startswith(_NO_POD) else ""
        warnings = cluster.warnings_of(followed.name)
        followed.warnings_at = now + _LOOK_MAX_S
        return f"{_NO_POD}{warnings[-1]}" if warnings else ""

    def _rid(self, followed: _Followed, cluster: Cluster) -> bool:
        """Delete a Job, unless it is another attempt's by now; return True."""
        while (job := self._own(followed, cluster)) is not None and not followed.is_taken:
            if cluster.delete_job(job, waits_for_pods=False):
                break
        return True

    def _own(self, followed: _Followed, cluster: Cluster) -> KubernetesJob | None:
        """Return the Job as the cluster has it, None where it is gone; note where another attempt follows it."""
        job = cluster.job(followed.name)
        if job is None or job.metadata is None or job.metadata.uid != followed.uid:
            return None
        followed.is_taken = (job.metadata.annotations or {}).get(FOLLOWER) != followed.handle
        return job

    def _is_given_up(self, followed: _Followed, settings: Settings) -> bool:
        """Return whether the pod of a job could not be started for too long."""
        if followed.away_since is not None:  # nothing is known now, and the time goes on
            return False
        if not followed.waiting:
            followed.waits_since = None
            return False
        now = monotonic()
        if followed.waits_since is None:
            followed.waits_since = now
        is_hopeless = any(word in followed.waiting for word in NEVER_STARTS)
        return is_hopeless or now - followed.waits_since >= settings.start_s

    def _why_not_started(self, followed: _Followed) -> str:
        _, cluster = self._connected()
        warnings: list[str] = []
        with suppress(ClusterAway, ClusterRefuses):
            job = cluster.job(followed.name)
            for pod in cluster.pods_of(job) if job is not None else ():
                warnings += cluster.warnings_of(str(pod.metadata and pod.metadata.name))
        told = f"; the cluster has warned: {' | '.join(dict.fromkeys(warnings[-3:]))}" if warnings else ""
        return f"could not be started: it {followed.waiting}{told}"

    def _end(self, followed: _Followed, verdict: JobStatus) -> None:
        """Have a job end in a way; it has when nothing is left of it."""
        followed.verdict = verdict
        followed.look_at, followed.pause_s = 0.0, _LOOK_S

    def _away(self, followed: _Followed, settings: Settings, error: ClusterAway) -> JobStatus:
        """Return the status of a job while the cluster does not answer; `TaskLeft` when it has not for too long."""
        now = monotonic()
        if followed.away_since is None:
            followed.away_since = now
        if now - followed.away_since >= settings.away_s:
            problem = (
                f"cannot be followed: the cluster has not answered for {settings.away_s:g} s ({error}); its Job "
                f"{followed.name} may still be there: another attempt, or `dagorama retry`, goes on with it"
            )
            raise TaskLeft(task_id=followed.job.task_id, problem=problem)
        return replace(_RUNNING, waiting=f"goes on unseen, as the cluster does not answer: {error}")

    def _patiently(self, job: Job, what: str, ask: Callable[[], T | None]) -> T:
        """Ask the cluster until there is an answer, with pauses; `TaskLeft` when there was none for too long.

        `what` is how a job stands that is left so: a request whose answer is lost may have been heeded.
        """
        settings, _ = self._connected()

        def asked() -> T:
            found = ask()
            if found is None:
                raise NotYet("a Job of the same name is about to go")
            return found

        return ask_patiently(job, asked, what=what, away=ClusterAway, who="the cluster", away_s=settings.away_s)

    def _made_or_found(self, cluster: Cluster, manifest: dict[str, Any], job: Job, handle: Handle) -> _Followed | None:
        """Make a Job, or find the one of the name and take it over; None for one that is on its way out."""
        name = name_of(job)
        is_new = cluster.create_job(manifest)
        there = cluster.job(name)
        if there is None or there.metadata is None or there.metadata.deletionTimestamp is not None:
            return None
        annotations = there.metadata.annotations or {}
        if annotations.get(KEY) != job.key:
            raise ClusterRefuses(f"there is a Job {name} of somebody else in the namespace {cluster.namespace}")
        if not is_new:
            cluster.annotate_job(name, {FOLLOWER: handle})
        logs = PodLogs(cluster, name, Position.read(annotations.get(TOLD, "")))
        return _Followed(handle=handle, job=job, name=name, uid=str(there.metadata.uid), logs=logs)
