"""Estimates of when something is over, judged by how long functions have been taking; None where nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heapreplace
from itertools import chain, islice
from math import inf

from dagorama_broker.core.model.entities import Limit, Node, Worker

#: Where more nodes than this are ready it is not looked which of them go first: that would hold up everything else.
LOOKED_AT_MAX = 2000


def slots_of(worker: Worker) -> int:
    """Return how many nodes a worker runs at once; a worker that pulls asks for one after the other."""
    return worker.slots or 1


def ends_at(node: Node, now: float) -> float | None:
    """Return about when a leased node ends, None for a node that takes longer than usual."""
    duration_s = node.function.timing.duration_s
    if duration_s is None or node.leased_at + duration_s < now:
        return None
    return node.leased_at + duration_s


def worker_at(workers: Sequence[Worker], node: Node, now: float) -> float | None:
    """Return about when a ready node gets its turn at workers that may run it and have no free slot."""
    running = chain.from_iterable(islice(worker.leases.values(), slots_of(worker)) for worker in workers)
    prefetched = chain.from_iterable(islice(worker.leases.values(), slots_of(worker), None) for worker in workers)
    ahead = _ahead(workers, node)
    return None if ahead is None else _turn([_end(other, now) for other in running], [*prefetched, *ahead])


def place_at(limit: Limit, node: Node, now: float) -> float | None:
    """Return about when a ready node gets a place of a limit that is full."""
    waiting = _waiting(limit, node)
    ends = sorted(
        _end(other, now) if other.worker and other.token == token else inf for token, other in limit.holders.items()
    )
    # Where it was lowered, the first that end leave no place behind.
    return None if waiting is None else _turn(ends[max(0, len(ends) - limit.spec.max) :], waiting)


def rate_at(limit: Limit, node: Node) -> float | None:
    """Return about when a ready node may start as far as the rate of a limit goes."""
    waiting = _waiting(limit, node)
    return None if waiting is None else limit.opens_at + len(waiting) / limit.spec.rate_per_s


def _end(node: Node, now: float) -> float:
    at = ends_at(node, now)
    return inf if at is None else at


def _turn(places: list[float], ahead: Iterable[Node]) -> float | None:
    """Return about when the next place is free, given when each gets free, after each node ahead has taken one."""
    if not places:
        return None
    heapify(places)
    for node in ahead:
        duration_s = node.function.timing.duration_s
        heapreplace(places, inf if duration_s is None else places[0] + duration_s)
    return None if places[0] == inf else places[0]


def _ahead(workers: Iterable[Worker], node: Node) -> list[Node] | None:
    """Return the ready nodes that these workers take before a node, in order."""
    lanes = {lane for worker in workers for lane in worker.view.lanes if not lane.paused}
    if sum(len(line) for lane in lanes for line in lane.lines) > LOOKED_AT_MAX:
        return None
    last = node.order + node.function.lane.group.rank
    ahead = [
        (order + lane.group.rank, other)
        for lane in lanes
        for line in lane.lines
        for order, other in line.things.items()
        if order + lane.group.rank < last
    ]
    # Where two groups are at the same place, by what all lanes agree on: they come in no order.
    return [other for _, other in sorted(ahead, key=lambda entry: (entry[0], entry[1].seq))]


def _waiting(limit: Limit, node: Node) -> list[Node] | None:
    """Return the nodes that wait for a limit and are before a node, in order."""
    if sum(map(len, limit.waiting.values())) > LOOKED_AT_MAX:
        return None
    waiting = [
        entry
        for waiters in limit.waiting.values()
        for line in waiters.lanes.values()
        for entry in line.things.items()
        if entry[0] < node.order
    ]
    return [other for _, other in sorted(waiting, key=lambda entry: entry[0])]
