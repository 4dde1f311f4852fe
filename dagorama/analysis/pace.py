"""How fast an instance goes on, and how long it will take: from how many nodes have ended at which times."""

from __future__ import annotations

from collections import deque

#: The rate is that of so many seconds, so that it is steady and still follows what happens.
WINDOW_S = 30.0
#: Looks that are closer together than this are one.
STEP_S = 0.25


class Pace:
    """The rate of something that is counted, over a window of time."""

    def __init__(self) -> None:
        """Know nothing as yet."""
        self._looks: deque[tuple[float, int]] = deque()

    def add(self, at: float, ended: int) -> None:
        """Take in how many had ended at some time, in seconds by a clock that does not go back."""
        looks = self._looks
        if looks and ended < looks[-1][1]:
            looks.clear()  # a retry or a rerun has begun
        if len(looks) > 1 and at - looks[-2][0] < STEP_S:
            looks.pop()
        looks.append((at, ended))
        while len(looks) > 2 and looks[1][0] <= at - WINDOW_S:
            looks.popleft()

    @property
    def rate(self) -> float:
        """Return how many end in a second; 0 where that is not known."""
        if len(self._looks) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._looks[0], self._looks[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def left_s(self, total: int) -> float | None:
        """Return how long the rest of so many takes at this rate; None where that is not known.

        It is a guess: an instance makes further nodes as it runs, and they need not be alike.
        """
        rest = total - (self._looks[-1][1] if self._looks else 0)
        return rest / self.rate if rest > 0 and self.rate > 0 else None
