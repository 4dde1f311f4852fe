"""Core types to messages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama_broker.core.containers.caches import Cache
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.payloads import payload_of
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.references import SIZE_END
from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import FailedAttempt, Failure, FunctionSpec, NodeId
from dagorama_broker.core.why import Reason
from dagorama_broker.requests.answers import (
    Cause,
    ChangeBatch,
    DefinitionInfo,
    EventBatch,
    EventKind,
    FunctionCheck,
    FunctionCount,
    HistoryEntry,
    InstanceHappening,
    LimitInfo,
    NodeArguments,
    NodeHappening,
    NodeInfo,
    NodeTimes,
    Outcome,
    Page,
    QueueInfo,
    SettingInfo,
    Shape,
    WorkerHappening,
    WorkerInfo,
)
from dagorama_broker.requests.checks import MESSAGE_BYTES_MAX, SumTooLarge
from dagorama_broker.requests.session import Answer

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


#: The tag of an instance that is part of a trace. It is for workers; nothing here reads it.
_TRACEPARENT = "traceparent"


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
        parameters=spec.parameters,
        shows_inputs=spec.shows_inputs,
        limits=[
            graph_pb2.Limit(max=limit.max, rate_per_s=limit.rate_per_s, burst=limit.burst if limit.rate_per_s else 0)
            for limit in spec.limits
        ],
    )


#: Why a report is not taken yet that refers to values.
_MISSING = "the broker lacks values that the result refers to; put them, and report again"


def from_answer(answer: Answer) -> work_pb2.WorkResponse:
    """Give the message for what a worker is told. The caller has to add the broker's part of a welcome."""
    response = work_pb2.WorkResponse()
    response.acknowledged = answer.acknowledged
    if answer.recalls:
        response.recalls.extend(_leases(answer.recalls))
    if answer.revocations:
        response.revocations.extend(_leases(answer.revocations))
    if answer.refusals:
        response.refusals.extend(
            work_pb2.Refusal(node_id=refused.node_id, presented=refused.presented, reason=refused.reason)
            for refused in answer.refusals
        )
    if answer.missing:
        response.refusals.extend(
            work_pb2.Refusal(node_id=node_id, presented=token, reason=_MISSING, missing=digests)
            for node_id, token, digests in answer.missing
        )
    if answer.welcome is not None:
        response.welcome.leases.extend(
            work_pb2.Lease(node_id=node.id, token=token, instance_id=node.instance.id)
            for node, token in answer.welcome.leases
        )
    if answer.grants:
        _write_grants(response, answer.grants)
    if answer.values:
        write_values(response.values, [(node_id, payload_of(node)) for node_id, node in answer.values.items()])
        if response.traces:
            _write_attempts(response, answer.values.values())
    if answer.drain:
        response.drain = True
    if answer.drained is not None:
        response.drained = True
        if answer.drained.mismatch is not None:
            response.mismatch.name, response.mismatch.code_version = answer.drained.mismatch
    return response


def _leases(leases: Iterable[tuple[Node, int]]) -> Iterable[work_pb2.Lease]:
    return (work_pb2.Lease(node_id=node.id, token=token) for node, token in leases)


def _write_grants(response: work_pb2.WorkResponse, grants: Sequence[tuple[Node, int]]) -> None:
    """Write grants by columns, and the function table that they refer to."""
    nodes = [node for node, _ in grants]
    instances = [node.instance for node in nodes]
    table: dict[Function, int] = {}
    functions = [table.setdefault(node.function, len(table)) for node in nodes]
    response.functions.extend([from_function(function.spec) for function in table])
    columns = response.grants
    columns.node_ids.extend([node.id for node in nodes])
    columns.tokens.extend([token for _, token in grants])
    columns.instance_ids.extend([instance.id for instance in instances])
    columns.functions.extend(functions)
    columns.arguments.extend([node.arguments for node in nodes])
    columns.attempts.extend([node.tries + 1 for node in nodes])
    _write_traces(response, dict.fromkeys(instances))


def _write_traces(response: work_pb2.WorkResponse, instances: Iterable[Instance]) -> None:
    """Write in which traces instances are."""
    for instance in instances:
        traceparent = dict(instance.tags).get(_TRACEPARENT)
        if traceparent:
            response.traces.add(instance_id=instance.id, traceparent=traceparent)


def _write_attempts(response: work_pb2.WorkResponse, nodes: Iterable[Node]) -> None:
    """Write which attempts have given values, if some were not the first."""
    attempts = [node.tries + 1 for node in nodes]
    if max(attempts) > 1:
        response.value_attempts.extend(attempts)


def write_values(message: graph_pb2.Values, values: Sequence[tuple[NodeId, bytes]]) -> None:
    """Write payloads by the nodes whose values they are, in the order in which they are to be decoded."""
    message.node_ids.extend([node_id for node_id, _ in values])
    message.payloads.extend([payload for _, payload in values])


def from_outcomes(outcomes: Sequence[Outcome]) -> dag_pb2.WatchResponse:
    """Give the message for how nodes ended: values, or the failure of the root cause. Raises `SumTooLarge`."""
    response = dag_pb2.WatchResponse()
    for outcome in outcomes:
        message = response.outcomes.add(node_id=outcome.node_id, state=NODE_STATES[outcome.state])
        if outcome.cause is not None:
            _write_cause(message, outcome.cause)
        elif outcome.values:
            _check_sum(outcome)
            write_values(response.values, outcome.values)
            if len(outcomes) > 1:
                message.value_count = len(outcome.values)
    return response


def _check_sum(outcome: Outcome) -> None:
    size = sum(len(payload) for _, payload in outcome.values)
    if size > MESSAGE_BYTES_MAX:
        raise SumTooLarge(f"the values that the value of node {show_id(outcome.node_id)} is made of", size)


def _write_cause(message: graph_pb2.Outcome, cause: Cause) -> None:
    message.cause_id, message.cause_function, message.cause_attempts = cause.node_id, cause.function, cause.attempts
    if cause.failure is not None:
        message.failure.CopyFrom(from_failure(cause.failure))


def from_failure(failure: Failure) -> graph_pb2.Failure:
    """Give the message for a failure."""
    return graph_pb2.Failure(
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        exception=failure.exception,
        permanent=failure.permanent,
    )


def from_attempts(attempts: Iterable[FailedAttempt]) -> list[dag_pb2.AttemptInfo]:
    """Give the messages for attempts that gave no value."""
    return [
        dag_pb2.AttemptInfo(
            number=attempt.number,
            worker=attempt.worker,
            ended_at=attempt.ended_at,
            failure=from_failure(attempt.failure),
            granted_at=attempt.granted_at,
            started_at=attempt.started_at,
            duration_s=attempt.duration_s,
        )
        for attempt in attempts
    ]


def from_node(info: NodeInfo) -> dag_pb2.NodeInfo:
    """Give the message for a node."""
    spec = info.function
    message = dag_pb2.NodeInfo(
        node_id=info.id,
        instance_id=info.instance_id,
        function=spec.name,
        queue=spec.queue,
        taint=spec.taint,
        state=NODE_STATES[info.state],
        dependency_ids=info.dependency_ids,
        parent_id=info.parent_id or b"",
        attempts=info.attempts,
        failures=from_attempts(info.failures),
        undone=[dag_pb2.UndoneAttempt(**one._asdict(), started_at=one.started_at) for one in info.undone],
        worker=info.worker,
        created_at=info.created_at,
        finished_at=info.finished_at,
        retry_at=info.retry_at,
        cause_id=info.cause_id or b"",
        change=CHANGES[info.change],
        ready_at=info.ready_at,
        granted_at=info.granted_at,
        started_at=info.started_at,
        duration_s=info.duration_s,
        label=info.label,
        arguments=info.arguments,
        arguments_bytes=info.arguments_bytes,
        parameters=info.parameters,
        inputs=info.inputs,
        value=info.value,
        value_bytes=info.value_bytes,
    )
    if info.progress is not None:
        message.progress.fraction, message.progress.message = info.progress
    return message


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


def from_worker(info: WorkerInfo) -> dag_pb2.WorkerInfo:
    """Give the message for a connected worker."""
    return dag_pb2.WorkerInfo(
        worker_id=info.id,
        name=info.name,
        include_queues=info.include_queues,
        exclude_queues=info.exclude_queues,
        tolerations=info.tolerations,
        slots=info.slots,
        leases=info.leases,
        draining=info.draining,
        unfit_functions=info.unfit_functions,
    )


def from_queue(info: QueueInfo) -> dag_pb2.QueueInfo:
    """Give the message for the nodes of one queue and taint."""
    return dag_pb2.QueueInfo(
        queue=info.queue,
        taint=info.taint,
        ready=info.ready,
        active=info.active,
        workers=info.workers,
        paused=info.paused,
        running_max=info.running_max,
        held=info.held,
    )


def from_instance(summary: InstanceSummary) -> dag_pb2.InstanceInfo:
    """Give the message for an instance."""
    return dag_pb2.InstanceInfo(
        instance_id=summary.id,
        definition=summary.definition,
        state=INSTANCE_STATES[summary.state],
        created_at=summary.created_at,
        finished_at=summary.finished_at,
        deadline_at=summary.deadline_at,
        counts=from_counts(summary.counts),
        priority=summary.control.priority,
        group=summary.group,
        paused=summary.control.paused,
        running_max=summary.control.running_max,
        key=summary.key,
        tags=dict(summary.tags),
        started_by=summary.started_by,
        pauses=[dag_pb2.Pause(**pause._asdict()) for pause in summary.pauses],
        held_bytes=min(summary.held_bytes, SIZE_END - 1),
    )


def from_events(batch: EventBatch) -> dag_pb2.EventBatch:
    """Give the message for what has happened.

    Messages are made in their places and filled field by field, which takes a fifth of the time of making each apart.
    """
    message = dag_pb2.EventBatch(cursor=batch.cursor, skipped=batch.skipped)
    add = message.events.add
    for cursor, happening in batch.events:
        _TOLD_EVENTS[type(happening)](add(), cursor, happening)
    return message


def _instance_event(told: dag_pb2.Event, cursor: str, happening: InstanceHappening) -> None:
    event = told.instance
    event.kind = _EVENT_KINDS[happening.kind]
    event.cursor = cursor
    event.at = happening.at
    event.instance_id = happening.instance_id
    event.definition = happening.definition
    event.state = INSTANCE_STATES[happening.state]
    event.node_count = happening.node_count
    control = happening.control
    if control is not None:
        event.priority, event.paused, event.running_max = control


def _node_event(told: dag_pb2.Event, cursor: str, happening: NodeHappening) -> None:
    event = told.node
    event.kind = _EVENT_KINDS[happening.kind]
    event.cursor = cursor
    event.at = happening.at
    event.instance_id = happening.instance_id
    event.node_id = happening.node_id
    event.function = happening.function
    event.attempt = happening.attempt
    if happening.kind is not EventKind.NODE_COMPLETED:
        event.worker = happening.worker
        event.error_type = happening.error_type
        event.error_message = happening.error_message
        event.cause_id = happening.cause_id or b""


def _worker_event(told: dag_pb2.Event, cursor: str, happening: WorkerHappening) -> None:
    event = told.worker
    event.kind = _EVENT_KINDS[happening.kind]
    event.cursor = cursor
    event.at = happening.at
    event.worker_id = happening.worker_id
    event.worker = happening.worker


_TOLD_EVENTS: dict[type, Callable[[dag_pb2.Event, str, Any], None]] = {
    InstanceHappening: _instance_event,
    NodeHappening: _node_event,
    WorkerHappening: _worker_event,
}
_EVENT_KINDS = {kind: dag_pb2.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in EventKind}


def from_changes(batch: ChangeBatch) -> dag_pb2.ChangeBatch:
    """Give the message for what has changed."""
    message = dag_pb2.ChangeBatch(cursor=batch.cursor, workers=batch.workers, queues=batch.queues, missed=batch.missed)
    for change in batch.instances:
        told = message.instances.add(
            instance_id=change.instance_id, node_ids=change.node_ids, others=change.others, grown=change.grown
        )
        if change.state is not None:
            told.state = INSTANCE_STATES[change.state]
        for state, count in change.counts.items():
            told.counts.add(state=NODE_STATES[state], count=count)
    return message


def from_counts(counts: Mapping[NodeState, int]) -> list[dag_pb2.StateCount]:
    """Give the message for each number of nodes, in the order of the states."""
    return [dag_pb2.StateCount(state=NODE_STATES[state], count=counts[state]) for state in NodeState if state in counts]


def from_function_count(count: FunctionCount) -> dag_pb2.FunctionCount:
    """Give the message for the nodes of a function."""
    return dag_pb2.FunctionCount(function=count.function, counts=from_counts(count.counts))


def from_shape(shape: Shape) -> dag_pb2.Shape:
    """Give the message for the folded graph of an instance."""
    return dag_pb2.Shape(
        groups=[
            dag_pb2.ShapeGroup(function=group.function, maker=group.maker, counts=from_counts(group.counts))
            for group in shape.groups
        ],
        edges=[
            dag_pb2.ShapeEdge(source=edge.source, target=edge.target, is_call=edge.is_call, count=edge.count)
            for edge in shape.edges
        ],
    )


def from_times(times: NodeTimes) -> dag_pb2.NodeTimes:
    """Give the message for a part of an instance's nodes in columns."""
    return dag_pb2.NodeTimes(
        began_at=times.began_at,
        functions=times.functions,
        workers=times.workers,
        node_ids=bytes(times.node_ids),
        numbers=times.numbers,
        function_places=times.function_places,
        worker_places=times.worker_places,
        states=[NODE_STATES[state] for state in times.states],
        parents=times.parents,
        dependency_counts=times.dependency_counts,
        dependencies=times.dependencies,
        labels=times.labels,
        created_at=times.created_at,
        granted_at=times.granted_at,
        started_at=times.started_at,
        returned_at=times.returned_at,
        finished_at=times.finished_at,
        next_page_token=times.next_page_token,
        revived_at=times.revived_at,
        attempt_numbers=times.attempt_numbers,
        attempt_worker_places=times.attempt_worker_places,
        attempt_granted_at=times.attempt_granted_at,
        attempt_started_at=times.attempt_started_at,
        attempt_ended_at=times.attempt_ended_at,
    )


def from_limit(info: LimitInfo) -> dag_pb2.LimitInfo:
    """Give the message for a limit."""
    fields = info._asdict()
    fields["holders"] = [dag_pb2.LimitHolder(**holder._asdict()) for holder in info.holders]
    return dag_pb2.LimitInfo(**fields)


def from_setting(info: SettingInfo) -> dag_pb2.SettingInfo:
    """Give the message for a setting."""
    return dag_pb2.SettingInfo(**info._asdict())


def from_arguments(told: NodeArguments) -> dag_pb2.NodeArguments:
    """Give the message for the arguments of a node."""
    return dag_pb2.NodeArguments(**told._asdict())


def from_definition(info: DefinitionInfo) -> dag_pb2.DefinitionInfo:
    """Give the message for a definition that workers have."""
    told = info.definition
    return dag_pb2.DefinitionInfo(
        definition=graph_pb2.Definition(
            name=told.name,
            entrypoint=from_function(told.entrypoint),
            parameters=[graph_pb2.Parameter(**one._asdict()) for one in told.parameters],
            doc=told.doc,
            limit_keys=told.limit_keys,
            hooks=[
                graph_pb2.DefinitionHook(
                    function=from_function(hook.function), arguments=hook.arguments, only_failed=hook.only_failed
                )
                for hook in told.hooks
            ],
            problem=told.problem,
            code_version=told.code_version,
            keep=told.keep,
        ),
        workers=info.workers,
    )


def from_history(entry: HistoryEntry) -> dag_pb2.HistoryEntry:
    """Give the message for something that was done."""
    return dag_pb2.HistoryEntry(
        at=entry.at,
        action=entry.action,
        by=entry.by,
        instance_id=entry.instance_id or b"",
        subject=entry.subject,
        details=entry.details,
    )


def from_check(check: FunctionCheck) -> dag_pb2.FunctionCheck:
    """Give the message for a function that connected workers may run or not."""
    return dag_pb2.FunctionCheck(reasons=map(from_reason, check.reasons), unsure_workers=check.unsure_workers)


def to_response(kind: type[Message], answer: object) -> Message:
    """Give the response with an answer. It has one field, beside which there may be the token of the next page."""
    names = [field.name for field in kind.DESCRIPTOR.fields]
    if not names:
        return kind()
    if isinstance(answer, Page):
        return kind(**{names[0]: map(_told, answer.items), "next_page_token": answer.next_token})
    return kind(**{names[0]: map(_told, answer) if isinstance(answer, list) else _told(answer)})


def _told(thing: object) -> object:
    tell = _TOLD.get(type(thing))
    return thing if tell is None else tell(thing)


#: How each thing in an answer is told of; ids are told as they are.
_TOLD: dict[type, Callable[[Any], Message]] = {
    InstanceSummary: from_instance,
    NodeInfo: from_node,
    WorkerInfo: from_worker,
    QueueInfo: from_queue,
    FunctionCheck: from_check,
    FunctionCount: from_function_count,
    Shape: from_shape,
    NodeTimes: from_times,
    HistoryEntry: from_history,
    DefinitionInfo: from_definition,
    NodeArguments: from_arguments,
    LimitInfo: from_limit,
    SettingInfo: from_setting,
}
