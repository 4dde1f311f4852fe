"""Limits: how many nodes of a key may run at once, and how many may start in a second.

A limit is a view over live leases: its holders are the leases of its nodes, entered and left where a lease begins and
ends, so a place cannot stay taken after its holder is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from weakref import WeakValueDictionary

from dagorama_broker.core.model.entities import Limit, Node
from dagorama_broker.core.model.values import LimitSpec, LimitWord

#: When a limit that was given another spec is looked at: with the next grants.
_AT_ONCE = -1.0

#: So many limits with a spent burst are kept before those whose burst is whole again are looked for.
_SPENT_MIN = 1024


class Limits:
    """The limits of all keys. One lives for as long as a node refers to it, and until its burst is whole."""

    def __init__(self) -> None:
        self.is_capped = False  #: whether any instance or queue has had a cap, so that it has to be looked
        self.restored_at = 0.0  #: what had started before that is not known, so bursts begin used up
        self._by_key: WeakValueDictionary[str, Limit] = WeakValueDictionary()
        self._spent: dict[Limit, None] = {}  #: those whose bursts are not whole, and maybe some that are again
        self._spent_max = _SPENT_MIN
        self._due: list[tuple[float, str, Limit]] = []  #: rates that nodes wait for

    def limit(self, key: str, spec: LimitSpec) -> Limit:
        """Return the limit of a key, making it if need be. If it has another spec: see `respecify`."""
        limit = self._by_key.get(key)
        if limit is None:
            limit = self._by_key[key] = Limit(key, spec)
            if self.restored_at and spec.rate_per_s:
                limit.whole_at = self.restored_at + spec.burst / spec.rate_per_s
        return limit

    def all(self) -> list[Limit]:
        """Return the limits that nodes refer to."""
        return list(self._by_key.values())

    def respecify(self, node: Node, now: float) -> list[Limit]:
        """Put the specs of a node's function in place of the specs of older nodes; return the limits that have changed.

        Nodes that are restored come in any order.
        """
        changed = []
        for limit, spec in zip(node.limits, node.function.spec.limits, strict=True):
            if self.say(limit, spec, node.seq, now):
                changed.append(limit)
        return changed

    def say(self, limit: Limit, spec: LimitSpec, said_by: int, now: float) -> bool:
        """Change a limit, unless a later node has said otherwise; return whether that made a difference."""
        if said_by < limit.said_by:
            return False
        limit.said_by = said_by
        if limit.spec == spec:
            return False
        limit.respecify(spec, now)
        if limit.waiting:  # those that wait may have waited for what is no more
            limit.due_at = _AT_ONCE
            heappush(self._due, (_AT_ONCE, limit.key, limit))
        return True

    def restore(self, said: Mapping[str, LimitWord], now: float) -> None:
        """Take over the specs given by calls that may be gone. A limit to which no node refers is forgotten."""
        for key, word in said.items():
            limit = self._by_key.get(key)
            if limit is not None:
                self.say(limit, word.spec, word.said_by, now)

    def enter(self, limit: Limit, node: Node, token: int, now: float) -> None:
        """Take a place for a lease that begins."""
        limit.enter(node, token, now)
        if limit.spec.rate_per_s:
            self._spent[limit] = None
            if len(self._spent) > self._spent_max:
                self._spent = {limit: None for limit in self._spent if limit.whole_at > now}
                self._spent_max = max(_SPENT_MIN, 2 * len(self._spent))
            self.plan(limit, now)

    def plan(self, limit: Limit, now: float) -> None:
        """See to it that nodes which wait for a rate are let in in time."""
        at = limit.opens_at
        if limit.waiting and not limit.due_at and at > now:
            limit.due_at = at
            heappush(self._due, (at, limit.key, limit))

    @property
    def due_at(self) -> float | None:
        """Return when the next rate or new spec lets in nodes that wait for it."""
        return self._due[0][0] if self._due else None

    def due(self, now: float) -> Iterator[Limit]:
        """Yield the limits whose rates or new specs let in nodes that wait for them. Wake each, then `plan` again."""
        while self._due and self._due[0][0] <= now:
            limit = heappop(self._due)[2]
            limit.due_at = 0.0
            yield limit

    def recap(self, limit: Limit | None, key: str, running_max: int, held: Iterable[tuple[int, Node]]) -> Limit | None:
        """Return the cap of an instance or queue that may run so many nodes at once, 0 for none.

        `held` has the leases, with their tokens, that take places of a cap that did not exist before. An existing one
        is changed: wake it then, also where it ends.
        """
        if limit is None and running_max:
            self.is_capped = True
            limit = Limit(key, LimitSpec())
            limit.holders.update(held)
        if limit is not None:
            limit.spec = LimitSpec(max=running_max)
        return limit if running_max else None


def limits_of(node: Node) -> tuple[Limit, ...]:
    """Return all limits that a node is subject to: its own, its instance's and its queue's."""
    limits = node.limits
    if node.instance.limit is not None:
        limits += (node.instance.limit,)
    if node.function.lane.limit is not None:
        limits += (node.function.lane.limit,)
    return limits


def full_limits(node: Node, now: float) -> Iterator[Limit]:
    """Return the limits of a node that have no room for it."""
    return (limit for limit in limits_of(node) if not limit.room(now))


def limit_name(node: Node, limit: Limit) -> str:
    """Return what people call one of a node's limits."""
    return f"limit {limit.key}" if limit in node.limits else f"the cap of {limit.key}"
