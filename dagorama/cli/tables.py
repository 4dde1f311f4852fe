"""Rows for people: drawn on a terminal, aligned and whole where the output goes to a file or another program."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

#: What a terminal would heed in place of showing it: control characters but tab and newline, marks that turn the order
#: of letters around, and halves of characters.
_HEEDED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text of users with what a terminal would heed written as Python escapes it."""
    return _HEEDED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    short: Sequence[Sequence[str]] = (),
    optional: Collection[str] = frozenset(),
) -> None:
    """Prints rows under headers; on a terminal, cells that don't fit into its width are wrapped.

    `short` has the same rows in fewer letters, for a terminal that is too narrow for them. Columns that are `optional`
    are left out where no row has anything in them.
    """
    kept = [place for place, header in enumerate(headers) if header not in optional or any(row[place] for row in rows)]
    headers = [headers[place] for place in kept]
    rows, short = ([[_cell(row[place]) for place in kept] for row in form] for form in (rows, short))
    if sys.stdout.isatty():
        _draw(headers, rows, short)
    else:
        _align([headers, *rows])


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Prints names and values; those without a value are left out."""
    _align([(name, _cell(value)) for name, value in fields if value])


def moment(time: datetime | None) -> str:
    """Returns a time for people, empty for none."""
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%SZ")


def short_moment(time: datetime) -> str:
    """Returns the time of today, or else the day."""
    return time.strftime("%H:%MZ" if time.date() == datetime.now(UTC).date() else "%m-%d")


def _cell(text: str) -> str:
    """Returns a text for one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], short: Sequence[Sequence[str]]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    table = _table(headers, rows)
    # Unbounded, since measuring goes no further than the width that there is.
    if short and console.measure(table, options=console.options.update(width=10_000)).maximum > console.width:
        table = _table(headers, short)
    console.print(table)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        # The first column is what one copies.
        table.add_column(header, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _align(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
