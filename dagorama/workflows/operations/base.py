"""The base of operations: their options, and the questions about the run that was submitted last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, overload

from dagorama.definition import DAGInstance
from dagorama.options import KEY_LENGTH_MAX, whole_number
from dagorama.workflows.argo import manifest_of
from dagorama.workflows.callers import calling_place
from dagorama.workflows.checks import checked
from dagorama.workflows.configuration import (
    TTL_STRATEGY,
    BadOperationConfiguration,
    PodExecutionContext,
    pass_over,
    read_contexts,
    read_directories,
    read_notice,
    read_ttl,
    warn_of_overrides,
)
from dagorama.workflows.model import Loaded, Workflow
from dagorama.workflows.operations.compiling import workflow_of
from dagorama.workflows.operations.execution import Execution
from dagorama.workflows.operations.starting import END_LENGTH, run_name, start, start_run
from dagorama.workflows.plan import Plan
from dagorama.workflows.problems import Problem, WorkflowError
from dagorama.workflows.tasks import Task, checked_name

#: When a cluster removes the pods of a run.
POD_GC = ("OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
#: The longest name of an operation: with the end that each run has of its own it is a key.
NAME_LENGTH_MAX = KEY_LENGTH_MAX - END_LENGTH
#: The options that all operations have.
_OPTIONS = ("pod_context", "shared_directory", "ttl_strategy", "on_exit_notify", "shared_volume_size", "pod_gc")


class ManagedOperation:
    """An operation, by its name, which is written in small letters and with "-" for blanks."""

    def __init__(self, name: str) -> None:
        """Take the name, with which the names of runs begin."""
        self.name = checked_name("an operation", name, NAME_LENGTH_MAX)

    def __repr__(self) -> str:
        """Show its kind and name."""
        return f"<{type(self).__name__} {self.name}>"


class SyncOperation(ManagedOperation):
    """An operation whose `execute` returns when it has ended."""


class ContainerizedOperation(ManagedOperation):
    """An operation that workers run, task by task.

    `shared_directory` is "[CLAIM:]PATH[:MODE]", several of these, or True for `/mnt/shared`. One with a claim is kept,
    for all operations that name the claim; another goes with the run. The mode is `ro`, `rw` or `rwx`. Tasks find the
    first in their variable `shared_directory`. `pod_context` is one `PodExecutionContext` or several. A run is
    kept for as long as `ttl_strategy` says, in seconds by outcome; None keeps it. `on_exit_notify` has `queue`, `url`,
    or both, and `payload`: each end is told of once. `shared_volume_size` (MiB) and `pod_gc` are for clusters.
    Keywords that mean nothing are passed over with a warning. Raises `BadOperationConfiguration`.
    """

    #: What is added to the name for that of the graph.
    suffix = ""

    def __init_subclass__(cls) -> None:
        """Warn of a subclass that is written for the other system."""
        super().__init_subclass__()
        warn_of_overrides(cls, ("spec", "steps_spec", "templates", "modify_template", "entrypoint"))

    def __init__(
        self,
        basename: str,
        pod_context: PodExecutionContext | Iterable[PodExecutionContext] | None = None,
        shared_directory: str | Iterable[str] | bool | None = None,
        *,
        ttl_strategy: Mapping[str, int] | None = TTL_STRATEGY,
        on_exit_notify: Mapping[str, str] | None = None,
        shared_volume_size: int = 10,
        pod_gc: str | Mapping[str, str] | None = None,
        **others: object,
    ) -> None:
        """Take what is common to all operations; a subclass has set what `groups` needs."""
        super().__init__(basename)
        pass_over(f"operation {self.name!r}", others, _OPTIONS)
        self.pod_context = read_contexts(pod_context)
        self.directories = read_directories(shared_directory)
        self.ttl_strategy = read_ttl(ttl_strategy)
        self.on_exit_notify = read_notice(on_exit_notify)
        self.shared_volume_size = _checked_size(shared_volume_size)
        self.pod_gc = _checked_gc(pod_gc)
        self.place = calling_place()
        #: The run that was submitted last.
        self.persisted: Execution | None = None
        _check_tasks(self.groups())

    def groups(self) -> tuple[tuple[Task, ...], ...]:
        """Return the tasks: groups that run one after the other, each of tasks that run at the same time."""
        raise BadOperationConfiguration(
            f"{type(self).__name__} does not say in which order its tasks run: take a PipelineOperation, a "
            "ParallelOperation, a SimpleDagOperation or a SingleTaskOperation, or write groups() in a class of your own"
        )

    def task_list(self) -> tuple[Task, ...]:
        """Return all tasks."""
        return tuple(task for group in self.groups() for task in group)

    @property
    def volumes(self) -> tuple[str, ...]:
        """Return the shared directories, as they are written; they may be set to others."""
        return tuple(map(str, self.directories))

    @volumes.setter
    def volumes(self, given: str | Iterable[str] | bool | None) -> None:
        self.directories = read_directories(given)

    def plan(self) -> Plan:
        """Return what the operation is, for whatever runs it."""
        return Plan(
            name=self.name,
            groups=self.groups(),
            suffix=self.suffix,
            directories=self.directories,
            contexts=self.pod_context,
            volume_size_mib=self.shared_volume_size,
            ttl=self.ttl_strategy,
            notice=self.on_exit_notify,
            pod_gc=self.pod_gc,
        )

    @overload
    def to_workflow(self, engine: Literal["argo"] = "argo", **options: str) -> dict[str, Any]: ...

    @overload
    def to_workflow(self, engine: Literal["dagorama"]) -> Workflow: ...

    def to_workflow(self, engine: str = "argo", **options: str) -> dict[str, Any] | Workflow:
        """Return the graph without running it: a manifest for Argo, or the workflow that runs here ("dagorama").

        Options of a manifest are `service_account` and `pull_secret`. Raises `BadOperationConfiguration` for a task
        that cannot go there.
        """
        if engine == "argo":
            return manifest_of(self.plan(), **options)
        if engine == "dagorama" and not options:
            return workflow_of(self.plan())
        if engine == "dagorama":
            raise ValueError(f"the engine 'dagorama' has no options such as {next(iter(options))!r}")
        raise ValueError(f"engine must be 'dagorama' or 'argo', not {engine!r}")

    def load(self, *, strict: bool = False) -> Loaded:
        """Return the workflow that runs here, for a command that starts it; `WorkflowError` where it cannot run."""
        plan = self.plan()
        try:
            workflow = replace(workflow_of(plan), source=self.place.file)
        except BadOperationConfiguration as error:
            raise WorkflowError([Problem(place=self.place, message=str(error))]) from None

        def begin(tags: Mapping[str, str], key: str | None) -> DAGInstance[dict[str, object]]:
            return start_run(plan, workflow, key or run_name(plan), tags)

        return replace(checked(workflow, strict=strict), start=begin)

    def submit(self) -> Execution:
        """Start a run, which is durable when this returns, and return it.

        Raises `BadOperationConfiguration` for a task that cannot run here, `BrokerRefused` and `BrokerUnavailable`.
        """
        self.persisted = start(self.plan())
        return self.persisted

    def is_running(self) -> bool:
        """Return whether the run that was submitted last has not ended; False without any."""
        return self.persisted is not None and not self.persisted.refresh().is_finished()

    def is_error(self) -> bool:
        """Return whether the run that was submitted last has ended otherwise than well; False without any."""
        return self.persisted is not None and self.persisted.refresh().is_finished() and not self.persisted.succeeded()

    def refresh(self) -> None:
        """Ask how the run that was submitted last stands."""
        self._submitted("to refresh").refresh()

    def logs(self) -> str:
        """Return what the tasks of the run that was submitted last have printed, be it that it has failed."""
        return self._submitted("to read").logs()

    def cancel(self) -> None:
        """Stop the run that was submitted last."""
        self._submitted("to cancel").cancel()

    def _submitted(self, what: str) -> Execution:
        if self.persisted is None:
            raise BadOperationConfiguration(f"{self!r} has no run {what}: submit() starts one")
        return self.persisted


def _check_tasks(groups: tuple[tuple[Task, ...], ...]) -> None:
    tasks = [task for group in groups for task in group]
    for task in tasks:
        if not isinstance(task, Task):
            raise BadOperationConfiguration(
                f"an operation has tasks, and {task!r} is none: give it a PythonTask or another"
            )
    if not tasks:
        raise BadOperationConfiguration("an operation must have a task")
    names = [task.name for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise BadOperationConfiguration(f"tasks of an operation must have different names, and two are {twice!r}")


def _checked_size(size: object) -> int:
    number = whole_number(size)
    if number is None or number < 1:
        raise BadOperationConfiguration(f"shared_volume_size must be a number of MiB from 1, not {size!r}")
    return number


def _checked_gc(given: object) -> str:
    strategy = given.get("strategy") if isinstance(given, Mapping) else given
    if strategy is not None and strategy not in POD_GC:
        raise BadOperationConfiguration(f"pod_gc must be None or one of {', '.join(POD_GC)}, not {given!r}")
    return str(strategy or "")
