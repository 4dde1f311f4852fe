"""The verbs of instances, each once: the form that blocks, its twin for event loops, and both their types.

A method of `InstanceVerbs` makes the request of a verb. `_order` and `_question` make it ask, and `_later` gives its
twin. Type checkers take the class for a base of `DAGInstance`; at run time the names of definitions go first, so
`VERBS` is bound where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID

from dagorama.client.port import Cancel, ControlInstance, Request, Rerun, Retry, WhyNot
from dagorama.errors import BrokerRefused
from dagorama.instance.handle import Handle, id_of
from dagorama.models.promise import Promise, node_id_of
from dagorama.options import checked_priority, checked_running_max
from dagorama.settings import should_run_inline
from dagorama.why import Why

P = ParamSpec("P")
T = TypeVar("T")

#: The twins of verbs, by their form that blocks.
_twins: dict[Callable[..., object], Callable[..., object]] = {}


def _question(
    request: Callable[Concatenate[Any, P], Request[T]],
) -> Callable[Concatenate[Any, P], T]:
    """Make a verb that returns the answer of the broker."""

    @wraps(request)
    def ask(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        from dagorama.client.asking import ask_broker

        return ask_broker(request(self, *args, **kwargs))

    @wraps(request)
    async def ask_later(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        from dagorama.client.asking import ask_broker_async

        return await ask_broker_async(request(self, *args, **kwargs))

    _twins[ask] = ask_later
    return ask


def _order(
    request: Callable[Concatenate[Any, P], Request[object]],
) -> Callable[Concatenate[Any, P], None]:
    """Make a verb that returns nothing, whatever the broker answers."""

    @wraps(request)
    def ask(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
        from dagorama.client.asking import ask_broker

        ask_broker(request(self, *args, **kwargs))

    @wraps(request)
    async def ask_later(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
        from dagorama.client.asking import ask_broker_async

        await ask_broker_async(request(self, *args, **kwargs))

    _twins[ask] = ask_later
    return ask


def _later(verb: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return the twin of a verb, which does not block the event loop."""
    return cast(Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], _twins[verb])


class InstanceVerbs(Handle):
    """The verbs of an instance. Each has a twin that does not block the event loop: `retry` has `aretry`.

    All but `why` are durable when they return. They raise `BrokerRefused`, naming the state, where the instance is in
    none that they are for, and `BrokerUnavailable`.
    """

    @_order
    def cancel(self) -> Request[None]:
        """Stop the instance: nodes that have not started never do, and running ones are told to stop.

        That is durable when this returns; waiting for a value raises `InstanceCancelled`. Raises
        `BrokerRefused`, naming the state, where the instance has ended already, and `BrokerUnavailable`.
        """
        _check_is_kept(self, "to cancel")
        return Cancel(id_of(self))

    acancel = _later(cancel)

    # Doing one of these four again changes nothing. They are refused where the instance has ended.

    @_order
    def pause(self) -> Request[object]:
        """Have workers take no further nodes of the instance; they finish the ones that they have."""
        return _control(self, paused=True)

    apause = _later(pause)

    @_order
    def resume(self) -> Request[object]:
        """Let the instance go on after a `pause`."""
        return _control(self, paused=False)

    aresume = _later(resume)

    @_order
    def set_priority(self, priority: int) -> Request[object]:
        """Have workers take nodes of instances with a higher priority first; `ValueError` outside -1000 to 1000."""
        return _control(self, priority=checked_priority(priority))

    aset_priority = _later(set_priority)

    @_order
    def cap(self, running_max: int | None) -> Request[object]:
        """Have at most so many of the instance's nodes run at once, from 1; None for any number."""
        return _control(self, running_max=0 if running_max is None else checked_running_max(running_max))

    acap = _later(cap)

    @_order
    def retry(self) -> Request[None]:
        """Let the instance, which has failed, go on from where it failed; it can be waited for again.

        The nodes that failed, and their dependents, run again, by whatever version of the code the workers have;
        completed ones do not. Attempts count from 1, and a deadline there was is lifted. That is durable when
        this returns. Raises `BrokerRefused`, naming the state, where the instance has not failed, and
        `BrokerUnavailable`.
        """
        _check_is_kept(self, "to retry")
        return Retry(id_of(self))

    aretry = _later(retry)

    @_order
    def rerun(self, promise: object) -> Request[object]:
        """Run the node of `promise` again, and all that its value went into, in an instance that has ended.

        Workers of any version of the code may run them. The calls that these nodes made before are forgotten,
        since they call anew. That is durable when this returns; the instance can be waited for again. Raises
        `BrokerRefused`, naming the state, where the instance runs or was cancelled, and `BrokerUnavailable`.
        """
        _check_is_kept(self, "to rerun a node of")
        return Rerun(id_of(self), _node_of(promise, "rerun()"))

    arerun = _later(rerun)

    @_question
    def why(self, promise: object = None) -> Request[Why]:
        """Say what holds the node of `promise`; without one, the instance's first node that has not ended.

        Raises `BrokerRefused` for an instance without nodes, `BrokerUnavailable`.
        """
        _check_is_kept(self, "to say what holds")
        return WhyNot(id_of(self), None if promise is None else _node_of(promise, "why()"))

    awhy = _later(why)


#: The verbs and their twins by name.
VERBS: dict[str, Callable[..., object]] = {
    name: verb for name, verb in vars(InstanceVerbs).items() if not name.startswith("_")
}


def _control(
    instance: InstanceVerbs,
    *,
    priority: int | None = None,
    paused: bool | None = None,
    running_max: int | None = None,
) -> Request[object]:
    _check_is_kept(instance, "to control")
    return ControlInstance(id_of(instance), priority=priority, paused=paused, running_max=running_max)


def _check_is_kept(instance: InstanceVerbs, what: str) -> None:
    """Say no in place of a broker where nodes run inline: none keeps the instance."""
    if should_run_inline():
        raise BrokerRefused(
            request=f"{what} instance {UUID(bytes=id_of(instance))}",
            code="FAILED_PRECONDITION",
            detail="nodes run inline, where they are called, so nothing of the instance is waiting any more; use "
            "dagorama.testing.in_process_broker() to see instances on their way",
        )


def _node_of(promise: object, who: str) -> bytes:
    if not isinstance(promise, Promise):
        raise TypeError(f"{who} takes a promise, which a decorated call has returned, not {type(promise).__name__}")
    return node_id_of(promise)
