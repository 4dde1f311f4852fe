"""The graph of an instance: folded where it is large, laid out here, and drawn on a canvas by `graph.js`."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagorama import Instance, InstanceTimes
from dagorama.analysis.columns import critical_places, facts_of
from dagorama.analysis.folding import Folded, Link, Vertex, fold, fold_groups
from dagorama.analysis.scene import Scene, compose
from dagorama.ui.pages.asked import instance_in, nodes_of, number_of
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.shared import Shared
from dagorama.ui.pages.words import class_of, method_of, path

#: An instance with more nodes is folded by the broker: its nodes are not read.
NODES_READ_MAX = 2_000
#: So many nodes of an open group are shown at a time.
SHOWN_MAX = 500
#: The last pictures of so many instances are remembered, so that nothing jumps as they grow.
REMEMBERED = 64
#: So many groups may be open at once.
OPEN_MAX = 20


class Memory:
    """The places of the last picture of each instance, for all who look at it."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._last: OrderedDict[UUID, tuple[object, Mapping[str, float]]] = OrderedDict()

    def recall(self, instance: UUID, form: object) -> tuple[Mapping[str, float], bool]:
        """Return the places of an instance's last picture by key, and whether it had this form."""
        known, middles = self._last.get(instance, (None, {}))
        return middles, known == form

    def keep(self, instance: UUID, form: object, middles: Mapping[str, float]) -> None:
        """Remember the places of an instance's picture."""
        self._last[instance] = form, middles
        self._last.move_to_end(instance)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)


_memory = Memory()


@dataclass(slots=True, kw_only=True)
class Shown:
    """The part of an open group that is shown: its nodes, and the cursors of the parts beside it."""

    cells: list[dict[str, str]]
    first: int = 0
    next_cursor: str = ""


@dataclass(slots=True, kw_only=True)
class Picture:
    """A graph before it is laid out."""

    folded: Folded
    #: Keys of the vertices on the critical path.
    critical: set[str] = field(default_factory=set)
    #: Its nodes, where they were read.
    nodes: InstanceTimes | None = None


async def _draw(instance: Instance) -> Picture:
    """Return the picture of an instance."""
    if sum(instance.status.counts.values()) <= NODES_READ_MAX:
        return await asyncio.to_thread(_picture_of, await instance.atimes())
    shape = await instance.ashape()
    return Picture(
        folded=fold_groups(
            [
                (group.function, group.maker, {str(state): count for state, count in group.counts.items()})
                for group in shape.groups
            ],
            [Link(edge.source, edge.target, edge.is_call, edge.count) for edge in shape.edges],
        )
    )


_drawn: Shared[Picture] = Shared(_draw)


async def show(request: Request) -> Response:
    """Show the page, which fetches the picture."""
    frame = await instance_frame(request)
    return render(request, "graph.html", **frame.values())


async def picture(request: Request) -> Response:
    """Give the picture: boxes and edges with their places.

    The query has the groups that are `open`, each as its key, a blank, and the cursor of the part that is shown, and
    `tidy` where the last picture is not to be gone by.
    """
    instance = await instance_in(request).arefresh()
    wanted = dict(_open_in(each) for each in request.query_params.getlist("open")[:OPEN_MAX])
    drawn = await _drawn.of(instance)
    opened = await _opened(instance, drawn, wanted)
    shown = {key: len(one.cells) for key, one in opened.items()}
    # While it grows, what is there stays where it is; at the end, or with other groups open, all is placed anew.
    form = (sorted(shown), instance.status.state)
    before, is_same = _memory.recall(instance.id, form)
    if "tidy" in request.query_params:
        before = {}
    scene = await asyncio.to_thread(compose, drawn.folded, opened=shown, before=before, holds=is_same)
    _memory.keep(instance.id, form, scene.middles)
    return JSONResponse(
        {
            "state": instance.status.state,
            "total": sum(instance.status.counts.values()),
            "again_s": _drawn.again_s(instance),
            **_told(drawn, opened, scene, f"/instances/{instance.id}"),
        }
    )


def _open_in(text: str) -> tuple[str, str]:
    key, _, cursor = text.partition(" ")
    return key, cursor


def _picture_of(nodes: InstanceTimes) -> Picture:
    """Return the picture of an instance whose nodes have been read."""
    folded = fold(facts_of(nodes))
    path = set(critical_places(nodes, now=time.time()))
    critical = {vertex.key for vertex in folded.vertices if not path.isdisjoint(vertex.members)}
    return Picture(folded=folded, critical=critical, nodes=nodes)


async def _opened(instance: Instance, drawn: Picture, wanted: Mapping[str, str]) -> dict[str, Shown]:
    """Return the parts of the groups that are wanted open, by key."""
    functions = [vertex.function for vertex in drawn.folded.vertices]
    opened = {}
    for vertex in drawn.folded.vertices:
        if vertex.is_group and vertex.key in wanted:
            cursor = wanted[vertex.key]
            if drawn.nodes is not None:
                opened[vertex.key] = _part_of(drawn.nodes, vertex, cursor)
            else:
                has_several = functions.count(vertex.function) > 1
                opened[vertex.key] = await _read_part(instance, vertex, cursor, has_several)
    return opened


def _part_of(nodes: InstanceTimes, vertex: Vertex, cursor: str) -> Shown:
    """Return a part of a group whose nodes have been read."""
    first = number_of(cursor)
    members = vertex.members[first : first + SHOWN_MAX]
    last = first + len(members)
    return Shown(
        cells=[_cell(nodes, place) for place in members],
        first=first,
        next_cursor=str(last) if last < len(vertex.members) else "",
    )


def _cell(nodes: InstanceTimes, place: int) -> dict[str, str]:
    return {"id": str(nodes.node_id(place)), "state": nodes.states[place], "label": nodes.labels[place]}


async def _read_part(instance: Instance, vertex: Vertex, cursor: str, has_several: bool) -> Shown:
    """Return a part of a group's nodes. The cursor has how many came before it, a dot, and the broker's own."""
    before, _, place = cursor.partition(".")
    page = await instance.nodes(function=vertex.function, inputs=False).apage(place, SHOWN_MAX)
    nodes = page.items
    if has_several:
        makers = {node.parent_id for node in nodes if node.parent_id is not None}
        made_by: dict[UUID | None, str] = {one.id: one.function for one in await nodes_of(instance, makers)}
        made_by[None] = ""
        nodes = [node for node in nodes if made_by.get(node.parent_id) == vertex.maker]
    first = number_of(before)
    return Shown(
        cells=[{"id": str(node.id), "state": node.state, "label": node.label} for node in nodes],
        first=first,
        next_cursor=f"{first + len(nodes)}.{page.next_cursor}" if page.next_cursor else "",
    )


def _told(drawn: Picture, opened: Mapping[str, Shown], scene: Scene, url: str) -> dict[str, Any]:
    """Return a picture as the page's script takes it."""
    vertices = drawn.folded.vertices
    return {
        "vertices": [_vertex(drawn, opened, scene, number, url) for number in range(len(vertices))],
        "edges": [
            {
                "source": vertices[way.link.source].key,
                "target": vertices[way.link.target].key,
                "call": way.link.is_call,
                "count": way.link.count,
                "points": [[round(x, 1), round(y, 1)] for x, y in way.points],
            }
            for way in scene.ways
        ],
    }


def _vertex(drawn: Picture, opened: Mapping[str, Shown], scene: Scene, number: int, url: str) -> dict[str, Any]:
    vertex, box = drawn.folded.vertices[number], scene.boxes[number]
    told = {
        "key": vertex.key,
        "x": round(box.x, 1),
        "y": round(box.y, 1),
        "width": box.width,
        "height": box.height,
        "name": method_of(vertex.function),
        "function": class_of(vertex.function),
        "maker": class_of(vertex.maker),
        "label": vertex.label,
        "state": vertex.state,
        "counts": vertex.counts,
        "total": vertex.total,
        "group": vertex.is_group,
        "critical": vertex.key in drawn.critical,
        "url": _url_of(drawn.nodes, vertex, url),
    }
    part = opened.get(vertex.key)
    if part is not None:
        told["part"] = {
            "cells": [{**cell, "url": f"{url}/nodes/{cell['id']}"} for cell in part.cells],
            "first": part.first,
            "next": part.next_cursor,
            "cell": box.cell,
            "columns": box.columns,
        }
    return told


def _url_of(nodes: InstanceTimes | None, vertex: Vertex, url: str) -> str:
    """Return where a vertex leads to: its node, or the list of its function's."""
    if nodes is not None and not vertex.is_group:
        return f"{url}/nodes/{nodes.node_id(vertex.members[0])}"
    return path(f"{url}/nodes", function=vertex.function)


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [
        Route("/instances/{instance}/graph", show, name="graph"),
        Route("/instances/{instance}/graph.json", picture),
    ]
