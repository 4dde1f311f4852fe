"""People's requests about instances and queues: to stop, to pause, to go first, to run so many nodes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import InstanceEnded, UnfitNode, show_id
from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.grants.fleet import Fleet
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.model.entities import Instance, Limit, Node
from dagorama_broker.core.model.states import TERMINAL, InstanceState, NodeState
from dagorama_broker.core.model.values import Control, InstanceId, QueueControl
from dagorama_broker.core.noting import note_action, note_changes
from dagorama_broker.core.ready.queues import ReadyQueues


class Controller:
    """Does as people ask of instances and queues."""

    def __init__(self, graph: Graph, queues: ReadyQueues, dispatcher: Dispatcher, fleet: Fleet) -> None:
        self._graph = graph
        self._queues = queues
        self._dispatcher = dispatcher
        self._fleet = fleet

    def _running(self, instance_id: InstanceId, wanted: str) -> Instance:
        instance = self._graph.instance(instance_id)
        if instance.state is not InstanceState.RUNNING:
            raise InstanceEnded(instance_id=instance.id, state=instance.state, wanted=wanted)
        return instance

    def cancel_instance(self, command: c.CancelInstance, now: float) -> None:
        """Stop an instance: its nodes that have not started never do, and its nodes that run lose their leases."""
        graph = self._graph
        instance = self._running(command.instance_id, "cancelled")
        instance.cancelled = instance.halted = True
        nodes = [node for node in instance.nodes.values() if node.state not in TERMINAL]
        if nodes:
            instance.failed = True
            runs = {
                node.seq: (node.worker.name, node.leased_at, now, now - node.leased_at) for node in nodes if node.worker
            }
            graph.events.append(e.NodesCancelled(nodes=nodes, at=now, runs=runs))
        note_action(graph.events, "cancel", command.by, now, of=instance)
        self._dispatcher.revoke_all(nodes, now)
        graph.cancel(instance, nodes, now)

    def retry_node(self, command: c.RetryNode, now: float) -> None:
        """Have a node that backs off be ready now."""
        graph = self._graph
        node = graph.node(command.instance_id, command.node_id)
        if node.state is not NodeState.BACKOFF or node in graph.accused:
            raise UnfitNode(
                node_id=node.id, state=node.state, wanted="tried at once", needed="backs off after a failed attempt"
            )
        graph.backoffs.discard(node)
        graph.events.append(e.NodesHandedBack(nodes=[node], at=now))
        details: dict[str, object] = {"node": show_id(node.id), "function": node.function.spec.name}
        note_action(graph.events, "retry_now", command.by, now, of=node.instance, details=details)
        graph.enqueue(node, now)

    def control_instance(self, command: c.ControlInstance, now: float) -> None:
        """Change the priority of an instance, pause it or let it go on, or cap it."""
        instance = self._running(command.instance_id, command.wanted)
        before = instance.control
        control = Control(
            priority=before.priority if command.priority is None else command.priority,
            paused=before.paused if command.paused is None else command.paused,
            running_max=before.running_max if command.running_max is None else command.running_max,
        )
        if control == before:
            return
        self._graph.events.append(e.InstanceControlled(instance=instance, control=control))
        note_changes(self._graph.events, before, control, command.by, now, of=instance)
        instance.set_control(control)
        if (control.paused, control.priority) != (before.paused, before.priority):
            self._queues.place_anew(instance, now)
        if control.paused or control.running_max:
            self._recall(lambda node: node.instance is instance)
        if control.running_max != before.running_max:
            earlier = instance.limit
            instance.limit = self._recap(
                earlier, f"instance {show_id(instance.id)}", control.running_max, lambda node: node.instance is instance
            )
            self._wake(earlier, now)

    def control_queue(self, command: c.ControlQueue, now: float) -> None:
        """Pause a queue or let it go on, or cap it."""
        before = self._queues.control(command.queue)
        control = QueueControl(
            paused=before.paused if command.paused is None else command.paused,
            running_max=before.running_max if command.running_max is None else command.running_max,
        )
        if control != before:
            events, of = self._graph.events, f"queue {command.queue}"
            events.append(e.QueueControlled(queue=command.queue, control=control))
            note_changes(events, (0, *before), (0, *control), command.by, now, of=of)
            self.restore_queue(command.queue, control, now)
            if control.paused or control.running_max:
                self._recall(lambda node: node.function.lane.queue == command.queue)

    def _recall(self, is_wanted: Callable[[Node], bool]) -> None:
        """Ask for the nodes that were granted ahead: they wait behind others and are not expected to start yet."""
        self._dispatcher.recalls.ask(is_wanted)

    def restore_queue(self, queue: str, control: QueueControl, now: float) -> None:
        """Bring a queue to where people want it."""
        queues = self._queues
        earlier = queues.limits.get(queue)
        limit = self._recap(
            earlier, f"queue {queue}", control.running_max, lambda node: node.function.lane.queue == queue
        )
        queues.set_limit(queue, limit)
        self._wake(earlier, now)
        if control.paused:
            queues.pause_queue(queue)
        else:
            queues.resume_queue(queue)

    def _recap(self, limit: Limit | None, key: str, running_max: int, holds: Callable[[Node], bool]) -> Limit | None:
        return self._graph.limits.recap(
            limit, key, running_max, ((token, node) for token, node in self._held() if holds(node))
        )

    def _held(self) -> Iterator[tuple[int, Node]]:
        """Yield the nodes that workers may be running, each with the token of its lease."""
        for worker in self._fleet.workers.values():
            yield from worker.leases.items()
            yield from worker.stopping.items()
        yield from ((absence.token, absence.node) for absence in self._fleet.absences if absence.token)

    def _wake(self, limit: Limit | None, now: float) -> None:
        if limit is not None:
            self._queues.wake(limit, now)
