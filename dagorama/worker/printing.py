"""What nodes print, in the log at once: a log is read while they run, and after their process has crashed.

A node that closes one of the streams closes it for no other.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast


@contextmanager
def lines_at_once() -> Iterator[None]:
    """Has each line that is printed within the block written when it ends, also into a file or a pipe."""
    stdout = sys.stdout
    # In a notebook it is something else, and with `python -u` nothing is held back anyway.
    if not isinstance(stdout, io.TextIOWrapper) or stdout.line_buffering or stdout.write_through:
        yield
        return
    stdout.reconfigure(line_buffering=True)
    try:
        yield
    finally:
        if not stdout.closed:
            stdout.reconfigure(line_buffering=False)


def print_also_to_nobody() -> None:
    """Has what is printed from now on be lost, in silence, where it can't be written: no work is lost for it.

    Whoever read it may have gone away, and the disk that it went to may be full.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):
                stream.flush()
            raw = _Heedless(stream.fileno(), "wb", closefd=False)
            again = _KeptOpen(
                cast(BinaryIO, raw if stream.write_through else io.BufferedWriter(raw)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, again)


class _Heedless(io.FileIO):
    """A file that takes whatever is written."""

    def write(self, data: object, /) -> int:
        """Writes what can be written of a buffer."""
        buffer = cast(bytes, data)  # the type of all buffers has no name before Python 3.12
        try:
            return super().write(buffer)
        except OSError:
            return memoryview(buffer).nbytes


class _KeptOpen(io.TextIOWrapper):
    """A stream that all nodes of a process print to."""

    def close(self) -> None:
        """Writes what is held back, and leaves the stream open."""
        self.flush()
