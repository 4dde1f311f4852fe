"""Keepers are started, and how their jobs stand is read from their files."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from time import sleep

from dagorama.workflows.executors.port import Job, JobState, JobStatus
from dagorama.workflows.executors.process import keeper
from dagorama.workflows.executors.process.places import FOLDER_ENVIRONMENT_FLAG, is_locked, lock_now
from dagorama.workflows.problems import TaskFailed

#: How long the processes of a job may take to end after SIGTERM; `DAGORAMA_JOB_GRACE_S` sets another time. It is less
#: than a worker gives a node that was cancelled, so that it sees the end.
GRACE_S = 3.0
#: So much room is kept on the disk for how a job ended: the job may fill it.
END_BYTES = 4096
#: Why a keeper ends a job, where that is not its own end.
_STATES = {"cancelled": JobState.CANCELLED, "orphaned": JobState.CANCELLED, "overran": JobState.OVERRAN}


def launch(folder: Path, job: Mapping[str, object], program: str = keeper.__file__) -> subprocess.Popen[bytes]:
    """Start the keeper of a job in its folder, a program by its file; `OSError` where that cannot be.

    The caller must wait for it.
    """
    (folder / "end.json.partial").write_bytes(b" " * END_BYTES)
    # The variables of the environment may be secret; the folder is the user's alone.
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    while (lock := lock_now(folder / "keeper.lock")) is None:
        sleep(0.005)  # somebody looks whether it is free
    try:
        # The lock is the keeper's from its first moment on, and free when it is gone, however that came about.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", program, str(folder), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,
        )
    finally:
        os.close(lock)


def checked_limits(job: Job) -> list[tuple[str, int]]:
    """Return the limits of a job's resources; `TaskFailed` for one that this machine does not know."""
    for name, _ in job.command.resource_limits:
        if not hasattr(resource, f"RLIMIT_{name.upper()}"):
            raise TaskFailed(task_id=job.task_id, problem=f"cannot be started: there is no resource limit {name!r}")
    return list(job.command.resource_limits)


def reap_later(keeper: subprocess.Popen[bytes]) -> None:
    """Take note of the end of a keeper that nobody waits for; it may outlive this process."""
    Thread(target=keeper.wait, name="dagorama-keeper", daemon=True).start()


def status_in(folder: Path) -> JobStatus:
    """Return how a job stands by its files."""
    is_kept = is_locked(folder / "keeper.lock")  # first: the end is written while it is
    try:
        end = json.loads((folder / "end.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if is_kept:
            return JobStatus(state=JobState.RUNNING)
        return JobStatus(state=JobState.FAILED, problem="was killed together with its keeper")
    reason, status = end["reason"], end["status"]
    if reason in _STATES:
        return JobStatus(state=_STATES[reason], problem=f"was ended, as it was {reason}")
    if status == 0 and not end.get("problem"):
        return JobStatus(state=JobState.SUCCEEDED)
    return JobStatus(state=JobState.FAILED, problem=(end.get("problem") or _how_it_ended(status)) + _if_full(folder))


def _if_full(folder: Path) -> str:
    """Say where the disk has no room for a job's output, which may be why it failed, and is why it could not say so."""
    disk = os.statvfs(folder)
    if disk.f_bavail or not disk.f_blocks:  # not all file systems tell
        return ""
    return f"; there is no room left in {folder.parent}: make some, or set {FOLDER_ENVIRONMENT_FLAG}"


def ends_in(folder: Path) -> tuple[int, str]:
    """Return how often a program that is to go on has ended, and how it did the last time."""
    try:
        told = json.loads((folder / "ends.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0, ""
    return told["count"], _how_it_ended(told["status"])


def _how_it_ended(status: int) -> str:
    """Return the end of a program for people, by its exit status, negative for a signal."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def grace_s() -> float:
    """Return how long processes may take to end; `ValueError` for a setting that is no time."""
    return seconds_of("DAGORAMA_JOB_GRACE_S", GRACE_S)


def seconds_of(variable: str, default_s: float) -> float:
    """Return a time that a variable of the environment may set; `ValueError` for a setting that is no time."""
    setting = os.environ.get(variable) or default_s
    try:
        seconds = float(setting)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{variable}={setting!r} is not a number of seconds from 0")
    return seconds
