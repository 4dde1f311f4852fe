"""Functions of the standard library that are replaced while a worker captures what its nodes write."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


class Patches:
    """Replacements, and what was there before."""

    def __init__(self) -> None:
        """Begin with none."""
        self._made: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, replacement: Any) -> None:
        """Replace an attribute."""
        self._made.append((owner, name, getattr(owner, name), replacement))
        setattr(owner, name, replacement)

    def undo(self) -> None:
        """Put back what was there, but where somebody else has replaced it since."""
        while self._made:
            owner, name, before, replacement = self._made.pop()
            with suppress(AttributeError):
                if getattr(owner, name) is replacement:
                    setattr(owner, name, before)
