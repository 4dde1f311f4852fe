"""Digests of values that refer to others."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from random import Random
from time import process_time

import pytest

from dagorama_broker.core.graph.digests import Comparison, digest_node
from dagorama_broker.core.model.entities import Function, Instance, Lane, Node, Timing
from dagorama_broker.core.model.states import Change, NodeState
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NodeId
from tests.unit.core.test_cost import count_calls

MakeIds = Callable[[int, Random], list[bytes]]

FUNCTION = Function(FunctionSpec(name="f", queue="q"), lane=Lane("q", ""), timing=Timing())
INSTANCE = Instance(seq=1, id=InstanceId(b"i" * 16), definition="D", created_at=0.0)


def node(id: bytes, payload: bytes | None, *promises: Node) -> Node:
    """Makes a completed node."""
    made = Node(
        seq=1,
        id=NodeId(id),
        instance=INSTANCE,
        function=FUNCTION,
        arguments=b"",
        dependencies=(),
        parent_seq=0,
        created_at=0.0,
    )
    made.state, made.payload, made.promises = NodeState.COMPLETED, payload, promises
    return made


def ids_at_random(count: int, rng: Random) -> list[bytes]:
    """Makes ids as any client may."""
    return [rng.randbytes(16) for _ in range(count)]


def ids_by_time(count: int, rng: Random) -> list[bytes]:
    """Makes ids as this library does: the time comes first."""
    return [b"\x01\x9a\xbb" + rng.randbytes(13) for _ in range(count)]


@pytest.mark.parametrize("make_ids", [ids_at_random, ids_by_time])
@pytest.mark.parametrize("count", [1, 8, 9, 300])
def test_ids_are_replaced_by_digests_wherever_they_stand(make_ids: MakeIds, count: int) -> None:
    """Also where one stands twice, out of order, at both ends, or after bytes that begin as it does."""
    rng = Random(count)
    promises = [node(id, b"value %d" % number) for number, id in enumerate(make_ids(count, rng))]
    parts = [b""]
    for promise in [*promises, *reversed(promises)]:
        parts += [promise.id, promise.id[:15] + bytes([promise.id[15] ^ 1]), rng.randbytes(rng.randrange(20))]
    parts.append(promises[0].id)
    digests = {promise.id: sha256(promise.payload or b"").digest() for promise in promises}
    expected = sha256(b"".join(digests.get(NodeId(part), part) for part in parts)).digest()
    assert digest_node(node(b"n" * 16, b"".join(parts), *promises), {}) == expected


@pytest.mark.parametrize("make_ids", [ids_at_random, ids_by_time])
def test_the_cost_grows_with_the_size_alone(make_ids: MakeIds) -> None:
    """A value of 20,000 promises is looked through once, and not once for each of them, which would take seconds."""
    promises = [node(id, b"v") for id in make_ids(20_000, Random(0))]
    root = node(b"n" * 16, b"".join(b"a promise: " + promise.id for promise in promises), *promises)
    began_at = process_time()
    digest_node(root, {})
    assert process_time() - began_at < 2


def test_what_is_referred_to_often_is_digested_once() -> None:
    """A value that refers to one other a thousand times costs no more than one that does so once."""
    shared = node(b"s" * 16, b"v", *(node(b"%016d" % number, b"v") for number in range(8)))
    root = node(b"n" * 16, b"s" * 16_000, *[shared] * 1000)
    assert count_calls(lambda: digest_node(root, {})) < 10_000


def test_a_chain_is_compared_step_by_step() -> None:
    """Each node of a chain costs the same: what the value of the one before is, is known."""
    chain = [node(b"%016d" % 0, b"v")]
    for number in range(1, 1000):
        chain.append(node(b"%016d" % number, None if number % 2 else chain[-1].id, chain[-1]))
    before: dict[NodeId, bytes] = {}
    comparison = Comparison((one, digest_node(one, before)) for one in chain)
    compared: list[Change | None] = []
    assert count_calls(lambda: compared.extend(map(comparison.compare, chain))) < 20 * len(chain)
    assert set(compared) == {Change.SAME}


def test_a_search_for_what_is_not_there_is_given_up() -> None:
    """Ids at random in megabytes of anything else hold the broker up for a moment only."""
    rng = Random(0)
    promises = [node(id, b"v") for id in ids_at_random(1000, rng)]
    root = node(b"n" * 16, bytes(5_000_000), *promises)
    assert count_calls(lambda: digest_node(root, {})) < 2_500_000
