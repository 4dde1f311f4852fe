"""The payloads that make up a value."""

from __future__ import annotations

import pytest

from dagorama_broker.core.graph.payloads import IdTaken, add_values, collect_values, payload_of
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.values import InstanceId, NodeId
from tests.unit.core.transcript import Bench

#: `a` refers to `b` and to `c`, an alias of `d`, which refers to `b` and `e`. `z` keeps the instance in memory.
VALUES = """
connect w1 slots=9
submit i1 a z
grant
complete w1 a value=A promises=b,c + b c
grant
complete w1 b value=B
complete w1 c alias=d + d
grant
complete w1 d value=D promises=b,e + e
grant
complete w1 e value=E
"""


def node(bench: Bench, name: str) -> Node:
    """Return a node of the only instance."""
    return bench.scheduler.node(InstanceId(b"i1"), NodeId(name.encode()))


def test_a_value_comes_after_what_it_refers_to(bench: Bench) -> None:
    """Each payload comes once, before all that refer to it; that of an alias is under the alias's own id."""
    bench.replay(VALUES)
    expected = [(b"b", b"B"), (b"e", b"E"), (b"c", b"D"), (b"a", b"A")]
    assert expected == collect_values([node(bench, "a")])
    assert [*expected[:3], (b"d", b"D"), expected[3]] == collect_values([node(bench, name) for name in "cdacb"])


def test_an_alias_has_the_payload_that_it_leads_to(bench: Bench) -> None:
    """The payload of an alias is not its own, and that of a node may be empty."""
    bench.replay(VALUES)
    assert [payload_of(node(bench, name)) for name in "abcd"] == [b"A", b"B", b"D", b"D"]
    assert payload_of(node(bench, "z")) == b""


def test_an_id_of_two_instances_is_noticed(bench: Bench) -> None:
    """Where another instance has the same id, the earlier values are still there and nothing stands for another."""
    bench.replay(VALUES)
    other = Bench()
    other.replay(VALUES.replace("value=E", "value=F"))
    found: dict[NodeId, Node] = {}
    add_values([node(bench, "c")], found)
    with pytest.raises(IdTaken):
        add_values([node(other, "e")], found)
    assert [NodeId(b"b"), NodeId(b"e"), NodeId(b"c")] == list(found)
    assert found[NodeId(b"e")] is node(bench, "e")
    add_values([node(bench, "a")], found)
    assert list(found)[-1] == b"a"
