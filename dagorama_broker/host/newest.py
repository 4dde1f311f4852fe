"""The ids of instances that are certainly new, so that nobody need look for them on the disk.

Ids are UUIDs of version 7, which grow with time (RFC 9562). The greatest ones that there are in the journal are kept
here; one that is greater than the least of those, and is none of them, is in no journal. That asks for no trust in any
client's clock or word: an id from a clock that is behind is only looked for, as any older one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from dagorama_broker.core.model.stored import INSTANCE_IDS_MAX
from dagorama_broker.core.model.values import InstanceId


class NewestIds:
    """The greatest ids of instances that were ever begun, and perhaps of some that were not."""

    def __init__(self, greatest: Sequence[InstanceId], kept_max: int = INSTANCE_IDS_MAX) -> None:
        """Begin with the greatest in the journal: all of them, or at least `kept_max`."""
        self._floor = InstanceId(b"")  #: every id up to this one may be in the journal
        self._kept_max = kept_max
        self._heap = sorted(greatest)  #: all above it that may be
        if len(self._heap) >= kept_max:  # so there may be lesser ones, which nobody has named
            self._floor = heappop(self._heap)
        self._kept = set(self._heap)  #: the same

    def is_new(self, instance_id: InstanceId) -> bool:
        """Tell whether an id is certainly that of no instance; call `add` before the instance leaves memory."""
        return instance_id > self._floor and instance_id not in self._kept

    def add(self, instance_id: InstanceId) -> None:
        """Take note of an id that may soon be in the journal."""
        if not self.is_new(instance_id):
            return
        self._kept.add(instance_id)
        heappush(self._heap, instance_id)
        if len(self._heap) > self._kept_max:
            self._floor = heappop(self._heap)
            self._kept.discard(self._floor)
