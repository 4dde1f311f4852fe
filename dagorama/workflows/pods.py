"""Parts of pods that manifests and the Jobs of commands have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unexpanded(text: str) -> str:
    """Return a text in which clusters find no variable: they read $(NAME) as one, and $$(NAME) as the text."""
    return text.replace("$(", "$$(")


def merged(spec: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec with what takes the place of parts of it; mappings are merged, None is passed over."""
    made = dict(spec)
    for name, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(made.get(name), dict):
            made[name] = merged(made[name], value)
        elif value is not None:
            made[name] = value
    return made
