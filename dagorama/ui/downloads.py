"""Files that runs of workflows have saved, sent as attachments, so that nothing in them runs in a browser."""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dagorama.workflows.artifacts import find_artifact

#: All are sent as this: what a file is called decides nothing in a browser.
FILE = "application/octet-stream"
#: Were one shown after all, nothing in it would run, and none of it would be of this page's origin.
POLICY = "sandbox; default-src 'none'"
#: File systems refuse these in names, and browsers and shells make something of them, or they hide what follows.
_UNSAFE = re.compile(
    r'[\\/:*?"<>|%\s]+|[^\x20-\x7e\u00a0-\U0010ffff]+|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+'
)
_NAME_LENGTH_MAX = 150


async def download_of(instance_id: UUID, node_id: UUID) -> Response:
    """Return the answer that sends the file of a node, in parts: no more of it is in memory than a part.

    Raises `UnknownId`, and 404 for a node that is none.
    """
    found = await find_artifact(instance_id, node_id)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"node {node_id} is no file that a workflow has saved")
    if found.info.problem:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"{found.label} cannot be had: {found.info.problem}")
    headers = {
        "Content-Disposition": disposition_of(found.label),
        "Content-Length": str(found.info.size_bytes),
        "Content-Security-Policy": POLICY,
    }
    return StreamingResponse(found.chunks(), headers=headers, media_type=FILE)


def answered(request: Request, response: Response) -> Response:
    """Return an answer as the method of a request wants it: to HEAD without its body, of which nothing is fetched."""
    return response if request.method != "HEAD" else Response(None, response.status_code, dict(response.headers))


def disposition_of(name: str) -> str:
    """Return the header that has a browser save a file, under the last part of its name (RFC 6266)."""
    last = _UNSAFE.sub("_", name.rstrip("/").rpartition("/")[2]).strip("._ ")[-_NAME_LENGTH_MAX:] or "artifact"
    plain = last.encode("ascii", "replace").decode().replace("?", "_")
    told = f'attachment; filename="{plain}"'
    return told if plain == last else f"{told}; filename*=UTF-8''{quote(last, safe='')}"
