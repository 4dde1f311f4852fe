"""Rows for people: drawn on a terminal, aligned and whole where the output goes to a file or another program."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import click

from dagorama.logging import printable

#: A last column that may be wrapped gets at least so many columns of the terminal, and takes at most so many lines.
LAST_MIN, LAST_LINES_MAX = 16, 4
#: Between two columns.
_GAP = 2


class Form(NamedTuple):
    """A table: headers, and rows with a cell for each."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_table(whole: Form, *narrower: Form, optional: Collection[str] = frozenset(), wraps: str = "") -> None:
    """Print a table; on a terminal the first of the forms that fits into its width.

    `narrower` say the same in fewer letters, or less. Where none fits, each row of the last one is a paragraph. Columns
    that are `optional` are left out where no row has anything in them. The last column is wrapped, if `wraps` is its
    name.
    """
    if is_drawn():
        drawn = table_lines(whole, *narrower, width=terminal_width(), optional=optional, wraps=wraps)
        click.echo("\n".join(drawn))
    else:
        _align(_cleaned(whole, optional))


def table_lines(
    whole: Form, *narrower: Form, width: int, optional: Collection[str] = frozenset(), wraps: str = ""
) -> list[str]:
    """Return the lines of a table as `print_table` draws it on a terminal of so many columns."""
    # What is empty in all rows says nothing, and takes room from what does not fit.
    forms = [_cleaned(form, {*optional, *form.headers[1:]}) for form in (whole, *narrower)]
    for form in forms:
        if not form.rows or _fits(form, width, wraps):
            return list(_draw(form, width))
    return list(_tell(forms[-1], width))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, but no names without a value."""
    told = [(name, _cell(value)) for name, value in fields if value]
    if not is_drawn():
        _align(Form(told[0], told[1:]))
        return
    width = terminal_width()
    indent = max(len(name) for name, _ in told) + _GAP
    for name, value in told:
        words = max(map(letters, value.split()), default=0)
        # A word that does not fit beside its name, as an id, may fit below it.
        first, further = (f"{name:<{indent}}", indent) if words <= width - indent else (f"{name}\n  ", _GAP)
        click.echo(first + f"\n{' ' * further}".join(_wrapped(value, width - further)))


def print_text(text: str, *, hang: int = _GAP) -> None:
    """Print lines of text; on a terminal they are wrapped at words, with further lines `hang` columns deeper."""
    if not is_drawn():
        click.echo(text)
        return
    width = terminal_width()
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip()) + hang
        first, *more = _wrapped(line.lstrip(), width - indent) or [""]
        click.echo(line[: len(line) - len(line.lstrip())] + first)
        for rest in more:
            click.echo(" " * indent + rest)


def terminal_width() -> int:
    """Return how many columns the terminal has."""
    return shutil.get_terminal_size().columns


def is_drawn() -> bool:
    """Return whether a person sees the output, on a terminal."""
    return sys.stdout.isatty()


def letters(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # not for those who need only letters

    return cell_len(text)


def moment(time: datetime | None) -> str:
    """Return a time for people, empty for none."""
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%SZ")


def short_moment(time: datetime) -> str:
    """Return the time of today, or else the day."""
    return time.strftime("%H:%MZ" if time.date() == datetime.now(UTC).date() else "%m-%d")


def end_of(one: UUID) -> str:
    """Return the end of an id, which every command takes for it: ends tell ids apart, as they begin with the time."""
    return one.hex[-12:]


def _cell(text: str) -> str:
    """Return a text for one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _cleaned(form: Form, optional: Collection[str]) -> Form:
    """Return a table of cells for one line each, without optional columns that have nothing in them."""
    headers, rows = form
    kept = [place for place, header in enumerate(headers) if header not in optional or any(row[place] for row in rows)]
    return Form([headers[place] for place in kept], [[_cell(row[place]) for place in kept] for row in rows])


def _widths(form: Form) -> list[int]:
    return [max(map(letters, column)) for column in zip(form.headers, *form.rows, strict=True)]


def _fits(form: Form, width: int, wraps: str) -> bool:
    """Return whether a table can be drawn in so many columns of the terminal, its last one wrapped if it may be."""
    *widths, last = _widths(form)
    left = width - sum(widths) - _GAP * len(widths)
    if last <= left or form.headers[-1] != wraps:
        return last <= left
    return left >= LAST_MIN and all(len(_wrapped(row[-1], left)) <= LAST_LINES_MAX for row in form.rows)


def _draw(form: Form, width: int) -> Iterator[str]:
    """Yield the lines of a table that fits; its last column gets the width that the others leave."""
    *widths, _ = _widths(form)
    indent = sum(widths) + _GAP * len(widths)
    for number, row in enumerate([form.headers, *form.rows]):
        beginning = "".join(_padded(cell, each) for cell, each in zip(row, widths, strict=False))
        for line, text in enumerate(_wrapped(row[-1], width - indent)):
            drawn = f"{' ' * indent if line else beginning}{text}".rstrip()
            yield drawn if number else bold(drawn)


def _tell(form: Form, width: int) -> Iterator[str]:
    """Yield the lines of a paragraph for each row: its subject, and below it the other columns."""
    headers = form.headers[1:]
    for first, *cells in form.rows:
        told = [f"{header.lower()} {cell}" for header, cell in zip(headers, cells, strict=True) if cell]
        for line in _wrapped(first, width):
            yield bold(line)
        for line in _wrapped("; ".join(told), width - _GAP):
            yield " " * _GAP + line


def _align(form: Form) -> None:
    widths = _widths(form)
    for row in (form.headers, *form.rows):
        click.echo("".join(_padded(cell, each) for cell, each in zip(row, widths, strict=True)).rstrip())


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - letters(cell) + _GAP)


def bold(text: str) -> str:
    """Return a text as the terminal shows it in bold letters, if it has any."""
    return text if os.environ.get("TERM") == "dumb" else click.style(text, bold=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of a width: broken between words, and inside of a word only where that is too long."""
    width = max(width, 2)  # a letter may take two columns
    lines = [""]
    for word in text.split(" "):
        if letters(lines[-1]) + 1 + letters(word) <= width and lines[-1]:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        while letters(word) > width:
            cut = next(end for end in range(len(word), 0, -1) if letters(word[:end]) <= width)
            lines[-1], word = word[:cut], word[cut:]
            lines.append("")
        lines[-1] = word
    return lines
