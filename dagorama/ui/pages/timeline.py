"""The timeline of an instance: its bars, reduced to the pixels that show them, drawn on a canvas by `timeline.js`."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagorama import Instance, InstanceTimes
from dagorama.analysis.bars import Timeline, timeline_of
from dagorama.analysis.columns import critical_places, joined_at
from dagorama.ui.errors import BadInput
from dagorama.ui.pages.asked import instance_in
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.shared import Shared
from dagorama.ui.pages.words import class_of, method_of

#: A picture has so many pixels at most; more are not on any screen.
PIXELS_MAX = 8_192
#: So many steps of the critical path are told.
STEPS_MAX = 200


class Made(NamedTuple):
    """A timeline, with what it was made of."""

    nodes: InstanceTimes
    timeline: Timeline
    path: list[int]
    joined_at: dict[int, float]


async def _make(instance: Instance) -> Made:
    """Return the timeline of an instance."""
    nodes = await instance.atimes()
    now = time.time()
    timeline = await asyncio.to_thread(timeline_of, nodes, now=now)
    path = await asyncio.to_thread(critical_places, nodes, now=now)
    return Made(nodes, timeline, path, await asyncio.to_thread(joined_at, nodes))


_made: Shared[Made] = Shared(_make, nodes_in=lambda made: len(made.nodes))


async def show(request: Request) -> Response:
    """Show the page, which fetches the bars."""
    frame = await instance_frame(request)
    return render(request, "timeline.html", **frame.values())


async def bars(request: Request) -> Response:
    """Give the bars between `from` and `to` on the axis, for so many `pixels`; without these, all for 1,200."""
    instance = await instance_in(request).arefresh()
    made = await _made.of(instance)
    length = made.timeline.axis.length
    left, right = _number(request, "from", 0.0), _number(request, "to", length)
    if not left < right:
        raise BadInput("to", "to must be greater than from")
    pixels = min(max(int(_number(request, "pixels", 1200.0)), 1), PIXELS_MAX)
    told = await asyncio.to_thread(_told, made, left, right, pixels)
    return JSONResponse(
        {
            "state": instance.status.state,
            "url": f"/instances/{instance.id}/nodes/",
            "again_s": _made.again_s(instance),
            **told,
        }
    )


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        raise BadInput(name, f"{name}={text!r} is no number") from None
    if not math.isfinite(number):
        raise BadInput(name, f"{name}={text!r} is no number")
    return number


def _told(made: Made, left: float, right: float, pixels: int) -> dict[str, Any]:
    """Return the bars as the page's script takes them, with the nodes of all that stand for one."""
    nodes, timeline = made.nodes, made.timeline
    found = timeline.reduced(left, right, pixels)
    on_path = set(made.path)
    singles = dict.fromkeys([bar.node for bar in found if bar.nodes == 1] + made.path[:STEPS_MAX])
    return {
        "began": nodes.began_at,
        "length": timeline.axis.length,
        "pieces": timeline.axis.pieces(),
        "gaps": [[gap.left, gap.right, gap.ended_at - gap.began_at] for gap in timeline.axis.gaps],
        "rows": [row._asdict() for row in timeline.rows],
        "bars": [
            [
                *[bar.lane, *[round(at, 6) for at in bar[1:5]], bar.node, bar.nodes],
                *map(int, (bar.node in on_path, bar.is_earlier, bar.is_again)),
            ]
            for bar in found
        ],
        "path": made.path[:STEPS_MAX],
        "nodes": {
            place: [
                str(nodes.node_id(place)),
                class_of(nodes.functions[place]),
                method_of(nodes.functions[place]),
                nodes.labels[place],
                nodes.states[place],
                nodes.created_at[place],
                nodes.granted_at[place],
                nodes.started_at[place],
                nodes.returned_at[place],
                nodes.finished_at[place],
                made.joined_at.get(place, 0.0),
            ]
            for place in singles
        },
        "total": len(nodes),
        "begun": len(timeline.nodes) - sum(timeline.earlier),
    }


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [
        Route("/instances/{instance}/timeline", show, name="timeline"),
        Route("/instances/{instance}/timeline.json", bars),
    ]
