"""Recalls of granted nodes: a node granted ahead must not wait behind a long one while others could run it.

A worker that has been quiet for a while is asked for the nodes that it has not started: soon where another is idle, and
after `BUSY_AFTER_S` where another would otherwise take younger work, so that first in, first out holds behind a long
node. The tick looks at all of this, no more than once in `RECALL_AFTER_S`; a batch only plans that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from math import inf

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Lane, Node, View, Worker
from dagorama_broker.core.ready.queues import ReadyQueues

#: After this long without a result a worker's prefetched nodes are offered to idle workers. Twice the prefetch: before
#: that, the worker is likely to be through with them by the time it could answer.
RECALL_AFTER_S = 0.020
#: After this long they are offered to whoever would take younger ones. Ten times the prefetch: most that hiccup for a
#: shorter time are through with them before that would be of use.
BUSY_AFTER_S = 0.100


class Recalls:
    """The workers that hold more than they can start, and when they are to be asked for that."""

    def __init__(self, queues: ReadyQueues, events: list[e.Event]) -> None:
        self._queues = queues
        self._events = events
        #: Workers that were leased more than they have slots for, since or at the time of the last look.
        self.ahead: dict[Worker, None] = {}
        #: Whether since the last plan a lease has ended, or somebody has come, who could take what others hold.
        self.stirred = False
        self._due_at: float | None = None
        self._looked_at = -inf

    @property
    def due_at(self) -> float | None:
        """Return when to look again for workers to ask."""
        return self._due_at

    def plan(self, now: float) -> None:
        """Plan to look soon, if anything has changed; call it after each batch."""
        if self.stirred:
            self.stirred = False
            is_due = bool(self.ahead) and self._has_others()
            self._due_at = max(now, self._looked_at + RECALL_AFTER_S) if is_due else None

    def _has_others(self) -> bool:
        views = self._queues.views
        return len(views) > 1 or any(len(view.workers) > 1 for view in views.values())

    def ask_due(self, now: float) -> None:
        """Ask for prefetched nodes that others would start before, when that is due."""
        if self._due_at is None or self._due_at > now:
            return
        self._due_at = None
        self._looked_at = now
        self.ahead = {worker: None for worker in self.ahead if len(worker.leases) + len(worker.stopping) > worker.slots}
        idle = self._idle_lanes()
        first: dict[Lane, float] = {}
        for worker in self.ahead:
            if now < worker.reported_at + RECALL_AFTER_S:  # as it is planned: a difference may be rounded to less
                self._look_again(worker.reported_at + RECALL_AFTER_S)
                continue
            is_busy = now >= worker.reported_at + BUSY_AFTER_S
            leases = [
                (node, token)
                for token, node in _recallable(worker)
                if node.function.lane in idle or (is_busy and _rank(node) < _first(node.function.lane, first, now))
            ]
            if leases:
                worker.overdue = True
                self._ask(worker, leases)
            elif not is_busy:
                self._look_again(worker.reported_at + BUSY_AFTER_S)

    def ask(self, is_wanted: Callable[[Node], bool]) -> None:
        """Ask for the prefetched nodes that are not to be started now."""
        for worker in self.ahead:
            leases = [(node, token) for token, node in _recallable(worker) if is_wanted(node)]
            if leases:
                self._ask(worker, leases)

    def _ask(self, worker: Worker, leases: list[tuple[Node, int]]) -> None:
        # No longer than the worker takes to answer is it known what it has not started: it may have run half of them
        # and not have come to report. So nothing is taken back that it does not give.
        worker.recalled.update(token for _, token in leases)
        self._events.append(e.RecallRequested(worker=worker, leases=leases))

    def _look_again(self, at: float) -> None:
        self._due_at = at if self._due_at is None else min(self._due_at, at)

    def _idle_lanes(self) -> set[Lane]:
        """Return the lanes of prefetched nodes for which some worker has a free slot."""
        idle = {
            view
            for view in self._queues.views.values()
            if any(worker.has_free_slot and not worker.draining for worker in view.workers)
        }
        if not idle:
            return set()
        held = {node.function.lane for worker in self.ahead for node in worker.leases.values()}
        return {lane for lane in held if not idle.isdisjoint(lane.views)}


def _first(lane: Lane, known: dict[Lane, float], now: float) -> float:
    """Return the rank of the next node, of any lane, for a worker that could take from this lane instead.

    Infinity where such a worker has nothing else to take, and -infinity where there is none.
    """
    rank = known.get(lane)
    if rank is None:
        rank = known[lane] = max((_next_rank(view) for view in lane.views if _moves(view, now)), default=-inf)
    return rank


def _moves(view: View, now: float) -> bool:
    """Return whether some worker of a view will take a node soon. One that pulls may ask for one at any time."""
    return any(
        not worker.draining and (not worker.slots or worker.reported_at + BUSY_AFTER_S > now) for worker in view.workers
    )


def _next_rank(view: View) -> float:
    node = view.peek(with_suspects=False)
    return inf if node is None else _rank(node)


def _rank(node: Node) -> int:
    return node.order + node.function.lane.group.rank


def _recallable(worker: Worker) -> Iterator[tuple[int, Node]]:
    """Yield the leases, not asked for yet, of nodes that the worker cannot have started."""
    for token, node in islice(worker.leases.items(), max(0, worker.slots - len(worker.stopping)), None):
        if token not in worker.recalled and not node.function.spec.at_most_once:
            yield token, node
