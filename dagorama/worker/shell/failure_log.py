"""Failed attempts in a worker's log: a line for each, as long as one can read them."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from dagorama.worker.shell.held import Failure, Held
from dagorama.worker.shell.log import Log

#: So many lines in so many seconds; of what fails beyond that in this time the number is told at its end.
LINES_MAX = 10
INTERVAL_S = 1.0

#: The whole message, and the traceback, are kept with the node.
MESSAGE_CHARS_MAX = 300


class FailureLog:
    """One for each worker. Not for several threads. `flush` it at `due_at` and at the end."""

    def __init__(self, log: Log) -> None:
        """Begin when nothing has failed."""
        self._log = log
        self._lines = 0
        self._ends_at = 0.0  #: of the present interval
        self.more: Counter[str] = Counter()  #: by function, what no line was written for

    @property
    def due_at(self) -> float | None:
        """Return when what was counted is to be told; None where nothing was."""
        return self._ends_at if self.more else None

    def tell(self, held: Held, failure: Failure, now: float) -> None:
        """Log or count an attempt that has failed."""
        if now >= self._ends_at:
            self.flush()
            self._lines, self._ends_at = 0, now + INTERVAL_S
        self._lines += 1
        if self._lines > LINES_MAX:
            self.more[held.function.name] += 1
            return
        self._log.warn(
            "attempt %d of node %s (%s) failed: %s",
            held.attempt,
            UUID(bytes=held.node_id),
            held.function.name,
            _in_a_line(failure),
        )

    def flush(self) -> None:
        """Tell what was counted and not told yet."""
        more, self.more = self.more, Counter()
        if more:
            functions = ", ".join(f"{count} of {name}" for name, count in more.most_common())
            self._log.warn("more attempts failed: %s; `dagorama show` lists the nodes", functions)


def _in_a_line(failure: Failure) -> str:
    first, _, rest = failure.message.strip().partition("\n")
    if rest or len(first) > MESSAGE_CHARS_MAX:
        first = f"{first[:MESSAGE_CHARS_MAX]} ..."
    return f"{failure.type}: {first}" if first else failure.type
