"""Counting the large values that instances refer to: each once in an instance, however many of its nodes use it.

They are counted as payloads come, and anew where all of an instance is restored or nodes of it begin anew. The count is
stored when the instance ends, for calls that come later. Payloads that are small enough to be inline count for nothing:
how many of these there are has a bound of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.references import MAY_REFER, Reference, stored_references

#: So many nodes are counted before others may come between: that takes about a millisecond.
_STEP = 5_000


def hold(instance: Instance, references: Iterable[Reference]) -> None:
    """Count values that an instance refers to."""
    held = instance.held
    for digest, size in references:
        if digest not in held:
            held.add(digest)
            instance.held_bytes += size


def hold_node(node: Node) -> None:
    """Count the values that a node refers to."""
    for payload in _payloads_of(node):
        if payload[:1] in MAY_REFER:
            hold(node.instance, stored_references(payload))


def hold_hooks(instance: Instance) -> None:
    """Count the values that the hooks of an instance refer to."""
    for hook in instance.hooks:
        for payload in (hook.arguments, hook.function.definition_arguments):
            hold(instance, stored_references(payload))


def recount(instance: Instance) -> Iterator[None]:
    """Count the values of an instance anew, all of which is in memory. Give way to others now and then."""
    instance.held, instance.held_bytes = set(), 0
    hold_hooks(instance)
    for place, node in enumerate(instance.nodes.values()):
        hold_node(node)
        if place % _STEP == _STEP - 1:
            yield


def _payloads_of(node: Node) -> Iterator[bytes]:
    yield node.arguments
    yield node.function.spec.definition_arguments
    if node.payload is not None:
        yield node.payload
    for attempt in node.failures or ():
        yield attempt.failure.exception
