"""The interface of executors, and the words that it is told in.

An executor runs jobs: one for each command of a task. A job belongs to its key, not to the worker that has submitted
it: a worker that finds a job of the key, as after the death of the one before, goes on following it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, Protocol, runtime_checkable

from dagorama.workflows.model import Command

#: The name of a job at its executor, for the attempt that has submitted it.
Handle = NewType("Handle", str)


class JobState(StrEnum):
    """The state of a job."""

    RUNNING = "running"  #: It runs or is about to; also where the executor says a word that nobody knows.
    SUCCEEDED = "succeeded"  #: It has ended well.
    FAILED = "failed"  #: It has ended otherwise, by itself or since somebody else has ended it.
    OVERRAN = "overran"  #: It took longer than its timeout, and was ended.
    CANCELLED = "cancelled"  #: It was ended by `cancel`.


#: The states of a job of which nothing is left that runs.
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.OVERRAN, JobState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job as its executor tells of it."""

    state: JobState
    #: How it ended, for people: "ended with exit status 3". Empty while it runs.
    problem: str = ""
    #: The word for the state that the executor has said and that this program does not know; empty for none.
    unknown: str = ""
    #: Why it does not go on, or why nothing is known of it now, for people: "cannot be scheduled: ...".
    waiting: str = ""


class JobStopped(Exception):
    """A job was not submitted, as it is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command of a task, with all that an executor has to know."""

    #: The same in all attempts; no other job has it. Made of letters, digits, "-" and ".".
    key: str
    #: The names of the workflow and the task, for people.
    workflow: str
    task_id: str
    run_id: str
    command: Command
    #: The variables of its environment, beside those that the executor gives to all jobs.
    env: Mapping[str, str]
    #: How long it may take from its submission; 0 for any time.
    timeout_s: float = 0.0
    #: Says whether it is to stop. An executor that waits before it submits it asks, and raises `JobStopped`.
    should_stop: Callable[[], bool] = field(default=lambda: False, compare=False, repr=False)
    #: The folder that the commands of the run begin in, on the machine that it was started on; empty for none. The
    #: command's own directory has it already.
    begins_in: str = ""
    #: The task's name for people; empty: its id.
    title: str = ""
    #: The name of the task's resource class; empty for none.
    tier: str = ""
    #: Asks the broker how many attempts of its task have ended with their jobs, lost ones aside: so it is the same for
    #: all that follow one job, and greater for a next one. For executors that cannot forget what has ended.
    attempts_ended: Callable[[], int] = field(default=lambda: 0, compare=False, repr=False)
    #: Asks the broker, once this attempt is to stop, whether another follows the job, or will: then it is not to end.
    goes_on: Callable[[], bool] = field(default=lambda: False, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of a job's output."""

    #: 1 is standard output, 2 standard error. An executor that has both in one says 1.
    stream: int
    data: bytes


class JobLogs(Protocol):
    """The output of a job, read from where the followers before have left off."""

    def read(self) -> Sequence[Output]:
        """Return what has come since the last call, without waiting; empty for nothing.

        After the job has ended, call it until it returns nothing more.
        """
        ...

    def close(self) -> None:
        """Release what it holds, such as a connection."""
        ...


def facts_of(job: Job) -> dict[str, str]:
    """Return the variables that executors give to all jobs: the facts of the run."""
    return {"WORKFLOW_NAME": job.workflow, "WORKFLOW_TASK": job.task_id, "WORKFLOW_RUN_ID": job.run_id}


class Executor(Protocol):
    """A place where jobs run. Methods may be called by several threads at once."""

    def submit(self, job: Job) -> Handle:
        """Start a job, or find the one of its key, and return its handle. The job is started once for each key.

        The caller follows it from now on: it calls `wait` again and again, `cancel` to end it, and in the end `forget`
        when it has ended, else `leave`. Raises `TaskFailed` for a job that cannot be started, `TaskLeft` where it may
        have been, and `JobStopped` for one that was to stop before.
        """
        ...

    def status(self, handle: Handle) -> JobStatus:
        """Return how a job stands. An ended one stays as it is until it is forgotten.

        Raises `TaskLeft` for one that cannot be followed any more, and may go on.
        """
        ...

    def cancel(self, handle: Handle) -> None:
        """Have a job and all that it started end, at first politely; return at once. An ended one stays as it is."""
        ...

    def logs(self, handle: Handle) -> JobLogs:
        """Return the output of a job."""
        ...

    def wait(self, handle: Handle, timeout_s: float) -> None:
        """Wait until there may be something new of a job, `timeout_s` at most."""
        ...

    def forget(self, handle: Handle) -> None:
        """Remove what is kept of a job that has ended: a job of the same key is a new one from then on.

        Raises `TaskLeft` where that cannot be, and `JobStopped` where the job was to stop before it could: then the
        end is the next attempt's to tell. Follows the job no more in any case.
        """
        ...

    def leave(self, handle: Handle) -> None:
        """Follow a job no more, which has not ended: the next `submit` of its key goes on with it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that is to go on when its task has ended, as an executor is asked to deploy it."""

    #: "model" for a function of Python behind HTTP, "app" for a web application.
    kind: str
    task_id: str
    name: str
    description: str = ""
    #: Of a model: where its function is.
    file: str = ""
    function: str = ""
    #: The one of this id is replaced; empty for none.
    id: str = ""
    #: The one of its name is replaced.
    by_name: bool = False
    #: What it runs in, as the executor names that; empty for what it takes by itself.
    environment: str = ""
    #: The command of an app; nothing for that of its project.
    argv: tuple[str, ...] = ()
    tier: str = ""


@runtime_checkable
class Deploying(Protocol):
    """An executor that has services of its own; with others they are programs of the worker's machine."""

    def deploy(self, service: Service, should_stop: Callable[[], bool]) -> dict[str, str]:
        """Deploy a service, wait until it runs, and return its id, name, and what else there is to know of it.

        Raises `TaskFailed` for one that cannot be deployed, or does not come to run, and `JobStopped`.
        """
        ...
