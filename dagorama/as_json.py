"""Statuses, events and lines as JSON, as the commands print them with --json and the page's API answers."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from uuid import UUID

from dagorama.client.events import EventsSkipped
from dagorama.client.log_lines import LogGap
from dagorama.logging import printable_json

#: In the place of a kind.
SKIPPED = "events_skipped"


def _plain(value: object) -> object:
    """Return a value as JSON has it, for `json.dumps`.

    Dataclasses are objects, without the fields that are in no `repr`; UUIDs are strings, times in ISO 8601 and UTC.
    Raises `TypeError` for anything else.
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


def json_of(value: object, indent: int | None = None) -> str:
    """Return a value in one line, or in several that are indented, with what a terminal would heed escaped."""
    return printable_json(json.dumps(value, default=_plain, indent=indent, ensure_ascii=False))
