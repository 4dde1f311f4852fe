"""The payloads that make up a value."""

from collections.abc import Iterable

from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.values import NodeId


class IdTaken(Exception):
    """Values of two instances that gave nodes the same id cannot be collected together."""


def collect_values(nodes: Iterable[Node]) -> list[tuple[NodeId, bytes]]:
    """Return the payloads needed to decode the values of these completed nodes of one instance, each id once.

    An entry comes after the entries that its payload refers to. An alias has an entry of its own, with the payload that
    it leads to.
    """
    found: dict[NodeId, Node] = {}
    add_values(nodes, found)
    return [(node_id, payload_of(node)) for node_id, node in found.items()]


def add_values(nodes: Iterable[Node], found: dict[NodeId, Node]) -> None:
    """Add to `found` these completed nodes and the nodes that their payloads refer to.

    A node comes after the nodes that it refers to. Raises `IdTaken` where another instance's node has the same id;
    `found` is then still complete for the earlier calls.
    """
    stack = list(nodes)
    stack.reverse()
    while stack:
        node = stack[-1]
        known = found.get(node.id)
        if known is not None:
            if known is not node:
                raise IdTaken
            stack.pop()
            continue
        source = node.source or node
        pending = [promise for promise in source.promises if found.get(promise.id) is not promise]
        if pending:
            stack.extend(reversed(pending))
            continue
        stack.pop()
        found[node.id] = node


def payload_of(node: Node) -> bytes:
    """Return the payload of a completed node; an alias has the one that it leads to."""
    return (node.source or node).payload or b""
