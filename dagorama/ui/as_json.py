"""Statuses, events and lines as JSON, in the words that the commands print with --json."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from uuid import UUID

from dagorama import EventsSkipped, LogGap
from dagorama.logging import printable_json

#: In the place of a kind.
SKIPPED = "events_skipped"


def plain(value: object) -> object:
    """Return a value as JSON has it, for `json.dumps`.

    Dataclasses are objects, UUIDs strings, times in ISO 8601 and UTC.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
        if isinstance(value, EventsSkipped):
            return {"kind": SKIPPED, **fields}
        if isinstance(value, LogGap):
            return {"gap": fields.pop("text"), **fields}
        return fields
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"there is no JSON for a {type(value).__name__}")


def json_line(value: object) -> str:
    """Return a value in one line, with what a terminal would heed escaped."""
    return printable_json(json.dumps(value, default=plain, ensure_ascii=False))
