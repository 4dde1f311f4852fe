"""Captured calls as they travel."""

from __future__ import annotations

from collections.abc import Iterable

from dagorama.capture import CapturedCall, FunctionSpec
from dagorama.v1 import dag_pb2, graph_pb2


def write_call(message: graph_pb2.Call, call: CapturedCall, function_index: int) -> None:
    """Fills the message of a call; `function_index` is its function's place in the table of the enclosing message."""
    message.node_id = call.node_id
    message.function = function_index
    message.arguments = call.arguments
    message.dependency_ids.extend(call.dependency_ids)


def write_function(message: graph_pb2.FunctionSpec, function: FunctionSpec) -> None:
    """Fills the message of a function."""
    message.name = function.name
    message.code_version = function.code_version
    message.queue = function.queue
    message.taint = function.taint
    if function.retry is not None:
        message.retry.CopyFrom(function.retry.as_message())
    message.definition_arguments = function.definition_arguments


def submit_request(instance_id: bytes, definition: str, calls: Iterable[CapturedCall]) -> dag_pb2.SubmitRequest:
    """Returns the request that makes an instance and nodes in it."""
    request = dag_pb2.SubmitRequest(instance_id=instance_id, definition=definition)
    table: dict[FunctionSpec, int] = {}
    for call in calls:
        index = table.get(call.function)
        if index is None:
            index = table[call.function] = len(table)
            write_function(request.functions.add(), call.function)
        write_call(request.calls.add(), call, index)
    return request
