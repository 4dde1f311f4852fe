"""The pages, a module for each; `routes` has all of them."""

from __future__ import annotations

from starlette.routing import Route

from dagorama.ui.pages import login, overview


def routes() -> list[Route]:
    """Return the routes of all pages."""
    return [*login.routes(), *overview.routes()]
