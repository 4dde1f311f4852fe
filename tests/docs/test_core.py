"""The pages about the core say what its code says."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from dagorama_broker.core.model.states import MOVES, TERMINAL, NodeState
from tests.docs.pages import ROOT, blocks
from tests.transcripts import DASHES, tidy
from tests.unit.core.transcript import Bench

EXPLANATION = ROOT / "docs" / "explanation"
CORE = ROOT / "dagorama_broker" / "core"

GLOSSARY = re.findall(r"^\| ([\w ]+) \| .+ \| `([\w.]+)` \|$", (EXPLANATION / "glossary.md").read_text(), re.MULTILINE)


def shown(state: NodeState) -> str:
    """Returns a state as the picture has it."""
    return state.upper() if state in TERMINAL else str(state)


def test_picture_of_states_is_the_table_of_moves() -> None:
    """The picture has each move that a node may make, and no other."""
    width = max(map(len, NodeState))
    rows = [
        f"{shown(state):<{width}} -> {' | '.join(shown(target) for target in NodeState if target in MOVES[state])}"
        if MOVES[state]
        else shown(state)
        for state in sorted(NodeState, key=lambda state: (state in TERMINAL, list(NodeState).index(state)))
    ]
    (picture,) = (block.text for block in blocks(EXPLANATION / "architecture.md") if "| CANCELLED" in block.text)
    assert picture.splitlines() == rows


@pytest.mark.parametrize(("word", "name"), GLOSSARY)
def test_words_of_the_glossary_exist(word: str, name: str) -> None:
    """Each word of the glossary is used in the core, and has the name in it that the glossary gives."""
    parts = name.split(".")
    files = [CORE.joinpath(*parts[:length]).with_suffix(".py") for length in range(1, len(parts))]
    (file,) = (file for file in files if file.is_file())
    found: object = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    *outer, last = parts[files.index(file) + 1 :]
    for part in outer:
        found = getattr(found, part)
    assert hasattr(found, last) or re.search(rf"self\.{last}\b", file.read_text())
    text = "".join(file.read_text() for file in CORE.rglob("*.py")).lower().replace("_", " ")
    assert re.search(rf"\b{word}\b", re.sub(r"\s+", " ", text))


def test_glossary_is_in_order_and_has_every_word_that_is_explained() -> None:
    """A word that a docstring of the core sets in italics, because it explains it, stands in the glossary."""
    words = [word for word, _ in GLOSSARY]
    assert words == sorted(set(words))
    explained = {
        word for file in CORE.rglob("*.py") for word in re.findall(r"(?<![\w*])\*(\w+)\*(?![\w*])", file.read_text())
    }
    assert {word.lower().removesuffix("s") for word in explained} - set(words) == set()


def test_page_about_choosing_is_a_transcript() -> None:
    """The core decides what the page says that it does."""
    (transcript,) = (block.text for block in blocks(EXPLANATION / "choosing.md") if DASHES in block.text)
    assert Bench().replay(transcript) == tidy(transcript)
