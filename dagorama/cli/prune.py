"""`dagorama prune`: instances that have ended are removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial

import click

from dagorama import InstanceStatus
from dagorama import prune as prune_instances
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.bulk import NAMED_MAX, can_ask, takes_yes
from dagorama.cli.choosing import parsed_since
from dagorama.cli.options import HELP, check_is_text
from dagorama.cli.tables import print_text
from dagorama.errors import DagoramaError
from dagorama.logging import printable
from dagorama.workflows.staging.sweeping import sweep


@click.command(context_settings=HELP)
@click.argument("instances", nargs=-1, metavar="[INSTANCE]...")
@click.option(
    "--state",
    "states",
    type=click.Choice(["completed", "failed", "cancelled"]),
    multiple=True,
    help="Instances that ended so; may be given several times.",
)
@click.option("--definition", metavar="NAME", default="", help="Instances of this one: module:Class, or its end.")
@click.option("--older-than", metavar="AGE", default="", help="Instances that ended longer ago: 90s, 30m, 12h, 7d, 2w.")
@click.option("--all", "everything", is_flag=True, help="All that have ended.")
@click.option("--dry-run", is_flag=True, help="Say how many would go, and remove none.")
@takes_yes
@asks_broker
def prune(
    instances: tuple[str, ...],
    states: tuple[str, ...],
    definition: str,
    older_than: str,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove instances that have ended, with their nodes, values and logs.

    INSTANCE is an id, at least four of the digits that it begins or ends with, a key, or a workflow file, for its
    latest run; options choose many: all that fit each of them, or --all. You are asked once, or say --yes. What runs
    stays: cancel it first (status 4). The broker removes by itself what it has kept for long enough:
    DAGORAMA_KEEP_COMPLETED, _FAILED and _CANCELLED say how long that is. Directories that the runs of workflows have on
    this machine (DAGORAMA_RUNS) go, too, with --all also those that `dagorama run` has left; other machines remove
    theirs when the next run begins there.
    """
    for word in (*instances, definition, older_than):
        check_is_text(word)
    is_chosen = bool(states or definition or older_than or everything)
    if bool(instances) == is_chosen:
        raise click.UsageError("give either INSTANCEs, or options that choose many, such as --older-than 30d, or --all")
    if instances:
        found = [find_instance(word) for word in instances]
        statuses = [one.status for one in found]
        if not dry_run:
            for one in found:
                one.delete()
        _report(statuses, dry_run=dry_run, as_json=as_json)
        if not dry_run:
            _sweep()
        return
    since = parsed_since(older_than, option="--older-than")
    age = None if since is None else max(timedelta(microseconds=1), datetime.now(UTC) - since)
    remove = partial(prune_instances, state=states or None, definition=definition or None, older_than=age)
    if dry_run or not yes:
        found_many = remove(dry_run=True)
        if dry_run or not found_many:
            _report(found_many, dry_run=dry_run, as_json=as_json)
            return
        _ask(found_many)
    _report(remove(), dry_run=False, as_json=as_json)
    _sweep(whole=everything and not (states or definition or older_than))


def _sweep(*, whole: bool = False) -> None:
    """Remove the directories that removed runs of workflows have on this machine, and say so."""
    try:
        gone = len(sweep(whole=whole))
    except DagoramaError:
        return  # a worker will
    if gone:
        click.echo(f"removed the {'directory of a run' if gone == 1 else f'directories of {gone} runs'} here", err=True)


def _ask(found: Sequence[InstanceStatus]) -> None:
    """Ask whether it is meant; raise `UsageError` where nobody can be asked, and `Abort` where it is not."""
    if not can_ask():
        raise click.UsageError(f"{_many(found)} would be removed, and nobody can be asked here: add --yes")
    click.echo(f"{_many(found)} would be removed for good: {_named(found)}", err=True)
    click.confirm("remove them?", abort=True, err=True)


def _report(found: Sequence[InstanceStatus], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json([_row(one) for one in found])
        return
    would = "would be removed" if dry_run else "removed"
    print_text(f"{_many(found)} {would}{f': {_named(found)}' if found else ''}")


def _row(one: InstanceStatus) -> dict[str, object]:
    wanted = ("instance_id", "definition", "state", "created_at", "finished_at")
    return {name: value for name, value in asdict(one).items() if name in wanted}


def _many(found: Sequence[InstanceStatus]) -> str:
    return "1 instance" if len(found) == 1 else f"{len(found)} instances"


def _named(found: Sequence[InstanceStatus]) -> str:
    counted = Counter((one.state, one.definition) for one in found).most_common()
    named = [f"{count} {state} of {printable(definition)}" for (state, definition), count in counted[:NAMED_MAX]]
    return ", ".join(named) + (f" and {len(counted) - NAMED_MAX} more kinds" if len(counted) > NAMED_MAX else "")
