"""The node that something is printed or logged for.

It is known in the node's own thread and tasks, in threads that run in a copy of its context, and in bare threads that
the node has started. The thread of a pool works for the node that has submitted what it does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import thread as pools
from contextlib import contextmanager
from typing import Any, Final
from weakref import ReferenceType, ref

from dagorama.calls import capture
from dagorama.calls.capture import Scope, current_scope
from dagorama.running.belonging import scope_of_thread
from dagorama.worker.logs.patches import Patches

_ANY: Final = object()


class _Here(threading.local):
    """The present work of a thread."""

    is_told: bool = False  #: all that is written is in the log already, or is no business of a node's
    work: object = _ANY  #: for which node; `_ANY` where it is not the thread of a pool


_here = _Here()


def scope_here() -> Scope | None:
    """Return the scope of the node that this thread works for, if its output is to be captured."""
    if _here.is_told:
        return None
    scope = current_scope.get()
    if scope is None:
        work = _here.work
        if work is _ANY:
            scope = scope_of_thread()
        elif isinstance(work, ReferenceType):
            scope = work()
    # In a child that the node has forked there is nothing of the worker's.
    if scope is None or scope.logs is None or scope.process is not capture.here:
        return None
    return scope


@contextmanager
def told() -> Iterator[None]:
    """Have nothing captured that is written within the block."""
    before = _here.is_told
    _here.is_told = True
    try:
        yield
    finally:
        _here.is_told = before


def follow_pools(patches: Patches) -> None:
    """Have the threads of pools work for the nodes that submit."""
    item: Any = getattr(pools, "_WorkItem", None)
    if item is None:  # nothing says that it stays
        return
    make, run = item.__init__, item.run

    def noting(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        scope = scope_here()
        self.dagorama_scope = None if scope is None else ref(scope)

    def running(self: Any, *args: Any, **kwargs: Any) -> None:
        before = _here.work
        _here.work = getattr(self, "dagorama_scope", None)
        try:
            run(self, *args, **kwargs)
        finally:
            _here.work = before

    patches.put(item, "__init__", noting)
    patches.put(item, "run", running)
