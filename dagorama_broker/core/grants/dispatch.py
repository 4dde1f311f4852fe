"""Leases of nodes to workers: grants, prefetch, recall, and the end of the work.

A worker is granted the nodes that it can start soon: one node for each free slot and, beyond that, as much as will keep
each slot busy for `PREFETCH_S`, judged by how long the functions have been taking. So a function of 1 s is never
prefetched, and one of 50 us is granted by the hundred.

A lease is known by its fencing token, a number that grows with each lease (Martin Kleppmann, "How to do distributed
locking", 2016; the idea is the sequencer of Chubby, Burrows 2006). A report under any but the live lease's token
changes nothing, so a worker that was given up and comes back can do no harm.
"""

from collections.abc import Iterable, Iterator

from dagorama_broker.core import events as e
from dagorama_broker.core.containers.timers import Timers
from dagorama_broker.core.grants.recalling import Recalls
from dagorama_broker.core.model.entities import Lane, Node, View, Worker
from dagorama_broker.core.model.filters import Obstacle
from dagorama_broker.core.model.states import LEASED
from dagorama_broker.core.ready.limits import Limits, full_limits, limits_of
from dagorama_broker.core.ready.queues import ReadyQueues, is_suspect

#: Work granted ahead, for each slot. About ten times a round trip to the broker and back with a commit in between.
PREFETCH_S = 0.010
#: The least that a node is taken to cost, so that no message grows without bound on functions that take no time at all.
_COST_MIN_S = 10e-6
#: What workers are granted, by worker.
Granted = dict[Worker, list[tuple[Node, int]]]

#: No worker starts more within `PREFETCH_S` for each of a hundred slots; so far it is counted what is to be shared.
_SHARED_MAX = 100 * int(PREFETCH_S / _COST_MIN_S)
#: No bound.
_ANY = 1 << 40


class Dispatcher:
    """Gives and takes leases. Of the nodes' states it moves ready to leased only."""

    def __init__(self, queues: ReadyQueues, limits: Limits, events: list[e.Event], *, token: int) -> None:
        self._queues = queues
        self._events = events
        self._limits = limits
        self.token_last = token  #: the last one given
        self.recalls = Recalls(queues, events)
        self.has_more = False  #: the last grant has left nodes that limits hold before others that may start
        self._parks_left = _ANY  #: so many nodes are still parked with this command
        self._timeouts: Timers[Node] = Timers()  #: when the attempts of leased nodes are to end
        self._recorded: list[Node] = []  #: see `record_starts`

    def lease(self, node: Node, worker: Worker, now: float, began_at: float | None = None) -> int:
        """Lease a ready node to a worker, which may have had it before, since `began_at`; return the fencing token."""
        function = node.function
        queues, leases = self._queues, worker.leases
        node.move(LEASED)
        queues.remove(node)
        token = node.token = self.token_last = self.token_last + 1
        node.worker = worker
        node.leased_at = now if began_at is None else began_at
        charge_s = function.timing.duration_s or 0.0
        node.charge_s = charge_s = charge_s if charge_s > _COST_MIN_S else _COST_MIN_S
        worker.load_s += charge_s
        if not leases:
            worker.reported_at = now
        leases[token] = node
        if len(leases) > worker.slots > 0:
            self.recalls.ahead[worker] = None
        if queues.is_shared:
            queues.serve(node, worker.view)
        if node.losses:
            worker.suspect = node
        if node.limits or self._limits.is_capped:
            self._enter_limits(node, now)
        spec = function.spec
        if spec.timeout_s:
            self._timeouts.set(node, node.leased_at + spec.timeout_s)
        if function.is_recorded:
            self._recorded.append(node)
            queues.start_timers.discard(node)
        return token

    def _enter_limits(self, node: Node, now: float) -> None:
        """Take the places of a lease. A rate that is more open than when it let this node in lets in further nodes."""
        for limit in limits_of(node):
            self._limits.enter(limit, node, node.token, now)
            if limit.spec.rate_per_s and limit.waiting:
                self._queues.wake(limit, now)

    def record_starts(self) -> None:
        """Have the new leases made durable that are to be."""
        if self._recorded:
            self._events.append(e.NodesStarted(nodes=self._recorded))
            self._recorded = []

    @property
    def overrun_at(self) -> float | None:
        """Return when the next attempt is to end for having taken too long, unless it has ended before."""
        return self._timeouts.next_at

    def overrun(self, now: float) -> Iterator[Node]:
        """Return the nodes that were leased for their whole timeout."""
        return self._timeouts.take_due(now)

    def release(self, node: Node, now: float, *, keeps_places: bool = False) -> None:
        """End a lease. The caller moves the node on."""
        worker = node.worker
        if worker is None:
            return
        del worker.leases[node.token]
        worker.load_s = worker.load_s - node.charge_s if worker.leases else 0.0
        worker.reported_at = now
        self.recalls.stirred = True
        if not worker.stirred:
            self._queues.stir(worker)
        if worker.recalled:
            worker.recalled.discard(node.token)
        if node.function.spec.timeout_s:
            self._timeouts.discard(node)
        if worker.progress:
            worker.progress.pop(node.token, None)
        if worker.suspect is node:
            # A worker that came back may have brought several.
            worker.suspect = next((other for other in worker.leases.values() if is_suspect(other)), None)
        node.worker = None
        if (node.limits or self._limits.is_capped) and not keeps_places:
            self.leave(node, node.token, now)

    def leave(self, node: Node, token: int, now: float) -> None:
        """Give up the places that a lease has taken."""
        for limit in limits_of(node):
            if limit.holders.pop(token, None) is not None and limit.waiting:
                self._queues.wake(limit, now)

    def revoke(self, node: Node, worker: Worker, now: float) -> None:
        """End a lease before the worker reports. Its slot and its places are free when it hands the lease back.

        One that pulls is not told and would never hand it back, so nothing is kept for it.
        """
        self.release(node, now, keeps_places=worker.slots > 0)
        if worker.slots:
            worker.stopping[node.token] = node
        else:
            worker.unreported.add((node.instance.id, node.id))

    def revoke_all(self, nodes: Iterable[Node], now: float) -> None:
        """End the leases on some nodes, which the caller moves on, and tell the workers."""
        revoked: dict[Worker, list[tuple[Node, int]]] = {}
        for node in nodes:
            worker = node.worker
            if worker is not None:
                revoked.setdefault(worker, []).append((node, node.token))
                self.revoke(node, worker, now)
        self._events.extend([e.LeasesRevoked(worker=worker, leases=leases) for worker, leases in revoked.items()])

    def stopped(self, worker: Worker, token: int, now: float) -> None:
        """Note that a worker no longer runs a node whose lease was revoked."""
        node = worker.stopping.pop(token, None)
        if node is not None:
            self.leave(node, token, now)
            self._queues.stir(worker)

    def forget(self, worker: Worker, now: float) -> None:
        """Give up all that is kept for a worker that is gone."""
        self.recalls.ahead.pop(worker, None)
        for token in list(worker.stopping):
            self.stopped(worker, token, now)

    def open_rates(self, now: float) -> None:
        """Let in the nodes that wait for rates which let another node start."""
        self._queues.wake_again(now)
        for limit in self._limits.due(now):
            self._queues.wake(limit, now)
            self._limits.plan(limit, now)

    def _next(self, view: View, now: float, *, with_suspects: bool) -> Node | None:
        """Return the first node of a view that may start now. Nodes before it that limits hold are parked.

        Nodes before it that are not in their place are brought there. Where all these are too many for one grant the
        view is looked at again with the next grant, and there is no node for now. The same goes for as long as the
        first nodes are of a halted instance and have still to leave their queues.
        """
        while (node := view.peek(with_suspects=with_suspects)) is not None:
            if node.instance.halted:
                self._queues.look_again(view)
                return None
            is_misplaced = bool(self._queues.moving) and self._queues.is_misplaced(node)
            if not is_misplaced and not node.limits and not self._limits.is_capped:
                return node
            limit = None if is_misplaced else next(full_limits(node, now), None)
            if limit is None and not is_misplaced:
                return node
            if not self._parks_left:
                self._queues.look_again(view)
                return None
            self._parks_left -= 1
            if limit is None:
                self._queues.place(node, now)
            else:
                self._queues.park(node, limit, now)
                self._limits.plan(limit, now)
        return None

    def grant(self, now: float) -> None:
        """Grant ready nodes to workers that may run them."""
        granted: Granted = {}
        self._parks_left = self._queues.at_once
        views = [
            view
            for view in self._queues.take_stirred()
            if (view.free or view.ahead or self.has_more) and self._next(view, now, with_suspects=True) is not None
        ]
        # One for everybody, whatever the filters; then the free slots, evenly; and only then something ahead.
        for view in views:
            self._fill_free(view, 1, granted, now)
        for view in views:
            if view.has_ready and view.free:
                self._fill_free(view, _share(view), granted, now)
        for view in views:
            if view.has_ready and view.free:
                self._fill_free(view, _ANY, granted, now)
        for view in views:
            if view.has_ready:
                self._fill_ahead(view, granted, now)
        for worker, leases in granted.items():
            self._events.append(e.WorkGranted(worker=worker, leases=leases))
        self.has_more = not self._parks_left
        self._parks_left = _ANY
        self.recalls.plan(now)

    def pull(self, worker: Worker, now: float) -> None:
        """Grant one node to a worker that asks for it, whatever it holds already.

        The nodes that it may not have before it reports on them hold up no others.
        """
        self._parks_left = self._queues.at_once
        passed: list[Node] = []
        while True:
            node = self._next(worker.view, now, with_suspects=worker.suspect is None)
            if node is None or (node.instance.id, node.id) not in worker.unreported:
                break
            self._queues.hide(node)
            passed.append(node)
        self.has_more |= not self._parks_left
        self._parks_left = _ANY
        if node is not None:
            lease = node, self.lease(node, worker, now)
            self._events.append(e.WorkGranted(worker=worker, leases=[lease]))
        for other in passed:
            self._queues.show(other)

    def _fill_free(self, view: View, limit: int, granted: Granted, now: float) -> None:
        """Lease up to `limit` nodes to each worker of a view that has free slots, as long as there are any."""
        full: list[Worker] = []
        for worker in view.free:
            if not view.has_ready:
                break
            left = limit
            while left and worker.has_free_slot:
                node = self._next(view, now, with_suspects=worker.suspect is None)
                if node is None:
                    break
                granted.setdefault(worker, []).append((node, self.lease(node, worker, now)))
                left -= 1
            if not worker.has_free_slot:
                full.append(worker)
        for worker in full:
            view.place(worker)

    def _fill_ahead(self, view: View, granted: Granted, now: float) -> None:
        """Lease nodes to workers of a view that have no free slot but will soon have done with the nodes they hold."""
        node = self._next_ahead(view, now)
        if node is None or not view.ahead:
            return
        share = -(-view.count(_SHARED_MAX * len(view.ahead)) // len(view.ahead))
        passed: list[Worker] = []
        for worker in view.ahead:
            # What a suspect takes down with it becomes suspect too, so nothing is granted behind one.
            is_held_up = worker.suspect is not None or worker.overdue or bool(worker.stopping)
            budget_s = 0.0 if is_held_up else PREFETCH_S * worker.slots
            left = share
            while node is not None and left:
                if worker.load_s + (node.function.timing.duration_s or 0.0) > budget_s:
                    passed.append(worker)  # until something about it has changed
                    break
                granted.setdefault(worker, []).append((node, self.lease(node, worker, now)))
                node = self._next_ahead(view, now)
                left -= 1
            if node is None:
                break
        for worker in passed:
            view.ahead.discard(worker)

    def _next_ahead(self, view: View, now: float) -> Node | None:
        """Return the first node of a view where it may be granted to a worker that has no free slot for it.

        Nothing is granted past one that may not, or it would find no free slot as long as there is other work.
        """
        node = self._next(view, now, with_suspects=True)
        if node is None or node.losses or node.function.timing.duration_s is None:
            return None
        spec = node.function.spec
        # Its time and its place count from the grant, or it could be lost: it must start at once.
        at_once = spec.timeout_s or spec.at_most_once or node.limits or (self._limits.is_capped and limits_of(node))
        return None if at_once else node

    def tell_drained(self) -> None:
        """Tell the workers that asked, once nothing that any connected worker could run is left."""
        asking = self._queues.asking
        if not asking or any(worker.leases for worker in self._workers()):
            return
        if any(lane.active and _is_served(lane) for lane in self._queues.lanes.values()):
            return
        for worker in list(asking):
            mismatch = self._mismatch(worker)
            if mismatch or worker.exit_when_drained:
                del asking[worker]
                self._events.append(e.WorkerDrained(worker=worker, mismatch=mismatch))

    def _mismatch(self, worker: Worker) -> tuple[str, str] | None:
        """Return a function, and its version, that has nodes left and that the worker has in another one, or lacks."""
        obstacle = worker.view.filter.obstacle
        for lane in self._queues.lanes.values():
            if lane.active and obstacle(lane) in (Obstacle.CODE_VERSION, Obstacle.LACKS):
                return lane.function, lane.code_version
        return None

    def _workers(self) -> Iterator[Worker]:
        for view in self._queues.views.values():
            yield from view.workers


def _share(view: View) -> int:
    """Return how many nodes each worker with free slots gets if the workers share the ready nodes evenly."""
    room = sum(worker.slots - len(worker.leases) - len(worker.stopping) for worker in view.free)
    ready = view.count(room)
    return room if ready >= room else -(-ready // len(view.free))


def _is_served(lane: Lane) -> bool:
    """Return whether a connected worker would take nodes of this lane."""
    return any(not worker.draining for view in lane.views for worker in view.workers)
