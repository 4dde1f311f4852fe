"""`dagorama graph`: an instance as a picture."""

from __future__ import annotations

import click

from dagorama.analysis.dot import dot
from dagorama.analysis.drawing import draw_functions, draw_nodes
from dagorama.analysis.mermaid import mermaid
from dagorama.analysis.svg import svg
from dagorama.cli.asking import asks_broker, look_at, print_json
from dagorama.cli.options import HELP
from dagorama.cli.snapshots import snapshots_of

#: An instance with more nodes is drawn by function, as nobody would find anything in the picture.
DRAWN_MAX = 200

#: The languages that a picture can be written in.
FORMS = {"mermaid": mermaid, "dot": dot, "svg": svg}


@click.command(context_settings=HELP)
@click.argument("instance")
@click.option("--mermaid", "form", flag_value="mermaid", help="For GitHub and wikis.  [default]")
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--svg", "form", flag_value="svg", help="For a browser, in layers from left to right.")
@click.option("--all", "whole", is_flag=True, help=f"Draw each node, also if there are more than {DRAWN_MAX}.")
@click.option("--fold", is_flag=True, help="Draw one box for each function, also if there are few nodes.")
@asks_broker
def graph(instance: str, form: str | None, whole: bool, fold: bool, as_json: bool) -> None:
    """Print an instance as a picture: its nodes, the calls that they made, and whose values went into which.

    An arrow with a whole line is a value that went from one node into another, one with a broken line a call. Of more
    than 200 nodes one box stands for each function, with how many of them are in which state. INSTANCE is an id, at
    least four of the digits that it begins or ends with, a key, or a workflow file.
    """
    if whole and fold:
        raise click.UsageError("give either --all or --fold")
    found = look_at(instance)
    nodes = snapshots_of(found, way_out="there is no picture of it")
    is_folded = fold or (len(nodes) > DRAWN_MAX and not whole)
    drawing = draw_functions(nodes) if is_folded else draw_nodes(nodes)
    if as_json:
        print_json(
            {
                "instance_id": found.id,
                "folded": is_folded,
                "vertices": [{"lines": one.lines, "state": one.state} for one in drawing.vertices],
                "edges": drawing.edges,
            }
        )
        return
    # Nothing in the picture is heeded by a terminal: labels are cleaned where they are drawn.
    click.echo(FORMS[form or "mermaid"](drawing), nl=False)
    if is_folded and not fold:
        click.echo(f"folded by function, as it has {len(nodes)} nodes: --all draws each", err=True)
