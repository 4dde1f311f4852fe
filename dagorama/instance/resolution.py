"""Resolving promises from outside of the graph: looking for values, and waiting for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeVar, cast, overload

from dagorama.calls.capture import current_scope
from dagorama.calls.payload import decode, encode, may_have_promises
from dagorama.calls.references import is_referring
from dagorama.client.shortened import shortened
from dagorama.errors import DagoramaError, InstanceCancelled, NodeFailed, PromiseMisuse
from dagorama.instance.handle import Handle, id_of
from dagorama.logging import get_logger
from dagorama.models.promise import DAGPromise, node_id_of

if TYPE_CHECKING:
    from dagorama.calls.large import ValueStore
    from dagorama.client.steps import Deadline

T = TypeVar("T")


@overload
def resolve(instance: Handle, promise: T, wait_for_results: Literal[True]) -> T: ...
@overload
def resolve(instance: Handle, promise: T, wait_for_results: bool = False) -> T | None: ...


def resolve(instance: Handle, promise: T, wait_for_results: bool = False) -> T | None:
    """Return the value of a promise, or of anything that holds promises; return anything without promises as it is.

    Without waiting it is None while a value is missing, or will never come, which is logged as a warning. With
    `wait_for_results` it blocks until the value is there; when nothing has come for 10 s (`DAGORAMA_SILENCE_S`), the
    log says what holds it. Raises `NodeFailed`, `InstanceCancelled`, `BrokerUnavailable`.
    """
    __tracebackhide__ = True
    try:
        return value_of(instance, promise) if wait_for_results else _value_now(instance, promise)
    except (DagoramaError, KeyboardInterrupt) as error:
        raise shortened(error) from error.__cause__


def _value_now(instance: Handle, promise: T) -> T | None:
    """Return the value that is there; None for none."""
    from dagorama.client.broker import poll_values

    data, node_ids = _wanted(promise)
    if not node_ids:
        return cast(T, _filled(data, (), {})) if may_have_promises(data) else promise
    try:
        values = poll_values(id_of(instance), node_ids)
    except (NodeFailed, InstanceCancelled) as error:
        get_logger().warning("%s", error)
        return None
    return None if values is None else cast(T, _filled(data, node_ids, values))


@overload
async def resolve_async(instance: Handle, promise: T, wait_for_results: Literal[True]) -> T: ...
@overload
async def resolve_async(instance: Handle, promise: T, wait_for_results: bool = False) -> T | None: ...


async def resolve_async(instance: Handle, promise: T, wait_for_results: bool = False) -> T | None:
    """Do what `resolve` does, without blocking the event loop."""
    from asyncio import CancelledError  # who has none of its event loops does not wait for its import

    __tracebackhide__ = True
    try:
        if wait_for_results:
            return await value_of_async(instance, promise)
        return await _value_now_async(instance, promise)
    except (DagoramaError, KeyboardInterrupt, CancelledError) as error:
        raise shortened(error) from error.__cause__


async def _value_now_async(instance: Handle, promise: T) -> T | None:
    """Do what `_value_now` does, without blocking the event loop."""
    from dagorama.client.broker import poll_values_async

    data, node_ids = _wanted(promise)
    if not node_ids:
        return cast(T, await _filled_async(data, (), {})) if may_have_promises(data) else promise
    try:
        values = await poll_values_async(id_of(instance), node_ids)
    except (NodeFailed, InstanceCancelled) as error:
        get_logger().warning("%s", error)
        return None
    return None if values is None else cast(T, await _filled_async(data, node_ids, values))


def value_of(instance: Handle, promise: T, deadline: Deadline | None = None) -> T:
    """Wait until the promises in `promise` have values; raises like `DAGInstance.result`."""
    from dagorama.client.broker import wait_for_values

    data, node_ids = _wanted(promise)
    if not node_ids:
        return cast(T, _filled(data, (), {})) if may_have_promises(data) else promise
    return cast(T, _filled(data, node_ids, wait_for_values(id_of(instance), node_ids, deadline)))


async def value_of_async(instance: Handle, promise: T, deadline: Deadline | None = None) -> T:
    """Do what `value_of` does, without blocking the event loop."""
    from dagorama.client.broker import wait_for_values_async

    data, node_ids = _wanted(promise)
    if not node_ids:
        return cast(T, await _filled_async(data, (), {})) if may_have_promises(data) else promise
    values = await wait_for_values_async(id_of(instance), node_ids, deadline)
    return cast(T, await _filled_async(data, node_ids, values))


def _wanted(promise: object) -> tuple[bytes, tuple[bytes, ...]]:
    """Encode what is to be resolved; return the payload, and the ids of the nodes whose values it needs.

    A promise alone, which is what most people resolve, needs no payload.
    """
    if type(promise) is DAGPromise:
        data = b""
        node_ids: tuple[bytes, ...] = (node_id_of(promise),)
    else:
        data, node_ids = encode(promise, what="what is to be resolved")
    scope = current_scope.get()
    if scope is not None and not {call.node_id for call in scope.calls}.isdisjoint(node_ids):
        raise PromiseMisuse(
            promise=repr(promise),
            use="resolving inside of the function that made the call",
            way_out="The node comes into being when this function returns: pass the promise on, or return it.",
        )
    return data, node_ids


def _filled(data: bytes, node_ids: tuple[bytes, ...], values: Mapping[bytes, object]) -> object:
    """Return what was to be resolved, with values in the place of promises, and fetch values that were put."""
    if not data:
        return values[node_ids[0]]
    return decode(data, values.__getitem__, what="what is to be resolved", store=_store(data))


async def _filled_async(data: bytes, node_ids: tuple[bytes, ...], values: Mapping[bytes, object]) -> object:
    """Do what `_filled` does, without blocking the event loop while something is fetched."""
    from dagorama.client.steps import run_in_thread

    if not is_referring(data):
        return _filled(data, node_ids, values)
    return await run_in_thread(_filled, data, node_ids, values)


def _store(data: bytes) -> ValueStore | None:
    """Return the store of the broker that is asked; None for a payload that needs none."""
    from dagorama.client.asking import broker

    return broker().values() if is_referring(data) else None
