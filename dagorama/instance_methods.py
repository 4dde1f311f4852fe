"""What an instance does of its own, where its definition has nothing of that name. `DAGInstance` tells about each."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from dagorama.capture import current_scope, inline_node
from dagorama.errors import BrokerRefused, DagoramaError
from dagorama.models.promise import Promise, new_promise, node_id_of
from dagorama.options import checked_priority, checked_running_max, checked_timeout
from dagorama.resolution import definition_of, id_of, value_of, value_of_async
from dagorama.settings import should_run_inline
from dagorama.shortened import shortened
from dagorama.states import InstanceState

if TYPE_CHECKING:
    from dagorama.client.broker import FirstNode
    from dagorama.definition import DAGInstance
    from dagorama.why import Why

RESOLVE = "use resolve(instance, promise, wait_for_results=True) with the promise that you want"


def _result(instance: DAGInstance[object], timeout: float | None = None) -> object:
    from dagorama.client.broker import deadline_in, first_node

    deadline = deadline_in(checked_timeout(timeout))
    if "_dagorama_promise" not in instance.__dict__:
        _check_is_elsewhere(instance)
        _keep_promise(instance, first_node(id_of(instance), deadline))
    return value_of(instance, instance.__dict__["_dagorama_promise"], deadline)


async def _aresult(instance: DAGInstance[object], timeout: float | None = None) -> object:  # noqa: ASYNC109 - as `result`
    from dagorama.client.broker import deadline_in, first_node_async

    deadline = deadline_in(checked_timeout(timeout))
    if "_dagorama_promise" not in instance.__dict__:
        _check_is_elsewhere(instance)
        _keep_promise(instance, await first_node_async(id_of(instance), deadline))
    return await value_of_async(instance, instance.__dict__["_dagorama_promise"], deadline)


def _check_is_elsewhere(instance: DAGInstance[object]) -> None:
    """Says no to a node that would wait for its own instance, and inline, where no broker knows of any instance."""
    scope = current_scope.get() or instance.__dict__.get("_dagorama_scope")
    if should_run_inline() or (scope is not None and scope.instance_id == id_of(instance)):
        raise ValueError(
            f"{instance!r} was not started by calling its definition, so it has no result of its own: {RESOLVE}"
        )


def _keep_promise(instance: DAGInstance[object], first: FirstNode | None) -> None:
    """Remembers what the entrypoint returned when the instance was started, in whichever process: its first node."""
    # Not the module: what a script calls `__main__` has another name where the script is imported.
    entrypoint = f"{type(definition_of(instance)).__qualname__}.entrypoint"
    if first is None or first.function.partition(":")[2] != entrypoint:
        began = "it has no nodes" if first is None else f"it began with {first.function}, not {entrypoint}"
        raise ValueError(
            f"{instance!r} was not started by calling its definition, so it has no result of its own ({began}): "
            f"attach() an object of the definition that it was started with, or {RESOLVE}"
        )
    instance.__dict__["_dagorama_promise"] = new_promise(first.node_id, first.function)


def _cancel(instance: DAGInstance[object]) -> None:
    from dagorama.client.broker import cancel

    _check_is_kept(instance, "to cancel")
    cancel(id_of(instance))


async def _acancel(instance: DAGInstance[object]) -> None:
    from dagorama.client.broker import cancel_async

    _check_is_kept(instance, "to cancel")
    await cancel_async(id_of(instance))


def _check_is_kept(instance: DAGInstance[object], what: str) -> None:
    """Says no in place of a broker where nodes run inline: none keeps the instance."""
    if should_run_inline():
        raise BrokerRefused(
            request=f"{what} instance {UUID(bytes=id_of(instance))}",
            code="FAILED_PRECONDITION",
            detail="nodes run inline, where they are called, so nothing of the instance is waiting any more; use "
            "dagorama.testing.in_process_broker() to see instances on their way",
        )


# -- how it stands ----------------------------------------------------------------------------------------------------


def _state(instance: DAGInstance[object]) -> InstanceState:
    from dagorama.client.broker import state_of

    if is_running_here(instance):
        # A node's `self` has what its definition and its nodes give it: `getattr(self, "state", None)` asks for that.
        raise AttributeError(f"{instance!r} has no 'state' in its own nodes: how it stands is asked from outside")
    # What runs inline has run when its call returns.
    return InstanceState.COMPLETED if should_run_inline() else state_of(id_of(instance))


async def _astate(instance: DAGInstance[object]) -> InstanceState:
    from dagorama.client.broker import state_of_async

    return InstanceState.COMPLETED if should_run_inline() else await state_of_async(id_of(instance))


def _wait(instance: DAGInstance[object], timeout: float | None = None) -> None:
    from dagorama.client.broker import wait_for_end

    timeout = checked_timeout(timeout)
    _check_is_another(instance)
    if not should_run_inline():
        wait_for_end(id_of(instance), timeout)


async def _wait_async(instance: DAGInstance[object], timeout: float | None = None) -> None:  # noqa: ASYNC109 - as `wait`
    from dagorama.client.broker import wait_for_end_async

    timeout = checked_timeout(timeout)
    _check_is_another(instance)
    if not should_run_inline():
        await wait_for_end_async(id_of(instance), timeout)


def is_running_here(instance: DAGInstance[object]) -> bool:
    """Tells whether this is one of the instance's own nodes, or a thread of one."""
    scope = current_scope.get() or instance.__dict__.get("_dagorama_scope") or inline_node.get()
    return scope is not None and scope.instance_id == id_of(instance)


def _check_is_another(instance: DAGInstance[object]) -> None:
    """Refuses a node that would wait for its own end."""
    if is_running_here(instance):
        raise ValueError(
            f"{instance!r} cannot be waited for by one of its own nodes, as it does not end before that has: pass the "
            "promises of what is to be done first to a decorated call"
        )


# -- order and pauses -------------------------------------------------------------------------------------------------


def _control(
    instance: DAGInstance[object],
    *,
    priority: int | None = None,
    paused: bool | None = None,
    running_max: int | None = None,
) -> None:
    from dagorama.client.control import control_instance

    _check_is_kept(instance, "to control")
    control_instance(id_of(instance), priority=priority, paused=paused, running_max=running_max)


async def _acontrol(
    instance: DAGInstance[object],
    *,
    priority: int | None = None,
    paused: bool | None = None,
    running_max: int | None = None,
) -> None:
    from dagorama.client.control import control_instance_async

    _check_is_kept(instance, "to control")
    await control_instance_async(id_of(instance), priority=priority, paused=paused, running_max=running_max)


def _pause(instance: DAGInstance[object]) -> None:
    _control(instance, paused=True)


async def _apause(instance: DAGInstance[object]) -> None:
    await _acontrol(instance, paused=True)


def _resume(instance: DAGInstance[object]) -> None:
    _control(instance, paused=False)


async def _aresume(instance: DAGInstance[object]) -> None:
    await _acontrol(instance, paused=False)


def _set_priority(instance: DAGInstance[object], priority: int) -> None:
    _control(instance, priority=checked_priority(priority))


async def _aset_priority(instance: DAGInstance[object], priority: int) -> None:
    await _acontrol(instance, priority=checked_priority(priority))


def _cap(instance: DAGInstance[object], running_max: int | None) -> None:
    _control(instance, running_max=_as_cap(running_max))


async def _acap(instance: DAGInstance[object], running_max: int | None) -> None:
    await _acontrol(instance, running_max=_as_cap(running_max))


def _as_cap(running_max: int | None) -> int:
    return 0 if running_max is None else checked_running_max(running_max)


# -- beginning anew ----------------------------------------------------------------------------------------------------


def _retry(instance: DAGInstance[object]) -> None:
    from dagorama.client.broker import retry

    _check_is_kept(instance, "to retry")
    retry(id_of(instance))


async def _aretry(instance: DAGInstance[object]) -> None:
    from dagorama.client.broker import retry_async

    _check_is_kept(instance, "to retry")
    await retry_async(id_of(instance))


def _rerun(instance: DAGInstance[object], promise: object) -> None:
    from dagorama.client.broker import rerun

    _check_is_kept(instance, "to rerun a node of")
    rerun(id_of(instance), _node_of(promise, "rerun()"))


async def _arerun(instance: DAGInstance[object], promise: object) -> None:
    from dagorama.client.broker import rerun_async

    _check_is_kept(instance, "to rerun a node of")
    await rerun_async(id_of(instance), _node_of(promise, "arerun()"))


# -- why --------------------------------------------------------------------------------------------------------------


def _why(instance: DAGInstance[object], promise: object = None) -> Why:
    from dagorama.client.queries import why

    _check_is_kept(instance, "to say what holds")
    return why(id_of(instance), _asked_about(promise))


async def _awhy(instance: DAGInstance[object], promise: object = None) -> Why:
    from dagorama.client.queries import why_async

    _check_is_kept(instance, "to say what holds")
    return await why_async(id_of(instance), _asked_about(promise))


def _asked_about(promise: object) -> bytes:
    return b"" if promise is None else _node_of(promise, "why()")


def _node_of(promise: object, who: str) -> bytes:
    if not isinstance(promise, Promise):
        raise TypeError(f"{who} takes a promise, which a decorated call has returned, not {type(promise).__name__}")
    return node_id_of(promise)


def _without_inner_frames(method: Callable[..., object]) -> Callable[..., object]:
    """Has errors of our own, and Ctrl-C, come from the method itself."""

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


_METHODS: dict[str, Callable[..., object]] = {
    "result": _result,
    "aresult": _aresult,
    "astate": _astate,
    "wait": _wait,
    "wait_async": _wait_async,
    "cancel": _cancel,
    "acancel": _acancel,
    "pause": _pause,
    "apause": _apause,
    "resume": _resume,
    "aresume": _aresume,
    "set_priority": _set_priority,
    "aset_priority": _aset_priority,
    "cap": _cap,
    "acap": _acap,
    "retry": _retry,
    "aretry": _aretry,
    "rerun": _rerun,
    "arerun": _arerun,
    "why": _why,
    "awhy": _awhy,
}

#: What is bound to an instance by the names that users know, where its definition has nothing of that name.
METHODS: dict[str, Any] = {
    "instance_id": property(lambda instance: UUID(bytes=id_of(instance))),
    "definition": property(definition_of),
    "state": property(_without_inner_frames(_state)),
    **{name: _without_inner_frames(method) for name, method in _METHODS.items()},
}
