"""`dagorama cron`: cron strings in words."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import click

from dagorama.cli.options import HELP
from dagorama.workflows.cron.parsing import parse_cron
from dagorama.workflows.cron.times import next_times
from dagorama.workflows.cron.words import in_words, likely_meant


@click.group(context_settings=HELP)
def cron() -> None:
    """Say what cron strings mean."""


@cron.command(context_settings=HELP)
@click.argument("words", metavar="STRING", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(0, 1000), default=5, show_default=True, help="So many times are listed.")
def explain(words: tuple[str, ...], count: int) -> None:
    """Say in words when a cron STRING comes, and list its next times by this machine's clock.

    STRING has 5 fields, as in a crontab, or 6 or 7, as those of Quartz, with seconds first; or it is a name such as
    @daily. Exit status: 0 done, 2 it is no such string.
    """
    try:
        found = parse_cron(" ".join(words))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(in_words(found))
    if meant := likely_meant(found):
        click.echo(f"{meant} was probably meant", err=True)
    times = list(islice(next_times(found, datetime.now()), count))
    for at in times:
        click.echo(at.isoformat(sep=" "))
    if count and not times:
        click.echo("it never comes again", err=True)
