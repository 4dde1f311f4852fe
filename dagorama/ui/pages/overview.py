"""The first page: the newest instances."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import instances
from dagorama.ui.pages.rendering import render

#: So many instances are on the page.
SHOWN_MAX = 50


async def overview(request: Request) -> Response:
    """Show the newest instances."""
    newest = [one.status async for one in instances(limit=SHOWN_MAX)]
    return render(request, "overview.html", instances=newest)


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [Route("/", overview, name="overview")]
