"""Payloads: arguments and results of users' functions as bytes, with the promises in them replaced and found.

The format is pickle, protocol 5. Finding promises is left to pickle too: it meets every object at any depth, so sets,
dict keys, dataclasses, named tuples and objects of any other kind need nothing of their own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from inspect import iscoroutine
from io import BytesIO
from typing import Any, NamedTuple
from uuid import UUID

from dagorama.calls.placeholders import MARK, SOME_ARE_KEYS, exchange
from dagorama.calls.promise_keys import dumps_with_keys
from dagorama.errors import DagoramaError, PayloadError

PROTOCOL = 5
_PLACEHOLDER = MARK

#: What is exactly of these types holds no promise.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})

#: How deep the search for the part that does not encode goes; deeper than that its path tells nobody anything.
SEARCH_DEPTH_MAX = 20


class Payload(NamedTuple):
    """An encoded value, and the id of each promise in it, once, in the order in which they were met."""

    data: bytes
    promise_ids: tuple[bytes, ...]


#: Makes one of (data, promise_ids): the class itself takes twice as long.
_payload: Callable[[tuple[bytes, tuple[bytes, ...]]], Payload] = partial(tuple.__new__, Payload)

#: What one message has room for: protobuf ends at 2 GiB, and ids and columns take some of it.
MESSAGE_BYTES_MAX = 2**31 - 2**24


def encode(value: object, *, what: str) -> Payload:
    """Encode a value for its way to the broker; `what` names it in the `PayloadError` raised where it cannot be."""
    try:
        payload = _dumped(value)
    except Exception as error:
        raise _cannot_encode(value, what, error) from error
    data = payload.data
    if len(data) > MESSAGE_BYTES_MAX:
        raise PayloadError(
            what=what,
            problem=f"it has {len(data)} bytes; the limit is {MESSAGE_BYTES_MAX} bytes",
            way_out="Keep the data in a file or a store that all workers reach, and pass its name.",
        )
    return payload


def encode_if_possible(value: object) -> Payload | None:
    """Encode a value, or gives None where it cannot be; why not is found out where it matters."""
    try:
        return _dumped(value)
    except Exception:
        return None


def _dumped(value: object) -> Payload:
    """Pickle a value; one with promises that may be keys with the check of those."""
    if type(value) in _PLAIN:
        return _payload((pickle.dumps(value, PROTOCOL), ()))
    recorded: dict[bytes, None] = {}
    outer = exchange.recorded
    exchange.recorded = recorded
    try:
        data = pickle.dumps(value, PROTOCOL)
        if not recorded:
            return _payload((data, ()))
        if SOME_ARE_KEYS in recorded:
            recorded.clear()
            data = dumps_with_keys(value, PROTOCOL)
            recorded.pop(SOME_ARE_KEYS, None)
        return Payload(data, tuple(recorded))
    finally:
        exchange.recorded = outer


def decode(data: bytes, resolve: Callable[[bytes], object], *, what: str = "a payload") -> object:
    """Decode a payload, with `resolve(id)`, asked once for each, as the value of the promises in it.

    `what` names the payload in the `PayloadError` that is raised where it cannot be decoded here. So it is when
    `resolve` fails, but for errors of dagorama, which pass through.
    """
    outer = exchange.value_of
    exchange.value_of = _asked_once(resolve) if _PLACEHOLDER in data else resolve
    try:
        return pickle.loads(data)
    except DagoramaError:
        raise
    except Exception as error:
        problem = f"({type(error).__name__}: {error})"
        if _PLACEHOLDER in data and isinstance(error, TypeError) and "unhashable type" in str(error):
            raise PayloadError(
                what=what,
                problem=f"the value of a promise cannot be what the promise is, a key or a member of a set {problem}",
                way_out="Put the promise into a list or among the values, or have the function give what can be a key.",
                is_everywhere=True,
            ) from error
        raise PayloadError(
            what=what,
            problem=f"it cannot be decoded here {problem}",
            way_out="Whoever reads it needs the same modules, at fitting versions, as whoever wrote it.",
            lacks=_lacking(data),
        ) from error
    finally:
        exchange.value_of = outer


def _asked_once(resolve: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Remember the result of `resolve` for each id."""
    values: dict[bytes, object] = {}

    def value_of(node_id: bytes) -> object:
        if node_id not in values:
            values[node_id] = resolve(node_id)
        return values[node_id]

    return value_of


class _Finder(pickle.Unpickler):
    """Decodes a payload that does not decode, to see whether that is for want of a class or function."""

    lacking = ""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Import the class that pickle names, and note where it cannot be."""
        try:
            return super().find_class(module_name, global_name)
        except Exception:
            self.lacking = f"{module_name}:{global_name}"
            raise


def _lacking(data: bytes) -> str:
    """Return the class that a payload needs and that cannot be imported here, as "module:Name"; "" for none."""
    finder = _Finder(BytesIO(data))
    with suppress(BaseException):  # it is the user's code that runs
        finder.load()
    return finder.lacking


def decode_value(data: bytes, resolve: Callable[[bytes], object], node_id: bytes) -> object:
    """Decode a node's value for a payload that refers to it; like `decode`, but quick where no promise is to be seen.

    Some may be there all the same, in what an object has pickled and compressed by itself.
    """
    if _PLACEHOLDER not in data:
        outer = exchange.value_of
        exchange.value_of = resolve
        # What goes wrong here is told by `decode`, with the node's name.
        with suppress(Exception):
            try:
                return pickle.loads(data)
            finally:
                exchange.value_of = outer
    return decode(data, resolve, what=f"the value of node {UUID(bytes=node_id)}")


def no_promises(node_id: bytes) -> object:
    """Be the `resolve` of payloads that hold no promises."""
    raise KeyError(f"the value of node {UUID(bytes=node_id)} is not here")


def _cannot_encode(value: object, what: str, error: Exception) -> PayloadError:
    """Make the error that names the innermost part of `value` that does not encode."""
    path, part = _offender(value)
    problem = f"cannot be encoded ({type(error).__name__}: {error})"
    if path:
        problem = f"its part {path}, a {type(part).__qualname__}, {problem}"
    way_out = "Pass plain data that pickle can carry, and make such an object inside the function that uses it."
    if iscoroutine(part):
        way_out = (
            "Await it: the call of an asynchronous function gives its promise only then. A decorator between "
            "@dagorama() and an asynchronous function has to give an asynchronous one."
        )
    return PayloadError(what=what, problem=problem, way_out=way_out)


def _offender(value: object) -> tuple[str, object]:
    """Walk down from a value that does not encode to the innermost part that doesn't. Returns its path, and itself."""
    path = ""
    for _ in range(SEARCH_DEPTH_MAX):
        inner = next(((step, part) for step, part in _parts(value) if not _encodes(part)), None)
        if inner is None:
            break
        path += inner[0]
        value = inner[1]
    return path, value


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of a value that an ordinary pickle would hold, each with the step that leads to it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f".key({key!r})", key
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f".member({part!r})", part) for part in value)
    elif not isinstance(value, type):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _encodes(value: object) -> bool:
    """Return whether a value encodes by itself."""
    try:
        pickle.dumps(value, PROTOCOL)
    except Exception:
        return False
    return True
