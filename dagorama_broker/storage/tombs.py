"""The ends and the tombstones of instances, of a journal without a disk."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import islice
from math import inf

from dagorama_broker.core import events as e
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import EndedInstance, Tombstone
from dagorama_broker.core.model.values import InstanceId


class Ends:
    """The instances that have ended, by when; so the ones that are due are found without a look at the others.

    An instance that goes on stands here until its turn comes, and is passed over: `is_so` tells whether an entry is
    still how the instance stands.
    """

    def __init__(self, is_so: Callable[[EndedInstance], bool]) -> None:
        self._is_so = is_so
        self._by_state: dict[InstanceState, deque[EndedInstance]] = {}  #: lived time does not go back
        self._kept: list[tuple[float, int, EndedInstance]] = []  #: those with an option of their own

    def add(self, ended: EndedInstance) -> None:
        """Add an instance that ends now."""
        if ended.kept_until is None:
            self._by_state.setdefault(ended.state, deque()).append(ended)
        else:
            insort(self._kept, (ended.kept_until, ended.seq, ended), key=lambda one: one[:2])

    def due(self, cutoffs: Mapping[InstanceState, float], lived_s: float) -> Iterator[EndedInstance]:
        """Yield the instances that are due."""
        while self._kept and not self._is_so(self._kept[0][2]):
            del self._kept[0]
        for until, _, ended in self._kept:
            if until > lived_s:
                break
            if self._is_so(ended):
                yield ended
        for state, ends in self._by_state.items():
            while ends and not self._is_so(ends[0]):
                ends.popleft()
            for ended in ends:
                if ended.ended_on > cutoffs.get(state, -inf):
                    break
                if self._is_so(ended):
                    yield ended

    def oldest(self, limit: int) -> list[EndedInstance]:
        """Return the instances that ended first, but for any to be kept for ever."""
        kept = sorted((one[2] for one in self._kept if one[0] < inf), key=_order)
        found = (ended for ended in merge(*self._by_state.values(), kept, key=_order) if self._is_so(ended))
        return list(islice(found, limit))


def _order(ended: EndedInstance) -> tuple[float, int]:
    return ended.ended_on, ended.seq


class Tombs:
    """The instances that were pruned, in the order in which they were."""

    def __init__(self) -> None:
        self.by_id: dict[InstanceId, Tombstone] = {}
        self.by_key: dict[str, Tombstone] = {}
        self._pruned_on: dict[InstanceId, float] = {}  #: lived time

    def add(self, ended: EndedInstance, event: e.InstancesPruned) -> None:
        """Add an instance."""
        tombstone = Tombstone(
            ended.id, ended.definition, ended.state, ended.finished_at, event.at, event.reason, event.by, ended.key
        )
        self.by_id[ended.id] = tombstone
        self._pruned_on[ended.id] = event.lived_s
        if ended.key:
            self.by_key[ended.key] = tombstone

    def forget(self, pruned_until: float, limit: int) -> int:
        """Forget up to `limit` that were pruned by some lived time; return how many."""
        old: list[InstanceId] = []
        for instance_id, pruned_on in self._pruned_on.items():
            if pruned_on > pruned_until or len(old) == limit:
                break
            old.append(instance_id)
        for instance_id in old:
            del self._pruned_on[instance_id]
            tombstone = self.by_id.pop(instance_id)
            if self.by_key.get(tombstone.key) is tombstone:
                del self.by_key[tombstone.key]
        return len(old)
