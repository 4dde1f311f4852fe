"""The tool that has the containers, podman or docker, and the settings that say how it is called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

from dagorama.workflows.problems import TaskFailed

#: The tool to take, a name or a path; without it the first of `TOOLS` that is there.
TOOL_SETTING = "DAGORAMA_CONTAINER_TOOL"
#: More options for the creation of each container, as a shell splits them.
OPTIONS_SETTING = "DAGORAMA_CONTAINER_OPTIONS"
TOOLS = ("podman", "docker")


def find_tool(task_id: str) -> str:
    """Return the path of the tool; `TaskFailed` where it is not there."""
    setting = os.environ.get(TOOL_SETTING)
    for name in [setting] if setting else TOOLS:
        path = shutil.which(name)
        if path is not None:
            return os.path.abspath(path)
    missing = f"{setting!r}, which {TOOL_SETTING} names, is not" if setting else f"neither {' nor '.join(TOOLS)} is"
    problem = f"cannot run in a container: {missing} here; install one, or name it by {TOOL_SETTING}"
    raise TaskFailed(task_id=task_id, problem=problem)


def more_options(task_id: str) -> list[str]:
    """Return the options that the setting adds; `TaskFailed` where it cannot be split."""
    try:
        return shlex.split(os.environ.get(OPTIONS_SETTING, ""))
    except ValueError as error:
        problem = f"cannot run in a container: {OPTIONS_SETTING} cannot be read: {str(error).lower()}"
        raise TaskFailed(task_id=task_id, problem=problem) from None


def user_options(tool: str) -> Sequence[str]:
    """Return the options by which what a container writes belongs to the worker's user.

    A worker of root has each image run as its own user. The root of podman's containers is the user that runs podman.
    """
    if os.getuid() == 0 or _is_podman(tool):
        return ()
    return ("--user", f"{os.getuid()}:{os.getgid()}")


@cache
def _is_podman(tool: str) -> bool:
    """Return whether a tool is podman, also where it goes by the name of docker."""
    try:
        told = subprocess.run(
            [tool, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return os.path.basename(tool).startswith("podman")
    return b"podman" in told.stdout.lower()
