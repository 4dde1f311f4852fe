"""The hooks of a definition, as calls that the broker makes when an instance of it ends.

They are nodes of `dagorama.hooks:Hooks`, with the hook as their argument, so a payload has a function by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dagorama.calls.capture import FunctionSpec
from dagorama.calls.payload import encode
from dagorama.ended import EndedInstance

if TYPE_CHECKING:
    from dagorama.retry import RetryConfiguration

#: The module of the function that calls hooks. Every worker runs it, whatever modules it is given.
HOOKS_MODULE = "dagorama.hooks"
#: Where nodes go that call hooks.
QUEUE = "hooks"
#: So often a hook is tried that says nothing of it, first after seconds, then after minutes: for half an hour or so.
MAX_ATTEMPTS, INTERVAL_S, INTERVAL_MAX_S = 10, 2.0, 300.0
#: The longest that an attempt may take of a hook that says nothing of it.
TIMEOUT_S = 300.0
#: The broker takes no more.
HOOKS_MAX = 20

#: A function that is told of an end.
Hook = Callable[[EndedInstance], object]

#: The hooks of instances that are started in this context, beside those of their definitions.
hooks_of_starts: ContextVar[tuple[Hook, ...]] = ContextVar("hooks_of_starts", default=())


class HookSettings:
    """The base of hooks that say how they are to be tried; functions have none of it."""

    retry: RetryConfiguration | None
    timeout: float | None


class HookCall(NamedTuple):
    """A call that is made each time when an instance ends."""

    function: FunctionSpec
    #: Payload of `(args, kwargs)`.
    arguments: bytes
    #: Only where it has failed.
    only_failed: bool


def checked_hooks(argument: str, owner: str, hooks: object) -> tuple[Hook, ...]:
    """Return hooks, given one or several; `ValueError` naming argument and class for one that no worker could call."""
    several = hooks if isinstance(hooks, tuple | list) else (hooks,)
    if len(several) > HOOKS_MAX:
        raise ValueError(f"{argument} of {owner} has {len(several)} hooks; the limit is {HOOKS_MAX}")
    for hook in several:
        if isinstance(hook, HookSettings):
            continue
        if not callable(hook) or isinstance(hook, type):
            raise ValueError(
                f"{argument} of {owner} must be a function that takes an EndedInstance, or several in a tuple, not "
                f"{hook!r}"
            )
        name = getattr(hook, "__qualname__", "")
        if not name or "<" in name or iscoroutinefunction(hook) or hasattr(hook, "dagorama_decorated"):
            raise ValueError(
                f"{argument} of {owner} must be a plain function at the top level of a module, which workers import, "
                f"not {hook!r}"
            )
    return cast(tuple[Hook, ...], tuple(several))


def hook_calls(
    kind: Any, instance_id: bytes, key: str, tags: tuple[tuple[str, str], ...], *more: Hook
) -> tuple[HookCall, ...]:
    """Return the calls for the hooks of a definition's class, for an instance with this key and these tags.

    With `more` hooks for each of its ends.
    """
    functions: list[FunctionSpec] | None = vars(kind).get("_dagorama_hook_functions")
    if functions is None:
        functions = [_function(hook) for hook in (*kind._dagorama_on_end, *kind._dagorama_on_failure)]
        kind._dagorama_hook_functions = functions
    hooks = [*((hook, False) for hook in kind._dagorama_on_end), *((hook, True) for hook in kind._dagorama_on_failure)]
    functions = [*functions, *map(_function, more)]
    hooks += [(hook, False) for hook in more]
    return tuple(
        HookCall(
            function,
            encode(((hook, instance_id, key, dict(tags)), {}), what=f"the hook {hook!r}").data,
            only_failed,
        )
        for function, (hook, only_failed) in zip(functions, hooks, strict=True)
    )


def _function(hook: Hook) -> FunctionSpec:
    from dagorama.retry import ExponentialRetry

    retry: RetryConfiguration | None = ExponentialRetry(MAX_ATTEMPTS, max_interval=INTERVAL_MAX_S, first=INTERVAL_S)
    timeout: float | None = TIMEOUT_S
    if isinstance(hook, HookSettings):
        retry, timeout = hook.retry or retry, hook.timeout or timeout
    return FunctionSpec(
        name=f"{HOOKS_MODULE}:Hooks.entrypoint",
        code_version="",  # that of any worker will do
        queue=QUEUE,
        taint="",
        retry=retry,
        definition_arguments=b"",
        timeout_s=timeout or 0.0,
    )
