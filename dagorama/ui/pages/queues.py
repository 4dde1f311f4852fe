"""The queues: how many nodes of each are ready, run, or are held."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import queues_async
from dagorama.ui.pages.rendering import render


async def show(request: Request, *, refused: str = "", status: int = 200) -> Response:
    """Show the queues."""
    found = sorted(await queues_async(), key=lambda queue: (queue.queue, queue.taint))
    return render(request, "queues.html", status=status, queues=found, refused=refused)


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/queues", show, name="queues")]
