"""`dagorama top`: all that goes on at a broker, drawn again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from uuid import UUID

import click

import dagorama
from dagorama.analysis.snapshot import method_of
from dagorama.analysis.timeline import bar
from dagorama.analysis.wording import lasting
from dagorama.cli.asking import asks_broker, print_json
from dagorama.cli.looking import queue_forms, standing, worker_forms
from dagorama.cli.options import HELP
from dagorama.cli.overview import blocks
from dagorama.cli.screen import INTERVAL_S, watch_lines
from dagorama.cli.tables import (
    Form,
    bold,
    end_of,
    is_drawn,
    letters,
    table_lines,
    terminal_width,
)
from dagorama.client.status import InstanceStatus, QueueStatus, WorkerStatus
from dagorama.common.addresses import broker_address
from dagorama.logging import printable

#: So many instances are asked for: those that run, newest first, and the newest of all.
RUNNING_MAX, NEWEST_MAX = 200, 20
#: So many looks are remembered for the line of rates.
LOOKS_MAX = 60
#: So many rows of queues and of workers are shown, and so many of instances where nobody looks at a terminal.
ROWS_MAX, PRINTED_MAX = 8, 50
#: An instance's bar has so many letters.
BAR = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A broker at one moment."""

    at: datetime
    #: Those that run, newest first, and then the newest that have ended.
    instances: Sequence[InstanceStatus]
    workers: Sequence[WorkerStatus]
    queues: Sequence[QueueStatus]


@dataclass(slots=True)
class Rates:
    """How many nodes complete in a second, from one look to the next."""

    #: Of all instances, for each look but the first.
    history: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_MAX))
    #: Of each instance, between the last two looks.
    by_instance: dict[UUID, float] = field(default_factory=dict)
    _before: dict[UUID, int] = field(default_factory=dict)
    _at: float | None = None

    def add(self, instances: Sequence[InstanceStatus], at: float) -> None:
        """Take in a look at some time, in seconds."""
        completed = {one.instance_id: one.counts.get("completed", 0) for one in instances}
        if self._at is not None and at > self._at:
            # A rerun makes fewer completed, which is no rate.
            self.by_instance = {
                one: max(count - self._before.get(one, 0), 0) / (at - self._at)
                for one, count in completed.items()
                if one in self._before or _is_new(one, instances, at - self._at)
            }
            self.history.append(sum(self.by_instance.values()))
        self._before, self._at = completed, at


def _is_new(one: UUID, instances: Sequence[InstanceStatus], seconds: float) -> bool:
    """Return whether an instance that was not seen before has come into being since, and was not just not listed."""
    found = next(each for each in instances if each.instance_id == one)
    return (datetime.now(UTC) - found.created_at).total_seconds() <= seconds + 1


@click.command(context_settings=HELP)
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=INTERVAL_S,
    show_default=True,
    help="Seconds between two looks.",
)
@asks_broker
def top(interval: float, as_json: bool) -> None:
    """Show what goes on at the broker: instances, workers, queues, and how many nodes complete in a second.

    On a terminal it is drawn again and again until somebody presses q or Ctrl-C, and the terminal is left as it was.
    Elsewhere it is printed once.
    """
    if as_json:
        print_json(look())
    elif not is_drawn():
        click.echo("\n".join(lines_of(look(), Rates(), terminal_width(), None)))
    else:
        rates = Rates()

        def render(size: tuple[int, int]) -> list[str]:
            seen = look()
            rates.add(seen.instances, monotonic())
            return lines_of(seen, rates, *size)

        watch_lines(render, interval_s=interval)


def look() -> Look:
    """Ask the broker for all of it."""
    running = [one.status for one in islice(dagorama.instances(state="running"), RUNNING_MAX)]
    newest = [one.status for one in dagorama.instances(limit=NEWEST_MAX)]
    known = {one.instance_id for one in running}
    ended = [one for one in newest if one.instance_id not in known]
    return Look(
        at=datetime.now(UTC), instances=[*running, *ended], workers=dagorama.workers(), queues=dagorama.queues()
    )


def lines_of(seen: Look, rates: Rates, width: int, height: int | None) -> list[str]:
    """Return the lines of a look for a terminal of so many columns and rows; None for rows: all that there is."""
    lines = [*_header(seen, rates, width), ""]
    lines += _part(table_lines(*worker_forms(seen.workers[:ROWS_MAX]), width=width), len(seen.workers), ROWS_MAX)
    busy = sorted(seen.queues, key=lambda one: -(one.ready + one.active))
    forms, optional = queue_forms(busy[:ROWS_MAX])
    lines += ["", *_part(table_lines(*forms, width=width, optional=optional), len(busy), ROWS_MAX), ""]
    room = PRINTED_MAX if height is None else max(height - len(lines) - 2, 1)
    forms = _instance_forms(seen.instances[:room], rates)
    lines += _part(table_lines(*forms, width=width), len(seen.instances), room)
    return lines


def _part(lines: Sequence[str], total: int, shown_max: int) -> list[str]:
    """Return the lines of a list, and how many rows have no place in it."""
    return [*lines, *([f"and {total - shown_max} more"] if total > shown_max else [])]


def _header(seen: Look, rates: Rates, width: int) -> list[str]:
    """Return the lines about all of it."""
    counts: dict[str, int] = {}
    for one in seen.instances:
        if one.state == "running":
            for state, count in one.counts.items():
                counts[state] = counts.get(state, 0) + count
    host, port = broker_address()
    running = sum(one.state == "running" for one in seen.instances)
    slots, leases = sum(one.slots for one in seen.workers), sum(min(one.leases, one.slots) for one in seen.workers)
    many = f"{running}+" if running >= RUNNING_MAX else str(running)
    parts = [
        f"broker {host}:{port}",
        f"{seen.at:%H:%M:%SZ}",
        f"{many} {'instance' if running == 1 else 'instances'} running",
        f"{len(seen.workers)} {'worker' if len(seen.workers) == 1 else 'workers'}, {leases}/{slots} slots busy",
        f"{sum(one.ready for one in seen.queues)} nodes ready",
        *([f"{counts['backoff']} backing off"] if counts.get("backoff") else []),
        *([f"{counts['failed']} failed"] if counts.get("failed") else []),
    ]
    lines, line = [], ""
    for part in parts:
        if line and letters(line) + 3 + letters(part) > width:
            lines.append(line)
            line = part
        else:
            line = f"{line} | {part}" if line else part
    lines = [bold(each) for each in [*lines, line]]
    if rates.history:
        rate = f"{rates.history[-1]:.0f}/s completed "
        room = max(min(LOOKS_MAX, width - len(rate)), 0)
        lines.append(rate + bar(list(rates.history)[-room:], blocks=blocks()) if room else rate)
    return lines


def _instance_forms(listed: Sequence[InstanceStatus], rates: Rates) -> list[Form]:
    headers = ("INSTANCE", "DEFINITION", "STATE", "AGE", "DONE", "RUNNING", "READY", "FAILED", "RATE", "LEFT", "NODES")
    now = datetime.now(UTC)
    rows = []
    for one in listed:
        total, counts = sum(one.counts.values()), one.counts
        done = counts.get("completed", 0)
        rate = rates.by_instance.get(one.instance_id, 0.0) if one.state == "running" else 0.0
        age_s = ((one.finished_at or now) - one.counted_from).total_seconds()
        rows.append(
            (
                end_of(one.instance_id),
                printable(one.title),
                standing(one).removeprefix("running, "),
                lasting(max(age_s, 0.0)),
                _bar(done, total),
                _number(counts, "leased"),
                _number(counts, "ready"),
                _number(counts, "failed", "dependency_failed"),
                f"{rate:.1f}/s" if rate else "",
                lasting((total - done) / rate) if rate and done < total else "",
                f"{done}/{total}",
            )
        )
    whole = Form(headers, rows)
    names = [printable(one.workflow) or method_of(one.definition) for one in listed]
    short = Form(headers, [(row[0], name, *row[2:]) for row, name in zip(rows, names, strict=True)])
    return [whole, short, *(_kept(short, names) for names in _NARROWER)]


#: The columns that stay on narrower terminals.
_NARROWER = (
    ("INSTANCE", "DEFINITION", "STATE", "AGE", "DONE", "FAILED", "RATE", "LEFT", "NODES"),
    ("INSTANCE", "DEFINITION", "STATE", "AGE", "FAILED", "RATE", "NODES"),
    ("INSTANCE", "DEFINITION", "STATE", "NODES"),
)


def _kept(form: Form, names: Sequence[str]) -> Form:
    places = [list(form.headers).index(name) for name in names]
    return Form(names, [[row[place] for place in places] for row in form.rows])


def _bar(done: int, total: int) -> str:
    """Return a bar that is full only when all is done, and empty only when nothing is."""
    full = BAR * done // total if total else 0
    full = max(full, 1) if done else 0
    return "#" * full + "-" * (BAR - full)


def _number(counts: Mapping[str, int], *states: str) -> str:
    return str(sum(counts.get(state, 0) for state in states) or "")
