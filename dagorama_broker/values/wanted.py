"""When values were last wanted, in memory: nothing is written to an object store only to note a time."""

from itertools import islice
from threading import Lock

#: More are not remembered: about 20 MB.
_COUNT_MAX = 100_000


class Wanted:
    """The times at which values were wanted. Of the others it is known that they are no later than `floor`."""

    def __init__(self, floor: float = 0.0, count_max: int = _COUNT_MAX) -> None:
        self._floor = floor
        self._count_max = count_max
        self._lock = Lock()
        self._at: dict[bytes, float] = {}  #: in their order, more or less

    def note(self, digest: bytes, at: float) -> None:
        """Note that a value is wanted."""
        with self._lock:
            self._at.pop(digest, None)
            self._at[digest] = at
            if len(self._at) > self._count_max:
                for oldest in list(islice(self._at, self._count_max // 10 + 1)):
                    self._floor = max(self._floor, self._at.pop(oldest))

    def at(self, digest: bytes) -> float:
        """Return when a value was last wanted, or a later time."""
        with self._lock:
            return self._at.get(digest, self._floor)

    def forget(self, digest: bytes) -> None:
        """Forget a value that is gone."""
        with self._lock:
            self._at.pop(digest, None)
