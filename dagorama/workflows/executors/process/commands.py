"""Commands of jobs as the machine is to run them: interpreters, folders, environments."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from dagorama.workflows.executors.port import Job, facts_of

#: The interpreter of a script that stands alone, by its suffix in small letters.
INTERPRETERS: dict[str, tuple[str, ...]] = {
    ".py": (sys.executable,),
    ".sh": ("bash",),
    ".r": ("Rscript",),
}
#: This Python stands in for these, where the machine has none of that name.
_PYTHONS = ("python", "python3")
#: Variables of the worker's that its jobs do not get: how it is set up, which may be secret.
_OWN_PREFIX = "DAGORAMA_"
_SHELL = "/bin/sh"


def words_of(argv: Sequence[str] | str, directory: str, environment: Mapping[str, str]) -> list[str]:
    """Return the words to run for a command that begins in a folder: text goes to a shell, a script to its interpreter.

    A script with a folder in its name that can be run as it is, is. Programs are found by the environment's `PATH`.
    """
    if isinstance(argv, str):
        return [_SHELL, "-c", argv]
    program = argv[0]
    if (
        program in _PYTHONS and shutil.which(program, path=environment.get("PATH", os.defpath)) is None
    ):  # as where Python is an environment that is not active
        return [sys.executable, *argv[1:]]
    interpreter = INTERPRETERS.get(PurePath(program).suffix.lower())
    if interpreter is None or ("/" in program and _runs_by_itself(os.path.join(directory, program))):
        return list(argv)
    return [*interpreter, *argv]


def _runs_by_itself(path: str) -> bool:
    """Return whether a script may be run, and says what runs it; many file systems let all files be run."""
    try:
        with open(path, "rb") as file:
            return os.access(path, os.X_OK) and file.read(2) == b"#!"
    except OSError:
        return False


def directory_of(job: Job) -> str:
    """Return the folder that a job begins in: its own, or the worker's."""
    return os.path.join(os.getcwd(), job.command.directory)


def environment_of(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a job: the worker's but for its settings, the facts of the run, and the job's own."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_OWN_PREFIX)}
    # Python would keep what a job prints until it ends.
    return {"PYTHONUNBUFFERED": "1", **kept, **facts_of(job), **job.env}
