"""Translate requests to messages, and messages to what this side of the port knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from dagorama.calls.capture import FunctionSpec
from dagorama.calls.edits import ArgumentsTold
from dagorama.calls.previews import preview_in
from dagorama.calls.showing import inputs_in
from dagorama.client.changes import ChangeSet, InstanceChange
from dagorama.client.convert import write_function
from dagorama.client.counts import FunctionProgress
from dagorama.client.definitions import PLACES, DefinitionInfo
from dagorama.client.events import EventBatch, InstanceEvent, NodeEvent, WorkerEvent
from dagorama.client.history import HistoryEntry, details_in
from dagorama.client.log_lines import LogBlock, LogChunk, LogPart
from dagorama.client.port import Page, Request
from dagorama.client.shape import InstanceShape, ShapeEdge, ShapeGroup
from dagorama.client.status import (
    AttemptStatus,
    BrokerSetting,
    Cause,
    Failed,
    FunctionCheck,
    InstanceStatus,
    LimitHolder,
    LimitStatus,
    NodeStatus,
    Outcome,
    Pause,
    ProgressStatus,
    QueueStatus,
    UndoneStatus,
    WorkerStatus,
)
from dagorama.client.times import TimesPage
from dagorama.client.told import Row, Telling
from dagorama.states import NodeState as State
from dagorama.v1 import dag_pb2, graph_pb2, logs_pb2
from dagorama.v1.graph_pb2 import NodeState
from dagorama.why import Reason, Why

T = TypeVar("T")

#: The states of nodes after which nothing changes, as they travel.
TERMINAL_STATES = frozenset(
    {
        NodeState.NODE_STATE_COMPLETED,
        NodeState.NODE_STATE_FAILED,
        NodeState.NODE_STATE_DEPENDENCY_FAILED,
        NodeState.NODE_STATE_CANCELLED,
    }
)

# -- requests and their answers, by the names that both sides have -----------------------------------------------------


def message_of(request: Request[Any]) -> Message:
    """Return the message of a request: it has the request's fields, and none for what is None."""
    kind = getattr(dag_pb2, f"{request.rpc}Request")
    values = {name: _encoded(value) for name, value in request.values().items()}
    for field in kind.DESCRIPTOR.fields:
        if field.enum_type is not None:
            numbers = {_word(field.enum_type, number): number for number in field.enum_type.values_by_number}
            values[field.name] = [numbers[str(word)] for word in cast(Sequence[str], values[field.name])]
    return cast(Message, kind(**values))


def _encoded(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    if isinstance(value, FunctionSpec):
        message = graph_pb2.FunctionSpec()
        write_function(message, value)
        return message
    return value


def answer_in(request: Request[T], response: Message) -> T:
    """Return what a response says. It has one field, beside which there may be the token of the next page."""
    if isinstance(response, dag_pb2.WhyResponse):
        return cast(T, why_in(response))
    names = [field.name for field in response.DESCRIPTOR.fields]
    if not names:
        return cast(T, None)
    value = getattr(response, names[0])
    if isinstance(value, Message):
        return cast(T, _told(value))
    items = [_told(each) for each in value]
    return cast(T, Page(items, response.next_page_token) if "next_page_token" in names else items)  # type: ignore[attr-defined]


# -- how things stand --------------------------------------------------------------------------------------------------


def why_in(response: dag_pb2.WhyResponse) -> Why:
    """Return what a broker has answered about a node."""
    return cast(Why, _told(response))


def instance_status(info: dag_pb2.InstanceInfo) -> InstanceStatus:
    """Return an instance as the broker tells of it."""
    return cast(InstanceStatus, _told(info))


def _fact(message: Message, path: str) -> object:
    """Return what a field has, None for a message that is not set."""
    *outer, name = path.split(".")
    for each in outer:
        message = getattr(message, each)
    value = getattr(message, name)
    if isinstance(value, Message):
        return value if message.HasField(name) else None
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    return value if enum is None else _word(enum, value)


def _word(enum: Any, number: int) -> str:
    """Return the word for a number of an enum, given by its descriptor: "dependency_failed", or "" for 0."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name)
    return enum.values_by_number[number].name.removeprefix(f"{words.upper()}_").lower() if number else ""


def _state_name(state: NodeState.ValueType) -> str:
    return _word(NodeState.DESCRIPTOR, state)


#: The states of nodes by their numbers on the wire.
_STATES = {number: State(_state_name(number)) for number in NodeState.values() if number}

_told = Telling(
    {
        dag_pb2.InstanceInfo: Row(
            InstanceStatus,
            {
                "counts": lambda info: {_state_name(count.state): count.count for count in info.counts},
                "tags": lambda info: dict(sorted(info.tags.items())),
            },
        ),
        dag_pb2.FunctionCount: Row(
            FunctionProgress,
            {"counts": lambda told: {_state_name(count.state): count.count for count in told.counts}},
        ),
        dag_pb2.Shape: Row(InstanceShape),
        dag_pb2.ShapeGroup: Row(
            ShapeGroup, {"counts": lambda told: {_state_name(count.state): count.count for count in told.counts}}
        ),
        dag_pb2.ShapeEdge: Row(ShapeEdge),
        dag_pb2.NodeTimes: Row(TimesPage, {"states": lambda told: list(map(_STATES.__getitem__, told.states))}),
        dag_pb2.NodeInfo: Row(NodeStatus, {"inputs": inputs_in, "value_preview": preview_in}),
        dag_pb2.Pause: Row(Pause),
        dag_pb2.UndoneAttempt: Row(UndoneStatus),
        dag_pb2.AttemptInfo: Row(AttemptStatus, {name: f"failure.{name}" for name in ("type", "message", "traceback")}),
        dag_pb2.EventBatch: Row(
            EventBatch,
            {
                "events": lambda told: [getattr(one, one.WhichOneof("event")) for one in told.events],
                "is_last": lambda _: False,
            },
        ),
        dag_pb2.ChangeBatch: Row(ChangeSet, {"is_last": lambda _: False}),
        dag_pb2.InstanceChange: Row(
            InstanceChange,
            {"counts": lambda told: {_state_name(count.state): count.count for count in told.counts}},
        ),
        dag_pb2.InstanceEvent: Row(InstanceEvent),
        dag_pb2.NodeEvent: Row(NodeEvent),
        dag_pb2.WorkerEvent: Row(WorkerEvent),
        dag_pb2.NodeArguments: Row(ArgumentsTold),
        dag_pb2.LimitHolder: Row(LimitHolder),
        dag_pb2.LimitInfo: Row(LimitStatus),
        dag_pb2.SettingInfo: Row(BrokerSetting),
        dag_pb2.DefinitionInfo: Row(DefinitionInfo, PLACES),
        dag_pb2.HistoryEntry: Row(HistoryEntry, {"details": lambda told: details_in(told.details)}),
        dag_pb2.Progress: Row(ProgressStatus),
        dag_pb2.WorkerInfo: Row(WorkerStatus),
        dag_pb2.QueueInfo: Row(QueueStatus),
        dag_pb2.FunctionCheck: Row(FunctionCheck),
        dag_pb2.Reason: Row(Reason),
        dag_pb2.WhyResponse: Row(
            Why, {name: f"node.{name}" for name in ("instance_id", "node_id", "function", "state", "label")}
        ),
    },
    _fact,
)


def outcomes_in(response: dag_pb2.WatchResponse) -> list[Outcome]:
    """Return how nodes have ended."""
    values = zip(response.values.node_ids, response.values.payloads, strict=True)
    return [_outcome(message, values) for message in response.outcomes]


def _outcome(message: graph_pb2.Outcome, values: Iterator[tuple[bytes, bytes]]) -> Outcome:
    """Return how a node has ended, with its share of the values; all of them where the broker names no number."""
    node_id = message.node_id
    state = _state_name(message.state)
    if state == "completed":
        return Outcome(node_id, state, list(islice(values, message.value_count or None)))
    told = message.failure
    failure = Failed(told.type, told.message, told.traceback, told.exception)
    cause = Cause(message.cause_id or node_id, message.cause_function, message.cause_attempts, failure)
    return Outcome(node_id, state, cause=cause)


# -- logs --------------------------------------------------------------------------------------------------------------


def log_chunk(response: logs_pb2.ReadResponse) -> LogChunk:
    """Return a part of what nodes have printed."""
    return LogChunk(list(map(_log_block, response.blocks)), response.cursor, list(response.gaps), response.last)


def _log_block(message: logs_pb2.StoredLogBlock) -> LogBlock:
    block = message.block
    parts = [
        LogPart(part.node_id, part.attempt, part.token, part.dropped_lines, part.dropped_bytes, part.ended)
        for part in block.parts
    ]
    return LogBlock(message.worker, parts, block.data, block.compression)
