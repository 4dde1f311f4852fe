"""The plan of an operation: its tasks in groups, and what is true of all of them, for whatever engine runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from dagorama.workflows.configuration import (
    RUN_NAME,
    RUN_VARIABLE,
    SHARED_VARIABLE,
    BadOperationConfiguration,
    ExitNotice,
    PodExecutionContext,
    SharedDirectory,
    read_directory,
)
from dagorama.workflows.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An operation, checked. The groups run one after the other, the tasks of a group at the same time."""

    #: The beginning of the names of its runs.
    name: str
    groups: tuple[tuple[Task, ...], ...]
    #: What is added to the name for that of the graph, as "-pipeline"; empty where a single task is all there is.
    suffix: str = ""
    directories: tuple[SharedDirectory, ...] = ()
    contexts: tuple[PodExecutionContext, ...] = ()
    #: How large a directory is that goes with the run, in MiB.
    volume_size_mib: int = 10
    #: Seconds by the names that manifests have for them; None keeps all.
    ttl: Mapping[str, int] | None = None
    notice: ExitNotice | None = None
    #: When pods are removed, as clusters name it; empty for never.
    pod_gc: str = ""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks of all groups."""
        return tuple(task for group in self.groups for task in group)

    @property
    def all_directories(self) -> tuple[SharedDirectory, ...]:
        """Return the directories of the operation, and those of single tasks, each path once."""
        every = [*self.directories, *(one for task in self.tasks for one in task.directories)]
        return tuple({(one.path, one.claim): one for one in reversed(every)}.values())[::-1]

    def directories_of(self, task: Task) -> tuple[SharedDirectory, ...]:
        """Return the directories of a task: its own, and those of all tasks at other paths."""
        return tuple({one.path: one for one in (*self.directories, *task.directories)}.values())

    def variables(self, task: Task) -> dict[str, str]:
        """Return the variables of a task, among them the path of its first shared directory, and the run's name.

        Scripts give the directory to their tasks, too, as they give it to the operation: "claim:/path".
        """
        first = [(SHARED_VARIABLE, one.path) for one in self.directories_of(task)[:1]]
        variables = {**dict(first), **task.env, RUN_VARIABLE: RUN_NAME}
        with suppress(KeyError, BadOperationConfiguration):
            variables[SHARED_VARIABLE] = read_directory(variables[SHARED_VARIABLE]).path
        return variables
