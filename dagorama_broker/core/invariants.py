"""Invariants: all that holds in the core between two commands. Tests and the fault simulator check it, the server does
not.

Everything is counted anew from the nodes, so a check costs as much as there is in memory.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import isclose

from dagorama_broker.core.containers.lines import Line
from dagorama_broker.core.errors import BrokenInvariant
from dagorama_broker.core.model.entities import Instance, Lane, Limit, Node, View, Worker
from dagorama_broker.core.model.references import stored_references
from dagorama_broker.core.model.states import ACTIVE, LIVE, UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.model.values import Park
from dagorama_broker.core.ready.limits import limits_of
from dagorama_broker.core.ready.queues import is_suspect
from dagorama_broker.core.scheduler import Scheduler

_WAITS = frozenset({NodeState.WAITING, NodeState.JOINING})

#: The states of nodes in queues: those of a cancelled instance may be there for a while.
_IN_QUEUES = frozenset({NodeState.READY, NodeState.CANCELLED})


def check_invariants(scheduler: Scheduler) -> None:
    """Check everything that must hold between two commands. Raises `BrokenInvariant` with the evidence."""
    nodes = [node for instance in scheduler.instances.values() for node in instance.nodes.values()]
    for instance in scheduler.instances.values():
        _check_instance(scheduler, instance)
    for node in nodes:
        _check_node(scheduler, node)
    graph = scheduler.graph
    strangers = graph.comparisons.keys() - set(scheduler.instances.values())
    _require(not strangers, "values are compared in known instances only", strangers=strangers)
    keyed = {each.start.key: each for each in scheduler.instances.values() if each.start is not None}
    _require(keyed == graph.started, "instances are known by their keys", keyed=keyed, known=graph.started)
    telling = Counter(each.tells_of for each in scheduler.instances.values() if each.tells_of is not None)
    _require(telling == graph.untold, "who has hooks to be called is known", telling=telling, known=graph.untold)
    ended = set(graph.ended)
    untold = {dependent for node in ended for dependent in node.dependents or ()}
    moving = untold | set(graph.backlog) | {node for node, _ in graph.doomed}
    _check_waiting([node for node in nodes if node not in ended], moving)
    _check_overdue(scheduler, nodes)
    _check_backoffs(scheduler, nodes)
    _check_workers(scheduler, nodes)
    # Nodes that were ready when they were cancelled stay in their queues for a while.
    stopped = list(graph.stopped)
    for node in stopped:
        _require(node.state is NodeState.CANCELLED and node.instance.cancelled, "what is stopped has ended", node=node)
    queued = [node for node in nodes if node.state in ACTIVE] + stopped
    _check_queues(scheduler, queued)
    _check_limits(scheduler, nodes + stopped, queued)


def _require(holds: bool, rule: str, **evidence: object) -> None:
    if not holds:
        raise BrokenInvariant(rule, **evidence)


# -- instances and nodes ----------------------------------------------------------------------------------------------


def _check_instance(scheduler: Scheduler, instance: Instance) -> None:
    states = [node.state for node in instance.nodes.values()]
    live = sum(state in LIVE for state in states)
    _require(
        instance.live == live, "an instance counts its live nodes", instance=instance, count=instance.live, actual=live
    )
    actual = Counter(states)
    counts = {state: count for state, count in instance.counts.items() if count}
    agrees = counts == actual if instance.whole else all(counts.get(state, 0) >= actual[state] for state in actual)
    _require(agrees, "an instance counts its nodes by state", instance=instance, counts=counts, actual=actual)
    if instance.whole:
        held = _held(instance)
        _require(instance.held == held.keys(), "an instance knows its values", instance=instance, held=held)
        total, known = sum(held.values()), instance.held_bytes
        _require(
            known == total, "an instance counts the bytes of its values", instance=instance, count=known, actual=total
        )
    else:
        states = [state for state, count in counts.items() if count]
    failed = any(state in UNSUCCESSFUL for state in states)
    _require(instance.failed == failed, "an instance knows whether a node failed", instance=instance, actual=failed)
    leaving = instance in scheduler.graph.touched  # restored a moment ago for the next command
    _require(bool(live or not states or leaving), "a finished instance leaves memory", instance=instance)
    if instance.state is InstanceState.RUNNING and instance.deadline_at and not instance.halted:
        at = scheduler.graph.deadline_timers.at(instance)
        _require(at is not None or not live, "an instance that may not run for long is watched", instance=instance)
    if live:
        _require(instance.state is InstanceState.RUNNING, "an instance with live nodes runs", instance=instance)


def _held(instance: Instance) -> dict[bytes, int]:
    payloads = [hook.arguments for hook in instance.hooks]
    payloads += [hook.function.definition_arguments for hook in instance.hooks]
    for node in instance.nodes.values():
        payloads += (node.arguments, node.function.spec.definition_arguments, node.payload or b"")
        payloads += [attempt.failure.exception for attempt in node.failures or ()]
    return {digest: size for payload in payloads for digest, size in stored_references(payload)}


def _check_node(scheduler: Scheduler, node: Node) -> None:
    state = node.state
    _require(node.instance.nodes.get(node.id) is node, "an instance has its nodes by id", node=node)
    _require(all(dependency.seq < node.seq for dependency in node.dependencies), "dependencies come first", node=node)
    _require(node.parent_seq < node.seq, "a node comes after the one whose function called it", node=node)
    if state is not NodeState.WAITING and state not in UNSUCCESSFUL:
        late = [other for other in node.dependencies if other.state is not NodeState.COMPLETED]
        _require(not late, "a node starts when its dependencies have completed", node=node, late=late)
    if state in LIVE:
        losses_max = scheduler.settings.deliveries_max
        _require(node.losses < max(1, losses_max), "a node that keeps killing workers is quarantined", node=node)
    else:
        known = node.dependents is None or node in scheduler.graph.ended
        _require(known, "nobody waits for a terminal node", node=node, dependents=node.dependents)
    if state is NodeState.COMPLETED:
        _check_value(node)
    elif state in UNSUCCESSFUL:
        cause = node.cause
        is_own = state is not NodeState.DEPENDENCY_FAILED
        _require((cause is None) == is_own, "who fails by itself is its own cause", node=node, cause=cause)
        _require(cause is None or cause.cause is None, "a failure names its root cause", node=node, cause=cause)


def _check_value(node: Node) -> None:
    late = [promise for promise in node.promises if promise.state is not NodeState.COMPLETED]
    _require(not late, "a value refers to completed nodes only", node=node, late=late)
    source = node.source
    if source is None:
        _require(node.payload is not None, "a completed node has a payload or a source", node=node)
        return
    _require(source.source is None and source.payload is not None, "an alias leads to a payload", node=node, to=source)
    if not node.instance.whole and not node.promises:
        return  # those on the way to the source are not needed
    _require(node.payload is None and len(node.promises) == 1, "an alias has one promise and no payload", node=node)
    promise = node.promises[0]
    _require(source is (promise.source or promise), "an alias has its promise's value", node=node, to=source)


def _check_waiting(nodes: list[Node], moving: set[Node]) -> None:
    """Check that each node waits for the right ones, that those know it, and that no nodes wait in a circle."""
    known = {node: Counter(node.dependents or ()) for node in nodes}
    awaited: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.state not in _WAITS or node in moving:
            continue
        others = [other for other in _waits_for(node) if other.state is not NodeState.COMPLETED]
        awaited[node] = others
        _require(node.missing == len(others) > 0, "a node counts what it waits for", node=node, missing=node.missing)
        _require(all(other.state in LIVE for other in others), "nobody waits for what cannot come", node=node)
        for other, times in Counter(others).items():
            _require(known[other][node] == times, "who is waited for knows by whom", node=node, other=other)
    for node, dependents in known.items():
        strangers = [
            other
            for other in dependents
            if other.state not in UNSUCCESSFUL and other not in moving and node not in awaited.get(other, ())
        ]
        _require(not strangers, "a live dependent waits", node=node, strangers=strangers)
    _check_no_circle(awaited)


def _waits_for(node: Node) -> tuple[Node, ...]:
    return node.dependencies if node.state is NodeState.WAITING else node.promises


def _check_no_circle(awaited: dict[Node, list[Node]]) -> None:
    """Take away, again and again, the nodes that wait for no waiting node; a circle is what stays."""
    blockers = {node: sum(other in awaited for other in others) for node, others in awaited.items()}
    waiters: defaultdict[Node, list[Node]] = defaultdict(list)
    for node, others in awaited.items():
        for other in others:
            waiters[other].append(node)
    free = [node for node, count in blockers.items() if not count]
    while free:
        node = free.pop()
        del blockers[node]
        for waiter in waiters[node]:
            blockers[waiter] -= 1
            if not blockers[waiter]:
                free.append(waiter)
    _require(not blockers, "nobody waits in a circle", circle=list(blockers))


def _check_overdue(scheduler: Scheduler, nodes: list[Node]) -> None:
    overdue = set(scheduler.graph.overdue)
    for node in nodes:
        if node.instance.halted and node.state in ACTIVE:
            _require(node in overdue, "what is active after its deadline will fail", node=node)


# -- workers and time -------------------------------------------------------------------------------------------------


def _check_backoffs(scheduler: Scheduler, nodes: list[Node]) -> None:
    backoffs = scheduler.graph.backoffs
    for node in nodes:
        if node.state is NodeState.BACKOFF:
            known = backoffs.at(node) == node.retry_at
            _require(known, "who backs off will be woken", node=node, retry_at=node.retry_at)
        if node.state is NodeState.STARTED:
            _require(node.function.spec.at_most_once, "only what must not run twice waits for its worker", node=node)
            _require(node in scheduler.fleet.absences, "who waits for a worker will be given up", node=node)
        if node.state is NodeState.READY and node.function.spec.start_timeout_s:
            at = scheduler.queues.start_timers.at(node)
            _require(at is not None, "who may not wait for long is watched", node=node)


def _check_workers(scheduler: Scheduler, nodes: list[Node]) -> None:
    for node in nodes:
        worker = node.worker
        _require((worker is not None) == (node.state is NodeState.LEASED), "leased nodes have a worker", node=node)
        if worker is not None:
            known = scheduler.workers.get(worker.id) is worker
            _require(known, "whoever holds a lease is connected", node=node, worker=worker.name)
    holders = Counter(node for worker in scheduler.workers.values() for node in worker.leases.values())
    leased = Counter(node for node in nodes if node.state is NodeState.LEASED)
    _require(holders == leased, "each leased node has one holder", held=holders - leased, not_held=leased - holders)
    tokens = [node.token for node in leased]
    _require(len(set(tokens)) == len(tokens), "live fencing tokens differ", tokens=sorted(tokens))
    given = scheduler.dispatcher.token_last
    _require(all(token <= given for token in tokens), "no fencing token is ahead of the last given", last=given)
    limited = {node for node in leased if node.function.spec.timeout_s}
    timeouts = scheduler.dispatcher._timeouts
    _require(set(timeouts) == limited, "an attempt with a timeout is watched, and no other", actual=set(timeouts))
    for worker in scheduler.workers.values():
        _check_worker(scheduler, worker)


def _check_worker(scheduler: Scheduler, worker: Worker) -> None:
    name = worker.name
    for token, node in worker.leases.items():
        _require(node.worker is worker and node.token == token, "a lease and its node agree", worker=name, node=node)
    load_s = sum(node.charge_s for node in worker.leases.values())
    agrees = isclose(worker.load_s, load_s, rel_tol=1e-6, abs_tol=1e-9)
    _require(agrees, "a worker's load is what its leases cost", worker=name, load_s=worker.load_s, actual=load_s)
    suspects = [node for node in worker.leases.values() if is_suspect(node)]
    _require(
        (worker.suspect in suspects) if suspects else worker.suspect is None, "a worker knows its suspect", worker=name
    )
    _require(
        worker.recalled <= worker.leases.keys(), "only live leases are recalled", worker=name, actual=worker.recalled
    )
    told = worker.progress.keys()
    _require(told <= worker.leases.keys(), "progress ends with its lease", worker=name, told=sorted(told))
    _require(worker.stopping.keys().isdisjoint(worker.leases), "a revoked lease is not live", worker=name)
    view = worker.view
    known = scheduler.queues.views.get(view.filter) is view and worker in view.workers
    _require(known, "a connected worker is in its view", worker=name)
    check_at = scheduler.fleet.expiry_check_at
    _require(check_at is not None and check_at <= worker.expires_at, "a silent worker is noticed", worker=name)


# -- queues -----------------------------------------------------------------------------------------------------------


def _check_queues(scheduler: Scheduler, queued: list[Node]) -> None:
    views = scheduler.queues.views.values()
    lanes = set(scheduler.queues.lanes.values())
    active: defaultdict[Lane, list[Node]] = defaultdict(list)
    for node in queued:
        active[node.function.lane].append(node)
    _require(active.keys() <= lanes, "every node's lane is known", unknown=active.keys() - lanes)
    for lane in lanes:
        _check_lane(lane, active[lane])
        admitting = [view for view in views if view.filter.admits(lane)]
        _require(_same(lane.views, admitting), "a lane knows the views that admit it", lane=lane)
    for view in views:
        strangers = [worker.name for worker in view.workers if scheduler.workers.get(worker.id) is not worker]
        _require(bool(view.workers) and not strangers, "a view is for connected workers", view=view.filter)
        admitted = [lane for lane in lanes if view.filter.admits(lane)]
        _require(_same(view.lanes, admitted), "a view knows the lanes that it admits", view=view.filter)
        for lane in view.lanes:
            _check_reachable(view, lane, active[lane])
        kept = {lane for merge in view.merges for lane in merge.keys}
        _require(kept <= set(view.lanes), "a view forgets lanes that are gone", view=view.filter)
        _check_open(view)
    for group in {lane.group for lane in lanes}:
        busy = sum(lane.group is group and lane.ready + lane.held > 0 for lane in lanes)
        _require(group.lanes == busy, "a group counts its lanes with work", group=group, actual=busy)


def _check_lane(lane: Lane, active: list[Node]) -> None:
    parked = sum(node.parked is not None for node in active)
    _require(lane.parked == parked, "a lane counts its parked nodes", lane=lane, count=lane.parked, actual=parked)
    held = sum(isinstance(node.parked, Limit) for node in active)
    _require(lane.held == held, "a lane counts those that wait for a limit", lane=lane, count=lane.held, actual=held)
    ready = _grantable(active)
    _require(
        lane.active == len(active), "a lane counts its active nodes", lane=lane, count=lane.active, actual=len(active)
    )
    _require(lane.ready == len(ready), "a lane counts its ready nodes", lane=lane, count=lane.ready, actual=len(ready))
    for suspect, line in enumerate(lane.lines):
        mine = {node.place: node for node in ready if is_suspect(node) == suspect}
        _require(line.things == mine, "a lane has its ready nodes, and no others", lane=lane, actual=mine)
        _check_line(line)


def _check_line(line: Line[Node] | Line[Lane]) -> None:
    heap = line.heap
    in_order = all(heap[(place - 1) // 2] <= heap[place] for place in range(1, len(heap)))
    _require(in_order and line.things.keys() <= set(heap), "a line is in order", line=line.things)


def _check_open(view: View) -> None:
    """Check that a worker which could take something is looked at with the next grant."""
    for worker in view.workers:
        known = worker.stirred or worker in view.free or not worker.has_free_slot or worker.draining
        _require(known, "a worker with a free slot is known as free", worker=worker.name)
    strangers = [worker.name for worker in (*view.free, *view.ahead) if worker not in view.workers]
    _require(not strangers, "only connected workers can take something", strangers=strangers)


def _check_reachable(view: View, lane: Lane, active: list[Node]) -> None:
    """Check that the view will come to the lane's first node no later than its turn."""
    for suspect, merge in enumerate(view.merges):
        _check_line(merge.lanes)
        ready = [] if lane.paused else _grantable(active)
        orders = [node.place + lane.group.rank for node in ready if is_suspect(node) == suspect]
        key = merge.keys.get(lane)
        if orders:
            known = key is not None and key <= min(orders) and merge.lanes.things[key] is lane
            _require(known, "a view finds a lane's first node", lane=lane, key=key, actual=min(orders))
        else:
            _require(key is None, "a view has no lane without nodes", lane=lane, key=key)


def _grantable(queued: list[Node]) -> list[Node]:
    return [node for node in queued if node.state in _IN_QUEUES and node.parked is None]


# -- limits -----------------------------------------------------------------------------------------------------------


def _check_limits(scheduler: Scheduler, nodes: list[Node], queued: list[Node]) -> None:
    """Check that limits are views over the live leases, and that nodes which wait for a limit are let in again."""
    held: defaultdict[Limit, dict[int, Node]] = defaultdict(dict)
    for worker in scheduler.workers.values():
        for leases in (worker.leases, worker.stopping):
            for token, node in leases.items():
                for limit in limits_of(node):
                    held[limit][token] = node
    for absence in scheduler.fleet.absences:
        for limit in limits_of(absence.node) if absence.token else ():
            held[limit][absence.token] = absence.node
    for limit in {limit for node in nodes for limit in limits_of(node)} | held.keys():
        _require(limit.holders == held[limit], "a limit's holders are leases", limit=limit, actual=held[limit])
        _require(bool(limit.waiting) == (limit in scheduler.queues.waited), "limits that are waited for are known")
        for waiters in limit.waiting.values():
            for line in waiters.lanes.values():
                _check_line(line)
            parked = [node for waiting in waiters.lanes.values() for node in waiting.things.values()]
            strangers = [node for node in parked if node.parked is not limit]
            _require(bool(parked) and not strangers, "only who waits is known to a limit", strangers=strangers)
            audience = parked[0].function.lane.audience
            has_room = len(limit.holders) < limit.spec.max if limit.spec.max else True
            is_planned = bool(limit.due_at) or limit in scheduler.queues.half_woken
            others = [node for node in queued if node.function.lane.audience == audience and limit in limits_of(node)]
            stuck = has_room and not is_planned and limit.sorting == scheduler.queues.sorting and not _grantable(others)
            _require(not stuck, "a limit with room lets in who waits for it", limit=limit, parked=parked)
    moving = {node for waiting in scheduler.queues.moving.values() for node in waiting}
    for node in nodes:
        is_settled = node.state is NodeState.READY and node not in moving
        paused = is_settled and node.instance.control.paused
        in_place = not is_settled or node.parked is Park.PAUSED or node.place == node.order
        _require(in_place, "a ready node is where it belongs", node=node, place=node.place, order=node.order)
        _require(not paused or node.parked is not None, "nothing of a paused instance may be granted", node=node)
        if node.parked is not None:
            _require(node.state in _IN_QUEUES, "only ready nodes are parked", node=node)
        if isinstance(node.parked, Limit):
            lane = node.function.lane
            lines = [waiters.lanes[lane] for waiters in node.parked.waiting.values() if lane in waiters.lanes]
            known = [node] == [line.things.get(node.place) for line in lines]
            _require(known, "who waits for a limit is known to it", node=node, limit=node.parked)


def _same(one: Iterable[object], other: Iterable[object]) -> bool:
    return Counter(map(id, one)) == Counter(map(id, other))
