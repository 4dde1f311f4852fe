"""Ids sort by the time they were made, and never meet."""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

from dagorama.calls.ids import new_id


def test_ids_are_time_ordered_uuids() -> None:
    """An id is a UUID of version 7 that carries the present time."""
    before_ms = time.time_ns() // 1_000_000
    made = UUID(bytes=new_id())
    after_ms = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before_ms - 1 <= made.int >> 80 <= after_ms + 1


def test_later_ids_are_greater() -> None:
    """The ids of one process grow strictly."""
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_ids_of_threads_grow_and_differ() -> None:
    """Ids grow in each thread, and no two threads make the same."""
    made: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: made.append([new_id() for _ in range(2_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({id_ for ids in made for id_ in ids}) == 8_000


def test_a_forked_child_counts_from_elsewhere() -> None:
    """After a fork the child's counter starts at a new place, so it doesn't repeat what the parent makes next."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id())
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(reading, 16), new_id()
    os.close(reading)
    os.close(writing)
    assert abs(int.from_bytes(theirs[8:], "big") - int.from_bytes(ours[8:], "big")) > 2**32
