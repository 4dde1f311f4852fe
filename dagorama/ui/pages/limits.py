"""The limits and caps: how much of each is used, who holds it, and how many wait."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import list_limits_async
from dagorama.ui.pages.rendering import render


async def show(request: Request) -> Response:
    """Show the limits, those first that most nodes wait for."""
    return render(request, "limits.html", limits=await list_limits_async())


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/limits", show, name="limits")]
