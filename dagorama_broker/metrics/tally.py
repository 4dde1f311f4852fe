"""Events, counted batch by batch once they are durable: the one place where a broker counts.

It costs well under a microsecond for each event. Names are bounded: see `Labels`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from dagorama.metrics.counting import MOMENTS_S, SPANS_S, Histogram
from dagorama.metrics.labels import Labels
from dagorama.metrics.measures import Readings
from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import CUT_OFF, QUARANTINED, SILENT, FailedAttempt, Run, measure
from dagorama_broker.metrics import catalog as m

#: A time that was told below this is taken as it is.
_TOLD_S = 3600.0


class _OfFunction:
    """The attempts of a function, or of all that have no series of their own."""

    __slots__ = ("cancelled", "completed", "failed", "lost", "run_time")

    def __init__(self) -> None:
        self.run_time = Histogram(SPANS_S)
        self.completed = self.failed = self.lost = self.cancelled = 0


class Tally:
    """The counters of a broker, from its start. Used on its event loop."""

    def __init__(self, queues: Labels) -> None:
        """Label queues as others do who tell of them."""
        self._queue_labels = queues
        self._function_labels = Labels(m.FUNCTIONS_MAX)
        self._functions: defaultdict[str, _OfFunction] = defaultdict(_OfFunction)  #: by label
        self._known: dict[str, _OfFunction] = {}  #: by name, those that have labels of their own
        self._completed = self._value_bytes = 0
        self._latencies: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SPANS_S))  #: by label
        self._counts: defaultdict[str, int] = defaultdict(int)  #: by name, of counters that have no labels
        self._nodes_ended: defaultdict[str, int] = defaultdict(int)
        self._instances_ended: defaultdict[str, int] = defaultdict(int)
        self._leases_lost: defaultdict[str, int] = defaultdict(int)
        self._commits, self._syncs, self.lag = Histogram(MOMENTS_S), Histogram(MOMENTS_S), Histogram(MOMENTS_S)
        self._takers: dict[type[e.Event], Callable[[Any], None]] = {
            e.InstanceCreated: lambda event: self._count(m.INSTANCES_CREATED.name),
            e.InstanceFinished: self._instance_finished,
            e.NodesCreated: self._nodes_created,
            e.NodeCompleted: self._node_completed,
            e.NodeJoining: lambda event: self._ran(event.node, event.run, event.payload),
            e.AttemptFailed: lambda event: self._attempt_failed(event.node, event.attempt),
            e.LeaseLost: self._lease_lost,
            e.NodeFailed: lambda event: self._ended("failed", 1),
            e.DependencyFailed: lambda event: self._ended("dependency_failed", 1),
            e.NodesCancelled: self._nodes_cancelled,
            e.WorkGranted: self._granted,
            e.ResultRefused: lambda event: self._count(m.REFUSED.name),
            e.WorkerJoined: lambda event: self._count(m.WORKERS_JOINED.name),
            e.WorkerLeft: lambda event: self._count(m.WORKERS_LOST.name) if event.lost else None,
        }

    # -- for the host -------------------------------------------------------------------------------------------------

    def told(self, events: Sequence[e.Event]) -> None:
        """Count events that are durable."""
        takers = self._takers
        for event in events:
            taker = takers.get(type(event))
            if taker is not None:
                taker(event)

    def committed(self, events: int, took_s: float, sync_s: float) -> None:
        """Count a batch of so many events that is durable. A storage that syncs nothing tells 0."""
        self._counts[m.COMMITTED.name] += events
        self._commits.observe(took_s)
        if sync_s:
            self._syncs.observe(sync_s)

    # -- for those who ask --------------------------------------------------------------------------------------------

    def read(self) -> Readings:
        """Return what has been counted."""
        counters = (
            *(m.INSTANCES_CREATED, m.NODES_CREATED, m.REFUSED, m.QUARANTINED, m.WORKERS_JOINED, m.WORKERS_LOST),
            *(m.COMMITTED, m.ARGUMENT_BYTES),
        )
        attempts: dict[tuple[str, ...], float | Histogram] = {}
        for label, function in self._functions.items():
            for outcome in ("completed", "failed", "lost", "cancelled"):
                attempts[label, outcome] = getattr(function, outcome)
        ended = ("completed", "failed", "dependency_failed", "cancelled")
        return {
            **{metric.name: {(): self._counts[metric.name]} for metric in counters},
            m.VALUE_BYTES.name: {(): self._value_bytes},
            m.NODES_ENDED.name: {
                (state,): self._completed if state == "completed" else self._nodes_ended[state] for state in ended
            },
            m.INSTANCES_ENDED.name: {
                (state,): self._instances_ended[state] for state in ended if state != "dependency_failed"
            },
            m.LEASES_LOST.name: {(reason,): self._leases_lost[reason] for reason in ("expired", "worker_lost")},
            m.ATTEMPTS.name: attempts,
            m.RUN_TIME.name: {(label,): function.run_time for label, function in self._functions.items()},
            m.LATENCY.name: {(label,): latency for label, latency in self._latencies.items()},
            m.COMMIT_TIME.name: {(): self._commits},
            m.SYNC_TIME.name: {(): self._syncs},
            m.LOOP_LAG.name: {(): self.lag},
        }

    # -- events -------------------------------------------------------------------------------------------------------

    def _count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def _ended(self, state: str, count: int) -> None:
        self._nodes_ended[state] += count

    def _of(self, node: Node) -> _OfFunction:
        name = node.function.spec.name
        function = self._functions[self._function_labels.of(name)]
        if self._function_labels.has_own(name):
            self._known[name] = function
        return function

    def _instance_finished(self, event: e.InstanceFinished) -> None:
        self._instances_ended[event.state.value] += 1

    def _nodes_created(self, event: e.NodesCreated) -> None:
        self._counts[m.NODES_CREATED.name] += len(event.nodes)
        self._counts[m.ARGUMENT_BYTES.name] += sum([len(node.arguments) for node in event.nodes])

    def _node_completed(self, event: e.NodeCompleted) -> None:
        self._completed += 1
        if event.run is not None:  # else its attempt ended when it began to join
            self._ran(event.node, event.run, event.payload)

    def _ran(self, node: Node, run: Run | None, payload: bytes | None) -> None:
        """Count an attempt that gave a value."""
        if payload:
            self._value_bytes += len(payload)
        if run is None:
            return
        _, granted_at, ended_at, told_s = run
        function = self._known.get(node.function.spec.name) or self._of(node)
        function.completed += 1
        # As told, where it was: to `measure` takes as long as all the rest.
        function.run_time.observe(told_s if 0 < told_s < _TOLD_S else measure(granted_at, ended_at, told_s)[1])

    def _attempt_failed(self, node: Node, attempt: FailedAttempt) -> None:
        if attempt.failure.type == QUARANTINED:
            self._count(m.QUARANTINED.name)
        elif attempt.failure.type == CUT_OFF:
            self._of(node).lost += 1
        elif attempt.granted_at:  # else none ran, as where a node was not started in time
            function = self._of(node)
            function.failed += 1
            function.run_time.observe(attempt.duration_s)

    def _lease_lost(self, event: e.LeaseLost) -> None:
        is_silent = event.attempt.failure.type == SILENT
        self._leases_lost["expired" if is_silent else "worker_lost"] += 1
        self._of(event.node).lost += 1

    def _nodes_cancelled(self, event: e.NodesCancelled) -> None:
        self._ended(NodeState.CANCELLED.value, len(event.nodes))
        for node in event.nodes if event.runs else ():
            if node.seq in event.runs:
                self._of(node).cancelled += 1

    def _granted(self, event: e.WorkGranted) -> None:
        queue, observe = None, None
        for node, _ in event.leases:  # mostly of one queue
            if observe is None or node.function.spec.queue is not queue:
                queue = node.function.spec.queue
                observe = self._latencies[self._queue_labels.of(queue)].observe
            observe(node.leased_at - node.ready_at)
