"""Docstrings are in one voice: an imperative for a function, a named subject for all else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Rooms that have been put into this voice; the list only gets longer.
ROOMS = (
    "dagorama_broker/core",
    "dagorama_broker/host",
    "dagorama_broker/logs",
    "dagorama_broker/metrics",
    "dagorama_broker/requests",
    "dagorama_broker/service",
    "dagorama_broker/storage",
    "dagorama/analysis",
    "dagorama/cli",
    "dagorama/client",
    "dagorama/code",
    "dagorama/calls",
    "dagorama/instance",
    "dagorama/looking",
    "dagorama/metrics",
    "dagorama/models",
    "dagorama/running",
    "dagorama/testing",
    "dagorama/tracing",
    "dagorama/ui",
    "dagorama/worker",
    "dagorama/workflows",
)

#: A sentence has a thing for its subject, and no clause that goes round it.
NO_SUBJECT = re.compile(
    r"(?:^|(?<=[.;:] ))(?:what|whatever|who|which|of which|of whom|of what|those)\b"
    r"|\bwhoever\b|\bthose (?:that|who|which)\b",
    re.IGNORECASE,
)

#: "Return", not "Returns" or "Whether". What is no verb but looks like a third person is named.
NO_IMPERATIVE = re.compile(
    r"(?!(?:Pass|Process|Access|Guess|Press|Discuss)\b)(?:[A-Z][a-z]+s|Whether|When|Where|How|The|A|An)\b"
)


def files() -> list[Path]:
    """Return the modules whose docstrings are in one voice."""
    loose = (ROOT / "dagorama").glob("*.py")
    return sorted([*loose, *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))])


def is_command(node: ast.AST) -> bool:
    """Return whether a function is a command of click."""
    return any("click.command" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


def docstrings(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the docstrings of a module: the line, the text in one line, and whether it is a function's.

    The docstring of a command is its help, which is for people at a terminal.
    """
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            if text and not (is_function and is_command(node)):
                yield getattr(node, "lineno", 1), " ".join(text.split()), is_function


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_name_their_subject(file: Path) -> None:
    """No sentence is about "what" or "whoever", and a function is told what to do."""
    found = list(docstrings(file))
    assert [(line, text) for line, text, _ in found if NO_SUBJECT.search(text)] == []
    assert [(line, text) for line, text, is_function in found if is_function and NO_IMPERATIVE.match(text)] == []


def test_rooms_exist() -> None:
    """A room that has moved is not left out of the rule by its name."""
    assert [room for room in ROOMS if not (ROOT / room).is_dir()] == []


@pytest.mark.parametrize(
    "text", ["What a node waits for.", "Fail it. Those of others stay.", "End it for whoever asks."]
)
def test_rule_finds_sentences_without_a_subject(text: str) -> None:
    """The rule sees a clause in the place of a subject in any sentence."""
    assert NO_SUBJECT.search(text)


@pytest.mark.parametrize("text", ["Return what a node waits for.", "Pass it on.", "Tell a worker which nodes it has."])
def test_rule_lets_imperatives_be(text: str) -> None:
    """The rule has nothing against a clause as an object."""
    assert not NO_SUBJECT.search(text)
    assert not NO_IMPERATIVE.match(text)
