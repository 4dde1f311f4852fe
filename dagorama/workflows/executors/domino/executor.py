"""The executor that runs commands as runs of a project at Domino."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic, sleep, time
from typing import Any

from dagorama.errors import BrokerUnavailable, DagoramaError
from dagorama.workflows.executors.asking import NotYet, ask_patiently, is_overdue, not_waited_for
from dagorama.workflows.executors.domino.commands import attempts_before, command_of, title_of
from dagorama.workflows.executors.domino.output import RunLogs
from dagorama.workflows.executors.domino.platform import DominoAway, DominoRefuses, Platform
from dagorama.workflows.executors.domino.services import deploy, tier_of
from dagorama.workflows.executors.domino.settings import read_settings
from dagorama.workflows.executors.domino.states import is_stopping, status_of, was_stopped
from dagorama.workflows.executors.port import ENDED, Handle, Job, JobState, JobStatus, JobStopped, Service
from dagorama.workflows.problems import TaskFailed, TaskLeft

#: Domino is asked how a run stands so often: after a part of the time since there was news, within these bounds.
_LOOK_SHARE, _LOOK_S, _LOOK_MAX_S = 0.1, 0.1, 5.0
#: A Domino that has not answered for so long is given up.
AWAY_S = 600.0
#: So many runs that have ended are known to be forgotten.
_FORGOTTEN_MAX = 1000
_RUNNING = JobStatus(state=JobState.RUNNING)


@dataclass
class _Followed:
    """A run that this process follows."""

    run_id: str
    job: Job
    logs: RunLogs
    #: When it was submitted, by the clock of this process that never goes back.
    began_at: float
    news_at: float
    status: JobStatus = _RUNNING
    look_at: float = 0.0
    #: Since when Domino does not answer; None where it does.
    away_since: float | None = None
    #: Since when it is to stop, unless another worker follows it; None where it is not.
    unwanted_since: float | None = None
    #: How it ends where this process has decided that; it is stopped then.
    verdict: JobStatus | None = None
    is_stopped: bool = False
    #: Domino has said that it has ended.
    is_over: bool = False


class DominoExecutor:
    """Runs commands as runs of a project; a run is found again by its title, which has a mark of its key."""

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._followed: dict[Handle, _Followed] = {}
        self._forgotten: deque[str] = deque(maxlen=_FORGOTTEN_MAX)
        self._lock = Lock()
        self._connecting = Lock()
        self._platform: Platform | None = None

    def submit(self, job: Job) -> Handle:
        """Start a run, or find the one of the key at Domino."""
        command_of(job)  # what cannot be is refused without asking
        handle = Handle(job.key)
        try:
            followed = ask_patiently(
                job,
                lambda: self._started_or_found(job),
                what="cannot be started",
                away=DominoAway,
                who="Domino",
                away_s=AWAY_S,
            )
        except (DominoRefuses, ValueError, OSError) as error:
            raise TaskFailed(task_id=job.task_id, problem=f"cannot be started at Domino: {error}") from None
        with self._lock:
            self._followed[handle] = followed
        return handle

    def status(self, handle: Handle) -> JobStatus:
        """Return how a job stands, as Domino has said within the last seconds; `TaskLeft` for another's."""
        followed = self._job(handle)
        if followed.status.state not in ENDED and monotonic() >= followed.look_at:
            self._look(followed)
        return followed.status

    def cancel(self, handle: Handle) -> None:
        """Have Domino stop the run, which keeps what that has written; its end is not waited for too long."""
        followed = self._job(handle)
        followed.unwanted_since = monotonic()
        self._look(followed)

    def logs(self, handle: Handle) -> RunLogs:
        """Return the output of a job, both streams in one, as Domino has it."""
        return self._job(handle).logs

    def wait(self, handle: Handle, timeout_s: float) -> None:
        """Wait until it is time to look at the job again, `timeout_s` at most."""
        sleep(max(0.0, min(timeout_s, self._job(handle).look_at - monotonic())))

    def forget(self, handle: Handle) -> None:
        """Forget a run that has ended; at Domino it stays, and the next one of the key has another number."""
        with self._lock:
            followed = self._followed.pop(handle)
            if followed.is_over:  # one that is about to stop is in the way of a next one
                self._forgotten.append(followed.run_id)
        followed.logs.forget()

    def leave(self, handle: Handle) -> None:
        """Follow a run no more; it goes on."""
        with self._lock:
            del self._followed[handle]

    def deploy(self, service: Service, should_stop: Callable[[], bool]) -> dict[str, str]:
        """Publish a model or the app of the project, and wait until it runs."""
        return deploy(self._connected, service, should_stop, away_s=AWAY_S)

    def _connected(self) -> Platform:
        with self._connecting:
            if self._platform is None:
                self._platform = Platform(read_settings())
            return self._platform

    def _job(self, handle: Handle) -> _Followed:
        with self._lock:
            return self._followed[handle]

    def _started_or_found(self, job: Job) -> _Followed:
        """Start a run, or find the one that goes on, or whose end nobody has taken; `NotYet` for one that stops."""
        platform = self._connected()
        try:
            ended = job.attempts_ended()
        except BrokerUnavailable as error:
            raise NotYet(str(error)) from None
        latest = self._latest(platform, job)
        if latest is not None and is_stopping(latest):  # two at once are one too many
            raise NotYet(f"the run {latest['id']} of an attempt before is about to stop")
        age_s = 0.0
        if latest is not None and _is_to_be_followed(latest, job, ended):
            run_id = latest["id"]
            age_s = max(0.0, time() - float(latest.get("queued") or time() * 1000) / 1000)
        else:
            command, is_direct = command_of(job)
            tier, _ = tier_of(platform, job.tier)
            if job.should_stop():  # the questions before may have taken long
                raise JobStopped
            run_id = platform.start(command, is_direct=is_direct, title=title_of(job, ended), tier=tier)
        now = monotonic()
        logs = RunLogs(run_id, lambda: self._connected().output(run_id))
        return _Followed(run_id=run_id, job=job, logs=logs, began_at=now - age_s, news_at=now)

    def _latest(self, platform: Platform, job: Job) -> Mapping[str, Any] | None:
        """Return the latest run of a key, those aside that this process has forgotten; None for none."""
        runs = [run for run in platform.runs() if attempts_before(run["title"], job) is not None]
        kept = [run for run in runs if run["id"] not in self._forgotten]
        return max(kept, key=lambda run: int(run.get("number") or 0), default=None)

    def _look(self, followed: _Followed) -> None:
        """Ask Domino how a run stands, and decide what has to be."""
        now = monotonic()
        try:
            status = self._seen(followed)
        except (DominoAway, DominoRefuses) as error:  # it has not refused before: a gateway may, for a while
            status = self._away(followed, error)
        else:
            followed.away_since = None
            followed.logs.look()
        if status.state not in ENDED and is_overdue(followed.unwanted_since):
            told = followed.verdict if followed.is_stopped else None
            status = not_waited_for(followed.job.task_id, f"its run {followed.run_id} at Domino", told, status)
        if status != followed.status:
            followed.news_at = now
        followed.status = status
        followed.look_at = now + min(_LOOK_MAX_S, max(_LOOK_S, _LOOK_SHARE * (now - followed.news_at)))
        if status.state in ENDED:
            followed.logs.finish(is_waited_for=followed.unwanted_since is None)

    def _seen(self, followed: _Followed) -> JobStatus:
        platform = self._connected()
        status = status_of(platform.run(followed.run_id))
        if status.state in ENDED:
            followed.is_over = True
            return followed.verdict or status
        if followed.verdict is None:
            followed.verdict = self._verdict(followed)
        if followed.verdict is None:
            return status
        if not followed.is_stopped:
            platform.stop(followed.run_id)
            followed.is_stopped = True
            followed.news_at = monotonic()
        return _RUNNING

    def _verdict(self, followed: _Followed) -> JobStatus | None:
        """Return how a run ends that is not wanted, or takes too long; None for one that goes on.

        Raises `TaskLeft` where another worker follows it, or will.
        """
        job = followed.job
        if followed.unwanted_since is not None:
            try:
                goes_on = job.goes_on()
            except DagoramaError:  # the broker does not say: it is asked again
                return None
            if goes_on:
                raise TaskLeft(task_id=job.task_id, problem="is followed by another attempt, now or soon")
            return JobStatus(state=JobState.CANCELLED, problem="was ended, as it was cancelled")
        if job.timeout_s and monotonic() - followed.began_at >= job.timeout_s:
            return JobStatus(state=JobState.OVERRAN, problem="was ended, as it took longer than its timeout")
        return None

    def _away(self, followed: _Followed, error: DominoAway | DominoRefuses) -> JobStatus:
        """Return the status of a job while Domino does not answer, or refuses to; `TaskLeft` after too long."""
        now = monotonic()
        if followed.away_since is None:
            followed.away_since = now
        if now - followed.away_since >= AWAY_S:
            problem = (
                f"cannot be followed: Domino has not told how it stands for {AWAY_S:g} s ({error}); its run "
                f"{followed.run_id} may still be there: another attempt, or `dagorama retry`, goes on with it"
            )
            raise TaskLeft(task_id=followed.job.task_id, problem=problem)
        does = "refuses to tell of it" if isinstance(error, DominoRefuses) else "does not answer"
        return replace(_RUNNING, waiting=f"goes on unseen, as Domino {does}: {error}")


def _is_to_be_followed(run: Mapping[str, Any], job: Job, ended: int) -> bool:
    """Return whether the latest run of a key goes on, or has an end that nobody has taken."""
    if status_of(run).state is JobState.RUNNING:
        return True
    return attempts_before(run["title"], job) == ended and not was_stopped(run)
