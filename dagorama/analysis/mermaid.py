"""A drawing in the language of Mermaid, which GitHub and many wikis show."""

from __future__ import annotations

from collections.abc import Iterator

from dagorama.analysis.drawing import Drawing, colours

#: The letters that stand in a label as they are; all others are written by their number, so that none of them ends the
#: label, begins a directive (`%%{`), or is taken for markup.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:_-/()…")


def mermaid(drawing: Drawing) -> str:
    """Return a drawing as a flowchart of Mermaid."""
    return "\n".join(_lines(drawing)) + "\n"


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "flowchart LR"
    for place, vertex in enumerate(drawing.vertices):
        yield f'  n{place}["{"<br/>".join(map(escaped, vertex.lines))}"]:::{vertex.state}'
    for edge in drawing.edges:
        arrow = "-.->" if edge.is_call else "-->"
        count = f"|{edge.count}|" if edge.count > 1 else ""
        yield f"  n{edge.source} {arrow}{count} n{edge.target}"
    for state in dict.fromkeys(vertex.state for vertex in drawing.vertices):
        fill, border = colours(state)
        yield f"  classDef {state} fill:{fill},stroke:{border},color:#222222"


def escaped(text: str) -> str:
    """Return a text for a label in quotes."""
    return "".join(letter if letter in _PLAIN or letter.isalnum() else f"#{ord(letter)};" for letter in text)
