"""Uses of values by the payloads of nodes and instances.

A use is written in the commit that writes the payload, and leaves with it. So a value without a use may be removed from
the value store, and uses can be counted anew from the payloads at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from dagorama_broker.core.model.entities import Function, Node
from dagorama_broker.core.model.references import referring, stored_references
from dagorama_broker.core.model.stored import StoredInstance, StoredNode, ValueUse
from dagorama_broker.core.model.values import HookCall
from dagorama_broker.storage.folding import AttemptRow, CompletedRow, OutcomeRow

#: The parts of a node, and of an instance (under node 0), that may refer to values.
ARGUMENTS, RESULT, DEFINITION, EXCEPTION, HOOK = "arguments", "result", "definition", "exception", "hook"


def uses_in(instance: int, node: int, part: str, payload: bytes) -> Iterator[ValueUse]:
    """Yield the uses of one payload."""
    for digest, size in stored_references(payload):
        yield ValueUse(instance, node, part, digest, size)


def uses_of_nodes(nodes: Sequence[Node], functions: Iterable[Function]) -> Iterator[ValueUse]:
    """Yield the uses of new nodes; `functions` has all of theirs."""
    for at in referring([node.arguments for node in nodes]):
        node = nodes[at]
        yield from uses_in(node.instance.seq, node.seq, ARGUMENTS, node.arguments)
    if referring([function.spec.definition_arguments for function in functions]):
        for node in nodes:
            payload = node.function.spec.definition_arguments
            yield from uses_in(node.instance.seq, node.seq, DEFINITION, payload)


def uses_of_outcomes(rows: Sequence[OutcomeRow] | Sequence[CompletedRow]) -> Iterator[ValueUse]:
    """Yield the uses of results. They have no instance: it is that of the node."""
    for at in referring([row.payload or b"" for row in rows]):
        yield from uses_in(0, rows[at].node, RESULT, rows[at].payload or b"")


def uses_of_attempts(rows: Sequence[AttemptRow]) -> Iterator[ValueUse]:
    """Yield the uses of exceptions."""
    for row in rows:
        yield from uses_in(row.instance, row.node, EXCEPTION, row.exception)


def uses_of_hooks(instance: int, hooks: Iterable[HookCall]) -> Iterator[ValueUse]:
    """Yield the uses of the calls that are made each time when an instance ends."""
    for hook in hooks:
        yield from uses_in(instance, 0, HOOK, hook.arguments)
        yield from uses_in(instance, 0, HOOK, hook.function.definition_arguments)


def recount_uses(instance: StoredInstance) -> set[ValueUse]:
    """Return the uses of an instance with all its nodes, as its payloads have them."""
    seq = instance.seq
    return {*uses_of_hooks(seq, instance.hooks), *chain(*(uses_of_node(seq, node) for node in instance.nodes))}


def uses_of_node(instance: int, node: StoredNode) -> Iterator[ValueUse]:
    """Yield the uses of a node as it is stored."""
    seq = node.seq
    yield from uses_in(instance, seq, ARGUMENTS, node.arguments)
    yield from uses_in(instance, seq, DEFINITION, node.function.definition_arguments)
    yield from uses_in(instance, seq, RESULT, node.payload or b"")
    for attempt in node.failures:
        yield from uses_in(instance, seq, EXCEPTION, attempt.failure.exception)


class UsesInMemory:
    """The uses of a journal without a disk."""

    def __init__(self) -> None:
        self._of_node: dict[tuple[int, int], set[ValueUse]] = {}
        self._of_value: dict[bytes, set[ValueUse]] = {}
        self._hidden: set[int] = set()  #: instances that were pruned, and still have uses

    def add(self, uses: Iterable[ValueUse]) -> None:
        """Take uses in, each once."""
        for use in uses:
            self._of_node.setdefault((use.instance_seq, use.node_seq), set()).add(use)
            self._of_value.setdefault(use.digest, set()).add(use)

    def drop(self, instance: int, node: int, part: str = "") -> None:
        """Forget the uses of a node, in one part or in all."""
        known = self._of_node.get((instance, node), set())
        for use in [use for use in known if part in ("", use.part)]:
            known.remove(use)
            of_value = self._of_value[use.digest]
            of_value.remove(use)
            if not of_value:
                del self._of_value[use.digest]
        if not known:
            self._of_node.pop((instance, node), None)
        if not node:
            self._hidden.discard(instance)

    def hide(self, instances: Iterable[int]) -> None:
        """List the uses of these instances no more. They are still to be dropped, node by node and for node 0."""
        self._hidden.update(instances)

    def find(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return the values, among these, that have uses."""
        return {digest for digest in digests if digest in self._of_value}

    def held(self, instance: int, digests: Iterable[bytes]) -> set[bytes]:
        """Return the values, among these, that an instance uses."""
        of_value = self._of_value
        return {digest for digest in digests if any(use.instance_seq == instance for use in of_value.get(digest, ()))}

    def list(self, after: ValueUse | None, limit: int) -> list[ValueUse]:
        """Return up to `limit` uses after one, in order."""
        uses = sorted(chain(*self._of_value.values()))
        return [use for use in uses if (after is None or use > after) and use.instance_seq not in self._hidden][:limit]
