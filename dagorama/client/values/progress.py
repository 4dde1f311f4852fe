"""How far a large value has come: a line where a person looks, once that takes longer than a moment."""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from dagorama.client.places import Place, place_of_people

#: A transfer that takes no longer shows nothing; then it is drawn so often.
BEGIN_S, INTERVAL_S = 1.0, 0.2
_BAR = 30


class Progress:
    """The transfer of one value. In a `with` statement it gives the function that takes the bytes which have come."""

    def __init__(self, verb: str, size: int, *, shows: bool, place: Place | None = None) -> None:
        """Take the verb, "fetching" or "storing", and the size in bytes; without `shows` nobody looks."""
        self._verb = verb
        self._size = size
        self._place = place or (place_of_people() if shows else None)
        self._done = 0
        self._due_at = monotonic() + BEGIN_S
        self._is_shown = False

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __call__(self, count: int) -> None:
        """Take in that so many bytes more have come."""
        self._done += count
        if self._place is not None and monotonic() >= self._due_at:
            self._due_at = monotonic() + INTERVAL_S
            self._is_shown = True
            self._place.show(line_of(self._verb, self._done, self._size)[: self._place.width()])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._is_shown and self._place is not None:
            self._place.show("")


def line_of(verb: str, done: int, size: int) -> str:
    """Return a line with a bar."""
    share = min(done / size, 1.0) if size else 1.0
    full = int(share * _BAR)
    return f"{verb} a value [{'#' * full}{'.' * (_BAR - full)}] {done / 2**20:.0f} of {size / 2**20:.0f} MiB"
