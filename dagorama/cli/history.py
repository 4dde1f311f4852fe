"""`dagorama history`: the actions of people, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import click

import dagorama
from dagorama import HistoryEntry
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.options import HELP
from dagorama.cli.tables import Form, end_of, moment, print_table

#: So many entries of the whole broker are listed unless it is said otherwise.
LIMIT = 50


@click.command(context_settings=HELP)
@click.argument("instance", required=False)
@click.option("--queue", metavar="NAME", help="What was done to this queue, in place of an instance.")
@click.option("--worker", metavar="NAME", help="What was done to this worker, in place of an instance.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many.  [default: all, {LIMIT} without INSTANCE]")
@asks_broker
def history(instance: str | None, queue: str | None, worker: str | None, limit: int | None, as_json: bool) -> None:
    """List what was done to an instance and who did it, from its start to its end.

    Without INSTANCE it lists what was done to anything, newest first. INSTANCE is an id, at least four of the digits
    that it begins or ends with, a key, or a workflow file. Names of people are what the programs said that they used.
    """
    if sum(one is not None for one in (instance, queue, worker)) > 1:
        raise click.UsageError("give one of INSTANCE, --queue and --worker")
    if instance is not None:
        listed = list(find_instance(instance).history(limit=limit))
    else:
        listed = list(dagorama.history(queue=queue, worker=worker, limit=limit or LIMIT))
    if as_json:
        print_json(listed)
    else:
        print_table(*forms(listed, with_subject=instance is None), optional={"BY"})


def forms(listed: Sequence[HistoryEntry], *, with_subject: bool) -> tuple[Form, Form]:
    """Return the forms of a history for `print_table`."""
    headers = ("TIME", "ACTION", "BY", "DETAILS")
    rows = [(moment(one.at), one.action, one.by, one.told) for one in listed]
    if not with_subject:
        return Form(headers, rows), Form(headers, rows)
    headers_of_all = (*headers[:2], "OF", *headers[2:])
    whole = [(*row[:2], one.subject or str(one.instance_id), *row[2:]) for one, row in zip(listed, rows, strict=True)]
    short = [(*row[:2], one.subject or end_of(_id(one)), *row[2:]) for one, row in zip(listed, rows, strict=True)]
    return Form(headers_of_all, whole), Form(headers_of_all, short)


def _id(entry: HistoryEntry) -> UUID:
    assert entry.instance_id is not None
    return entry.instance_id
