"""A command as a run of Domino has it: its title, by which it is found again, and its words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePath

from dagorama.workflows.executors.port import Job, facts_of
from dagorama.workflows.problems import TaskFailed

#: A title has so much of the task's.
_TITLE_CHARS_MAX = 100
_NUMBER = re.compile(r"(\d+)\]")
#: The program for a script, by its suffix in small letters, where a shell is to start it.
_INTERPRETERS = {".py": "python", ".sh": "bash", ".r": "Rscript"}


def mark_of(job: Job) -> str:
    """Return the part of a title that all runs of a key have, and no others."""
    return f"[dagorama {sha256(job.key.encode()).hexdigest()[:16]}."


def title_of(job: Job, attempts_ended: int) -> str:
    """Return the title of a run: the task's, the mark of its key, and how many attempts had ended before."""
    title = " ".join((job.title or job.task_id).split())
    return f"{title[:_TITLE_CHARS_MAX]} {mark_of(job)}{attempts_ended}]"


def attempts_before(title: str, job: Job) -> int | None:
    """Return how many attempts had ended before the run of a title; None for one that is no run of the job."""
    _, mark, rest = title.rpartition(mark_of(job))
    found = _NUMBER.fullmatch(rest) if mark else None
    return int(found[1]) if found else None


def command_of(job: Job) -> tuple[list[str], bool]:
    """Return a command for the API of runs, and whether it is a text for a shell.

    Words stay words, so that Domino finds the program for a file by its type. A run has no variables of its own, so
    they are set in the text, and words that need some become one. Raises `TaskFailed` for a command that Domino cannot
    run.
    """
    _check(job)
    argv = job.command.argv
    if not isinstance(argv, str) and not job.env:
        return list(argv), False
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**facts_of(job), **job.env}.items())
    return [f"export {variables}; {argv if isinstance(argv, str) else shlex.join(_words_of(argv))}"], True


def _words_of(argv: Sequence[str]) -> list[str]:
    interpreter = _INTERPRETERS.get(PurePath(argv[0]).suffix.lower())
    return [interpreter, *argv] if interpreter else list(argv)


def _check(job: Job) -> None:
    command = job.command
    problem = ""
    if command.image:
        problem = f"names the image {command.image!r}, and runs of Domino are in environments of Domino's"
    elif command.mounts or command.directory not in ("", job.begins_in):
        problem = "works with files of its run here, which Domino does not see: its commands begin in their project"
    elif command.resource_limits or command.resources:
        problem = "limits its resources, which at Domino its tier does: name one that fits"
    elif not command.argv:
        problem = "has no command"
    else:
        wrong = [name for name in job.env if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
        problem = f"has the variable {wrong[0]!r}, which no shell can set" if wrong else ""
    if problem:
        raise TaskFailed(task_id=job.task_id, problem=f"cannot run at Domino: it {problem}")
