"""A platform that does not answer is asked again, with patience."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from dagorama.logging import get_logger
from dagorama.workflows.executors.port import Job, JobStatus, JobStopped
from dagorama.workflows.executors.process.launching import seconds_of
from dagorama.workflows.problems import TaskLeft

T = TypeVar("T")

#: The pauses between questions, at first and in the end.
_AGAIN_S, _AGAIN_MAX_S = 0.2, 10.0
#: A worker ends if a node goes on for so long after it was cancelled; `DAGORAMA_CANCEL_GRACE_S` sets another time. Of
#: that, so much is left to look, and to ask.
_CANCEL_GRACE_S, _SPARE_S = 5.0, 2.0


class NotYet(Exception):
    """An answer cannot be had as yet; the message says why."""


def stop_wait_s() -> float:
    """Return how long the end of a job that was cancelled is waited for: less than its worker gives the node."""
    return max(0.0, seconds_of("DAGORAMA_CANCEL_GRACE_S", _CANCEL_GRACE_S) - _SPARE_S)


def is_overdue(unwanted_since: float | None) -> bool:
    """Return whether a job was to stop long ago: soon the worker would be ended, with all else that it runs."""
    return unwanted_since is not None and monotonic() - unwanted_since >= stop_wait_s()


def not_waited_for(task_id: str, named: str, told: JobStatus | None, status: JobStatus) -> JobStatus:
    """Return the end of a job that takes its time to stop; raise `TaskLeft` for one that could not be told to.

    `named` is the job, such as "its run 7 at Domino", `told` the end with which it was told to stop, and `status` how
    it stands. Nobody asks for either as its task was cancelled, so both are warned of.
    """
    if told is None:
        why = f" ({status.waiting})" if status.waiting else ""
        problem = f"was cancelled, and {named} could not be stopped: it may go on{why}"
        get_logger().warning("%r %s", task_id, problem)
        raise TaskLeft(task_id=task_id, problem=problem)
    get_logger().warning("task %r: %s was told to stop, and has not ended yet", task_id, named)
    return told


def ask_patiently(job: Job, ask: Callable[[], T], *, what: str, away: type[Exception], who: str, away_s: float) -> T:
    """Return the answer of `ask`, which is asked again while it raises `NotYet`, or `away`, as `who` does not answer.

    Raises `TaskLeft` when there was none for `away_s`, and `JobStopped`. `what` is how a job stands that is left so: a
    request whose answer is lost may have been heeded.
    """
    give_up_at = monotonic() + away_s
    pause_s = _AGAIN_S
    while True:
        try:
            return ask()
        except NotYet as error:
            why = str(error)
        except away as error:
            why = f"{who} does not answer: {error}"
        if monotonic() >= give_up_at:
            problem = f"{what}: for {away_s:g} s {why}; another attempt, or `dagorama retry`, goes on from there"
            raise TaskLeft(task_id=job.task_id, problem=problem)
        if job.should_stop():
            raise JobStopped
        get_logger().warning("task %r waits: %s", job.task_id, why)
        sleep(pause_s)
        pause_s = min(2 * pause_s, _AGAIN_MAX_S)
