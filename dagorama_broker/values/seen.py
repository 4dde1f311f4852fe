"""The values of which it is known that they are there, and since when."""

from itertools import islice

#: More are not remembered: about 20 MB.
_COUNT_MAX = 100_000


class Seen:
    """Sizes of values, each with when it was last seen to be there. The oldest of many are forgotten."""

    def __init__(self, count_max: int = _COUNT_MAX) -> None:
        self._count_max = count_max
        self._entries: dict[bytes, tuple[int, float]] = {}

    def get(self, digest: bytes) -> tuple[int, float] | None:
        """Return the size of a value and when it was seen."""
        return self._entries.get(digest)

    def note(self, digest: bytes, size: int, at: float) -> None:
        """Note that a value is there."""
        self._entries.pop(digest, None)
        self._entries[digest] = size, at
        if len(self._entries) > self._count_max:
            for oldest in list(islice(self._entries, self._count_max // 10 + 1)):
                del self._entries[oldest]

    def forget(self, digest: bytes) -> None:
        """Forget a value."""
        self._entries.pop(digest, None)
