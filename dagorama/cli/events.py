"""`dagorama events`: a line for all that happens, as it happens."""

from __future__ import annotations

from itertools import islice

import click

import dagorama
from dagorama.analysis.snapshot import method_of
from dagorama.as_json import json_of
from dagorama.cli.asking import asks_broker, find_instance
from dagorama.cli.options import HELP, check_is_text
from dagorama.cli.tables import end_of
from dagorama.client.events import Event, EventKind, EventsSkipped, InstanceEvent, NodeEvent
from dagorama.logging import printable

#: Of an error so many letters are shown; `dagorama node` has all.
ERROR_MAX = 200
#: The letters of the longest kind.
WIDTH = max(len(kind) for kind in EventKind)


@click.command(context_settings=HELP)
@click.argument("instance", required=False)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on as things happen. It always does; `tail` has the same option."
)
@click.option("--after", metavar="CURSOR", default="", help="Go on after the event with this cursor, which --json has.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many.  [default: never]")
@asks_broker
def events(instance: str | None, follow: bool, after: str, limit: int | None, as_json: bool) -> None:
    """Print a line for all that happens from now on, at the broker or to one instance, until Ctrl-C.

    With --json each event is an object in a line of its own. It has a `cursor`, after which --after goes on, as long as
    the broker still has what came since: some minutes, and not over its restart. Status 4 where it does not. INSTANCE
    is an id, at least four of the digits that it begins or ends with, a key, or a workflow file.
    """
    check_is_text(after)
    watched = None if instance is None else find_instance(instance)
    for event in islice(dagorama.events(watched, after=after or None), limit):
        click.echo(json_of(event) if as_json else line_of(event))


def line_of(event: Event) -> str:
    """Return an event in a line for people."""
    if isinstance(event, EventsSkipped):
        return f"{event.number} events are missing here: they were not read in time"
    if isinstance(event, InstanceEvent):
        told = [end_of(event.instance_id), event.definition, event.state]
        if event.node_count is not None:
            told = [*told[:2], f"{event.node_count} nodes"]
        elif event.kind is EventKind.INSTANCE_CONTROLLED:
            cap = "no cap" if event.running_max is None else f"cap {event.running_max}"
            told += ["paused" if event.paused else "not paused", f"priority {event.priority}", cap]
    elif isinstance(event, NodeEvent):
        told = [end_of(event.instance_id), end_of(event.node_id), method_of(event.function)]
        told += [f"attempt {event.attempt}"] if event.attempt is not None else []
        told += [f"on {event.worker}"] if event.worker else []
        told += [f"because of {end_of(event.cause_id)}"] if event.cause_id else []
        told += [f"{event.error_type}: {event.error_message[:ERROR_MAX]}"] if event.error_type else []
    else:
        told = [event.worker or str(event.worker_id)]
    line = " ".join(" ".join(told).split())
    return printable(f"{event.at:%H:%M:%SZ}  {event.kind:<{WIDTH}}  {line}")
