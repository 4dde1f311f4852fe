"""Graphs are folded to few vertices, and their pictures keep places as they grow."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dagorama.analysis.folding import Fact, Folded, Link, fold, fold_groups, key_of, value_sources
from dagorama.analysis.scene import HEAD, compose


def etl(files: int, rows: int) -> list[Fact]:
    """Return nodes that load files, each of which makes a node for each row and one for their sum; one merges these."""
    nodes = [Fact(function="m:E.entry", state="joining", has_joined=True)]
    loads = range(1, files + 1)
    nodes += [
        Fact(function="m:E.load", state="completed", label=f"file {one}", parent=0, has_joined=True) for one in loads
    ]
    nodes.append(Fact(function="m:E.merge", state="waiting", parent=0, dependencies=tuple(loads)))
    for load in loads:
        first = len(nodes)
        nodes += [Fact(function="m:E.parse", state="completed", parent=load) for _ in range(rows)]
        nodes.append(
            Fact(function="m:E.total", state="completed", parent=load, dependencies=tuple(range(first, first + rows)))
        )
    return nodes


def links_of(folded: Folded) -> set[tuple[str, str, bool, int]]:
    """Return the links by the keys of both ends."""
    keys = [vertex.key for vertex in folded.vertices]
    return {(keys[one.source], keys[one.target], one.is_call, one.count) for one in folded.links if not one.is_plain}


def test_many_nodes_of_one_maker_are_one_vertex() -> None:
    """Few stand for themselves, and groups say how many of their nodes are in which state."""
    nodes = etl(2, 20)
    nodes[5].state = "failed"
    folded = fold(nodes)
    assert [(one.key, one.label, one.total, one.is_group) for one in folded.vertices] == [
        ("n0", "", 1, False),
        ("n1", "file 1", 1, False),
        ("n2", "file 2", 1, False),
        ("n3", "", 1, False),
        ("gm:E.parse|1", "", 20, True),
        ("n24", "", 1, False),
        ("gm:E.parse|2", "", 20, True),
        ("n45", "", 1, False),
    ]
    first = folded.vertices[4]
    assert (first.state, first.counts, first.maker) == ("failed", {"completed": 19, "failed": 1}, "m:E.load")


def test_a_value_is_drawn_from_where_it_comes() -> None:
    """A node that returned a promise leads to nothing: what it leads to is led to by the call that it promised."""
    nodes = etl(2, 20)
    assert value_sources(nodes) == {0: [3], 1: [24], 2: [45]}
    assert links_of(fold(nodes)) == {
        ("n0", "n1", True, 1),
        ("n0", "n2", True, 1),
        ("n1", "gm:E.parse|1", True, 20),
        ("n2", "gm:E.parse|2", True, 20),
        ("gm:E.parse|1", "n24", False, 20),
        ("gm:E.parse|2", "n45", False, 20),
        ("n24", "n3", False, 1),
        ("n45", "n3", False, 1),
    }


def test_too_many_vertices_are_folded_by_function() -> None:
    """Groups of one function whose makers call one function are one, so the picture stays small."""
    folded = fold(etl(100, 20), vertices_max=50)
    assert [(one.key, one.total) for one in folded.vertices] == [
        (key_of("m:E.entry", ""), 1),
        (key_of("m:E.load", "m:E.entry"), 100),
        (key_of("m:E.merge", "m:E.entry"), 1),
        (key_of("m:E.parse", "m:E.load"), 2000),
        (key_of("m:E.total", "m:E.load"), 100),
    ]
    assert sum(one.total for one in folded.vertices) == len(etl(100, 20))


def test_groups_of_a_broker_have_the_same_keys() -> None:
    """A picture that was made of nodes goes on as one of groups; loops of a function on itself are not drawn."""
    groups = [("m:E.entry", "", {"leased": 1}), ("m:E.load", "m:E.entry", {"completed": 9, "ready": 1})]
    folded = fold_groups(groups, [Link(0, 1, True, 10), Link(1, 1, False, 5)])
    assert [(one.key, one.state, one.is_group) for one in folded.vertices] == [
        (key_of("m:E.entry", ""), "leased", False),
        (key_of("m:E.load", "m:E.entry"), "ready", True),
    ]
    assert folded.links == [Link(0, 1, True, 10)]


def test_groups_lead_on_from_where_their_values_come() -> None:
    """Of a function that calls others, the last of these; where they lead to themselves, the function as it is."""
    names = ["entry", "shard", "reduce", "read", "collect"]
    groups: list[tuple[str, str, dict[str, int]]] = [(name, "", {"completed": 9}) for name in names]
    calls = [Link(0, 1, True, 9), Link(0, 2, True, 1), Link(1, 3, True, 9), Link(1, 4, True, 9)]
    folded = fold_groups(groups, [*calls, Link(1, 2, False, 9), Link(3, 4, False, 9)])
    assert {(one.source, one.target) for one in folded.links if not one.is_call} == {(3, 4), (4, 2)}
    fib = [Link(0, 0, True, 9), Link(0, 1, True, 9), Link(0, 1, False, 9)]
    assert {(one.source, one.target) for one in fold_groups(groups[:2], fib).links if not one.is_call} == {(0, 1)}


@st.composite
def nodes_of_any_kind(draw: st.DrawFn) -> list[Fact]:
    """Return nodes made by, and fed by, any before them."""
    nodes: list[Fact] = []
    for place in range(draw(st.integers(1, 40))):
        before = st.integers(-1, place - 1)
        nodes.append(
            Fact(
                function=f"m:E.{draw(st.sampled_from('abc'))}",
                state=draw(st.sampled_from(["completed", "failed", "leased", "joining", "waiting"])),
                parent=draw(before),
                dependencies=tuple(one for one in draw(st.lists(before, max_size=3)) if one >= 0),
                has_joined=draw(st.booleans()),
            )
        )
    return nodes


@given(nodes_of_any_kind(), st.integers(1, 5), st.integers(1, 20))
def test_each_node_is_in_one_vertex(nodes: list[Fact], singles_max: int, vertices_max: int) -> None:
    """However it is folded: none is lost, states are counted, and no key is there twice."""
    folded = fold(nodes, singles_max=singles_max, vertices_max=vertices_max)
    assert sorted(place for one in folded.vertices for place in one.members) == list(range(len(nodes)))
    assert len({one.key for one in folded.vertices}) == len(folded.vertices)
    for one in folded.vertices:
        assert one.counts == Counter(nodes[place].state for place in one.members)
    assert all(0 <= link.source < len(folded.vertices) and link.source != link.target for link in folded.links)


@given(nodes_of_any_kind(), st.integers(1, 40))
def test_boxes_do_not_overlap_and_keep_their_order(nodes: list[Fact], count: int) -> None:
    """In the picture of any graph, open groups and all; and as it grows, boxes of a layer stay in their order."""
    first = fold(nodes[:count], singles_max=3)
    opened = {one.key: one.total for one in first.vertices if one.is_group}
    before = compose(first, opened=opened)
    second = fold(nodes, singles_max=3)
    for holds in (True, False):
        after = compose(second, opened=opened, before=before.middles, holds=holds)
        for place, one in enumerate(after.boxes):
            for other in after.boxes[place + 1 :]:
                assert (
                    one.x + one.width <= other.x + 1e-6
                    or other.x + other.width <= one.x + 1e-6
                    or one.y + one.height <= other.y + 1e-6
                    or other.y + other.height <= one.y + 1e-6
                )
        known = {one.key: box for one, box in zip(first.vertices, before.boxes, strict=True)}
        both = [
            (known[one.key], box) for one, box in zip(second.vertices, after.boxes, strict=True) if one.key in known
        ]
        for old, new in both:
            for old_other, new_other in both:
                if old.x == old_other.x and new.x == new_other.x and old.y < old_other.y:
                    assert new.y < new_other.y


def test_long_ways_are_led_around_boxes() -> None:
    """A link over several layers has points in those between; one from a narrow box goes straight past wider ones."""
    chain = [
        Fact(function=f"m:E.f{one}", state="completed", dependencies=(one - 1,) if one else ()) for one in range(4)
    ]
    chain[3].dependencies = (0, 2)
    scene = compose(fold(chain), opened={})
    (way,) = [one for one in scene.ways if one.points]
    box = scene.boxes[1]
    assert (way.link.source, way.link.target, len(way.points)) == (0, 3, 4)
    assert not box.y < way.points[0][1] < box.y + box.height


def test_an_open_group_has_a_cell_for_each_node() -> None:
    """It is as large as they need."""
    folded = fold([Fact(function="m:E.a", state="completed") for _ in range(500)])
    (shut,) = compose(folded, opened={}).boxes
    (box,) = compose(folded, opened={folded.vertices[0].key: 500}).boxes
    rows = -(-500 // box.columns)
    assert box.height >= HEAD + rows * box.cell[1]
    assert box.width >= box.columns * box.cell[0]
    assert (shut.columns, box.width > shut.width) == (0, True)
