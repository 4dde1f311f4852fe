"""`dagorama retry`: lets a failed instance go on."""

from __future__ import annotations

import click

from dagorama import Instance
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.bulk import Wish, check_many, do_to_all, takes_yes
from dagorama.cli.choosing import Chosen, takes_filter
from dagorama.cli.failure import Failed
from dagorama.cli.looking import counted
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.cli.waiting import wait_until_ended
from dagorama.client import queries
from dagorama.client.asking import ask_broker
from dagorama.client.port import Retry

RETRY = Wish(do="retry", done="retried", act=Instance.retry, states=("failed",))


@click.command(context_settings=HELP)
@click.argument("instance", required=False)
@takes_filter
@takes_yes
@click.option("--wait", is_flag=True, help="Return when it has ended; status 1 if it has failed again.")
@asks_broker
def retry(
    instance: str | None,
    chosen: Chosen,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Let a failed instance go on from where it failed, or many.

    What failed, and what failed of that, is run again, by whatever version of the code the workers have; what has
    completed is not. INSTANCE is an id, at least four of the digits that it begins or ends with, or a key. Status 4 if
    it has not failed. While --wait waits and nothing goes on, standard error says why. In the place of INSTANCE options
    such as --definition choose the failed instances that fit all of them; you are asked once, or say --yes. Status 4 if
    any was refused.
    """
    if instance is None or chosen or yes:
        check_many(instance, chosen)
        if wait:
            raise click.UsageError("--wait is for one INSTANCE")
        do_to_all(chosen, RETRY, yes=yes, as_json=as_json)
        return
    instance_id = find_instance(instance)
    ask_broker(Retry(instance_id))
    found = queries.get_instance(instance_id)
    if wait:
        found = wait_until_ended(instance_id)
    if as_json:
        print_json(found)
    else:
        print_text(f"{found.instance_id} is {found.state}: {counted(found.counts)}")
    if wait and found.state != "completed":
        raise Failed(f"instance {found.instance_id} is {found.state} again; `dagorama show` says why")
