"""The works that tasks of operations do: a function, or a program, in a process with the run's shared directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from dagorama.workflows import function_process
from dagorama.workflows.configuration import RUN_NAME, SharedDirectory
from dagorama.workflows.events import publish
from dagorama.workflows.function_calls import call_in_process
from dagorama.workflows.model import Command, Mount, TaskRun
from dagorama.workflows.operations.folders import TaskFolders
from dagorama.workflows.operations.machines import check_machine
from dagorama.workflows.problems import TaskFailed


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts of a run that its tasks are told."""

    #: The name of the run.
    name: str
    #: Whether its tasks have to run on one machine.
    on_one_machine: bool = False


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """A function that is called in a process of its own; its value is the task's."""

    kind: ClassVar[str] = "function"
    keeps_timeout: ClassVar[bool] = True

    #: Function and arguments, as `function_process.pack` gives them.
    packed: bytes
    directories: tuple[SharedDirectory, ...] = ()

    def run(self, here: TaskRun) -> object:
        """Call it, and return its value."""
        with _folders(here, self.directories) as folders:
            env = _variables(here, folders)
            call_in_process(here, folders.own, self.packed, directory=str(folders.work), env=env)
            folders.check_unwritten()
            return function_process.read_value(folders.own)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that runs in a process; `source` is a script that it is given as its last argument."""

    kind: ClassVar[str] = "program"
    keeps_timeout: ClassVar[bool] = True

    argv: tuple[str, ...]
    source: str | None = None
    directories: tuple[SharedDirectory, ...] = ()

    def run(self, here: TaskRun) -> None:
        """Run it."""
        with _folders(here, self.directories) as folders:
            argv = tuple(map(folders.here_in_argument, self.argv))
            if self.source is not None:
                script = folders.own / "script"
                script.write_text(folders.here_in_script(self.source), encoding="utf-8", errors="surrogateescape")
                argv = (*argv, str(script))
            env = tuple(_variables(here, folders).items())
            here.execute(Command(argv=argv, directory=str(folders.work), env=env))
            folders.check_unwritten()


@dataclass(frozen=True, kw_only=True)
class ContainerProgram:
    """A container that has the shared directories under the paths that they are written with."""

    kind: ClassVar[str] = "container"
    keeps_timeout: ClassVar[bool] = True

    command: Command
    directories: tuple[SharedDirectory, ...] = ()

    def run(self, here: TaskRun) -> None:
        """Run it."""
        _check_machine(here)
        # No copy is made of what it may only read: it cannot write there.
        kept = TaskFolders(here.run_id, here.task.id, tuple(replace(one, mode="") for one in self.directories))
        kept.make()
        mounts = tuple(
            Mount(source=str(kept.place(one)), target=one.path, read_only=given.is_read_only)
            for one, given in zip(kept.directories, self.directories, strict=True)
        )
        variables = _filled_in(here, dict(here.task.env))
        here.execute(replace(self.command, mounts=mounts, env=tuple(variables.items())))


@dataclass(frozen=True, kw_only=True)
class QueueMessage:
    """A message to a queue, of how something ended; it is there once, however often the task is tried."""

    kind: ClassVar[str] = "message"
    keeps_timeout: ClassVar[bool] = False

    queue: str
    status: str
    payload: str | None = None

    def run(self, here: TaskRun) -> None:
        """Put it into the queue."""
        message = {"status": self.status, "payload": self.payload, "workflow": _run_name(here)}
        publish(self.queue, message, key=f"message {here.key}")


@contextmanager
def _folders(here: TaskRun, directories: tuple[SharedDirectory, ...]) -> Iterator[TaskFolders]:
    """Return the folders of a task that are made for an attempt; a failed one leaves no copies that were for it."""
    _check_machine(here)
    folders = TaskFolders(here.run_id, here.task.id, directories)
    folders.make()
    try:
        yield folders
    except (TaskFailed, TimeoutError):
        folders.remove_copies()
        raise


def _variables(here: TaskRun, folders: TaskFolders) -> dict[str, str]:
    return _filled_in(here, {name: folders.here(f"{name}={value}").partition("=")[2] for name, value in here.task.env})


def _filled_in(here: TaskRun, variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the name of the run where they have the word for it."""
    return {name: value.replace(RUN_NAME, _run_name(here)) for name, value in variables.items()}


def _check_machine(here: TaskRun) -> None:
    facts = here.info.parameters
    if isinstance(facts, RunFacts) and facts.on_one_machine:
        check_machine(here)


def _run_name(here: TaskRun) -> str:
    facts = here.info.parameters
    return facts.name if isinstance(facts, RunFacts) else here.info.name
