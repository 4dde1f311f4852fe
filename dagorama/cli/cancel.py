"""`dagorama cancel`: stops an instance."""

from __future__ import annotations

import click

from dagorama import Instance
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.bulk import Wish, check_many, do_to_all, takes_yes
from dagorama.cli.choosing import Chosen, takes_filter
from dagorama.cli.looking import counted
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.client import queries
from dagorama.client.asking import ask_broker
from dagorama.client.port import Cancel

CANCEL = Wish(do="cancel", done="cancelled", act=Instance.cancel, states=("running",))


@click.command(context_settings=HELP)
@click.argument("instance", required=False)
@takes_filter
@takes_yes
@asks_broker
def cancel(
    instance: str | None,
    chosen: Chosen,
    yes: bool,
    as_json: bool,
) -> None:
    """Stop an instance, or many: what has not started never does, and what runs is told to stop.

    INSTANCE is an id, at least four of the digits that it begins or ends with, or a key. Status 4 if it has ended
    already. In its place options such as --definition choose the instances that fit all of them, of those that run
    unless --state says otherwise; you are asked once, or say --yes. Status 4 if any was refused.
    """
    if instance is None or chosen or yes:
        check_many(instance, chosen)
        do_to_all(chosen, CANCEL, yes=yes, as_json=as_json)
        return
    instance_id = find_instance(instance)
    ask_broker(Cancel(instance_id))
    stopped = queries.get_instance(instance_id)
    if as_json:
        print_json(stopped)
    else:
        print_text(f"{stopped.instance_id} is {stopped.state}: {counted(stopped.counts)}")
