"""The executor that runs jobs as processes of its machine, each below a keeper."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic, sleep

from dagorama.workflows.executors.port import ENDED, Handle, Job, JobState, JobStatus, JobStopped
from dagorama.workflows.executors.process import keeper
from dagorama.workflows.executors.process.commands import directory_of, environment_of, words_of
from dagorama.workflows.executors.process.launching import (
    checked_limits,
    grace_s,
    launch,
    reap_later,
    seconds_of,
    status_in,
)
from dagorama.workflows.executors.process.output import ProcessLogs
from dagorama.workflows.executors.process.places import is_locked, jobs_folder, lock_now
from dagorama.workflows.problems import TaskFailed

#: A job that nobody has followed for so long is ended; `DAGORAMA_ORPHAN_S` sets another time. It is longer than a
#: worker takes to be replaced, and its node to be granted again.
ORPHAN_S = 30.0
#: Waiting looks at the files of a job so often, at first and in the end, in seconds.
_LOOK_S, _LOOK_MAX_S = 0.005, 0.1


@dataclass
class _Followed:
    """A job that this process follows."""

    folder: Path
    lock: int  #: held as long as it is followed
    keeper: subprocess.Popen[bytes] | None  #: None where another worker has started it
    logs: ProcessLogs | None = None


class ProcessExecutor:
    """Runs jobs as processes, each in a session of its own."""

    #: The program of its keepers, by its file.
    keeper = keeper.__file__

    def __init__(self) -> None:
        """Follow nothing yet."""
        self._followed: dict[Handle, _Followed] = {}
        self._lock = Lock()

    def submit(self, job: Job) -> Handle:
        """Start a job, or find the one of its key on this machine, once nobody else follows it."""
        try:
            folder = jobs_folder() / job.key
            lock = _lock_of_follower(folder, job.should_stop)
        except OSError as error:
            raise TaskFailed(task_id=job.task_id, problem=f"cannot be started: {error}") from None
        keeper_process = None
        try:
            if not _goes_on(folder, job.should_stop):
                keeper_process = self.begin(job, folder)
        except BaseException:
            os.close(lock)
            raise
        handle = Handle(job.key)
        with self._lock:
            self._followed[handle] = _Followed(folder, lock, keeper_process)
        return handle

    def begin(self, job: Job, folder: Path) -> subprocess.Popen[bytes]:
        """Start the keeper of a job, whose folder may have what is left of an earlier one, and return its process."""
        clear(folder)
        directory = directory_of(job)
        environment = environment_of(job, os.environ)
        told = {
            "argv": words_of(job.command.argv, directory, environment),
            "directory": directory,
            "env": environment,
            "resource_limits": checked_limits(job),
        }
        return self.launched(job, folder, told)

    def launched(self, job: Job, folder: Path, told: Mapping[str, object]) -> subprocess.Popen[bytes]:
        """Start the keeper of a job, which is told what is its own, and the times that hold for all."""
        times = {
            "timeout_s": job.timeout_s,
            "grace_s": grace_s(),
            "orphan_s": seconds_of("DAGORAMA_ORPHAN_S", ORPHAN_S),
        }
        try:
            return launch(folder, {**told, **times}, self.keeper)
        except OSError as error:
            problem = f"cannot be started in {folder.parent}: {error}"
            raise TaskFailed(task_id=job.task_id, problem=problem) from None

    def status(self, handle: Handle) -> JobStatus:
        """Return how a job stands."""
        return status_in(self._job(handle).folder)

    def cancel(self, handle: Handle) -> None:
        """Have all processes of a job end: SIGTERM, and SIGKILL after the grace time."""
        (self._job(handle).folder / "cancel").touch()

    def logs(self, handle: Handle) -> ProcessLogs:
        """Return the output of a job."""
        followed = self._job(handle)
        followed.logs = ProcessLogs(followed.folder, frees=True)
        return followed.logs

    def wait(self, handle: Handle, timeout_s: float) -> None:
        """Wait until a job has written or ended, `timeout_s` at most."""
        followed = self._job(handle)
        until = monotonic() + timeout_s
        pause_s = _LOOK_S
        while monotonic() < until:
            if status_in(followed.folder).state in ENDED or (followed.logs is not None and followed.logs.has_more()):
                return
            sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_MAX_S)

    def forget(self, handle: Handle) -> None:
        """Remove the folder of a job that has ended."""
        with self._lock:
            followed = self._followed.pop(handle)
        with suppress(OSError):
            clear(followed.folder)
            # Last: a worker that waits for the lock begins anew as soon as its file is gone.
            (followed.folder / "follower.lock").unlink()
            followed.folder.rmdir()
        os.close(followed.lock)
        if followed.keeper is not None:
            followed.keeper.wait()

    def leave(self, handle: Handle) -> None:
        """Give the lock of a job back, so that another may follow it; where none comes, it ends."""
        with self._lock:
            followed = self._followed.pop(handle)
        os.close(followed.lock)
        if followed.keeper is not None:
            reap_later(followed.keeper)

    def folder(self, handle: Handle) -> Path:
        """Return the folder of a job that is followed."""
        return self._job(handle).folder

    def _job(self, handle: Handle) -> _Followed:
        with self._lock:
            return self._followed[handle]


def _lock_of_follower(folder: Path, should_stop: Callable[[], bool]) -> int:
    """Return the lock of the follower of a job, once nobody else has it: the one before may be about to leave.

    Raises `JobStopped`.
    """
    pause_s = _LOOK_S
    while True:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = lock_now(folder / "follower.lock")
        except FileNotFoundError:  # the one before has just removed it
            continue
        if lock is not None:
            return lock
        _check(should_stop)
        sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOK_MAX_S)


def _goes_on(folder: Path, should_stop: Callable[[], bool]) -> bool:
    """Return whether there is a job that can be followed; one that was ended by force is no such job.

    Raises `JobStopped`.
    """
    if not (folder / "job.json").exists():
        return False
    while (status := status_in(folder)).state is JobState.RUNNING and (folder / "cancel").exists():
        _check(should_stop)
        sleep(_LOOK_S)  # two at once of a job would be one too many
    return status.state is not JobState.CANCELLED and not was_lost(folder)


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise JobStopped


def was_lost(folder: Path) -> bool:
    """Return whether a job has no keeper, and no end that one has written."""
    return not (folder / "end.json").exists() and not is_locked(folder / "keeper.lock")


def clear(folder: Path, *kept: str) -> None:
    """Remove what an earlier job of the key has left behind, but for the lock and the files of the given names."""
    for path in folder.iterdir():
        if path.name not in ("follower.lock", *kept):
            path.unlink(missing_ok=True)
