"""`dagorama cancel`: stops an instance."""

from __future__ import annotations

import click

from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.looking import counted
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.client import queries
from dagorama.client.asking import ask_broker
from dagorama.client.port import Cancel


@click.command(context_settings=HELP)
@click.argument("instance")
@asks_broker
def cancel(instance: str, as_json: bool) -> None:
    """Stop an instance: what has not started never does, and what runs is told to stop.

    INSTANCE is an id, or at least four of the digits that it begins or ends with. Status 4 if it has ended already.
    """
    instance_id = find_instance(instance)
    ask_broker(Cancel(instance_id))
    stopped = queries.get_instance(instance_id)
    if as_json:
        print_json(stopped)
    else:
        print_text(f"{stopped.instance_id} is {stopped.state}: {counted(stopped.counts)}")
