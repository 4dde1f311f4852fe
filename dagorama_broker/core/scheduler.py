"""The scheduler: commands in, events out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Any, cast
from weakref import WeakValueDictionary

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.dispatch import Dispatcher
from dagorama_broker.core.errors import (
    ConflictingNode,
    DuplicateCall,
    InstanceEnded,
    Refused,
    UnknownDependency,
    UnknownInstance,
    UnknownNode,
    UnknownWorker,
)
from dagorama_broker.core.model import (
    FailedAttempt,
    Failure,
    Function,
    FunctionSpec,
    Instance,
    InstanceId,
    NewCall,
    Node,
    NodeId,
    Rng,
    Timing,
    Worker,
    WorkerId,
)
from dagorama_broker.core.ready import Filter, ReadyQueues
from dagorama_broker.core.states import ACTIVE, TERMINAL, UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.stored import Snapshot, StoredInstance, StoredNode

#: Fencing tokens are `epoch << 40 | counter`: a broker would have to grant a trillion leases between two restarts to
#: meet the tokens of its successor.
_EPOCH_SHIFT = 40

#: A tick that comes later than this part of a lease duration shows that the broker has been away. Less is jitter.
_AWAY_PART = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may choose."""

    lease_duration_s: float = 15.0  #: a worker that is silent for so long loses its leases
    pull_lease_duration_s: float = 60.0  #: the same for workers that pull: those of dagorama 0.1 ping every 30 s
    deliveries_max: int = 5  #: a node that so many workers were lost with is quarantined
    reconnect_grace_s: float = 5.0  #: how long a restarted broker waits for the workers that it had


class Scheduler:
    """Decides everything about instances, nodes and leases.

    One object, used by one thread: no I/O, no locks, no clock. `now` is in seconds since the epoch and must not go
    back. After a call of `handle`, make its durable events durable before anything that follows from them leaves the
    process.
    """

    def __init__(self, *, rng: Rng, settings: Settings | None = None, epoch: int = 1) -> None:
        self.settings = settings or Settings()
        self.instances: dict[InstanceId, Instance] = {}
        self.workers: dict[WorkerId, Worker] = {}
        self.queues = ReadyQueues()
        self._dispatcher = Dispatcher(self.queues, token=epoch << _EPOCH_SHIFT)
        self._rng = rng
        self._functions: WeakValueDictionary[FunctionSpec, Function] = WeakValueDictionary()
        self._timings: dict[str, Timing] = {}
        self._instance_seq = 0
        self._node_seq = 0
        self._backoffs: list[tuple[float, int, Node]] = []
        self._expiry_check_at: float | None = None  #: not later than the first worker's expiry
        self.awaited: set[WorkerId] = set()  #: workers from before a restart; nothing is granted until they are back
        self.awaited_until = 0.0
        self._may_be_held = False  #: whether there is anything that those who are awaited could have
        self._touched: dict[Instance, None] = {}  #: instances whose last live node may have ended in this command
        self._events: list[e.Event] = []
        self._handlers: dict[type[c.Command], Callable[[Any, float], None]] = {
            c.SubmitNodes: self._submit_nodes,
            c.ConnectWorker: self._connect_worker,
            c.DisconnectWorker: self._disconnect_worker,
            c.Heartbeat: self._heartbeat,
            c.DrainWorker: self._drain_worker,
            c.CompleteNodes: self._complete_nodes,
            c.HandBack: self._hand_back,
            c.PullNode: self._pull_node,
            c.RejectVersion: self._reject_version,
            c.CancelInstance: self._cancel_instance,
            c.GrantWork: self._grant_work,
            c.Tick: self._tick,
        }

    # -- the way in ---------------------------------------------------------------------------------------------------

    def handle(self, command: c.Command, now: float) -> list[e.Event]:
        """Decide on one command. Raises a `Refused`, and has changed nothing, where the command is at fault."""
        self._events = []
        self._handlers[type(command)](command, now)
        if self._touched:
            self._finish_instances(now)
        return self._events

    def next_wakeup(self) -> float | None:
        """Give the time at which a `Tick` is due, or None. Ask again after each batch of commands."""
        due = [self._expiry_check_at, self._dispatcher.recall_at, self._dispatcher.overrun_at]
        if self._backoffs:
            due.append(self._backoffs[0][0])
        if self.awaited:
            due.append(self.awaited_until)
        return min((at for at in due if at is not None), default=None)

    @property
    def is_recovering(self) -> bool:
        """Whether nothing is granted yet, because workers from before a restart may still have what is ready."""
        return bool(self.awaited) and self._may_be_held

    def instance(self, instance_id: InstanceId) -> Instance:
        """Give an instance that is in memory. Raises `UnknownInstance`; the journal may still know it."""
        instance = self.instances.get(instance_id)
        if instance is None:
            raise UnknownInstance(instance_id=instance_id)
        return instance

    def node(self, instance_id: InstanceId, node_id: NodeId) -> Node:
        """Give a node that is in memory. Raises `UnknownInstance` or `UnknownNode`."""
        node = self.instance(instance_id).nodes.get(node_id)
        if node is None:
            raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return node

    # -- what the journal knows ---------------------------------------------------------------------------------------

    def restore(self, snapshot: Snapshot, now: float) -> None:
        """Take over what a journal gave, once, before the first command.

        Where nodes are ready, nothing is granted until the workers that were connected are back, or the grace time has
        passed: what they still run must not be run a second time.
        """
        self._instance_seq = snapshot.instance_seq_last
        self._node_seq = snapshot.node_seq_last
        for stored in snapshot.instances:
            self.restore_instance(stored)
        self._end_backoffs(now)  # a worker may have such a node already, and must be able to keep it
        self.awaited = set(snapshot.workers)
        self.awaited_until = now + self.settings.reconnect_grace_s
        self._may_be_held = any(lane.ready for lane in self.queues.lanes.values())

    def restore_instance(self, stored: StoredInstance) -> None:
        """Take an instance back into memory, so that nodes can be added to it. A no-op when it is there."""
        if stored.id in self.instances:
            return
        instance = Instance(seq=stored.seq, id=stored.id, definition=stored.definition, created_at=stored.created_at)
        instance.state = stored.state
        instance.finished_at = stored.finished_at
        instance.cancelled = stored.state is InstanceState.CANCELLED
        by_seq: dict[int, Node] = {}
        for row in stored.nodes:
            by_seq[row.seq] = self._restore_node(row, instance, by_seq)
        for row in stored.nodes:
            by_seq[row.seq].promises = tuple(by_seq[seq] for seq in row.promise_seqs)
        for row in stored.nodes:
            self._relink_node(by_seq[row.seq], row, by_seq)
        self.instances[instance.id] = instance
        if not instance.live:
            self._touched[instance] = None  # unless the next command adds nodes it leaves memory, also when refused

    def _restore_node(self, row: StoredNode, instance: Instance, by_seq: dict[int, Node]) -> Node:
        node = Node(
            seq=row.seq,
            id=row.id,
            instance=instance,
            function=self._function(row.function),
            arguments=row.arguments,
            dependencies=tuple(by_seq[seq] for seq in row.dependency_seqs),
            parent_seq=row.parent_seq,
            created_at=row.created_at,
        )
        node.state = row.state
        node.finished_at = row.finished_at
        node.attempts = row.attempts
        node.losses = row.losses
        node.payload = row.payload
        node.failures = row.failures or None
        instance.nodes[node.id] = node
        instance.live += row.state not in TERMINAL
        instance.failed |= row.state in UNSUCCESSFUL
        return node

    def _relink_node(self, node: Node, row: StoredNode, by_seq: dict[int, Node]) -> None:
        """Restore what depends on other nodes, maybe younger ones, and put the node where it belongs."""
        if node.state is NodeState.COMPLETED and node.payload is None:
            _find_source(node)
        node.cause = by_seq.get(row.cause_seq)
        if node.state is NodeState.WAITING:
            self._wait_for(node, node.dependencies)
            if not node.missing:
                self._make_ready(node)
        elif node.state is NodeState.JOINING:
            self._wait_for(node, node.promises)
        elif node.state is NodeState.BACKOFF:
            node.function.lane.active += 1
            self._back_off(node, row.retry_at)

    # -- submitting ---------------------------------------------------------------------------------------------------

    def _submit_nodes(self, command: c.SubmitNodes, now: float) -> None:
        instance = self.instances.get(command.instance_id)
        is_new = instance is None
        if instance is None:
            instance = Instance(
                seq=self._instance_seq + 1, id=command.instance_id, definition=command.definition, created_at=now
            )
        calls = [call for call in command.calls if not self._is_repeated(instance, call)]
        nodes = self._build_nodes(instance, calls, parent=None, now=now)
        if is_new:
            self._instance_seq = instance.seq
            self.instances[instance.id] = instance
            self._events.append(e.InstanceCreated(instance=instance))
        elif nodes and instance.state is InstanceState.CANCELLED:
            raise InstanceEnded(instance_id=instance.id, state=instance.state, wanted="given further nodes")
        elif nodes and instance.state is not InstanceState.RUNNING:
            instance.state = InstanceState.RUNNING
            instance.finished_at = 0.0
            self._events.append(e.InstanceReopened(instance=instance))
        self._add_nodes(instance, nodes, now)
        self._touched[instance] = None

    @staticmethod
    def _is_repeated(instance: Instance, call: NewCall) -> bool:
        """Tell whether the instance has this very call already. Raises `ConflictingNode` where it has another one."""
        node = instance.nodes.get(call.node_id)
        if node is None:
            return False
        if (
            node.function.spec == call.function
            and node.arguments == call.arguments
            and tuple(dependency.id for dependency in node.dependencies) == tuple(call.dependency_ids)
        ):
            return True
        raise _conflict(node, call.function)

    def _build_nodes(
        self, instance: Instance, calls: Sequence[NewCall], *, parent: Node | None, now: float
    ) -> dict[NodeId, Node]:
        """Make nodes of calls, without adding them yet, so that a fault in one leaves no trace of the others.

        Calls made inside a node may depend only on each other and on what has ended, so that nothing that it waits for
        can wait for it.
        """
        existing = instance.nodes
        nodes: dict[NodeId, Node] = {}
        seq = self._node_seq
        parent_seq = parent.seq if parent else 0
        spec: FunctionSpec | None = None
        function: Function | None = None
        for node_id, call_spec, arguments, dependency_ids in calls:
            if node_id in nodes:
                raise DuplicateCall(node_id=node_id)
            if node_id in existing:
                raise _conflict(existing[node_id], call_spec)
            if call_spec is not spec or function is None:  # calls of one function usually come in a row
                spec = call_spec
                function = self._function(spec)
            dependencies: tuple[Node, ...] = ()
            if dependency_ids:
                found = [nodes.get(dependency_id) or existing.get(dependency_id) for dependency_id in dependency_ids]
                for dependency, dependency_id in zip(found, dependency_ids, strict=True):
                    if dependency is None or (
                        parent and dependency.id not in nodes and dependency.state not in TERMINAL
                    ):
                        raise UnknownDependency(node_id=node_id, dependency_id=dependency_id, function=spec.name)
                dependencies = tuple(cast(list[Node], found))
            seq += 1
            nodes[node_id] = Node(
                seq=seq,
                id=node_id,
                instance=instance,
                function=function,
                arguments=arguments,
                dependencies=dependencies,
                parent_seq=parent_seq,
                created_at=now,
            )
        return nodes

    def _add_nodes(self, instance: Instance, nodes: dict[NodeId, Node], now: float) -> None:
        if not nodes:
            return
        self._node_seq += len(nodes)
        instance.nodes.update(nodes)
        instance.live += len(nodes)
        self._events.append(e.NodesCreated(nodes=list(nodes.values())))
        for node in nodes.values():
            if node.dependencies:
                cause = self._wait_for(node, node.dependencies)
                if cause is not None:
                    self._fail_dependency(node, cause, now)
                    continue
                if node.missing:
                    continue
            self._make_ready(node)

    def _function(self, spec: FunctionSpec) -> Function:
        function = self._functions.get(spec)
        if function is None:
            function = self._functions[spec] = Function(
                spec,
                lane=self.queues.lane(spec),
                timing=self._timings.setdefault(spec.name, Timing()),
            )
        return function

    # -- results ------------------------------------------------------------------------------------------------------

    def _complete_nodes(self, command: c.CompleteNodes, now: float) -> None:
        worker = self._hear(command.worker_id, now)
        for node_id, token, payload, duration_s in command.completions:
            node = self._end_attempt(worker, node_id, token, duration_s, now)
            if node is not None:
                self._complete_plainly(node, payload, now)
        for result in command.results:
            node = self._end_attempt(worker, result.node_id, result.token, result.duration_s, now)
            if node is None:
                continue
            if result.failure is None:
                self._complete_node(node, worker, result, now)
            else:
                self._fail_attempt(node, worker, result.failure, now)

    def _end_attempt(self, worker: Worker, node_id: NodeId, token: int, duration_s: float, now: float) -> Node | None:
        """End the lease that a result names and give its node; None, and a refusal, where that lease is not live."""
        node = worker.leases.get(token)
        if node is None or node.id != node_id:
            self._refuse(worker, node_id, token)
            return None
        self._dispatcher.release(node, now)
        worker.overdue = False
        if 0 < duration_s < inf:  # no more, or less, is believed: it would spoil the estimate for good
            node.function.timing.observe(duration_s)
        return node

    def _refuse(self, worker: Worker, node_id: NodeId, presented: int) -> None:
        worker.stopping.discard(presented)
        held = next((token for token, node in worker.leases.items() if node.id == node_id), None)
        reason = f"the lease was renewed under token {held}" if held else "the worker holds no lease on the node"
        self._events.append(e.ResultRefused(worker_id=worker.id, node_id=node_id, presented=presented, reason=reason))

    def _complete_node(self, node: Node, worker: Worker, result: c.NodeResult, now: float) -> None:
        children: dict[NodeId, Node] = {}
        promises: tuple[Node, ...] = ()
        if result.children or result.promise_ids or result.alias_id is not None:
            try:
                children = self._build_nodes(node.instance, result.children, parent=node, now=now)
                promises = self._promised(node, result, children)
            except Refused as refusal:
                failure = Failure(type="InvalidExpansion", message=str(refusal), permanent=True)
                self._fail_attempt(node, worker, failure, now)
                return
            self._add_nodes(node.instance, children, now)
        if promises:
            self._join(node, (result.payload or b"") if result.alias_id is None else None, promises, now)
        else:
            self._complete_plainly(node, result.payload or b"", now)  # None would stand for an alias

    def _complete_plainly(self, node: Node, payload: bytes, now: float) -> None:
        """Complete a node whose value waits for nothing."""
        node.payload = payload
        self._events.append(e.NodeCompleted(node=node, payload=payload, at=now))
        node.function.lane.active -= 1
        self._complete(node, now)

    @staticmethod
    def _promised(node: Node, result: c.NodeResult, children: dict[NodeId, Node]) -> tuple[Node, ...]:
        ids = result.promise_ids if result.alias_id is None else (result.alias_id,)
        promises = []
        for promise_id in ids:
            promise = children.get(promise_id)
            if promise is None:
                promise = node.instance.nodes.get(promise_id)
                if promise is None or promise.state not in TERMINAL:
                    raise UnknownDependency(
                        node_id=node.id, dependency_id=promise_id, function=f"result of {node.function.spec.name}"
                    )
            promises.append(promise)
        return tuple(promises)

    def _join(self, node: Node, payload: bytes | None, promises: tuple[Node, ...], now: float) -> None:
        node.payload = payload
        node.promises = promises
        node.move(NodeState.JOINING)
        node.function.lane.active -= 1
        self._events.append(e.NodeJoining(node=node, payload=payload, promises=promises))
        cause = self._wait_for(node, promises)
        if cause is not None:
            self._fail_dependency(node, cause, now)
        elif not node.missing:
            self._finish_join(node, now)
            self._complete(node, now)

    def _finish_join(self, node: Node, now: float) -> None:
        if node.payload is None:
            promise = node.promises[0]
            node.source = promise.source or promise
        self._events.append(e.NodeCompleted(node=node, payload=None, at=now))

    def _wait_for(self, node: Node, others: Iterable[Node]) -> Node | None:
        """Let `node` wait for those that have not completed; give the root cause if one of them never will."""
        missing = 0
        for other in others:
            state = other.state
            if state is NodeState.COMPLETED:
                continue
            if state in UNSUCCESSFUL:
                return other.cause or other
            missing += 1
            if other.dependents is None:
                other.dependents = [node]
            else:
                other.dependents.append(node)
        node.missing = missing
        return None

    def _complete(self, node: Node, now: float) -> None:
        """Complete a node, and whoever joins on it, and make ready what waited for them. Iterative: chains are long."""
        done = [node]
        while done:
            node = done.pop()
            node.move(NodeState.COMPLETED)
            self._end(node, now)
            dependents, node.dependents = node.dependents, None
            for dependent in dependents or ():
                dependent.missing -= 1
                if dependent.missing:
                    continue
                if dependent.state is NodeState.WAITING:
                    self._make_ready(dependent)
                elif dependent.state is NodeState.JOINING:
                    self._finish_join(dependent, now)
                    done.append(dependent)

    def _make_ready(self, node: Node) -> None:
        node.move(NodeState.READY)
        node.function.lane.active += 1
        self.queues.push(node)

    def _end(self, node: Node, now: float) -> None:
        """Note that a node has become terminal."""
        node.finished_at = now
        instance = node.instance
        instance.live -= 1
        if not instance.live:
            self._touched[instance] = None

    def _finish_instances(self, now: float) -> None:
        for instance in self._touched:
            is_empty = not instance.nodes and not instance.cancelled
            if instance.live or is_empty or instance.id not in self.instances:
                continue
            del self.instances[instance.id]
            if instance.state is InstanceState.RUNNING:
                instance.state = _end_state(instance)
                instance.finished_at = now
                self._events.append(e.InstanceFinished(instance=instance, state=instance.state, at=now))
        self._touched = {}

    # -- failures -----------------------------------------------------------------------------------------------------

    def _fail_attempt(self, node: Node, worker: Worker, failure: Failure, now: float) -> None:
        """Take a failed attempt of a node that is leased: back off, or fail for good."""
        node.attempts += 1
        attempt = FailedAttempt(node.attempts, worker.name, now, failure)
        _remember(node, attempt)
        policy = node.function.spec.retry
        if failure.permanent or node.attempts >= policy.max_attempts:
            self._events.append(e.AttemptFailed(node=node, attempt=attempt, retry_at=None))
            self._fail(node, now)
            return
        retry_at = now + policy.delay_s(node.attempts, self._rng)
        self._events.append(e.AttemptFailed(node=node, attempt=attempt, retry_at=retry_at))
        node.move(NodeState.BACKOFF)
        self._back_off(node, retry_at)

    def _back_off(self, node: Node, retry_at: float) -> None:
        node.retry_at = retry_at
        heappush(self._backoffs, (retry_at, node.seq, node))

    def _fail(self, node: Node, now: float) -> None:
        """Fail a leased node for good, and with it whatever waits for it."""
        node.move(NodeState.FAILED)
        node.function.lane.active -= 1
        node.cause = node
        node.instance.failed = True
        self._events.append(e.NodeFailed(node=node, at=now))
        self._end(node, now)
        self._fail_dependents(node, now)

    def _fail_dependency(self, node: Node, cause: Node, now: float) -> None:
        """Fail a waiting or joining node because of another, and with it whatever waits for it."""
        self._mark_dependency_failed(node, cause, now)
        self._fail_dependents(node, now)

    def _fail_dependents(self, node: Node, now: float) -> None:
        cause = node.cause or node
        failed = [node]
        while failed:
            node = failed.pop()
            dependents, node.dependents = node.dependents, None
            for dependent in dependents or ():
                if dependent.state not in TERMINAL:  # it may wait for two that have failed
                    self._mark_dependency_failed(dependent, cause, now)
                    failed.append(dependent)

    def _mark_dependency_failed(self, node: Node, cause: Node, now: float) -> None:
        node.move(NodeState.DEPENDENCY_FAILED)
        node.cause = cause
        node.instance.failed = True
        self._events.append(e.DependencyFailed(node=node, cause=cause, at=now))
        self._end(node, now)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def _cancel_instance(self, command: c.CancelInstance, now: float) -> None:
        instance = self.instance(command.instance_id)
        if instance.state is not InstanceState.RUNNING:
            raise InstanceEnded(instance_id=instance.id, state=instance.state, wanted="cancelled")
        instance.cancelled = True
        nodes = [node for node in instance.nodes.values() if node.state not in TERMINAL]
        revoked: dict[Worker, list[tuple[Node, int]]] = {}
        for node in nodes:
            if node.state is NodeState.LEASED and node.worker is not None:
                revoked.setdefault(node.worker, []).append((node, node.token))
                self._dispatcher.revoke(node, node.worker, now)
            elif node.state is NodeState.READY:
                node.function.lane.ready -= 1
            if node.state in ACTIVE:
                node.function.lane.active -= 1
            node.move(NodeState.CANCELLED)
            node.dependents = None
            node.cause = node
            self._end(node, now)
        if nodes:
            instance.failed = True
            self._events.append(e.NodesCancelled(nodes=nodes, at=now))
        self._events.extend(e.LeasesRevoked(worker=worker, leases=leases) for worker, leases in revoked.items())
        self._touched[instance] = None

    def _time_out(self, node: Node, token: int, now: float) -> None:
        """End an attempt that takes too long, if it is still the one that was leased under this token."""
        worker = node.worker
        if worker is None or node.token != token:
            return
        self._dispatcher.revoke(node, worker, now)
        self._events.append(e.LeasesRevoked(worker=worker, leases=[(node, token)]))
        message = f"the attempt took longer than the timeout of {node.function.spec.timeout_s:g} s"
        self._fail_attempt(node, worker, Failure(type="TimeoutError", message=message), now)

    # -- workers ------------------------------------------------------------------------------------------------------

    def _worker(self, worker_id: WorkerId) -> Worker:
        worker = self.workers.get(worker_id)
        if worker is None:
            raise UnknownWorker(worker_id=worker_id)
        return worker

    def _hear(self, worker_id: WorkerId, now: float) -> Worker:
        """Give a worker and note that it lives."""
        worker = self._worker(worker_id)
        worker.expires_at = now + worker.lease_duration_s
        return worker

    def _connect_worker(self, command: c.ConnectWorker, now: float) -> None:
        settings = self.settings
        lease_duration_s = settings.lease_duration_s if command.slots else settings.pull_lease_duration_s
        view = self.queues.view(Filter(command.include_queues, command.exclude_queues, command.tolerations))
        worker = Worker(
            id=command.worker_id,
            name=command.name,
            view=view,
            slots=command.slots,
            lease_duration_s=lease_duration_s,
            expires_at=now + lease_duration_s,
            exit_when_drained=command.exit_when_drained,
        )
        earlier = self.workers.pop(worker.id, None)
        if earlier is not None:
            # The new connection came before the end of the old one was seen. What it still holds it keeps below.
            self._take_back_all(earlier, now)
            self.queues.leave(earlier)
            view = worker.view = self.queues.view(view.filter)  # the earlier one may have been the view's last
        elif worker.slots and worker.id not in self.awaited:
            self._events.append(e.WorkerJoined(worker_id=worker.id, name=worker.name, at=now))
        self.workers[worker.id] = worker
        self.queues.enter(worker)
        self.awaited.discard(worker.id)
        self._expiry_check_at = min(worker.expires_at, self._expiry_check_at or inf)
        leases = [lease for held in command.held if (lease := self._keep(worker, held, now)) is not None]
        self._events.append(e.WorkerWelcomed(worker=worker, leases=leases))

    def _keep(self, worker: Worker, held: c.HeldLease, now: float) -> tuple[Node, int] | None:
        """Lease a node again to the worker that still has it, unless somebody else got it or it has ended."""
        instance = self.instances.get(held.instance_id) if held.instance_id else None
        node = instance.nodes.get(held.node_id) if instance else None
        if node is None or node.state is not NodeState.READY:
            return None
        if node.losses and node.failures and node.failures[-1].worker == worker.name:
            node.losses -= 1  # the connection was lost, not the worker: the node is not to blame
        return node, self._dispatcher.lease(node, worker, now)

    def _disconnect_worker(self, command: c.DisconnectWorker, now: float) -> None:
        worker = self.workers.get(command.worker_id)
        if worker is not None:
            self._remove(worker, None if command.left else "the connection to the worker broke", now)

    def _remove(self, worker: Worker, reason: str | None, now: float) -> None:
        """Let a worker go; with a reason, it was lost with what it held."""
        del self.workers[worker.id]
        self.queues.leave(worker)
        if reason is None:
            self._take_back_all(worker, now)
        else:
            for node in list(worker.leases.values()):
                self._lose(node, worker, reason, now)
        if worker.slots:
            self._events.append(e.WorkerLeft(worker_id=worker.id))

    def _take_back_all(self, worker: Worker, now: float) -> None:
        for node in list(worker.leases.values()):
            self._take_back(node, now)

    def _take_back(self, node: Node, now: float) -> None:
        self._dispatcher.release(node, now)
        node.move(NodeState.READY)
        self.queues.push(node)

    def _lose(self, node: Node, worker: Worker, reason: str, now: float) -> None:
        """End the lease of a lost worker. A node that many workers were lost with is not tried on yet another."""
        self._dispatcher.release(node, now)
        node.losses += 1
        failure = Failure(type="WorkerLost", message=f"worker {worker.name} was lost while it held the node: {reason}")
        attempt = FailedAttempt(node.attempts + 1, worker.name, now, failure)
        _remember(node, attempt)
        self._events.append(e.LeaseLost(node=node, attempt=attempt, losses=node.losses))
        if node.losses < self.settings.deliveries_max:
            node.move(NodeState.READY)
            self.queues.push(node)
            return
        lost_with = ", ".join(failed.worker for failed in node.failures or () if failed.failure.type == "WorkerLost")
        quarantine = Failure(
            type="Quarantined",
            message=f"{node.losses} workers were lost while they held this node ({lost_with}), so it is not tried "
            "again; look for what kills a process in it: memory, a crash in native code, os._exit",
            permanent=True,
        )
        self._fail_attempt(node, worker, quarantine, now)

    def _heartbeat(self, command: c.Heartbeat, now: float) -> None:
        self._hear(command.worker_id, now)

    def _drain_worker(self, command: c.DrainWorker, now: float) -> None:
        self._worker(command.worker_id).draining = True

    def _hand_back(self, command: c.HandBack, now: float) -> None:
        worker = self._hear(command.worker_id, now)
        for held in command.leases:
            worker.stopping.discard(held.token)
            node = worker.leases.get(held.token)
            if node is not None and node.id == held.node_id:
                self._take_back(node, now)

    def _reject_version(self, command: c.RejectVersion, now: float) -> None:
        worker = self._worker(command.worker_id)
        node = worker.leases.get(command.lease.token)
        if node is None or node.id != command.lease.node_id:
            return
        self._take_back(node, now)
        spec = node.function.spec
        worker.versions[spec.name] = command.code_version
        filter = worker.view.filter
        self.queues.leave(worker)
        worker.view = self.queues.view(filter._replace(unfit=filter.unfit | {(spec.name, spec.code_version)}))
        self.queues.enter(worker)

    # -- granting and time --------------------------------------------------------------------------------------------

    def _pull_node(self, command: c.PullNode, now: float) -> None:
        worker = self._hear(command.worker_id, now)
        if not self.is_recovering:
            self._events.extend(self._dispatcher.pull(worker, now))

    def _grant_work(self, command: c.GrantWork, now: float) -> None:
        if not self.is_recovering:
            self._events.extend(self._dispatcher.grant(now))
            self._events.extend(self._dispatcher.drained())

    def _tick(self, command: c.Tick, now: float) -> None:
        self._end_backoffs(now)
        for node, token in self._dispatcher.overrun(now):
            self._time_out(node, token, now)
        if command.late_s > _AWAY_PART * self.settings.lease_duration_s:
            self._forgive_silence(now)
        if self._expiry_check_at is not None and self._expiry_check_at <= now:
            self._evict_silent(now)
        if self.awaited and self.awaited_until <= now:
            self._events.extend(e.WorkerLeft(worker_id=worker_id) for worker_id in self.awaited)
            self.awaited = set()
        self._events.extend(self._dispatcher.recall(now))

    def _end_backoffs(self, now: float) -> None:
        while self._backoffs and self._backoffs[0][0] <= now:
            node = heappop(self._backoffs)[2]
            if node.state is NodeState.BACKOFF:
                node.move(NodeState.READY)
                self.queues.push(node)

    def _forgive_silence(self, now: float) -> None:
        """Give everybody as much time as if all had been heard of now: what they sent meanwhile is still unread."""
        for worker in self.workers.values():
            worker.expires_at = now + worker.lease_duration_s
        self._expiry_check_at = min((worker.expires_at for worker in self.workers.values()), default=None)
        self.awaited_until = now + self.settings.reconnect_grace_s

    def _evict_silent(self, now: float) -> None:
        for worker in [worker for worker in self.workers.values() if worker.expires_at <= now]:
            self._events.append(e.WorkerEvicted(worker=worker))
            self._remove(worker, f"no heartbeat for {worker.lease_duration_s:g} s", now)
        self._expiry_check_at = min((worker.expires_at for worker in self.workers.values()), default=None)


def _end_state(instance: Instance) -> InstanceState:
    if instance.cancelled:
        return InstanceState.CANCELLED
    return InstanceState.FAILED if instance.failed else InstanceState.COMPLETED


def _conflict(node: Node, spec: FunctionSpec) -> ConflictingNode:
    return ConflictingNode(
        instance_id=node.instance.id,
        node_id=node.id,
        function=spec.name,
        existing_function=node.function.spec.name,
    )


def _remember(node: Node, attempt: FailedAttempt) -> None:
    if node.failures is None:
        node.failures = [attempt]
    else:
        node.failures.append(attempt)


def _find_source(node: Node) -> None:
    """Note the node that the value of a completed alias comes from, there and at every alias on the way to it."""
    aliases: list[Node] = []
    while node.source is None and node.payload is None and node.promises:
        aliases.append(node)
        node = node.promises[0]
    source = node.source or node
    for alias in aliases:
        alias.source = source
