"""A drawing in DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from dagorama.analysis.drawing import Drawing, colours

#: Graphviz reads escapes and entities of HTML in labels.
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "&": "&amp;", "<": "&lt;", ">": "&gt;"})


def dot(drawing: Drawing) -> str:
    """Return a drawing as a digraph of DOT."""
    return "\n".join(_lines(drawing)) + "\n"


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "digraph instance {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];'
    yield '  edge [color="#757575", fontname="sans-serif", fontsize=9];'
    for place, vertex in enumerate(drawing.vertices):
        fill, border = colours(vertex.state)
        label = r"\n".join(line.translate(_ESCAPES) for line in vertex.lines)
        yield f'  n{place} [label="{label}", fillcolor="{fill}", color="{border}"];'
    for edge in drawing.edges:
        told = f" [style={'dashed' if edge.is_call else 'solid'}{f', label={edge.count}' if edge.count > 1 else ''}]"
        yield f"  n{edge.source} -> n{edge.target}{told};"
    yield "}"
