"""The progress of an instance while somebody waits for it: a line on the terminal, or below a notebook's cell.

It is shown where a person looks: in a notebook, and on a terminal unless workers of this process write there as well.
`DAGORAMA_PROGRESS` is "1" to show it there too, and "0" for never. Nothing is asked and nothing drawn before
a wait has taken two seconds, nor by a second wait beside the first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf
from time import monotonic
from unicodedata import east_asian_width

from dagorama.analysis.pace import Pace
from dagorama.analysis.wording import describe, pace_in_words
from dagorama.client.asking import broker
from dagorama.client.counts import FunctionProgress, InstanceProgress
from dagorama.client.places import Place, place_of_people
from dagorama.client.port import CountNodes
from dagorama.client.steps import Deadline, Steps
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.logging import printable

#: A wait that takes no longer shows nothing; then it is drawn so often.
BEGIN_S, INTERVAL_S = 2.0, 1.0
#: The broker has so long to count; a wait is not held up by it for longer.
COUNT_MAX_S = 1.0


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
