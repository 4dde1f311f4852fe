"""Fields of forms for arguments: the kind of each, by its type hint, and the values that people type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dagorama.ui.errors import BadInput

#: Type hints whose values are typed as they are: the worker makes them of the text.
_PLAIN = frozenset({"str", "date", "datetime", "time", "Path", "UUID", "Decimal", "bytes"})
#: The names of fields begin with this, so that no parameter is taken for anything else.
PREFIX = "argument."


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form for one argument."""

    name: str
    #: "text", "number", "bool" or "json".
    kind: str
    annotation: str
    #: As Python writes it; None for none.
    default: str | None
    #: Whether something has to be typed.
    is_required: bool
    #: Typed so far.
    value: str = ""
    #: Whether the empty text is meant by an empty field.
    is_empty: bool = False
    #: Why that cannot be used; empty for nothing.
    problem: str = ""


def kind_of(annotation: str) -> str:
    """Return which kind of field a type hint wants."""
    hint = annotation.strip("'\"").removesuffix(" | None")
    if hint in ("int", "float"):
        return "number"
    if hint == "bool":
        return "bool"
    return "text" if hint.rpartition(".")[2] in _PLAIN else "json"


def value_in(field: Field, text: str) -> object:
    """Return the value that somebody has typed; `BadInput` for none."""
    if field.kind == "text":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        wanted = {
            "number": "a number",
            "bool": "true or false",
            "json": 'JSON, such as 7, "text", [1, 2] or {"name": true}',
        }[field.kind]
        raise BadInput(field.name, f"must be {wanted}") from None


class BadEdits(ValueError):
    """Arguments that somebody has typed and that cannot be used: each with the reason, by its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        """Take what is wrong with each."""
        self.problems = problems
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))


def edits_in(form: Mapping[str, str], before: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments that differ from the ones `before`, both in JSON; `BadEdits` for texts that are none."""
    edits: dict[str, object] = {}
    problems: dict[str, str] = {}
    for name, json_before in before.items():
        text = form.get(PREFIX + name, json_before)
        try:
            value = json.loads(text)
            is_edited = _canonical(value) != _canonical(json.loads(json_before))
        except (ValueError, RecursionError):
            problems[name] = f"must be JSON, such as {json_before[:100]}"
            continue
        if is_edited:
            edits[name] = value
    if problems:
        raise BadEdits(problems)
    return edits


def _canonical(value: object) -> str:
    """Return JSON that tells 1, true and 1.0 apart, and is equal for NaN."""
    return json.dumps(value, sort_keys=True)


def tags_in(text: str) -> dict[str, str]:
    """Return the tags that somebody has typed, one in a line as NAME=VALUE; `BadInput` for what is none."""
    return dict(_tags(text))


def _tags(text: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise BadInput("tags", f"must be one in a line, as customer=c9, not {line!r}")
        yield name.strip(), value.strip()
