"""Telling values apart without decoding them.

Where a payload refers to other nodes it has their ids in it, as they are. A node that runs again makes new ones, so
each id is replaced by the digest of the value that it refers to: what is left says what the value is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeVar

from dagorama_broker.core.model import Node, NodeId
from dagorama_broker.core.states import NodeState
from dagorama_broker.core.stored import StoredNode

T = TypeVar("T", Node, StoredNode)


def digest_value(node: T, promises_of: Callable[[T], Sequence[T]], known: dict[NodeId, bytes]) -> bytes:
    """Give the digest of a completed node's value; `known` keeps those of the values that it is made of.

    Iterative: values may refer to values to any depth.
    """
    stack = [node]
    while stack:
        top = stack[-1]
        promises = promises_of(top)
        pending = [promise for promise in promises if promise.id not in known]
        if pending:
            stack.extend(pending)
            continue
        stack.pop()
        if top.payload is None and promises:  # an alias
            known[top.id] = known[promises[0].id]
            continue
        payload = top.payload or b""
        for promise in promises:
            payload = payload.replace(promise.id, known[promise.id])
        known[top.id] = sha256(payload).digest()
    return known[node.id]


def digest_node(node: Node, known: dict[NodeId, bytes]) -> bytes:
    """Give the digest of a node's value, nothing for one without a value."""
    return digest_value(node, lambda one: one.promises, known) if node.state is NodeState.COMPLETED else b""
