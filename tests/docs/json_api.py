"""Writes the reference page of the JSON API from its description: `python -m tests.docs.json_api`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagorama.ui.api.openapi import OPERATIONS, path_fields, refusals
from dagorama.ui.api.rows import JSON, PREFIX, Field, Operation
from dagorama.ui.api.schemas import components
from dagorama.ui.errors import title_of
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "json-api.md"

INTRODUCTION = f"""# The JSON API

`dagorama ui` serves it beside its pages, below `{PREFIX}`; the description in OpenAPI 3.1 is at
`{PREFIX}/openapi.json`, and a page about it at `{PREFIX}`. This page is made from the same rows as both, by
`python -m tests.docs.json_api`.

Words are those of the commands with [`--json`](commands.md#json): ids are UUIDs, times are strings in ISO 8601 and UTC
such as `2026-11-21T13:24:46.123Z`, states are in small letters. What is not known or not yet is `null`; a text that
there is none of is `""`. A later version may tell more.

```text
curl http://localhost:8080{PREFIX}/instances?state=failed
curl -X POST -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{{"priority": 10}}' \\
    http://localhost:8080{PREFIX}/instances/01a2198d-1e4f-7388-9c20-dfb0513dbb11/priority
```

Where the page has a token, send it as `Authorization: Bearer TOKEN`. Where it has none, and listens on loopback,
programs need none. Of browsers an action is only taken from the page itself.

**Pages of lists.** An answer has a `next_cursor`: ask again with `cursor` set to it. It is `""` after the last page. A
page of a selection may be empty and not the last. Cursors are good for the same selection, in any process.

**Errors** are `application/problem+json` (RFC 9457): `title`, `status`, `detail`, in the words of the library's errors,
and for bad input `field`, the name of what is wrong. A parameter or field that there is not is bad input, too.

| Status | When |
| --- | --- |
| 400 | The broker cannot do this: a cursor that is none, a body that is no JSON |
| 401 | The page has a token, and the request has not |
| 403 | An action of another site, or without the token of the page's forms |
| 404 | An id that the broker does not know |
| 409 | Not as it stands now: `retry` of an instance that has not failed |
| 410 | A cursor of events that is too old, or from before the broker was started again: begin anew |
| 413, 415 | A body of more than 1 MiB, or that is not JSON |
| 422 | Bad input; `field` names it |
| 502 | The broker is of another version, and does not know the request |
| 503 | The broker is away. `Retry-After` says when to ask again |
"""


def page() -> str:
    """Returns the page."""
    looks = [entry(each) for each in OPERATIONS if each.method == "GET"]
    acts = [entry(each) for each in OPERATIONS if each.method != "GET"]
    shapes = [shape(name, schema) for name, schema in components().items()]
    return "\n".join(
        [
            INTRODUCTION,
            "## Looking\n",
            *looks,
            "## Changing\n",
            "Each is durable when it is answered.\n",
            *acts,
            "## Shapes\n",
            "| Shape | Members |",
            "| --- | --- |",
            *shapes,
            "",
        ]
    )


def entry(operation: Operation) -> str:
    """Returns what there is to know of an operation."""
    lines = [f"### {operation.method} {operation.path}\n", f"{operation.summary}. {operation.about}".rstrip() + "\n"]
    rows = [row(field, "path") for field in path_fields(operation)]
    rows += [row(field, "query") for field in operation.query] + [row(field, "body") for field in operation.body]
    if rows:
        lines += ["| Name | In | Value | Meaning |", "| --- | --- | --- | --- |", *rows, ""]
    only = [f"{status} ({title_of(status).lower()})" for status in refusals(operation) if status in (404, 409, 410)]
    lines.append(
        f"Answers with {answered(operation)}.{' May be refused with ' + ', '.join(only) + '.' if only else ''}\n"
    )
    return "\n".join(lines)


def row(field: Field, place: str) -> str:
    """Returns the row of a field."""
    about = field.about[0].upper() + field.about[1:]
    notes = ["Needed"] if field.is_required and place == "body" else []
    notes += [f"Default: {told_default(field.default)}"] if field.default not in (None, [], "", ()) else []
    return f"| `{field.name}` | {place} | {value(field.kind.schema)} | {'. '.join([about, *notes])} |"


def told_default(default: object) -> str:
    """Returns a default as JSON has it."""
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def value(schema: Mapping[str, Any]) -> str:
    """Returns in words what a value may be."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(value, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{word}`" if word else '`""`' for word in schema["enum"])
    if schema.get("format") in ("uuid", "date-time"):
        return "id" if schema["format"] == "uuid" else "time"
    if schema.get("type") == "array":
        return f"list of {value(schema['items'])}" if "items" in schema else "list"
    if "maximum" in schema:
        return f"{schema['type']}, {schema['minimum']:g} to {schema['maximum']}"
    return str(schema.get("type", "anything"))


def answered(operation: Operation) -> str:
    """Returns in words what an operation answers with."""
    if operation.media_type != JSON:
        return f"`{operation.media_type}`"
    if operation.members is None:
        return f"a shape `{operation.answer}`"
    told = []
    for name, member in operation.members.items():
        told.append(f"`{name}`" if isinstance(member, str) else f"`{name}` (list of {', '.join(member)})")
    return ", ".join(told)


def shape(name: str, schema: Mapping[str, Any]) -> str:
    """Returns the row of a component."""
    if "properties" not in schema:
        return f"| {name} | {value(schema)} |"
    return f"| {name} | {', '.join(f'`{key}`: {value(of)}' for key, of in schema['properties'].items())} |"


if __name__ == "__main__":
    PAGE.write_text(page())
