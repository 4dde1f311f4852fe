"""The files that the tasks of a workflow's run have saved."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama.ui.downloads import answered, download_of
from dagorama.ui.pages.asked import ROWS, id_in
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.rendering import render
from dagorama.workflows.artifacts import artifact_page


async def show(request: Request) -> Response:
    """Show the files, in the order in which they were saved."""
    frame = await instance_frame(request)
    cursor = request.query_params.get("cursor", "")
    found = await artifact_page(frame.instance.id, cursor, ROWS)
    return render(request, "artifacts.html", **frame.values(), found=found, cursor=cursor)


async def download(request: Request) -> Response:
    """Send a file."""
    return answered(request, await download_of(id_in(request, "instance"), id_in(request, "node")))


def routes() -> list[Route]:
    """Return the routes of the list, and of each file."""
    return [
        Route("/instances/{instance}/artifacts", show, name="artifacts"),
        Route("/instances/{instance}/artifacts/{node}", download, name="artifact"),
    ]
