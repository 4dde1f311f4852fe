"""What nodes print, in the log at once: a log is read while they run, and after their process has crashed."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
