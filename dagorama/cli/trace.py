"""`dagorama trace`: an instance as a file for a trace viewer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

import click

from dagorama import NodeStatus
from dagorama.analysis.chrome import Run, chrome_trace
from dagorama.cli.asking import asks, look_at
from dagorama.cli.options import HELP
from dagorama.cli.snapshots import check_size, history_of, snapshot_of


@click.command(context_settings=HELP)
@click.argument("instance")
@click.option(
    "--output",
    "-o",
    type=click.File("w", lazy=True),
    default="-",
    metavar="FILE",
    help="Write there; - is standard output.",
)
@asks
def trace(instance: str, output: IO[str]) -> None:
    """Write an instance for a trace viewer: what ran when, on which worker, and the critical path.

    Open the file at ui.perfetto.dev, which keeps it in your browser, or in chrome://tracing. Each worker is a process
    there, with a row for each node that it ran at once; arrows lead from a node to those that its value went into. It
    is JSON, in the Trace Event Format. INSTANCE is an id, at least four of the digits that it begins or ends with, a
    key, or a workflow file.
    """
    found = look_at(instance)
    check_size(found, way_out="there is no trace of it")
    nodes = [one.status for one in found.nodes()]
    # In a trace things stand where they were, so the pauses stay in it.
    snapshots = [snapshot_of(node, found.status.pauses) for node in nodes]
    history = history_of(replace(found.status, pauses=()), snapshots)
    runs = [run for node in nodes for run in runs_of(node, history.now)]
    title = f"{found.status.definition} {found.id}"
    json.dump(chrome_trace(history, runs, title=title), output, separators=(",", ":"))
    output.write("\n")


def runs_of(node: NodeStatus, now: float) -> Iterator[Run]:
    """Yield the attempts of a node that began, as far as they are known."""
    node_id = str(node.node_id)
    for undone in node.undone:
        if undone.started_at is not None:
            began_at, ended_at = undone.started_at.timestamp(), undone.ended_at.timestamp()
            yield Run(node_id, undone.number, undone.worker, began_at, ended_at, "completed")
    for failed in node.failures:
        if failed.started_at is not None:
            yield Run(
                node_id,
                failed.number,
                failed.worker,
                failed.started_at.timestamp(),
                failed.ended_at.timestamp(),
                failed.type,
            )
    if node.started_at is None or (node.state == "failed" and node.failures):
        return
    began_at = node.started_at.timestamp()
    if node.duration_s is not None:
        ended_at, outcome = began_at + node.duration_s, "completed"
    elif node.finished_at is not None:  # how long it took was not told
        ended_at, outcome = node.finished_at.timestamp(), "completed"
    else:
        ended_at, outcome = now, "running"
    yield Run(node_id, node.attempts, node.worker, began_at, ended_at, outcome)
