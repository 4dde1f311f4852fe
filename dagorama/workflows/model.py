"""The model that all front ends share: a workflow, its tasks, and the work of a task.

All of it is frozen and says nothing of any format. Fields that do not compare, such as places in files, are no part of
the definition: two files that differ in them alone are one version of a workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dagorama.limits import Limit
from dagorama.options import Keep
from dagorama.workflows.problems import Place, Problem
from dagorama.workflows.versions import version_of

if TYPE_CHECKING:
    from dagorama.definition import DAGInstance
    from dagorama.workflows.artifacts import Artifact


@runtime_checkable
class Work(Protocol):
    """The work of a task. Each kind is a frozen dataclass of plain data, which travels to the worker that runs it."""

    #: The name of the kind, such as "command".
    kind: ClassVar[str]
    #: Whether `run` itself ends what takes longer than the task's timeout; else the worker does, which ends itself.
    keeps_timeout: ClassVar[bool]

    def run(self, here: TaskRun) -> object:
        """Do it in a running node, and return its value; an exception fails the attempt."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part of a workflow, which becomes one node."""

    #: Unique in its workflow; the label of its node.
    id: str
    work: Work
    #: For people; empty: the id.
    title: str = ""
    #: The ids of the tasks that must have succeeded before it starts.
    depends: tuple[str, ...] = ()
    #: Where its commands run: the name of an executor.
    executor: str = "process"
    #: Attempts after the first.
    retries: int = 0
    #: The wait before each of them.
    retry_interval_s: float = 0.0
    #: How long an attempt may take; 0 for any time.
    timeout_s: float = 0.0
    #: The name of its resource class; queue, taint and limits come of it. Empty for none.
    tier: str = ""
    #: Empty for one that all workers take from.
    queue: str = ""
    #: Empty for none.
    taint: str = ""
    limits: tuple[Limit, ...] = ()
    #: The variables of its environment, beside those of the worker's.
    env: tuple[tuple[str, str], ...] = ()
    #: Where it stands.
    place: Place = field(default=Place(), compare=False)
    #: Where it says what it depends on; None where that is no other place.
    depends_place: Place | None = field(default=None, compare=False)

    @property
    def shown(self) -> str:
        """Return its name for people."""
        return self.title or self.id


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A DAG, as a file has it. `check_workflow` says whether it could run."""

    name: str
    description: str = ""
    tasks: tuple[Task, ...]
    #: At most so many of its tasks run at once; 0 for any number.
    parallelism: int = 0
    #: Whether independent branches go on after a failure; else no further task starts.
    allow_partial_failure: bool = True
    #: For how long its runs are kept after their end; None: as the broker is set.
    keep: Keep | None = None
    #: The file that it was read from; empty for none.
    source: str = field(default="", compare=False)

    @cached_property
    def version(self) -> str:
        """Return the SHA-256 of what it says, in hexadecimal digits: the same text twice is one version."""
        return version_of(self)

    @property
    def _dagorama_compared(self) -> str:
        """Return what is compared of it where it was started under a key before: not places, nor bytes of packing."""
        return self.version

    def task(self, task_id: str) -> Task:
        """Return the task of this id; `KeyError` for none."""
        return self._by_id[task_id]

    @cached_property
    def _by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self.tasks}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A workflow that was read, and what its author ought to know."""

    workflow: Workflow
    #: Slips and doubts, which a strict reader takes for errors.
    warnings: tuple[Problem, ...] = ()
    #: Things to know that are nobody's fault: no reader takes them for errors.
    notices: tuple[Problem, ...] = ()
    #: Starts a run, given tags for it and its key, if any; None where there is no more to it than the workflow.
    start: Callable[[Mapping[str, str], str | None], DAGInstance[dict[str, object]]] | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The facts of a workflow that its running tasks are told."""

    name: str
    version: str
    allow_partial_failure: bool = True
    #: The folder that commands begin in; empty for that of their worker.
    directory: str = ""
    #: What this run was started with, beside the workflow: a front end's own frozen dataclass; None for nothing.
    parameters: object = None


@runtime_checkable
class Parting(Protocol):
    """Work that needs a part of a run's parameters alone: with all of them in all tasks a run is its square in size."""

    def part_of(self, parameters: object) -> object:
        """Return its part of the parameters of a run."""
        ...


class TaskRun(Protocol):
    """A task that runs, as its work sees it."""

    @property
    def task(self) -> Task:
        """Return the task."""
        ...

    @property
    def info(self) -> RunInfo:
        """Return the facts of the workflow and of this run."""
        ...

    @property
    def run_id(self) -> str:
        """Return the id of the run, which is that of the instance."""
        ...

    @property
    def key(self) -> str:
        """Return a key that all attempts of the task in this run share, and no other task."""
        ...

    @property
    def attempt(self) -> int:
        """Return which attempt this is, from 1."""
        ...

    @property
    def values(self) -> Mapping[str, object]:
        """Return the values of the tasks that it depends on, by id."""
        ...

    def keep(self, artifact: Artifact) -> None:
        """Save a file of the run, if the task succeeds."""
        ...

    def execute(self, command: Command) -> None:
        """Run a command by the task's executor until it has ended, with its output in the node's log.

        `TaskFailed` where it ends with another status than 0, `TimeoutError` where it takes longer than the task's
        timeout, and `NodeStopped` where the task is to stop; then nothing of it is left.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder of the machine that a container has."""

    source: str
    #: Where the container has it.
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program to run; the work of most tasks."""

    kind: ClassVar[str] = "command"
    keeps_timeout: ClassVar[bool] = True

    #: The program and its arguments, or one text for a shell; nothing for what the image runs by itself.
    argv: tuple[str, ...] | str
    #: For executors that run images, as all up to `resources` is.
    image: str = ""
    #: When the image is fetched: "Always", "IfNotPresent", "Never"; empty for what the executor does by itself.
    pull_policy: str = ""
    mounts: tuple[Mount, ...] = ()
    #: What it takes of a machine, as clusters name it: ("limits.memory", "1Gi").
    resources: tuple[tuple[str, str], ...] = ()
    #: Absolute, or below the folder that the executor begins in; empty for that itself. A container has it under the
    #: same path, and begins where its image says if it is empty.
    directory: str = ""
    #: Variables beside those of the task, which they take the place of.
    env: tuple[tuple[str, str], ...] = ()
    #: At most so much of each: the names are those of `resource.RLIMIT_*` in small letters without the prefix.
    resource_limits: tuple[tuple[str, int], ...] = ()

    def run(self, here: TaskRun) -> None:
        """Run it as a task."""
        here.execute(self)

    def words(self) -> Iterator[str]:
        """Yield all that a person would look for in it."""
        yield from [self.argv] if isinstance(self.argv, str) else self.argv
