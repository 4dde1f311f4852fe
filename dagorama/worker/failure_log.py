"""What a worker's log says of attempts that fail: a line for each, as long as one can read them."""

from __future__ import annotations

import threading
from collections import Counter
from time import monotonic
from uuid import UUID

from dagorama.logging import get_logger
from dagorama.v1.graph_pb2 import Failure
from dagorama.worker.held import Held

#: So many lines in so many seconds; of what fails beyond that in this time the number is told at its end.
LINES_MAX = 10
INTERVAL_S = 1.0

#: The whole message, and the traceback, are kept with the node.
MESSAGE_CHARS_MAX = 300


class FailureLog:
    """One for each worker, used by all its slots. `close` it, so that what was counted is told."""

    def __init__(self) -> None:
        """Nothing has failed."""
        self._lock = threading.Lock()
        self._lines = 0
        self._ends_at = 0.0  #: of the present interval, by `time.monotonic()`
        self._more: Counter[str] = Counter()  #: by function, what no line was written for
        self._timer: threading.Timer | None = None

    def tell(self, held: Held, failure: Failure) -> None:
        """Logs or counts an attempt that has failed."""
        with self._lock:
            now = monotonic()
            if now >= self._ends_at:
                self._lines, self._ends_at = 0, now + INTERVAL_S
            self._lines += 1
            if self._lines > LINES_MAX:
                self._count(held.function.name, self._ends_at - now)
                return
        get_logger().warning(
            "attempt %d of node %s (%s) failed: %s",
            held.attempt,
            UUID(bytes=held.node_id),
            held.function.name,
            _in_a_line(failure),
        )

    def close(self) -> None:
        """Tells what was counted and not told yet."""
        with self._lock:
            more, self._more = self._more, Counter()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if more:
            functions = ", ".join(f"{count} of {name}" for name, count in more.most_common())
            get_logger().warning("more attempts failed: %s; `dagorama show` lists the nodes", functions)

    def _count(self, name: str, rest_s: float) -> None:
        self._more[name] += 1
        if self._timer is None:
            self._timer = threading.Timer(rest_s, self.close)
            self._timer.daemon = True
            self._timer.start()


def _in_a_line(failure: Failure) -> str:
    first, _, rest = failure.message.strip().partition("\n")
    if rest or len(first) > MESSAGE_CHARS_MAX:
        first = f"{first[:MESSAGE_CHARS_MAX]} ..."
    return f"{failure.type}: {first}" if first else failure.type
