"""A worker process's side of metrics: it answers its supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from dagorama.metrics.measures import Readings


class Answering:
    """Tells the supervisor what this process has counted. All is told by one thread, so that answers do not mix."""

    def __init__(self, asked: Connection, read: Callable[[], Readings]) -> None:
        """Answer from now on, in a thread of this process."""
        self._asked = asked
        self._read = read
        self._ending, self._end = Pipe(duplex=False)
        # Nodes may keep all others busy, and a scrape is answered all the same.
        self._thread = threading.Thread(target=self._run, name="dagorama-metrics", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Tell the supervisor unasked, as this process ends in order, and answer no more."""
        self._end.send_bytes(b".")
        self._thread.join()

    def _run(self) -> None:
        with suppress(EOFError, OSError):  # the supervisor has gone, and this process will
            while self._ending not in wait([self._asked, self._ending]):
                self._asked.recv_bytes()
                self._asked.send(self._read())
            self._asked.send(self._read())
