"""Translate between this side of the port and the broker's own types, where both are in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, cast

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.calls.edits import ArgumentsTold
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.previews import preview_in
from dagorama.calls.showing import inputs_in
from dagorama.client import changes, events, port, status
from dagorama.client.counts import FunctionProgress
from dagorama.client.definitions import PLACES, Announced, DefinitionInfo
from dagorama.client.history import HistoryEntry, details_in
from dagorama.client.log_lines import LogBlock, LogChunk, LogPart
from dagorama.client.shape import InstanceShape, ShapeEdge, ShapeGroup
from dagorama.client.times import TimesPage
from dagorama.client.told import Row, Telling
from dagorama.options import InstanceOptions
from dagorama.states import NodeState as State
from dagorama.why import Reason, Why
from dagorama.worker.shell.held import Held, Rejected
from dagorama_broker.core import commands as c
from dagorama_broker.core.model import values
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import NewCall, NodeId, WorkerId
from dagorama_broker.core.why import Reason as CoreReason
from dagorama_broker.logs.blocks import Chunk, StoredBlock
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
    retry = values.RetryPolicy() if function.retry is None else values.RetryPolicy(**function.retry.numbers()._asdict())
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
            parameters=function.parameters,
            shows_inputs=function.shows_inputs,
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
            call.label,
            call.inputs,
        )
        for call in calls
    ]


def to_definition(told: Announced) -> values.AnnouncedDefinition:
    """Return a definition that the worker tells of as the core knows it. Raises `MalformedRequest`."""
    return values.AnnouncedDefinition(
        name=told.name,
        entrypoint=to_function(told.entrypoint),
        parameters=tuple(
            values.AnnouncedParameter(one.name, one.kind, one.annotation, one.default or "", one.default is not None)
            for one in told.parameters
        ),
        doc=told.doc,
        limit_keys=told.limit_keys,
        hooks=tuple(to_hooks(told.hooks)),
        problem=told.problem,
        code_version=told.code_version,
        keep=told.keep,
    )


def to_hooks(hooks: Sequence[HookCall]) -> list[values.HookCall]:
    """Return the calls for an instance's ends as the core knows them. Raises `MalformedRequest`."""
    return [values.HookCall(to_function(hook.function), hook.arguments, hook.only_failed) for hook in hooks]


def to_options(options: InstanceOptions) -> c.InstanceOptions:
    """Return the options of an instance as the core knows them. Raises `MalformedRequest`."""
    return check_options(
        c.InstanceOptions(
            priority=options.priority,
            group=options.group,
            running_max=options.running_max,
            deadline_s=options.deadline_s,
            tags=options.tags,
            key=options.key,
            definition_digest=options.definition_digest,
            arguments_digest=options.arguments_digest,
            keep=None if options.keep is None else values.Keep(*options.keep),
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
        failure=None if failure is None else values.Failure(**failure._asdict()),
        promise_ids=[NodeId(raw) for raw in report.promise_ids],
        children=to_calls(report.children),
        duration_s=report.duration_us * 1e-6,
        places=held.places,
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
        return port.Page([_told(item) for item in answer.items], answer.next_token)
    if isinstance(answer, answers.EventBatch):
        return _from_events(answer)
    if isinstance(answer, list):
        return [_told(each) for each in answer]
    return _from_outcome(answer) if isinstance(answer, answers.Outcome) else _told(answer)


def _from_events(batch: answers.EventBatch) -> events.EventBatch:
    told = tuple([replace(_told(happening), cursor=cursor) for cursor, happening in batch.events])
    return events.EventBatch(told, batch.cursor, batch.skipped)


def _from_outcome(outcome: answers.Outcome) -> status.Outcome:
    cause = outcome.cause
    if cause is None:
        return status.Outcome(outcome.node_id, outcome.state.value, outcome.values)
    failure = cause.failure
    told = status.Failed(failure.type, failure.message, failure.traceback, failure.exception) if failure else None
    how = status.Cause(cause.node_id, cause.function, cause.attempts, told or status.Failed())
    return status.Outcome(outcome.node_id, outcome.state.value, cause=how)


def _fact(thing: object, path: str) -> object:
    """Return what a thing has under a path; the word for a member of an enum."""
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing.value if isinstance(thing, Enum) else thing


_told = Telling(
    {
        InstanceSummary: Row(
            status.InstanceStatus,
            {
                "instance_id": "id",
                "counts": lambda summary: {
                    state.value: summary.counts[state] for state in NodeState if state in summary.counts
                },
                "tags": lambda summary: dict(summary.tags),
                **{name: f"control.{name}" for name in ("priority", "paused", "running_max")},
            },
        ),
        answers.FunctionCount: Row(
            FunctionProgress,
            {"counts": lambda told: {state.value: told.counts[state] for state in NodeState if state in told.counts}},
        ),
        answers.Shape: Row(InstanceShape),
        answers.ShapeGroup: Row(
            ShapeGroup,
            {"counts": lambda told: {state.value: told.counts[state] for state in NodeState if state in told.counts}},
        ),
        answers.ShapeEdge: Row(ShapeEdge),
        answers.NodeTimes: Row(
            TimesPage,
            {
                "functions": lambda told: list(told.functions),
                "workers": lambda told: list(told.workers),
                "states": lambda told: [State(state.value) for state in told.states],
            },
        ),
        answers.ChangeBatch: Row(changes.ChangeSet, {"is_last": lambda _: False}),
        answers.InstanceChange: Row(
            changes.InstanceChange,
            {"counts": lambda told: {state.value: count for state, count in told.counts.items()}},
        ),
        answers.InstanceHappening: Row(
            events.InstanceEvent,
            {
                "cursor": lambda _: "",
                "priority": lambda told: told.control.priority if told.control else 0,
                "paused": lambda told: told.control is not None and told.control.paused,
                "running_max": lambda told: told.control.running_max if told.control else 0,
            },
        ),
        answers.NodeHappening: Row(events.NodeEvent, {"cursor": lambda _: ""}),
        answers.WorkerHappening: Row(events.WorkerEvent, {"cursor": lambda _: ""}),
        answers.NodeInfo: Row(
            status.NodeStatus,
            {
                "node_id": "id",
                "function": "function.name",
                "queue": "function.queue",
                "taint": "function.taint",
                "inputs": inputs_in,
                "value_preview": preview_in,
            },
        ),
        values.Pause: Row(status.Pause),
        values.UndoneAttempt: Row(status.UndoneStatus),
        values.FailedAttempt: Row(
            status.AttemptStatus, {name: f"failure.{name}" for name in ("type", "message", "traceback")}
        ),
        answers.NodeArguments: Row(ArgumentsTold),
        answers.LimitHolder: Row(status.LimitHolder),
        answers.LimitInfo: Row(status.LimitStatus),
        answers.SettingInfo: Row(status.BrokerSetting),
        answers.DefinitionInfo: Row(DefinitionInfo, PLACES),
        answers.HistoryEntry: Row(HistoryEntry, {"details": lambda told: details_in(told.details)}),
        values.Progress: Row(status.ProgressStatus),
        answers.WorkerInfo: Row(status.WorkerStatus, {"worker_id": "id"}),
        answers.QueueInfo: Row(status.QueueStatus),
        answers.FunctionCheck: Row(status.FunctionCheck),
        CoreReason: Row(Reason),
        answers.Explanation: Row(
            Why,
            {
                "instance_id": "node.instance_id",
                "node_id": "node.id",
                "function": "node.function.name",
                "state": "node.state",
                "label": "node.label",
            },
        ),
    },
    _fact,
)


def from_chunk(chunk: Chunk) -> LogChunk:
    """Return a part of what nodes have printed as this side of the port knows it."""
    return LogChunk(list(map(_from_stored, chunk.blocks)), chunk.cursor, chunk.gaps, chunk.last)


def _from_stored(stored: StoredBlock) -> LogBlock:
    block = stored.block
    parts = [
        LogPart(part.node_id, part.attempt, part.token, part.dropped_lines, part.dropped_bytes, part.ended)
        for part in block.parts
    ]
    return LogBlock(stored.worker, parts, block.data, block.compression)
