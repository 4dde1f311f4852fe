"""Prepares the run of a jobs file: its uploads, and the programs that its commands stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dagorama.workflows.executors.finding import PROCESS
from dagorama.workflows.formats import RunOptions
from dagorama.workflows.jobs.parameters import JobsParameters
from dagorama.workflows.jobs.work import StagedCommand
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.problems import Place, Problem, WorkflowError, named, quoted
from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.limits import staged_bytes_max
from dagorama.workflows.staging.steps import Upload

#: A payload refers to no more values.
UPLOADS_MAX = 200
#: So many jobs are named in a notice.
_NAMED_MAX = 5
#: For so many commands the programs are told that stand for them.
_COMMANDS_TOLD_MAX = 20


def prepare(workflow: Workflow, options: RunOptions) -> JobsParameters:
    """Return the parameters of a run; raise `WorkflowError` for uploads that are missing, or cannot be read."""
    jobs = [task for task in workflow.tasks if isinstance(task.work, StagedCommand)]
    problems: list[Problem] = []
    uploads = dict(_uploads(jobs, workflow, options, problems))
    if problems:
        raise WorkflowError(problems)
    here = [task for task in jobs if task.executor == PROCESS]
    folder = (options.commands or Path(workflow.source).parent).absolute()
    looked_for = dict.fromkeys(name for task in here if (name := _command(task).argv[0]).startswith("/"))
    commands = {name: str(program) for name in looked_for if (program := _program(name, folder)) is not None}
    told = list(commands.items())[:_COMMANDS_TOLD_MAX]
    notices = [f"{command} is {program} here, for the executor {PROCESS}" for command, program in told]
    if len(commands) > len(told):
        notices.append(f"and so are {len(commands) - len(told):,} more commands, all of them in {folder}")
    absent = [name for name in looked_for if name not in commands and not os.path.exists(name)]
    if absent:
        notices.append(
            f"there is no {named(absent, _NAMED_MAX)}, neither in {folder} nor on this machine: add --commands DIR"
        )
    with_image = [quoted(task.id) for task in here if _command(task).image]
    if with_image:
        notices.append(f"the executor {PROCESS} ignores the image of {named(with_image, _NAMED_MAX)}")
    return JobsParameters(uploads=tuple(uploads.items()), commands=tuple(commands.items()), notices=tuple(notices))


def _uploads(
    jobs: list[Task], workflow: Workflow, options: RunOptions, problems: list[Problem]
) -> Iterator[tuple[str, FileData]]:
    """Yield the uploads that jobs want; note the missing, and the ones that nobody wants."""
    wanted = {step.name: task for task in reversed(jobs) for step in _steps(task)}
    for name, task in sorted(wanted.items()):
        if name not in options.uploads:
            message = f"job {quoted(task.id)} needs the upload {quoted(name)}"
            problems.append(Problem(place=task.place, message=message, way_out=f"add --upload {name}=PATH"))
    file = Place(file=workflow.source)
    for name, path in options.uploads.items():
        if name not in wanted:
            has = f"it has {', '.join(map(quoted, sorted(wanted)))}" if wanted else "it has none"
            problems.append(Problem(place=file, message=f"no job has the upload {quoted(name)}", way_out=has))
            continue
        try:
            yield name, _read(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = f"the upload {quoted(name)} cannot be read: {path}: {reason}"
            problems.append(Problem(place=file, message=message, way_out=f"mend --upload {name}=PATH"))
    if len(wanted) > UPLOADS_MAX:
        message = f"it has {len(wanted)} uploads, and may have {UPLOADS_MAX}"
        problems.append(Problem(place=file, message=message, way_out="pack some of them together"))


def _steps(task: Task) -> Iterator[Upload]:
    assert isinstance(task.work, StagedCommand)
    for step in task.work.staging.inputs:
        if isinstance(step, Upload):
            yield step


def _command(task: Task) -> Command:
    assert isinstance(task.work, StagedCommand)
    return task.work.command


def _read(path: Path) -> FileData:
    if not path.is_file():
        raise ValueError("it is no file" if path.exists() else "there is no such file")
    with path.open("rb") as opened:
        data = FileData.of_file(opened)
    if len(data) > staged_bytes_max():
        raise ValueError(f"it has more than {staged_bytes_max():,} bytes")
    return data


def _program(command: str, folder: Path) -> Path | None:
    """Return the program of an absolute command in a folder: under its whole path, or else under its name, unless this
    machine has the command itself; None where it is not there.
    """
    # By `os.path`, for which a name that no file system takes is that of no file.
    whole = Path(os.path.normpath(f"{folder}/{command}"))
    if whole.is_relative_to(folder) and os.path.isfile(whole):
        return whole
    by_name = folder / Path(command).name
    return by_name if os.path.isfile(by_name) and not os.path.exists(command) else None
