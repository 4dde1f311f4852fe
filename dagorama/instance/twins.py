"""Verbs in both their forms: one that blocks, and its twin for event loops, which has an "a" before its name.

The twin of `wait` is `wait_async`, as "await" is a word of the language.

A verb is written once, as the request that it makes or as the steps that it takes. `order`, `question` and `asking`
make the form that blocks of it, and `later` gives the twin.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from dagorama.client.port import Request
from dagorama.client.shortened import shortened
from dagorama.client.steps import Steps, run, run_async
from dagorama.errors import DagoramaError

P = ParamSpec("P")
T = TypeVar("T")

#: The twins of verbs, by their form that blocks.
_twins: dict[Callable[..., object], Callable[..., object]] = {}


def question(request: Callable[Concatenate[Any, P], Request[T]]) -> Callable[Concatenate[Any, P], T]:
    """Make a verb of a request, which returns the answer of the broker."""

    @wraps(request)
    def steps(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        return _ask(request(self, *args, **kwargs))

    return asking(steps)


def order(request: Callable[Concatenate[Any, P], Request[object]]) -> Callable[Concatenate[Any, P], None]:
    """Make a verb of a request, which returns nothing, whatever the broker answers."""

    @wraps(request)
    def steps(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Steps[None]:
        return _order(request(self, *args, **kwargs))

    verb = asking(steps)
    verb.__annotations__["return"] = "None"
    return verb


def asking(steps: Callable[Concatenate[Any, P], Steps[T]]) -> Callable[Concatenate[Any, P], T]:
    """Make a verb of the steps that it takes."""

    @wraps(steps)
    def ask(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return run(steps(self, *args, **kwargs))
        except (DagoramaError, KeyboardInterrupt) as error:
            raise shortened(error) from error.__cause__

    @wraps(steps)
    async def ask_later(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return await run_async(steps(self, *args, **kwargs))
        except (DagoramaError, KeyboardInterrupt, CancelledError) as error:
            raise shortened(error) from error.__cause__

    # The text of the annotation, for `help()`: both forms share it, and give what is in the brackets.
    returned = str(ask.__annotations__.get("return", ""))
    ask.__annotations__["return"] = returned.partition("[")[2].removesuffix("]") or returned
    ask_later.__name__ = f"a{ask.__name__}" if ask.__name__ != "wait" else "wait_async"
    ask_later.__qualname__ = f"{ask.__qualname__.removesuffix(ask.__name__)}{ask_later.__name__}"
    ask_later.__doc__ = f"Do as `{ask.__name__}`, without blocking the event loop."
    _twins[ask] = ask_later
    return ask


def later(verb: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return the twin of a verb, which does not block the event loop."""
    return cast(Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], _twins[verb])


def _ask(request: Request[T]) -> Steps[T]:
    from dagorama.client.asking import broker

    return (yield from broker().ask(request))


def _order(request: Request[object]) -> Steps[None]:
    yield from _ask(request)
