"""The same verb for many instances: asked about once, done one by one, with a report of each refusal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence

import click

from dagorama import Instance
from dagorama.cli.asking import print_json
from dagorama.cli.choosing import Chosen
from dagorama.cli.failure import CannotStart, Refused
from dagorama.cli.tables import Form, end_of, print_table, print_text
from dagorama.cli.verbs import Verb
from dagorama.common.wishes import Done
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.logging import printable

#: So many definitions are named in the question.
NAMED_MAX = 5


takes_yes = click.option("--yes", is_flag=True, help="Do it to all that fit without asking.")


def check_many(instance: str | None, chosen: Chosen, queue: str | None = None) -> None:
    """Raise `UsageError` unless it is clear that the instances that fit are meant, and no other."""
    if instance is not None or queue is not None:
        what = "an INSTANCE" if instance is not None else "--queue"
        raise click.UsageError(
            f"give either {what} or options that choose many: with both it is not clear what is meant"
        )
    if not chosen:
        raise click.UsageError("give an INSTANCE, or options that choose many, such as --state running")


def do_to_all(chosen: Chosen, verb: Verb, act: Callable[[Instance], object], *, yes: bool, as_json: bool) -> None:
    """Do something to all instances that fit, after a question on a terminal, and report. Raises `Refused` if any was.

    Where nobody can be asked and nobody has said yes, nothing is done.
    """
    instances = list(chosen.listed(otherwise=verb.states))
    if not instances:
        if as_json:
            print_json([])
        click.echo(f"no instance fits, so none was {verb.done}", err=True)
        return
    if not yes:
        _ask(instances, verb)
    done: list[Done] = []
    gone: BrokerUnavailable | None = None
    for one in instances:
        try:
            done.append(_do(one, act))
        except BrokerUnavailable as error:
            gone = error
            break
    _report(done, verb, as_json)
    if gone is not None:
        raise CannotStart(f"{len(instances) - len(done)} were not asked about any more: {gone}")
    refused = sum(bool(one.refused) for one in done)
    if refused:
        raise Refused(f"{refused} of {len(done)} refused")


def _ask(instances: Sequence[Instance], verb: Verb) -> None:
    """Ask whether it is meant; raise `UsageError` where nobody can be asked, and `Abort` where it is not."""
    many = "1 instance" if len(instances) == 1 else f"{len(instances)} instances"
    if not can_ask():
        raise click.UsageError(f"{many} would be {verb.done}, and nobody can be asked here: add --yes")
    counted = Counter(one.definition for one in instances).most_common()
    named = [f"{count} of {printable(definition)}" for definition, count in counted[:NAMED_MAX]]
    more = f", and {len(counted) - NAMED_MAX} more definitions" if len(counted) > NAMED_MAX else ""
    click.echo(f"{many} would be {verb.done}: {', '.join(named)}{more}", err=True)
    click.confirm(f"{verb.do or verb.name} {'it' if len(instances) == 1 else 'them'}?", abort=True, err=True)


def can_ask() -> bool:
    """Return whether a person answers."""
    return sys.stdin is not None and sys.stdin.isatty()


def _do(one: Instance, act: Callable[[Instance], object]) -> Done:
    before = one.status
    try:
        act(one)
        after = one.refresh().status
    except BrokerRefused as error:
        return Done(instance_id=one.id, definition=before.definition, state=before.state, refused=error.detail)
    return Done(instance_id=one.id, definition=after.definition, state=after.state, refused="")


def _report(done: Sequence[Done], verb: Verb, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    refused = [one for one in done if one.refused]
    if refused:
        headers = ("INSTANCE", "DEFINITION", "STATE", "REFUSED")
        rows = [(str(one.instance_id), one.definition, one.state, one.refused) for one in refused]
        whole = Form(headers, rows)
        short = Form(headers, [(end_of(one.instance_id), *row[1:]) for one, row in zip(refused, rows, strict=True)])
        print_table(whole, short, wraps="REFUSED")
    print_text(f"{len(done) - len(refused)} of {len(done)} {verb.done}")
