"""The methods of instances, for names that their definition does not have: `DAGInstance` tells of each."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import MethodType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from dagorama.calls.capture import current_scope, inline_node
from dagorama.client.shortened import shortened
from dagorama.errors import DagoramaError
from dagorama.instance.handle import Handle, definition_of, id_of
from dagorama.instance.resolution import value_of, value_of_async
from dagorama.instance.verbs import VERBS
from dagorama.models.promise import new_promise
from dagorama.options import checked_timeout
from dagorama.settings import should_run_inline
from dagorama.states import InstanceState

if TYPE_CHECKING:
    from dagorama.client.broker import FirstNode

RESOLVE = "use resolve(instance, promise, wait_for_results=True) with the promise that you want"


def _result(instance: Handle, timeout: float | None = None) -> object:
    from dagorama.client.broker import deadline_in, first_node

    deadline = deadline_in(checked_timeout(timeout))
    if "_dagorama_promise" not in instance.__dict__:
        _check_is_elsewhere(instance)
        _keep_promise(instance, first_node(id_of(instance), deadline))
    return value_of(instance, instance.__dict__["_dagorama_promise"], deadline)


async def _aresult(instance: Handle, timeout: float | None = None) -> object:  # noqa: ASYNC109 - as `result`
    from dagorama.client.broker import deadline_in, first_node_async

    deadline = deadline_in(checked_timeout(timeout))
    if "_dagorama_promise" not in instance.__dict__:
        _check_is_elsewhere(instance)
        _keep_promise(instance, await first_node_async(id_of(instance), deadline))
    return await value_of_async(instance, instance.__dict__["_dagorama_promise"], deadline)


def _check_is_elsewhere(instance: Handle) -> None:
    """Say no to a node that would wait for its own instance, and inline, where no broker knows of any instance."""
    scope = current_scope.get() or instance.__dict__.get("_dagorama_scope")
    if should_run_inline() or (scope is not None and scope.instance_id == id_of(instance)):
        raise ValueError(
            f"{instance!r} was not started by calling its definition, so it has no result of its own: {RESOLVE}"
        )


def _keep_promise(instance: Handle, first: FirstNode | None) -> None:
    """Remember the promise that the entrypoint gave when the instance was started: that of its first node."""
    # Not the module: what a script calls `__main__` has another name where the script is imported.
    entrypoint = f"{type(definition_of(instance)).__qualname__}.entrypoint"
    if first is None or first.function.partition(":")[2] != entrypoint:
        began = "it has no nodes" if first is None else f"it began with {first.function}, not {entrypoint}"
        raise ValueError(
            f"{instance!r} was not started by calling its definition, so it has no result of its own ({began}): "
            f"attach() an object of the definition that it was started with, or {RESOLVE}"
        )
    instance.__dict__["_dagorama_promise"] = new_promise(first.node_id, first.function)


# -- how it stands ----------------------------------------------------------------------------------------------------


def _state(instance: Handle) -> InstanceState:
    from dagorama.client.broker import state_of

    if is_running_here(instance):
        # A node's `self` has what its definition and its nodes give it: `getattr(self, "state", None)` asks for that.
        raise AttributeError(f"{instance!r} has no 'state' in its own nodes: how it stands is asked from outside")
    # What runs inline has run when its call returns.
    return InstanceState.COMPLETED if should_run_inline() else state_of(id_of(instance))


async def _astate(instance: Handle) -> InstanceState:
    from dagorama.client.broker import state_of_async

    return InstanceState.COMPLETED if should_run_inline() else await state_of_async(id_of(instance))


def _wait(instance: Handle, timeout: float | None = None) -> None:
    from dagorama.client.broker import wait_for_end

    timeout = checked_timeout(timeout)
    check_is_another(instance)
    if not should_run_inline():
        wait_for_end(id_of(instance), timeout)


async def _wait_async(instance: Handle, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as `wait`
    from dagorama.client.broker import wait_for_end_async

    timeout = checked_timeout(timeout)
    check_is_another(instance)
    if not should_run_inline():
        await wait_for_end_async(id_of(instance), timeout)


def is_running_here(instance: Handle) -> bool:
    """Return whether this is one of the instance's own nodes, or a thread of one."""
    scope = current_scope.get() or instance.__dict__.get("_dagorama_scope") or inline_node.get()
    return scope is not None and scope.instance_id == id_of(instance)


def check_is_another(instance: Handle) -> None:
    """Refuse a node that would wait for its own end."""
    if is_running_here(instance):
        raise ValueError(
            f"{instance!r} cannot be waited for by one of its own nodes, as it does not end before that has: pass the "
            "promises of what is to be done first to a decorated call"
        )


def _without_inner_frames(method: Callable[..., object]) -> Callable[..., object]:
    """Let errors of our own, and Ctrl-C, come from the method itself."""

    @wraps(method)
    def call(*args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        try:
            return method(*args, **kwargs)
        except (DagoramaError, KeyboardInterrupt) as error:
            raise shortened(error) from error.__cause__

    @wraps(method)
    async def call_async(*args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        try:
            return await cast(Awaitable[object], method(*args, **kwargs))
        except (DagoramaError, KeyboardInterrupt, CancelledError) as error:
            raise shortened(error) from error.__cause__

    return call_async if iscoroutinefunction(method) else call


#: The names of the looks. They are not there on the `self` of a node, as the state is not: its definition may have
#: them, or `getattr(self, "done", None)` ask whether it has.
LOOKS = (
    *("done", "adone", "progress", "aprogress", "shape", "ashape", "times", "atimes"),
    *("nodes", "node", "anode", "history", "logs"),
)


class _Look:
    """A look, which is loaded when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Handle, kind: type) -> object:
        from dagorama.instance.looks import InstanceLooks

        if is_running_here(instance):
            raise AttributeError(
                f"{instance!r} has no {self._name!r} in its own nodes: attach(context().instance_id) looks at it"
            )
        return MethodType(getattr(InstanceLooks, self._name), instance)


_METHODS: dict[str, Callable[..., object]] = {
    "result": _result,
    "aresult": _aresult,
    "astate": _astate,
    "wait": _wait,
    "wait_async": _wait_async,
    **VERBS,
}

#: What is bound to an instance by the names that users know, where its definition has nothing of that name.
METHODS: dict[str, Any] = {
    "instance_id": property(lambda instance: UUID(bytes=id_of(instance))),
    "definition": property(definition_of),
    "state": property(_without_inner_frames(_state)),
    **{name: _without_inner_frames(method) for name, method in _METHODS.items()},
    **{name: _Look(name) for name in LOOKS},
}
