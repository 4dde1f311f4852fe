"""Rows for people: drawn on a terminal, aligned and whole where the output goes to a file or another program."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from datetime import datetime

import click


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Collection[str] = frozenset()
) -> None:
    """Prints rows under headers; on a terminal, cells that don't fit into its width are wrapped.

    Columns that are `optional` are left out where no row has anything in them.
    """
    kept = [place for place, header in enumerate(headers) if header not in optional or any(row[place] for row in rows)]
    headers, rows = [headers[place] for place in kept], [[row[place] for place in kept] for row in rows]
    if sys.stdout.isatty():
        _draw(headers, rows)
    else:
        _align([headers, *rows])


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Prints names and values; those without a value are left out."""
    _align([(name, value) for name, value in fields if value])


def moment(time: datetime | None) -> str:
    """Returns a time for people, empty for none."""
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%SZ")


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        # The first column is what one copies.
        table.add_column(header, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def _align(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
