"""Workflows are written as jobs files, where these have words for all that they say."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import PurePath

from dagorama.workflows.jobs.staged import UNPACKED
from dagorama.workflows.jobs.work import NOTHING_STAGED, StagedCommand
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.problems import Place, Problem, WorkflowError, quoted
from dagorama.workflows.staging.steps import Content, Download, Input, Move, Output, Present, Upload

#: Fields of a task that a job has words for.
_SAID = frozenset({"id", "work", "depends", "timeout_s", "env", "place", "depends_place"})
#: Texts that are the same with and without quotes, but for those that YAML takes for something else.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_TAKEN_OTHERWISE = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
#: Characters that may not stand in a file as they are, or that an editor would not show.
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
#: Suffixes of scripts that run by their interpreter where they stand alone.
_SCRIPTS = frozenset({".py", ".sh", ".r"})


def write(workflow: Workflow) -> str:
    """Return the jobs file of a workflow, in YAML; `WorkflowError` with all parts that it has no words for.

    A command of another format works in the directory of its run then, and no more in the folder of the file.
    """
    problems = list(_without_words(workflow))
    if problems:
        raise WorkflowError(problems)
    lines = [f"name: {_text(workflow.name)}"]
    if workflow.description:
        lines.append(f"description: {_text(workflow.description)}")
    if workflow.parallelism:
        lines.append(f"parallelism: {workflow.parallelism}")
    lines += ["jobs:", *(line for task in workflow.tasks for line in _job(task))]
    children: dict[str, list[str]] = {}
    for task in workflow.tasks:
        for parent in task.depends:
            children.setdefault(parent, []).append(task.id)
    if children:
        lines += ["neighbors:", *(f"  {_key(parent)}: {_list(names)}" for parent, names in children.items())]
    return "\n".join([*lines, ""])


def _without_words(workflow: Workflow) -> Iterator[Problem]:
    """Yield a problem for each part that a jobs file cannot say."""
    if not workflow.allow_partial_failure:
        place = Place(file=workflow.source)
        yield Problem(place=place, message="a jobs file has no words for allow_partial_failure = false")
    if workflow.keep is not None:
        yield Problem(place=Place(file=workflow.source), message="a jobs file has no words for how long runs are kept")
    for task in workflow.tasks:
        unsaid = [
            field.name
            for field in fields(task)
            if field.name not in _SAID and getattr(task, field.name) != field.default
        ]
        command = _command(task)
        if command is None:
            unsaid.append(f"work of the kind {getattr(task.work, 'kind', '')}")
        elif command.env or command.directory or command.resource_limits:
            unsaid.append("the variables, folder or limits of its command")
        for name in unsaid:
            message = f"a jobs file has no words for {name} of {quoted(task.id)}"
            yield Problem(place=task.place, message=message)


def _command(task: Task) -> Command | None:
    """Return the command of a task; None for other work."""
    if isinstance(task.work, StagedCommand):
        return task.work.command
    return task.work if isinstance(task.work, Command) else None


def _job(task: Task) -> Iterator[str]:
    """Yield the lines of a job."""
    command = _command(task)
    assert command is not None
    cmd, *args = ["/bin/sh", "-c", command.argv] if isinstance(command.argv, str) else command.argv
    is_bare = not isinstance(task.work, StagedCommand) and PurePath(cmd).suffix.lower() in _SCRIPTS and "/" not in cmd
    yield f"- name: {_text(task.id)}"
    yield f"  cmd: {_text(f'/{cmd}' if is_bare else cmd)}"  # which is looked for in the folder of the file
    if args:
        yield f"  args: {_list(args)}"
    if command.image:
        yield f"  image: {_text(command.image)}"
    if task.timeout_s:
        yield f"  timeout: {task.timeout_s:.15g}"
    staging = task.work.staging if isinstance(task.work, StagedCommand) else NOTHING_STAGED
    if staging.folder != ".":
        yield f"  workdir_prefix: {_text(staging.folder)}"
    if task.env:
        yield f"  env: {{{', '.join(f'{_key(name)}: {_text(value)}' for name, value in task.env)}}}"
    for key, steps in (("inputs", staging.inputs), ("outputs", staging.outputs)):
        if steps:
            yield f"  {key}:"
            yield from (f"  - {{{', '.join(_step(step, staging.folder))}}}" for step in steps)


def _step(step: Input | Output, folder: str) -> Iterator[str]:
    """Yield the fields of an input or output."""
    match step:
        case Download(origin=origin):
            yield f"origin: {_text(origin)}"
        case Upload(name=name):
            yield f"cache: {_text(name)}"
        case Content(text=text):
            yield f"content: {_text(text)}"
        case Move(origin=origin):
            yield f"move: {_text(posixpath.relpath(origin, folder))}"
        case Present() | Output():
            pass
    yield f"local: {_text(posixpath.relpath(step.local, folder))}"
    if isinstance(step, Download):
        if step.auth:
            yield f"auth: {_text(step.auth)}"
        if step.unpack:
            yield f"post: {UNPACKED}"
    if isinstance(step, Output):
        yield from (f"{flag}: true" for flag in ("save", "zip", "optional") if getattr(step, flag))


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _key(text: str) -> str:
    """Write a key; a long one needs a sign that it is one."""
    return f"? {_text(text)} " if len(text) > 100 else _text(text)


def _text(text: str) -> str:
    """Write a text: as it is where YAML takes that for the same text, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _TAKEN_OTHERWISE and len(text) <= 100:
        return text
    written = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
