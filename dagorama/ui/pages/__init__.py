"""The pages, a module for each; `routes` has all of them."""

from __future__ import annotations

from starlette.routing import Route

from dagorama.ui.pages import (
    actions,
    artifacts,
    broker,
    failures,
    graph,
    history,
    instance_list,
    limits,
    login,
    logs,
    node,
    nodes,
    overview,
    queues,
    start,
    timeline,
    workers,
)

#: In the order in which addresses are looked up.
PAGES = (
    *(login, instance_list, start, actions, overview, graph, timeline, nodes, artifacts, failures, logs, history, node),
    *(workers, queues, limits, broker),
)


def routes() -> list[Route]:
    """Return the routes of all pages."""
    return [route for page in PAGES for route in page.routes()]
