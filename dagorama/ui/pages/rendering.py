"""Pages made of templates. Everything that is put into one is escaped."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

ROOT = Path(__file__).parents[1]


def render(request: Request, name: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """Return the page that a template makes of these values.

    Each template also has `request`, `csrf`, for the field `csrf` of forms, `signs_in`, whether there is a token to
    sign out from, and `version`. An undefined name in it is an error.
    """
    given = {
        "request": request,
        "csrf": getattr(request.state, "csrf", ""),
        "signs_in": bool(request.app.state.settings.token),
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
    templates.globals |= {"static": static, "version": version("dagorama")}
    return templates


@cache
def static(name: str) -> str:
    """Return the address of a file below static/, which is another one for another content."""
    return f"/static/{name}?v={sha256((ROOT / 'static' / name).read_bytes()).hexdigest()[:12]}"
