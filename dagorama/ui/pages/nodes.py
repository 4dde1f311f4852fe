"""The nodes of an instance."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import NodeState
from dagorama.ui.pages.asked import rows, text_in
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.searching import find_nodes
from dagorama.ui.pages.shared import progress

STATES = frozenset(state.value for state in NodeState)
#: The page comes without the functions to choose from, where these take longer.
COUNT_S = 0.4
#: Filters that are no state of their own: their word, and the states that they mean.
GROUPS = {"running": ("leased", "started")}


async def show(request: Request) -> Response:
    """Show the nodes that are wanted, in the order of their creation."""
    frame = await instance_frame(request)
    wanted = text_in(request, "state")
    states = GROUPS.get(wanted) or ((wanted,) if wanted in STATES else ())
    text, function = text_in(request, "q"), text_in(request, "function")
    cursor = request.query_params.get("cursor", "")
    listing = frame.instance.nodes(state=states or None, function=function or None)
    words = text.lower().split()
    if words:
        reading = find_nodes(frame.instance, listing, words, cursor, states=states, function=function)
    else:
        reading = rows(listing, cursor)
    found, counted = await asyncio.gather(reading, progress.within(frame.instance, COUNT_S))
    return render(
        request,
        "nodes.html",
        **frame.values(),
        found=found,
        functions=() if counted is None else counted.functions,
        state_wanted=wanted if states else "",
        text=text,
        function=function,
        cursor=cursor,
    )


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/instances/{instance}/nodes", show, name="nodes")]
