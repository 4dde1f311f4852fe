"""The failures of an instance: root causes first, each with its traceback and the last that it printed."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import Failure, LogGap, LogLine, Node
from dagorama.ui.pages.instance_frame import Frame, instance_frame
from dagorama.ui.pages.rendering import render

#: So many nodes that failed, and so many that depend on them, are looked at.
ROOTS_MAX, CASCADES_MAX = 1000, 5000
#: So many different failures are shown, each with so many of its nodes, and so many lines of one of them.
SHOWN_MAX, NAMED_MAX, LINES_MAX = 20, 12, 30
#: Lines are looked for in so many parts of a node's log.
PARTS_MAX = 20


@dataclass(slots=True, kw_only=True)
class Cause:
    """Nodes that have failed in the same way: the same function, type and message."""

    function: str
    #: None where its worker was lost each time, or it was not started before the deadline.
    failure: Failure | None
    nodes: list[Node] = field(default_factory=list)
    #: How many nodes cannot run because of these.
    cascades: int = 0
    #: The last lines that the first of them has printed.
    lines: Sequence[LogLine | LogGap] = ()


async def show(request: Request) -> Response:
    """Show what has failed."""
    frame = await instance_frame(request)
    causes, cascades = await _causes(frame)
    shown = causes[:SHOWN_MAX]
    for cause, lines in zip(shown, await asyncio.gather(*[tail(cause.nodes[0]) for cause in shown]), strict=True):
        cause.lines = lines
    return render(
        request,
        "failures.html",
        **frame.values(),
        causes=shown,
        more=len(causes) - len(shown),
        cascades=cascades,
        named_max=NAMED_MAX,
    )


async def _causes(frame: Frame) -> tuple[list[Cause], Counter[str]]:
    """Return the causes, those first that hold up most, and the functions of nodes that cannot run."""
    counts = frame.about.counts
    roots = (await frame.instance.nodes(state="failed").apage("", ROOTS_MAX)).items if counts.get("failed") else ()
    held = await _held(frame) if counts.get("dependency_failed") else []
    by_root = Counter(node.cause_id for node in held)
    found: dict[tuple[str, str], Cause] = {}
    for node in roots:
        key = (node.function, str(node.error or ""))
        cause = found.setdefault(key, Cause(function=node.function, failure=node.error))
        cause.nodes.append(node)
        cause.cascades += by_root[node.id]
    ordered = sorted(found.values(), key=lambda cause: -cause.cascades - len(cause.nodes))
    return ordered, Counter(node.function for node in held)


async def _held(frame: Frame) -> list[Node]:
    """Return the nodes that cannot run because others failed."""
    found: list[Node] = []
    cursor = ""
    while len(found) < CASCADES_MAX:
        page = await frame.instance.nodes(state="dependency_failed", inputs=False).apage(cursor, 1000)
        found += page.items
        cursor = page.next_cursor
        if not cursor:
            break
    return found


async def tail(node: Node, attempt: int | None = None, lines_max: int = LINES_MAX) -> list[LogLine | LogGap]:
    """Return the last lines of a node, or of one of its attempts."""
    lines: deque[LogLine | LogGap] = deque(maxlen=lines_max)
    log, cursor = node.logs(attempt=attempt), 0
    for _ in range(PARTS_MAX):
        page = await log.apage(cursor)
        lines += page.lines
        cursor = page.cursor
        if page.is_last:
            break
    return list(lines)


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/instances/{instance}/failures", show, name="failures")]
