"""`dagorama check`: whether a workflow file is right, or the connected workers would run the functions of a module."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from dagorama.cli.asking import asks_broker, print_json
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.cli.target import class_in, import_target, split_target
from dagorama.cli.workflows import read_target
from dagorama.logging import printable
from dagorama.looking.functions import check_functions
from dagorama.worker.shell.listing import functions_in, functions_of
from dagorama.workflows.problems import Problem, WorkflowError


@click.command(context_settings=HELP)
@click.argument("target")
@click.option("--strict", is_flag=True, help="Workflow: take warnings for errors.")
@asks_broker
def check(target: str, strict: bool, as_json: bool) -> None:
    """List the functions of a module that no connected worker would run, and why; or all that is wrong with a workflow.
    Nothing is submitted.

    TARGET is a module or path.py, with :Class after it for one definition of it; of a module, those inside it count as
    far as it imports them. Exit status: 0 all functions of its definitions would be run, 1 some would not, 2 it cannot
    be imported or has no definition. Workers without --import do not tell the broker the versions of their functions:
    where only such a worker would run a function, it is named, and may turn out to have another version.

    A TARGET such as nightly.cfg, or a path.py with a DAG of operators or an operation, is a workflow, for which no
    broker is asked. Exit status: 0 it is right, 1 it has problems, which are listed with file and line.
    """
    _check_workflow(target, strict=strict, as_json=as_json)
    if strict:
        raise click.UsageError("--strict is for workflows, and this is none")
    where, name = split_target(target)
    module, _ = import_target(where)
    functions = functions_in(class_in(module, name, where)) if name else functions_of([module.__name__])
    if not functions:
        raise click.UsageError(f"{target} has no definition that could be started: no DAGDefinition with an entrypoint")
    checked = check_functions([one.spec for one in functions])
    unable = [one for one in checked if one.reasons]
    if as_json:
        print_json([one for one in checked if one.reasons or one.unsure_workers])
    else:
        for one in unable:
            print_text(printable(str(one)))
        if not unable:
            print_text(f"workers would run all functions of {target} ({len(functions)})")
        for worker in dict.fromkeys(worker for one in checked for worker in one.unsure_workers):
            print_text(printable(f"version not known for worker {worker}: it has no --import"))
    sys.exit(1 if unable else 0)


def _check_workflow(target: str, *, strict: bool, as_json: bool) -> None:
    """List the problems of a workflow, and end with status 1 where it cannot run; a no-op for definitions."""
    found: Sequence[Problem]
    try:
        loaded = read_target(target, strict=strict)
        if loaded is None:
            return
        count, found = len(loaded.workflow.tasks), [*loaded.warnings, *loaded.notices]
    except WorkflowError as error:
        count, found = 0, error.problems
    if as_json:
        print_json(found)
    else:
        for problem in found:
            print_text(str(problem))
        if count:
            print_text(printable(f"{target} is right ({'one task' if count == 1 else f'{count} tasks'})"))
    sys.exit(0 if count else 1)
