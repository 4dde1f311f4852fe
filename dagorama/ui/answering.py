"""Answers to requests that came to nothing: a page for people, problem+json for programs."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dagorama import DagoramaError
from dagorama.logging import get_logger
from dagorama.ui.errors import BadInput, Problem, problem_of
from dagorama.ui.pages.rendering import render

#: A problem is told as JSON below these: the JSON API, and the queries of operations.
APIS = ("/api/", "/operations")


def wants_json(request: Request) -> bool:
    """Return whether a problem is to be told to a program."""
    return request.url.path.startswith(APIS)


def respond(request: Request, problem: Problem) -> Response:
    """Return the answer that tells a problem: problem+json below `APIS`, a page elsewhere."""
    if wants_json(request):
        content = json.dumps(problem.told(), ensure_ascii=False)
        headers = dict(problem.headers)
        return Response(content, int(problem.status), headers, media_type="application/problem+json")
    page = render(request, "error.html", status=int(problem.status), problem=problem)
    page.headers.update(problem.headers)
    return page


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer a request that raised; a defect is logged with its traceback."""
    problem = problem_of(error)
    if problem.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        get_logger().error("a defect of the page at %s %s", request.method, request.url.path, exc_info=error)
    return respond(request, problem)


#: The handlers of a Starlette application.
HANDLERS = dict.fromkeys((DagoramaError, BadInput, HTTPException), answer_error)


class AnsweredDefects:
    """Answers a request in which something of ours broke; inside the layer that makes answers safe."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the layers inside of it."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; answer it where that raises. An answer that has begun breaks off."""
        began = False

        async def send_on(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            if scope["type"] != "http":
                raise
            answer = await answer_error(Request(scope), error)
            if not began:
                await answer(scope, receive, send)
