"""`dagorama storage compact`: the file of a database is written anew, without what is free in it."""

from __future__ import annotations

import click

from dagorama.cli.failure import CannotStart
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama_broker.compacting import CannotCompact, compact_storage
from dagorama_broker.settings import SettingsError, from_environment


@click.command(context_settings=HELP)
@click.option("--storage", "url", metavar="URL", help="Its URL.  [DAGORAMA_STORAGE; default: as that of a broker]")
def compact(url: str | None) -> None:
    """Write the file of a storage anew, without what is free in it.

    Brokers give room back to the disk by themselves, but for files that versions before 0.3 made: such a file is as
    large as it ever was, until it is written anew once. Beside it there has to be room for a second one. Exit status: 0
    done, 2 a setting that cannot be used, 3 it cannot be opened, as where a broker runs on it, or there is no room.
    """
    try:
        done = compact_storage(from_environment(storage=url).storage)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except CannotCompact as error:
        raise (click.UsageError if error.is_misnamed else CannotStart)(str(error)) from None
    print_text(f"{done.location}: {done.before} bytes before, {done.after} now")
