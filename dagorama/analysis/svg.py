"""A drawing as SVG, for a browser: one text without scripts, references to elsewhere or fonts of its own."""

from __future__ import annotations

from collections.abc import Iterator

from dagorama.analysis.drawing import Drawing, Vertex, colours
from dagorama.analysis.layout import layered

#: In pixels: a letter of the text, a line of it, and the room around boxes.
LETTER, LINE, PADDING, GAP_X, GAP_Y, MARGIN = 6.6, 15, 8, 64, 14, 16

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def svg(drawing: Drawing) -> str:
    """Return a drawing as SVG."""
    return "\n".join(_lines(drawing)) + "\n"


def escaped(text: str) -> str:
    """Return a text for XML, which has no place for some characters even by their numbers."""
    return "".join(letter if _is_xml(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text).translate(_ESCAPES)


def _is_xml(letter: str) -> bool:
    code = ord(letter)
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code > 0xFFFF


def _lines(drawing: Drawing) -> Iterator[str]:
    layers = layered(len(drawing.vertices), [(edge.source, edge.target) for edge in drawing.edges])
    sizes = [_size(vertex) for vertex in drawing.vertices]
    heights = [sum(sizes[one][1] + GAP_Y for one in layer) - GAP_Y for layer in layers]
    tallest = max(heights, default=0)
    places: dict[int, tuple[float, float]] = {}
    left = float(MARGIN)
    for layer, height in zip(layers, heights, strict=True):
        top = MARGIN + (tallest - height) / 2
        for place in layer:
            places[place] = left, top
            top += sizes[place][1] + GAP_Y
        left += max(sizes[place][0] for place in layer) + GAP_X
    width, height = max(left - GAP_X, MARGIN) + MARGIN, tallest + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="11">'
    )
    yield '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    yield '<path d="M0 0L8 4L0 8z" fill="#757575"/></marker></defs>'
    yield f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    yield '<g fill="none" stroke="#757575">'
    for edge in drawing.edges:
        (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
        x1, y1, y2 = x1 + sizes[edge.source][0], y1 + sizes[edge.source][1] / 2, y2 + sizes[edge.target][1] / 2
        bend = max(GAP_X / 2, abs(x2 - x1) / 2)
        dashes = ' stroke-dasharray="4 3"' if edge.is_call else ""
        path = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        yield f'<path d="{path}"{dashes} marker-end="url(#tip)"/>'
    yield "</g>"
    for place, vertex in enumerate(drawing.vertices):
        yield from _box(vertex, *places[place], *sizes[place])
    for edge in drawing.edges:
        if edge.count > 1:
            (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
            middle = (x1 + sizes[edge.source][0] + x2) / 2, (y1 + y2) / 2 + sizes[edge.source][1] / 2
            yield f'<text x="{middle[0]:.1f}" y="{middle[1] - 3:.1f}" text-anchor="middle">{edge.count}</text>'
    yield "</svg>"


def _size(vertex: Vertex) -> tuple[float, float]:
    # Letters outside of ASCII may be wide.
    letters = max((sum(1 if letter.isascii() else 2 for letter in line) for line in vertex.lines), default=0)
    return letters * LETTER + 2 * PADDING, len(vertex.lines) * LINE + PADDING


def _box(vertex: Vertex, left: float, top: float, width: float, height: float) -> Iterator[str]:
    fill, border = colours(vertex.state)
    yield (
        f'<g transform="translate({left:.1f} {top:.1f})"><title>{escaped(" - ".join(vertex.lines))}</title>'
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="5" fill="{fill}" stroke="{border}"/>'
    )
    for number, line in enumerate(vertex.lines):
        weight = ' font-weight="bold"' if not number else ""
        yield f'<text x="{PADDING}" y="{(number + 1) * LINE - 1}"{weight} fill="#222222">{escaped(line)}</text>'
    yield "</g>"
