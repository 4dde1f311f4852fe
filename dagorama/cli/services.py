"""`dagorama services`: the models and apps that workflows have deployed on this machine."""

from __future__ import annotations

from contextlib import suppress

import click

from dagorama.cli.failure import Refused
from dagorama.cli.options import HELP
from dagorama.cli.tables import Form, print_table
from dagorama.logging import printable
from dagorama.workflows.executors.process.launching import ends_in
from dagorama.workflows.services.records import Service, deploying
from dagorama.workflows.services.records import services as deployed


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def services(ctx: click.Context) -> None:
    """List the models and apps that workflows have deployed on this machine."""
    if ctx.invoked_subcommand is None:
        rows = [(printable(one.id), one.kind, printable(one.name), one.url, _state(one)) for one in deployed()]
        print_table(Form(("ID", "KIND", "NAME", "ADDRESS", "STATE"), rows), wraps="NAME")


@services.command(context_settings=HELP)
@click.argument("service", metavar="ID")
def logs(service: str) -> None:
    """Print the last output of the service with this ID or name.

    Exit status: 0 done, 4 there is no such service, or there are several of the name.
    """
    folder = _one(service).folder
    for name, is_error in (("out", False), ("err", True)):
        with suppress(FileNotFoundError):
            text = (folder / name).read_bytes().decode(errors="backslashreplace")
            click.echo(printable(text), nl=False, err=is_error)


@services.command(context_settings=HELP)
@click.argument("service", metavar="ID")
def stop(service: str) -> None:
    """Stop the service with this ID, or the only one of this name. Exit status: 0 done, 4 there is no such service."""
    with deploying():
        _one(service).stop()


def _state(service: Service) -> str:
    """Say whether a service is kept running, and how often it has ended by itself."""
    state = "runs" if service.runs else "was killed"
    count, how = ends_in(service.folder)
    if not count:
        return state
    return f"{state}, ended {'once' if count == 1 else f'{count} times'} ({how.removeprefix('ended with ')})"


def _one(service: str) -> Service:
    """Return the service of an id, or of a name; `Refused` for none, and for several."""
    found = [one for one in deployed() if service == one.id] or [one for one in deployed() if service == one.name]
    if len(found) > 1:
        raise Refused(f"there are several services {service!r}: {', '.join(one.id for one in found)}")
    if not found:
        raise Refused(f"there is no service {service!r} on this machine")
    return found[0]
