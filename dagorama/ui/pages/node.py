"""A node: its attempts, inputs, lines, what holds it, and its place in the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import ArgumentInfo, Instance, InstanceTimes, Node, Why
from dagorama.ui.pages.asked import id_in, instance_in, nodes_of
from dagorama.ui.pages.instance_frame import DONE
from dagorama.ui.pages.json_fields import PREFIX
from dagorama.ui.pages.logs import LEVELS, attempt_in, level_in, part_of
from dagorama.ui.pages.reasons import being_stopped, waiting_at_work
from dagorama.ui.pages.rendering import render
from dagorama.ui.pages.shared import times

#: So many nodes that it depends on, and that depend on it, are named.
NAMED_MAX = 50
#: Its dependents are found in a list of all nodes; of more than so many that is read when somebody asks for them.
READ_UNASKED_MAX = 10_000


async def show(
    request: Request,
    *,
    refused: str = "",
    typed: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Show a node; where a rerun was refused, with the arguments that were `typed`, and what is wrong with each."""
    instance = await instance_in(request).arefresh()
    node = await instance.anode(id_in(request, "node"))
    attempt = attempt_in(request)
    level = level_in(request)
    can_rerun = instance.status.state in ("completed", "failed")
    why, parent, cause, dependencies, arguments, part = await asyncio.gather(
        _why(node),
        node.aparent(),
        _cause(instance, node),
        dependencies_of(instance, node),
        node.aarguments() if can_rerun else _none(),
        part_of(instance, node, level=level, attempt=attempt),
    )
    return render(
        request,
        "node.html",
        status=status,
        instance=instance,
        about=instance.status,
        node=node,
        url=f"/instances/{instance.id}/nodes/{node.id}",
        instance_url=f"/instances/{instance.id}",
        attempts=list(reversed(node.attempts)),
        attempt=attempt,
        why=why,
        parent=parent,
        cause=cause,
        dependencies=dependencies,
        dependencies_more=max(0, len(node.dependency_ids) - NAMED_MAX),
        nodes_more=count if (count := sum(instance.status.counts.values())) > READ_UNASKED_MAX else 0,
        part=part,
        level=level,
        levels=LEVELS,
        can_rerun=can_rerun,
        fields=_fields(arguments, typed or {}, problems or {}),
        fixed=[one for one in arguments if one.json is None and one.name],
        typed=typed if can_rerun else None,
        prefix=PREFIX,
        now=datetime.now(UTC),
        done=DONE.get(request.query_params.get("done", ""), ""),
        refused=refused,
    )


async def dependents(request: Request) -> Response:
    """Show the nodes that take the value of a node, as a part of its page."""
    instance = await instance_in(request).arefresh()
    ids = await asyncio.to_thread(dependents_in, await times.of(instance), id_in(request, "node"))
    nodes = await nodes_of(instance, ids[:NAMED_MAX])
    more = max(0, len(ids) - NAMED_MAX)
    return render(request, "dependents.html", instance_url=f"/instances/{instance.id}", nodes=nodes, more=more)


def dependents_in(all_of_them: InstanceTimes, node_id: UUID) -> list[UUID]:
    """Return the ids of the nodes that depend on a node, in the order in which they were made."""
    place = all_of_them.node_ids.find(node_id.bytes)
    while place % 16 and place >= 0:  # by chance, across two others
        place = all_of_them.node_ids.find(node_id.bytes, place + 1)
    if place < 0:
        return []
    place //= 16
    return [all_of_them.node_id(at) for at, each in enumerate(all_of_them.dependencies) if place in each]


def json_of(arguments: Sequence[ArgumentInfo]) -> dict[str, str]:
    """Return the arguments that may be edited, as JSON by their names."""
    return {one.name: one.json for one in arguments if one.name and one.json is not None}


def _fields(
    arguments: Sequence[ArgumentInfo], typed: Mapping[str, str], problems: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return name, text and problem of each field of the form; the text is the typed one, if there is any."""
    return [(name, typed.get(PREFIX + name, json), problems.get(name, "")) for name, json in json_of(arguments).items()]


async def _none() -> Sequence[ArgumentInfo]:
    return ()


async def _why(node: Node) -> Why | None:
    """Return what holds a node that does not run, and of one that was cancelled whether it is being stopped still."""
    if node.state == "cancelled":
        return being_stopped(await node.awhy())
    if node.done():
        return None
    return waiting_at_work(await node.awhy()) if node.state == "leased" else await node.awhy()


async def _cause(instance: Instance, node: Node) -> Node | None:
    """Return the node that is to blame for one that did not run itself."""
    if node.cause_id is None or node.cause_id == node.id:
        return None
    return await instance.anode(node.cause_id)


async def dependencies_of(instance: Instance, node: Node) -> Sequence[Node]:
    """Return the first of the nodes whose values it takes."""
    return await nodes_of(instance, islice(dict.fromkeys(node.dependency_ids), NAMED_MAX))


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [
        Route("/instances/{instance}/nodes/{node}", show, name="node"),
        Route("/instances/{instance}/nodes/{node}/dependents", dependents),
    ]
