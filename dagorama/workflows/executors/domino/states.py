"""Tell how a command stands by what Domino says of its run, in plain words, without asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagorama.workflows.executors.ends import status_words
from dagorama.workflows.executors.port import JobState, JobStatus

#: What Domino says of a run, in small letters: that it has not ended, that it is to stop, and how it has ended.
_STOPPING = frozenset({"stoprequested", "stopanddiscardrequested", "stopping"})
_LIVE = _STOPPING | {
    *("queued", "scheduled", "pending", "preparing", "building", "pulling", "running", "serving", "finishing")
}
_SUCCEEDED, _STOPPED = frozenset({"succeeded"}), frozenset({"stopped"})
_FAILED = frozenset({"failed", "error"})


def status_of(run: Mapping[str, Any]) -> JobStatus:
    """Return how a command stands."""
    told: str = run["status"]
    word = told.lower()
    if word in _SUCCEEDED:
        return JobStatus(state=JobState.SUCCEEDED)
    if word in _STOPPED:
        return JobStatus(state=JobState.FAILED, problem="was ended: somebody else has stopped its run at Domino")
    if word in _FAILED:
        return JobStatus(state=JobState.FAILED, problem=_how_it_ended(run, told))
    if word in _LIVE:
        return JobStatus(state=JobState.RUNNING)
    if run.get("isCompleted") is True:
        return JobStatus(state=JobState.FAILED, problem=f"has ended in the state {told!r}, which is not known")
    return JobStatus(state=JobState.RUNNING, unknown=told)


def is_stopping(run: Mapping[str, Any]) -> bool:
    """Return whether a run is to stop, and has not yet."""
    return run["status"].lower() in _STOPPING


def was_stopped(run: Mapping[str, Any]) -> bool:
    """Return whether a run has ended since it was stopped."""
    return run["status"].lower() in _STOPPED


def _how_it_ended(run: Mapping[str, Any], told: str) -> str:
    code = run.get("containerExitCode")
    if isinstance(code, int) and code:
        return f"ended with {status_words(code)}"
    return f"has failed: Domino says {told!r} of its run, and no more"
