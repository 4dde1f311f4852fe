"""A task that runs in a node: the facts that its work is told, and its commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from dagorama import Node
from dagorama.definition import attach
from dagorama.errors import UnknownId
from dagorama.logging import get_logger
from dagorama.node_context import NodeContext, context
from dagorama.settings import should_run_inline
from dagorama.states import ENDED
from dagorama.workflows.artifacts import Artifact
from dagorama.workflows.executors.finding import executor_named
from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.port import Job, JobState
from dagorama.workflows.model import Command, RunInfo, Task
from dagorama.workflows.problems import TaskFailed, TaskLeft

#: The types of failures of attempts that have not seen the end of their jobs: lost ones, as the broker names them, too.
_LOST = frozenset({"AttemptLost", "WorkerLost", "WorkerSilent", f"{TaskLeft.__module__}:{TaskLeft.__qualname__}"})


@dataclass(frozen=True, kw_only=True)
class RunningTask:
    """The `TaskRun` of a node."""

    task: Task
    info: RunInfo
    values: Mapping[str, object]
    #: Makes a node of an artifact.
    keep_artifact: Callable[[Artifact], object]
    #: Numbers the commands: each is a job of its own.
    _numbers: count[int] = field(default_factory=lambda: count(1), compare=False)

    @property
    def run_id(self) -> str:
        """Return the id of the run, which is that of the instance."""
        return str(context().instance_id)

    @property
    def key(self) -> str:
        """Return a key that all attempts of the task in this run share, and no other task."""
        return context().idempotency_key

    @property
    def attempt(self) -> int:
        """Return which attempt this is, from 1."""
        return context().attempt

    def keep(self, artifact: Artifact) -> None:
        """Save a file of the run, if the task succeeds."""
        self.keep_artifact(artifact)

    def execute(self, command: Command) -> None:
        """Run a command by the task's executor until it has ended, with its output in the node's log.

        Commands of a task are told apart by their order, so each attempt has to run them in the same.
        """
        node = context()
        executor = executor_named(self.task.executor, self.task.id)
        job = Job(
            key=f"{self.key}-{next(self._numbers)}",
            workflow=self.info.name,
            task_id=self.task.id,
            run_id=self.run_id,
            command=replace(command, directory=_joined(self.info.directory, command.directory)),
            env={**dict(self.task.env), **dict(command.env)},
            timeout_s=self.task.timeout_s,
            begins_in=self.info.directory,
            title=self.task.shown,
            tier=self.task.tier,
            attempts_ended=lambda: _attempts_ended(node),
            goes_on=lambda: _goes_on(node),
        )
        status = follow(executor, job, should_stop=lambda: node.cancelled, tell=_told, warn=self._warn)
        if status.state is JobState.CANCELLED:
            node.raise_if_cancelled()
        if status.state is JobState.OVERRAN:
            waited = f"; it {status.waiting}" if status.waiting else ""
            raise TimeoutError(f"{self.task.id!r} took longer than its timeout of {self.task.timeout_s:g} s{waited}")
        if status.state is not JobState.SUCCEEDED:
            raise TaskFailed(task_id=self.task.id, problem=status.problem)

    def _warn(self, message: str) -> None:
        get_logger().warning("task %r: %s", self.task.id, message)


def _told(stream: int, text: str) -> None:
    """Print a piece of output, which the worker takes into the node's log."""
    to = sys.stdout if stream == 1 else sys.stderr
    to.write(text)
    to.flush()


def _joined(begins_in: str, directory: str) -> str:
    """Return the folder of a command; `os.path.join` would add a slash to the one that it begins in."""
    return os.path.join(begins_in, directory) if directory else begins_in


def _asked(node: NodeContext) -> Node:
    """Ask the broker how a running node stands."""
    return attach(node.instance_id).node(node.node_id)


def _attempts_ended(node: NodeContext) -> int:
    """Return how many attempts of a node have ended with their jobs."""
    if should_run_inline():
        return 0
    status = _asked(node).status
    return len(status.undone) + sum(failure.type not in _LOST for failure in status.failures)


def _goes_on(node: NodeContext) -> bool:
    """Return whether a node whose attempt here is to stop has not ended: another attempt of it is there, or to come."""
    if should_run_inline():
        return False
    try:
        return _asked(node).state not in ENDED
    except UnknownId:  # its instance was removed, or its broker knows nothing any more
        return False
