"""The one place where generated messages and core types meet."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, repeat
from math import isfinite
from typing import TypeVar, cast

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.lanes import Lane, Obstacle
from dagorama_broker.core.model import (
    FailedAttempt,
    Failure,
    Function,
    FunctionSpec,
    Instance,
    InstanceId,
    LimitSpec,
    NewCall,
    Node,
    NodeId,
    Progress,
    QueueControl,
    RetryPolicy,
    Worker,
    WorkerId,
)
from dagorama_broker.core.ready import ReadyQueues
from dagorama_broker.core.states import InstanceState, NodeState
from dagorama_broker.core.stored import InstanceSummary, StoredInstance, StoredNode
from dagorama_broker.core.values import collect_values
from dagorama_broker.core.why import Reason

T = TypeVar("T")

ID_BYTES = 16

#: What a running function may say beside how far it has got. It is for one line on a screen.
PROGRESS_BYTES_MAX = 1024

#: The largest payload. SQLite stores up to 1e9 bytes in a row; a commit with more would fail, and the broker with it.
PAYLOAD_BYTES_MAX = 512 * 2**20

#: Priorities are from the negative of this to this: a place in the order of ready nodes has room for far more.
PRIORITY_MAX = 1000
#: A group's name is shown to people, and kept with every instance.
GROUP_LENGTH_MAX = 200

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


#: The most limits that a function may have, and bytes of a key. Each call carries its keys, here and in the storage.
LIMITS_MAX, LIMIT_KEY_BYTES_MAX = 10, 500

#: Rates beyond these are as good as none: one start in 30 years, one in a nanosecond. Reckoning stays finite between.
RATE_MIN, RATE_MAX = 1e-9, 1e9


class MalformedRequest(Exception):
    """A message does not say what it must; the text names the field and what it holds."""


class TooLarge(MalformedRequest):
    """Something is larger than the broker can keep."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(
            f"{what} has {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes. Keep the data in a file or a store that "
            "all workers reach, and pass its name"
        )


# -- messages to core types -------------------------------------------------------------------------------------------


def check_id(raw: bytes, field: str) -> bytes:
    """Give the id back. Raises `MalformedRequest` where it cannot be one."""
    if len(raw) != ID_BYTES:
        raise MalformedRequest(f"{field} has {len(raw)} bytes; an id has {ID_BYTES}")
    return raw


def check_size(what: str, size: int) -> None:
    """Raise `TooLarge` where something has more bytes than the broker can keep."""
    if size > PAYLOAD_BYTES_MAX:
        raise TooLarge(what, size)


def to_instance_id(raw: bytes) -> InstanceId:
    """Give the id of an instance."""
    return InstanceId(check_id(raw, "instance_id"))


def to_node_id(raw: bytes) -> NodeId:
    """Give the id of a node."""
    return NodeId(check_id(raw, "node_id"))


def to_function(message: graph_pb2.FunctionSpec) -> FunctionSpec:
    """Give a function; its queue is its name where none is given."""
    if not message.name:
        raise MalformedRequest("a function has no name")
    retry = message.retry
    for field, number in (
        ("timeout_s", message.timeout_s),
        ("start_timeout_s", message.start_timeout_s),
        ("retry.interval_s", retry.interval_s),
        ("retry.multiplier", retry.multiplier),
        ("retry.interval_max_s", retry.interval_max_s),
        ("retry.jitter", retry.jitter),
    ):
        to_seconds(f"{field} of function {message.name}", number)
    if message.at_most_once and retry.max_attempts > 1:
        raise MalformedRequest(
            f"function {message.name} is at_most_once and has retry.max_attempts {retry.max_attempts}; one excludes "
            "the other"
        )
    return FunctionSpec(
        name=message.name,
        code_version=message.code_version,
        queue=message.queue or message.name,
        taint=message.taint,
        retry=RetryPolicy(
            max_attempts=max(1, retry.max_attempts),
            interval_s=retry.interval_s,
            multiplier=retry.multiplier or 1.0,
            interval_max_s=retry.interval_max_s,
            jitter=min(1.0, retry.jitter),
        ),
        timeout_s=message.timeout_s,
        start_timeout_s=message.start_timeout_s,
        at_most_once=message.at_most_once,
        definition_arguments=message.definition_arguments,
        limits=_to_limits(message) if message.limits else (),
    )


def _to_limits(message: graph_pb2.FunctionSpec) -> tuple[LimitSpec, ...]:
    if len(message.limits) > LIMITS_MAX:
        raise MalformedRequest(f"function {message.name} has {len(message.limits)} limits; the most is {LIMITS_MAX}")
    for index, limit in enumerate(message.limits):
        what = f"limits[{index}] of function {message.name}"
        if not limit.rate_per_s:
            if not limit.max:
                raise MalformedRequest(f"{what} has neither max nor rate_per_s, and limits nothing")
            if limit.burst:
                raise MalformedRequest(f"{what} has a burst of {limit.burst}, which means nothing without rate_per_s")
        elif not RATE_MIN <= limit.rate_per_s <= RATE_MAX:  # NaN neither
            bounds = f"must be from {RATE_MIN:g} to {RATE_MAX:g}, or 0 for any"
            raise MalformedRequest(f"rate_per_s of {what} is {limit.rate_per_s}; it {bounds}")
    return tuple(
        LimitSpec(max=limit.max, rate_per_s=limit.rate_per_s, burst=max(1, limit.burst)) for limit in message.limits
    )


def to_instance_options(message: dag_pb2.InstanceOptions) -> c.InstanceOptions:
    """Give how an instance is to be run."""
    if len(message.group) > GROUP_LENGTH_MAX:
        raise MalformedRequest(
            f"options.group {message.group[:20]!r}... has {len(message.group)} characters; the limit is "
            f"{GROUP_LENGTH_MAX}"
        )
    return c.InstanceOptions(
        priority=_check_priority(message.priority, "options.priority"),
        group=message.group,
        running_max=message.running_max,
        deadline_s=to_seconds("options.deadline_s", message.deadline_s),
    )


def to_control_instance(message: dag_pb2.ControlInstanceRequest) -> c.ControlInstance:
    """Give what is to be changed about an instance."""
    return c.ControlInstance(
        instance_id=to_instance_id(message.instance_id),
        priority=_check_priority(message.priority, "priority") if message.HasField("priority") else None,
        paused=message.paused if message.HasField("paused") else None,
        running_max=message.running_max if message.HasField("running_max") else None,
    )


def to_control_queue(message: dag_pb2.ControlQueueRequest) -> c.ControlQueue:
    """Give what is to be changed about a queue."""
    if not message.queue:
        raise MalformedRequest("queue is empty; give the name of the queue")
    check_size("queue", len(message.queue.encode()))
    return c.ControlQueue(
        queue=message.queue,
        paused=message.paused if message.HasField("paused") else None,
        running_max=message.running_max if message.HasField("running_max") else None,
    )


def _check_priority(priority: int, field: str) -> int:
    if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise MalformedRequest(f"{field} is {priority}; it must be from -{PRIORITY_MAX} to {PRIORITY_MAX}")
    return priority


def to_calls(message: graph_pb2.Calls, functions: Sequence[FunctionSpec]) -> list[NewCall]:
    """Give calls, with the function table of the enclosing message. Raises `TooLarge` as well."""
    node_ids = _columns("calls", message.node_ids, message.functions, message.arguments)
    _check_ids(node_ids, "node_ids of calls")
    _check_ids(message.dependency_ids, "dependency_ids of calls")
    last = max(message.functions, default=-1)
    if last >= len(functions):
        raise MalformedRequest(f"a call names function {last} of a table that has {len(functions)}")
    specs = [functions[index] for index in message.functions]
    limits = False
    for index in set(message.functions):
        limits = limits or bool(functions[index].limits)
        check_size(f"function {functions[index].name[:200]}", _function_bytes(functions[index]))
    if max(map(len, message.arguments), default=0) > PAYLOAD_BYTES_MAX:
        spec, arguments = max(zip(specs, message.arguments, strict=True), key=lambda call: len(call[1]))
        raise TooLarge(f"a call of {spec.name[:200]} with its arguments", len(arguments))
    dependencies = _dependencies(message, len(node_ids))
    keys = _limit_keys(message.limit_keys, specs) if limits or message.limit_keys else repeat(())
    return list(map(NewCall._make, zip(node_ids, specs, message.arguments, dependencies, keys, strict=False)))


def to_seconds(field: str, number: float) -> float:
    """Give a length of time back. Raises `MalformedRequest` where it is none."""
    if not (isfinite(number) and number >= 0):
        raise MalformedRequest(f"{field} is {number}; it must be 0 or more")
    return number


def _function_bytes(spec: FunctionSpec) -> int:
    texts = (spec.name, spec.code_version, spec.queue, spec.taint)
    return len(spec.definition_arguments) + sum(len(text.encode()) for text in texts)


def _dependencies(message: graph_pb2.Calls, calls: int) -> Iterable[tuple[NodeId, ...]]:
    """Give the dependencies of each call."""
    counts, ids = message.dependency_counts, cast(tuple[NodeId, ...], tuple(message.dependency_ids))
    if not counts and not ids:
        return repeat(())
    if len(counts) != calls or sum(counts) != len(ids):
        raise MalformedRequest(
            f"calls have {len(counts)} dependency_counts for {calls} calls, which add up to {sum(counts)}, and "
            f"{len(ids)} dependency_ids"
        )
    return [ids[end - count : end] for end, count in zip(accumulate(counts), counts, strict=True)]


def _limit_keys(keys: Sequence[str], specs: Sequence[FunctionSpec]) -> Iterable[tuple[str, ...]]:
    """Give the keys of each call, of which at least one has limits, or should have none."""
    counts = [len(spec.limits) for spec in specs]
    if sum(counts) != len(keys):
        raise MalformedRequest(f"calls have {len(keys)} limit_keys; their functions have {sum(counts)} limits in all")
    for key in set(keys):
        size = len(key.encode())
        if not 1 <= size <= LIMIT_KEY_BYTES_MAX:
            raise MalformedRequest(
                f"one of the limit_keys of calls has {size} bytes; it must have 1 to {LIMIT_KEY_BYTES_MAX}. Send a "
                "digest of what is longer"
            )
        if "\0" in key:
            raise MalformedRequest(f"one of the limit_keys of calls has a NUL in it, which no storage keeps: {key!r}")
    keys = tuple(keys)
    return [keys[end - count : end] for end, count in zip(accumulate(counts), counts, strict=True)]


def _columns(what: str, first: Sequence[T], *others: Sequence[object]) -> list[T]:
    """Give the first of some columns. Raises `MalformedRequest` where they are not of one length."""
    lengths = [len(first), *map(len, others)]
    if len(set(lengths)) != 1:
        raise MalformedRequest(f"the columns of {what} have different lengths: {', '.join(map(str, lengths))}")
    return list(first)


def _check_ids(raw: Sequence[bytes], field: str) -> None:
    for length in set(map(len, raw)) - {ID_BYTES}:
        raise MalformedRequest(f"one of the {field} has {length} bytes; an id has {ID_BYTES}")


def _to_node_ids(raw: Sequence[bytes]) -> tuple[NodeId, ...]:
    return cast(tuple[NodeId, ...], tuple(raw))


def to_failure(message: graph_pb2.Failure) -> Failure:
    """Give a failure; of one that is too large, what it was and how large."""
    try:
        check_size(f"a failure of type {message.type[:200]}", message.ByteSize())
    except TooLarge as error:
        return Failure(type="ValueTooLarge", message=str(error), permanent=message.permanent)
    return Failure(
        type=message.type,
        message=message.message,
        traceback=message.traceback,
        exception=message.exception,
        permanent=message.permanent,
    )


def to_completions(message: work_pb2.Completions) -> Iterable[c.Completion]:
    """Give the attempts that gave a plain value, but for those whose value is too large: they are in `to_results`."""
    columns = (message.tokens, message.values, message.durations_us)
    node_ids = cast(list[NodeId], _columns("completions", message.node_ids, *columns))
    durations_s = [duration_us * 1e-6 for duration_us in message.durations_us]
    rows = zip(node_ids, message.tokens, message.values, durations_s, strict=True)
    if max(map(len, message.values), default=0) > PAYLOAD_BYTES_MAX:
        return [row for row in rows if len(row[2]) <= PAYLOAD_BYTES_MAX]
    return rows


def to_results(request: work_pb2.WorkRequest) -> list[c.NodeResult]:
    """Give the results of a worker's message that are more than a plain value. What is too large fails its node."""
    functions = [to_function(function) for function in request.functions]
    plain = request.completions
    results = [
        c.NodeResult(node_id=NodeId(node_id), token=token, failure=_too_large(TooLarge("the value", len(value))))
        for node_id, token, value in zip(plain.node_ids, plain.tokens, plain.values, strict=False)
        if len(value) > PAYLOAD_BYTES_MAX
    ]
    for message in request.results:
        result = c.NodeResult(
            node_id=NodeId(message.node_id), token=message.token, duration_s=message.duration_us * 1e-6
        )
        outcome = message.WhichOneof("outcome")
        if outcome == "value":
            result.payload = message.value
            result.promise_ids = _to_node_ids(message.promise_ids)
        elif outcome == "alias_id":
            result.alias_id = NodeId(message.alias_id)
        elif outcome == "failure":
            result.failure = to_failure(message.failure)
        else:
            raise MalformedRequest("a result has no outcome")
        try:
            check_size("the value", len(message.value))
            if message.HasField("children"):
                result.children = to_calls(message.children, functions)
        except TooLarge as error:
            result = c.NodeResult(node_id=result.node_id, token=result.token, failure=_too_large(error))
        results.append(result)
    return results


def to_progress(message: work_pb2.ProgressReports) -> list[tuple[int, Progress]]:
    """Give what running functions tell, by token. Raises `MalformedRequest`."""
    tokens, fractions, messages = message.tokens, message.fractions, message.messages
    if not len(tokens) == len(fractions) == len(messages):
        lengths = f"{len(tokens)}, {len(fractions)}, {len(messages)}"
        raise MalformedRequest(f"the columns of progress have different lengths: {lengths}")
    for fraction in fractions:
        if not 0 <= fraction <= 1:  # as is NaN
            raise MalformedRequest(f"one of the fractions of progress is {fraction}; it must be from 0 to 1")
    longest = max((len(text.encode()) for text in messages), default=0)
    if longest > PROGRESS_BYTES_MAX:
        raise MalformedRequest(
            f"one of the messages of progress has {longest} bytes; the limit is {PROGRESS_BYTES_MAX} bytes"
        )
    return [
        (token, Progress(fraction, text)) for token, fraction, text in zip(tokens, fractions, messages, strict=True)
    ]


def _too_large(error: TooLarge) -> Failure:
    return Failure(type="ValueTooLarge", message=str(error), permanent=True)


def to_leases(messages: Iterable[work_pb2.Lease]) -> list[c.HeldLease]:
    """Give the leases that a worker names."""
    return [
        c.HeldLease(
            node_id=NodeId(message.node_id),
            token=message.token,
            instance_id=InstanceId(message.instance_id) if message.instance_id else None,
        )
        for message in messages
    ]


def to_connect(hello: work_pb2.Hello) -> c.ConnectWorker:
    """Give the command for a worker's hello."""
    check_size("a worker's name", len(hello.name.encode()))
    _columns("a worker's versions", hello.function_names, hello.code_versions)
    return c.ConnectWorker(
        worker_id=WorkerId(check_id(hello.worker_id, "worker_id")),
        name=hello.name or hello.worker_id.hex()[:8],
        include_queues=frozenset(hello.include_queues),
        exclude_queues=frozenset(hello.exclude_queues),
        tolerations=frozenset(hello.tolerations),
        modules=frozenset(hello.modules),
        versions=list(zip(hello.function_names, hello.code_versions, strict=True)),
        slots=max(1, hello.slots),
        held=to_leases(hello.held),
        exit_when_drained=hello.exit_when_drained,
        exit_when_mismatched=hello.exit_when_mismatched,
    )


# -- core types to messages -------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def from_function(spec: FunctionSpec) -> graph_pb2.FunctionSpec:
    """Give the message for a function. It is shared: copy it into others, do not change it."""
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
    """Give the message for a node that has completed, with what its value is made of."""
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
    )


def to_change(previous: bytes, digest: bytes) -> dag_pb2.Change.ValueType:
    """Give how a value compares to the one before, by their digests; that is empty where there was none."""
    if not previous:
        return dag_pb2.CHANGE_NEW
    return dag_pb2.CHANGE_SAME if previous == digest else dag_pb2.CHANGE_CHANGED


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
            {lane.function for lane in lanes if lane.active and filter.obstacle(lane) is Obstacle.CODE_VERSION}
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
    """Give the message for an instance in memory, with its nodes counted."""
    counts: dict[NodeState, int] = {}
    for node in instance.nodes.values():
        counts[node.state] = counts.get(node.state, 0) + 1
    return _from_instance(instance, counts)


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
