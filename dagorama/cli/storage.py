"""`dagorama storage`: a storage that no broker runs on."""

from __future__ import annotations

import sys

import click

from dagorama.cli.failure import CannotStart
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.logging import printable
from dagorama_broker.auditing import CannotAudit, audit_storage
from dagorama_broker.settings import SettingsError, from_environment


@click.group(context_settings=HELP)
def storage() -> None:
    """Look after a storage that no broker runs on."""


@storage.command(context_settings=HELP)
@click.option("--storage", "url", metavar="URL", help="Its URL.  [DAGORAMA_STORAGE; default: as that of a broker]")
@click.option("--values", metavar="DIRECTORY", help="Its large values.  [DAGORAMA_VALUES; default: beside it]")
@click.option("--quick", is_flag=True, help="Read no values: only look whether each is there, by its size.")
def check(url: str | None, values: str | None, quick: bool) -> None:
    """Check that a storage and its large values belong together, and that no value has changed.

    The uses of values that are written are counted anew from all payloads, and each value that is used is read. Nothing
    is mended. Exit status: 0 all is well, 1 something is wrong, each with a line, 2 a setting that cannot be used, 3
    the storage cannot be opened, as where a broker runs on it.
    """
    try:
        settings = from_environment(storage=url)
        place = settings.values if values is None else values
        audit = audit_storage(settings.storage, place, lambda line: print_text(printable(line)), reads=not quick)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except CannotAudit as error:
        raise (click.UsageError if error.is_misnamed else CannotStart)(str(error)) from None
    print_text(
        f"{audit.uses} uses of {audit.values} values of {audit.value_bytes} bytes; {audit.unused} unused values of "
        f"{audit.unused_bytes} bytes; {audit.problems} problems"
    )
    sys.exit(1 if audit.problems else 0)
