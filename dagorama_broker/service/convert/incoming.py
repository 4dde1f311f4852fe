"""Messages to core types. Each function raises `MalformedRequest` for what says something that cannot be.

A column is taken as `column[:]`, once: a loop over the field itself ends with an error inside of protobuf, whose text
takes longer to write than a column of one entry to read, and each makes its values anew.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, repeat
from math import inf
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.model.references import referring
from dagorama_broker.core.model.values import (
    AnnouncedDefinition,
    AnnouncedParameter,
    Failure,
    FunctionSpec,
    HookCall,
    InstanceId,
    Keep,
    LimitSpec,
    NewCall,
    NodeId,
    Progress,
    RetryPolicy,
    WorkerId,
)
from dagorama_broker.requests.checks import (
    HELLO_BYTES_MAX,
    LACKS_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PLACE_CHARS_MAX,
    PROBLEM_BYTES_MAX,
    PROGRESS_BYTES_MAX,
    SECONDS_MAX,
    SLOTS_MAX,
    MalformedRequest,
    TooLarge,
    check_arguments,
    check_definitions,
    check_function,
    check_function_size,
    check_id,
    check_ids,
    check_inputs,
    check_labels,
    check_lengths,
    check_limit_keys,
    check_name,
    check_options,
    check_size,
    to_failed,
    to_instance_id,
    to_node_id,
    to_request_id,
)
from dagorama_broker.requests.session import Sent


def to_parameters(request: Message) -> dict[str, object]:
    """Give the fields of a request by their names, None for one that is left out. Raises `MalformedRequest`."""
    return {field.name: _parameter(request, field) for field in request.DESCRIPTOR.fields}


def _parameter(request: Message, field: Any) -> object:
    if field.containing_oneof is not None and not request.HasField(field.name):
        return None
    value = getattr(request, field.name)
    if field.enum_type is not None:
        return [_word(field.enum_type, number) for number in value]
    return _GIVEN[field.name](value) if field.name in _GIVEN else value


def _word(enum: EnumDescriptor, number: int) -> str:
    """Give the word for a member of an enum of states: its name without what all of them begin with."""
    member = enum.values_by_number.get(number)
    if member is None or not number:
        raise MalformedRequest(f"{number} is no {enum.name}")
    return member.name.removeprefix(enum.values_by_number[0].name.removesuffix("UNSPECIFIED")).lower()


def to_function(message: graph_pb2.FunctionSpec) -> FunctionSpec:
    """Give a function as it is meant where something is left out: its queue is its name where none is given."""
    retry = message.retry
    return check_function(
        FunctionSpec(
            name=message.name,
            code_version=message.code_version,
            queue=message.queue or message.name,
            taint=message.taint,
            retry=RetryPolicy(
                max_attempts=max(1, retry.max_attempts),
                interval_s=retry.interval_s,
                multiplier=retry.multiplier or 1.0,
                interval_max_s=retry.interval_max_s,
                jitter=1.0 if 1 < retry.jitter <= SECONDS_MAX else retry.jitter,
            ),
            timeout_s=message.timeout_s,
            start_timeout_s=message.start_timeout_s,
            at_most_once=message.at_most_once,
            definition_arguments=message.definition_arguments,
            release=message.release,
            parameters=message.parameters,
            shows_inputs=message.shows_inputs,
            limits=tuple(
                LimitSpec(max=limit.max, rate_per_s=limit.rate_per_s, burst=limit.burst) for limit in message.limits
            )
            if message.limits
            else (),
        )
    )


def to_instance_options(message: dag_pb2.InstanceOptions) -> c.InstanceOptions:
    """Give how an instance is to be run."""
    return check_options(
        c.InstanceOptions(
            priority=message.priority,
            group=message.group,
            running_max=message.running_max,
            deadline_s=message.deadline_s,
            tags=tuple(sorted(message.tags.items())),
            key=message.key,
            definition_digest=message.definition_digest,
            arguments_digest=message.arguments_digest,
            keep=(
                Keep(message.keep.completed_s, message.keep.failed_s, message.keep.cancelled_s)
                if message.HasField("keep")
                else None
            ),
        )
    )


def to_hooks(messages: Iterable[dag_pb2.Hook], functions: Sequence[FunctionSpec]) -> list[HookCall]:
    """Give the calls for an instance's ends, with the function table of the message around them."""
    hooks = []
    for message in messages:
        if message.function >= len(functions):
            raise MalformedRequest(f"a hook names function {message.function} of a table that has {len(functions)}")
        hooks.append(HookCall(functions[message.function], message.arguments, message.only_failed))
    return hooks


def to_functions(messages: Iterable[graph_pb2.FunctionSpec]) -> list[FunctionSpec | MalformedRequest]:
    """Give a function table; in the place of a function that cannot be stands what is wrong with it."""
    functions: list[FunctionSpec | MalformedRequest] = []
    for message in messages:
        try:
            functions.append(to_function(message))
        except MalformedRequest as error:
            functions.append(error.with_traceback(None))
    return functions


def to_calls(message: graph_pb2.Calls, functions: Sequence[FunctionSpec | MalformedRequest]) -> list[NewCall]:
    """Give calls, with the function table of the enclosing message. Raises `TooLarge` as well."""
    node_ids, indices, arguments = message.node_ids[:], message.functions[:], message.arguments[:]
    check_lengths("calls", node_ids, indices, arguments)
    check_ids(node_ids, "node_ids of calls")
    last = max(indices, default=-1)
    if last >= len(functions):
        raise MalformedRequest(f"a call names function {last} of a table that has {len(functions)}")
    used = {index: _usable(functions[index]) for index in set(indices)}
    specs = [used[index] for index in indices]
    limits = any(spec.limits for spec in used.values())
    if max(map(len, arguments), default=0) > PAYLOAD_BYTES_MAX:
        check_arguments(*max(zip(specs, arguments, strict=True), key=lambda call: len(call[1])))
    dependencies = _dependencies(message, len(node_ids))
    keys = _limit_keys(message.limit_keys, specs) if limits or message.limit_keys else repeat(())
    labels, inputs = _texts("labels", message.labels, len(node_ids)), _texts("inputs", message.inputs, len(node_ids))
    check_labels(labels)
    check_inputs(inputs)
    texts = labels or repeat(""), inputs or repeat("")
    return list(map(NewCall._make, zip(node_ids, specs, arguments, dependencies, keys, *texts, strict=False)))


def _usable(function: FunctionSpec | MalformedRequest) -> FunctionSpec:
    """Give a function of a table that a call names. Raises `MalformedRequest` where it cannot be, or `TooLarge`."""
    if isinstance(function, MalformedRequest):
        raise function
    check_function_size(function)
    return function


def _dependencies(message: graph_pb2.Calls, calls: int) -> Iterable[tuple[NodeId, ...]]:
    """Give the dependencies of each call."""
    counts, ids = message.dependency_counts[:], _to_node_ids(message.dependency_ids)
    check_ids(ids, "dependency_ids of calls")
    if not counts and not ids:
        return repeat(())
    if len(counts) != calls or sum(counts) != len(ids):
        raise MalformedRequest(
            f"calls have {len(counts)} dependency_counts for {calls} calls, which add up to {sum(counts)}, and "
            f"{len(ids)} dependency_ids"
        )
    return [ids[end - count : end] for end, count in zip(accumulate(counts), counts, strict=True)]


def _texts(what: str, column: Sequence[str], calls: int) -> Sequence[str]:
    """Give the texts of calls, none where the column is left out because no call has any."""
    if column and len(column) != calls:
        raise MalformedRequest(f"{calls} calls have {len(column)} {what}")
    return column[:]


def _limit_keys(keys: Sequence[str], specs: Sequence[FunctionSpec]) -> Iterable[tuple[str, ...]]:
    """Give the keys of each call, of which at least one has limits, or should have none."""
    counts = [len(spec.limits) for spec in specs]
    check_limit_keys(keys, sum(counts))
    keys = tuple(keys)
    return [keys[end - count : end] for end, count in zip(accumulate(counts), counts, strict=True)]


def _to_node_ids(raw: Sequence[bytes]) -> tuple[NodeId, ...]:
    return cast(tuple[NodeId, ...], tuple(raw[:]))


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


def to_completions(message: work_pb2.Completions) -> tuple[Iterable[c.Completion], list[c.NodeResult], bool]:
    """Give the attempts that gave a plain value, and as failures those of which the value is too large.

    With them comes whether any of the values refers to large ones.
    """
    node_ids, tokens, values = cast(list[NodeId], message.node_ids[:]), message.tokens[:], message.values[:]
    durations_us, waits_us = message.durations_us[:], message.waits_us[:] or [0] * len(message.tokens)
    check_lengths("completions", node_ids, tokens, values, durations_us, waits_us)
    durations_s, waits_s = [one * 1e-6 for one in durations_us], [one * 1e-6 for one in waits_us]
    rows = zip(node_ids, tokens, values, durations_s, waits_s, strict=True)
    if max(map(len, values), default=0) <= PAYLOAD_BYTES_MAX:
        return rows, [], bool(referring(values))
    taken, failed = [], []
    for row in rows:
        node_id, token, value, _, _ = row
        if len(value) <= PAYLOAD_BYTES_MAX:
            taken.append(row)
        else:
            failed.append(to_failed(node_id, token, TooLarge("the value", len(value))))
    return taken, failed, bool(referring(values))


def to_results(request: work_pb2.WorkRequest) -> list[c.NodeResult]:
    """Give the results of a worker's message that are more than a plain value.

    One that is too large, or says what cannot be, fails its node; the others count.
    """
    functions = to_functions(request.functions)
    results = []
    for message in request.results:
        try:
            results.append(_to_result(message, functions))
        except MalformedRequest as error:
            results.append(to_failed(message.node_id, message.token, error))
    return results


def _to_result(message: work_pb2.Result, functions: Sequence[FunctionSpec | MalformedRequest]) -> c.NodeResult:
    """Give a result. Raises `MalformedRequest`, or `TooLarge`."""
    result = c.NodeResult(
        node_id=NodeId(message.node_id),
        token=message.token,
        duration_s=message.duration_us * 1e-6,
        waited_s=message.waited_us * 1e-6,
    )
    outcome = message.WhichOneof("outcome")
    if outcome == "value":
        check_size("the value", len(message.value))
        result.payload = message.value
        result.promise_ids = _to_node_ids(message.promise_ids)
    elif outcome == "alias_id":
        result.alias_id = NodeId(message.alias_id)
    elif outcome == "failure":
        result.failure = to_failure(message.failure)
    else:
        raise MalformedRequest("a result has no outcome")
    if message.HasField("children"):
        result.children = to_calls(message.children, functions)
    if message.places:
        result.places = {place.digest: (place.call, place.path[:PLACE_CHARS_MAX]) for place in message.places}
    return result


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


def to_labels(message: work_pb2.Labels) -> list[tuple[int, str]]:
    """Give the labels of nodes that a worker runs, by token. Raises `MalformedRequest`."""
    if len(message.tokens) != len(message.texts):
        lengths = f"{len(message.tokens)}, {len(message.texts)}"
        raise MalformedRequest(f"the columns of labels have different lengths: {lengths}")
    check_labels(message.texts)
    return list(zip(message.tokens, message.texts, strict=True))


def to_definitions(message: work_pb2.Definitions) -> tuple[AnnouncedDefinition, ...]:
    """Give the definitions that a worker tells of. Raises `MalformedRequest`."""
    check_definitions(len(message.definitions), message.ByteSize())
    return tuple(map(_to_definition, message.definitions))


def _to_definition(message: graph_pb2.Definition) -> AnnouncedDefinition:
    check_name("definition", message.name)
    entrypoint = to_function(message.entrypoint)
    check_limit_keys(message.limit_keys, len(entrypoint.limits) if not message.problem else len(message.limit_keys))
    return AnnouncedDefinition(
        name=message.name,
        entrypoint=entrypoint,
        parameters=tuple(
            AnnouncedParameter(one.name, one.kind, one.annotation, one.default, one.has_default)
            for one in message.parameters
        ),
        doc=message.doc,
        limit_keys=tuple(message.limit_keys),
        hooks=tuple(HookCall(to_function(one.function), one.arguments, one.only_failed) for one in message.hooks),
        problem=message.problem,
        code_version=message.code_version,
        keep=tuple(message.keep),
    )


def to_leases(messages: Iterable[work_pb2.Lease]) -> list[c.HeldLease]:
    """Give the leases that a worker names."""
    return [
        c.HeldLease(
            node_id=NodeId(message.node_id),
            token=message.token,
            instance_id=InstanceId(message.instance_id) if message.instance_id else None,
            held_s=message.held_s if 0 < message.held_s < inf else 0.0,
        )
        for message in messages
    ]


def to_rejection(worker_id: WorkerId, message: work_pb2.Rejection) -> c.RejectVersion | c.RejectUnable:
    """Give the command for a lease that a worker cannot use."""
    (lease,) = to_leases([message.lease])
    if not message.problem:
        return c.RejectVersion(worker_id=worker_id, lease=lease, code_version=message.code_version)
    for field, text, most in (
        ("problem", message.problem, PROBLEM_BYTES_MAX),
        ("lacks", message.lacks, LACKS_BYTES_MAX),
    ):
        if len(text.encode()) > most:
            raise MalformedRequest(f"{field} of a rejection has {len(text.encode())} bytes; the limit is {most}")
    return c.RejectUnable(worker_id=worker_id, lease=lease, problem=message.problem, lacks=message.lacks)


def to_connect(hello: work_pb2.Hello) -> c.ConnectWorker:
    """Give the command for a worker's hello."""
    if hello.ByteSize() > HELLO_BYTES_MAX:
        raise MalformedRequest(
            f"the hello of worker {hello.name[:60]!r} has {hello.ByteSize()} bytes; the limit is {HELLO_BYTES_MAX}"
        )
    check_name("worker", hello.name)
    if hello.slots > SLOTS_MAX:
        raise MalformedRequest(
            f"worker {hello.name!r} has {hello.slots} slots; the limit is {SLOTS_MAX}. Start more workers, or give it "
            "a lower concurrency"
        )
    for field in ("include_queues", "exclude_queues", "tolerations", "modules", "function_names", "code_versions"):
        for text in getattr(hello, field):
            check_name(f"one of the {field} of worker {hello.name!r}:", text)
    check_lengths("a worker's versions", hello.function_names, hello.code_versions)
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


def to_sent(worker_id: WorkerId, request: work_pb2.WorkRequest) -> Sent:
    """Give what a worker says after its hello. Raises `MalformedRequest`."""
    commands: list[c.Command] = []
    if request.draining:
        commands.append(c.DrainWorker(worker_id=worker_id))
    if request.hand_backs:
        commands.append(c.HandBack(worker_id=worker_id, leases=to_leases(request.hand_backs)))
    if request.rejections:
        commands += [to_rejection(worker_id, rejection) for rejection in request.rejections]
    if request.HasField("progress"):
        commands.append(c.ReportProgress(worker_id=worker_id, progress=to_progress(request.progress)))
    if request.HasField("definitions"):
        definitions = to_definitions(request.definitions)
        commands.append(c.AnnounceDefinitions(worker_id=worker_id, definitions=definitions))
    if request.HasField("labels"):
        commands.append(c.LabelNodes(worker_id=worker_id, labels=to_labels(request.labels)))
    completions: Iterable[c.Completion] = ()
    results: list[c.NodeResult] = []
    refers = False
    if request.HasField("completions"):
        completions, results, refers = to_completions(request.completions)
    elif not request.results:
        return Sent(commands)
    if request.results:
        results += to_results(request)
        refers = refers or _refers(request)
    clock_s = request.clock_s
    report = c.CompleteNodes(worker_id=worker_id, results=results, completions=completions, clock_s=clock_s)
    # No view of the field, which would keep the whole message for as long as its report is on its way to disk.
    return Sent(commands, report, request.sequence, refers=refers, printed=request.printed[:])


def _refers(request: work_pb2.WorkRequest) -> bool:
    """Tell whether any payload of the results of a report refers to values."""
    payloads = [function.definition_arguments for function in request.functions]
    for result in request.results:
        payloads += (result.value, result.failure.exception, *result.children.arguments[:])
    return bool(referring(payloads))


#: How fields of requests are taken that are not taken as they are.
_GIVEN: dict[str, Callable[[Any], object]] = {
    "instance_id": to_instance_id,
    "node_id": to_node_id,
    "request_id": to_request_id,
    "worker_id": lambda raw: WorkerId(check_id(raw, "worker_id")),
    "functions": lambda functions: [each if isinstance(each, str) else to_function(each) for each in functions],
    "tags": dict,
}
