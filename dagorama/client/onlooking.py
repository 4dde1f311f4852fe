"""The progress of an instance while somebody waits for it: a line on the terminal, or below a notebook's cell.

It is shown where a person looks: in a notebook, and on a terminal unless workers of this process write there as well.
`DAGORAMA_PROGRESS` is "1" to show it there too, and "0" for never. Nothing is asked and nothing drawn before
a wait has taken two seconds, nor by a second wait beside the first.
"""

from __future__ import annotations

import os
import shutil
import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf
from time import monotonic
from typing import Any, Protocol
from unicodedata import east_asian_width

from dagorama.analysis.pace import Pace
from dagorama.analysis.wording import describe, pace_in_words
from dagorama.client.asking import broker
from dagorama.client.counts import FunctionProgress, InstanceProgress
from dagorama.client.own_workers import has_own_workers
from dagorama.client.port import CountNodes
from dagorama.client.settings import shows_progress
from dagorama.client.steps import Deadline, Steps
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.logging import printable

#: A wait that takes no longer shows nothing; then it is drawn so often.
BEGIN_S, INTERVAL_S = 2.0, 1.0
#: The broker has so long to count; a wait is not held up by it for longer.
COUNT_MAX_S = 1.0
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


#: The wait whose progress is shown; there is one place for all of them.
_shown: People | None = None


class People:
    """The people who see how far an instance has come while this process waits for it: an `Onlooker` of its silence."""

    def __init__(self, instance_id: bytes, place: Place | None = None) -> None:
        """Look from now on at `place`; without one, where a person does, and nowhere if none does."""
        self._instance_id = instance_id
        self._place = place or place_of_people()
        self._due_at = inf if self._place is None else monotonic() + BEGIN_S
        self._pace = Pace()

    def rest_s(self) -> float:
        """Return the seconds until something is to be shown, infinity for never."""
        return max(self._due_at - monotonic(), 0.0)

    def look(self) -> Steps[None]:
        """Count the nodes and show how many there are in which state, unless another wait is shown."""
        global _shown
        self._due_at = monotonic() + INTERVAL_S
        if self._place is None or _shown not in (None, self):
            return
        try:
            functions = yield from broker().ask(CountNodes(self._instance_id), Deadline(COUNT_MAX_S))
        except (BrokerRefused, BrokerUnavailable):
            return  # the wait itself says what there is to say about the broker
        _shown = self
        self._place.show(line_of(functions, self._pace, monotonic(), self._place.width()))

    def clear(self) -> None:
        """Take the line away, because something else is to be written, or the wait is over."""
        global _shown
        if _shown is self and self._place is not None:
            self._place.show("")
            _shown = None


def line_of(functions: Sequence[FunctionProgress], pace: Pace, at: float, width: int) -> str:
    """Return a line of so many letters at most; the pace takes in what has completed at a time."""
    whole = InstanceProgress(functions)
    pace.add(at, whole.completed)
    states = describe({str(state): count for state, count in whole.counts.items()})
    parts = [f"{whole.completed}/{whole.total} completed", states, pace_in_words(pace, whole.total)]
    if len(functions) > 1:
        parts += [f"{one.function.rpartition('.')[2]} {one.completed}/{one.total}" for one in functions]
    return _cut(printable(" ".join(", ".join(filter(None, parts)).split())), width)


def _cut(line: str, width: int) -> str:
    """Return as much of a line as so many columns of a terminal have room for; some letters take two (UAX #11)."""
    if line.isascii():
        return line if len(line) <= width else f"{line[: max(width - 1, 0)]}…"
    ends = list(accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in line))
    return line if ends[-1] <= width else f"{line[: bisect_right(ends, width - 1)]}…"


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
