"""The place where a person looks: a line on the terminal, or below a notebook's cell."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, Protocol

from dagorama.client.own_workers import has_own_workers
from dagorama.client.settings import shows_progress

#: Below a cell of a notebook there is room for so many letters.
NOTEBOOK_WIDTH = 110


class Place(Protocol):
    """A line that people see, and that is written anew."""

    def width(self) -> int:
        """Return how many letters there is room for."""
        ...

    def show(self, line: str) -> None:
        """Write it in the place of the one before; an empty one takes that away."""
        ...


class _Terminal:
    """The line that the cursor of standard error stands in."""

    def width(self) -> int:
        # In the last column the cursor would go on to the next line.
        return shutil.get_terminal_size().columns - 1

    def show(self, line: str) -> None:
        try:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody sees it any more, which is no reason to end a wait


class _Cell:
    """A line below the cell of a notebook that runs."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    def width(self) -> int:
        return NOTEBOOK_WIDTH

    def show(self, line: str) -> None:
        text = {"text/plain": line}
        if self._handle is None:
            self._handle = self._display(text, raw=True, display_id=True)
        else:
            self._handle.update(text, raw=True)


def place_of_people() -> Place | None:
    """Return the place where a person looks; None where none does, or does not want to."""
    wanted = shows_progress()
    if wanted is False:
        return None
    cell = _cell()
    if cell is not None:
        return cell
    stream = sys.stderr
    try:
        is_terminal = stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return None
    if not is_terminal or os.environ.get("TERM", "dumb") == "dumb" or (has_own_workers() and not wanted):
        return None
    return _Terminal()


def _cell() -> Place | None:
    """Return a place below the cell that runs; None outside of notebooks. It imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    display = getattr(sys.modules.get("IPython.display"), "display", None)
    # A shell at a terminal has no kernel.
    return _Cell(display) if getattr(shell, "kernel", None) is not None and display is not None else None
