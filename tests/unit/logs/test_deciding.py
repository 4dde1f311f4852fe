"""Which blocks are kept, passed over or dropped, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagorama_broker.logs import deciding
from dagorama_broker.logs.blocks import Loss, Missing, pack, unpack
from dagorama_broker.logs.deciding import make_room, size_of, sort, tell
from tests.unit.logs.sending import NOW, arrival, data_of, part


def test_repeated_blocks_are_passed_over() -> None:
    """A block is new if its number is above the last of its sender, stored or in the same batch."""
    batch = [arrival(2, b"known"), arrival(3, b"new"), arrival(3, b"twice"), arrival(1, b"other", sender="t")]
    ordered = sort(batch, {b"s": 2})
    assert data_of(ordered.fresh) == [b"new", b"other"]
    assert ordered.lasts == {b"s": 3, b"t": 1}
    assert ordered.skipped == []


def test_left_out_numbers_are_noticed() -> None:
    """A known sender that goes on beyond its next number was acknowledged what is not there any more."""
    batch = [arrival(6), arrival(9, sender="new")]
    assert [(found.block.sequence, blocks) for found, blocks in sort(batch, {b"s": 2}).skipped] == [(6, 3)]


def test_all_is_kept_while_there_is_room() -> None:
    """Then nobody asks which instances have finished."""

    def finished() -> Iterator[tuple[int, int]]:
        raise AssertionError
        yield

    batch = [arrival(1), arrival(2)]
    size = sum(size_of(each.block) for each in batch)
    room = make_room(batch, used_bytes=10, bytes_max=10 + size, finished=finished())
    assert (room.removals, room.kept, room.dropped) == ((), batch, ())


def test_oldest_finished_instances_make_room() -> None:
    """As many of them go as have to, the last of them in part, and no more are looked at."""
    looked_at = []

    def finished() -> Iterator[tuple[int, int]]:
        for instance in (1, 2, 3):
            looked_at.append(instance)
            yield instance, 100

    batch = [arrival(1)]
    size = size_of(batch[0].block)
    room = make_room(batch, used_bytes=1000, bytes_max=1000 + size - 150, finished=finished())
    slack = (1000 + size - 150) // 128
    assert room.removals == [(1, 100), (2, 50 + slack)]
    assert (data_of(room.kept), room.dropped, looked_at) == ([b"data"], [], [1, 2])


def test_store_with_a_smaller_bound_shrinks_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit removes very much, and what comes is kept meanwhile, in the room of what goes."""
    monkeypatch.setattr(deciding, "REMOVED_BYTES_MAX", 500)
    batch = [arrival(1)]
    size = size_of(batch[0].block)
    room = make_room(batch, used_bytes=10_000, bytes_max=1000, finished=[(1, 200), (2, 9_800)])
    assert room.removals == [(1, 200), (2, 300 + size)]
    assert (room.kept, room.dropped) == (batch, [])


def test_large_blocks_count_with_their_pages() -> None:
    """A block that has pages of its own leaves a part of the last one empty."""
    assert size_of(arrival(1, b"x" * 20_000).block) - size_of(arrival(1, b"x" * 10_000).block) == 18_000


def test_blocks_that_do_not_fit_are_dropped() -> None:
    """A smaller one that comes after them may fit."""
    small, large = arrival(1, b"s"), arrival(2, b"l" * 1000)
    room = make_room([large, small], used_bytes=0, bytes_max=size_of(small.block), finished=[])
    assert (room.kept, room.dropped) == ([small], [large])


def test_parts_are_kept_as_they_are() -> None:
    """The largest numbers that travel fit."""
    parts = [part(), part("m", attempt=2**32 - 1, token=2**63 - 1, lines=2**32 - 1, ended=True)]
    assert unpack(pack(parts)) == parts


def test_losses_are_told_with_their_extent() -> None:
    """Each sentence has the number of lines, their size, when, and why."""
    later = NOW + 5
    assert [tell(Missing(loss, 2, 1500, 2048, NOW, later), "no disk") for loss in Loss] == [
        "not kept, because the broker's log store was full: 1,500 lines (2.0 KiB) that came from "
        "2027-01-15 08:00:00 UTC to 2027-01-15 08:00:05 UTC",
        "not kept, because the broker's log store could not be written: 1,500 lines (2.0 KiB) that came from "
        "2027-01-15 08:00:00 UTC to 2027-01-15 08:00:05 UTC: no disk",
        "removed from the beginning from 2027-01-15 08:00:00 UTC to 2027-01-15 08:00:05 UTC, to make room in the "
        "broker's log store: 1,500 lines (2.0 KiB)",
        "lost after it was stored, as when the broker's machine goes down, and noticed from 2027-01-15 08:00:00 UTC "
        "to 2027-01-15 08:00:05 UTC: 2 blocks of lines",
    ]
