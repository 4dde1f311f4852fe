"""The worker's own log, written in a thread of its own.

To write a line may take long: a handler of the program's sends it over a network, the terminal is stopped, nobody reads
the pipe. Neither heartbeats nor reports nor new nodes wait for that.
"""

from __future__ import annotations

import threading
import traceback
from contextlib import suppress
from queue import SimpleQueue

from dagorama.logging import get_logger

#: So many lines may wait to be written; those that come then are left out, and counted.
WAITING_MAX = 1000


class Log:
    """The log of one worker, to be used by any thread and closed at the end."""

    def __init__(self) -> None:
        """Write nothing yet: the thread begins with the first line."""
        self._lines: SimpleQueue[tuple[str, tuple[object, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()  #: for those below
        self._thread: threading.Thread | None = None
        self._left_out = 0

    def warn(self, text: str, *args: object) -> None:
        """Log a warning, with `args` put into the text as `logging` does."""
        with self._lock:
            if self._lines.qsize() >= WAITING_MAX:
                self._left_out += 1
                return
            if self._left_out:
                self._lines.put(("%d lines are left out here, as the log takes too long to write", (self._left_out,)))
                self._left_out = 0
            self._lines.put((text, args))
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="dagorama-log", daemon=True)
                self._thread.start()

    def close(self, wait_s: float) -> None:
        """Write what there is, and wait for that, but no longer. Nothing may be logged any more."""
        with self._lock:
            thread = self._thread
            self._lines.put(None)
        if thread is not None:
            thread.join(wait_s)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            text, args = line
            try:
                get_logger().warning(text, *args)
            except BaseException:  # such as of a level that a node has set, and that is none
                with suppress(Exception):
                    traceback.print_exc()
