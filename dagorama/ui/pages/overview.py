"""An instance at one glance."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import Instance, InstanceState, LogLine, Node, Why, broker_settings_async
from dagorama.analysis.wording import HELD_SETTING, held_in_words
from dagorama.ui.pages.asked import instance_in, nodes_of
from dagorama.ui.pages.instance_frame import Frame, instance_frame
from dagorama.ui.pages.reasons import being_stopped
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.shared import progress, times
from dagorama.ui.pages.words import method_of

#: So many failures, and so many lines of warnings, are on the page.
FAILURES, WARNINGS = 3, 8
#: So many tasks of a workflow are on it.
TASKS = 50
#: Where it takes longer to count the nodes by function, the page comes without, and fetches them when they are there.
COUNT_S = 0.4
#: So many nodes of lines are asked for one by one; the names of more are in the columns of all nodes.
ASKED_MAX = 60
#: Warnings are looked for in so many parts of the logs.
PARTS_MAX = 40


async def show(request: Request, *, refused: str = "", status: int = 200) -> Response:
    """Show an instance: how far it has come by function, what holds it, what has failed."""
    frame = await instance_frame(request, refused)
    counted = progress.within(frame.instance, COUNT_S)
    found, failures, why, first, tasks = await asyncio.gather(
        counted, _failures(frame), _why(frame), _first(frame.instance), _tasks(frame)
    )
    held = frame.about.held_bytes
    return render(
        request,
        "overview.html",
        status=status,
        **frame.values(),
        functions=None if found is None else found.functions,
        failures=failures,
        why=why,
        first=first,
        tasks=tasks,
        held=held_in_words(held, await _held_most()) if held else "",
    )


async def _held_most() -> str:
    """Return how many bytes the large values of an instance may come to, as the broker is set."""
    return {each.name: each.value for each in await broker_settings_async()}.get(HELD_SETTING, "")


async def warnings(request: Request) -> Response:
    """Show the last warnings and errors that its nodes have logged, as a part of the page."""
    instance = instance_in(request)
    lines: deque[LogLine] = deque(maxlen=WARNINGS)
    cursor, is_last, parts = 0, False, 0
    while not is_last and parts < PARTS_MAX:
        page = await instance.logs(level="warning").apage(cursor)
        lines += [line for line in page.lines if isinstance(line, LogLine)]
        cursor, is_last, parts = page.cursor, page.is_last, parts + 1
    whose = await whose_are(instance, lines)
    return render(request, "warnings.html", url=f"/instances/{instance.id}", lines=lines, whose=whose, whole=is_last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """The nodes of some lines, by their ids."""

    labels: Mapping[UUID, str]
    #: The last attempt of each.
    latest: Mapping[UUID, int]
    #: Those that are no more: the functions that had called them have run again.
    gone: Collection[UUID]


async def whose_are(instance: Instance, lines: Sequence[object]) -> Whose:
    """Return what there is to know of the nodes of some lines."""
    ids = list(dict.fromkeys(line.node_id for line in lines if isinstance(line, LogLine)))
    asked = ids[max(0, len(ids) - ASKED_MAX) :]
    nodes = await nodes_of(instance, asked)
    known = {node.id: node.label or method_of(node.function) for node in nodes}
    return Whose(
        labels=known if len(asked) == len(ids) else {**await _labels(instance, ids), **known},
        latest={node.id: node.status.attempts for node in nodes},
        gone=[one for one in asked if one not in known],
    )


async def _labels(instance: Instance, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return what nodes are called, out of the columns of all nodes where these come soon."""
    columns = await times.within(instance, COUNT_S)
    if columns is None:
        return {}
    places = {columns.node_ids[16 * place : 16 * place + 16]: place for place in range(len(columns))}
    found = {one: places[one.bytes] for one in ids if one.bytes in places}
    return {one: columns.labels[place] or method_of(columns.functions[place]) for one, place in found.items()}


async def _first(instance: Instance) -> Node | None:
    """Return its first node, with its value; None where it has none."""
    for node in (await instance.nodes(inputs=False).apage("", 1)).items:
        return await instance.anode(node.id)
    return None


async def _failures(frame: Frame) -> Sequence[Node]:
    if not frame.about.counts.get("failed"):
        return ()
    return (await frame.instance.nodes(state="failed").apage("", FAILURES)).items


async def _tasks(frame: Frame) -> Sequence[Node]:
    """Return the first tasks of a run of a workflow, which are all of one function; nothing for other instances."""
    if not frame.about.workflow:
        return ()
    return (await frame.instance.nodes(function="run_task", inputs=False).apage("", TASKS)).items


async def _why(frame: Frame) -> Why | None:
    """Return what holds an instance of which nothing runs though it has not ended; None for others."""
    counts = frame.about.counts
    if frame.about.state is InstanceState.CANCELLED and counts:
        return being_stopped(await frame.instance.awhy())
    if frame.has_ended or not counts or counts.get("leased") or counts.get("started"):
        return None
    return await frame.instance.awhy()


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [Route("/instances/{instance}", show, name="instance"), Route("/instances/{instance}/warnings", warnings)]
