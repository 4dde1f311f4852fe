"""`dagorama check`: whether the connected workers would run the functions of a module."""

from __future__ import annotations

import sys

import click

from dagorama.cli.asking import asks_broker, print_json
from dagorama.cli.target import import_target
from dagorama.client import queries
from dagorama.listing import functions_of


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("module")
@asks_broker
def check(module: str, as_json: bool) -> None:
    """List the functions of a module that no connected worker would run, and why. Nothing is submitted.

    MODULE is the name of a module or path.py; modules inside it count, as far as it imports them. Exit status: 0 all
    functions of its definitions would be run, 1 some would not, 2 it cannot be imported or has no definition.
    """
    name = import_target(module)[0].__name__
    functions = functions_of([name])
    if not functions:
        raise click.UsageError(f"{module} has no definition that could be started: no DAGDefinition with an entrypoint")
    unable = [checked for checked in queries.check_functions([one.spec for one in functions]) if checked.reasons]
    if as_json:
        print_json(unable)
    elif unable:
        click.echo("\n".join(map(str, unable)))
    else:
        click.echo(f"workers would run all functions of {module} ({len(functions)})")
    sys.exit(1 if unable else 0)
