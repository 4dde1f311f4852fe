"""Reads jobs files: YAML, or JSON, into the model of workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dagorama.workflows.checks import check_characters, checked
from dagorama.workflows.executors.finding import CONTAINER, DOMINO, EXECUTOR_SETTING, PROCESS, chosen_executor
from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.edges import read_edges
from dagorama.workflows.jobs.fields import (
    Reader,
    a_count,
    a_duration_s,
    a_list,
    a_name,
    a_text,
    an_argument,
    arguments,
    variables,
)
from dagorama.workflows.jobs.json_reading import read_json
from dagorama.workflows.jobs.staged import Staged
from dagorama.workflows.jobs.tree import BeyondBounds, CannotRead, Entry, Fields, Tree, described
from dagorama.workflows.jobs.work import StagedCommand
from dagorama.workflows.jobs.yaml_reading import read_yaml
from dagorama.workflows.model import Command, Loaded, Task, Workflow
from dagorama.workflows.problems import WorkflowError, quoted
from dagorama.workflows.staging.places import BadPlace, place_below
from dagorama.workflows.staging.steps import Input, Output, Staging

#: More signs have no file of 100,000 jobs.
TEXT_CHARS_MAX = 64 * 2**20

KEYS = ("name", "description", "root", "parallelism", "jobs", "neighbors")
JOB_KEYS = ("name", "cmd", "args", "image", "timeout", "workdir_prefix", "env", "inputs", "outputs")

_WAY_OUT = "write jobs: with a list of jobs, each with name and cmd"


def read(text: str, source: str, *, strict: bool = False) -> Loaded:
    """Return the workflow that a text holds; `source` is the file that it is from.

    JSON is tried before YAML. Raises `WorkflowError` with all that is wrong with it, and `NoYaml` for a text that is no
    JSON where PyYAML is not installed.
    """
    problems = Problems(source)
    _check_characters(text, problems)
    try:
        tree = None if problems.found else _tree(text, problems)
    except CannotRead as error:
        problems.add(error.line, error.text, error.way_out)
        tree = None
    if problems.found and tree is None:
        raise WorkflowError(problems.found)
    workflow = _workflow(tree, problems)
    if problems.found:
        raise WorkflowError(problems.found)
    return checked(workflow, notices=problems.notices, strict=strict)


def _check_characters(text: str, problems: Problems) -> None:
    if len(text) > TEXT_CHARS_MAX:
        problems.add(0, f"it has more than {TEXT_CHARS_MAX:,} characters", "make several workflows of it")
        return
    problems.found += check_characters(text, problems.file)


def _tree(text: str, problems: Problems) -> Tree | None:
    """Return the tree of a text: JSON, or else YAML."""
    if not text.strip():
        return None
    as_json = Problems(problems.file)
    try:
        tree = read_json(text, as_json)
    except BeyondBounds:
        raise
    except CannotRead as not_json:
        try:
            return read_yaml(text, problems)
        except BeyondBounds:
            raise
        except CannotRead:
            # What begins as JSON does, or with a comment of other languages, was probably meant to be that.
            if text.lstrip().startswith(("{", "[", "//", "/*")):
                raise not_json from None
            raise
    problems.found += as_json.found
    return tree


def _workflow(tree: Tree | None, problems: Problems) -> Workflow:
    """Return the workflow of a tree, as far as it is right."""
    if not isinstance(tree, Fields):
        message = "it is empty" if tree is None else f"it must be an object, and is {described(tree)}"
        problems.add(1 if tree is None else tree.line, message, _WAY_OUT)
        raise WorkflowError(problems.found)
    # As compose files have it: keys of the author's own, for what several jobs have in common.
    own = [key for key in tree.entries if key.startswith("x-")]
    reader = Reader("the file", tree, [*KEYS, *own], problems)
    if reader.has("root"):
        problems.notice(reader.line("root"), "root is ignored: roots follow from the neighbors")
    try:
        if chosen_executor() == DOMINO:
            message = f"jobs work in the directory of their run, which the executor {DOMINO!r} does not see"
            problems.add(0, message, "take another executor, or write a control file")
    except ValueError as error:
        problems.add(0, str(error), "set it to one of them")
    tasks = _tasks(reader.require("jobs", a_list, _WAY_OUT), reader)
    if "neighbors" in tree.entries:
        tasks = _linked(tasks, tree.entries["neighbors"], problems)
    return Workflow(
        name=reader.get("name", a_name, Path(problems.file).stem[:100] or "jobs"),
        description=reader.get("description", a_text, ""),
        parallelism=reader.get("parallelism", a_count, 0),
        tasks=tuple(tasks),
        source=problems.file,
    )


def _tasks(trees: list[Tree] | None, reader: Reader) -> list[Task]:
    if trees is not None and not trees:
        reader.problem("jobs", reader.fields.entries["jobs"].value, "has no job", "write one, with name and cmd")
    tasks: dict[str, Task] = {}
    for number, tree in enumerate(trees or (), start=1):
        task = _task(tree, number, reader.problems)
        if task is None:
            continue
        before = tasks.setdefault(task.id, task)
        if before is not task:
            message = f"the job {quoted(task.id)} stands in line {before.place.line} already"
            reader.problems.add(task.place.line, message, "give each job a name of its own")
    return list(tasks.values())


def _task(tree: Tree, number: int, problems: Problems) -> Task | None:
    """Return a job whose name can be read, with defaults for all that cannot."""
    if not isinstance(tree, Fields):
        message = f"job {number} must be an object, and is {described(tree)}"
        problems.add(tree.line, message, "write {name: ..., cmd: ...}")
        return None
    reader = Reader(_what(tree, number), tree, JOB_KEYS, problems)
    name = reader.require("name", a_name, "give each job a name of its own")
    env: Mapping[str, str] = reader.get("env", variables, {})
    timeout_s = reader.get("timeout", a_duration_s, 0.0)
    work = _work(reader)
    executor = _executor(reader, work)
    if not name:
        return None
    return Task(
        id=name,
        work=work,
        executor=executor,
        timeout_s=timeout_s,
        env=tuple(env.items()),
        place=problems.place(tree.line),
    )


def _work(reader: Reader) -> StagedCommand:
    command = reader.require("cmd", _a_command, "write the program that it runs") or ""
    no_args: tuple[str, ...] = ()
    no_inputs: tuple[Input, ...] = ()
    no_outputs: tuple[Output, ...] = ()
    folder = reader.get("workdir_prefix", _a_folder, ".")
    staged = Staged(reader, folder)
    argv = (command, *reader.get("args", arguments, no_args))
    return StagedCommand(
        command=Command(argv=argv, image=reader.get("image", a_name, "")),
        staging=Staging(
            folder=folder,
            inputs=reader.get("inputs", lambda _reader, _key, tree: staged.inputs(tree), no_inputs),
            outputs=reader.get("outputs", lambda _reader, _key, tree: staged.outputs(tree), no_outputs),
        ),
    )


def _executor(reader: Reader, work: StagedCommand) -> str:
    """Return the executor of a job, which the setting names."""
    try:
        executor = chosen_executor()
    except ValueError:
        return PROCESS  # told of once, for the file
    if executor == CONTAINER and not work.command.image:
        text = f"{reader.what} has no image, which the executor {quoted(executor)} needs"
        reader.problems.add(reader.fields.line, text, f"write image:, or run it without {EXECUTOR_SETTING}")
    return executor


def _what(tree: Fields, number: int) -> str:
    """Name a job in messages: by its name where it has one."""
    entry = tree.entries.get("name")
    text = getattr(entry.value, "text", "") if entry is not None else ""
    return f"job {quoted(text)}" if text else f"job {number}"


def _a_command(reader: Reader, key: str, tree: Tree) -> str | None:
    text = an_argument(reader, key, tree)
    if text is not None and not text.strip():
        reader.problem(key, tree, "is empty", "write the program that it runs")
        return None
    return text


def _a_folder(reader: Reader, key: str, tree: Tree) -> str | None:
    text = a_text(reader, key, tree)
    if text is None:
        return None
    try:
        return place_below(".", text or ".")
    except BadPlace as error:
        reader.problem(key, tree, f"cannot be {quoted(text)}: {error.problem}", error.way_out)
        return None


def _linked(tasks: list[Task], neighbors: Entry, problems: Problems) -> list[Task]:
    """Return tasks that depend on their parents."""
    parents = read_edges(neighbors.value, [task.id for task in tasks], problems)
    return [replace(task, depends=tuple(parents[task.id])) if task.id in parents else task for task in tasks]
