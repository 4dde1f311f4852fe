"""Objects of `bytes` that nodes of a process have taken or given, so that the next ones take the same.

Nobody can write to `bytes`, so many nodes may have one object. Another one of the same value would be as much fresh
memory, which takes longer to fill than many a node to run. Arrays need none of this: they are mapped.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from time import monotonic, sleep

from dagorama.calls.references import Reference

#: So many bytes are kept, as long as somebody takes them. A larger value is made for each node.
_KEPT_BYTES_MAX = 128 * 2**20
#: What nobody has taken for so long is let go.
_UNUSED_S = 10.0


class _Kept:
    """A value, and when somebody has taken or given it last."""

    __slots__ = ("data", "reference", "used_at")

    def __init__(self, reference: Reference, data: bytes) -> None:
        """Take a value that is used now."""
        self.reference = reference
        self.data = data
        self.used_at = monotonic()


class SharedBytes:
    """The values that were used last. Any thread may call it."""

    def __init__(self, bytes_max: int = _KEPT_BYTES_MAX, unused_s: float = _UNUSED_S) -> None:
        """Keep no more than so many bytes, and each value for no longer than so many seconds after its last use."""
        self._bytes_max = bytes_max
        self._unused_s = unused_s
        self._lock = threading.Lock()
        #: By their digests, those last that were used last.
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._size = 0
        #: By the identities of their objects, which live for as long as they stand here.
        self._by_identity: dict[int, _Kept] = {}
        self._is_watched = False

    @property
    def size(self) -> int:
        """Return how many bytes are kept."""
        return self._size

    def fits(self, reference: Reference) -> bool:
        """Return whether a value is small enough to be kept."""
        return reference.size <= self._bytes_max

    def get(self, digest: bytes) -> bytes | None:
        """Return the object of a value, if there is one."""
        with self._lock:
            kept = self._kept.get(digest)
            return None if kept is None else self._used(kept).data

    def reference_of(self, value: bytes) -> Reference | None:
        """Return what an object is, if it is one of these: nothing of it is looked at."""
        with self._lock:
            kept = self._by_identity.get(id(value))
            return None if kept is None else self._used(kept).reference

    def keep(self, reference: Reference, data: bytes) -> bytes:
        """Keep an object; return the one that there is of this value, which may be another thread's."""
        if not self.fits(reference):
            return data
        with self._lock:
            kept = self._kept.get(reference.digest)
            if kept is not None:
                return self._used(kept).data
            kept = self._kept[reference.digest] = self._by_identity[id(data)] = _Kept(reference, data)
            self._size += reference.size
            while self._size > self._bytes_max:
                self._forget(next(iter(self._kept.values())))
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._forget_unused, name="dagorama-values-shared", daemon=True).start()
        return data

    def _used(self, kept: _Kept) -> _Kept:
        kept.used_at = monotonic()
        self._kept.move_to_end(kept.reference.digest)
        return kept

    def _forget(self, kept: _Kept) -> None:
        del self._kept[kept.reference.digest], self._by_identity[id(kept.data)]
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
