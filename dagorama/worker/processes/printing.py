"""Lines that nodes print are in the log at once: it is read while they run, and after their process has crashed.

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
    """Write each line that is printed within the block when it ends, also into a file or a pipe."""
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
    """Lose lines that can't be written from now on, in silence: no work is lost for them.

    Their reader may have gone away, and the disk that they went to may be full.
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
    """A file that takes all that is written."""

    def write(self, data: object, /) -> int:
        """Write as much of a buffer as can be written."""
        buffer = cast(bytes, data)  # the type of all buffers has no name before Python 3.12
        try:
            return super().write(buffer)
        except OSError:
            return memoryview(buffer).nbytes


class _KeptOpen(io.TextIOWrapper):
    """A stream that all nodes of a process print to."""

    def close(self) -> None:
        """Write all that is held back, and leave the stream open."""
        self.flush()
