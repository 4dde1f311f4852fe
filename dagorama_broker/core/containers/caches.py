"""Remembering what may be forgotten, up to so many bytes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A mapping that forgets its oldest entries when all of them come to more than `bytes_max`.

    Entries differ in size by a million times, so that a bound on their number would be none.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        """Return what is remembered under a key."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def values(self) -> Iterator[V]:
        """Yield all that is remembered."""
        return (value for value, _ in self._entries.values())

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Remember a value under a new key; together they take about so many bytes."""
        if size_bytes > self._bytes_max:
            return
        self._entries[key] = value, size_bytes
        self._bytes += size_bytes
        while self._bytes > self._bytes_max:
            self._bytes -= self._entries.pop(next(iter(self._entries)))[1]
