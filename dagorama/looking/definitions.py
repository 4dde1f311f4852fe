"""The definitions that the connected workers have, and starts of them without their code."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from uuid import UUID

from dagorama.calls.capture import CapturedCall
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.ids import new_id
from dagorama.calls.json_form import encode_arguments, encode_edits
from dagorama.calls.large import TooLarge, inline_max
from dagorama.calls.payload import keep_whole, too_large
from dagorama.client.asking import ask_broker, ask_broker_async, broker
from dagorama.client.definitions import DefinitionInfo, signature_of
from dagorama.client.port import ListDefinitions
from dagorama.client.steps import InThread, Steps, run, run_async
from dagorama.instance.handle import check_is_no_inline
from dagorama.instance.instance import Instance
from dagorama.options import InstanceOptions, Keep, checked_name, current_options

#: The arguments of a start: by the names of its parameters, or in their order.
JsonArguments = Mapping[str, object] | Sequence[object]


def definitions() -> Sequence[DefinitionInfo]:
    """Return the definitions that the connected workers have told of, by name.

    A worker tells of those in the modules that it imports, or has run nodes of. Raises `BrokerUnavailable`.
    """
    check_is_no_inline("the list of definitions")
    return ask_broker(ListDefinitions())


async def definitions_async() -> Sequence[DefinitionInfo]:
    """Do as `definitions`, without blocking the event loop."""
    check_is_no_inline("the list of definitions")
    return await ask_broker_async(ListDefinitions())


def start(definition: str | DefinitionInfo, arguments: JsonArguments = ()) -> Instance:
    """Start an instance of a definition whose code is not here, and return it.

    `definition` is one of `definitions()`, or its name as "module:Class", or the end of that. `arguments` are those of
    its entrypoint, by name or in order, made of what JSON can hold: they travel as text, and the worker makes of them
    what the type hints say, so that "2026-11-27" is a `date` where one is wanted, and an object a dataclass. Where that
    cannot be, the entrypoint's node fails, and its error names the parameter. `instance_options()` go for it, too.

    The start is durable when this returns. Raises `LookupError` for a definition that no worker has told of,
    `ValueError` for one that cannot be started like this, `TypeError` for arguments that its entrypoint does not take,
    `PayloadError` for larger ones than the broker keeps, `KeyConflict`, `BrokerRefused` and `BrokerUnavailable`.
    """
    check_is_no_inline("to start a definition by its name")
    return run(_start(definition, arguments, current_options.get()))


async def start_async(definition: str | DefinitionInfo, arguments: JsonArguments = ()) -> Instance:
    """Do as `start`, without blocking the event loop."""
    check_is_no_inline("to start a definition by its name")
    return await run_async(_start(definition, arguments, current_options.get()))


def _start(definition: str | DefinitionInfo, arguments: JsonArguments, options: InstanceOptions) -> Steps[Instance]:
    info = definition
    if not isinstance(info, DefinitionInfo):
        name = checked_name("definition", info)
        info = _only(name, (yield from broker().ask(ListDefinitions(name))))
    if info.problem:
        raise ValueError(f"{info.name} cannot be started by its name: {info.problem}")
    args, kwargs = _checked(info, arguments)
    announced, instance_id = info.announced, new_id()
    text = encode_arguments(args, kwargs)
    payload = text
    if len(text) > inline_max():
        payload = yield InThread(partial(_stored, text, info.name))
        # A start under a key is the same with another bound for what is stored.
        options = replace(options, arguments_digest=sha256(text).digest())
    call = CapturedCall(new_id(), announced.entrypoint, payload, (), announced.limit_keys)
    if options.keep is None and len(announced.keep) == len(Keep._fields):
        options = replace(options, keep=Keep(*announced.keep))
    hooks = _hooks(info, instance_id, options)
    what = f"to start {info.name}"
    known = yield from broker().submit(instance_id, info.name, [call], options, what, hooks)
    return Instance(UUID(bytes=instance_id if known is None else known.instance_id))


def _stored(text: bytes, name: str) -> bytes:
    """Return the payload of arguments that are too large for a message. Raises `PayloadError`."""
    try:
        return keep_whole(text, broker().values)
    except TooLarge as error:
        raise too_large(error, f"the arguments of {name}") from None


def _only(name: str, found: Sequence[DefinitionInfo]) -> DefinitionInfo:
    exact = [one for one in found if one.name == name] or list(found)
    if not exact:
        raise LookupError(
            f"no connected worker has told of a definition {name!r}; workers tell of those in the modules that they "
            "import (worker --import MODULE) or have run, and definitions() lists them"
        )
    if len(exact) > 1:
        raise LookupError(f"{name!r} may be {' or '.join(one.name for one in exact)}: say which")
    return exact[0]


def _checked(info: DefinitionInfo, arguments: JsonArguments) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return positional arguments and those by name; `TypeError` for what the entrypoint does not take."""
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = {}
    if isinstance(arguments, Mapping):
        kwargs = dict(arguments)
        positional = [one.name for one in info.parameters if one.kind == "positional_only"]
        given = [name for name in positional if name in kwargs]
        left_out = [name for name in positional[: len(given)] if name not in given]
        if left_out:
            raise TypeError(
                f"{left_out[0]} must be given, too, where {given[-1]} is: {info} takes them by their places"
            )
        args = tuple(kwargs.pop(name) for name in given)
    elif isinstance(arguments, Sequence) and not isinstance(arguments, (str, bytes)):
        args = tuple(arguments)
    else:
        raise TypeError(f"arguments must be a mapping by name, or a list in order, not {arguments!r}")
    try:
        signature_of(info).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{error}: {info} takes other arguments") from None
    return args, kwargs


def _hooks(info: DefinitionInfo, instance_id: bytes, options: InstanceOptions) -> list[HookCall]:
    """Return the calls for the ends of an instance."""
    own = {
        "instance_id": base64.b64encode(instance_id).decode(),
        "key": options.key,
        "tags": dict(options.tags),
    }
    return [hook._replace(arguments=encode_edits(own) + hook.arguments) for hook in info.announced.hooks]
