"""Decide which blocks are kept, passed over or dropped, and what makes room for them. Nothing here does I/O."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from dagorama_broker.logs.blocks import Arrival, Block, Loss, Missing

#: What a block takes in the store beside its bytes, and what each of its parts does in the index of nodes.
_BLOCK_BYTES, _PART_BYTES = 120, 110

#: A larger block has pages of its own, the last of which is half empty on an average.
_SMALL_BYTES_MAX, _REST_BYTES = 16_000, 8_000

#: Where room is made, it is made for this part of the store at once, so that not each block has to make its own.
_SLACK = 128

#: No more is removed at once than this, and what comes in. Where a store was given a smaller bound, it shrinks bit by
#: bit: to remove 10 GiB takes minutes.
REMOVED_BYTES_MAX = 256 * 2**20


class Sorted(NamedTuple):
    """Blocks in order of arrival, without any that the store has."""

    fresh: Sequence[Arrival]
    lasts: Mapping[bytes, int]  #: the number of the last block of each sender that has sent one
    skipped: Sequence[tuple[Arrival, int]]  #: blocks before which others of their sender are missing, and how many


class Room(NamedTuple):
    """Tell what is to go and what may come."""

    removals: Sequence[tuple[int, int]]  #: an instance, by its number, and how many bytes of its oldest blocks go
    kept: Sequence[Arrival]
    dropped: Sequence[Arrival]


def size_of(block: Block) -> int:
    """Return about how many bytes of the store a block takes."""
    return stored_size(len(block.data), len(block.parts))


def stored_size(data_bytes: int, parts: int) -> int:
    """Return about how many bytes of the store a block takes that has so many, and so many parts."""
    rest = _REST_BYTES if data_bytes > _SMALL_BYTES_MAX else 0
    return data_bytes + rest + _BLOCK_BYTES + _PART_BYTES * parts


def sort(arrivals: Sequence[Arrival], known: Mapping[bytes, int]) -> Sorted:
    """Tell new blocks from repeated ones, by the numbers of the last that are `known` of their senders.

    A sender numbers its blocks without leaving any out, and sends them again until they are acknowledged. So a number
    that is not above the last is a repetition, and one that is left out is a block that was acknowledged and then lost,
    as when the machine of the broker lost its power. Of a sender that is not known nothing is said.
    """
    lasts: dict[bytes, int] = {}
    fresh: list[Arrival] = []
    skipped: list[tuple[Arrival, int]] = []
    for arrival in arrivals:
        sequence = arrival.block.sequence
        last = lasts.get(arrival.sender_id, known.get(arrival.sender_id, 0))
        if sequence <= last:
            continue
        if last and sequence > last + 1:
            skipped.append((arrival, sequence - last - 1))
        lasts[arrival.sender_id] = sequence
        fresh.append(arrival)
    return Sorted(fresh, lasts, skipped)


def make_room(
    arrivals: Sequence[Arrival], *, used_bytes: int, bytes_max: int, finished: Iterable[tuple[int, int]]
) -> Room:
    """Decide what is kept in a store of that size.

    `finished` are the instances that run no longer, oldest first, with the bytes that are kept of each; no more of
    them are asked for than have to give way. Where even that is not enough, blocks are dropped that do not fit.
    """
    incoming = sum(size_of(arrival.block) for arrival in arrivals)
    if used_bytes + incoming <= bytes_max:
        return Room((), arrivals, ())
    limit = max(bytes_max, used_bytes)  # what is above the bound already does not grow
    wanted = min(used_bytes + incoming - bytes_max + bytes_max // _SLACK, incoming + REMOVED_BYTES_MAX)
    removals: list[tuple[int, int]] = []
    for instance, held_bytes in finished:
        part = min(held_bytes, wanted)
        removals.append((instance, part))
        used_bytes -= part
        wanted -= part
        if wanted <= 0:
            break
    kept: list[Arrival] = []
    dropped: list[Arrival] = []
    for arrival in arrivals:
        size = size_of(arrival.block)
        if used_bytes + size <= limit:
            used_bytes += size
            kept.append(arrival)
        else:
            dropped.append(arrival)
    return Room(removals, kept, dropped)


def missing(loss: Loss, block: Block, now: float) -> Missing:
    """Return what is missing where a block is."""
    return Missing(loss, 1, *block.count(), now, now)


def tell(missing: Missing, problem: str = "") -> str:
    """Return the sentence that tells readers of a loss; `problem` is why the store cannot be written."""
    span = _span(missing.first_at, missing.last_at)
    if missing.loss is Loss.SKIPPED:
        blocks = _many(missing.blocks, "block")
        return (
            f"lost after it was stored, as when the broker's machine goes down, and noticed {span}: {blocks} of lines"
        )
    lines = f"{_many(missing.lines, 'line')} ({_size(missing.text_bytes)})"
    if missing.loss is Loss.REMOVED:
        return f"removed from the beginning {span}, to make room in the broker's log store: {lines}"
    if missing.loss is Loss.FULL:
        return f"not kept, because the broker's log store was full: {lines} that came {span}"
    why = f": {problem}" if problem else ""
    return f"not kept, because the broker's log store could not be written: {lines} that came {span}{why}"


def tell_of_beginning(began_at: float) -> str:
    """Return the sentence for an instance that is older than the store."""
    return f"nothing from before {_moment(began_at)} is kept: the broker's log store was begun then"


def _span(first_at: float, last_at: float) -> str:
    first, last = _moment(first_at), _moment(last_at)
    return f"at {first}" if first == last else f"from {first} to {last}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return _many(int(size), "byte") if unit == "bytes" else f"{size:,.1f} {unit}"
