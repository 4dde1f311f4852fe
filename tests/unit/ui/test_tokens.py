"""The page has one scale of type, one of distances, and colours for states, all of them in `tokens.css`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dagorama import ui

STATIC = Path(ui.__file__).parent / "static"
#: The style sheets that use the tokens.
SHEETS = sorted(path for path in (STATIC / "css").glob("*.css") if path.name != "tokens.css")
DECLARATION = re.compile(r"(?<![\w-])([a-z-]+):\s*([^;{}]+);")

#: What may be in the values of properties: a hairline is no distance.
ZERO = r"0|-?1px|auto|none|inherit"
SPACE = rf"{ZERO}|var\(--(space-\d|lead-\d|control(-small)?|side)\)"
RULES = {
    r"font-size": r"var\(--(text-\d|mono)\)",
    r"line-height": r"var\(--lead-\d\)",
    r"font": r"var\(--weight-\w+\) var\(--text-\d\) / (var\(--lead-\d\)|1) var\(--font-\w+\)",
    r"font-weight": r"var\(--weight-\w+\)",
    r"border-radius": r"0|var\(--(radius-\w+|space-0)\)",
    r"((row-|column-)?gap|(padding|margin)(-\w+)*)": rf"(({SPACE})\s*)+",
}
COLOUR = re.compile(r"#[0-9a-f]{3,8}\b|\b(rgb|hsl|oklch|light-dark)\(", re.IGNORECASE)
#: Sizes of letters in pixels, of which tokens.css has the same in rem.
LETTERS = {"12", "13"}


def declarations(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the properties and values of a style sheet; of `calc`, what it is made of."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    for found in DECLARATION.finditer(text):
        name, value = found.groups()
        yield name, re.sub(r"calc\(([^()]*(\([^()]*\))?)*\)", _inside, value).strip()


def _inside(found: re.Match[str]) -> str:
    parts = re.findall(r"var\([^)]+\)|[\d.]+(?:px|rem|em|vw|vh)", found[0])
    return " ".join(parts) or "0"


def test_sizes_and_distances_are_those_of_the_scales() -> None:
    """No length of its own for type, distances and corners."""
    odd = [
        f"{path.name}: {name}: {value}"
        for path in SHEETS
        for name, value in declarations(path)
        for rule, allowed in RULES.items()
        if re.fullmatch(rule, name) and not re.fullmatch(allowed, value)
    ]
    assert odd == []


def test_colours_are_tokens() -> None:
    """A colour that is written down elsewhere has one theme, and means nothing."""
    odd = [
        f"{path.name}: {name}: {value}" for path in SHEETS for name, value in declarations(path) if COLOUR.search(value)
    ]
    assert odd == []


def test_letters_on_canvases_have_the_sizes_of_the_page() -> None:
    """A canvas knows no tokens."""
    scripts = (STATIC / "js").glob("*.js")
    sizes = {size for path in scripts for size in re.findall(r"(\d+)px \$\{colors", path.read_text())}
    assert sizes == LETTERS
    tokens = (STATIC / "css/tokens.css").read_text()
    assert {f"{int(size) / 16:g}rem" for size in LETTERS} <= set(re.findall(r"--text-\d: ([\w.]+)", tokens))
