"""Retention: now and then instances that need not be kept any longer are removed, with all that belongs to them.

Which ones go is decided by the core. Here is the order in which it is asked, and the pace at which what they leave
behind is removed: in slices so small that whoever waits for the journal notices none of them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf

from dagorama_broker.core.commands import PruneInstances
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import InstanceId, Keep, PruneReason
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.logs.logs import Logs
from dagorama_broker.storage.journal import Journal

log = logging.getLogger("dagorama.broker")

#: So many instances go with one commit, which takes a few milliseconds.
_AT_ONCE = 100
#: So many where it is looked after each commit whether that is enough.
_ROOM_AT_ONCE = 20
#: So many tombstones are removed at once.
_TOMBSTONES_AT_ONCE = 1_000

#: So many values are measured at once.
_VALUES_AT_ONCE = 2_000

#: So much that is free stays with the database in any case, and an eighth of what it uses.
_FREE_KEPT_BYTES = 4 << 20
#: The pages of a database that it made itself.
_PAGE_BYTES = 8192
#: So many of them are moved at once.
_PAGES_MAX = 512

#: A slice is to take so long, whatever is in the rows.
_SLICE_S = 0.01
_ROWS_MIN, _ROWS_MAX = 10, 4_000

#: The times between two rounds: a quarter of the shortest time for which anything is kept, within these.
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.5, 600.0


class Pruning:
    """Removes what need not be kept."""

    def __init__(self, host: Host, logs: Logs | None, keep: Keep, *, bytes_max: float = inf) -> None:
        """Have the database, with the values that it uses, take `bytes_max` at most, as far as what ended can go."""
        self._host = host
        self._logs = logs
        self._bytes_max = bytes_max
        self._rows_max = 200
        self._pages_bytes = 64 * _PAGE_BYTES
        self._is_full = False  #: and nothing is left that could go: that is told once
        self._tells_of_room = True  #: once, that the file cannot be made shorter
        #: Whether logs of instances may be there that are gone: it is looked for them once at the start.
        self._has_logs_left = logs is not None
        self._says_of_logs = True
        self.pause_s = min(_PAUSE_MAX_S, max(_PAUSE_MIN_S, min(keep) / 4))

    async def run(self) -> None:
        """Remove what is due again and again, for as long as the broker runs."""
        while True:
            pause_s = self.pause_s
            try:
                await self.round()
                pause_s = await self.next_pause_s()
            except HostStopped:
                return
            except Exception as error:
                log.warning("instances that are not to be kept were not removed, and will be tried again: %s", error)
            with suppress(TimeoutError):  # nobody is in a hurry
                async with asyncio.timeout(pause_s):
                    await self._host.leftovers.wait()

    async def next_pause_s(self) -> float:
        """Return how long to wait for the next round: less than usual where an instance is due before by its option.

        One that ends meanwhile sets `leftovers`, where it is due before that.
        """
        host = self._host
        retention, now = host.scheduler.retention, host.now()
        lived_s = retention.lived_s(now)
        host.next_round_s = lived_s + self.pause_s
        soon = partial(host.journal.find_due, {}, lived_s=lived_s + self.pause_s, limit=1 + len(retention.held))
        due_s = [ended.kept_until for ended in await host.read(soon) if ended.id not in retention.held]
        pause_s = self.pause_s if not due_s else max(_PAUSE_MIN_S, min(self.pause_s, (due_s[0] or 0.0) - lived_s))
        host.next_round_s = lived_s + pause_s if pause_s > _PAUSE_MIN_S else -inf
        return pause_s

    async def round(self) -> None:
        """Remove what is due now, and all that is left over from before."""
        self._host.leftovers.clear()
        self._host.next_round_s = -inf  # what ends until this one is over is found when the next is planned
        await self.sweep()
        if self._has_logs_left:
            await self._remove_left_logs()
        pruned = await self._prune_due()
        if pruned:
            log.info("retention: removed %d instances that were kept for as long as is wanted", pruned)
        if self._bytes_max < inf:
            await self._make_room()
        until = self._host.scheduler.retention.forgotten_until(self._host.now())
        forget = partial(self._host.journal.forget_tombstones, pruned_until=until, limit=_TOMBSTONES_AT_ONCE)
        forgotten = _TOMBSTONES_AT_ONCE if until > 0 else 0
        while forgotten == _TOMBSTONES_AT_ONCE:
            forgotten = await self._host.read(forget)
        while not await self._in_slices(self._host.journal.tidy):
            pass
        await self._give_back()

    async def _prune_due(self) -> int:
        """Remove the instances whose time is over, some at a time; return how many."""
        count = 0
        while True:
            host, now = self._host, self._host.now()
            retention, journal = host.scheduler.retention, host.journal
            cutoffs, lived_s = retention.cutoffs(now), retention.lived_s(now)
            limit = _AT_ONCE + len(retention.held)  # so that those which are held are never all that is found
            found = await host.read(partial(journal.find_due, cutoffs, lived_s=lived_s, limit=limit))
            due = self._free(found, _AT_ONCE)
            pruned = await host.prune(due, PruneInstances(reason=PruneReason.AGE))
            count += len(pruned)
            await self.sweep()
            if len(due) < _AT_ONCE or not pruned:
                return count

    async def _make_room(self) -> None:
        """Remove the instances that ended first until the rest takes no more room than it may."""
        host, count = self._host, 0
        held = host.scheduler.retention.held
        value_bytes = await self._measure_values()
        while (over := (await host.read(host.journal.measure)).used + value_bytes - self._bytes_max) > 0:
            found = await host.read(host.journal.find_oldest, _ROOM_AT_ONCE + len(held))
            pruned = await host.prune(self._free(found, _ROOM_AT_ONCE), PruneInstances(reason=PruneReason.ROOM))
            count += len(pruned)
            value_bytes -= await host.read(host.journal.measure_freed, [ended.seq for ended in pruned])
            await self.sweep()
            if not pruned:
                if not self._is_full:
                    log.warning("retention: what cannot be removed takes %d bytes more than it may", over)
                break
        self._is_full = over > 0
        if count:
            log.warning("retention: removed %d instances that ended first, to make room", count)

    def _free(self, found: Sequence[EndedInstance], count: int) -> list[InstanceId]:
        """Return up to so many of some instances, but for any that are kept until their hooks have run."""
        held = self._host.scheduler.retention.held
        return [ended.id for ended in found if ended.id not in held][:count]

    async def _measure_values(self) -> int:
        """Return how many bytes the values take that the database uses: they may be many, so this takes a while."""
        host = self._host
        used, after = 0, b""
        while True:
            measure = partial(host.journal.measure_values, after=after, limit=_VALUES_AT_ONCE)
            some, after = await host.read(measure)
            used += some
            if not after:
                return used

    async def _give_back(self) -> None:
        """Give room back to the disk, but for what is likely to be used soon."""
        host = self._host
        usage = await host.read(host.journal.measure)
        kept = max(_FREE_KEPT_BYTES, usage.used // 8)
        if usage.free <= kept:
            return
        if not usage.gives_back:
            if self._tells_of_room:
                log.info(
                    "retention: %d bytes of %s are free and will be used again; the file was made by an earlier "
                    "version, and `dagorama storage compact` makes it shorter while no broker runs",
                    usage.free,
                    host.journal.location,
                )
            self._tells_of_room = False
            return
        before, free = usage.free + 1, usage.free
        while kept < free < before:
            before, (free, took_s) = free, await host.read(self._time_giving_back, free - kept)
            self._pages_bytes = min(_PAGES_MAX, adjusted(self._pages_bytes // _PAGE_BYTES, took_s)) * _PAGE_BYTES
            await asyncio.sleep(took_s)
        await host.read(host.journal.give_back, 0)

    def _time_giving_back(self, wanted_bytes: int) -> tuple[int, float]:
        began_at = self._host.counter()
        free = self._host.journal.give_back(min(wanted_bytes, self._pages_bytes))
        return free, self._host.counter() - began_at

    async def sweep(self) -> None:
        """Remove all that pruned instances have left behind: their logs first, while it is known what is to go."""
        host = self._host
        while sweeps := await host.read(host.journal.list_sweeps, _AT_ONCE):
            await self._remove_logs([instance_id for _, instance_id in sweeps])
            seqs = [seq for seq, _ in sweeps]
            while not await self._in_slices(partial(self._host.journal.sweep, seqs)):
                pass

    async def _remove_logs(self, instance_ids: Sequence[InstanceId]) -> None:
        """Remove logs, or note that they are still there: a log store that cannot be used holds up nothing else."""
        if self._logs is None or await self._logs.remove_all(instance_ids):
            return
        self._has_logs_left = True
        if self._says_of_logs:
            log.warning(
                "retention: the logs of removed instances stay for now, as the log store %s cannot be used; "
                "they go once it can be",
                self._logs.store.location,
            )
        self._says_of_logs = False

    async def _remove_left_logs(self) -> None:
        """Remove the logs of instances that were pruned while the log store could not be used, or lines came late."""
        logs, host, after = self._logs, self._host, InstanceId(b"")
        while logs is not None:
            found = await logs.list_instances(after, _AT_ONCE)
            if found is None:
                return  # with a later round
            if not found:
                break
            gone = await host.read(_pruned_of, host.journal, found)
            if gone and not await logs.remove_all(gone):
                return
            after = found[-1]
        self._has_logs_left, self._says_of_logs = False, True

    async def _in_slices(self, remove: Callable[..., bool]) -> bool:
        """Remove some rows, and leave the journal to others for as long as that took; return whether none are left."""
        is_done, took_s = await self._host.read(self._time, remove)
        self._rows_max = adjusted(self._rows_max, took_s)
        await asyncio.sleep(took_s)
        return is_done

    def _time(self, remove: Callable[..., bool]) -> tuple[bool, float]:
        began_at = self._host.counter()
        is_done = remove(rows_max=self._rows_max)
        return is_done, self._host.counter() - began_at


def _pruned_of(journal: Journal, instance_ids: Sequence[InstanceId]) -> list[InstanceId]:
    """Return those of some instances that were pruned."""
    return [one for one in instance_ids if journal.find_tombstone(one) is not None]


def adjusted(rows_max: int, took_s: float) -> int:
    """Return how many rows the next slice may have, after one with so many at most took so long."""
    if took_s > 2 * _SLICE_S:
        return max(_ROWS_MIN, int(rows_max * max(0.1, _SLICE_S / took_s)))
    return min(_ROWS_MAX, rows_max * 2) if took_s < _SLICE_S / 2 else rows_max
