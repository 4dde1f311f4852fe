"""The context that nodes begin with: all that modules set when they were imported, and nothing that a node has set.

It is the process's, and changes when another module is imported. A node gets a copy. Values stay shared between copies,
as in Python's own, but for decimal's contexts, which are changed in place: `decimal.getcontext().prec = 50`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from dagorama.calls.capture import current_scope, inline_node
from dagorama.options import NO_OPTIONS, current_options

T = TypeVar("T")

#: Context variables, each with what it is to have.
Settings = tuple[tuple[ContextVar[Any], Any], ...]


#: What is no business of the nodes that a worker runs, with what it is where it is not set.
_OF_A_CALL: Settings = ((current_scope, None), (inline_node, None), (current_options, NO_OPTIONS))


class _Base(NamedTuple):
    context: Context
    #: Those of its variables of which each copy needs a value of its own.
    decimals: Settings


_lock = Lock()  #: for changes of what is below
_imported: dict[ContextVar[Any], Any] = {}  #: what modules have set that were imported for nodes
_defined: dict[ContextVar[Any], Any] = {}  #: what was set where definitions were written, for threads that lack it
_base = _Base(Context(), ())


def adopt() -> None:
    """Make the current context, in which the user's modules were imported, the one that nodes begin with."""
    context = copy_context()
    _set(context, tuple((var, empty) for var, empty in _OF_A_CALL if var in context))
    with _lock:
        lacking = {var: value for var, value in (_defined | _imported).items() if var not in context}
        _publish(context, lacking)


def note_definition() -> None:
    """Remember the context in which a module defines a class. A worker may be made in a thread that has none."""
    if current_scope.get() is None and inline_node.get() is None:
        of_a_call = {var for var, _ in _OF_A_CALL}
        _defined.update((var, value) for var, value in copy_context().items() if var not in of_a_call)


def import_in_base(function: Callable[[], T]) -> T:
    """Call a function that imports a module. All that this sets holds in the nodes that begin from now on."""
    value, settings = settings_of(function)
    if settings:
        with _lock:
            _imported.update(settings)
            _publish(_base.context.copy(), dict(settings))
    return value


def settings_of(function: Callable[[], T]) -> tuple[T, Settings]:
    """Call a function in a context as nodes have it; return its result, and all that it has set in that context."""
    context = node_context()
    before = {var: (value, _state(value)) for var, value in context.items()}
    given = context.run(function)
    changed = [(var, value) for var, value in context.items() if var not in before or _differs(value, *before[var])]
    return given, tuple(changed)


def node_context(settings: Settings = ()) -> Context:
    """Make the context of one node, with `settings` on top."""
    context, decimals = _base
    copied = context.copy()
    if decimals or settings:
        _set(copied, (*decimals, *settings))
    return copied


def own_copy(context: Context) -> Context:
    """Copy a context, as for a node that is to change nothing in it."""
    copied = context.copy()
    _set(copied, _decimals(copied))
    return copied


def _publish(context: Context, settings: dict[ContextVar[Any], Any]) -> None:
    global _base
    _set(context, tuple(settings.items()))
    _base = _Base(context, _decimals(context))


def _set(context: Context, settings: Settings) -> None:
    for var, value in settings:
        context.run(var.set, value.copy() if _is_decimals(value) else value)


def _decimals(context: Context) -> Settings:
    return tuple((var, value) for var, value in context.items() if _is_decimals(value))


def _differs(value: object, before: object, its_state: str) -> bool:
    # Without asking the value: two arrays are neither equal nor not.
    return value is not before or _state(value) != its_state


def _state(value: object) -> str:
    """Return a mark that differs once something has been changed in place."""
    return repr(value) if _is_decimals(value) else ""


def _is_decimals(value: object) -> bool:
    decimal = sys.modules.get("decimal")  # it may be in the middle of its import
    kind = getattr(decimal, "Context", None)
    return kind is not None and isinstance(value, kind)
