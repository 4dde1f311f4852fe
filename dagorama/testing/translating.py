"""Translate between this side of the port and the broker's own types, where both are in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from dagorama.capture import CapturedCall, FunctionSpec
from dagorama.client import port, status
from dagorama.options import InstanceOptions
from dagorama.states import InstanceState
from dagorama.why import Reason, Why
from dagorama.worker.held import Held, Rejected
from dagorama_broker.core import commands as c
from dagorama_broker.core.model import values
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import NewCall, NodeId, WorkerId
from dagorama_broker.core.why import Reason as CoreReason
from dagorama_broker.requests import answers
from dagorama_broker.requests.checks import (
    MalformedRequest,
    check_arguments,
    check_function,
    check_function_size,
    check_limit_keys,
    check_options,
    check_size,
    to_failed,
)

T = TypeVar("T")

# -- what is asked -----------------------------------------------------------------------------------------------------


def to_parameters(request: port.Request[Any]) -> dict[str, Any]:
    """Return what the use case of a request takes: its fields, by their names."""
    return {name: _given(value) for name, value in request.values().items()}


def _given(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_given(each) for each in value]
    return to_function(value) if isinstance(value, FunctionSpec) else value


def to_function(function: FunctionSpec) -> values.FunctionSpec:
    """Return a function as the core knows it. Raises `MalformedRequest`."""
    retry = values.RetryPolicy()
    if function.retry is not None:
        said = function.retry.as_message()
        retry = values.RetryPolicy(
            max_attempts=said.max_attempts,
            interval_s=said.interval_s,
            multiplier=said.multiplier,
            interval_max_s=said.interval_max_s,
            jitter=said.jitter,
        )
    return check_function(
        values.FunctionSpec(
            name=function.name,
            code_version=function.code_version,
            queue=function.queue,
            taint=function.taint,
            retry=retry,
            timeout_s=function.timeout_s,
            start_timeout_s=function.start_timeout_s,
            at_most_once=function.at_most_once,
            definition_arguments=function.definition_arguments,
            limits=tuple(
                values.LimitSpec(max=limit.max or 0, rate_per_s=limit.per_second or 0.0, burst=limit.burst or 0)
                for limit in function.limits
            ),
            release=function.release,
        )
    )


def to_calls(calls: Sequence[CapturedCall]) -> list[NewCall]:
    """Return calls as the core knows them. Raises `MalformedRequest`, or `TooLarge`."""
    functions: dict[FunctionSpec, values.FunctionSpec] = {}
    for call in calls:
        if call.function not in functions:
            functions[call.function] = spec = to_function(call.function)
            check_function_size(spec)
        check_arguments(functions[call.function], call.arguments)
    keys = [key for call in calls for key in call.limit_keys]
    check_limit_keys(keys, sum(len(call.function.limits) for call in calls))
    return [
        NewCall(
            NodeId(call.node_id),
            functions[call.function],
            call.arguments,
            cast(tuple[NodeId, ...], call.dependency_ids),
            call.limit_keys,
        )
        for call in calls
    ]


def to_options(options: InstanceOptions) -> c.InstanceOptions:
    """Return the options of an instance as the core knows them. Raises `MalformedRequest`."""
    return check_options(
        c.InstanceOptions(
            priority=options.priority,
            group=options.group,
            running_max=options.running_max,
            deadline_s=options.deadline_s,
        )
    )


# -- what the worker says ----------------------------------------------------------------------------------------------


def to_result(held: Held) -> c.NodeResult:
    """Return the report of an attempt. One that cannot be taken is the failure of its node."""
    try:
        return _to_result(held)
    except MalformedRequest as error:
        return to_failed(held.node_id, held.token, error)


def _to_result(held: Held) -> c.NodeResult:
    report = held.report
    assert report is not None
    failure = report.failure
    check_size("the value", len(report.value or b""))
    return c.NodeResult(
        node_id=NodeId(held.node_id),
        token=held.token,
        payload=report.value,
        alias_id=NodeId(report.alias_id) if report.alias_id is not None else None,
        failure=None
        if failure is None
        else values.Failure(
            type=failure.type,
            message=failure.message,
            traceback=failure.traceback,
            exception=failure.exception,
            permanent=failure.permanent,
        ),
        promise_ids=[NodeId(raw) for raw in report.promise_ids],
        children=to_calls(report.children),
        duration_s=report.duration_us * 1e-6,
    )


def to_rejection(worker_id: WorkerId, held: Held, rejected: Rejected) -> c.RejectVersion | c.RejectUnable:
    """Return the command for a lease that the worker cannot use."""
    lease = c.HeldLease(node_id=NodeId(held.node_id), token=held.token)
    if not rejected.problem:
        return c.RejectVersion(worker_id=worker_id, lease=lease, code_version=rejected.code_version)
    return c.RejectUnable(worker_id=worker_id, lease=lease, problem=rejected.problem, lacks=rejected.lacks)


# -- what is answered --------------------------------------------------------------------------------------------------


def from_answer(answer: object) -> Any:
    """Return an answer of the requests' room as this side of the port knows it."""
    if isinstance(answer, answers.Page):
        return port.Page([from_answer(item) for item in answer.items], answer.next_token)
    if isinstance(answer, list):
        return [from_answer(each) for each in answer]
    translate = _TOLD.get(type(answer))
    return answer if translate is None else translate(answer)


def from_instance(summary: InstanceSummary) -> status.InstanceStatus:
    """Return how an instance stands."""
    return status.InstanceStatus(
        instance_id=UUID(bytes=summary.id),
        definition=summary.definition,
        state=InstanceState(summary.state.value),
        created_at=status.time_at(summary.created_at),
        finished_at=status.time_or_none(summary.finished_at),
        deadline_at=status.time_or_none(summary.deadline_at),
        counts={state.value: summary.counts[state] for state in NodeState if state in summary.counts},
        priority=summary.control.priority,
        group=summary.group,
        paused=summary.control.paused,
        running_max=summary.control.running_max or None,
    )


def from_node(info: answers.NodeInfo) -> status.NodeStatus:
    """Return how a node stands."""
    return status.NodeStatus(
        node_id=UUID(bytes=info.id),
        instance_id=UUID(bytes=info.instance_id),
        function=info.function.name,
        queue=info.function.queue,
        taint=info.function.taint,
        state=info.state.value,
        dependency_ids=status.ids(info.dependency_ids),
        parent_id=status.id_or_none(info.parent_id),
        attempts=info.attempts,
        failures=tuple(
            status.AttemptStatus(
                number=attempt.number,
                worker=attempt.worker,
                ended_at=status.time_at(attempt.ended_at),
                type=attempt.failure.type,
                message=attempt.failure.message,
                traceback=attempt.failure.traceback,
            )
            for attempt in info.failures
        ),
        worker=info.worker,
        created_at=status.time_at(info.created_at),
        finished_at=status.time_or_none(info.finished_at),
        retry_at=status.time_or_none(info.retry_at),
        cause_id=status.id_or_none(info.cause_id),
        progress=None
        if info.progress is None
        else status.ProgressStatus(fraction=info.progress.fraction, message=info.progress.message),
        change=info.change.value if info.change is not None else "",
    )


def _from_worker(info: answers.WorkerInfo) -> status.WorkerStatus:
    return status.WorkerStatus(
        worker_id=UUID(bytes=info.id),
        name=info.name,
        include_queues=tuple(info.include_queues),
        exclude_queues=tuple(info.exclude_queues),
        tolerations=tuple(info.tolerations),
        slots=info.slots,
        leases=info.leases,
        draining=info.draining,
        unfit_functions=tuple(info.unfit_functions),
    )


def _from_queue(info: answers.QueueInfo) -> status.QueueStatus:
    return status.QueueStatus(
        queue=info.queue,
        taint=info.taint,
        ready=info.ready,
        active=info.active,
        workers=info.workers,
        paused=info.paused,
        running_max=info.running_max or None,
        held=info.held,
    )


def _from_check(check: answers.FunctionCheck) -> status.FunctionCheck:
    return status.FunctionCheck(tuple(map(_from_reason, check.reasons)), tuple(check.unsure_workers))


def from_explanation(explanation: answers.Explanation) -> Why:
    """Return what holds a node."""
    node = explanation.node
    return Why(
        instance_id=UUID(bytes=node.instance_id),
        node_id=UUID(bytes=node.id),
        function=node.function.name,
        state=node.state.value,
        reasons=tuple(map(_from_reason, explanation.reasons)),
    )


def _from_reason(reason: CoreReason) -> Reason:
    return Reason(
        kind=reason.kind.value,
        text=reason.text,
        node_ids=status.ids(reason.node_ids),
        workers=reason.workers,
        until=status.time_or_none(reason.until),
        expected_at=status.time_or_none(reason.expected_at),
        because=tuple(map(_from_reason, reason.because)),
    )


def _from_outcome(outcome: answers.Outcome) -> status.Outcome:
    cause = outcome.cause
    if cause is None:
        return status.Outcome(outcome.node_id, outcome.state.value, outcome.values)
    failure = cause.failure
    told = status.Failed(failure.type, failure.message, failure.traceback, failure.exception) if failure else None
    how = status.Cause(cause.node_id, cause.function, cause.attempts, told or status.Failed())
    return status.Outcome(outcome.node_id, outcome.state.value, cause=how)


#: How each answer is told of on this side; what is not here is the same on both.
_TOLD: dict[type, Callable[[Any], object]] = {
    InstanceSummary: from_instance,
    answers.NodeInfo: from_node,
    answers.WorkerInfo: _from_worker,
    answers.QueueInfo: _from_queue,
    answers.FunctionCheck: _from_check,
    answers.Explanation: from_explanation,
    answers.Outcome: _from_outcome,
}
