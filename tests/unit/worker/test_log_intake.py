"""The queue of what nodes write."""

from __future__ import annotations

from threading import Condition

from dagorama.worker.logs.intake import PACK_BYTES, QUEUE_BYTES_MAX, Event, Intake
from dagorama.worker.logs.packer import Attempt, Packer

ATTEMPT = Attempt(b"i" * 16, b"n" * 16, 1, 7)


def event(number: int) -> Event:
    """Make an event that is told from others."""

    def take(packer: Packer) -> None:
        raise AssertionError(number)

    return take


def test_much_is_packed_bit_by_bit() -> None:
    """Each time no more than takes a moment, in the order in which it came; who waits for room sees each step."""
    intake = Intake(Condition())
    events = [event(number) for number in range(6)]
    for each in events[:4]:
        intake.put(ATTEMPT, each, b"x" * (PACK_BYTES // 2))
    for each in events[4:]:
        intake.put_always(each)
    taken = []
    steps = intake.steps
    with intake._changed:
        while intake.has_some():
            found, missed = intake.take()
            taken.append(found)
            assert (len(missed), intake.steps) == (0, steps + len(taken))
    assert taken == [events[:2], events[2:4], events[4:]]
    assert intake.size_bytes == 0


def test_what_found_no_room_is_told_with_the_next_part() -> None:
    """It must come before the end of its attempt, which waits in the queue."""
    intake = Intake(Condition())
    intake.put(ATTEMPT, event(0), b"x" * (QUEUE_BYTES_MAX + 1))
    intake._is_stuck = True
    intake.put(ATTEMPT, event(1), b"one\ntwo\n")
    intake.put_always(event(2))
    with intake._changed:
        (_, missed), (rest, none) = intake.take(), intake.take()
    assert (missed, none, len(rest)) == ({ATTEMPT: (2, 8)}, {}, 1)
    assert intake.size_bytes == 0
