"""Starting instances: with hooks, and under keys, where a start that was made before gives its instance again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dagorama.calls.capture import CapturedCall
from dagorama.calls.construction import construction_of
from dagorama.calls.hook_calls import HookCall, hook_calls, hooks_of_starts
from dagorama.instance.handle import Handle, definition_of, id_of
from dagorama.options import InstanceOptions

if TYPE_CHECKING:
    from dagorama.client.port import Submitted

#: Where an instance notes that its entrypoint is about to start it.
_STARTS = "_dagorama_starts"


def begin_start(instance: Handle) -> None:
    """Note that the next call on an instance starts it: only that one has the key and the hooks."""
    instance.__dict__[_STARTS] = True


def is_plain(instance: Handle, options: InstanceOptions) -> bool:
    """Return whether a call with these options has neither a key nor hooks, as most have."""
    return not options.key and _STARTS not in instance.__dict__


class Start(NamedTuple):
    """The options and hooks that a call brings which may start its instance."""

    options: InstanceOptions
    hooks: tuple[HookCall, ...]


def start_of(
    instance: Handle,
    call: CapturedCall,
    arguments: Mapping[str, object],
    constructor: Callable[..., object] | None,
    options: InstanceOptions,
) -> Start:
    """Return the options for a call, with the digests by which a start under a key is known, and the hooks of a start.

    `arguments` are those of the call, by the names of its function's parameters; `constructor` took the definition's.
    """
    if not instance.__dict__.pop(_STARTS, False):
        return Start(replace(options, key=""), ())
    from dagorama.tracing.spawning import trace_start  # most calls start nothing

    options, traced = trace_start(id_of(instance), options)
    kind: Any = type(definition_of(instance))
    if options.keep is None and kind._dagorama_keep is not None:
        options = replace(options, keep=kind._dagorama_keep)
    hooks = hook_calls(kind, id_of(instance), options.key, options.tags, *hooks_of_starts.get(), *traced)
    if not options.key:
        return Start(options, hooks)
    from dagorama.calls.digests import digest_of_call, digest_of_construction  # few have keys

    options = replace(
        options,
        definition_digest=digest_of_construction(construction_of(definition_of(instance)).arguments(), constructor),
        arguments_digest=digest_of_call(arguments, call.arguments),
    )
    return Start(options, hooks)


def take_start(instance: Handle, call: CapturedCall, known: Submitted | None) -> bytes:
    """Return the node that a start has given; where it was made before, the instance is that one from now on."""
    if known is None:
        return call.node_id
    instance.__dict__["_dagorama_id"] = known.instance_id
    return known.node_id
