"""The routes of the API: requests are read as the rows say, and answers written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import acting_as
from dagorama.as_json import json_of
from dagorama.ui.api.kinds import Several
from dagorama.ui.api.openapi import IN_PATHS, OPERATIONS, document
from dagorama.ui.api.rows import JSON, PREFIX, Asked, Field, Operation
from dagorama.ui.downloads import answered
from dagorama.ui.errors import RETRY_AFTER_S, BadInput
from dagorama.ui.pages.rendering import render

#: A broker that has not answered after this time is taken for away: a request waits no longer.
ANSWER_S = 15.0


def routes() -> list[Route]:
    """Return the routes of all operations, of their description, and of a page about them."""
    return [
        Route(PREFIX, page, name="api"),
        Route(f"{PREFIX}/openapi.json", describe, name="openapi"),
        *(
            Route(f"{each.prefix}{each.path}", _handler(each), methods=[each.method], name=each.name)
            for each in OPERATIONS
        ),
    ]


def _handler(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that answers requests for an operation."""

    async def handle(request: Request) -> Response:
        fields = {**_in_path(request), **_in_query(request, operation.query)}
        if operation.method == "POST":
            fields |= await _in_body(request, operation.body)
        try:
            async with asyncio.timeout(ANSWER_S + fields.get("wait_s", 0.0)):
                with acting_as(_asker_of(request)):
                    answer = await operation.carry_out(Asked(fields))
        except TimeoutError:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The broker has not answered within {ANSWER_S:.0f} s.",
                {"Retry-After": str(RETRY_AFTER_S)},
            ) from None
        if isinstance(answer, Response):
            return answered(request, answer)
        return Response(json_of(answer), media_type=JSON)

    return handle


def _asker_of(request: Request) -> str:
    """Return the words for the program that asks, for the history: all that is known is the machine."""
    return f"API, from {request.client.host}" if request.client else "API"


def _in_path(request: Request) -> dict[str, Any]:
    """Return the fields of a path."""
    return {name: IN_PATHS[name].read(text) for name, text in request.path_params.items()}


def _in_query(request: Request, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of a query."""
    query = request.query_params
    _check_names(query, fields, "parameter")
    found = {}
    for field in fields:
        texts = query.getlist(field.name)
        if isinstance(field.kind, Several):
            value: object = [field.kind.of.of_text(text) for text in texts]
        elif len(texts) > 1:
            raise BadInput(field.name, "may be given only once")
        else:
            value = field.kind.of_text(texts[0]) if texts else None
        found[field.name] = field.read(value) if texts else field.default
    return found


async def _in_body(request: Request, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of a body, which may be missing where none of them is required."""
    body = await request.body()
    given: object = {}
    if body:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {JSON}.")
        try:
            given = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"The body is no JSON in UTF-8: {error}.") from None
    if not isinstance(given, dict):
        raise BadInput("body", "must be a JSON object")
    _check_names(given, fields, "field")
    missing = [field.name for field in fields if field.is_required and field.name not in given]
    if missing:
        raise BadInput(missing[0], "is missing")
    return {field.name: field.read(given[field.name]) if field.name in given else field.default for field in fields}


def _check_names(given: Mapping[str, object], fields: Sequence[Field], what: str) -> None:
    """Refuse a name that there is not: nobody would know that it was not heeded."""
    known = [field.name for field in fields]
    for name in given:
        if name not in known:
            there_are = f"the {what}s are {', '.join(known)}" if known else f"there are no {what}s"
            raise BadInput(name[:100].encode(errors="replace").decode(), f"there is no such {what}; {there_are}")


async def describe(request: Request) -> Response:
    """Answer with the description."""
    return Response(json.dumps(document(), ensure_ascii=False, indent=1), media_type=JSON)


async def page(request: Request) -> Response:
    """Show the operations to people."""
    return render(request, "api.html", document=document(), operations=OPERATIONS, prefix=PREFIX, in_paths=IN_PATHS)
