"""The containers, against the plainest thing that does the same."""

from __future__ import annotations

from random import Random

import pytest

from dagorama_broker.core.containers.caches import Cache
from dagorama_broker.core.containers.lines import Line
from dagorama_broker.core.containers.timers import Timers


@pytest.mark.parametrize("seed", range(5))
def test_things_fall_due_in_the_order_of_their_times(seed: int) -> None:
    """Whatever is set again or taken out in between, and in the order in which they were set where times are equal."""
    rng = Random(seed)
    timers: Timers[int] = Timers()
    times: dict[int, float] = {}
    now = 0.0
    for _ in range(3_000):
        thing = rng.randrange(300)
        if rng.random() < 0.6:
            at = now + rng.randrange(100)
            times.pop(thing, None)  # it comes after those that were set to this time before
            times[thing] = at
            timers.set(thing, at)
        else:
            times.pop(thing, None)
            timers.discard(thing)
        assert timers.next_at == min(times.values(), default=None)
        assert timers.at(thing) == times.get(thing)
        if rng.random() < 0.02:
            now += rng.randrange(20)
            due = sorted((thing for thing, at in times.items() if at <= now), key=times.__getitem__)
            assert list(timers.take_due(now)) == due
            times = {thing: at for thing, at in times.items() if at > now}
        assert len(timers) == len(times)
    assert sorted(timers) == sorted(times)


@pytest.mark.parametrize("seed", range(5))
def test_a_line_is_in_the_order_of_its_numbers(seed: int) -> None:
    """Whatever leaves from its middle; a new thing is told to be the first where it is."""
    rng = Random(seed)
    line: Line[str] = Line()
    things: dict[int, str] = {}
    for _ in range(3_000):
        number = rng.randrange(10_000)
        if number not in things and rng.random() < 0.55:
            is_first = number < min(things, default=10_000)
            assert line.add(number, f"thing {number}") == is_first
            things[number] = f"thing {number}"
        elif things:
            number = min(things) if rng.random() < 0.2 else rng.choice(list(things))
            line.drop(number)
            del things[number]
        if rng.random() < 0.1 and things:
            first, later = min(things), rng.randrange(10_000, 20_000)
            if later not in things:
                assert line.first() == first
                things[later] = things.pop(first)
                assert line.renumber(first, later) == (min(things) == later)
        if rng.random() < 0.5:
            assert line.first() == min(things, default=None)
        assert line.things == things
        assert len(line) == len(things)


def test_a_cache_forgets_the_oldest_beyond_its_bytes() -> None:
    """So many bytes are kept, no entry for which there would be no room at all, and the newest of the others."""
    cache: Cache[str, int] = Cache(10)
    for name, size in (("a", 4), ("b", 6), ("much", 11)):
        cache.put(name, size, size)
    assert [cache.get(name) for name in ("a", "b", "much")] == [4, 6, None]
    cache.put("c", 5, 5)
    assert [cache.get(name) for name in "abc"] == [None, None, 5]
    cache.put("d", 5, 5)
    assert [cache.get(name) for name in "cd"] == [5, 5]
    cache.put("e", 10, 10)
    assert [cache.get(name) for name in "cde"] == [None, None, 10]
