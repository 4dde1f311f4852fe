"""Digests of arguments, by which a start is known for one that was made before.

Equal values may have different payloads: pickle writes an object that it meets again in another way than one that is
only equal to it, and the members of a set in the order of this process. So a value is taken apart as pickle would, and
its digest is made of those of its parts (as in a Merkle tree), in which neither matters.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from inspect import signature
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

from dagorama.calls.names import module_name
from dagorama.calls.payload import decode, no_promises

#: Told by their text. Of an int and a float that are equal it is another one: a function may tell them apart.
_ATOMS = (type(None), bool, int, float, complex, type(...))
#: Known by their names, to pickle as well.
_NAMED = (type, FunctionType, BuiltinFunctionType)
#: The attribute of an object that stands for all of it, where some of what it has makes it no other.
COMPARED = "_dagorama_compared"
#: How objects are asked to take themselves apart: from 5 on, some of their parts would be no values.
_PROTOCOL = 4


def digest_of_call(arguments: Mapping[str, object], payload: bytes) -> bytes:
    """Return the digest of the arguments of a call, by name; that of its payload where it cannot be taken apart."""
    try:
        return Digesting().digest(dict(arguments))
    except Exception:  # the code of users' objects runs here; what contains itself ends here, too
        return sha256(payload).digest()


def digest_of_construction(payload: bytes, constructor: Callable[..., object] | None) -> bytes:
    """Return the digest of what a definition is made of (`Construction.arguments`); empty for nothing.

    `constructor` takes the arguments after `self`; None takes none.
    """
    if not payload:
        return b""
    try:
        content: Any = decode(payload, no_promises)
        if len(content) == 3:  # it was changed after it was made
            base, written, deleted = content
            content = digest_of_construction(base, constructor), written, sorted(deleted)
        elif constructor is not None:
            args, kwargs = content
            content = dict(signature(constructor).bind(None, *args, **kwargs).arguments)
            content.pop(next(iter(content)))  # self
        return Digesting().digest(content)
    except Exception:  # as above; or the payload names what this program has not got
        return sha256(payload).digest()


class Digesting:
    """Makes the digest of a value. A part that occurs in it often is taken apart once."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._kept: list[object] = []  #: all that are known, so that no other object gets the id of one of them

    def digest(self, value: object) -> bytes:
        """Return the digest of a value. Raises for one that cannot be taken apart."""
        kind = type(value)
        if kind is str:
            return _joined(kind, [cast(str, value).encode("utf-8", "surrogatepass")])
        if kind in (bytes, bytearray):
            return _joined(kind, [bytes(cast(bytes, value))])
        if kind in _ATOMS:
            return _joined(kind, [repr(value).encode()])
        if isinstance(value, _NAMED):
            return _joined(type, self.name_of(value))
        known = self._known.get(id(value))
        if known is None:
            known = _joined(kind, self._parts(value, kind))
            self._known[id(value)] = known
            self._kept.append(value)
        return known

    def name_of(self, value: Any) -> list[bytes]:
        """Return what is known of a function or class: its name."""
        return [f"{module_name(value.__module__ or '')}:{value.__qualname__}".encode()]

    def _parts(self, value: Any, kind: type) -> Iterable[bytes]:
        if kind in (list, tuple):
            return map(self.digest, value)
        if kind in (set, frozenset):
            return sorted(map(self.digest, value))
        if kind is dict:
            return self._entries(value.items())
        if hasattr(kind, COMPARED):
            return [self.digest(getattr(value, COMPARED))]
        reduce: Callable[[Any], Any] | None = cast(Any, copyreg.dispatch_table).get(kind)
        reduced = reduce(value) if reduce is not None else value.__reduce_ex__(_PROTOCOL)
        if isinstance(reduced, str):
            return [f"{module_name(value.__module__)}:{reduced}".encode()]
        make, arguments, state, items, entries = (*cast(tuple[Any, ...], reduced), None, None, None)[:5]
        parts = [self.digest(make), self.digest(arguments), self.digest(state)]
        parts += map(self.digest, items or ())
        return parts + self._entries(entries or ())

    def _entries(self, entries: Iterable[tuple[object, object]]) -> list[bytes]:
        """Return those of the entries of a mapping, in an order that does not depend on theirs."""
        return sorted(self.digest(key) + self.digest(value) for key, value in entries)


def _joined(kind: type, parts: Iterable[bytes]) -> bytes:
    """Return the digest of a value of this type that has these parts."""
    whole = sha256(kind.__qualname__.encode())
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.digest()
