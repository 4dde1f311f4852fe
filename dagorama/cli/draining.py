"""`dagorama drain` and `dagorama retry-now`: a worker that is to end, and a node that is not to wait."""

from __future__ import annotations

from dataclasses import replace

import click

import dagorama
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.failure import Refused
from dagorama.cli.node_names import find_node
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.client.status import WorkerStatus
from dagorama.logging import printable


@click.command(context_settings=HELP)
@click.argument("worker")
@asks_broker
def drain(worker: str, as_json: bool) -> None:
    """Have a worker take no more nodes, finish what it runs, and end; none is started in its place.

    WORKER is the name or the id of a connected worker process, as `dagorama workers` has it. Status 4 for one that is
    not connected.
    """
    found = find_worker(worker)
    dagorama.drain(found)
    if as_json:
        print_json(replace(found, draining=True))
    else:
        print_text(printable(f"worker {found.name} takes no more nodes, and ends when those that it runs have"))


def find_worker(text: str) -> WorkerStatus:
    """Return the connected worker that a person means by its name or its id."""
    found = [one for one in dagorama.workers() if text in (one.name, str(one.worker_id), one.worker_id.hex)]
    if len(found) != 1:
        problem = f"{len(found)} connected workers have" if found else "no connected worker has"
        raise Refused(f"{problem} the name or the id {text!r}; `dagorama workers --json` lists both")
    return found[0]


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node")
@asks_broker
def retry_now(instance: str, node: str, as_json: bool) -> None:
    """Have a node that waits after a failed attempt tried at once.

    INSTANCE and NODE are ids, or at least four of the digits that they begin or end with; INSTANCE may be a key or a
    workflow file too, and NODE what one node only has: a label, the name of a function, whole or just the method's, or
    both, as in load/orders-17.csv. Status 4 if the node does not wait for its next attempt.
    """
    whose = find_instance(instance)
    found = whose.node(find_node(whose, node))
    found.retry_now()
    found.refresh()
    if as_json:
        print_json(found.status)
    else:
        print_text(f"{found.id} is {found.state}")
