"""`dagorama why`: the reasons that hold a node."""

from __future__ import annotations

import re

import click

from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.node_names import find_node
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.client.status import WORKFLOW_RUN
from dagorama.logging import printable

#: What is wrapped stands deeper than the next reason does, which stands two columns deeper than this one.
HANG = 4
#: Tasks of workflows are told by the names that their file has for them: all have the same function, and fail alike.
_ALL_HAVE = re.compile(rf"\b{re.escape(WORKFLOW_RUN)}\.\w+ (?!\()|\bdagorama\.workflows\.problems:\w+: ")


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node", required=False)
@asks_broker
def why(instance: str, node: str | None, as_json: bool) -> None:
    """Say why a node does not run; without NODE, the first node of the instance that has not ended.

    INSTANCE and NODE are ids, or at least four of the digits that they begin or end with; INSTANCE may be a key or a
    workflow file too, and NODE what one node only has: a label, the name of a function, whole or just the method's, or
    both, as in load/orders-17.csv. Each line is held by the one below it that stands deeper.
    """
    found = find_instance(instance)
    told = found.why(find_node(found, node) if node else None)
    if as_json:
        print_json(told)
    else:
        print_text(printable(_ALL_HAVE.sub("", str(told))), hang=HANG)
