"""The description of the API in OpenAPI 3.1, made of the same rows as its routes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from dagorama.ui.api.actions import ACTIONS
from dagorama.ui.api.kinds import Several
from dagorama.ui.api.looks import INSTANCE_ID, LOOKS, NODE_ID
from dagorama.ui.api.rows import JSON, PREFIX, Field, Operation
from dagorama.ui.api.runs import RUN_NAME, RUNS
from dagorama.ui.api.schemas import components, ref
from dagorama.ui.errors import title_of

OPERATIONS: tuple[Operation, ...] = (*LOOKS, *ACTIONS, *RUNS)
#: The fields that paths have.
IN_PATHS = {field.name: field for field in (INSTANCE_ID, NODE_ID, RUN_NAME)}
#: The statuses with which anything may be refused.
_ALWAYS = (401, 403, 422, 429, 500, 502, 503)
#: Those of requests with ids in the path, with a query, and with a body.
_OF_PATHS, _OF_QUERIES, _OF_BODIES = (404,), (400,), (400, 408, 413, 415)
_MEMBERS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "integer"},
    "flag": {"type": "boolean"},
}
ABOUT = (
    "The JSON API of the page. It has the words of the commands with `--json`: ids are UUIDs, times are in ISO 8601 "
    "and UTC, states are in small letters, `null` is what is not known or not yet, and a text that there is none of is "
    '`""`. A later version may tell more. Errors are told as problem+json (RFC 9457), with the words of the library\'s '
    "errors; `field` names the part of the request that is wrong. Where the page has a token, send it as "
    "`Authorization: Bearer TOKEN`. Bodies are JSON."
)


def path_fields(operation: Operation) -> list[Field]:
    """Return the fields in the path of an operation."""
    return [IN_PATHS[name] for name in re.findall(r"{(\w+)}", operation.path)]


@cache
def document() -> dict[str, Any]:
    """Return the description."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _described(operation)
        if operation.prefix != PREFIX:
            item["servers"] = [{"url": operation.prefix or "/"}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "dagorama", "version": version("dagorama"), "description": ABOUT},
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    """Return the description of an operation."""
    parameters = [_parameter(field, "path") for field in path_fields(operation)]
    parameters += [_parameter(field, "query") for field in operation.query]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        **({"description": operation.about} if operation.about else {}),
        "parameters": parameters,
        "responses": {"200": {"description": "Done", "content": _content(operation)}},
    }
    if operation.method == "POST":
        body = {"content": {"application/json": {"schema": body_of(operation.body)}}}
        described["requestBody"] = {**body, "required": any(field.is_required for field in operation.body)}
    for status in refusals(operation):
        problem = {"application/problem+json": {"schema": ref("problem")}}
        described["responses"][str(status)] = {"description": title_of(status), "content": problem}
    return described


def _content(operation: Operation) -> dict[str, Any]:
    """Return the description of what an operation answers with."""
    return {operation.media_type: {"schema": answer(operation)} if operation.media_type == JSON else {}}


def refusals(operation: Operation) -> list[int]:
    """Return the statuses of an operation's refusals."""
    paths = _OF_PATHS if path_fields(operation) else ()
    queries = _OF_QUERIES if operation.query else ()
    bodies = _OF_BODIES if operation.method == "POST" else ()
    return sorted({*_ALWAYS, *paths, *queries, *bodies, *operation.refusals})


def _parameter(field: Field, place: str) -> dict[str, Any]:
    several = {"style": "form", "explode": True} if isinstance(field.kind, Several) else {}
    return {
        "name": field.name,
        "in": place,
        "required": field.is_required,
        "description": field.about,
        "schema": dict(field.kind.schema),
        **several,
    }


def body_of(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the schema of a body with these fields."""
    return {
        "type": "object",
        "properties": {field.name: {**field.kind.schema, "description": field.about} for field in fields},
        "required": [field.name for field in fields if field.is_required],
        "additionalProperties": False,
    }


def answer(operation: Operation) -> dict[str, Any]:
    """Return the schema of an operation's answer."""
    if operation.members is None:
        return ref(operation.answer)
    return {
        "type": "object",
        "properties": {name: _member(told) for name, told in operation.members.items()},
        "required": list(operation.members),
        "additionalProperties": False,
    }


def _member(told: str | Sequence[str]) -> Mapping[str, Any]:
    """Return the schema of a member: by the word for it, or a list of components."""
    if isinstance(told, str):
        return _MEMBERS[told]
    several = [ref(each) for each in told]
    return {"type": "array", "items": several[0] if len(several) == 1 else {"anyOf": several}}
