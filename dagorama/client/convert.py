"""Captured calls as they travel."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from itertools import chain

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.calls.hook_calls import HookCall
from dagorama.client.definitions import Announced
from dagorama.options import NO_OPTIONS, InstanceOptions
from dagorama.v1 import dag_pb2, graph_pb2


class FunctionTable(dict[FunctionSpec, int]):
    """The functions of a message, by their place in its table; one that is asked for is written there."""

    def __init__(self, messages: MutableSequence[graph_pb2.FunctionSpec]) -> None:
        """`messages` is the table in the message."""
        self._messages = messages

    def __missing__(self, function: FunctionSpec) -> int:
        """Add a function."""
        message = graph_pb2.FunctionSpec()
        write_function(message, function)
        self._messages.append(message)
        self[function] = index = len(self)
        return index


def write_calls(message: graph_pb2.Calls, calls: Sequence[CapturedCall], table: FunctionTable) -> None:
    """Fill the message of calls with the function table of the message around it."""
    if not calls:
        return
    node_ids, functions, arguments, dependency_ids, limit_keys, labels, inputs = zip(*calls, strict=True)
    message.node_ids.extend(node_ids)
    message.functions.extend([table[function] for function in functions])
    message.arguments.extend(arguments)
    if any(dependency_ids):
        message.dependency_counts.extend(map(len, dependency_ids))
        message.dependency_ids.extend(chain.from_iterable(dependency_ids))
    if any(limit_keys):
        message.limit_keys.extend(chain.from_iterable(limit_keys))
    if any(labels):
        message.labels.extend(labels)
    if any(inputs):
        message.inputs.extend(inputs)


def write_function(message: graph_pb2.FunctionSpec, function: FunctionSpec) -> None:
    """Fill the message of a function."""
    message.name = function.name
    message.code_version = function.code_version
    message.queue = function.queue
    message.taint = function.taint
    if function.retry is not None:
        message.retry.CopyFrom(function.retry.as_message())
    message.timeout_s = function.timeout_s
    message.start_timeout_s = function.start_timeout_s
    message.at_most_once = function.at_most_once
    message.definition_arguments = function.definition_arguments
    message.release = function.release
    message.parameters = function.parameters
    message.shows_inputs = function.shows_inputs
    for limit in function.limits:
        message.limits.add(max=limit.max or 0, rate_per_s=limit.per_second or 0.0, burst=limit.burst or 0)


def write_definition(message: graph_pb2.Definition, definition: Announced) -> None:
    """Fill the message of a definition that a worker tells of."""
    message.name = definition.name
    write_function(message.entrypoint, definition.entrypoint)
    for one in definition.parameters:
        message.parameters.add(
            name=one.name,
            kind=one.kind,
            annotation=one.annotation,
            default=one.default or "",
            has_default=one.default is not None,
        )
    message.doc = definition.doc
    message.limit_keys.extend(definition.limit_keys)
    for hook in definition.hooks:
        written = message.hooks.add(arguments=hook.arguments, only_failed=hook.only_failed)
        write_function(written.function, hook.function)
    message.problem = definition.problem
    message.code_version = definition.code_version
    message.keep.extend(definition.keep)


def submit_request(
    instance_id: bytes,
    definition: str,
    calls: Sequence[CapturedCall],
    options: InstanceOptions = NO_OPTIONS,
    hooks: Sequence[HookCall] = (),
    by: str = "",
) -> dag_pb2.SubmitRequest:
    """Return the request that makes an instance, with these options and hooks, and nodes in it."""
    request = dag_pb2.SubmitRequest(instance_id=instance_id, definition=definition, by=by)
    if options is not NO_OPTIONS:
        request.options.priority = options.priority
        request.options.group = options.group
        request.options.running_max = options.running_max
        request.options.deadline_s = options.deadline_s
        if options.tags:
            request.options.tags.update(options.tags)
        if options.keep is not None:
            message = request.options.keep
            message.completed_s, message.failed_s, message.cancelled_s = options.keep
        if options.key:
            request.options.key = options.key
            request.options.definition_digest = options.definition_digest
            request.options.arguments_digest = options.arguments_digest
    table = FunctionTable(request.functions)
    write_calls(request.calls, calls, table)
    for hook in hooks:
        request.hooks.add(function=table[hook.function], arguments=hook.arguments, only_failed=hook.only_failed)
    return request
