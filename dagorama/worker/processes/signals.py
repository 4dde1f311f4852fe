"""Signals as something to wait for beside other things."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dagorama.worker.shell import forking


@contextmanager
def signals_in(*numbers: signal.Signals) -> Iterator[socket.socket]:
    """Give a socket from which the numbers of signals that arrive can be read, a byte each. For the main thread.

    A Python handler alone would not do: a signal that comes just before the main thread blocks on a lock is handled
    only when something else ends that wait.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer:
        forking.keep_from_forks(reader, writer)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        wakeup = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
