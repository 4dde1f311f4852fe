"""The progress of a run, for people: how many nodes are in which state, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import click

from dagorama import FunctionProgress

if TYPE_CHECKING:
    from dagorama.cli.drawn_progress import DrawnProgress

#: So often nodes are counted by function: it costs the broker more than a change does.
COUNT_S = 0.5
#: The values of TERM, in small letters, of what can only add lines.
DUMB_TERMINALS = {"dumb", "unknown"}


class LiveProgress(ExitStack):
    """Lines that are redrawn on a terminal, as `DrawnProgress` has them; nothing at all elsewhere."""

    def __init__(self, title: str, names: Sequence[str] = ()) -> None:
        """Show the progress of `title`. Lines that begin with one of the `names`, as "load | ", have it in a colour."""
        super().__init__()
        self._drawn: DrawnProgress | None = None
        # Where FORCE_COLOR is set, as in kernels of notebooks and in CI, `rich` would take a pipe for a terminal.
        if sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in DUMB_TERMINALS:
            from dagorama.cli.drawn_progress import DrawnProgress

            self._drawn = DrawnProgress(title, names)

    @property
    def live(self) -> bool:
        """Return whether anything is drawn."""
        return self._drawn is not None

    def __enter__(self) -> Self:
        """Start to draw."""
        if self._drawn:
            self.enter_context(self._drawn)
        return self

    def update(self, counts: Mapping[str, int]) -> None:
        """Show how many nodes are in each state."""
        if self._drawn:
            self._drawn.update(counts)

    def update_functions(self, functions: Sequence[FunctionProgress]) -> None:
        """Show a line for each of the first functions, where there are several."""
        if self._drawn:
            self._drawn.update_functions(functions)

    def show(self, line: str) -> None:
        """Print a line of a worker above the progress."""
        if self._drawn:
            self._drawn.show(line)
        else:
            click.echo(line, err=True)
