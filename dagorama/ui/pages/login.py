"""Signing in with the page's token, and out."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagorama.ui.forms import form_in
from dagorama.ui.pages.rendering import render
from dagorama.ui.sessions import COOKIE, LASTING_S, Sessions

#: A wrong token is answered after so long, so that nobody tries many.
WRONG_S = 0.5
#: So many of these wait at once; further ones are answered at once, and with no.
WAITING_MAX = 100


async def show(request: Request) -> Response:
    """Show the form, or lead on where there is nothing to sign in to."""
    sessions: Sessions = request.app.state.sessions
    target = _inside(request.query_params.get("next", "/"))
    if not sessions.needs_token or sessions.is_session(request.cookies.get(COOKIE, "")):
        return RedirectResponse(target, 303)
    return render(request, "login.html", target=target, problem="")


async def sign_in(request: Request) -> Response:
    """Keep a session for a browser that knows the token."""
    sessions: Sessions = request.app.state.sessions
    form = await form_in(request)
    target = _inside(form.get("next", "/"))
    if not sessions.is_token(form.get("token", "")):
        await _hold_up(request)
        problem = "This is not the page's token. It is in the file or setting that the page was started with."
        return render(request, "login.html", status=403, target=target, problem=problem)
    answer = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, sessions.new(), LASTING_S, httponly=True, samesite="strict", secure=secure)
    return answer


async def sign_out(request: Request) -> Response:
    """Have the browser forget its session."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _inside(target: str) -> str:
    """Return a target within the page; the first page in place of any other."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() else "/"


async def _hold_up(request: Request) -> None:
    state = request.app.state
    state.held_up = getattr(state, "held_up", 0) + 1
    try:
        if state.held_up <= WAITING_MAX:
            await asyncio.sleep(WRONG_S)
    finally:
        state.held_up -= 1


def routes() -> list[Route]:
    """Return the routes of signing in and out."""
    return [
        Route("/login", show, name="login", methods=["GET"]),
        Route("/login", sign_in, methods=["POST"]),
        Route("/logout", sign_out, name="logout", methods=["POST"]),
    ]
