"""The stream of changes that each browser reads: `/live`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dagorama.ui.errors import BadInput
from dagorama.ui.live import Live

#: Where the stream is.
PATH = "/live"
#: A browser whose connection has broken tries again after so long.
AGAIN_MS = 1000
#: The nodes of so many instances are watched by one browser.
WATCHED_MAX = 20


async def live(request: Request) -> Response:
    """Stream changes, of nodes those of the instances that are named; go on where the browser has stopped reading."""
    watched = _ids(request.query_params.getlist("instance"))
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    stream = _messages(request.app.state.live, watched, after)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _messages(live: Live, watched: Sequence[UUID], after: str) -> AsyncIterator[str]:
    how_soon = f"retry: {AGAIN_MS}\n"
    with live.viewing(watched, after) as viewer:
        async for message in viewer.messages():
            yield how_soon + message
            how_soon = ""


def _ids(words: Sequence[str]) -> list[UUID]:
    if len(words) > WATCHED_MAX:
        raise BadInput("instance", f"may be given {WATCHED_MAX} times at most")
    try:
        return list(dict.fromkeys(map(UUID, words)))
    except ValueError:
        raise BadInput("instance", "must be the id of an instance, a UUID") from None


def routes() -> list[Route]:
    """Return the route of the stream."""
    return [Route(PATH, live, name="live")]
