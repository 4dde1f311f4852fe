"""Read which of our modules import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and file of each module of these packages."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield the full name of each module, or name in a module, that `source` imports, wherever the import stands."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = package[: len(package) - statement.level + 1] if statement.level else []
            origin = ".".join([*base, *([statement.module] if statement.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in statement.names)
