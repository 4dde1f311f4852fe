"""Stores of large values: their interface, and one in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pickle import PickleBuffer
from typing import Protocol

from dagorama.calls.pickling import Buffer, size_of
from dagorama.calls.references import Reference
from dagorama.errors import PayloadError

#: A payload, and each buffer in it, may have so many bytes; `DAGORAMA_INLINE_MAX` sets another number.
INLINE_MAX = 64 * 1024
#: What is smaller goes with the message in any case: to store it, and to ask for it, takes longer than it does there.
INLINE_MIN, INLINE_END = 16 * 1024, 64 * 2**20


def inline_max() -> int:
    """Return how many bytes a payload may have; raise `ValueError` for a setting that is no such number."""
    text = os.environ.get("DAGORAMA_INLINE_MAX") or str(INLINE_MAX)
    if text.isascii() and text.isdigit() and INLINE_MIN <= int(text) <= INLINE_END:
        return int(text)
    raise ValueError(f"DAGORAMA_INLINE_MAX={text!r} is not a number of bytes from {INLINE_MIN} to {INLINE_END}")


class Content:
    """The bytes of a value that is to be stored, in parts. They are not copied: nobody may change them meanwhile."""

    __slots__ = ("is_object", "parts", "size")

    def __init__(self, parts: Sequence[Buffer], *, is_object: bool = False) -> None:
        """Take parts in their order. With `is_object` the only part is the user's own, which may be stored again."""
        self.parts = parts
        self.is_object = is_object
        self.size = sum(map(size_of, parts))

    def views(self) -> Iterator[memoryview]:
        """Yield the parts as bytes."""
        for part in self.parts:
            with PickleBuffer(part).raw() as view:
                yield view

    def whole(self) -> memoryview:
        """Return all parts as one; a copy only where there are several."""
        if len(self.parts) == 1:
            return PickleBuffer(self.parts[0]).raw()
        return memoryview(b"".join(map(bytes, self.views())))

    def digest(self) -> bytes:
        """Return the digest of all parts."""
        from hashlib import sha256  # most programs never need it

        whole = sha256()
        for view in self.views():
            whole.update(view)
        return whole.digest()

    def is_of(self, reference: Reference) -> bool:
        """Return whether a value has these bytes."""
        return self.size == reference.size and self.digest() == reference.digest


class TooLarge(Exception):
    """A value is larger than a store takes."""

    def __init__(self, content: Content, limit: int) -> None:
        """Take the value and the limit in bytes."""
        super().__init__(content, limit)
        self.content = content
        self.limit = limit


class NoStore(Exception):
    """The broker is of a version that has no store for large values."""


class _Asking(threading.local):
    """The node for which this thread stores and fetches values."""

    node_id = b""


#: The work of this thread at present.
asking = _Asking()


@contextmanager
def asks_for(node_id: bytes) -> Iterator[None]:
    """Have this thread store and fetch values for a node: a broker then tells that the node waits for its store."""
    before, asking.node_id = asking.node_id, node_id
    try:
        yield
    finally:
        asking.node_id = before


class ValueStore(Protocol):
    """Keeps large values, each once. Any thread may call it."""

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Store values; they are durable when this returns. Return what refers to them, in their order.

        Raises `TooLarge`, `NoStore`, and what the library raises where a broker says no, or is away.
        """
        ...

    def get(self, references: Sequence[Reference], what: str, *, as_bytes: bool = False) -> Sequence[Buffer]:
        """Return the bytes of values, which nobody can write to. Raises `PayloadError`, naming `what` needs a value
        that cannot be had.

        With `as_bytes` nothing but `bytes` are made of them, so a store may give what it has as such.
        """
        ...

    def confirm(self, references: Sequence[Reference], what: str) -> None:
        """Make sure that values which were put are stored, and stay so for a while.

        Raises `PayloadError`, naming `what` needs them, for one that is gone, and what `put` raises.
        """
        ...

    def hold(self, owner: object, payload: bytes, *, at_once: bool = False) -> None:
        """Keep the values that a payload refers to for as long as `owner` lives, though nothing that is stored does.

        Values that were not stored just now are to be asked for `at_once`.
        """
        ...


def put_is_gone(reference: Reference, what: str) -> PayloadError:
    """Make the error of a value that was put, and that the store has not, or not any more."""
    return PayloadError(
        what=what,
        problem=f"the store of the broker does not have the value {reference}, which was put",
        way_out="Put it again, with this broker: it is kept while an instance uses it, or a program has its promise.",
    )


class MemoryValues:
    """Keeps values in memory: for what runs in one process."""

    def __init__(self) -> None:
        """Begin without values."""
        self._values: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    async def find_sizes(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Return the sizes of those of some values that are kept."""
        return {digest: len(self._values[digest]) for digest in digests if digest in self._values}

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Keep copies of values."""
        references = []
        for content in contents:
            digest = content.digest()
            with self._lock:
                if digest not in self._values:
                    self._values[digest] = bytes(content.whole())
            references.append(Reference(digest, content.size))
        return references

    def get(self, references: Sequence[Reference], what: str, *, as_bytes: bool = False) -> Sequence[Buffer]:
        """Return values as they are kept."""
        self.confirm(references, what)
        values = [self._values[reference.digest] for reference in references]
        return values if as_bytes else [memoryview(value) for value in values]

    def confirm(self, references: Sequence[Reference], what: str) -> None:
        """Raise `PayloadError` for a value that was put elsewhere."""
        for reference in references:
            if reference.digest not in self._values:
                raise put_is_gone(reference, what)

    def hold(self, owner: object, payload: bytes, *, at_once: bool = False) -> None:
        """Do nothing: all values are kept."""
