"""Workflows are written as control files, where these have words for all that they say."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dagorama.workflows.checks import check_characters
from dagorama.workflows.ini.lines import DEFAULT
from dagorama.workflows.ini.works import Scheduled
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.problems import Place, Problem, WorkflowError, quoted
from dagorama.workflows.services.works import AppService, ModelService


def write(workflow: Workflow) -> str:
    """Return the control file of a workflow; `WorkflowError` with all parts that it has no words for."""
    problems = list(_without_words(workflow))
    sections = [f"# {' '.join(workflow.description.split())}\n"] if workflow.description else []
    if not workflow.allow_partial_failure:
        sections.append(f"[{DEFAULT}]\nallow_partial_failure = false\n")
    for task in workflow.tasks:
        lines = [f"[{task.id}]", *(f"{name} = {value}" for name, value in _options(task))]
        if any("\n" in line or "\r" in line or list(check_characters(line, "")) for line in lines):
            problems.append(_lacking(task, "line breaks and control characters"))
        sections.append("\n".join([*lines, ""]))
    if problems:
        raise WorkflowError(problems)
    return "\n".join(sections)


def _options(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the options of a task in the order of the reference, those aside that are as by default."""
    work = task.work
    if isinstance(work, (ModelService, AppService)):
        yield "type", work.kind
    if task.depends:
        yield "depends", " ".join(task.depends)
    if task.tier:
        yield "tier", task.tier
    yield from _work_options(work)
    if task.retries:
        yield "max_retries", str(task.retries)
    if task.timeout_s:
        yield "timeout", repr(task.timeout_s).removesuffix(".0")
    if task.title:
        yield "title", task.title


def _work_options(work: object) -> Iterator[tuple[str, str]]:
    if isinstance(work, Command):
        yield "command", work.argv if isinstance(work.argv, str) else shlex.join(work.argv)
        if isinstance(work.argv, str):
            yield "direct", "true"
    elif isinstance(work, Scheduled):
        yield "command", work.command
        yield "cron_string", work.cron
        yield from _flags(work, "submit_as_running_user", "deploy_by_name")
    elif isinstance(work, ModelService):
        yield "file", work.file
        yield "function", work.function
        if work.model_id:
            yield "model_id", work.model_id
        if work.environment:
            yield "environment", work.environment
        yield from _flags(work, "deploy_by_name")
    elif isinstance(work, AppService) and work.argv:
        yield "command", shlex.join(work.argv)
    if isinstance(work, (ModelService, AppService)):
        yield "name", work.name
        if work.description:
            yield "description", work.description


def _flags(work: object, *names: str) -> Iterator[tuple[str, str]]:
    for name in names:
        if getattr(work, name):
            yield name, "true"


def _without_words(workflow: Workflow) -> Iterator[Problem]:
    """Yield a problem for each part of a workflow that a control file cannot say."""
    file = Place(file=workflow.source)
    if workflow.parallelism:
        yield Problem(place=file, message="a control file has no words for parallelism")
    if workflow.keep is not None:
        yield Problem(place=file, message="a control file has no words for how long runs are kept")
    named = {one for task in workflow.tasks for one in task.depends}
    for task in workflow.tasks:
        work = task.work
        is_split = task.id in named and len(task.id.split()) > 1
        if is_split or "]" in task.id or task.id == DEFAULT or task.id != task.id.strip():
            yield _lacking(task, "a name that a section cannot have, or depends cannot say,")
        if not isinstance(work, (Command, Scheduled, ModelService, AppService)):
            yield _lacking(task, f"work of the kind {quoted(work.kind)}")
        elif isinstance(work, Command) and (work.image or work.directory):
            yield _lacking(task, "images and folders of commands")
        if task.env or (isinstance(work, Command) and work.env):
            yield _lacking(task, "variables of the environment")
        if not task.tier and (task.queue or task.taint or task.limits):
            yield _lacking(task, "queues, taints and limits that no tier has")
        if task.executor != "process" or task.retry_interval_s:
            yield _lacking(task, "executors and waits between retries")


def _lacking(task: Task, what: str) -> Problem:
    return Problem(place=task.place, message=f"a control file has no words for {what}, as {quoted(task.id)} has")
