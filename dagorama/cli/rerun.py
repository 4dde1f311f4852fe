"""`dagorama rerun`: runs a node again, and all that its value went into."""

from __future__ import annotations

import click

from dagorama.analysis.snapshot import method_of
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.failure import Failed
from dagorama.cli.node_names import find_node, labelled
from dagorama.cli.options import HELP
from dagorama.cli.starting import read_arguments
from dagorama.cli.tables import Form, end_of, print_table
from dagorama.cli.waiting import wait_until_ended
from dagorama.client.status import NodeStatus


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node")
@click.argument("arguments", nargs=-1)
@asks_broker
def rerun(instance: str, node: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Run a node of an instance that has ended again, and whatever its value went into.

    It returns when the instance has ended again, and says of each of these nodes whether its value is the same, has
    changed, or is new; while nothing goes on, standard error says why. INSTANCE and NODE are ids, or at least four of
    the digits that they begin or end with; INSTANCE may be a key or a workflow file too, and NODE what one node only
    has: a label, the name of a function, whole or just the method's, or both, as in load/orders-17.csv. `dagorama show
    INSTANCE --all` lists the nodes. ARGUMENTS such as limit=5 take the place of those that the node was called with, as
    texts of which the worker makes what the type hints say; limit:=5 is JSON. Values of other nodes cannot be replaced.
    Status 1 if the instance has failed, 4 if it runs or was cancelled.
    """
    looked_at = find_instance(instance)
    node_id = find_node(looked_at, node)
    before = {one.id for one in looked_at.nodes(inputs=False)}
    try:
        reset = set(looked_at.rerun(node_id, _named(arguments)))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    found = wait_until_ended(looked_at)
    nodes = [one.status for one in looked_at.nodes(inputs=False) if one.id in reset or one.id not in before]
    if as_json:
        print_json(nodes)
    else:
        headers = ("NODE", "FUNCTION", "STATE", "VALUE")
        told = [(one, (one.state, _change(one))) for one in nodes]
        whole = Form(headers, [(str(one.node_id), labelled(one.function, one), *rest) for one, rest in told])
        short = Form(
            headers, [(end_of(one.node_id), labelled(method_of(one.function), one), *rest) for one, rest in told]
        )
        shorter = Form(
            headers,
            [(end_of(one.node_id), labelled(one.function.rpartition(".")[2], one), *rest) for one, rest in told],
        )
        print_table(whole, short, shorter)
    if found.state != "completed":
        raise Failed(f"instance {found.instance_id} is {found.state}; `dagorama show {found.instance_id}` says why")


def _named(words: tuple[str, ...]) -> dict[str, object] | None:
    """Return the arguments that take the place of others; None for none."""
    given = read_arguments(words, None)
    if isinstance(given, list) and given:
        raise click.UsageError("give arguments by name, as in limit=5")
    return given if isinstance(given, dict) else None


def _change(node: NodeStatus) -> str:
    """Return how the value compares to the earlier one; a node that was not there before has a new one."""
    return node.change or ("new" if node.state == "completed" else "none")
