"""The smallest journal: durable events folded into plain dictionaries, by the book and no faster than that.

It reads what a journal may read: the events, and of a node only what never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import EndedInstance, Lived, Snapshot, StoredInstance, StoredNode
from dagorama_broker.core.model.values import Action, Control, InstanceId, LimitWord, Note, QueueControl, WorkerId

DURABLE: tuple[type, ...] = get_args(e.DurableEvent)


class Ledger:
    """Everything that was ever committed."""

    def __init__(self) -> None:
        self.instances: dict[InstanceId, StoredInstance] = {}
        self.nodes: dict[int, StoredNode] = {}
        self.workers: dict[WorkerId, str] = {}
        self.queues: dict[str, QueueControl] = {}
        self.limits: dict[str, LimitWord] = {}
        self.actions: list[tuple[Action, InstanceId | None]] = []
        self.node_seq_last = 0
        self.instance_seq_last = 0
        self.epoch = 1
        self.ended: dict[InstanceId, EndedInstance] = {}
        self.lived: Lived | None = None

    def commit(self, events: Iterable[e.Event]) -> None:
        """Fold in what a command gave."""
        for event in events:
            if isinstance(event, DURABLE):
                self._apply(event)

    def reopen(self) -> Snapshot:
        """Give what a broker that starts now begins with."""
        self.epoch += 1
        return Snapshot(
            epoch=self.epoch,
            instance_seq_last=self.instance_seq_last,
            node_seq_last=self.node_seq_last,
            instances=[
                self.stored(instance.id)
                for instance in self.instances.values()
                if instance.state is InstanceState.RUNNING
            ],
            workers=dict(self.workers),
            queues=dict(self.queues),
            limits=dict(self.limits),
            lived=self.lived,
        )

    def stored(self, instance_id: InstanceId) -> StoredInstance:
        """Give an instance with its nodes, as copies."""
        instance = self.instances[instance_id]
        return replace(instance, nodes=[replace(row, failures=list(row.failures)) for row in instance.nodes])

    def _apply(self, event: e.Event) -> None:
        match event:
            case e.InstanceCreated(instance=instance, control=control):
                self._create_instance(instance, control)
            case e.InstanceControlled(instance=instance, control=control):
                self.instances[instance.id].control = control
            case e.QueueControlled(queue=queue, control=queue_control):
                self.queues[queue] = queue_control
                if queue_control == QueueControl():
                    del self.queues[queue]
            case e.ActionTaken(action=action, instance=acted_on):
                self.actions.append((action, acted_on.id if acted_on is not None else None))
            case e.LimitChanged(key=key, word=word):
                self.limits[key] = word
            case e.InstanceReopened(instance=instance):
                self._set_instance(instance.id, InstanceState.RUNNING, 0.0)
                del self.ended[instance.id]
            case e.InstanceFinished(instance=instance, state=state, at=at, lived_s=lived_s, kept_until=until):
                self._set_instance(instance.id, state, at)
                how = (instance.seq, instance.id, instance.definition, state, at, lived_s, until)
                self.ended[instance.id] = EndedInstance(*how)
            case e.InstancesPruned(instances=pruned):
                for ended in pruned:
                    assert self.ended.pop(ended.id) == ended, "it is as the core was told"
                    for row in self.instances.pop(ended.id).nodes:
                        del self.nodes[row.seq]
            case e.LifeNoted(at=at, lived_s=lived_s):
                self.lived = Lived(at, lived_s)
            case e.NodesCreated(nodes=nodes):
                none = [""] * len(nodes)
                for node, label, inputs in zip(nodes, event.labels or none, event.inputs or none, strict=True):
                    self._create_node(node)
                    self.nodes[node.seq].note = Note(label, inputs) if label or inputs else None
            case e.NodesNoted(notes=notes):
                for node, note in notes:
                    earlier = self.nodes[node.seq].note or Note()
                    kept = Note(note.label or earlier.label, note.inputs or earlier.inputs)
                    self.nodes[node.seq].note = kept
            case e.NodeJoining(node=node, payload=payload, promises=promises, run=run):
                row = self.nodes[node.seq]
                assert run is not None, "a node joins after an attempt"
                row.run = run
                row.state, row.payload, row.promise_seqs = NodeState.JOINING, payload, tuple(p.seq for p in promises)
            case e.NodeCompleted(node=node, payload=payload, at=at, run=run):
                row = self.nodes[node.seq]
                assert (run is None) == (row.state is NodeState.JOINING), "each value is that of one attempt"
                row.run = run or row.run
                assert row.state in {NodeState.WAITING, NodeState.STARTED, NodeState.JOINING, NodeState.BACKOFF}
                row.state, row.finished_at = NodeState.COMPLETED, at
                row.payload = row.payload if payload is None else payload
            case e.ValueCompared(node=node, change=change):
                row = self.nodes[node.seq]
                assert row.state is NodeState.COMPLETED
                row.change = change
            case e.NodesReset(instance=instance, resets=resets, at=at, request=request, void_token=void_token):
                self.instances[instance.id].deadline_at = 0.0
                self.instances[instance.id].request = request
                self.instances[instance.id].void_token = void_token
                for node, function, joins, previous, arguments, tries in resets:
                    row = self.nodes[node.seq]
                    row.arguments = row.arguments if arguments is None else arguments
                    row.previous = row.previous if previous is None else previous
                    row.change = None
                    row.payload = row.payload if joins else None
                    row.run = row.run if joins else None
                    row.promise_seqs = row.promise_seqs if joins else ()
                    row.state, row.function = NodeState.JOINING if joins else NodeState.WAITING, function.spec
                    row.finished_at, row.attempts, row.losses, row.cause_seq = 0.0, 0, 0, 0
                    row.tries = max(row.tries, tries)
                    row.waiting_since = at
            case e.NodesRemoved(instance=instance, nodes=nodes):
                for node in nodes:
                    self.instances[instance.id].nodes.remove(self.nodes.pop(node.seq))
            case e.NodesStarted(nodes=nodes):
                for node in nodes:
                    self.nodes[node.seq].state = NodeState.STARTED
            case e.NodesHandedBack(nodes=nodes, at=at):
                for node in nodes:
                    row = self.nodes[node.seq]
                    row.state, row.waiting_since = NodeState.WAITING, at
            case e.WorkerJoined(worker_id=worker_id, name=name):
                self.workers[worker_id] = name
            case e.WorkerLeft(worker_id=worker_id):
                del self.workers[worker_id]
            case _:
                self._apply_failure(event)

    def _apply_failure(self, event: e.Event) -> None:
        match event:
            case e.AttemptFailed(node=node, attempt=attempt, retry_at=retry_at):
                row = self.nodes[node.seq]
                row.attempts += bool(attempt.worker) or attempt.number > row.tries
                row.tries = attempt.number
                row.failures.append(attempt)
                if retry_at is not None:
                    row.state, row.retry_at = NodeState.BACKOFF, retry_at
            case e.LeaseLost(node=node, attempt=attempt, losses=losses):
                row = self.nodes[node.seq]
                row.failures.append(attempt)
                row.state, row.losses, row.tries = NodeState.WAITING, losses, attempt.number
            case e.NodeFailed(node=node, at=at):
                row = self.nodes[node.seq]
                row.state, row.finished_at, row.cause_seq = NodeState.FAILED, at, node.seq
            case e.DependencyFailed(node=node, cause=cause, at=at):
                row = self.nodes[node.seq]
                row.state, row.finished_at, row.cause_seq = NodeState.DEPENDENCY_FAILED, at, cause.seq
            case e.NodesCancelled(nodes=nodes, at=at, runs=runs):
                for node in nodes:
                    row = self.nodes[node.seq]
                    row.run = runs.get(node.seq, row.run)
                    row.state, row.finished_at, row.cause_seq = NodeState.CANCELLED, at, node.seq
            case _:
                raise NotImplementedError(type(event).__name__)

    def _create_instance(self, instance: Instance, control: Control) -> None:
        assert instance.id not in self.instances
        assert instance.seq > self.instance_seq_last, "a number never comes again"
        self.instance_seq_last = instance.seq
        self.instances[instance.id] = StoredInstance(
            seq=instance.seq,
            id=instance.id,
            definition=instance.definition,
            state=InstanceState.RUNNING,
            created_at=instance.created_at,
            deadline_at=instance.deadline_at,
            group=instance.group,
            control=control,
            start=instance.start,
            tags=instance.tags,
            hooks=instance.hooks,
            keep=instance.keep,
        )

    def _set_instance(self, instance_id: InstanceId, state: InstanceState, at: float) -> None:
        instance = self.instances[instance_id]
        instance.state, instance.finished_at = state, at

    def _create_node(self, node: Node) -> None:
        assert node.seq > self.node_seq_last, "a number never comes again"
        self.node_seq_last = node.seq
        row = self.nodes[node.seq] = StoredNode(
            seq=node.seq,
            id=node.id,
            function=node.function.spec,
            parent_seq=node.parent_seq,
            arguments=node.arguments,
            dependency_seqs=tuple(dependency.seq for dependency in node.dependencies),
            limit_keys=tuple(limit.key for limit in node.limits),
            created_at=node.created_at,
        )
        self.instances[node.instance.id].nodes.append(row)
