"""Nobody but its owner uses the generator of the `random` module."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.docs.pages import ROOT

#: What `random` has beside its hidden generator.
OWN = {"Random", "SystemRandom"}


def taken(tree: ast.Module) -> set[str]:
    """Return the names of `random` that a module uses."""
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    }
    return imported | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    }


def test_the_generator_of_the_program_is_left_alone() -> None:
    """A program that has seeded it gets the same numbers, whatever our threads do meanwhile."""
    files = [file for wing in ("dagorama", "dagorama_broker") for file in (ROOT / wing).rglob("*.py")]
    used: dict[Path, set[str]] = {file: taken(ast.parse(file.read_text())) - OWN for file in files}
    assert {str(file.relative_to(ROOT)): names for file, names in used.items() if names} == {}
