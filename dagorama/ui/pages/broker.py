"""The settings that the broker runs with."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import broker_settings_async
from dagorama.ui.pages.rendering import render


async def show(request: Request) -> Response:
    """Show the settings, those first that somebody has set."""
    found = sorted(await broker_settings_async(), key=lambda setting: (setting.source == "default", setting.name))
    return render(request, "settings.html", settings=found)


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/settings", show, name="settings")]
