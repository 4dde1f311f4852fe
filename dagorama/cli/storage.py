"""`dagorama storage`: care of what a broker keeps, while it runs or not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from dagorama.cli.asking import asks, print_json
from dagorama.cli.failure import CannotStart
from dagorama.cli.options import HELP
from dagorama.cli.tables import Form, print_table, print_text
from dagorama.client.storage_care import BrokerCopy, FileSize, StorageSize, ValuesSize, measure_storage
from dagorama.common.addresses import broker_address
from dagorama.logging import printable
from dagorama_broker.care.auditing import audit_storage
from dagorama_broker.care.backups import COPIED, Manifest
from dagorama_broker.care.compacting import compact_storage
from dagorama_broker.care.faults import CareError, Misnamed
from dagorama_broker.care.migrating import migrate_storage
from dagorama_broker.care.restoring import restore as restore_backup
from dagorama_broker.care.saving import save
from dagorama_broker.care.stopped import StoppedStorage
from dagorama_broker.settings import SettingsError, from_environment

P = ParamSpec("P")

_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings=HELP)
def storage() -> None:
    """Look after what a broker keeps: its database, large values and logs."""


def _takes_storage(function: Callable[P, None]) -> Callable[P, None]:
    """Return a command the options for a storage and its values, which `_places` takes, and exit statuses."""
    return _takes_url(
        click.option("--values", metavar="DIRECTORY", help="Its large values.  [DAGORAMA_VALUES; default: beside it]")(
            function
        )
    )


def _takes_url(function: Callable[P, None]) -> Callable[P, None]:
    @wraps(function)
    def caring(*args: P.args, **kwargs: P.kwargs) -> None:
        with _explained():
            function(*args, **kwargs)

    return click.option(
        "--storage", "url", metavar="URL", help="Its URL.  [DAGORAMA_STORAGE; default: as that of a broker]"
    )(caring)


def _takes_stopped(function: Callable[P, None]) -> Callable[P, None]:
    """Return a command the options for a storage that no broker runs on, in the place of a broker."""

    @wraps(function)
    def caring(*args: P.args, **kwargs: P.kwargs) -> None:
        with _explained():
            function(*args, **kwargs)

    for option in (
        click.option("--values", metavar="DIRECTORY", help="With --storage: its large values, if not beside it."),
        click.option("--storage", "url", metavar="URL", help="Ask no broker: a storage that none runs on."),
    ):
        caring = option(caring)
    return asks(caring)


@contextmanager
def _explained() -> Iterator[None]:
    """End the command with the exit status of an error."""
    try:
        yield
    except (SettingsError, Misnamed) as error:
        raise click.UsageError(str(error)) from None
    except CareError as error:
        raise CannotStart(str(error)) from None


def _places(url: str | None, values: str | None) -> tuple[str, str]:
    """Return the URL of a storage and the place of its values, as a broker with these settings has them."""
    settings = from_environment(storage=url)
    return settings.storage, settings.values if values is None else values


@storage.command(context_settings=HELP)
@_takes_storage
@click.option("--quick", is_flag=True, help="Read no values: only look whether each is there, by its size.")
def check(url: str | None, values: str | None, quick: bool) -> None:
    """Check that a storage and its large values belong together, and that no value has changed.

    The uses of values that are written are counted anew from all payloads, and each value that is used is read. Nothing
    is mended. Exit status: 0 all is well, 1 something is wrong, each with a line, 2 a setting that cannot be used, 3
    the storage cannot be opened, as where a broker runs on it.
    """
    sys.exit(_check(*_places(url, values), reads=not quick))


def _check(url: str, values: str, *, reads: bool) -> int:
    """Print what a check finds; return the exit status."""
    audit = audit_storage(url, values, lambda line: print_text(printable(line)), reads=reads)
    print_text(
        f"{audit.uses} uses of {audit.values} values of {audit.value_bytes} bytes; {audit.unused} unused values of "
        f"{audit.unused_bytes} bytes; {audit.problems} problems"
    )
    return 1 if audit.problems else 0


@storage.command(context_settings=HELP)
@click.argument("directory", type=_DIRECTORY)
@_takes_stopped
@click.option("--no-logs", is_flag=True, help="Leave out what nodes have printed and logged.")
@click.option("--values-too", is_flag=True, help="Copy values from an object store, too; else they stay there.")
def backup(directory: Path, url: str | None, values: str | None, no_logs: bool, values_too: bool) -> None:
    """Back up what a broker keeps into DIRECTORY, while it runs.

    DIRECTORY is new or empty, or has a backup that was broken off, which is gone on with. The broker goes on working;
    the backup has all that was acknowledged before it began, and every large value that its database refers to. It is
    whole once it has a file backup.json.

    Exit status: 0 done, 1 done, but for values that the store had lost, each with a line, 2 an option or a setting that
    cannot be used, 3 no broker answers or it could not be done, 4 the broker refused.
    """
    with_values = True if values_too else None
    if url is None and values is None:
        with BrokerCopy(*broker_address(), with_logs=not no_logs) as copy:
            manifest = save(copy, directory, with_values=with_values)
    else:
        with StoppedStorage(*_places(url, values), with_logs=not no_logs) as stopped:
            manifest = save(stopped, directory, with_values=with_values)
    for problem in manifest.problems:
        print_text(printable(problem))
    print_text(f"{directory}: {_told(manifest)}; {len(manifest.problems)} problems")
    sys.exit(1 if manifest.problems else 0)


def _told(manifest: Manifest) -> str:
    values = f"{manifest.values} values of {manifest.values_bytes} bytes"
    if manifest.values_kept != COPIED:
        values = f"values stay in {manifest.values_location}"
    logs = f"logs of {manifest.logs.bytes} bytes" if manifest.logs else "no logs"
    return f"a database of {manifest.database.bytes} bytes, {values}, {logs}"


@storage.command(context_settings=HELP)
@click.argument("directory", type=_DIRECTORY)
@_takes_storage
@click.option("--take-over", is_flag=True, help="Take the bucket from the original, which will never run again.")
def restore(directory: Path, url: str | None, values: str | None, take_over: bool) -> None:
    """Restore the backup in DIRECTORY into a storage that is not there yet, then check it.

    A restore that was broken off is gone on with; until it is done no broker starts there. A broker on it goes on as of
    the backup: instances that ran then are run. Values that the backup refers to in a bucket are copied from there,
    unless it takes the bucket over. Exit status: as of `check`, whose findings are printed; 3 also for a backup that is
    not whole or was changed, and where something is in the way.
    """
    where = _places(url, values)
    restored = restore_backup(directory, *where, takes_over=take_over)
    for problem in restored.problems:
        print_text(printable(problem))
    print_text(f"{where[0]}: restored {_told(restored.manifest)}; made at {restored.manifest.made_at}")
    if restored.problems:
        print_text(
            f"{len(restored.problems)} of its values are not there as they were saved: nodes that need one "
            "fail until they are run again. Restore another backup where there is one"
        )
    sys.exit(_check(*where, reads=True))


@storage.command(context_settings=HELP)
@_takes_url
@click.option("--backup", type=_FILE, metavar="FILE", help="Keep a copy of the database as it was in this new file.")
def migrate(url: str | None, backup: Path | None) -> None:
    """Bring a database of an earlier version to the newest schema, without a broker.

    A broker does so by itself when it starts. Exit status: 0 done, also where there was nothing to do, 2 a setting that
    cannot be used, 3 it could not be done, as for a database of a newer version or one that a broker runs on.
    """
    done = migrate_storage(_places(url, None)[0], backup=backup)
    if backup is not None:
        print_text(f"{backup}: a copy with schema {done.before}")
    if done.before == done.after:
        print_text(f"{done.path}: schema {done.after} is the newest; there was nothing to do")
    else:
        print_text(f"{done.path}: from schema {done.before} to {done.after}")


@storage.command(context_settings=HELP)
@_takes_url
def compact(url: str | None) -> None:
    """Write the file of a storage anew, without what is free in it.

    Brokers give room back to the disk by themselves, but for files that versions before 0.3 made: such a file is as
    large as it ever was, until it is written anew once. Beside it there has to be room for a second one. Exit status: 0
    done, 2 a setting that cannot be used, 3 it cannot be opened, as where a broker runs on it, or there is no room.
    """
    done = compact_storage(_places(url, None)[0])
    print_text(f"{done.location}: {done.before} bytes before, {done.after} now")


@storage.command(context_settings=HELP)
@_takes_stopped
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def size(url: str | None, values: str | None, as_json: bool) -> None:
    """Tell how large the database is, how much of it is free, and how large values and logs are."""
    asks_it = url is None and values is None
    told = measure_storage(*broker_address()) if asks_it else _measure(*_places(url, values))
    if as_json:
        print_json(told)
        return
    files = [("database", told.database), ("logs", told.logs)]
    rows = [
        (name, f"{one.file_bytes + one.wal_bytes}", f"{one.free_bytes}", one.location) for name, one in files if one
    ]
    kept = told.values
    print_table(
        Form(
            ("WHAT", "BYTES", "FREE", "WHERE"),
            [*rows, (f"{kept.count} values", f"{kept.bytes}", f"{kept.unused_bytes} in {kept.unused}", kept.location)],
        )
    )


def _measure(url: str, values: str) -> StorageSize:
    with StoppedStorage(url, values) as stopped:
        database, logs = stopped.measure()
        kept = ValuesSize(stopped.values_location, *stopped.count_values())
        return StorageSize(FileSize(*database), kept, logs and FileSize(*logs))
