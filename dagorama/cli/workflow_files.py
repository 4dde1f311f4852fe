"""`dagorama apply` and `export`: workflow files for a broker that runs, and in other formats."""

from __future__ import annotations

from pathlib import Path

import click

from dagorama.cli.asking import asks
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.cli.workflows import begin, loaded, prepared, workflow_alone, workflow_options
from dagorama.logging import printable
from dagorama.workflows.formats import FORMATS, write_workflow
from dagorama.workflows.problems import WorkflowError


@click.command(context_settings=HELP)
@click.argument("file", type=click.Path(dir_okay=False))
@workflow_options
@asks
def apply(file: str, strict: bool, uploads: tuple[tuple[str, Path], ...], commands: Path | None) -> None:
    """Start a run of the workflow in FILE at the broker, and print the instance's id. FILE may be path.py, which has a
    DAG of operators, with :name after it for one of several.

    Its workers run the tasks, in this folder if it is on their machines. `dagorama show ID` and all other commands take
    the id. Schedules in the file are checked, and not registered: there are none yet.
    """
    ready = prepared(file, strict=strict, uploads=uploads, commands=commands)
    print_text(str(begin(workflow_alone(file, ready)).instance_id))


@click.command(context_settings=HELP)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--to",
    "name",
    required=True,
    type=click.Choice(sorted(name for name, one in FORMATS.items() if one.write)),
    help="The format.",
)
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
def export(file: str, name: str, strict: bool) -> None:
    """Write the workflow in FILE in another format to standard output.

    FILE may be path.py, which has a DAG of operators, with :name after it for one of several.

    Exit status: 0 done, 2 the file is wrong, or the other format has no words for a part of it.
    """
    workflow = workflow_alone(file, loaded(file, strict=strict))
    try:
        text = write_workflow(workflow, name)
    except WorkflowError as error:
        raise click.UsageError("\n".join(map(printable, str(error).splitlines()))) from None
    click.echo(text, nl=False)
