"""The history of an instance: each thing that was done to it, when, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagorama import HistoryEntry
from dagorama.ui.pages.asked import rows
from dagorama.ui.pages.instance_frame import instance_frame
from dagorama.ui.pages.rendering import render

#: The actions in words, and the mark of each.
WORDS = {
    "start": ("Started", "start"),
    "end": ("Ended", "completed"),
    "extend": ("Given further nodes", "plus"),
    "cancel": ("Cancelled", "cancelled"),
    "retry": ("Retried", "retry"),
    "rerun": ("Run again from a node", "retry"),
    "retry_now": ("A node tried at once", "retry"),
    "pause": ("Paused", "paused"),
    "resume": ("Resumed", "start"),
    "priority": ("Priority changed", "settings"),
    "cap": ("Cap changed", "limits"),
    "drain": ("Drained", "draining"),
    "delete": ("Deleted", "cancelled"),
    "prune": ("Instances removed", "cancelled"),
}
#: States have marks of their own.
STATES = frozenset({"completed", "failed", "cancelled"})


async def show(request: Request) -> Response:
    """Show what was done to an instance."""
    frame = await instance_frame(request)
    cursor = request.query_params.get("cursor", "")
    found = await rows(frame.instance.history(), cursor)
    entries = [entry for entry in found.items if isinstance(entry, HistoryEntry)]
    return render(
        request,
        "history.html",
        **frame.values(),
        entries=[(entry, *words_of(entry), list(details_of(entry))) for entry in entries],
        found=found,
        cursor=cursor,
    )


def words_of(entry: HistoryEntry) -> tuple[str, str]:
    """Return what was done in words, and the name of its mark; the state is the mark of an end."""
    word, mark = WORDS.get(entry.action, (entry.action, "info"))
    state = str(entry.details.get("state"))
    return (f"Ended, {state}", state) if entry.action == "end" and state in STATES else (word, mark)


def details_of(entry: HistoryEntry) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each further detail, its text, and the id of the node that it is, empty for none."""
    for name, value in entry.details.items():
        text = "none" if value is None else str(value)
        if not (entry.action == "end" and name == "state"):
            yield name.replace("_", " "), text, text if name == "node" and _is_id(text) else ""


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/instances/{instance}/history", show, name="history")]
