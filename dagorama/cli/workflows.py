"""Workflow files on the command line: read, checked, run, started and written in other formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar
from uuid import UUID

import click

from dagorama import Instance, Node, attach, broker_settings, instance_options
from dagorama.cli.choosing import UNITS_S
from dagorama.cli.failure import WrongFile
from dagorama.cli.progress import LiveProgress
from dagorama.cli.session import House, Settings, follow, house, wait_for_hooks
from dagorama.cli.target import workflow_of
from dagorama.client.status import InstanceStatus
from dagorama.definition import DAGInstance
from dagorama.errors import BrokerRefused, BrokerUnavailable, DagoramaError
from dagorama.logging import printable
from dagorama.settings import should_run_inline
from dagorama.states import NodeState
from dagorama.workflows.configuration import BadOperationConfiguration
from dagorama.workflows.endings import told_end
from dagorama.workflows.executors.finding import EXECUTOR_SETTING, OWN, PROCESS, executor_names
from dagorama.workflows.executors.process.places import jobs_of
from dagorama.workflows.formats import RunOptions, Telling, file_tag, format_of, load_workflow, prepare_run
from dagorama.workflows.model import Loaded, Workflow
from dagorama.workflows.problems import Problem, WorkflowError
from dagorama.workflows.running import FILE_TAG, start_workflow
from dagorama.workflows.services.records import services
from dagorama.workflows.staging.alone import noted_alone
from dagorama.workflows.staging.runs import has_files, run_path
from dagorama.workflows.view import TextView, others_failed, statuses_of

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

#: Seconds after which a job ends whose worker was killed: enough for another worker to be started, and no more.
ORPHAN_S = "10"
#: The settings that say for how long instances are kept, by how they ended; and one of their values.
_KEPT_AS = {
    "completed": "DAGORAMA_KEEP_COMPLETED",
    "failed": "DAGORAMA_KEEP_FAILED",
    "cancelled": "DAGORAMA_KEEP_CANCELLED",
}
_FOR_EVER = "forever"
#: Statuses are listed no more often than this many seconds, or ten times as long as listing them takes.
_LIST_S = 0.2
#: Whether jobs have ended is looked at so often, in seconds.
_LOOK_S = 0.05
_RUNNING = [NodeState.LEASED, NodeState.STARTED]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A workflow that can be started."""

    workflow: Workflow
    parameters: object
    #: Its commands begin there.
    directory: Path
    #: Starts a run, given tags for it and its key, if any.
    start: Callable[[Mapping[str, str], str | None], DAGInstance[dict[str, object]]]


class _Upload(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # only click 8.3 and later can be told of what
    """NAME=PATH."""

    name = "upload"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Split it."""
        name, equals, path = str(value).partition("=")
        if not equals or not name or not path:
            self.fail(f"{value!r} is no upload: write NAME=PATH", param, ctx)
        return name, Path(path)


def workflow_options(command: F) -> F:
    """Add the options that runs of workflows have."""
    for option in (
        click.option(
            "--executor",
            metavar="NAME",
            callback=_choose_executor,
            expose_value=False,
            help=f"Workflow: where jobs run: {', '.join(sorted(OWN))}.",
        ),
        click.option(
            "--commands",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            help="Workflow: where commands such as /timer.py are looked for.",
        ),
        click.option(
            "--upload", "uploads", type=_Upload(), multiple=True, metavar="NAME=PATH", help="Workflow: a file to send."
        ),
        click.option("--strict", is_flag=True, help="Workflow: take warnings for errors."),
    ):
        command = option(command)
    return command


def _choose_executor(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Have the workflows that this command reads run by an executor."""
    if value is None:
        return
    if value not in executor_names():
        raise click.BadParameter(f"there is no executor {value!r}; there are {', '.join(executor_names())}", ctx, param)
    os.environ[EXECUTOR_SETTING] = value
    ctx.meta[EXECUTOR_SETTING] = value


def read_target(target: str, *, strict: bool) -> Loaded | None:
    """Read the workflow of a target: a file, by its suffix, or one of a module; None where a definition is meant.

    Raises `WorkflowError` with all that is wrong with it, and `click.UsageError` for a module that is not to be had.
    """
    if format_of(Path(target)) is not None:
        return load_workflow(target, strict=strict)
    written = workflow_of(target)
    return None if written is None else written.load(strict=strict)


def prepared(
    target: str, *, strict: bool, uploads: Sequence[tuple[str, Path]] = (), commands: Path | None = None
) -> Prepared | None:
    """Read a workflow, tell its warnings, and make it ready to start; None where the target is a definition.

    Raises `WrongFile` with all that is wrong with it, and `click.UsageError`.
    """
    found = loaded(target, strict=strict)
    if found is None:
        return None
    workflow = found.workflow
    names = [name for name, _ in uploads]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise click.UsageError(f"there are several of --upload {', '.join(f'{name}=PATH' for name in twice)}")
    try:
        parameters = prepare_run(workflow, RunOptions(uploads=dict(uploads), commands=commands))
    except WorkflowError as error:
        raise WrongFile(str(error)) from None
    directory = Path(workflow.source).resolve().parent

    def start(tags: Mapping[str, str], key: str | None) -> DAGInstance[dict[str, object]]:
        with instance_options(key=key):
            return start_workflow(workflow, parameters, directory=str(directory), tags=tags)

    return Prepared(workflow=workflow, parameters=parameters, directory=directory, start=found.start or start)


def loaded(target: str, *, strict: bool) -> Loaded | None:
    """Read a workflow and tell its warnings and notices; None where the target is a definition.

    Raises `WrongFile` with all that is wrong with it.
    """
    try:
        found = read_target(target, strict=strict)
    except WorkflowError as error:
        raise WrongFile(str(error)) from None
    if found is None:
        return None
    tell([*found.warnings, *found.notices])
    return found


def workflow_alone(target: str, found: T | None) -> T:
    """Return what was read of a target, which has to be a workflow; `click.UsageError` for a definition."""
    if found is None:
        raise click.UsageError(
            f"{target} has no DAG of operators and no operation; `dagorama start` and `run` take definitions"
        )
    return found


def tell(problems: Sequence[Problem]) -> None:
    """Print problems to standard error, in the order of their places."""
    for problem in sorted(problems, key=lambda problem: problem.place):
        click.echo(str(problem), err=True)


def begin(ready: Prepared, *, key: str | None = None) -> DAGInstance[dict[str, object]]:
    """Start a run, under a key if there is one, and say to standard error what its starter ought to know.

    Raises `click.UsageError` for a run that cannot be started.
    """
    executor = os.environ.get(EXECUTOR_SETTING) or PROCESS
    if all(task.executor != executor for task in ready.workflow.tasks):
        click.echo(f"no task has an image, which the executor {executor} runs: all are processes", err=True)
    tags = {FILE_TAG: file_tag(ready.workflow.source)}
    try:
        run = ready.start(tags, key)
    except BadOperationConfiguration as error:
        raise click.UsageError(printable(str(error))) from None
    for sentence in ready.parameters.told(str(run.instance_id)) if isinstance(ready.parameters, Telling) else ():
        click.echo(printable(sentence), err=True)
    return run


def run_workflow(ready: Prepared, settings: Settings) -> int:
    """Run a workflow on a broker and workers of its own, print a line for each change, and return the exit status."""
    if should_run_inline():
        raise click.UsageError("a workflow runs on workers, and DAGORAMA_INLINE is set: unset it")
    # When this command is killed, so are the workers, and nobody follows their jobs again.
    os.environ.setdefault("DAGORAMA_ORPHAN_S", ORPHAN_S)
    view = TextView(ready.workflow)
    # As docker compose does: with one task all lines are its.
    settings = replace(settings, log_names=len(ready.workflow.tasks) > 1)
    names = [task.id for task in ready.workflow.tasks]
    # Only of a Python file do workers need what is beside it: a queue.py there would else be in the place of Python's.
    modules = None if format_of(Path(ready.workflow.source)) else ready.directory
    with house(modules, settings, LiveProgress(ready.workflow.name, names)) as running:
        try:
            run = begin(ready)
            instance = attach(UUID(str(run.instance_id)))
            with _directory_of(instance, settings):
                with _cancelled_if_stopped(run, running):
                    follow(instance, running, _printed(view, run), settings.tolerations)
                _print(view, run)
                wait_for_hooks(instance)
            view.take_others(others_failed(run))
            ended = [] if view.has_succeeded else told_end(run)
        except (BrokerUnavailable, BrokerRefused) as error:
            raise running.no_answer(error) from None
    for line in filter(None, [*ended, view.not_scheduled, view.last_line()]):
        click.echo(printable(line))
    return 0 if view.has_succeeded else 1


@contextmanager
def _directory_of(run: Instance, settings: Settings) -> Iterator[None]:
    """Say where the files of a run are, when the block is over; where its broker goes with this command, note that."""
    settings_of_broker = {one.name: one.value for one in broker_settings()}
    kept = {state: settings_of_broker[name] for state, name in _KEPT_AS.items()}
    is_alone = settings.storage.partition(":")[0] == "memory"
    note = noted_alone(run.id, _seconds(kept["failed"])) if is_alone else nullcontext(lambda _: None)
    with note as keep:
        setting = kept["failed"]
        try:
            yield
            setting = kept.get(run.refresh().state, setting)
        finally:
            keep(_seconds(setting))
            path = run_path(str(run.id))
            if has_files(path):
                click.echo(printable(f"the files of the run are in {path}, and are kept {_for(setting)}"), err=True)


def _seconds(kept: str) -> float:
    return inf if kept == _FOR_EVER else float(kept[:-1]) * UNITS_S[kept[-1]]


def _for(kept: str) -> str:
    return kept if kept == _FOR_EVER else f"for {kept}"


@contextmanager
def _cancelled_if_stopped(run: DAGInstance[dict[str, object]], started: House) -> Iterator[None]:
    """Have the jobs of a run end where the block does not come to its end, as after Ctrl-C, and wait until they have.

    They would end without that, but later, and after this command; a service that has not answered yet would not, nor
    would a run at Domino: its worker has to have it stop, and asks the broker before. Without a broker nobody knows
    which they are. Tasks that take too long are named.
    """
    try:
        yield
    except BaseException:
        if started.broker.poll() is None:
            with suppress(DagoramaError):
                running = list(run.nodes(function="run_task", state=_RUNNING, inputs=False))
                run.cancel()
                give_up_at = monotonic() + float(ORPHAN_S)
                while (running := [task for task in running if _goes_on(task)]) and monotonic() < give_up_at:
                    sleep(_LOOK_S)
                if running:
                    names = ", ".join(task.label for task in running)
                    click.echo(printable(f"not ended yet, and may go on: {names}"), err=True)
        raise


def _goes_on(task: Node) -> bool:
    """Return whether a worker is at a task, this machine has a job of it, or a service that it deploys."""
    deployed = (str(task.instance_id), task.label)
    return (
        bool(jobs_of(str(task.id)))
        or any((one.run_id, one.task_id) == deployed for one in services())
        or any(reason.kind == "running" for reason in task.why().reasons)
    )


def _printed(view: TextView, run: DAGInstance[dict[str, object]]) -> Callable[[InstanceStatus], None]:
    """Return a function that prints what has changed in a run, from time to time."""
    again_at = 0.0

    def show(_: InstanceStatus) -> None:
        nonlocal again_at
        began_at = monotonic()
        if began_at >= again_at:
            _print(view, run)
            took_s = monotonic() - began_at
            again_at = monotonic() + max(_LIST_S, 10 * took_s)

    return show


def _print(view: TextView, run: DAGInstance[dict[str, object]]) -> None:
    statuses, ready = statuses_of(run)
    if statuses:
        for line in view.lines(statuses, ready):
            click.echo(printable(line))
