"""What an instance does of its own, where its definition has nothing of that name. `DAGInstance` tells about each."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, cast
from uuid import UUID

from dagorama.capture import current_scope, inline_node
from dagorama.client.port import Cancel, ControlInstance, Request, Rerun, Retry, WhyNot
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

P = ParamSpec("P")

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


# -- what is asked of its broker ---------------------------------------------------------------------------------------

#: The verbs of instances: each makes the request of one. `retry` has two forms: `retry()`, and `await aretry()`.
_ASKED: dict[str, Callable[..., Request[object]]] = {}


def _asked(request: Callable[P, Request[object]]) -> Callable[P, Request[object]]:
    """Makes it a verb of instances."""
    _ASKED[request.__name__.removeprefix("_")] = request
    return request


@_asked
def _cancel(instance: DAGInstance[object]) -> Request[None]:
    _check_is_kept(instance, "to cancel")
    return Cancel(id_of(instance))


@_asked
def _pause(instance: DAGInstance[object]) -> Request[object]:
    return _control(instance, paused=True)


@_asked
def _resume(instance: DAGInstance[object]) -> Request[object]:
    return _control(instance, paused=False)


@_asked
def _set_priority(instance: DAGInstance[object], priority: int) -> Request[object]:
    return _control(instance, priority=checked_priority(priority))


@_asked
def _cap(instance: DAGInstance[object], running_max: int | None) -> Request[object]:
    return _control(instance, running_max=0 if running_max is None else checked_running_max(running_max))


def _control(
    instance: DAGInstance[object],
    *,
    priority: int | None = None,
    paused: bool | None = None,
    running_max: int | None = None,
) -> Request[object]:
    _check_is_kept(instance, "to control")
    return ControlInstance(id_of(instance), priority=priority, paused=paused, running_max=running_max)


@_asked
def _retry(instance: DAGInstance[object]) -> Request[None]:
    _check_is_kept(instance, "to retry")
    return Retry(id_of(instance))


@_asked
def _rerun(instance: DAGInstance[object], promise: object) -> Request[object]:
    _check_is_kept(instance, "to rerun a node of")
    return Rerun(id_of(instance), _node_of(promise, "rerun()"))


@_asked
def _why(instance: DAGInstance[object], promise: object = None) -> Request[object]:
    _check_is_kept(instance, "to say what holds")
    return WhyNot(id_of(instance), None if promise is None else _node_of(promise, "why()"))


#: Those that return what the broker answers; the others return nothing.
_TELLING = frozenset({"why"})


def _forms(name: str, request: Callable[..., Request[object]]) -> dict[str, Callable[..., object]]:
    """Returns both forms of a verb, by their names."""
    tells = name in _TELLING

    @wraps(request)
    def ask(*args: object, **kwargs: object) -> object:
        from dagorama.client.asking import ask_broker

        answer = ask_broker(request(*args, **kwargs))
        return answer if tells else None

    @wraps(request)
    async def ask_async(*args: object, **kwargs: object) -> object:
        from dagorama.client.asking import ask_broker_async

        answer = await ask_broker_async(request(*args, **kwargs))
        return answer if tells else None

    return {name: ask, f"a{name}": ask_async}


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
    **{form: method for name, request in _ASKED.items() for form, method in _forms(name, request).items()},
}

#: What is bound to an instance by the names that users know, where its definition has nothing of that name.
METHODS: dict[str, Any] = {
    "instance_id": property(lambda instance: UUID(bytes=id_of(instance))),
    "definition": property(definition_of),
    "state": property(_without_inner_frames(_state)),
    **{name: _without_inner_frames(method) for name, method in _METHODS.items()},
}
