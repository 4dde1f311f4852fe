"""Who reads which value of a bucket, so that a value that is deleted meanwhile is read to its end.

A deleted value that somebody reads is hidden, and removed with the last reader. A broker that is killed before that
leaves it as one that nothing uses.
"""

from collections import Counter
from collections.abc import Callable
from threading import Condition


class Readers:
    """Counts the readers of values, and removes values that have none. Any thread may use it."""

    def __init__(self, remove: Callable[[bytes], None]) -> None:
        """Have `remove` take a value away."""
        self._remove = remove
        self._changed = Condition()
        self._count: Counter[bytes] = Counter()
        self._doomed: set[bytes] = set()  #: deleted, and still read
        self._going: set[bytes] = set()  #: being removed

    def is_hidden(self, digest: bytes) -> bool:
        """Tell whether a value is deleted."""
        with self._changed:
            return digest in self._doomed or digest in self._going

    def is_read(self, digest: bytes) -> bool:
        """Tell whether somebody reads a value."""
        with self._changed:
            return self._count[digest] > 0

    def enter(self, digest: bytes) -> bool:
        """Begin to read a value; return whether it may be."""
        with self._changed:
            if digest in self._doomed or digest in self._going:
                return False
            self._count[digest] += 1
            return True

    def leave(self, digest: bytes) -> None:
        """End to read a value, and remove it where it is deleted and this was the last reader."""
        with self._changed:
            self._count[digest] -= 1
            if self._count[digest]:
                return
            del self._count[digest]
            if digest not in self._doomed:
                return
            self._doomed.discard(digest)
            self._going.add(digest)
        self._finish(digest)

    def delete(self, digest: bytes) -> None:
        """Remove a value, or have the last reader do so."""
        with self._changed:
            if self._count[digest]:
                self._doomed.add(digest)
                return
            self._going.add(digest)
        self._finish(digest)

    def spare(self, digest: bytes) -> bool:
        """Keep a value that is put again; return whether it was deleted, so that its objects are to be replaced."""
        with self._changed:
            self._changed.wait_for(lambda: digest not in self._going)
            if digest not in self._doomed:
                return False
            self._doomed.discard(digest)
            return True

    def _finish(self, digest: bytes) -> None:
        try:
            self._remove(digest)
        finally:
            with self._changed:
                self._going.discard(digest)
                self._changed.notify_all()
