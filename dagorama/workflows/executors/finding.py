"""Executors by their names."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, cast

from dagorama.workflows.executors.port import Executor
from dagorama.workflows.problems import TaskFailed, quoted

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: The group of entry points. Each names a function without arguments, or a class, that gives an executor.
GROUP = "dagorama.executors"
#: Those that dagorama brings. They need no metadata, which a checkout may have from an earlier version.
OWN = {
    "container": "dagorama.workflows.executors.container.executor:ContainerExecutor",
    "domino": "dagorama.workflows.executors.domino.executor:DominoExecutor",
    "kubernetes": "dagorama.workflows.executors.kubernetes.executor:KubernetesExecutor",
    "process": "dagorama.workflows.executors.process.executor:ProcessExecutor",
}
#: The executor of jobs, and of tasks that are containers; without it they run as processes.
EXECUTOR_SETTING = "DAGORAMA_EXECUTOR"
PROCESS, CONTAINER, DOMINO = "process", "container", "domino"
#: Executors of images: a task that cannot name one runs as a process where they are chosen.
OF_IMAGES = frozenset({CONTAINER, "kubernetes"})


def chosen_executor() -> str:
    """Return the name of the executor that the setting names; `ValueError` where there is none of that name."""
    name = os.environ.get(EXECUTOR_SETTING) or PROCESS
    if name not in _installed():
        raise ValueError(f"{EXECUTOR_SETTING} names {quoted(name)}, and there are {', '.join(executor_names())}")
    return name


def executor_names() -> list[str]:
    """Return the names of the installed executors."""
    return sorted(_installed())


def executor_named(name: str, task_id: str) -> Executor:
    """Return the executor of a name, for a task; each process has one. `TaskFailed` where it is not to be had."""
    if name not in _installed():
        problem = f"cannot run: there is no executor {quoted(name)} here; there are {', '.join(executor_names())}"
        raise TaskFailed(task_id=task_id, problem=problem)
    try:
        return _made(name)
    except ImportError as error:
        problem = f"cannot run: the executor {quoted(name)} needs a package that is not installed here ({error})"
        if name in OWN:
            problem += f": pip install 'dagorama[{name}]'"
        raise TaskFailed(task_id=task_id, problem=problem) from None


@cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import EntryPoint, entry_points  # a parser of mail, which only what runs jobs waits for

    own = {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
    return {**own, **{point.name: point for point in entry_points(group=GROUP)}}


@cache
def _made(name: str) -> Executor:
    return cast(Executor, _installed()[name].load()())
