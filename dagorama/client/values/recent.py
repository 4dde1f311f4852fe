"""The values that nodes of a process have taken or given last, so that the next ones find them made.

Nobody can write to them, so many nodes may have one object, one after the other. Else `bytes` are as much fresh memory
for each node, which takes longer to fill than many a node to run, and each node that maps a file has all of its pages
brought in.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from mmap import mmap
from time import monotonic, sleep
from typing import Generic, TypeVar

from dagorama.calls.references import Reference

T = TypeVar("T")

#: `bytes` of so many bytes together are kept, as long as somebody takes them. A larger value is made for each node.
_OBJECTS_BYTES_MAX = 128 * 2**20
#: Mappings take no memory of their own, but a file has its room on the disk for as long as it is mapped.
_MAPPINGS_BYTES_MAX = 4 * 2**30
#: Each mapping has a file open.
_COUNT_MAX = 64
#: A value that nobody has taken for so long is let go.
UNUSED_S = 10.0


class _Kept(Generic[T]):
    """A value, and when somebody has taken or given it last."""

    __slots__ = ("reference", "used_at", "value")

    def __init__(self, reference: Reference, value: T) -> None:
        """Take a value that is used now."""
        self.reference = reference
        self.value = value
        self.used_at = monotonic()


class Recent(Generic[T]):
    """Objects of the values that were used last. Any thread may call it."""

    def __init__(self, bytes_max: int, unused_s: float) -> None:
        """Keep no more than so many bytes, and each value for no longer than so many seconds after its last use."""
        self._bytes_max = bytes_max
        self._unused_s = unused_s
        self._lock = threading.Lock()
        #: By their digests, those last that were used last.
        self._kept: OrderedDict[bytes, _Kept[T]] = OrderedDict()
        self._size = 0
        #: By the identities of their objects, which live for as long as they stand here.
        self._by_identity: dict[int, _Kept[T]] = {}
        self._is_watched = False

    @property
    def size(self) -> int:
        """Return how many bytes are kept."""
        return self._size

    def fits(self, reference: Reference) -> bool:
        """Return whether a value is small enough to be kept."""
        return reference.size <= self._bytes_max

    def get(self, digest: bytes) -> T | None:
        """Return the object of a value, if there is one."""
        with self._lock:
            kept = self._kept.get(digest)
            return None if kept is None else self._used(kept).value

    def reference_of(self, value: T) -> Reference | None:
        """Return what an object is, if it is one of these: nothing of it is looked at."""
        with self._lock:
            kept = self._by_identity.get(id(value))
            return None if kept is None else self._used(kept).reference

    def keep(self, reference: Reference, value: T) -> T:
        """Keep an object; return the one that there is of this value, which may be another thread's."""
        if not self.fits(reference):
            return value
        with self._lock:
            kept = self._kept.get(reference.digest)
            if kept is not None:
                return self._used(kept).value
            kept = self._kept[reference.digest] = self._by_identity[id(value)] = _Kept(reference, value)
            self._size += reference.size
            while self._size > self._bytes_max or len(self._kept) > _COUNT_MAX:
                self._forget(next(iter(self._kept.values())))
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._forget_unused, name="dagorama-values-recent", daemon=True).start()
        return value

    def _used(self, kept: _Kept[T]) -> _Kept[T]:
        kept.used_at = monotonic()
        self._kept.move_to_end(kept.reference.digest)
        return kept

    def _forget(self, kept: _Kept[T]) -> None:
        del self._kept[kept.reference.digest], self._by_identity[id(kept.value)]
        self._size -= kept.reference.size

    def _forget_unused(self) -> None:
        """Forget values that nobody takes any more, until there are none."""
        while True:
            sleep(self._unused_s)
            with self._lock:
                before = monotonic() - self._unused_s
                for kept in [one for one in self._kept.values() if one.used_at <= before]:
                    self._forget(kept)
                if not self._kept:
                    self._is_watched = False
                    return


class RecentValues:
    """The values that a worker's process keeps: `bytes` as such, and others as the mappings that they are made of."""

    def __init__(self, *, objects_bytes_max: int = _OBJECTS_BYTES_MAX, unused_s: float = UNUSED_S) -> None:
        """Keep no more than so many bytes of `bytes`, and all for so many seconds after its last use."""
        self.objects: Recent[bytes] = Recent(objects_bytes_max, unused_s)
        self.mappings: Recent[mmap] = Recent(_MAPPINGS_BYTES_MAX, unused_s)
