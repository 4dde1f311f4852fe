"""`dagorama logs`: the lines that nodes have printed and logged."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from uuid import UUID

import click

from dagorama import Instance, Node
from dagorama.as_json import json_of
from dagorama.cli.asking import asks_broker, find_instance
from dagorama.cli.node_names import find_node
from dagorama.cli.options import HELP
from dagorama.cli.tables import is_drawn
from dagorama.client.logs import LogGap, LogLine, LogReading
from dagorama.client.status import WORKFLOW_RUN
from dagorama.client.steps import run
from dagorama.logging import printable

#: So many of an instance's nodes are looked up to begin with, and so many one by one before all are.
_LOOKED_UP_MAX, _ONE_BY_ONE_MAX = 1000, 50

#: Of the id, on a terminal and elsewhere. Every command takes the end of an id for it.
_DIGITS, _DIGITS_WHOLE = 6, 12


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the instance or the node has ended.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only attempts with this number.")
@click.option("--level", metavar="LEVEL", help="Only what was logged, at this level or above: a name or a number.")
@click.option("--grep", metavar="RE", help="Only lines in which this regular expression is found.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Begin with the last N lines that there are.")
@asks_broker
def logs(
    instance: str,
    node: str | None,
    follow: bool,
    attempt: int | None,
    level: str | None,
    grep: str | None,
    tail: int | None,
    as_json: bool,
) -> None:
    """Print what the nodes of an instance have printed and logged, or what one of them has.

    INSTANCE and NODE are ids, or at least four of the digits that they begin or end with; INSTANCE may be a key or a
    workflow file too, and NODE what one node only has: a label, the name of a function, whole or just the method's, or
    both, as in load/orders-17.csv. Each line has its time, its function, and the node's label, or the end of its id
    where several nodes are of that; of an attempt that was not its first or last, #2 of 3. Lines that begin with -- say
    what is missing. With --json each line is an object.
    """
    wanted = _filter(level, grep)
    found_in = find_instance(instance)
    node_id = find_node(found_in, node) if node else None
    reading = LogReading(found_in.id.bytes, node_id.bytes if node_id else None, attempt=attempt, follow=follow)
    shown: Callable[[LogLine | LogGap], str] = json_of if as_json else _Lines(found_in, node_id)
    kept: deque[LogLine | LogGap] | None = None if tail is None else deque(maxlen=tail)
    while not reading.is_over:
        found = [each for each in run(reading.next_lines()) if isinstance(each, LogGap) or wanted(each)]
        if kept is not None:
            kept += found
            if not reading.has_caught_up:
                continue
            found, kept = list(kept), None
        _print(map(shown, found))


def _print(lines: Iterable[str]) -> None:
    """Print lines together: each by itself would take longer than all else."""
    text = "\n".join(lines)
    if text:
        click.echo(text)


def _filter(level: str | None, grep: str | None) -> Callable[[LogLine], bool]:
    """Return what lines have to pass. Raises `click.UsageError` for what is no level or no regular expression."""
    level_min = _level(level) if level is not None else None
    try:
        pattern = re.compile(grep) if grep is not None else None
    except re.error as error:
        raise click.UsageError(f"--grep {grep!r} is no regular expression: {error}") from None

    def wanted(line: LogLine) -> bool:
        if level_min is not None and (not line.is_logged or line.level < level_min):
            return False
        return pattern is None or pattern.search(line.text) is not None

    return wanted


def _level(text: str) -> int:
    """Return the number of a level."""
    names = {name: number for name, number in logging.getLevelNamesMapping().items() if number}
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if text.upper() not in names:
        known = ", ".join(name for name in names if logging.getLevelName(names[name]) == name)
        raise click.UsageError(f"--level {text!r} is no level: write one of {known}, or a number")
    return names[text.upper()]


class _Lines:
    """Makes lines for people."""

    def __init__(self, instance: Instance, node_id: UUID | None) -> None:
        self._instance = instance
        self._drawn = is_drawn()
        self._styled = self._drawn and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
        self._today = datetime.now(UTC).date()
        #: Function and label of each node that is known.
        self._named: dict[UUID, tuple[str, str]] = {}
        #: How many attempts it had when it was looked up: earlier ones are told as such.
        self._attempts: dict[UUID, int] = {}
        self._of_name: Counter[str | tuple[str, str]] = Counter()
        self._knows_all = True
        self._looked_up = 0
        if node_id is None:
            first = list(instance.nodes(inputs=False, limit=_LOOKED_UP_MAX + 1))
            self._knows_all = len(first) <= _LOOKED_UP_MAX
            for node in first:
                self._know(node)

    def __call__(self, each: LogLine | LogGap) -> str:
        """Return a line, or several where its text has some."""
        if isinstance(each, LogGap):
            whose = f" {self._name(each.node_id, each.attempt)}:" if each.node_id else ""
            return self._style(f"--{whose} {_one_line(each.text)}", dim=True)
        begin = f"{self._time(each.time)} {self._name(each.node_id, each.attempt)} | "
        first, *rest = printable(each.text).split("\n")
        if each.is_logged:
            first = f"{each.level_name} {_one_line(each.source)}: {first}"
        elif each.source != "stdout":
            first = f"{_one_line(each.source)}: {first}"
        more = [f"{' ' * (len(begin) - 2)}| {line}" for line in rest]
        return begin + "\n".join(self._styled_text(each, text) for text in (first, *more))

    def _time(self, time: datetime) -> str:
        milliseconds = f"{time.microsecond // 1000:03}Z"
        if self._drawn and time.date() == self._today:
            return f"{time:%H:%M:%S}.{milliseconds}"
        return f"{time:%Y-%m-%d %H:%M:%S}.{milliseconds}"

    def _name(self, node_id: UUID, attempt: int) -> str:
        """Return the function of a node, with what tells it from others: its label, and else the end of its id."""
        function, label = named = self._named.get(node_id) or self._look_up(node_id)
        name = _one_line(function.rpartition(".")[2] if self._drawn else function)
        if label and function.startswith(f"{WORKFLOW_RUN}."):  # tasks have all the same
            name = _one_line(label)
        elif label:
            name += f" {_one_line(label)}"
        if self._of_name[named if label else function] > 1 or not (label or self._knows_all):
            name += f" {node_id.hex[-(_DIGITS if self._drawn else _DIGITS_WHOLE) :]}"
        latest = self._attempts.get(node_id, 0)
        if attempt < latest:
            return f"{name} #{attempt} of {latest}"
        return f"{name} #{attempt}" if attempt > 1 else name

    def _look_up(self, node_id: UUID) -> tuple[str, str]:
        """Ask for the names of a node that is new, or one of very many."""
        self._looked_up += 1
        if self._looked_up == _ONE_BY_ONE_MAX:
            for node in self._instance.nodes(inputs=False):
                self._know(node)
        if node_id not in self._named:
            self._know(self._instance.node(node_id))
        return self._named[node_id]

    def _know(self, node: Node) -> None:
        if node.id not in self._named:
            named = self._named[node.id] = (node.function, node.label)
            self._attempts[node.id] = node.status.attempts
            self._of_name.update((node.function, named))

    def _styled_text(self, line: LogLine, text: str) -> str:
        if line.level >= logging.ERROR:
            return self._style(text, fg="red", bold=True)
        if line.level >= logging.WARNING:
            return self._style(text, fg="yellow")
        return self._style(text, fg="red") if line.source == "stderr" and not line.is_logged else text

    def _style(self, text: str, *, fg: str | None = None, bold: bool | None = None, dim: bool | None = None) -> str:
        return click.style(text, fg=fg, bold=bold, dim=dim) if self._styled else text


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")
