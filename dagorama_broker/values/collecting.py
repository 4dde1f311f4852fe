"""Collecting values that nobody uses: slice by slice, while others go on.

A value goes when no payload in the journal refers to it, nobody has asked for it for a while, and it is neither looked
for nor put at that moment. Whoever is to refer to it asks first, so what is committed later is there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from dagorama_broker.values.values import Values

log = logging.getLogger("dagorama.broker")

#: So many values are looked up in the journal at once: a commit that comes meanwhile waits for a millisecond.
_AT_ONCE = 500

#: The longest time between two rounds.
_PAUSE_MAX_S = 600.0

#: Return the values, among some, that payloads refer to.
FindUsed = Callable[[Sequence[bytes]], Awaitable[set[bytes]]]


class Collected(NamedTuple):
    """The outcome of one round."""

    kept: int  #: values that are there
    kept_bytes: int
    removed: int
    removed_bytes: int  #: with those of uploads that nobody has gone on with


async def collect(values: Values, find_used: FindUsed) -> Collected:
    """Go through all values once, and remove those that nobody wants. Raises what `find_used` raises."""
    kept = kept_bytes = removed = removed_bytes = 0
    stored_ever = values.stored_ever
    for shard in await values.run(values.store.shards):
        stored = await values.run(values.store.list, shard)
        kept += len(stored)
        kept_bytes += sum(one.size for one in stored)
        old_at = values.now() - values.unused_s - 2 * values.refresh_s
        old = [one.digest for one in stored if one.wanted_at < old_at and not values.is_wanted(one.digest)]
        for start in range(0, len(old), _AT_ONCE):
            count, freed = await _remove_unused(values, old[start : start + _AT_ONCE], find_used)
            removed, removed_bytes = removed + count, removed_bytes + freed
    left_at = values.now() - values.unused_s
    left_bytes = await values.run(values.store.clear_incoming, left_at, values.underway)
    if values.stored_ever == stored_ever:  # else some were counted and some were not
        values.stored_count, values.stored_bytes = kept - removed, kept_bytes - removed_bytes
    return Collected(kept - removed, kept_bytes - removed_bytes, removed, removed_bytes + left_bytes)


class Counted(NamedTuple):
    """How many values there are."""

    values: int
    values_bytes: int
    unused: int  #: of these, the ones that no payload refers to
    unused_bytes: int


async def count_unused(values: Values, find_used: FindUsed) -> Counted:
    """Count all values, and those that nobody uses. Raises what `find_used` raises."""
    count = size = 0
    unused: list[int] = []
    for shard in await values.run(values.store.shards):
        stored = await values.run(values.store.list, shard)
        count, size = count + len(stored), size + sum(one.size for one in stored)
        for start in range(0, len(stored), _AT_ONCE):
            some = stored[start : start + _AT_ONCE]
            used = await find_used([one.digest for one in some])
            unused += [one.size for one in some if one.digest not in used]
    return Counted(count, size, len(unused), sum(unused))


async def _remove_unused(values: Values, digests: Sequence[bytes], find_used: FindUsed) -> tuple[int, int]:
    """Remove those of some values that nobody uses; return how many, and of how many bytes."""
    used = await find_used(digests)
    # From here to where they are dying nothing is awaited: somebody may have asked for one while the journal was read.
    # Or a copy has begun of a database that still uses it.
    unused = [
        digest for digest in digests if digest not in used and not values.is_wanted(digest) and not values.is_held
    ]
    if not unused:
        return 0, 0
    async with values.dying(unused):
        freed = await values.run(lambda: [values.store.delete(digest) for digest in unused])
    sizes = [size for size in freed if size is not None]
    values.note_deleted(len(sizes), sum(sizes))
    return len(sizes), sum(sizes)


async def keep_collecting(values: Values, find_used: FindUsed) -> None:
    """Collect now and then, for as long as the broker runs.

    The first round only counts: while no broker ran, nobody could say that a value was wanted.
    """
    await _round(values, _use_all)
    while True:
        await asyncio.sleep(min(_PAUSE_MAX_S, max(0.1, values.unused_s / 4)))
        await _round(values, find_used)


async def _use_all(digests: Sequence[bytes]) -> set[bytes]:
    return set(digests)


async def _round(values: Values, find_used: FindUsed) -> None:
    try:
        collected = await collect(values, find_used)
        if collected.removed_bytes:
            log.info("values: removed %d that nobody used, %d bytes", collected.removed, collected.removed_bytes)
    except Exception as error:
        log.warning("values that nobody uses were not collected, and will be tried again: %s", error)
