"""Connections are broken off when a job is to stop, whatever waits for the server then.

Many steps of a connection wait: being made, the handshake, each line of an answer. A server that gives a byte now and
then keeps any of them for ever, whatever time one system call may take. So another thread looks at the clock.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Self

#: It is looked so often whether the job is to stop, in seconds.
_LOOK_S = 0.1


class Cutter:
    """Breaks a connection off, in its block, as soon as `check` raises; its user then asks `check` in turn."""

    def __init__(self, check: Callable[[], None]) -> None:
        """`check` is asked in a thread of its own; once it has raised it goes on to do so."""
        self._check = check
        self._lock = Lock()
        self._end: socket.socket | None = None
        self._give_up_at = float("inf")
        self._over = Event()
        self._thread = Thread(target=self._look, name="dagorama-download", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()
        self._forget()

    def watch(self, connected: socket.socket) -> None:
        """Take this connection, also one that is about to be made, for the last one."""
        self._forget()
        with self._lock:
            # Of its own: TLS takes the descriptor out of the socket, and one that is closed may be another's by now.
            self._end = connected.dup()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Break off what takes longer than that in the block, and raise `TimeoutError`."""
        self._give_up_at = give_up_at = monotonic() + seconds
        try:
            yield
        except Exception:
            if monotonic() < give_up_at:
                raise
        finally:
            self._give_up_at = float("inf")
        if monotonic() >= give_up_at:
            raise TimeoutError("timed out")

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            if self._is_to_end():
                with self._lock, suppress(OSError):
                    if self._end is not None:
                        self._end.shutdown(socket.SHUT_RDWR)

    def _is_to_end(self) -> bool:
        try:
            self._check()
        except BaseException:
            return True
        return monotonic() >= self._give_up_at

    def _forget(self) -> None:
        with self._lock:
            if self._end is not None:
                self._end.close()
                self._end = None
