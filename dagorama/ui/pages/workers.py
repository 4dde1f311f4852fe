"""The workers that are connected."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import workers_async
from dagorama.ui.pages.rendering import render


async def show(request: Request, *, refused: str = "", status: int = 200) -> Response:
    """Show the workers."""
    found = sorted(await workers_async(), key=lambda worker: (worker.name, worker.worker_id))
    slots, leases = (sum(getattr(worker, name) for worker in found) for name in ("slots", "leases"))
    return render(request, "workers.html", status=status, workers=found, slots=slots, leases=leases, refused=refused)


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/workers", show, name="workers")]
