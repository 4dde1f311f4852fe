"""The worker's own log, written in a thread of its own.

To write a line may take long: a handler of the program's sends it over a network, the terminal is stopped, nobody reads
the pipe. Neither heartbeats nor reports nor new nodes wait for that.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from contextlib import suppress

from dagorama.logging import get_logger

#: So many lines may wait to be written; those that come then are left out, and counted.
WAITING_MAX = 1000


class Log:
    """The log of one worker, to be used by any thread and closed at the end."""

    def __init__(self) -> None:
        """Write nothing yet: the thread begins with the first line."""
        self._changed = threading.Condition()  #: for those below; who writes waits at it
        self._lines: deque[tuple[str, tuple[object, ...]] | None] = deque()
        self._thread: threading.Thread | None = None
        self._left_out = 0

    def warn(self, text: str, *args: object) -> None:
        """Log a warning, with `args` put into the text as `logging` does."""
        with self._changed:
            if len(self._lines) >= WAITING_MAX:
                self._left_out += 1
                return
            if self._left_out:
                self._put(("%d lines are left out here, as the log takes too long to write", (self._left_out,)))
                self._left_out = 0
            self._put((text, args))
            if self._thread is None:
                # Others go on while a line is written.
                self._thread = threading.Thread(target=self._write, name="dagorama-log", daemon=True)
                self._thread.start()

    def close(self, wait_s: float) -> None:
        """Write what there is, and wait for that, but no longer. Nothing may be logged any more."""
        with self._changed:
            thread = self._thread
            self._put(None)
        if thread is not None:
            thread.join(wait_s)

    def _put(self, line: tuple[str, tuple[object, ...]] | None) -> None:
        self._lines.append(line)
        self._changed.notify()

    def _next(self) -> tuple[str, tuple[object, ...]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            return self._lines.popleft()

    def _write(self) -> None:
        while (line := self._next()) is not None:
            text, args = line
            try:
                get_logger().warning(text, *args)
            except BaseException:  # such as of a level that a node has set, and that is none
                with suppress(Exception):
                    traceback.print_exc()
