"""Drawings of instances, in three languages."""

from __future__ import annotations

import re
from time import process_time
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagorama.analysis.dot import dot
from dagorama.analysis.drawing import LETTERS_MAX, Drawing, Edge, draw_functions, draw_nodes
from dagorama.analysis.layout import layered
from dagorama.analysis.mermaid import mermaid
from dagorama.analysis.snapshot import NodeSnapshot
from dagorama.analysis.svg import svg
from tests.unit.analysis.histories import node

HOSTILE = [
    'a "quoted" label',
    "</text></svg><script>alert(1)</script>",
    "two\nlines\tand more",
    "bell \x07 escape \x1b[31m red \x00",
    '%%{init: {"securityLevel": "loose"}}%%',
    "back\\slash\\n `tick` #quot; &amp; \\",
    "\ud800 \ufffe \u202egnol",
    "x" * 10_000,
    "  ",
]


def instance(label: str = "") -> list[NodeSnapshot]:
    """Makes an entrypoint with two calls whose values are collected."""
    return [
        node("entry", ended=4.0),
        node("load1", created=1.0, ended=2.0, parent_id="entry", label=label),
        node("load2", created=1.0, ended=3.0, parent_id="entry", state="failed"),
        node("collect", created=1.0, parent_id="entry", dependency_ids=("load1", "load2")),
    ]


def test_each_node_is_drawn_with_the_edges_to_it() -> None:
    """A call is one kind of edge, a value that goes in another."""
    drawn = draw_nodes(instance("2026.csv"))
    assert [vertex.lines for vertex in drawn.vertices] == [
        ("D.entry", "completed"),
        ("D.load", "2026.csv", "completed"),
        ("D.load", "failed"),
        ("D.collect", "waiting"),
    ]
    assert [(edge.source, edge.target) for edge in drawn.edges if edge.is_call] == [(0, 1), (0, 2), (0, 3)]
    assert [(edge.source, edge.target) for edge in drawn.edges if not edge.is_call] == [(1, 3), (2, 3)]


def test_nodes_are_folded_by_function() -> None:
    """A vertex says how many nodes are in a state and has the gravest of their states; edges are counted."""
    drawn = draw_functions(instance())
    assert [(vertex.lines, vertex.state) for vertex in drawn.vertices] == [
        (("D.entry", "1 completed"), "completed"),
        (("D.load", "1 completed, 1 failed"), "failed"),
        (("D.collect", "1 waiting"), "waiting"),
    ]
    assert Edge(source=0, target=1, is_call=True, count=2) in drawn.edges
    assert Edge(source=1, target=2, is_call=False, count=2) in drawn.edges


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text(label: str) -> None:
    """No label ends the place that it stands in, in any of the languages."""
    drawn = draw_nodes(instance(label))
    texts = {"mermaid": mermaid(drawn), "dot": dot(drawn), "svg": svg(drawn)}
    plain = draw_nodes(instance("plain"))
    for text in texts.values():
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
        assert "<script" not in text
        assert text.count("\n") <= mermaid(plain).count("\n") + svg(plain).count("\n")
    assert "%%" not in texts["mermaid"]
    for line in texts["mermaid"].splitlines():
        assert line.count('"') in (0, 2)
    for line in texts["dot"].splitlines():
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0
    tags = [each.tag.partition("}")[2] for each in ElementTree.fromstring(texts["svg"]).iter()]
    assert set(tags) == {"svg", "defs", "marker", "path", "rect", "g", "title", "text"}


@settings(max_examples=40)
@given(st.text())
def test_any_label_gives_well_formed_svg_of_one_line(label: str) -> None:
    """XML is parsed again whatever the label has in it, and no line is longer than there is room for."""
    drawn = draw_nodes(instance(label))
    assert all(len(line) <= LETTERS_MAX for vertex in drawn.vertices for line in vertex.lines)
    parsed = ElementTree.fromstring(svg(drawn))
    assert len(parsed.findall(".//{http://www.w3.org/2000/svg}title")) == 4


def test_boxes_do_not_overlap() -> None:
    """Each vertex has a place of its own, to the right of all that it comes from."""
    parsed = ElementTree.fromstring(svg(draw_nodes(instance())))
    space = "{http://www.w3.org/2000/svg}"
    boxes = []
    for group in parsed.findall(f"{space}g[@transform]"):
        left, top = map(float, re.findall(r"[\d.]+", group.attrib["transform"]))
        rect = group.find(f"{space}rect")
        assert rect is not None
        boxes.append((left, top, left + float(rect.attrib["width"]), top + float(rect.attrib["height"])))
    assert len(boxes) == 4
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    entry, load1, _, collect = boxes
    assert entry[2] < load1[0] < load1[2] < collect[0]


def test_layers_are_those_of_the_longest_path() -> None:
    """A vertex stands one layer to the right of the last that leads to it."""
    assert layered(4, [(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)]) == [[0], [1], [2], [3]]


def test_functions_that_call_each_other_have_layers_too() -> None:
    """An edge that closes a circle is drawn, but does not count for the layers."""
    assert layered(3, [(0, 1), (1, 2), (2, 1), (1, 1), (2, 0)]) == [[0], [1], [2]]


def test_neighbours_stand_at_the_same_height() -> None:
    """Two chains side by side do not cross, in whatever order they came."""
    layers = layered(6, [(0, 3), (1, 2), (2, 5), (3, 4)])
    assert [[{0: "a", 3: "a", 4: "a"}.get(one, "b") for one in layer] for layer in layers] == [["a", "b"]] * 3


@pytest.mark.parametrize("shape", ["fan", "chain", "collected chain"])
def test_a_thousand_nodes_are_drawn_within_a_second(shape: str) -> None:
    """Neither width nor depth, nor long edges, take more than that."""
    nodes = [node("entry", ended=1.0)]
    for place in range(998):
        before = (nodes[-1].node_id,) if shape != "fan" and place else ()
        nodes.append(node(f"work{place}", ended=2.0, parent_id="entry", dependency_ids=before))
    collected = tuple(one.node_id for one in nodes[1:]) if shape != "chain" else ()
    nodes.append(node("collect", ended=3.0, parent_id="entry", dependency_ids=collected))
    began = process_time()
    svg(draw_nodes(nodes))
    assert process_time() - began < 1.0


def test_nothing_can_be_drawn_of_nothing() -> None:
    """An instance without nodes gives an empty picture in each language."""
    empty = Drawing(vertices=[], edges=[])
    assert mermaid(empty) == "flowchart LR\n"
    assert dot(empty).startswith("digraph")
    assert ElementTree.fromstring(svg(empty)).tag.endswith("svg")


def test_mermaid_reads_as_it_is_written() -> None:
    """The form that GitHub shows."""
    assert mermaid(draw_functions(instance())).splitlines()[:6] == [
        "flowchart LR",
        '  n0["D.entry<br/>1 completed"]:::completed',
        '  n1["D.load<br/>1 completed, 1 failed"]:::failed',
        '  n2["D.collect<br/>1 waiting"]:::waiting',
        "  n0 -.->|2| n1",
        "  n0 -.-> n2",
    ]
