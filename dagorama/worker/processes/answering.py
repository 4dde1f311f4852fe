"""A worker process's side of metrics: it answers its supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from dagorama.metrics.measures import Readings


def answer_questions(asked: Connection, read: Callable[[], Readings]) -> None:
    """Answer the supervisor from now on, in a thread of this process."""

    def run() -> None:
        with suppress(EOFError, OSError):  # the supervisor has gone, and this process will
            while True:
                asked.recv_bytes()
                asked.send(read())

    # Nodes may keep all others busy, and a scrape is answered all the same.
    threading.Thread(target=run, name="dagorama-metrics", daemon=True).start()


def tell_last(asked: Connection, read: Callable[[], Readings]) -> None:
    """Tell the supervisor unasked, as this process ends in order."""
    with suppress(OSError):
        asked.send(read())
