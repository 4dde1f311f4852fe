"""Check that a request is one that the broker can take: its ids, sizes, names and numbers."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from math import inf
from typing import TypeVar

from dagorama_broker.core.commands import ControlInstance, InstanceOptions, NodeResult, SubmitNodes
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import (
    Body,
    Failure,
    FunctionSpec,
    HookCall,
    InstanceId,
    LimitSpec,
    NodeId,
    RequestId,
    Start,
    Tags,
)

S = TypeVar("S", NodeState, InstanceState)

ID_BYTES = 16

#: What a running function may say beside how far it has got. It is for one line on a screen.
PROGRESS_BYTES_MAX = 1024

#: A label of a node, and its arguments as a text. They are kept with it.
LABEL_BYTES_MAX, INPUTS_BYTES_MAX = 1024, 16384

#: How much of a payload of arguments is given to those who look at one node, and at many.
ARGUMENT_BYTES_SHOWN, ARGUMENT_BYTES_LISTED = 65536, 2048

#: And of the payload of a value, to those who look at one node: far more than is shown of it.
VALUE_BYTES_SHOWN = 16384

#: What a worker may say of what it lacks, and the name of that. Both are kept for as long as it is connected.
PROBLEM_BYTES_MAX, LACKS_BYTES_MAX = 2000, 500

#: What a worker may say of where a large value stands in another. No more of it is in an error.
PLACE_CHARS_MAX = 200

#: Names: of functions, queues, taints, definitions, versions and workers. They are kept, shown and put in messages.
NAME_BYTES_MAX = 2000

#: The most slots of a worker. A worker is granted all that fits in its slots at once.
SLOTS_MAX = 10_000

#: What a worker says of itself, with all that it still holds: about 100,000 leases or functions.
HELLO_BYTES_MAX = 16 * 2**20

#: What one message has room for beside its columns: protobuf ends at 2 GiB.
MESSAGE_BYTES_MAX = 2**31 - 2**24

#: The largest payload. SQLite stores up to 1e9 bytes in a row; a commit with more would fail, and the broker with it.
PAYLOAD_BYTES_MAX = 512 * 2**20

#: Priorities are from the negative of this to this: a place in the order of ready nodes has room for far more.
PRIORITY_MAX = 1000
#: A group's name is shown to people, and kept with every instance.
GROUP_LENGTH_MAX = 200

#: A key is stored once with its instance, and tags with an index of them. All are shown to people.
KEY_LENGTH_MAX = 200
TAGS_MAX, TAG_NAME_LENGTH_MAX, TAG_VALUE_LENGTH_MAX = 50, 100, 500
#: The definitions that a worker tells of, kept for as long as it is connected.
DEFINITIONS_MAX, DEFINITIONS_BYTES_MAX = 500, 2**20
#: Arguments that take the place of others, and what is kept of them for people.
EDITS_BYTES_MAX, EDITS_SHOWN_LENGTH_MAX = 2**20, 1000
#: Who asks for something; it is kept with what they have done, and shown to people.
ACTOR_LENGTH_MAX = 200
#: The most hooks of an instance: each is a node, made in the commit that ends the instance.
HOOKS_MAX = 20
#: So many functions may be asked for at once.
FUNCTIONS_MAX = 100
#: The changed nodes of so many instances are told to a watcher.
CHANGES_NAMED_MAX = 200
#: A digest is that of a hash function of the client's choice.
DIGEST_BYTES_MAX = 64

#: The most limits that a function may have, and bytes of a key. Each call carries its keys, here and in the storage.
LIMITS_MAX, LIMIT_KEY_BYTES_MAX = 10, 500

#: Rates beyond these are as good as none: one start in 30 years, one in a nanosecond. Reckoning stays finite between.
RATE_MIN, RATE_MAX = 1e-9, 1e9

#: No length of time is longer: 100 years. What is reckoned with it is still a date.
SECONDS_MAX = 100 * 365 * 86400


class MalformedRequest(Exception):
    """A message does not say what it must; the text names the field and what it holds."""


class TooLarge(MalformedRequest):
    """Something is larger than the broker can keep."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(
            f"{what} has {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes. Keep the data in a file or a store that "
            "all workers reach, and pass its name"
        )


class SumTooLarge(MalformedRequest):
    """Values that are each small enough come to more than one message can hold."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(
            f"{what} come to {size} bytes together; the limit is {MESSAGE_BYTES_MAX} bytes. Keep the data in files or "
            "a store that all workers reach, and pass their names"
        )


def check_id(raw: bytes, field: str) -> bytes:
    """Give the id back. Raises `MalformedRequest` where it cannot be one."""
    if len(raw) != ID_BYTES:
        raise MalformedRequest(f"{field} has {len(raw)} bytes; an id has {ID_BYTES}")
    return raw


def check_size(what: str, size: int) -> None:
    """Raise `TooLarge` where something has more bytes than the broker can keep."""
    if size > PAYLOAD_BYTES_MAX:
        raise TooLarge(what, size)


def check_name(field: str, text: str) -> None:
    """Raise `MalformedRequest` where a name is longer than names may be."""
    if len(text) * 4 > NAME_BYTES_MAX and (size := len(text.encode())) > NAME_BYTES_MAX:
        raise MalformedRequest(f"{field} {text[:60]!r}... has {size} bytes; the limit is {NAME_BYTES_MAX}")


def to_instance_id(raw: bytes) -> InstanceId:
    """Give the id of an instance."""
    return InstanceId(check_id(raw, "instance_id"))


def to_node_id(raw: bytes) -> NodeId:
    """Give the id of a node."""
    return NodeId(check_id(raw, "node_id"))


def to_request_id(raw: bytes) -> RequestId:
    """Give the id of a request that may be repeated."""
    return RequestId(check_id(raw, "request_id"))


def to_seconds(field: str, number: float) -> float:
    """Give a length of time back. Raises `MalformedRequest` where it is none."""
    if not 0 <= number <= SECONDS_MAX:  # NaN neither
        raise MalformedRequest(f"{field} is {number}; it must be from 0 to {SECONDS_MAX} (100 years)")
    return number


def check_lengths(what: str, *columns: Sequence[object]) -> None:
    """Raise `MalformedRequest` where columns are not of one length."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1:
        raise MalformedRequest(f"the columns of {what} have different lengths: {', '.join(map(str, lengths))}")


def check_ids(raw: Sequence[bytes], field: str) -> None:
    """Raise `MalformedRequest` where one of these cannot be an id."""
    for length in set(map(len, raw)) - {ID_BYTES}:
        raise MalformedRequest(f"one of the {field} has {length} bytes; an id has {ID_BYTES}")


# -- calls and options ------------------------------------------------------------------------------------------------


def check_function(spec: FunctionSpec) -> FunctionSpec:
    """Return a function, with a burst of 1 where a limit has none. Raises `MalformedRequest` for one that cannot be."""
    if not spec.name:
        raise MalformedRequest("a function has no name")
    check_name("function", spec.name)
    for field in ("queue", "taint", "code_version", "release", "parameters"):
        check_name(f"{field} of function {spec.name}:", getattr(spec, field))
    retry = spec.retry
    for field, number in (
        ("timeout_s", spec.timeout_s),
        ("start_timeout_s", spec.start_timeout_s),
        ("retry.interval_s", retry.interval_s),
        ("retry.multiplier", retry.multiplier),
        ("retry.interval_max_s", retry.interval_max_s),
        ("retry.jitter", retry.jitter),
    ):
        to_seconds(f"{field} of function {spec.name}", number)
    if spec.at_most_once and retry.max_attempts > 1:
        raise MalformedRequest(
            f"function {spec.name} is at_most_once and has retry.max_attempts {retry.max_attempts}; one excludes the "
            "other"
        )
    return replace(spec, limits=_check_limits(spec)) if spec.limits else spec


def _check_limits(spec: FunctionSpec) -> tuple[LimitSpec, ...]:
    if len(spec.limits) > LIMITS_MAX:
        raise MalformedRequest(f"function {spec.name} has {len(spec.limits)} limits; the most is {LIMITS_MAX}")
    for index, limit in enumerate(spec.limits):
        what = f"limits[{index}] of function {spec.name}"
        if not limit.rate_per_s:
            if not limit.max:
                raise MalformedRequest(f"{what} has neither max nor rate_per_s, and limits nothing")
            if limit.burst:
                raise MalformedRequest(f"{what} has a burst of {limit.burst}, which means nothing without rate_per_s")
        elif not RATE_MIN <= limit.rate_per_s <= RATE_MAX:  # NaN neither
            bounds = f"must be from {RATE_MIN:g} to {RATE_MAX:g}, or 0 for any"
            raise MalformedRequest(f"rate_per_s of {what} is {limit.rate_per_s}; it {bounds}")
    return tuple(replace(limit, burst=max(1, limit.burst)) for limit in spec.limits)


def check_function_size(spec: FunctionSpec) -> None:
    """Raise `TooLarge` where a function with its definition's arguments has more bytes than the broker can keep."""
    texts = (spec.name, spec.code_version, spec.queue, spec.taint, spec.release)
    size = len(spec.definition_arguments) + sum(len(text.encode()) for text in texts)
    check_size(f"function {spec.name[:200]}", size)


def check_arguments(spec: FunctionSpec, arguments: bytes) -> None:
    """Raise `TooLarge` where the arguments of a call have more bytes than the broker can keep."""
    if len(arguments) > PAYLOAD_BYTES_MAX:
        raise TooLarge(f"a call of {spec.name[:200]} with its arguments", len(arguments))


def check_labels(labels: Iterable[str]) -> None:
    """Raise `MalformedRequest` where a label is too long to be kept."""
    _check_texts("label", labels, LABEL_BYTES_MAX)


def check_inputs(inputs: Iterable[str]) -> None:
    """Raise `MalformedRequest` where arguments as a text are too long to be kept."""
    _check_texts("text of inputs", inputs, INPUTS_BYTES_MAX)


def _check_texts(what: str, texts: Iterable[str], most: int) -> None:
    # A character has up to four bytes, or six where it is escaped: most texts are so short that none is encoded.
    for text in [text for text in texts if len(text) * 6 > most]:
        size = len(text.encode("utf-8", "backslashreplace"))
        if size > most:
            raise MalformedRequest(f"a {what} has {size} bytes; the limit is {most} bytes")


def check_limit_keys(keys: Collection[str], expected: int) -> None:
    """Raise `MalformedRequest` where calls have not as many keys as their functions have limits, or one cannot be."""
    if expected != len(keys):
        raise MalformedRequest(f"calls have {len(keys)} limit_keys; their functions have {expected} limits in all")
    for key in dict.fromkeys(keys):
        size = len(key.encode())
        if not 1 <= size <= LIMIT_KEY_BYTES_MAX:
            raise MalformedRequest(
                f"one of the limit_keys of calls has {size} bytes; it must have 1 to {LIMIT_KEY_BYTES_MAX}. Send a "
                "digest of what is longer"
            )
        if "\0" in key:
            raise MalformedRequest(f"one of the limit_keys of calls has a NUL in it, which no storage keeps: {key!r}")


def check_options(options: InstanceOptions) -> InstanceOptions:
    """Return the options of an instance. Raises `MalformedRequest` where they cannot be."""
    if len(options.group) > GROUP_LENGTH_MAX:
        raise MalformedRequest(
            f"options.group {options.group[:20]!r}... has {len(options.group)} characters; the limit is "
            f"{GROUP_LENGTH_MAX}"
        )
    _check_priority(options.priority, "options.priority")
    to_seconds("options.deadline_s", options.deadline_s)
    if options.keep is not None and not all(number >= 0 for number in options.keep):  # NaN neither
        raise MalformedRequest(f"options.keep is {tuple(options.keep)}; each must be 0 or more seconds")
    _check_text("options.key", options.key, 0, KEY_LENGTH_MAX)
    check_tags("options.tags", options.tags)
    for field in ("definition_digest", "arguments_digest"):
        size = len(getattr(options, field))
        if size > DIGEST_BYTES_MAX:
            raise MalformedRequest(f"options.{field} has {size} bytes; the limit is {DIGEST_BYTES_MAX}")
    return options


def start_of(command: SubmitNodes) -> Start:
    """Return what a submit under a key starts. Raises `MalformedRequest` where it has no call."""
    options = command.options
    if not command.calls:
        raise MalformedRequest("options.key is set and there are no calls; a key is for a start with its first call")
    first = command.calls[0]
    body = Body(
        definition=command.definition,
        function=first.function.name,
        definition_digest=options.definition_digest or sha256(first.function.definition_arguments).digest(),
        arguments_digest=options.arguments_digest or sha256(first.arguments).digest(),
    )
    return Start(options.key, first.node_id, body)


def check_hooks(hooks: Sequence[HookCall]) -> None:
    """Raise `MalformedRequest` where an instance can have no such hooks, or `TooLarge`."""
    if len(hooks) > HOOKS_MAX:
        raise MalformedRequest(f"there are {len(hooks)} hooks; the limit is {HOOKS_MAX}")
    for hook in hooks:
        if hook.function.limits:
            raise MalformedRequest(
                f"function {hook.function.name} of a hook has limits, for which its call has no keys"
            )
        check_function_size(hook.function)
        check_arguments(hook.function, hook.arguments)


def check_tags(field: str, tags: Tags) -> None:
    """Raise `MalformedRequest` where an instance can have no such tags."""
    if len(tags) > TAGS_MAX:
        raise MalformedRequest(f"{field} has {len(tags)} tags; the limit is {TAGS_MAX}")
    for name, value in tags:
        _check_text(f"a name in {field}", name, 1, TAG_NAME_LENGTH_MAX)
        _check_text(f"tag {name!r} in {field}", value, 0, TAG_VALUE_LENGTH_MAX)


def to_states(kind: type[S], states: Collection[str]) -> frozenset[S]:
    """Give the states that are asked for. Raises `MalformedRequest` for one that there is not."""
    for state in states:
        if state not in list(kind):
            raise MalformedRequest(f"states has {state!r}; the states are {', '.join(kind)}")
    return frozenset(map(kind, states))


def check_instance_selection(selection: InstanceSelection) -> None:
    """Raise `MalformedRequest` where no instance can be like that."""
    check_name("definition", selection.definition)
    check_tags("tags", selection.tags)
    _check_text("key", selection.key, 0, KEY_LENGTH_MAX)
    for field in ("created_since", "created_until"):
        if not abs(getattr(selection, field)) < inf:  # NaN neither
            raise MalformedRequest(f"{field} is {getattr(selection, field)}; it must be a time in seconds")


def check_node_selection(selection: NodeSelection) -> None:
    """Raise `MalformedRequest` where no node can be like that."""
    if len(selection.functions) > FUNCTIONS_MAX:
        raise MalformedRequest(f"functions has {len(selection.functions)} names; the limit is {FUNCTIONS_MAX}")
    for function in selection.functions:
        if not function:
            raise MalformedRequest("one of the functions has no name")
        check_name("function", function)
    check_labels([selection.label])


def _check_text(what: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise MalformedRequest(f"{what}, {text[:20]!r}, has {len(text)} characters; it must have {least} to {most}")
    if "\0" in text:
        raise MalformedRequest(f"{what}, {text[:20]!r}, has a NUL in it, which no storage keeps")


def check_control(command: ControlInstance) -> None:
    """Raise `MalformedRequest` where an instance cannot be as it is wanted."""
    if command.priority is not None:
        _check_priority(command.priority, "priority")


def check_edits(edits: bytes, shown: str) -> None:
    """Raise `MalformedRequest` for what cannot go before the arguments of a call."""
    if len(edits) > EDITS_BYTES_MAX:
        raise MalformedRequest(f"edits have {len(edits)} bytes; the limit is {EDITS_BYTES_MAX}")
    if edits and not (edits.startswith(b"{") and edits.find(b"\n") == len(edits) - 1):
        raise MalformedRequest("edits are no line of JSON, an object")
    _check_text("edits_shown", shown, 0, EDITS_SHOWN_LENGTH_MAX)


def check_definitions(count: int, size: int) -> None:
    """Raise `MalformedRequest` where a worker tells of more than is kept of it."""
    if count > DEFINITIONS_MAX or size > DEFINITIONS_BYTES_MAX:
        raise MalformedRequest(
            f"a worker tells of {count} definitions of {size} bytes; the limits are {DEFINITIONS_MAX} and "
            f"{DEFINITIONS_BYTES_MAX} bytes"
        )


def check_actor(by: str) -> None:
    """Raise `MalformedRequest` where nobody can be called so."""
    _check_text("by", by, 0, ACTOR_LENGTH_MAX)


def check_queue(queue: str) -> None:
    """Raise `MalformedRequest` where a queue can have no such name."""
    if not queue:
        raise MalformedRequest("queue is empty; give the name of the queue")
    check_name("queue", queue)


def _check_priority(priority: int, field: str) -> None:
    if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise MalformedRequest(f"{field} is {priority}; it must be from -{PRIORITY_MAX} to {PRIORITY_MAX}")


# -- results ----------------------------------------------------------------------------------------------------------


def to_failed(node_id: bytes, token: int, error: MalformedRequest) -> NodeResult:
    """Give the result of a node with which something cannot be taken or sent, in this attempt or another."""
    kind = "ValueTooLarge" if isinstance(error, TooLarge | SumTooLarge) else "InvalidExpansion"
    failure = Failure(type=kind, message=str(error), permanent=True)
    return NodeResult(node_id=NodeId(node_id), token=token, failure=failure)
