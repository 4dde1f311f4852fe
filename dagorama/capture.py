"""Captured calls: what a decorated call leaves behind, inside a running node or on its way to the broker."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from dagorama.retry import RetryConfiguration


@dataclass(frozen=True, slots=True, eq=False)
class FunctionSpec:
    """What is the same for all calls of a decorated function. There is one object per function and definition."""

    #: "module:Qualified.name".
    name: str
    #: Digest over the function's code.
    code_version: str
    queue: str
    #: Empty for none.
    taint: str
    retry: RetryConfiguration | None
    #: Payload of the constructor arguments of the definition, `(args, kwargs)`; empty for none.
    definition_arguments: bytes


class CapturedCall(NamedTuple):
    """One decorated call: a node to be."""

    node_id: bytes
    function: FunctionSpec
    #: Payload of `(args, kwargs)`.
    arguments: bytes
    #: Each promise in the arguments, once.
    dependency_ids: tuple[bytes, ...]


class Scope:
    """The calls that a running node has made so far. They come into being together with its result."""

    __slots__ = ("calls", "instance_id")

    def __init__(self, instance_id: bytes) -> None:
        """`instance_id` is the instance of the running node, which its children join."""
        self.instance_id = instance_id
        self.calls: list[CapturedCall] = []


#: The scope of the node that runs in this context; None outside of nodes.
current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)
