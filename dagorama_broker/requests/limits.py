"""Look at the limits: their holders, and how many nodes wait."""

from collections.abc import Iterator
from heapq import nlargest
from itertools import chain, islice

from dagorama_broker.core.model.entities import Limit
from dagorama_broker.requests.answers import LimitHolder, LimitInfo, SettingInfo
from dagorama_broker.requests.history import LookingBack

#: So many limits are told of, those with the most waiting first, and so many holders of each.
LIMITS_TOLD, HOLDERS_TOLD = 1_000, 100


class LookingAtLimits(LookingBack):
    """Answer requests for limits, and for the settings that the broker runs with."""

    async def list_limits(self) -> list[LimitInfo]:
        """Return the limits that nodes in memory are subject to, and the caps, by what waits for them.

        A node that waits for several counts for the one that was looked at last.
        """
        now = self._keeper.now()
        found = ((_waiting(limit), len(limit.holders), limit.key, limit) for limit in self._limits())
        largest = nlargest(LIMITS_TOLD, found, key=lambda one: one[:3])
        infos = [_told(limit, waiting, now) for waiting, _, _, limit in largest]
        await self._keeper.flush()  # the leases may rest on something that is on its way to the journal
        return sorted(infos, key=lambda info: (-info.waiting, -info.in_use, info.key))

    def _limits(self) -> Iterator[Limit]:
        scheduler = self._keeper.scheduler
        caps = (instance.limit for instance in scheduler.instances.values() if instance.limit is not None)
        return chain(scheduler.limits.all(), scheduler.queues.limits.values(), caps)

    async def list_settings(self) -> list[SettingInfo]:
        """Return the settings that the broker runs with."""
        return list(self._keeper.told_settings)


def _waiting(limit: Limit) -> int:
    return sum(map(len, limit.waiting.values()))


def _told(limit: Limit, waiting: int, now: float) -> LimitInfo:
    spec = limit.spec
    holders = [
        LimitHolder(
            instance_id=node.instance.id,
            node_id=node.id,
            function=node.function.spec.name,
            worker=node.worker.name if node.worker is not None else "",
            granted_at=node.leased_at,
        )
        for node in islice(limit.holders.values(), HOLDERS_TOLD)
    ]
    return LimitInfo(
        key=limit.key,
        running_max=spec.max,
        in_use=len(limit.holders),
        waiting=waiting,
        rate_per_s=spec.rate_per_s,
        burst=spec.burst if spec.rate_per_s else 0,
        opens_at=limit.opens_at if limit.opens_at > now else 0.0,
        holders=holders,
    )
