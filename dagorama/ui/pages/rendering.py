"""Pages made of templates. Everything that is put into one is escaped."""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dagorama.ui.pages.words import FILTERS, GLOBALS

ROOT = Path(__file__).parents[1]
#: The navigation: an address, and the word for it.
PLACES = {
    "/instances": "Instances",
    "/workers": "Workers",
    "/queues": "Queues",
    "/limits": "Limits",
    "/settings": "Settings",
}


def render(request: Request, name: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """Return the page that a template makes of these values.

    Each template also has `request`, `csrf`, for the field `csrf` of forms, `signs_in`, whether there is a token to
    sign out from, and `broker_address`. An undefined name in it is an error.
    """
    given = {
        "request": request,
        "csrf": getattr(request.state, "csrf", ""),
        "signs_in": bool(request.app.state.settings.token),
        "broker_address": ":".join(
            os.environ.get(name) or default
            for name, default in (("DAGORAMA_HOST", "localhost"), ("DAGORAMA_PORT", "50051"))
        ),
        **values,
    }
    return HTMLResponse(environment().get_template(name).render(given), status)


@cache
def environment() -> Environment:
    """Return the templates with what all of them can use."""
    templates = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= FILTERS
    templates.globals |= GLOBALS | {"places": PLACES, "static": static, "version": version("dagorama")}
    return templates


@cache
def static(name: str) -> str:
    """Return the address of a file below static/, which is another one for another content."""
    return f"/static/{name}?v={sha256((ROOT / 'static' / name).read_bytes()).hexdigest()[:12]}"
