"""The graph: instances, nodes, the waiting between them, and what follows when a node ends.

A call depends only on nodes that are older, so nothing waits in a circle (decision 0007). Each node keeps a count of
the nodes that it misses, and each node that has not ended keeps a list of its dependents: when a node ends, the count
of each dependent goes down, and a node that misses nothing goes on. So the cost of an end is the number of its
dependents, whatever else waits.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple
from weakref import WeakValueDictionary

from dagorama_broker.core import events as e
from dagorama_broker.core.containers.caches import Cache
from dagorama_broker.core.containers.timers import Timers
from dagorama_broker.core.errors import UnknownInstance, UnknownNode
from dagorama_broker.core.graph.bounds import Bounds
from dagorama_broker.core.graph.digests import Comparison
from dagorama_broker.core.model.entities import Function, Instance, Limit, Node, Timing, Worker, end_all
from dagorama_broker.core.model.keeping import LivedClock, kept_until
from dagorama_broker.core.model.references import SIZE_END
from dagorama_broker.core.model.states import (
    ACTIVE,
    COMPLETED,
    READY,
    TERMINAL,
    UNSUCCESSFUL,
    WAITING,
    InstanceState,
    NodeState,
)
from dagorama_broker.core.model.values import FailedAttempt, Failure, FunctionSpec, InstanceId, LimitWord, NodeId
from dagorama_broker.core.ready.limits import Limits
from dagorama_broker.core.ready.queues import ReadyQueues

#: So long an instance may be without any call. Then it is complete; a call that comes later lets it run again.
EMPTY_MAX_S = 3600.0

#: What a timing takes beside its name, and all of them together: enough for about 5,000 functions.
_TIMING_BYTES = 400
_TIMINGS_BYTES_MAX = 2 << 20

#: So many nodes are let go with the command that ends their instance: that takes about a millisecond.
_SWEPT_MAX = 2_000


class _Leaving(NamedTuple):
    """The nodes of an instance that has ended."""

    nodes: dict[NodeId, Node]
    is_tied: bool  #: whether some may refer to each other in circles, which are to be broken


class Graph:
    """Hold the instances and nodes that are in memory."""

    def __init__(self, queues: ReadyQueues, limits: Limits, bounds: Bounds, events: list[e.Event]) -> None:
        """Add what is decided to `events`, as each part of the core does."""
        self.bounds = bounds
        self.events = events
        self.instances: dict[InstanceId, Instance] = {}
        self.started: dict[str, Instance] = {}  #: of these, the ones that have a key, by key
        self.instance_seq = 0  #: the last one given
        self.node_seq = 0
        self.touched: dict[Instance, None] = {}  #: instances whose last live node may have ended in this command
        self.partial: set[InstanceId] = set()  #: instances that are not `whole`
        self.comparisons: dict[Instance, Comparison] = {}  #: of values with those of before, where nodes were run again
        self.backlog: deque[Node] = deque()  #: nodes that wait for nothing any more, and are still to be made ready
        self.stopped: deque[Node] = deque()  #: nodes that were ready when they were cancelled, and are still in queues
        self.ended: list[Node] = []  #: nodes that have ended, in whose `dependents` are some that are still to be told
        self.overdue: deque[Node] = deque()  #: ready nodes and such that back off, of which the deadline has passed
        self.hooked: list[Instance] = []  #: instances that have ended in this command, and have hooks
        self.untold: Counter[InstanceId] = Counter()  #: ended instances with hooks that have not run, by how many ends
        self.next_due_s = inf  #: the first lived time at which the option of an instance is over that has ended lately
        self.leaving: list[_Leaving] = []  #: what is left of instances that have ended, see `sweep`
        self.doomed: deque[tuple[Node, Node]] = deque()  #: nodes that begin anew in vain, each with the cause
        self._room = 0  #: so many nodes may still follow from the current command
        self.limits = limits
        self.backoffs: Timers[Node] = Timers()  #: when the next attempts of nodes are due
        #: Of those, the nodes that are soon quarantined, with the last of the workers that were lost with them.
        self.accused: dict[Node, Worker] = {}
        self.deadline_timers: Timers[Instance] = Timers()
        self.lived = LivedClock()
        self.unclaimed: list[Node] = []  #: restored in state started; for `Fleet.await_workers`
        self.queues = queues
        self._functions: WeakValueDictionary[tuple[FunctionSpec, str, frozenset[str]], Function] = WeakValueDictionary()
        #: Kept after the last node of a function, as its next one is likely to take as long.
        self._timings: Cache[str, Timing] = Cache(_TIMINGS_BYTES_MAX)

    def begin(self) -> None:
        """Begin a command, from which only so much may follow at once."""
        self._room = self.queues.at_once

    @property
    def is_behind(self) -> bool:
        """Return whether some node is still to be made ready, to end or to leave its queue."""
        return bool(self.ended or self.backlog or self.stopped or self.overdue or self.doomed)

    def instance(self, instance_id: InstanceId) -> Instance:
        """Return an instance that is in memory. Raises `UnknownInstance`; the journal may still know it."""
        instance = self.instances.get(instance_id)
        if instance is None:
            raise UnknownInstance(instance_id=instance_id)
        return instance

    def node(self, instance_id: InstanceId, node_id: NodeId) -> Node:
        """Return a node that is in memory. Raises `UnknownInstance` or `UnknownNode`."""
        node = self.instance(instance_id).nodes.get(node_id)
        if node is None:
            raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return node

    def hold(self, instance: Instance) -> None:
        """Take an instance into memory."""
        if instance.tells_of is not None and instance.id not in self.instances:
            self.untold[instance.tells_of] += 1
        self.instances[instance.id] = instance
        if instance.start is not None:
            self.started[instance.start.key] = instance

    def function(self, spec: FunctionSpec, group: str, needs: frozenset[str] = frozenset()) -> Function:
        """Return a function as the core knows it: one for equal specs in a group of instances, but for nodes' needs."""
        function = self._functions.get((spec, group, needs))
        if function is None:
            function = self._functions[spec, group, needs] = Function(
                spec,
                lane=self.queues.lane(spec, group, needs),
                timing=self._timing(spec.name),
            )
        return function

    def _timing(self, name: str) -> Timing:
        timing = self._timings.get(name)
        if timing is None:
            timing = Timing()
            self._timings.put(name, timing, len(name) + _TIMING_BYTES)
        return timing

    def limits_of_call(self, spec: FunctionSpec, keys: Sequence[str]) -> tuple[Limit, ...]:
        """Return the limits that a call with these keys is subject to."""
        return tuple(self.limits.limit(key, limit) for key, limit in zip(keys, spec.limits, strict=True))

    def watch_deadline(self, instance: Instance, now: float) -> None:
        """Note when to look at a running instance: at its deadline, or when no call has been made in it for long."""
        until = instance.deadline_at or inf
        if not instance.nodes:
            until = min(until, now + EMPTY_MAX_S)
        if until < inf:
            self.deadline_timers.set(instance, until)

    # -- growing ------------------------------------------------------------------------------------------------------

    def add_nodes(
        self,
        instance: Instance,
        nodes: dict[NodeId, Node],
        now: float,
        labels: Sequence[str] = (),
        inputs: Sequence[str] = (),
    ) -> None:
        """Add nodes that have been built, with their texts, to their instance. One that waits for nothing is ready."""
        if not nodes:
            return
        self.node_seq += len(nodes)
        instance.nodes.update(nodes)
        instance.live += len(nodes)
        instance.counts[WAITING] += len(nodes)
        self.events.append(e.NodesCreated(nodes=list(nodes.values()), labels=labels, inputs=inputs))
        for node in nodes.values():
            if node.limits:
                for limit in self.limits.respecify(node, now):
                    self.events.append(e.LimitChanged(key=limit.key, word=LimitWord(node.seq, limit.spec)))
            if node.dependencies:
                cause = self.wait_for(node, node.dependencies)
                if cause is not None:
                    self.fail_dependency(node, cause, now)
                    continue
                if node.missing:
                    continue
            self.make_ready(node, now)

    def wait_for(self, node: Node, others: Iterable[Node]) -> Node | None:
        """Let `node` wait for the nodes that have not completed; return the root cause if one of them never will."""
        # Two sides of one count: a node stands in `dependents` of another as often as it counts that in `missing`. One
        # for which a cause is found may stand in some already; they pass over it, since it has ended by then.
        missing = 0
        for other in others:
            state = other.state
            if state is COMPLETED:
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

    def make_ready(self, node: Node, now: float) -> None:
        """Let a node that waits for nothing any more be granted; it may wait for that from `now` on."""
        # Active from here until it joins or ends. Lanes count that, to tell when no work for their workers is left.
        node.function.lane.active += 1
        self.enqueue(node, now)

    def need(self, node: Node, name: str) -> None:
        """Note that a leased node needs what some worker lacks. It keeps its place, in a lane for nodes that do."""
        function = node.function
        needs = function.lane.needs | {name}
        node.function = self.function(function.spec, node.instance.group, needs)
        function.lane.active -= 1
        node.function.lane.active += 1

    def make_all_ready(self, nodes: Sequence[Node], now: float) -> None:
        """Let nodes be granted that wait for nothing any more; of many, the first at once and others bit by bit."""
        for node in nodes[: self.queues.at_once]:
            if node.state is WAITING:
                self.make_ready(node, now)
        self.backlog.extend(nodes[self.queues.at_once :])

    def work_off(self, now: float) -> None:
        """Make ready so many of the nodes that are still to be made ready."""
        for _ in range(min(self.queues.at_once, len(self.backlog))):
            node = self.backlog.popleft()
            if node.state is WAITING:
                self.make_ready(node, now)

    def enqueue(self, node: Node, now: float) -> None:
        """Let an active node be granted, maybe again."""
        node.move(READY)
        node.ready_at = now
        self.queues.push(node)
        start_timeout_s = node.function.spec.start_timeout_s
        if start_timeout_s:
            self.queues.start_timers.set(node, now + start_timeout_s)
        if node.instance.halted:
            self.overdue.append(node)

    # -- ending -------------------------------------------------------------------------------------------------------

    def complete(self, node: Node, now: float) -> None:
        """Complete a node."""
        node.move(COMPLETED)
        if self.comparisons:
            self._compare(node)
        self.end(node, now)

    def _compare(self, node: Node) -> None:
        """Note how a new value compares, here and now, where all that it refers to is in memory."""
        comparison = self.comparisons.get(node.instance)
        change = comparison.compare(node) if comparison is not None else None
        if change is not None:
            self.events.append(e.ValueCompared(node=node, change=change))

    def complete_join(self, node: Node, now: float) -> None:
        """Complete a joining node with the values that have completed."""
        if node.payload is None:
            promise = node.promises[0]
            node.source = promise.source or promise
        self.events.append(
            e.NodeCompleted(node=node, payload=None, at=now, source_seq=node.source.seq if node.source else 0)
        )
        self.complete(node, now)

    def tell_dependents(self, now: float) -> None:
        """Tell so many of the nodes that wait for ended nodes; where there are very many, others are left for later.

        Until then they wait, and are never ready: a node that has not been told of a dependency still misses it.
        Iterative: chains are long.
        """
        ended = self.ended  # a stack: of a long chain it has one link at a time
        while ended and self._room > 0:
            node = ended.pop()
            dependents, node.dependents = node.dependents or [], None
            if len(dependents) > self._room:
                dependents, node.dependents = dependents[: self._room], dependents[self._room :]
            self._room -= len(dependents)
            if node.state is COMPLETED:
                for dependent in dependents:
                    dependent.missing -= 1
                    if not dependent.missing:
                        self._go_on(dependent, now)
            else:
                for dependent in dependents:
                    if dependent.state not in TERMINAL:  # it may wait for two that have failed
                        self.fail_dependency(dependent, node.cause or node, now)
            if node.dependents is not None:
                ended.append(node)  # last: what is left of it comes before what follows from others

    def _go_on(self, node: Node, now: float) -> None:
        """Bring a node forward that misses nothing any more, unless it has ended."""
        if node.state is WAITING:
            self.make_ready(node, now)
        elif node.state is NodeState.JOINING:
            self.complete_join(node, now)

    def give_up(self, node: Node, attempt: FailedAttempt, now: float) -> None:
        """Fail an active node for good: `attempt` was its last, or says why there was none."""
        remember(node, attempt)
        self.events.append(e.AttemptFailed(node=node, attempt=attempt, retry_at=None))
        self.withdraw(node, now)
        node.move(NodeState.FAILED)
        node.instance.failed = True
        if node.instance.hooks and node.instance.blamed is None:
            node.instance.blamed = node
        self.events.append(e.NodeFailed(node=node, at=now))
        self.end(node, now)
        self.tell_dependents(now)  # at once: they fail because of this node, whatever else the command fails

    def withdraw(self, node: Node, now: float) -> None:
        """Take an active node, which the caller ends, out of its queue or its timer."""
        if node.state is READY:
            self._leave_queue(node, now)
            return
        if node.state is NodeState.BACKOFF:
            self.absolve(node)
        node.function.lane.active -= 1

    def _leave_queue(self, node: Node, now: float) -> None:
        self.queues.withdraw(node, now)
        self.queues.start_timers.discard(node)
        node.function.lane.active -= 1

    def back_off(self, node: Node, retry_at: float) -> None:
        """Let a node wait for its next attempt."""
        node.retry_at = retry_at
        self.backoffs.set(node, retry_at)

    def absolve(self, node: Node) -> None:
        """Forget when a node's backoff is over, or the time until the verdict on it."""
        self.backoffs.discard(node)
        self.accused.pop(node, None)

    def cancel(self, instance: Instance, nodes: Sequence[Node], now: float) -> None:
        """Stop these nodes, all that are live in an instance.

        All see them as cancelled at once. The ready ones leave their queues bit by bit: that takes longest, and nothing
        of a cancelled instance is granted meanwhile.
        """
        # Before `end_all`: where a node has to be taken from depends on the state that it takes away.
        ready, others = READY, ACTIVE - {READY}
        self.stopped.extend([node for node in nodes if node.state is ready])
        for node in [node for node in nodes if node.state in others]:
            self.withdraw(node, now)
        end_all(instance, nodes, NodeState.CANCELLED, now)
        self.touched[instance] = None
        self.clear_stopped(now)

    def clear_stopped(self, now: float) -> None:
        """Take so many of the nodes out of their queues that were ready when they were cancelled."""
        for _ in range(min(self.queues.at_once, len(self.stopped))):
            self._leave_queue(self.stopped.popleft(), now)

    def fail_dependency(self, node: Node, cause: Node, now: float) -> None:
        """Fail a waiting or joining node because of another."""
        node.move(NodeState.DEPENDENCY_FAILED)
        node.cause = cause
        node.instance.failed = True
        self.events.append(e.DependencyFailed(node=node, cause=cause, at=now))
        self.end(node, now)

    def fail_doomed(self, now: float) -> None:
        """Fail so many of the nodes that begin anew in vain."""
        for _ in range(min(self.queues.at_once, len(self.doomed))):
            node, cause = self.doomed.popleft()
            if node.state not in TERMINAL:  # else one before it could not begin, or all were cancelled
                self.fail_dependency(node, cause, now)

    def tell_again(self, node: Node, others: Sequence[Node]) -> None:
        """Tell a restored node again of one that has ended: the broker ended before all such nodes had been told.

        Among `others`, for which it waits, one is without a value, or all have completed.
        """
        other = next((other for other in others if other.state in UNSUCCESSFUL), others[-1])
        node.missing = max(1, sum(one.state is not COMPLETED for one in others))
        if other.dependents is None:
            other.dependents = []
            self.ended.append(other)
        other.dependents.append(node)

    def end(self, node: Node, now: float) -> None:
        """Note that a node has become terminal. Its dependents are told no later than when the command is through."""
        node.finished_at = now
        if node.dependents is not None:
            self.ended.append(node)
        instance = node.instance
        instance.live -= 1
        if not instance.live:
            self.touched[instance] = None

    def finish_instances(self, now: float) -> None:
        """Forget the instances that have come to their end in this command."""
        for instance in self.touched:
            is_running = instance.state is InstanceState.RUNNING
            # Its first call may be on its way; `watch_deadline` sees to it if none comes.
            is_unused = is_running and not instance.nodes and not instance.cancelled
            if not instance.live and not is_unused and instance.id in self.instances:
                self.finish(instance, now)
        self.touched = {}
        self.sweep()

    def let_go(self, instance: Instance, *, is_tied: bool) -> None:
        """Let go of the nodes of an instance bit by bit; `is_tied` where some may refer to each other in circles."""
        self.leaving.append(_Leaving(instance.nodes, is_tied))
        instance.nodes = {}
        self.comparisons.pop(instance, None)

    def sweep(self, count: int = _SWEPT_MAX) -> None:
        """Let go of so many nodes of instances that have ended.

        To free hundreds of thousands takes longer than others can wait, so the caller sweeps in slices what
        `finish_instances` leaves over. Nodes that have other things to come are dealt with first: the last reference to
        a node may be the last one to all that it depends on.
        """
        while self.leaving and count > 0 and not (self.is_behind or self.queues.moving):
            nodes, is_tied = self.leaving[-1]
            if is_tied or len(nodes) > count:
                swept = min(count, len(nodes))
                for _ in range(swept):
                    _, node = nodes.popitem()  # the youngest first, which refer to older ones
                    node.dependents = None
                    if is_tied and node.state is not COMPLETED:
                        node.promises = ()  # one of them may depend on this node
                count -= swept
                if nodes:
                    return
            else:
                count -= len(nodes)
            self.leaving.pop()

    def finish(self, instance: Instance, now: float) -> None:
        """Forget an instance in which nothing is live."""
        del self.instances[instance.id]
        if instance.start is not None:
            del self.started[instance.start.key]
        if instance.tells_of is not None:
            self.untold[instance.tells_of] -= 1
            if not self.untold[instance.tells_of]:
                del self.untold[instance.tells_of]
        self.deadline_timers.discard(instance)
        self.partial.discard(instance.id)
        if instance.state is InstanceState.RUNNING:
            instance.state = _end_state(instance)
            instance.finished_at = now
            counts = {state: count for state, count in instance.counts.items() if count}
            if instance.hooks:
                instance.ends += 1
                self.hooked.append(instance)
            lived_s = self.lived.at(now)
            until_s = kept_until(instance.keep, instance.state, lived_s)
            if until_s is not None:
                self.next_due_s = min(self.next_due_s, until_s)
            self.events.append(
                e.InstanceFinished(
                    instance=instance,
                    state=instance.state,
                    at=now,
                    counts=counts,
                    ends=instance.ends,
                    lived_s=lived_s,
                    kept_until=until_s,
                    held_bytes=min(instance.held_bytes, SIZE_END - 1),
                )
            )
        else:
            instance.blamed = None  # it was brought back for nothing
        self.let_go(instance, is_tied=instance.failed)


def cut_short(node: Node, worker_name: str, failure: Failure, now: float) -> FailedAttempt:
    """Count an attempt, under way until now, that has ended without a word from its worker, and return it."""
    node.tries += 1
    granted_at = node.leased_at
    duration_s = max(0.0, now - granted_at) if granted_at else 0.0
    return FailedAttempt(node.tries, worker_name, now, failure, granted_at=granted_at, duration_s=duration_s)


def remember(node: Node, attempt: FailedAttempt) -> None:
    """Keep an attempt that gave no value."""
    if node.failures is None:
        node.failures = [attempt]
    else:
        node.failures.append(attempt)


def _end_state(instance: Instance) -> InstanceState:
    if instance.cancelled:
        return InstanceState.CANCELLED
    return InstanceState.FAILED if instance.failed else InstanceState.COMPLETED
