"""One attempt at a node: its function is called in the node's context, and the outcome is a value or a failure.

Workers, the in-process broker and inline mode all run their nodes through here, so they find fault with the same
things. Each of them makes the arguments before, and reports or repeats afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

from dagorama.calls import capture
from dagorama.calls.capture import Caller
from dagorama.errors import NotAwaited
from dagorama.retry import RetryConfiguration
from dagorama.running.giving_up import gives_up
from dagorama.running.unawaited import check_all_awaited

NodeT = TypeVar("NodeT", bound=Caller)


class Failed:
    """The outcome of an attempt that gave no value. Functions cannot return one: nothing of theirs is of this type."""

    __slots__ = ("error", "is_fault")

    def __init__(self, error: BaseException, *, is_fault: bool = False) -> None:
        """Keep the error. With `is_fault` the function did not raise it, but has returned with something undone."""
        self.error = error
        self.is_fault = is_fault

    def is_final(self, retry: RetryConfiguration | None) -> bool:
        """Return whether another attempt is in vain, by the kind of the error or by the function's policy."""
        # The same function will forget it, or go on without a value, again.
        if self.is_fault or isinstance(self.error, NotAwaited):
            return True
        return retry is not None and gives_up(retry, self.error)

    def again(self) -> NoReturn:
        """Raise the error as if nobody had caught it. Only once: it is let go of, or it would be in its own frames."""
        error = self.error
        context = error.__context__
        del self.error
        try:
            raise error
        finally:
            error.__context__ = context  # where an exception is handled just now, it would be that
            del error, context


def attempt(
    variable: ContextVar[NodeT | None],
    node: NodeT,
    function: Callable[..., object],
    this: object,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> object:
    """Call a plain function, with `variable` set to its node. Return its value, or `Failed` whatever it raises.

    It is to be called in the node's own context, and raises nothing.
    """
    variable.set(node)
    try:
        value = function(this, *args, **kwargs)
    except BaseException as error:
        return Failed(error)
    return _without_fault(node, value) if node.begun or node.misuse is not None else value


async def attempt_async(
    variable: ContextVar[NodeT | None],
    node: NodeT,
    function: Callable[..., Any],
    this: object,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> object:
    """Do the same as `attempt` for an asynchronous function."""
    variable.set(node)
    try:
        value: object = await function(this, *args, **kwargs)
    except BaseException as error:
        return Failed(error)
    return _without_fault(node, value) if node.begun or node.misuse is not None else value


def _without_fault(node: Caller, value: object) -> object:
    """Return the value of a function that has returned; `Failed` where it has left out something that decides it."""
    if node.process is not capture.here:  # a child that the function has forked: the node goes on in its parent
        return value
    if node.misuse is not None:
        error, line = node.misuse
        error.add_note(f"The function has caught this error of {line}, and gone on as if there were a value.")
        return Failed(error, is_fault=True)
    try:
        check_all_awaited(node.begun or {})
    except NotAwaited as error:
        return Failed(error, is_fault=True)
    return value
