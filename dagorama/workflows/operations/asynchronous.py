"""Operations that are started and go on by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from dagorama.workflows.configuration import BadOperationConfiguration, PodExecutionContext
from dagorama.workflows.operations.base import ContainerizedOperation
from dagorama.workflows.operations.execution import Execution
from dagorama.workflows.tasks import Task


class AsyncOperation(ContainerizedOperation):
    """An operation whose `execute` returns when it has been started."""

    def execute(self) -> Execution:
        """Start a run and return it."""
        return self.submit()

    def get_operation_update_url(self) -> str:
        """Return the address of the run that was submitted last, in the page that `dagorama ui` serves."""
        host = os.environ.get("DAGORAMA_UI_HOST") or "localhost"
        port = os.environ.get("DAGORAMA_UI_PORT") or "8080"
        return f"http://{host}:{port}/instances/{self._submitted('to tell the address of').instance_id}"


class SingleTaskOperation(AsyncOperation):
    """One task."""

    def __init__(self, name: str, task: Task, *args: Any, **kwargs: Any) -> None:
        """Take the task; the rest is that of `ContainerizedOperation`."""
        self.task = task
        super().__init__(name, *args, **kwargs)

    def groups(self) -> tuple[tuple[Task, ...], ...]:
        """Return the task."""
        return ((self.task,),)


class CompositeOperation(AsyncOperation):
    """Several tasks; the subclass says in which order."""

    def __init__(
        self,
        basename: str,
        tasks: Iterable[Task] | Iterable[Iterable[Task]],
        shared_directory: str | Iterable[str] | bool | None = None,
        shared_volume_size: int = 10,
        pod_context: PodExecutionContext | Iterable[PodExecutionContext] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the tasks; the rest is that of `ContainerizedOperation`."""
        if isinstance(tasks, Task) or not isinstance(tasks, Iterable):
            raise BadOperationConfiguration(f"tasks must be several, as a list or a tuple, not {tasks!r}")
        self.tasks: tuple[Any, ...] = tuple(tasks)
        super().__init__(basename, pod_context, shared_directory, shared_volume_size=shared_volume_size, **kwargs)


class PipelineOperation(CompositeOperation):
    """Tasks that run one after the other."""

    suffix = "-pipeline"

    def groups(self) -> tuple[tuple[Task, ...], ...]:
        """Return each task as a group."""
        return tuple((task,) for task in self.tasks)


class ParallelOperation(CompositeOperation):
    """Tasks that run at the same time."""

    suffix = "-parallel"

    def groups(self) -> tuple[tuple[Task, ...], ...]:
        """Return all tasks as one group."""
        return (self.tasks,)


class SimpleDagOperation(CompositeOperation):
    """Groups that run one after the other, each of tasks that run at the same time. A bare task is a group."""

    suffix = "-simpledag"

    def __init__(self, basename: str, *task_groups: Task | Iterable[Task], **kwargs: Any) -> None:
        """Take the groups; the rest is that of `ContainerizedOperation`."""
        groups = [tuple(each) if isinstance(each, Iterable) else (each,) for each in task_groups]
        if not all(groups):
            raise BadOperationConfiguration(f"operation {basename!r} has a group without tasks: leave it out")
        super().__init__(basename, groups, **kwargs)

    def groups(self) -> tuple[tuple[Task, ...], ...]:
        """Return the groups."""
        return self.tasks
