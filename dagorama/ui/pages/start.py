"""Starting an instance of a definition that a worker has, by a form made of its type hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagorama import (
    BrokerRefused,
    DefinitionInfo,
    Instance,
    KeyConflict,
    acting_as,
    definitions_async,
    instance_options,
    start_async,
)
from dagorama.ui.errors import BadInput
from dagorama.ui.forms import form_in
from dagorama.ui.pages.actions import reader_of, refusal_in
from dagorama.ui.pages.asked import text_in
from dagorama.ui.pages.json_fields import PREFIX, Field, kind_of, tags_in, value_in
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.words import RUN

#: The fields of a form that are no arguments.
OPTIONS = ("key", "tags", "priority")


#: A box beside a field for a text begins with this: it says that the empty text is meant.
EMPTY_PREFIX = "empty."
#: What is wrong with an empty field, by its kind.
_NEEDED = {"text": "is needed; tick the box where it is to be an empty text"}


async def show(request: Request) -> Response:
    """Show what can be started, or the form of a definition."""
    found = await definitions_async()
    name = text_in(request, "definition")
    if not name:
        # A workflow is started by its file.
        return render(request, "start.html", definitions=[one for one in found if one.name != RUN])
    return _form(request, _named(found, name))


async def start(request: Request) -> Response:
    """Start an instance, and lead to it; where that cannot be, show the form again, with the reason."""
    form = await form_in(request)
    info = _named(await definitions_async(), form.get("definition", ""))
    fields = [_typed(field, form) for field in fields_of(info)]
    if any(field.problem for field in fields):
        return _form(request, info, fields, form, status=422)
    arguments = {field.name: value_in(field, field.value) for field in fields if _is_given(field)}
    try:
        instance = await _started(request, info, arguments, form)
    except (BrokerRefused, KeyConflict, BadInput, LookupError, TypeError, ValueError) as error:
        return _form(request, info, fields, form, refused=refusal_in(error), status=409)
    return RedirectResponse(f"/instances/{instance.id}?done=start", 303)


async def _started(
    request: Request, info: DefinitionInfo, arguments: Mapping[str, object], form: Mapping[str, str]
) -> Instance:
    priority = form.get("priority", "").strip()
    try:
        number = int(priority) if priority else None
    except ValueError:
        raise BadInput("priority", "must be a whole number") from None
    options = instance_options(
        key=form.get("key", "").strip() or None, tags=tags_in(form.get("tags", "")), priority=number
    )
    with acting_as(reader_of(request)), options:
        return await start_async(info, arguments)


def fields_of(info: DefinitionInfo) -> list[Field]:
    """Return the fields for the arguments of an entrypoint; `*args` and `**kwargs` have none."""
    return [
        Field(
            name=one.name,
            kind=kind_of(one.annotation),
            annotation=one.annotation,
            default=one.default,
            is_required=one.default is None,
        )
        for one in info.parameters
        if not one.kind.startswith("var_")
    ]


def _typed(field: Field, form: Mapping[str, str]) -> Field:
    """Return a field with what was typed, and what is wrong with that."""
    field = replace(field, value=form.get(PREFIX + field.name, ""))
    field = replace(field, is_empty=EMPTY_PREFIX + field.name in form)
    if not _is_given(field):
        return replace(field, problem=_NEEDED.get(field.kind, "is needed")) if field.is_required else field
    try:
        value_in(field, field.value)
    except BadInput as error:
        return replace(field, problem=error.problem)
    return field


def _is_given(field: Field) -> bool:
    """Return whether there is a value: an empty field means none, unless an empty text is wanted."""
    return bool(field.value.strip()) or (field.kind == "text" and (field.is_empty or bool(field.value)))


def _named(found: Sequence[DefinitionInfo], name: str) -> DefinitionInfo:
    """Return the definition of a name; 404 for none."""
    for one in found:
        if one.name == name:
            return one
    raise HTTPException(404, f"no connected worker has told of a definition {name!r}: start one that has its module")


def _form(
    request: Request,
    info: DefinitionInfo,
    fields: Sequence[Field] | None = None,
    form: Mapping[str, str] | None = None,
    *,
    refused: str = "",
    status: int = 200,
) -> Response:
    return render(
        request,
        "start_form.html",
        status=status,
        info=info,
        fields=fields_of(info) if fields is None else fields,
        options={name: (form or {}).get(name, "") for name in OPTIONS},
        prefix=PREFIX,
        empty_prefix=EMPTY_PREFIX,
        refused=refused,
    )


def routes() -> list[Route]:
    """Return the routes of the form."""
    return [Route("/start", show, name="start", methods=["GET"]), Route("/start", start, methods=["POST"])]
