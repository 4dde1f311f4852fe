"""Telling values apart without decoding them.

Where a payload refers to other nodes it has their ids in it, as they are. A node that runs again makes new ones, so
each id is replaced by the digest of the value that it refers to. The bytes that result stand for the value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256

from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import Change, NodeState
from dagorama_broker.core.model.values import NodeId

#: So many ids are looked for one by one, each in a pass of its own.
_FEW = 8

#: So many places that might have been an id are looked at: a few tenths of a second.
_MISSES_MAX = 1_000_000


class Comparison:
    """The digests of the values that nodes had before they were run again, for comparison."""

    def __init__(self, previous: Iterable[tuple[Node, bytes]] = ()) -> None:
        self.previous = dict(previous)  #: empty bytes for no value
        self._known: dict[NodeId, bytes] = {}

    def compare(self, node: Node) -> Change | None:
        """Return how the value of a completed node compares; None for one that was not run again."""
        previous = self.previous.get(node)
        if not previous:
            return None if previous is None else Change.NEW
        return Change.SAME if previous == digest_node(node, self._known) else Change.CHANGED


def digest_node(node: Node, known: dict[NodeId, bytes]) -> bytes:
    """Return the digest of a node's value, nothing for a node without one; `known` keeps the digests of its parts.

    Iterative: values may refer to values to any depth.
    """
    if node.state is not NodeState.COMPLETED:
        return b""
    stack = [node]
    while stack:
        top = stack[-1]
        promises = () if top.id in known else top.promises
        pending = [promise for promise in promises if promise.id not in known]
        if pending:
            stack.extend(pending)
            continue
        stack.pop()
        if top.id in known:  # two refer to it
            continue
        if top.payload is None and promises:  # an alias
            known[top.id] = known[promises[0].id]
        else:
            known[top.id] = _digest(top.payload or b"", {promise.id: known[promise.id] for promise in promises})
    return known[node.id]


def _digest(payload: bytes, digests: dict[NodeId, bytes]) -> bytes:
    """Return the digest of a payload with each of these ids, which are of one length, replaced by a digest."""
    if len(digests) <= _FEW:
        for id, digest in digests.items():
            payload = payload.replace(id, digest)
        return sha256(payload).digest()
    whole = sha256()
    view = memoryview(payload)
    end = 0
    for at, id in _occurrences(payload, digests):
        whole.update(view[end:at])
        whole.update(digests[id])
        end = at + len(id)
    whole.update(view[end:])
    return whole.digest()


def _occurrences(payload: bytes, ids: Collection[NodeId]) -> Iterator[tuple[int, NodeId]]:
    """Yield the places of these ids in a payload, in one pass, however many they are.

    Ids begin with the time at which they were made, so bytes that begin as all of them do are hardly ever anything
    else. Ids at random would have every place looked at, which is given up after a while: the broker has other things
    to do. The rest is taken as it is then, so that an equal value may be told as changed, but never one that has
    changed as equal.
    """
    low, high = min(ids), max(ids)
    size = len(low)
    prefix = low[: next((place for place in range(size) if low[place] != high[place]), size)]
    misses = 0
    at = payload.find(prefix)
    while 0 <= at <= len(payload) - size and misses < _MISSES_MAX:
        id = NodeId(payload[at : at + size])
        if id in ids:
            yield at, id
            at += size
        else:
            misses += 1
            at += 1
        at = payload.find(prefix, at)
