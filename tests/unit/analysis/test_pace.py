"""How fast an instance goes on."""

from __future__ import annotations

from dagorama.analysis.pace import Pace


def paced(*looks: tuple[float, int]) -> Pace:
    """Gives a pace that has seen these looks."""
    pace = Pace()
    for at, ended in looks:
        pace.add(at, ended)
    return pace


def test_the_rate_is_that_of_the_window() -> None:
    """What was long ago counts no more."""
    assert paced((0.0, 0), (10.0, 50)).rate == 5.0
    assert paced((0.0, 0), (10.0, 1000), (40.0, 1000), (70.0, 1030)).rate == 1.0


def test_time_left_follows_from_the_rate() -> None:
    """The rest at the rate; unknown where nothing has ended yet, or nothing is left."""
    assert paced((0.0, 0), (10.0, 50)).left_s(100) == 10.0
    assert paced((0.0, 0)).left_s(100) is None
    assert paced((0.0, 3), (10.0, 3)).left_s(100) is None
    assert paced((0.0, 0), (10.0, 50)).left_s(50) is None
    assert Pace().left_s(1) is None


def test_a_retry_begins_anew() -> None:
    """Fewer than before have ended, which is no rate."""
    pace = paced((0.0, 0), (10.0, 50), (11.0, 20))
    assert (pace.rate, pace.left_s(100)) == (0.0, None)
    pace.add(13.0, 30)
    assert pace.rate == 5.0


def test_a_flood_of_looks_is_kept_short() -> None:
    """Looks close to each other take no room, and the last of them counts."""
    pace = paced(*((number / 1000, number) for number in range(100_000)))
    assert len(pace._looks) < 200
    assert round(pace.rate) == 1000
