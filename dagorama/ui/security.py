"""Layers around the application, which a request passes before anything is done; the outermost first.

- `SafeAnswers`: each answer says what a browser may do with it;
- `KnownHost`: the page is addressed by a name that it has, so no other site's name leads here (DNS rebinding);
- `BoundedBody`: a request is read whole, up to a size;
- `SameOrigin`: an action is asked for by a page of ours, with the token of its forms;
- `SignedIn`: where there is a token, the asker knows it.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dagorama.ui.answering import AnsweredDefects, respond, wants_json
from dagorama.ui.errors import BadInput, Problem
from dagorama.ui.forms import FORM, fields_of
from dagorama.ui.sessions import COOKIE, Sessions
from dagorama.ui.settings import UISettings

#: A larger body is refused.
BODY_BYTES_MAX = 1024 * 1024
#: A body that takes longer to come is given up.
BODY_S = 30.0
#: Requests with these methods change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: The cookie that the token of forms is compared with, and the header of requests that are no forms.
CSRF_COOKIE, CSRF_HEADER, CSRF_FIELD = "dagorama_csrf", "x-csrf-token", "csrf"
#: Nothing runs or is shown but files of ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": then browsers would hide the origin of our own forms, too.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Whoever is not signed in sees no more than these.
OPEN = ("/login", "/static/")


def layers(settings: UISettings, sessions: Sessions) -> list[Middleware]:
    """Return the layers of an application, the outermost first."""
    return [
        Middleware(SafeAnswers),
        Middleware(AnsweredDefects),
        Middleware(KnownHost, settings=settings),
        Middleware(BoundedBody),
        Middleware(SameOrigin, sessions=sessions),
        Middleware(SignedIn, sessions=sessions),
    ]


class SafeAnswers:
    """Has each answer say what a browser may do with it."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the layers inside of it."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers. Answers are not kept by browsers unless they say so themselves."""

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)  # a file is sent with a policy of its own
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_safe if scope["type"] == "http" else send)


class KnownHost:
    """Refuses requests that address the page by a name that it does not have.

    Addresses are known all: a site that has its own name lead here cannot be one.
    """

    def __init__(self, app: ASGIApp, settings: UISettings) -> None:
        """Take the layers inside of it."""
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), settings.host.lower(), *settings.names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        app: ASGIApp = self._app
        if scope["type"] == "http":
            request = Request(scope)
            if not self._knows(request.headers.getlist("host")):
                detail = (
                    "The page is not known by the name that this request has for it. Start it with "
                    "`dagorama ui --name NAME` (DAGORAMA_UI_NAMES) for each name that leads to it."
                )
                app = respond(request, Problem(HTTPStatus.MISDIRECTED_REQUEST, detail))
        await app(scope, receive, send)

    def _knows(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
        except ValueError:
            return False
        return name.rstrip(".") in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


class BoundedBody:
    """Reads the body of each request, and hands it on whole, in one message."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the layers inside of it."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body that is too large, and give up one that does not come, or breaks off."""
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except ClientDisconnect:
            return  # a part of an action is none, and nobody waits for an answer
        except TimeoutError:
            problem = Problem(HTTPStatus.REQUEST_TIMEOUT, f"The request did not come within {BODY_S:.0f} s.")
            await respond(Request(scope), problem)(scope, receive, send)
            return
        if body is None:
            problem = Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request may have {BODY_BYTES_MAX:,} bytes at most."
            )
            await respond(Request(scope), problem)(scope, receive, send)
            return
        scope["dagorama.body"] = body
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, receive_again, send)


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body of a request; None for one that is too large.

    Raises `ClientDisconnect` where the connection breaks before its end.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES_MAX:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


class SameOrigin:
    """Refuses actions that no page of ours asks for.

    The token of forms is a random cookie, which other sites can neither read nor send along (double submit), and it
    outlasts a restart of the page. Programs that show the token of the page need none: browsers send that along to
    nobody. Nor do programs at a page without a token that are no browser: these say so themselves.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        """Take the layers inside of it."""
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on with `request.state.csrf`, the token of its forms."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        kept = request.cookies.get(CSRF_COOKIE, "")
        token = kept if len(kept) >= 32 and kept.isascii() else secrets.token_urlsafe(32)
        request.state.csrf = token
        if scope["method"] not in SAFE:
            detail = self._problem(request, kept)
            if detail:
                await respond(request, Problem(HTTPStatus.FORBIDDEN, detail))(scope, receive, send)
                return

        async def send_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):  # nothing else has forms
                    secure = "; Secure" if request.url.scheme == "https" else ""
                    headers.append("Set-Cookie", f"{CSRF_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}")
            await send(message)

        await self._app(scope, receive, send if token == kept else send_cookie)

    def _problem(self, request: Request, kept: str) -> str:
        """Return why an action is refused; empty for one that is not."""
        if not is_same_origin(request):
            return "Actions are only taken from this page itself, and this one came from another site."
        if self._sessions.is_bearer(request.headers.get("authorization", "")):
            return ""
        if wants_json(request) and not self._sessions.needs_token and not _is_browser(request):
            return ""
        if kept and hmac.compare_digest(_csrf_in(request).encode(errors="replace"), kept.encode()):
            return ""
        return (
            "The request lacks the token of the page's forms: load the page again, with cookies allowed. Programs use "
            "the JSON API, with `Authorization: Bearer` and the page's token where it has one."
        )


def is_same_origin(request: Request) -> bool:
    """Return whether a request came from a page of ours, as far as a browser says where it came from."""
    origin = request.headers.get("origin")
    if origin is not None:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == request.headers.get("host", "").lower()
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _is_browser(request: Request) -> bool:
    """Return whether a browser made this request: each says where an action comes from, and programs do not."""
    return any(name in request.headers for name in ("origin", "sec-fetch-site", "referer", "cookie"))


def _csrf_in(request: Request) -> str:
    """Return the token of forms that a request has, in its header or as a field of the form; empty for none."""
    given = request.headers.get(CSRF_HEADER)
    if given is not None:
        return given
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith(FORM):
        return ""
    try:
        return dict(fields_of(content_type, request.scope.get("dagorama.body", b""))).get(CSRF_FIELD, "")
    except BadInput:
        return ""


class SignedIn:
    """Refuses askers who do not know the token, where there is one; leads browsers to the form."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        """Take the layers inside of it."""
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        app: ASGIApp = self._app
        if scope["type"] == "http" and self._sessions.needs_token and not scope["path"].startswith(OPEN):
            request = Request(scope)
            if not self._knows(request):
                app = self._refusal(request)
        await app(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        header = request.headers.get("authorization")
        if header is not None:
            return self._sessions.is_bearer(header)
        return self._sessions.is_session(request.cookies.get(COOKIE, ""))

    def _refusal(self, request: Request) -> Response:
        if wants_json(request) or request.method not in SAFE or "text/html" not in request.headers.get("accept", ""):
            detail = "Send the page's token as `Authorization: Bearer TOKEN`, or sign in with it at /login."
            return respond(request, Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"}))
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        login = f"/login?next={quote(path, safe='')}"
        if request.headers.get("sec-fetch-site") == "cross-site":
            # With what a link from elsewhere leads to, browsers do not send a strict cookie; with what this leads to,
            # they do, and who is signed in is led on.
            return HTMLResponse(
                f'<!doctype html><meta http-equiv="refresh" content="0;url={login}"><title>dagorama</title>'
            )
        return RedirectResponse(login, 303)
