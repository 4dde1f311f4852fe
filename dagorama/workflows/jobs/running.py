"""Runs a job in its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from time import monotonic, sleep

from dagorama import broker_settings
from dagorama.errors import NodeStopped
from dagorama.node_context import context
from dagorama.settings import should_run_inline
from dagorama.workflows.artifacts import Artifact, media_type_of
from dagorama.workflows.jobs.parameters import JobsParameters
from dagorama.workflows.model import Command, Mount, Task, TaskRun
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.staging.bringing import bring
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.leaving import check_outputs, saved
from dagorama.workflows.staging.progress import Progress
from dagorama.workflows.staging.runs import make_run_directory
from dagorama.workflows.staging.steps import Output, Staging
from dagorama.workflows.staging.sweeping import sweep_sometimes


def run_job(command: Command, staging: Staging, here: TaskRun) -> tuple[str, ...]:
    """Bring the inputs of a job, run its command, and look after its outputs; return the names of its artifacts.

    An attempt that takes the job over, as from a worker that has died, goes on: it brings no input again, as the
    command may be at work with it.
    """
    directory = make_run_directory(here.run_id)
    sweep_sometimes(here.run_id)
    parameters = here.info.parameters if isinstance(here.info.parameters, JobsParameters) else JobsParameters()
    check = _in_time(here.task, "bring its inputs")
    with directory.folder(staging.folder, make=True):
        pass  # it is there, and no link
    progress = Progress(directory, here.key)
    for number, step in enumerate(staging.inputs, start=1):
        if number > progress.done:
            if not progress.has_moved(number, step):
                bring(
                    [step],
                    directory,
                    uploads=dict(parameters.uploads),
                    listens_at=_listens_at,
                    pause=sleep,
                    check=check,
                )
            progress.note(number)
    try:
        here.execute(_placed(command, staging, here, directory, parameters))
    except (TaskFailed, TimeoutError, NodeStopped):
        progress.forget()
        raise
    progress.forget()
    return _keep(staging.outputs, here, directory, _in_time(here.task, "keep its outputs"))


def _in_time(task: Task, what: str) -> Callable[[], None]:
    """Return what raises as soon as the node is to stop, or the job takes longer than its timeout from now on."""
    node = context()
    give_up_at = monotonic() + (task.timeout_s or inf)

    def check() -> None:
        node.raise_if_cancelled()
        if monotonic() >= give_up_at:
            raise TimeoutError(f"{task.id!r} took longer than its timeout of {task.timeout_s:g} s to {what}")

    return check


def _listens_at() -> str:
    """Return the address that the broker listens at; empty for one that listens at none, or where there is none."""
    if should_run_inline():
        return ""
    return next((each.value for each in broker_settings() if each.name == "DAGORAMA_HOST"), "")


def _placed(
    command: Command, staging: Staging, here: TaskRun, directory: Directory, parameters: JobsParameters
) -> Command:
    """Return a command with the program that stands for it here, in the folder where it works."""
    argv = command.argv
    if here.task.executor == "process" and isinstance(argv, tuple):
        argv = (dict(parameters.commands).get(argv[0], argv[0]), *argv[1:])
    run = str(directory.path)
    return replace(
        command,
        argv=argv,
        directory=str(directory.path / staging.folder),
        mounts=(Mount(source=run, target=run),),
    )


def _keep(outputs: Sequence[Output], here: TaskRun, directory: Directory, check: Callable[[], None]) -> tuple[str, ...]:
    names = []
    for file in saved(check_outputs(outputs, directory), directory, check):
        media_type = media_type_of(file.name)
        here.keep(Artifact(task_id=here.task.id, name=file.name, media_type=media_type, data=file.data))
        names.append(file.name)
    return tuple(names)
