"""Functions of tasks are called in processes of their own, which import what the worker can import."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dagorama.workflows import function_process
from dagorama.workflows.model import Command, TaskRun
from dagorama.workflows.problems import TaskFailed


def call_in_process(
    here: TaskRun, folder: Path, call: bytes, *, directory: str = "", env: Mapping[str, str] | None = None
) -> None:
    """Call what `function_process.pack` gives, in a process with its files in `folder`, which has the value then.

    It begins in `directory`. `TaskFailed` with the last line of the error where the function raises one.
    """
    function_process.write_call(folder, call)
    # The modules that this worker can import, the function's process can, and before them the task's own.
    own = [value for name, value in (env or dict(here.task.env)).items() if name == "PYTHONPATH" and value]
    path = os.pathsep.join([*own, *(each or os.getcwd() for each in sys.path)])
    argv = (sys.executable, "-u", "-m", function_process.__name__, str(folder))
    variables = {**(env or {}), "PYTHONPATH": path}
    try:
        here.execute(Command(argv=argv, directory=directory, env=tuple(variables.items())))
    except TaskFailed:
        error = function_process.read_error(folder)
        if not error:
            raise
        raise TaskFailed(task_id=here.task.id, problem=f"failed: {error}") from None
