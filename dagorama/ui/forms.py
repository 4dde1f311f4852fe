"""Forms as browsers send them. Their size is bounded before anybody reads them."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from dagorama.ui.errors import BadInput

FORM = "application/x-www-form-urlencoded"
#: A form has no more fields than this.
FIELDS_MAX = 1000


async def form_in(request: Request) -> dict[str, str]:
    """Return the fields of a form, the last of each name."""
    return dict(await fields_in(request))


async def fields_in(request: Request) -> list[tuple[str, str]]:
    """Return the names and values of a form in their order, also of names that it has more than once.

    Raises `BadInput` for what is no form.
    """
    return fields_of(request.headers.get("content-type", ""), await request.body())


def fields_of(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Return the names and values in the body of a form; raise `BadInput` for what is no form."""
    if body and content_type.partition(";")[0].strip().lower() != FORM:
        raise BadInput("content-type", f"must be {FORM}")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadInput("body", f"must be a form in UTF-8 with {FIELDS_MAX} fields at most") from None
