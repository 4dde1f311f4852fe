"""Starting instances under keys: a start that was made before gives the instance that it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dagorama.calls.capture import CapturedCall
from dagorama.calls.digests import digest_of_call, digest_of_construction
from dagorama.client.port import Submitted
from dagorama.instance.handle import Handle
from dagorama.options import InstanceOptions

#: Where an instance notes that its entrypoint is about to start it.
_STARTS = "_dagorama_starts"


def begin_start(instance: Handle) -> None:
    """Note that the next call on an instance starts it: only that one has the key."""
    instance.__dict__[_STARTS] = True


def start_options(
    instance: Handle,
    call: CapturedCall,
    arguments: Mapping[str, object],
    constructor: Callable[..., object] | None,
    options: InstanceOptions,
) -> InstanceOptions:
    """Return the options for a call that has a key: with the digests by which its start is known, or without the key.

    `arguments` are those of the call, by the names of its function's parameters; `constructor` took the definition's.
    """
    if not instance.__dict__.pop(_STARTS, False):
        return replace(options, key="")
    return replace(
        options,
        definition_digest=digest_of_construction(call.function.definition_arguments, constructor),
        arguments_digest=digest_of_call(arguments, call.arguments),
    )


def take_start(instance: Handle, call: CapturedCall, known: Submitted | None) -> bytes:
    """Return the node that a start has given; where it was made before, the instance is that one from now on."""
    if known is None:
        return call.node_id
    instance.__dict__["_dagorama_id"] = known.instance_id
    return known.node_id
