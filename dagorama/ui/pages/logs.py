"""The lines that nodes have printed, which go on as long as nodes run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import Instance, Log, LogGap, LogLine, LogPage, Node
from dagorama.ui.pages.asked import id_in, instance_in, number_of, text_in
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.overview import Whose, whose_are
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.words import path

#: So many lines come at once, about.
LINES = 1000
#: What a reader waits for is answered after so long, where nothing has come.
WAIT_S = 20.0
#: No attempt has a greater number.
ATTEMPT_MAX = 2**31 - 1
LEVELS = {"": "All lines", "info": "Info and above", "warning": "Warnings and errors", "error": "Errors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a log, as the page shows it."""

    lines: Sequence[LogLine | LogGap]
    whose: Whose
    #: Has what comes next: at once, or when there is something. Empty where nothing further comes.
    next_url: str
    #: Whether the next part is yet to come.
    follows: bool
    instance_url: str
    with_node: bool
    #: The attempt of the line before, 0 for none; None where attempts are not told apart.
    attempt_before: int | None


async def part_of(
    instance: Instance,
    node: Node | None,
    *,
    level: str,
    attempt: int | None,
    after: int = 0,
    attempt_before: int = 0,
    wait: bool = False,
) -> Part:
    """Return the part of a log after a cursor, of an instance or a node, with the attempt of the line before."""
    of: Instance | Node = instance if node is None else node
    log = of.logs(attempt=attempt, level=level or None)
    read = await _read(log, after, wait)
    follows = wait or read.is_last
    url = f"/instances/{instance.id}" + (f"/nodes/{node.id}" if node else "")
    last = next((line.attempt for line in reversed(read.lines) if line.attempt), attempt_before)
    following = {"after": read.cursor, "before": last or None, "wait": int(follows) or None}
    next_url = path(f"{url}/logs/more", level=level, attempt=attempt, **following)
    return Part(
        lines=read.lines if node else read.by_time(),
        whose=await whose_are(instance, () if node else read.lines),
        next_url="" if wait and read.is_last else next_url,
        follows=follows,
        instance_url=f"/instances/{instance.id}",
        with_node=node is None,
        attempt_before=attempt_before if node is not None and attempt is None else None,
    )


async def _read(log: Log, after: int, wait: bool) -> LogPage:
    """Return the lines after a cursor, about as many as the page shows at once, as one part."""
    try:
        page = await asyncio.wait_for(log.apage(after, wait=wait), WAIT_S)
    except TimeoutError:
        return LogPage([], after, False)
    lines = list(page.lines)
    while not page.is_last and len(lines) < LINES and not wait:
        page = await log.apage(page.cursor)
        lines += page.lines
    return page._replace(lines=lines)


async def show(request: Request) -> Response:
    """Show what an instance has printed."""
    frame = await instance_frame(request)
    level = level_in(request)
    part = await part_of(frame.instance, None, level=level, attempt=None)
    return render(request, "logs.html", **frame.values(), part=part, level=level, levels=LEVELS)


async def more(request: Request) -> Response:
    """Show the next part of a log, as a part of the page."""
    instance = await instance_in(request).arefresh()
    node = await instance.anode(id_in(request, "node")) if "node" in request.path_params else None
    part = await part_of(
        instance,
        node,
        level=level_in(request),
        attempt=attempt_in(request),
        after=number_of(text_in(request, "after")),
        attempt_before=number_of(text_in(request, "before"), ATTEMPT_MAX),
        wait=text_in(request, "wait") == "1",
    )
    return render(request, "log_part.html", part=part)


def level_in(request: Request) -> str:
    """Return the level that a reader wants; empty for all."""
    level = text_in(request, "level")
    return level if level in LEVELS else ""


def attempt_in(request: Request) -> int | None:
    """Return the number of the attempt that a reader wants; None for all."""
    return number_of(text_in(request, "attempt"), ATTEMPT_MAX) or None


def routes() -> list[Route]:
    """Return the routes of logs."""
    return [
        Route("/instances/{instance}/logs", show, name="logs"),
        Route("/instances/{instance}/logs/more", more),
        Route("/instances/{instance}/nodes/{node}/logs/more", more),
    ]
