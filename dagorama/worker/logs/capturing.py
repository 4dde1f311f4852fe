"""The capture of what nodes write, for as long as a process has workers."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from dagorama.calls.capture import Scope
from dagorama.running.belonging import follow_threads
from dagorama.worker.logs.patches import Patches
from dagorama.worker.logs.programs import Pump, capture_forks, capture_programs
from dagorama.worker.logs.records import capture_records
from dagorama.worker.logs.streams import Streams
from dagorama.worker.logs.whose import follow_pools

_lock = threading.Lock()  #: for those below: a process may have several workers, as tests and notebooks do
_users = 0
_patches = Patches()
_streams = Streams(with_names=False)


def begin_capture(*, with_names: bool | None = False, with_programs: bool = True) -> None:
    """Have captured what nodes write until `end_capture` is called as often as this.

    `with_names` has names shown before their lines in the worker's output; None has them where a terminal shows it.
    Without `with_programs`, programs and forked children write where they would. The first call decides.
    """
    global _users, _streams
    with _lock:
        _users += 1
        if _users > 1:
            return
        follow_threads()
        follow_pools(_patches)
        capture_records(_patches)
        if with_programs:
            pump = Pump(_show)
            capture_programs(_patches, pump)
            capture_forks(pump)
        _streams = Streams(with_names=with_names)
        _streams.put()


def renew_capture() -> None:
    """Capture also what is printed to streams that were put in the place of others meanwhile, as tests do."""
    with _lock:
        if _users:
            _streams.put()


def end_capture() -> None:
    """Capture no more, once all have said so."""
    global _users
    with _lock:
        _users -= 1
        if not _users:
            capture_forks(None)
            _patches.undo()
            _streams.remove()


def _show(scope: Scope, descriptor: int, data: bytes) -> None:
    """Show what a program of a node has written, where it would have written it itself."""
    stream = _streams.named(descriptor)
    if stream is not None:
        # A terminal that has gone, or a stream that somebody has closed, must not end the thread that reads all pipes:
        # programs would wait for ever once theirs is full.
        with suppress(OSError, ValueError):
            stream.show(scope, data)
        return
    left = memoryview(data)
    with suppress(OSError):  # nobody reads it, or the disk is full: as with all that workers print
        while left:
            left = left[os.write(descriptor, left) :]
