"""Values that are put: stored once, before any call needs them, and passed to calls by their promise.

Such a promise belongs to no node. In a payload it leaves the payload of its value, and the payload around it refers to
what that refers to. So a broker counts its uses as those of any large value, and workers find the value in its place.
"""

from __future__ import annotations

from time import monotonic
from typing import TypeVar, cast

from dagorama.calls.capture import Scope, current_scope
from dagorama.calls.large import ValueStore, asks_for
from dagorama.calls.misuse import PASS_STORED_ON, NoValue
from dagorama.calls.payload import Draft, Payload, draft
from dagorama.calls.placeholders import SOME_ARE_KEYS, exchange, note_stored, stored_value
from dagorama.calls.references import is_referring, total_size
from dagorama.client.asking import broker
from dagorama.client.steps import run_in_thread
from dagorama.models.promise import Promise, Step, shown, stored_part
from dagorama.running.inline import arrived
from dagorama.running.standing import tell_if_loop_stood
from dagorama.settings import should_run_inline

T = TypeVar("T")

_WHAT = "the value given to dagorama.put()"


def put(value: T) -> T:
    """Store a value once, as it is now, and return a promise of it, which belongs to no node.

    The promise may be passed to decorated calls and definitions, at any depth, for any number of instances, and be
    pickled for other processes that ask the same broker. A node gets a copy of the value, or a read-only view of a
    large array. The value is kept while an instance uses it, and while a program has the promise. A small one (up to
    64 KiB) is not stored, and goes with each call. A promise is returned as it is. Inline, where calls give values too,
    it returns the value as a node would get it. Raises `PayloadError` for a value that cannot travel or is too large.
    """
    scope = current_scope.get()
    if isinstance(value, Promise):
        return value
    if scope is None and should_run_inline():
        return cast(T, arrived(value, _WHAT))
    began_at = monotonic()
    promise = _stored(value, scope)
    if scope is not None:
        did = "called put() with large values"
        tell_if_loop_stood(did, monotonic() - began_at, "`await dagorama.put_async(...)` does the same")
    return cast(T, promise)


async def put_async(value: T) -> T:
    """Do what `put` does, without blocking the event loop. The value must not change until this returns."""
    scope = current_scope.get()
    if isinstance(value, Promise) or (scope is None and should_run_inline()):
        return put(value)
    return cast(T, await run_in_thread(_stored, value, scope))


def _stored(value: object, scope: Scope | None) -> StoredPromise:
    """Store a value where a running node, or else this process, has its values."""
    taken = draft(value, what=_WHAT)
    if type(taken) is Payload:
        return StoredPromise(taken, type(value).__name__)
    store = scope.store if scope is not None and scope.store is not None else broker().values()
    with asks_for(scope.node.node_id if scope is not None and scope.node is not None else b""):
        promise = StoredPromise(cast(Draft, taken).keep(store), type(value).__name__)
    promise._hold(store)
    return promise


class _Life:
    """Lives as long as a promise: a value is kept for an owner, and promises are looked up by what they promise."""

    __slots__ = ("__weakref__",)


class StoredPromise(Promise):
    """The promise of a value that was put."""

    __slots__ = ("_life", "_payload", "_type_name")

    _pass_it_on = PASS_STORED_ON

    def __init__(self, payload: Payload, type_name: str) -> None:
        """Promise the value of a payload. The name of its type is for people."""
        self._is_hashed = False
        self._payload = payload
        self._type_name = type_name
        self._life = _Life()

    def _hold(self, store: ValueStore, *, at_once: bool = False) -> None:
        """Have the value kept for as long as this promise lives."""
        store.hold(self._life, self._payload.data, at_once=at_once)

    def _lift(self, *steps: Step) -> StoredPart:
        """Promise the part of the value to which `steps` lead."""
        return StoredPart(self, steps)

    def same(self, other: NoValue) -> bool:
        """Return whether it is the same value."""
        return isinstance(other, StoredPromise) and self._payload == other._payload

    def number(self) -> int:
        """Return the hash: equal promises have equal payloads."""
        self._is_hashed = True
        return hash(self._payload)

    def __repr__(self) -> str:
        """Show of which type the value is, and how large."""
        return f"<put {self._type_name} of {total_size(self._payload.data):,} bytes>"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leave the value's payload in a payload; pickle as itself elsewhere."""
        data, promise_ids = self._payload
        recorded = exchange.recorded
        if recorded is None:
            return _taken_up, (data, promise_ids, self._type_name)
        note_stored(data)
        recorded.update(dict.fromkeys(promise_ids))
        if self._is_hashed:
            recorded[SOME_ARE_KEYS] = None
        return stored_value, (data,)


class StoredPart(Promise):
    """The promise of a part of a value that was put. The part is taken where it is used, and all of it fetched."""

    __slots__ = ("_base", "_path")

    _pass_it_on = PASS_STORED_ON

    def __init__(self, base: StoredPromise, path: tuple[Step, ...]) -> None:
        """Promise the part to which `path` leads from the value of `base`."""
        self._is_hashed = False
        self._base = base
        self._path = path

    def _lift(self, *steps: Step) -> StoredPart:
        """Promise the part of the part to which `steps` lead."""
        return StoredPart(self._base, (*self._path, *steps))

    def same(self, other: NoValue) -> bool:
        """Return whether it is the same part of the same value."""
        return isinstance(other, StoredPart) and self._path == other._path and self._base.same(other._base)

    def number(self) -> int:
        """Return the hash: equal promises have equal bases."""
        self._is_hashed = True
        return self._base.number()

    def __repr__(self) -> str:
        """Show the way from the value to the part."""
        return f"{self._base!r}{shown(self._path)}"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Leave the value's payload and the path in a payload; pickle as itself elsewhere."""
        recorded = exchange.recorded
        if recorded is None:
            return StoredPart, (self._base, self._path)
        if self._is_hashed:
            recorded[SOME_ARE_KEYS] = None
        return stored_part, (self._base, self._path)


def _taken_up(data: bytes, promise_ids: tuple[bytes, ...], type_name: str) -> StoredPromise:
    """Make the promise again in another process, which has the value kept as well from now on."""
    promise = StoredPromise(Payload(data, promise_ids), type_name)
    if is_referring(data):
        promise._hold(broker().values(), at_once=True)
    return promise
