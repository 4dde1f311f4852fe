"""Which payloads make up a value."""

from collections.abc import Iterable

from dagorama_broker.core.model import Node, NodeId


def collect_values(nodes: Iterable[Node]) -> list[tuple[NodeId, bytes]]:
    """Give the payloads needed to decode the values of these completed nodes, each id once.

    An entry comes after those that its payload refers to. An alias has an entry of its own, with the payload that it
    leads to.
    """
    values: dict[NodeId, bytes] = {}
    stack = list(nodes)
    stack.reverse()
    while stack:
        node = stack[-1]
        source = node.source or node
        if node.id in values:
            stack.pop()
            continue
        pending = [promise for promise in source.promises if promise.id not in values] if source.promises else None
        if pending:
            stack.extend(reversed(pending))
            continue
        stack.pop()
        values[node.id] = source.payload if source.payload is not None else b""
    return list(values.items())
