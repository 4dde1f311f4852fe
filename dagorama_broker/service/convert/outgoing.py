"""Core types to messages."""

from collections.abc import Iterable, Sequence

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama_broker.core.caches import Cache
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.lanes import Lane, Obstacle
from dagorama_broker.core.model import (
    FailedAttempt,
    Failure,
    Function,
    FunctionSpec,
    Instance,
    InstanceId,
    Node,
    NodeId,
    QueueControl,
    Worker,
    WorkerId,
)
from dagorama_broker.core.ready import ReadyQueues
from dagorama_broker.core.states import Change, InstanceState, NodeState
from dagorama_broker.core.stored import InstanceSummary, StoredInstance, StoredNode
from dagorama_broker.core.values import collect_values
from dagorama_broker.core.why import Reason
from dagorama_broker.service.convert.checks import MESSAGE_BYTES_MAX, SumTooLarge

NODE_STATES = {
    NodeState.WAITING: graph_pb2.NODE_STATE_WAITING,
    NodeState.READY: graph_pb2.NODE_STATE_READY,
    NodeState.LEASED: graph_pb2.NODE_STATE_LEASED,
    NodeState.JOINING: graph_pb2.NODE_STATE_JOINING,
    NodeState.BACKOFF: graph_pb2.NODE_STATE_BACKOFF,
    NodeState.COMPLETED: graph_pb2.NODE_STATE_COMPLETED,
    NodeState.FAILED: graph_pb2.NODE_STATE_FAILED,
    NodeState.DEPENDENCY_FAILED: graph_pb2.NODE_STATE_DEPENDENCY_FAILED,
    NodeState.CANCELLED: graph_pb2.NODE_STATE_CANCELLED,
    NodeState.STARTED: graph_pb2.NODE_STATE_STARTED,
}
INSTANCE_STATES = {
    InstanceState.RUNNING: graph_pb2.INSTANCE_STATE_RUNNING,
    InstanceState.COMPLETED: graph_pb2.INSTANCE_STATE_COMPLETED,
    InstanceState.FAILED: graph_pb2.INSTANCE_STATE_FAILED,
    InstanceState.CANCELLED: graph_pb2.INSTANCE_STATE_CANCELLED,
}
CHANGES = {
    None: dag_pb2.CHANGE_UNSPECIFIED,
    Change.SAME: dag_pb2.CHANGE_SAME,
    Change.CHANGED: dag_pb2.CHANGE_CHANGED,
    Change.NEW: dag_pb2.CHANGE_NEW,
}


#: What the message for a function takes beside its texts and arguments, together with its spec, and all together.
_FUNCTION_BYTES = 2000
_functions: Cache[FunctionSpec, graph_pb2.FunctionSpec] = Cache(8 << 20)


def from_function(spec: FunctionSpec) -> graph_pb2.FunctionSpec:
    """Give the message for a function. It is shared: copy it into others, do not change it."""
    message = _functions.get(spec)
    if message is None:
        message = _make_function(spec)
        _functions.put(spec, message, 2 * message.ByteSize() + _FUNCTION_BYTES)
    return message


def _make_function(spec: FunctionSpec) -> graph_pb2.FunctionSpec:
    retry = spec.retry
    return graph_pb2.FunctionSpec(
        name=spec.name,
        code_version=spec.code_version,
        queue=spec.queue,
        taint=spec.taint,
        retry=graph_pb2.RetryPolicy(
            max_attempts=retry.max_attempts,
            interval_s=retry.interval_s,
            multiplier=retry.multiplier,
            interval_max_s=retry.interval_max_s,
            jitter=retry.jitter,
        ),
        timeout_s=spec.timeout_s,
        start_timeout_s=spec.start_timeout_s,
        at_most_once=spec.at_most_once,
        definition_arguments=spec.definition_arguments,
        release=spec.release,
        limits=[
            graph_pb2.Limit(max=limit.max, rate_per_s=limit.rate_per_s, burst=limit.burst if limit.rate_per_s else 0)
            for limit in spec.limits
        ],
    )


class GrantTable:
    """The grants of one response: columns, and the function table that they refer to."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._tokens: list[int] = []
        self._functions: dict[Function, int] = {}

    def add(self, node: Node, token: int) -> None:
        """Add a node."""
        self._nodes.append(node)
        self._tokens.append(token)

    def write(self, response: work_pb2.WorkResponse) -> None:
        """Write everything into a response."""
        nodes, table = self._nodes, self._functions
        functions = [table.setdefault(node.function, len(table)) for node in nodes]
        response.functions.extend(from_function(function.spec) for function in table)
        grants = response.grants
        grants.node_ids.extend([node.id for node in nodes])
        grants.tokens.extend(self._tokens)
        grants.instance_ids.extend([node.instance.id for node in nodes])
        grants.functions.extend(functions)
        grants.arguments.extend([node.arguments for node in nodes])
        grants.attempts.extend([node.attempts + 1 for node in nodes])


def write_values(message: graph_pb2.Values, values: Sequence[tuple[NodeId, bytes]]) -> None:
    """Write payloads by the nodes whose values they are, in the order in which they are to be decoded."""
    message.node_ids.extend([node_id for node_id, _ in values])
    message.payloads.extend([payload for _, payload in values])


def completed(node_id: NodeId, values: Sequence[tuple[NodeId, bytes]]) -> dag_pb2.WatchResponse:
    """Give the message for a node that has completed, with what its value is made of. Raises `SumTooLarge`."""
    size = sum(len(payload) for _, payload in values)
    if size > MESSAGE_BYTES_MAX:
        raise SumTooLarge(f"the values that the value of node {show_id(node_id)} is made of", size)
    response = dag_pb2.WatchResponse(outcomes=[from_outcome(node_id, NodeState.COMPLETED, None)])
    write_values(response.values, values)
    return response


def outcome_of(node: Node) -> dag_pb2.WatchResponse:
    """Give the message for a node in memory that has ended: its value, or the failure of the root cause."""
    if node.state is NodeState.COMPLETED:
        return completed(node.id, collect_values([node]))
    cause = node.cause or node
    failure = cause.failures[-1].failure if cause.failures else None
    how = (cause.id, cause.function.spec.name, cause.attempts, failure)
    return dag_pb2.WatchResponse(outcomes=[from_outcome(node.id, node.state, how)])


def from_failure(failure: Failure) -> graph_pb2.Failure:
    """Give the message for a failure."""
    return graph_pb2.Failure(
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        exception=failure.exception,
        permanent=failure.permanent,
    )


def from_outcome(
    node_id: NodeId, state: NodeState, cause: tuple[NodeId, str, int, Failure | None] | None
) -> graph_pb2.Outcome:
    """Give the message for how a node ended; `cause` is the root cause's id, function name, attempts and failure."""
    outcome = graph_pb2.Outcome(node_id=node_id, state=NODE_STATES[state])
    if cause is not None:
        outcome.cause_id, outcome.cause_function, outcome.cause_attempts, failure = cause
        if failure is not None:
            outcome.failure.CopyFrom(from_failure(failure))
    return outcome


def from_attempts(attempts: Iterable[FailedAttempt]) -> list[dag_pb2.AttemptInfo]:
    """Give the messages for attempts that gave no value."""
    return [
        dag_pb2.AttemptInfo(
            number=attempt.number,
            worker=attempt.worker,
            ended_at=attempt.ended_at,
            failure=from_failure(attempt.failure),
        )
        for attempt in attempts
    ]


def put_live_state(info: dag_pb2.NodeInfo, node: Node) -> None:
    """Put what only memory knows into the message for a node: ready and leased, and by whom."""
    if node.state is NodeState.READY or node.state is NodeState.LEASED:
        info.state = NODE_STATES[node.state]
        info.retry_at = 0.0
    if node.worker is not None:
        info.worker = node.worker.name
        info.attempts = node.attempts + 1
        progress = node.worker.progress.get(node.token)
        if progress is not None:
            info.progress.fraction, info.progress.message = progress


def from_stored_node(node: StoredNode, instance_id: InstanceId, ids: dict[int, NodeId]) -> dag_pb2.NodeInfo:
    """Give the message for a node from the journal; `ids` has those that it refers to, by number."""
    spec = node.function
    return dag_pb2.NodeInfo(
        node_id=node.id,
        instance_id=instance_id,
        function=spec.name,
        queue=spec.queue,
        taint=spec.taint,
        state=NODE_STATES[node.state],
        dependency_ids=[ids[seq] for seq in node.dependency_seqs],
        parent_id=ids.get(node.parent_seq, b""),
        attempts=node.attempts + (node.state is NodeState.COMPLETED or bool(node.promise_seqs)),
        failures=from_attempts(node.failures),
        created_at=node.created_at,
        finished_at=node.finished_at,
        retry_at=node.retry_at if node.state is NodeState.BACKOFF else 0.0,
        cause_id=ids.get(node.cause_seq, b""),
        change=CHANGES[node.change],
    )


def from_reason(reason: Reason) -> dag_pb2.Reason:
    """Give the message for what holds a node."""
    return dag_pb2.Reason(
        kind=reason.kind,
        text=reason.text,
        node_ids=reason.node_ids,
        workers=reason.workers,
        until=reason.until or 0.0,
        expected_at=reason.expected_at or 0.0,
        because=map(from_reason, reason.because),
    )


def from_worker(worker: Worker, lanes: Iterable[Lane]) -> dag_pb2.WorkerInfo:
    """Give the message for a connected worker; `lanes` are all that there are."""
    filter = worker.view.filter
    return dag_pb2.WorkerInfo(
        worker_id=worker.id,
        name=worker.name,
        include_queues=sorted(filter.include_queues),
        exclude_queues=sorted(filter.exclude_queues),
        tolerations=sorted(filter.tolerations),
        slots=worker.slots,
        leases=len(worker.leases),
        draining=worker.draining,
        unfit_functions=sorted(
            {
                lane.function
                for lane in lanes
                if lane.active and filter.obstacle(lane) in (Obstacle.CODE_VERSION, Obstacle.LACKS)
            }
        ),
    )


def from_queues(queues: ReadyQueues, *, always: str = "") -> list[dag_pb2.QueueInfo]:
    """Give the messages for queues that have something to run, by queue and taint, and for those with a control.

    Also for the queue `always`.
    """
    controls = queues.controls()
    if always:
        controls[always] = queues.control(always)
    infos: dict[tuple[str, str], dag_pb2.QueueInfo] = {}
    serving: dict[tuple[str, str], set[WorkerId]] = {}
    for lane in queues.lanes.values():
        if not lane.active and lane.queue not in controls:
            continue
        key = (lane.queue, lane.taint)
        info = infos.setdefault(key, dag_pb2.QueueInfo(queue=lane.queue, taint=lane.taint))
        ready = lane.ready + lane.parked
        info.ready += ready
        info.held += ready if lane.paused else lane.parked
        info.active += lane.active - ready
        workers = {worker.id for view in lane.views for worker in view.workers if not worker.draining}
        serving[key] = serving.get(key, set()) | workers
        info.workers = len(serving[key])
    for queue in controls.keys() - {queue for queue, _ in infos}:
        infos[queue, ""] = _empty_queue(queue, queues)
    for (queue, _), info in infos.items():
        info.paused, info.running_max = controls.get(queue, QueueControl())
    return [infos[key] for key in sorted(infos)]


def _empty_queue(queue: str, queues: ReadyQueues) -> dag_pb2.QueueInfo:
    """Give the message for a queue without nodes, as if it had some without a taint."""
    lane = Lane(queue, "")
    workers = sum(
        not worker.draining for view in queues.views.values() if view.filter.admits(lane) for worker in view.workers
    )
    return dag_pb2.QueueInfo(queue=queue, workers=workers)


def from_instance(instance: Instance) -> dag_pb2.InstanceInfo:
    """Give the message for an instance in memory."""
    return _from_instance(instance, {state: count for state, count in instance.counts.items() if count})


def from_summary(summary: InstanceSummary) -> dag_pb2.InstanceInfo:
    """Give the message for an instance from the journal."""
    return _from_instance(summary, summary.counts)


def _from_instance(
    instance: Instance | InstanceSummary | StoredInstance, counts: dict[NodeState, int]
) -> dag_pb2.InstanceInfo:
    return dag_pb2.InstanceInfo(
        instance_id=instance.id,
        definition=instance.definition,
        state=INSTANCE_STATES[instance.state],
        created_at=instance.created_at,
        finished_at=instance.finished_at,
        deadline_at=instance.deadline_at,
        counts=[
            dag_pb2.StateCount(state=NODE_STATES[state], count=counts[state]) for state in NodeState if state in counts
        ],
        priority=instance.control.priority,
        group=instance.group,
        paused=instance.control.paused,
        running_max=instance.control.running_max,
    )
