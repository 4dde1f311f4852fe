"""Deadlines: nodes may not wait in a queue for ever, nor may whole instances last for ever."""

from __future__ import annotations

from itertools import islice

from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.graph.graph import Graph, cut_short
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.states import ACTIVE, NodeState
from dagorama_broker.core.model.values import FailedAttempt, Failure
from dagorama_broker.core.ready.limits import full_limits, limit_name

#: The states of active nodes that nobody runs, and of the others.
_STANDING = frozenset({NodeState.READY, NodeState.BACKOFF})
_RUNNING = ACTIVE - _STANDING


def fail_unstarted(graph: Graph, now: float, *, is_recovering: bool) -> None:
    """Fail the nodes that no worker has taken in time; of very many, others are left for the next tick."""
    for node in islice(graph.queues.start_timers.take_due(now), graph.queues.at_once):
        if node.state is not NodeState.READY:
            continue  # it was cancelled, and is still to leave its queue
        waited_s = node.function.spec.start_timeout_s
        obstacle = _held_by(node, now, is_recovering=is_recovering) or _obstacle(node)
        failure = Failure(
            type="QueueTimeout",
            message=f"it was ready for {waited_s:g} s, its start_timeout, and no worker took it: {obstacle}",
            permanent=True,
        )
        graph.give_up(node, FailedAttempt(node.tries, "", now, failure), now)


def fail_overdue(graph: Graph, dispatcher: Dispatcher, now: float) -> None:
    """Fail the live nodes of the instances whose deadlines have passed, and end the instances that were never used."""
    for instance in islice(graph.deadline_timers.take_due(now), graph.queues.at_once):
        if not instance.nodes:
            end_empty(graph, instance, now)
        elif 0 < instance.deadline_at <= now:
            expire_instance(graph, dispatcher, instance, now)
        else:  # a call has come since it was watched
            graph.watch_deadline(instance, now)
    fail_expired(graph, now)


def expire_instance(graph: Graph, dispatcher: Dispatcher, instance: Instance, now: float) -> None:
    """Fail the active nodes of an instance whose deadline has passed; the nodes that wait for them fail of that.

    Nodes that run, or may run, fail at once, and the rest with `fail_expired`. None of them is granted meanwhile.
    """
    if instance.halted:
        return  # what has become ready since is among `overdue`
    instance.halted = True
    running = [node for node in instance.nodes.values() if node.state in _RUNNING]
    graph.overdue.extend([node for node in instance.nodes.values() if node.state in _STANDING])
    holders = [node.worker for node in running]
    dispatcher.revoke_all(running, now)
    failure = _deadline_exceeded(instance)
    for node, holder in zip(running, holders, strict=True):
        node.attempts += 1  # this ends one
        graph.give_up(node, cut_short(node, holder.name if holder else "", failure, now), now)


def fail_expired(graph: Graph, now: float) -> None:
    """Fail so many of the nodes that wait for a worker or for their next attempt, and whose deadline has passed."""
    instance = failure = None
    for _ in range(min(graph.queues.at_once, len(graph.overdue))):
        node = graph.overdue.popleft()
        if node.state not in _STANDING:
            continue  # it has failed, or was cancelled
        if failure is None or node.instance is not instance:  # they share it: it is large
            instance, failure = node.instance, _deadline_exceeded(node.instance)
        graph.give_up(node, FailedAttempt(node.tries, "", now, failure), now)


def _deadline_exceeded(instance: Instance) -> Failure:
    allowed_s = instance.deadline_at - instance.created_at
    return Failure(
        type="DeadlineExceeded",
        message=f"its instance had not ended {allowed_s:g} s after its start, which was its deadline; a retry of the "
        "instance goes on without one",
        permanent=True,
    )


def end_empty(graph: Graph, instance: Instance, now: float) -> None:
    """End an instance in which no call was made. It has failed where its deadline has passed; else it is complete."""
    instance.failed = 0 < instance.deadline_at <= now
    graph.finish(instance, now)


def _held_by(node: Node, now: float, *, is_recovering: bool) -> str:
    """Return what holds a ready node back whatever the workers do; nothing where nothing does."""
    lane = node.function.lane
    if node.instance.control.paused:
        return "its instance is paused"
    if lane.paused:
        return f"its queue, {lane.queue}, is paused"
    for limit in full_limits(node, now):
        name, spec, running = limit_name(node, limit), limit.spec, len(limit.holders)
        if spec.max and running >= spec.max:
            return f"{name} lets {spec.max} run at once, and {running} run"
        return f"{name} lets {spec.rate_per_s:g} start in a second"
    return "the broker has restarted and waits for the workers that it had" if is_recovering else ""


def _obstacle(node: Node) -> str:
    """Return what has kept a ready node from the workers, as far as that is seen at a glance; `why` asks further."""
    lane = node.function.lane
    able = [worker for view in lane.views for worker in view.workers]
    taint = f" and tolerates taint {lane.taint}" if lane.taint else ""
    if not able:
        return f"none that serves queue {lane.queue}{taint} is connected"
    taking = [worker.name for worker in able if not worker.draining]
    if not taking:
        return f"all {len(able)} that could run it are draining"
    return f"all {len(taking)} that could run it had other nodes ({', '.join(taking[:3])})"
