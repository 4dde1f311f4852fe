"""Keeping: for how long instances are kept after their end, and by which clock.

Wall time would be a bad judge of that: a clock that was set to a wrong year would have all of them removed. So what
counts is lived time: the seconds for which the storage has been in use, which is the time with a broker and, of each
time without one, a day at most. It never goes back, and begins with 0 when a storage is made, or was brought to this
schema.
"""

from __future__ import annotations

from dagorama_broker.core.errors import PrunedInstance
from dagorama_broker.core.model.states import ENDED, InstanceState
from dagorama_broker.core.model.stored import EndedInstance, Lived, Tombstone
from dagorama_broker.core.model.values import DAY_S, Keep

#: Of a time without a broker so much counts as lived: a clock that was wrong when one started moves no more than that.
AWAY_MAX_S = DAY_S


class LivedClock:
    """Tells lived time. `now` is that of the core's commands, which does not go back."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._before_s = 0.0

    def restore(self, noted: Lived | None, now: float) -> None:
        """Go on from what was noted last; None: begin with 0."""
        self._began_at = now
        self._before_s = 0.0 if noted is None else noted.lived_s + min(max(0.0, now - noted.at), AWAY_MAX_S)

    def at(self, now: float) -> float:
        """Return lived time."""
        if self._began_at is None:
            self._began_at = now
        return self._before_s + max(0.0, now - self._began_at)


def kept_s(keep: Keep, state: InstanceState) -> float:
    """Return for how long an instance is kept that has ended so."""
    if state is InstanceState.COMPLETED:
        return keep.completed_s
    return keep.failed_s if state is InstanceState.FAILED else keep.cancelled_s


def kept_until(keep: Keep | None, state: InstanceState, lived_s: float) -> float | None:
    """Return until when an instance is kept that ends now; None where it has no option that says so."""
    for_s = 0.0 if keep is None else kept_s(keep, state)
    return lived_s + for_s if for_s else None


def is_due(ended: EndedInstance, keep: Keep, lived_s: float) -> bool:
    """Tell whether an instance has been kept for as long as is wanted."""
    until = ended.kept_until
    return lived_s >= (ended.ended_on + kept_s(keep, ended.state) if until is None else until)


def cutoffs(keep: Keep, lived_s: float) -> dict[InstanceState, float]:
    """Return, for each way to end, the lived time up to which instances have ended that are due."""
    return {state: lived_s - kept_s(keep, state) for state in ENDED}


def told_by(tombstone: Tombstone, *, key: str = "") -> PrunedInstance:
    """Return the error that tells of a tombstone; with `key`, to somebody who knows nothing else."""
    return PrunedInstance(
        instance_id=tombstone.id,
        definition=tombstone.definition,
        state=tombstone.state,
        pruned_at=tombstone.pruned_at,
        reason=tombstone.reason,
        by=tombstone.by,
        key=key,
    )
