"""An instance at one glance."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import Instance, LogLine, Node, Why
from dagorama.ui.pages.asked import instance_in
from dagorama.ui.pages.instance_frame import Frame, instance_frame
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.shared import progress

#: So many failures, and so many lines of warnings, are on the page.
FAILURES, WARNINGS = 3, 8
#: Where it takes longer to count the nodes by function, the page comes without, and fetches them when they are there.
COUNT_S = 0.4
#: Warnings are looked for in so many parts of the logs.
PARTS_MAX = 40


async def show(request: Request, *, refused: str = "", status: int = 200) -> Response:
    """Show an instance: how far it has come by function, what holds it, what has failed."""
    frame = await instance_frame(request, refused)
    counted = progress.within(frame.instance, COUNT_S)
    found, failures, why = await asyncio.gather(counted, _failures(frame), _why(frame))
    return render(
        request,
        "overview.html",
        status=status,
        **frame.values(),
        functions=None if found is None else found.functions,
        failures=failures,
        why=why,
    )


async def warnings(request: Request) -> Response:
    """Show the last warnings and errors that its nodes have logged, as a part of the page."""
    instance = instance_in(request)
    lines: deque[LogLine] = deque(maxlen=WARNINGS)
    cursor, is_last, parts = 0, False, 0
    while not is_last and parts < PARTS_MAX:
        page = await instance.logs(level="warning").apage(cursor)
        lines += [line for line in page.lines if isinstance(line, LogLine)]
        cursor, is_last, parts = page.cursor, page.is_last, parts + 1
    labels = await labels_of(instance, lines)
    return render(request, "warnings.html", url=f"/instances/{instance.id}", lines=lines, labels=labels, whole=is_last)


async def labels_of(instance: Instance, lines: Sequence[object]) -> dict[object, str]:
    """Return what the nodes of some lines are called, by their ids."""
    ids = list(dict.fromkeys(line.node_id for line in lines if isinstance(line, LogLine)))
    nodes = await asyncio.gather(*[instance.anode(one) for one in ids])
    return {node.id: node.label or node.function.rpartition(".")[2] for node in nodes}


async def _failures(frame: Frame) -> Sequence[Node]:
    if not frame.about.counts.get("failed"):
        return ()
    return (await frame.instance.nodes(state="failed").apage("", FAILURES)).items


async def _why(frame: Frame) -> Why | None:
    """Return what holds an instance of which nothing runs though it has not ended; None for others."""
    counts = frame.about.counts
    if frame.has_ended or not counts or counts.get("leased") or counts.get("started"):
        return None
    return await frame.instance.awhy()


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [Route("/instances/{instance}", show, name="instance"), Route("/instances/{instance}/warnings", warnings)]
