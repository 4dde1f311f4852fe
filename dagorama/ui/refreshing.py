"""Answers that browsers fetch again as things change, made once for all that show the same.

An answer is good until the broker tells of the next change, which it does four times a second at most, or somebody has
acted on this page. So a page that many look at costs the broker and this process what one costs; and however many
different ones are looked at, no more than some answers are made in a second, and what is shown is older instead.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import MutableMapping
from typing import Any, Protocol

from markupsafe import escape
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dagorama.ui import streaming

#: Each answer is good for so long at most: no change tells of how far a node says that it has come.
KEPT_S = 1.0
#: So many answers are made at once, and in each second after that; none waits for its turn for longer than this.
AT_ONCE, PER_S, WAIT_S = 20, 10.0, 3.0
#: So many answers are kept.
ANSWERS_MAX = 200

#: The methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Hearing(Protocol):
    """The watch of changes."""

    @property
    def told(self) -> int:
        """Return how often anything was told."""
        ...

    @property
    def is_hearing(self) -> bool:
        """Return whether it would tell of a change."""
        ...


class Refreshes:
    """Makes answers to be shared of those pages that scripts fetch."""

    def __init__(self, app: ASGIApp, live: Hearing) -> None:
        """Take the layers inside of it, and the watch."""
        self._app = app
        self._live = live
        self._acted = 0
        self._answers: dict[tuple[str, bytes], _Answer] = {}
        self._next_at = 0.0
        #: Stands in shared answers where the token of a browser's forms belongs.
        self._place = secrets.token_urlsafe(32).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what is shared, or hand the request on."""
        if scope["type"] != "http" or scope["method"] not in SAFE:
            try:
                await self._app(scope, receive, send)
            finally:
                self._acted += 1
            return
        request = Request(scope)
        is_fetched = scope["method"] == "GET" and "hx-request" in request.headers
        if not is_fetched or scope["path"] == streaming.PATH or not self._live.is_hearing:
            await self._app(scope, receive, send)
            return
        start, body = await self._shared(scope)
        body = body.replace(self._place, str(escape(request.state.csrf)).encode())
        headers = [(b"content-length", str(len(body)).encode())]
        headers += [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _shared(self, scope: Scope) -> tuple[Message, bytes]:
        """Return the answer to a request: its first message, and its body."""
        key = scope["path"], scope["query_string"]
        answer = self._answers.pop(key, None)
        if answer is None or not answer.is_good(self._state()):
            answer = _Answer()
            answer.task = asyncio.create_task(self._make(answer, scope))
        self._answers[key] = answer
        if len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]
        return await asyncio.shield(answer.task)

    def _state(self) -> tuple[int, int]:
        return self._live.told, self._acted

    async def _make(self, answer: _Answer, scope: Scope) -> tuple[Message, bytes]:
        """Have an answer made when it is its turn (GCRA, in which no more is owed than the longest wait)."""
        now = time.monotonic()
        self._next_at = min(max(self._next_at, now - AT_ONCE / PER_S) + 1 / PER_S, now + WAIT_S)
        await asyncio.sleep(self._next_at - now)
        answer.state, answer.asked_at = self._state(), time.monotonic()
        messages: list[Message] = []
        bodies = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            for body in bodies:
                return body
            forever: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await forever  # who shares an answer does not break it off

        async def keep(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        state = {**scope.get("state", {}), "csrf": self._place.decode()}
        await self._app({**scope, "state": state}, receive, keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages)


class _Answer:
    """An answer, or its being on the way."""

    task: asyncio.Task[tuple[Message, bytes]]

    def __init__(self) -> None:
        #: What had been told, and when, as it was asked for; none as long as it waits for its turn.
        self.state: tuple[int, int] | None = None
        self.asked_at = 0.0

    def is_good(self, state: tuple[int, int]) -> bool:
        """Return whether nothing has changed since it was asked for."""
        if self.task.done() and (self.task.cancelled() or self.task.exception() is not None):
            return False
        return self.state is None or (self.state == state and time.monotonic() - self.asked_at < KEPT_S)
