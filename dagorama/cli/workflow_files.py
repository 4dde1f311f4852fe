"""`dagorama apply` and `export`: workflow files for a broker that runs, and in other formats."""

from __future__ import annotations

from pathlib import Path

import click

from dagorama import Instance, InstanceState, KeyConflict, instances
from dagorama.cli.asking import asks, latest_run
from dagorama.cli.failure import Refused, WrongFile
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.cli.target import workflow_of
from dagorama.cli.workflows import begin, loaded, prepared, workflow_alone, workflow_options
from dagorama.client.status import VERSION_CHARS
from dagorama.logging import printable
from dagorama.workflows.argo import as_text
from dagorama.workflows.configuration import BadOperationConfiguration
from dagorama.workflows.formats import FORMATS, format_of, write_workflow
from dagorama.workflows.operations.base import ContainerizedOperation
from dagorama.workflows.problems import WorkflowError


@click.command(context_settings=HELP)
@click.argument("file", type=click.Path(dir_okay=False))
@workflow_options
@click.option("--key", help="Start it once under this key.")
@asks
def apply(
    file: str, strict: bool, uploads: tuple[tuple[str, Path], ...], commands: Path | None, key: str | None
) -> None:
    """Start a run of the workflow in FILE at the broker, and print the instance's id. FILE may be path.py, which has a
    DAG of operators or an operation, with :name after it for one of several.

    Each time is a run of its own, whatever has become of those before; standard error says whether the file has changed
    since the last one. With --key a second time starts nothing, and prints the same id; status 4 where the file has
    changed. Its workers run the tasks, in this folder if it is on their machines. `dagorama show ID` and all other
    commands take the id, or FILE for its latest run. Schedules in the file are checked, and not registered: there are
    none yet.
    """
    ready = workflow_alone(file, prepared(file, strict=strict, uploads=uploads, commands=commands))
    before = latest_run(file)
    if key is None:
        run = begin(ready)
        if format_of(Path(file)) is not None:  # one of Python may have several
            click.echo(printable(f"{file}: {_told(before, ready.workflow.version)}"), err=True)
    else:
        known = {one.id for one in instances(key=key, limit=1)}
        try:
            run = begin(ready, key=key)
        except KeyConflict as error:
            raise Refused(str(error)) from None
        told = "was started under this key before: nothing was started" if run.instance_id in known else "was started"
        click.echo(printable(f"{file}: {told}"), err=True)
    print_text(str(run.instance_id))


def _told(before: Instance | None, version: str) -> str:
    """Return in words how a new run of a version is related to the latest one before it."""
    if before is None:
        return f"the first run here, of version {version[:VERSION_CHARS]}"
    last = before.status.workflow_version
    since = "unchanged" if version.startswith(last) else "changed"
    goes_on = ", and goes on as it is" if before.status.state is InstanceState.RUNNING else ""
    return f"{since} since the run before, {before.id}, which is {before.status.state}{goes_on}"


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

    FILE may be path.py, which has a DAG of operators or an operation, with :name after it for one of several.

    Exit status: 0 done, 2 the file is wrong, or the other format has no words for a part of it.
    """
    try:
        text = _manifest(file) if name == "argo" else ""
        text = text or write_workflow(workflow_alone(file, loaded(file, strict=strict)).workflow, name)
    except BadOperationConfiguration as error:
        raise click.UsageError(printable(str(error))) from None
    except WorkflowError as error:
        raise WrongFile(str(error)) from None
    click.echo(text, nl=False)


def _manifest(file: str) -> str:
    """Return the manifest of an operation, which may be one that cannot run here; nothing for other targets."""
    written = None if format_of(Path(file)) is not None else workflow_of(file)
    return as_text(written.to_workflow()) if isinstance(written, ContainerizedOperation) else ""
