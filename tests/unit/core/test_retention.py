"""Which instances are removed, as transcripts: by their age in lived time, for room, or by request."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from dagorama_broker.core.errors import show_time
from dagorama_broker.core.model.keeping import AWAY_MAX_S, LivedClock, cutoffs
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import Lived
from dagorama_broker.core.model.values import Keep
from tests.unit.core.transcript import SETTINGS, Bench, tidy

KEEP = replace(SETTINGS, keep=Keep(completed_s=100, failed_s=300, cancelled_s=50))
FOR_EVER = replace(SETTINGS, keep=Keep(inf, inf, inf))


def check(transcript: str) -> None:
    """Replay a transcript over a core that keeps instances for some minutes."""
    assert Bench(settings=KEEP).replay(transcript) == tidy(transcript)


def test_each_end_has_its_own_time() -> None:
    """One that completed, one that failed and one that was cancelled go when the time of each is over."""
    check("""
        given
        connect w1 slots=9
        submit i1 a
        submit i2 b
        submit i3 c
        grant
        complete w1 a
        fail w1 b
        cancel i3

        at 49
        prune age i1 i2 i3
        at 50
        prune age i1 i2 i3
        at 100
        prune age i1 i2
        at 299
        prune age i2
        at 300
        prune age i2
        ----
        LifeNoted 49
        InstancesPruned i3 for age
        LifeNoted 50
        InstancesPruned i1 for age
        LifeNoted 100
        InstancesPruned i2 for age
        LifeNoted 300
    """)


def test_an_option_goes_before_the_settings() -> None:
    """An instance that has one is kept for as long as that says, for ever too; what calls its hooks likewise."""
    check("""
        given
        connect w1 slots=9
        submit i1 keep=20 a
        submit i2 keep=inf b
        grant
        complete w1 a b

        at 20
        prune age i1 i2
        at 1000000
        prune age i2
        ----
        InstancesPruned i1 for age
        LifeNoted 20
        LifeNoted 1e+06
    """)


def test_what_goes_on_is_not_removed() -> None:
    """Neither one that never ended, nor one that is in memory again: its time begins anew when it ends again."""
    check("""
        given
        connect w1 slots=9
        submit i1 a
        submit i2 b
        grant
        fail w1 a
        at 1000
        restore i1

        prune age i1 i2
        ----
        LifeNoted 1000

        retry i1
        prune age i1
        grant
        ----
        InstanceReopened i1
        NodesReset a
        WorkGranted w1 a#3

        fail w1 a
        at 1299
        prune age i1
        at 1300
        prune age i1
        ----
        AttemptFailed a attempt=2 ValueError
        NodeFailed a
        InstanceFinished i1 failed
        InstancesPruned i1 for age
        LifeNoted 1300
    """)


def test_people_and_a_full_disk_do_not_wait_for_the_time_to_be_over() -> None:
    """By request it goes at once, and the history tells who wanted it; of many by one request there is one line."""
    check("""
        given
        connect w1 slots=9
        submit i1 keep=inf a
        submit i2 b
        submit i3 c
        submit i4 d
        grant
        complete w1 a b c d
        at 7

        prune request i1
        prune room i2
        prune request i3 i4 since=3
        history
        ----
        InstancesPruned i1 for request
        LifeNoted 7
        InstancesPruned i2 for room
        LifeNoted 7
        InstancesPruned i3 i4 for request
        LifeNoted 7
        7 instance 6931 delete by dan definition=D state=completed
        7 instances prune by dan instances=2 older_than_s=3.0
    """)


def test_numbers_do_not_come_again() -> None:
    """Those of the newest instance and its nodes neither, though nothing else is there after a restart."""
    check("""
        given
        connect w1 slots=9
        submit i1 a b
        grant
        complete w1 a b
        prune request i1
        restart
        connect w1 slots=9

        submit i1 c
        ----
        InstanceCreated i1
        NodesCreated c
    """)


def test_a_clock_that_was_set_forward_removes_nothing() -> None:
    """What was lived counts, and of the time without a broker a day at most; back, it counts as none."""
    check("""
        given
        connect w1 slots=9
        submit i1 a
        grant
        complete w1 a
        at 10
        prune age
        at 100000010
        restart

        lived
        at 100000020
        lived
        prune age
        at 30
        restart
        lived
        ----
        86410
        86420
        LifeNoted 86420
        86420
    """)


def test_lived_time_is_noted_now_and_then() -> None:
    """An idle broker writes no more than one note in ten minutes."""
    check("""
        prune age
        at 1
        prune age
        at 600
        prune age
        at 601
        prune age
        ----
        LifeNoted 0
        LifeNoted 600
    """)


def test_for_ever_is_for_ever() -> None:
    """Nothing is due that is kept for ever."""
    assert cutoffs(FOR_EVER.keep, 1e12) == dict.fromkeys(
        (InstanceState.COMPLETED, InstanceState.FAILED, InstanceState.CANCELLED), -inf
    )


@pytest.mark.parametrize(
    ("noted", "now", "lived_s"),
    [
        (None, 5.0, 0.0),
        (Lived(5.0, 100.0), 5.0, 100.0),
        (Lived(5.0, 100.0), 65.0, 160.0),
        (Lived(5.0, 100.0), 1e10, 100.0 + AWAY_MAX_S),
        (Lived(1e10, 100.0), 5.0, 100.0),
    ],
)
def test_lived_time_goes_on_from_what_was_noted(noted: Lived | None, now: float, lived_s: float) -> None:
    """It neither goes back nor leaps, whatever the clock shows at the start."""
    clock = LivedClock()
    clock.restore(noted, now)
    assert (clock.at(now), clock.at(now + 7), clock.at(now - 7)) == (lived_s, lived_s + 7, lived_s)


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (0.0, "1970-01-01 00:00:00 UTC"),
        (951_782_399.9, "2000-02-28 23:59:59 UTC"),
        (951_782_400.0, "2000-02-29 00:00:00 UTC"),
        (951_868_800.0, "2000-03-01 00:00:00 UTC"),
        (4_107_542_399.0, "2100-02-28 23:59:59 UTC"),
        (4_107_542_400.0, "2100-03-01 00:00:00 UTC"),
        (1_798_761_599.0, "2026-12-31 23:59:59 UTC"),
    ],
)
def test_a_time_is_shown_as_a_date(at: float, shown: str) -> None:
    """Leap years and the turns of months are where they are in the calendar."""
    assert show_time(at) == shown
