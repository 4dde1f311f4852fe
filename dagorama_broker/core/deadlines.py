"""What may not take for ever: waiting in a queue."""

from __future__ import annotations

from dagorama_broker.core.graph import Graph
from dagorama_broker.core.model import FailedAttempt, Failure, Node


def fail_unstarted(graph: Graph, now: float) -> None:
    """Fail the nodes that no worker has taken in time."""
    for node in graph.start_timers.take_due(now):
        waited_s = node.function.spec.start_timeout_s
        failure = Failure(
            type="QueueTimeout",
            message=f"it was ready for {waited_s:g} s, its start_timeout, and no worker took it: {_obstacle(node)}",
            permanent=True,
        )
        graph.give_up(node, FailedAttempt(node.attempts, "", now, failure), now)


def _obstacle(node: Node) -> str:
    """Say what has kept a ready node from the workers, as far as that is seen at a glance; `why` asks further."""
    lane = node.function.lane
    able = [worker for view in lane.views for worker in view.workers]
    taint = f" and tolerates taint {lane.taint}" if lane.taint else ""
    if not able:
        return f"none that serves queue {lane.queue}{taint} is connected"
    taking = [worker.name for worker in able if not worker.draining]
    if not taking:
        return f"all {len(able)} that could run it are draining"
    return f"all {len(taking)} that could run it had other nodes ({', '.join(taking[:3])})"
