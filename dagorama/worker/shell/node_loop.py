"""The event loop that asynchronous nodes share, in a thread of its own. Nothing that a node does ends it.

An error that would end a program, such as `sys.exit()` in a task or in a callback, ends the node that it belongs to, by
the context that asyncio keeps with every task and callback. Tasks of one node are out of reach for the others.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop, Handle
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, NoReturn, cast
from weakref import WeakKeyDictionary

from dagorama.calls.capture import Scope, current_scope
from dagorama.logging import get_logger

#: How long `close` waits. A coroutine that blocks the thread for longer is left to it.
CLOSE_S = 5.0

#: Methods of the loop that would end it, or what all nodes use of it.
_ENDING = ("stop", "close", "shutdown_asyncgens", "shutdown_default_executor")


class _Own:
    """Settings of the loop that a node has made, for itself alone."""

    executor: Executor | None = None
    factory: Callable[..., asyncio.Task[Any]] | None = None
    handler: Callable[[AbstractEventLoop, dict[str, Any]], object] | None = None
    debug: bool | None = None


#: By the scopes of those nodes that have set something.
_owns: WeakKeyDictionary[Scope, _Own] = WeakKeyDictionary()
_NOTHING = _Own()


class Rest(NamedTuple):
    """The rest of a node whose function is asynchronous: it is left to do on the event loop."""

    coroutine: Coroutine[object, object, None]
    #: The node's own, with its scope.
    context: Context


class NodeTask(asyncio.Task[Any]):
    """A task of a node, its first or one that it has made; or one of the worker's."""

    __slots__ = ("is_first", "scope")

    #: That of its node; None for a task of the worker's.
    scope: Scope | None
    is_first: bool

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task; not for the sake of another node, such as one that cancels all tasks there are."""
        asking = current_scope.get()
        if asking is not None and asking is not self.scope and (self.is_first or self.scope is None):
            return False
        return super().cancel(msg)


class NodeLoop:
    """Nodes that run as tasks. For one thread at a time, but for `start`, which is called on the loop, and `close`."""

    def __init__(self, name: str) -> None:
        """Begin nothing yet: the thread, of this name, begins with the first `call`."""
        _hide_neighbours()
        self._name = name
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._asked_at: float | None = None  #: since when the loop has not answered
        #: The first task of each node. The loop itself keeps no hold on its tasks.
        self._tasks: dict[Scope | None, NodeTask] = {}

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop, soon."""
        loop = self._loop
        if loop is None:
            loop = self._begin()
        loop.call_soon_threadsafe(partial(function, *args), context=Context())

    def start(self, rest: Rest, ended: Callable[[], object]) -> NodeTask:
        """Begin the rest of a node; `ended` is called, on the loop, when it has ended."""
        scope = rest.context[current_scope]
        task = NodeTask(rest.coroutine, loop=self._loop, context=rest.context)
        task.scope, task.is_first = scope, True
        self._tasks[scope] = task

        def forget(_: object) -> None:
            del self._tasks[scope]
            ended()

        task.add_done_callback(forget)
        return task

    def is_here(self) -> bool:
        """Return whether this thread is the loop's."""
        return threading.current_thread() is self._thread

    def lag_s(self, within_s: float) -> float | None:
        """Return how long the loop takes to come to a call, no more than that; None where it has not begun."""
        loop = self._loop
        if loop is None or self._closing:
            return None
        began_at = monotonic()
        came = threading.Event()  #: set by the loop; who scrapes waits for it, and nobody else
        loop.call_soon_threadsafe(came.set, context=Context())
        came.wait(within_s)
        return monotonic() - began_at

    def answers(self, within_s: float) -> bool:
        """Return whether the loop goes on, and no coroutine has blocked it for so long. To be asked now and again."""
        asked_at, loop = self._asked_at, self._loop
        if loop is None:
            return True
        if asked_at is None:
            self._asked_at = asked_at = monotonic()
            loop.call_soon_threadsafe(self._answer, context=Context())
        return monotonic() < asked_at + within_s

    def _answer(self) -> None:
        self._asked_at = None

    def close(self, wait_s: float = 0.0) -> None:
        """Cancel all that still runs, end the thread, and wait so long for that."""
        self._closing = True
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(partial(type(loop).stop, loop))
            thread.join(wait_s)

    # -- the loop itself ----------------------------------------------------------------------------------------------

    def _begin(self) -> AbstractEventLoop:
        loop = asyncio.new_event_loop()
        _guard(loop)
        # All coroutines of nodes run here. A slot's thread could be lost to a function that blocks.
        self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
        self._thread.start()
        self._loop = loop
        return loop

    def _run(self, loop: AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._closing:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # What was to run after the one that raised is still queued.
                self._blame(error)
        for name in _GUARDED:
            delattr(loop, name)
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _blame(self, error: BaseException) -> None:
        """End the node whose task or callback raised what would end the loop."""
        scope = _scope_of(error)
        if scope is None and len(self._tasks) == 1:  # a loop of another make keeps no record of it
            scope = next(iter(self._tasks))
        task = self._tasks.get(scope)
        if scope is None or task is None:
            get_logger().warning(
                "%s was raised on the event loop, by no node that still runs; the loop goes on",
                type(error).__name__,
                exc_info=error,
            )
            return
        scope.cause = error
        task.cancel()


def _scope_of(error: BaseException) -> Scope | None:
    """Return the node whose task or callback raised an error, by the context of asyncio's handle for it."""
    traceback = error.__traceback__
    while traceback is not None:
        handle = traceback.tb_frame.f_locals.get("self")
        if isinstance(handle, Handle):
            context: Context = handle._context  # type: ignore[attr-defined]  # there is no other way to it
            return context.get(current_scope)
        traceback = traceback.tb_next
    return None


# -- what nodes find in place of the loop's own methods --------------------------------------------------------------


def _guard(loop: AbstractEventLoop) -> None:
    """Keep one node's changes of the loop from the others, whichever make of a loop it is."""
    for name in _ENDING:
        setattr(loop, name, partial(_refuse, name))
    loop.set_task_factory(cast(Any, _make_task))
    loop.set_exception_handler(partial(_handle, loop.default_exception_handler))
    for name, function in {
        "run_in_executor": partial(_run_in_executor, loop.run_in_executor),
        "set_default_executor": partial(_set, "executor"),
        "set_task_factory": partial(_set, "factory"),
        "get_task_factory": partial(_get, "factory"),
        "set_exception_handler": partial(_set, "handler"),
        "get_exception_handler": partial(_get, "handler"),
        "set_debug": partial(_set, "debug"),
        "get_debug": partial(_is_debugged, loop.get_debug),
    }.items():
        setattr(loop, name, function)


#: What `_guard` sets that has to go before the loop can be closed.
_GUARDED = (
    *_ENDING,
    "run_in_executor",
    "set_default_executor",
    "set_task_factory",
    "get_task_factory",
    "set_exception_handler",
    "get_exception_handler",
    "set_debug",
    "get_debug",
)


def _own(scope: Scope | None) -> _Own:
    """Return the settings of a node; outside of nodes there are none."""
    return _NOTHING if scope is None else _owns.get(scope, _NOTHING)


def _set(what: str, value: object) -> None:
    """Set something for the node that runs."""
    scope = current_scope.get()
    if scope is not None:
        if what == "handler" and value is not None and not callable(value):
            raise TypeError(f"A callable object or None is expected, got {value!r}")  # as asyncio says it
        setattr(_owns.setdefault(scope, _Own()), what, value)


def _get(what: str) -> object:
    return getattr(_own(current_scope.get()), what)


def _is_debugged(is_debugged: Callable[[], bool]) -> bool:
    own = _own(current_scope.get()).debug
    return is_debugged() if own is None else bool(own)


def _handle(by_default: Callable[[dict[str, Any]], object], loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle an error that nobody has caught as its node wants it."""
    handler = _own(_scope_in(context)).handler
    if handler is None:
        by_default(context)
    else:
        handler(loop, context)


def _scope_in(context: dict[str, Any]) -> Scope | None:
    """Return the node whose error it is that asyncio tells of.

    The owner of a future is unknown: the collector may let go of it while another node runs.
    """
    thing = context.get("task") or context.get("future")
    if thing is not None:
        scope: Scope | None = getattr(thing, "scope", None)
        return scope
    handle: Any = context.get("handle")
    return current_scope.get() if handle is None else handle._context.get(current_scope)


def _refuse(name: str) -> NoReturn:
    raise RuntimeError(
        f"loop.{name}() in a node: this event loop is the worker's, and other nodes run on it; a function that needs a "
        "loop of its own is a plain one, with asyncio.run()"
    )


def _run_in_executor(
    run: Callable[..., asyncio.Future[Any]], executor: Executor | None, function: Callable[..., Any], *args: object
) -> asyncio.Future[Any]:
    return run(_own(current_scope.get()).executor if executor is None else executor, function, *args)


def _make_task(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task for a node."""
    make = _own(current_scope.get()).factory
    if make is not None:
        return make(loop, coroutine, **options)
    task = NodeTask(coroutine, loop=loop, **options)
    context: Context | None = options.get("context")
    task.scope = current_scope.get() if context is None else context.get(current_scope)
    task.is_first = False
    return task


_all_tasks = asyncio.all_tasks


def _tasks_of_node(loop: AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """Return all tasks of a loop; in a node, those of this node: many a script cancels or awaits all that there are."""
    tasks = _all_tasks(loop)
    scope = current_scope.get()
    return tasks if scope is None else {task for task in tasks if getattr(task, "scope", scope) is scope}


def _hide_neighbours() -> None:
    """Let nodes find their own tasks only. For everybody else `asyncio.all_tasks` stays as it is."""
    asyncio.all_tasks = asyncio.tasks.all_tasks = _tasks_of_node
