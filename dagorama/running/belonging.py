"""The running node that a call belongs to, and the refusal of calls for which that cannot be told.

The calls of a node come into being together with its result, so each has to reach the node that is running. It does in
the node's own thread and tasks, and in threads that run in a copy of its context. It cannot from another process; and a
bare thread could at best be guessed to belong to one node or another.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TypeVar
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

from dagorama.calls import capture
from dagorama.calls.capture import Process, Scope, current_scope, inline_node
from dagorama.errors import CalledElsewhere

T = TypeVar("T")

#: Whether what is started here belongs to no node, although one runs.
_apart: ContextVar[bool] = ContextVar("_apart", default=False)

#: What multiprocessing calls a worker process, by which a child of one knows that it is.
WORKER_NAME = "dagorama-worker"

#: The process that runs nothing but a worker, if this is one or was forked from one.
_worker: Process | None = None
#: Threads that nodes have started, where the process has other threads as well.
_of_nodes: WeakSet[threading.Thread] = WeakSet()
#: By threads that nodes have started, the scopes of these. A thread that outlives its node is nobody's.
_scopes: WeakKeyDictionary[threading.Thread, ReferenceType[Scope]] = WeakKeyDictionary()
_start_thread = threading.Thread.start


def this_is_a_worker() -> None:
    """Note that every thread of this process that starts something does so for a node."""
    global _worker
    _worker = capture.here


def follow_threads() -> None:
    """Follow from now on which threads nodes have started: a new one has an empty context."""
    threading.Thread.start = _start  # type: ignore[method-assign]


def _start(self: threading.Thread) -> None:
    scope = current_scope.get() or scope_of_thread()
    if scope is not None:
        _scopes[self] = ref(scope)
    if scope is not None or inline_node.get() or threading.current_thread() in _of_nodes:
        _of_nodes.add(self)
    _start_thread(self)


def start_for_nobody(thread: threading.Thread) -> None:
    """Start a thread that works for no node, though one may be the first to need it."""
    _start_thread(thread)


def scope_of_thread() -> Scope | None:
    """Return the scope of the node that has started this thread, or the thread that has; None where none has.

    No call may be made a node's by that: it is a guess, as such a thread may serve others.
    """
    reference = _scopes.get(threading.current_thread())
    return None if reference is None else reference()


def check_process(process: Process | None, call: str) -> None:
    """Raise `CalledElsewhere` where the node that a call belongs to runs in another process than this."""
    if process is not capture.here:
        raise CalledElsewhere(
            call=call,
            where=f"process {os.getpid()}, which is not the process that the node runs in",
            way_out="Make the call in the node itself, and have other processes return plain values to it.",
        )


def check_is_no_node(call: str) -> None:
    """Raise `CalledElsewhere` where no node is known, but something is started for one all the same."""
    check_is_no_child(call)
    if _apart.get():
        return
    if _worker is capture.here or threading.current_thread() in _of_nodes:
        raise CalledElsewhere(
            call=call,
            where=f"thread {threading.current_thread().name!r}, which does not know for which node it works",
            way_out="Start what a node starts in the node itself, or in a thread that runs in a copy of its context: "
            "asyncio.to_thread(...), or pool.submit(contextvars.copy_context().run, ...).",
        )


def run_apart(function: Callable[[], T]) -> T:
    """Call a function whose starts are those of a program, also inside a node, which no instance of them joins.

    They are durable when they return, whatever becomes of the node. A node that runs again starts them again, so they
    need keys. The function finds none of the context here.
    """
    context = Context()
    context.run(_apart.set, True)
    return context.run(function)


def check_is_no_child(call: str) -> None:
    """Raise `CalledElsewhere` in a process that a node of a worker has started through os.fork or multiprocessing."""
    is_forked = _worker is not None and _worker is not capture.here
    if is_forked or (_worker is None and _is_child_of_worker()):
        check_process(None, call)


def _is_child_of_worker() -> bool:
    """Return whether multiprocessing has started this process for a node of a worker."""
    processes = sys.modules.get("multiprocessing.process")
    parent = processes.parent_process() if processes is not None else None
    return parent is not None and parent.name == WORKER_NAME
