"""`dagorama start` and `definitions`: starts of definitions whose code is not here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import click

import dagorama
from dagorama.cli.asking import asks_broker, print_json
from dagorama.cli.failure import Refused
from dagorama.cli.options import HELP
from dagorama.cli.tables import Form, print_table, print_text
from dagorama.logging import printable

#: "name=text" and "name:=JSON", as people type them.
_NAMED = re.compile(r"([A-Za-z_]\w*)(:?=)(.*)", re.DOTALL)


@click.command(context_settings=HELP)
@click.argument("definition")
@click.argument("arguments", nargs=-1)
@click.option("--arguments", "json_text", metavar="JSON", help="The arguments: a list, or an object with their names.")
@click.option("--key", help="Start it once under this key.")
@asks_broker
def start(definition: str, arguments: tuple[str, ...], json_text: str | None, key: str | None, as_json: bool) -> None:
    """Start an instance of a definition that a connected worker has, and print its id. Its code is not needed here.

    DEFINITION is module:Class, or the Class alone where there is one of that name; `dagorama definitions` lists them.
    ARGUMENTS are texts, of which the worker makes what the entrypoint's type hints say, such as 5, 2026-11-27 or
    path=/data/a.csv; name:=[1,2] has JSON after it. Put -- before arguments that begin with a dash. Status 4 where no
    worker has it.
    """
    given = read_arguments(arguments, json_text)
    try:
        with dagorama.instance_options(key=key):
            started = dagorama.start(definition, given)
    except LookupError as error:
        if isinstance(error, dagorama.UnknownId):
            raise
        raise Refused(str(error)) from None
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json(started.refresh().status)
    else:
        print_text(str(started.id))


def read_arguments(words: Sequence[str], json_text: str | None) -> dict[str, object] | list[object]:
    """Return the arguments of a command line, in order or by name; `click.UsageError` for what are both."""
    if json_text is not None:
        if words:
            raise click.UsageError("give the arguments one by one or with --arguments, not both")
        found = read_json("--arguments", json_text)
        if not isinstance(found, (dict, list)):
            raise click.UsageError("--arguments takes a list or an object")
        return found
    named = [match for word in words if (match := _NAMED.fullmatch(word))]
    if named and len(named) < len(words):
        raise click.UsageError("give all arguments by name, as in limit=5, or none of them")
    if not named:
        return list(words)
    return {name: read_json(name, text) if sign == ":=" else text for name, sign, text in map(re.Match.groups, named)}


def read_json(name: str, text: str) -> object:
    """Return the value that a text of JSON stands for; `click.UsageError` for one that is none."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{name}: this is no JSON: {error}") from None
    return found


@click.command(context_settings=HELP)
@asks_broker
def definitions(as_json: bool) -> None:
    """List the definitions that connected workers have, with the parameters of their entrypoints.

    A worker tells of those in the modules that it imports, or has run nodes of.
    """
    listed = dagorama.definitions()
    if as_json:
        print_json(listed)
        return
    rows = [(printable(str(one)), str(len(one.workers)), printable(one.problem or one.doc)) for one in listed]
    print_table(Form(("DEFINITION", "WORKERS", "WHAT IT SAYS"), rows), wraps="WHAT IT SAYS")
