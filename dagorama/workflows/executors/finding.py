"""Executors by their names."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from dagorama.workflows.executors.port import Executor
from dagorama.workflows.problems import TaskFailed, quoted

#: The group of entry points. Each names a function without arguments, or a class, that gives an executor.
GROUP = "dagorama.executors"
#: Those that dagorama brings. They need no metadata, which a checkout may have from an earlier version.
OWN = {"process": "dagorama.workflows.executors.process.executor:ProcessExecutor"}


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
        raise TaskFailed(task_id=task_id, problem=problem) from None


@cache
def _installed() -> dict[str, EntryPoint]:
    own = {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
    return {**own, **{point.name: point for point in entry_points(group=GROUP)}}


@cache
def _made(name: str) -> Executor:
    return cast(Executor, _installed()[name].load()())
