"""Tokens, sessions of browsers that have shown one, and the tokens of forms."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from time import time

#: The cookie of a browser that is signed in.
COOKIE = "dagorama_session"
#: So long a browser stays signed in.
LASTING_S = 7 * 24 * 3600


class Sessions:
    """Says who may look: a browser with a session that is signed with the token, and a program with the token.

    Nothing is kept, so a page that is started again with the same token knows its sessions.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time) -> None:
        """Take the token, "" where everybody may look."""
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"dagorama ui session", "sha256")
        self._clock = clock

    @property
    def needs_token(self) -> bool:
        """Return whether somebody has to know a token."""
        return bool(self._token)

    def is_token(self, word: str) -> bool:
        """Return whether this is the token, in a time that does not tell how much of it is right."""
        given, right = (sha256(each).digest() for each in (word.encode(errors="replace"), self._token))
        return self.needs_token and hmac.compare_digest(given, right)

    def new(self) -> str:
        """Return the cookie of a new session."""
        signed = f"{int(self._clock()) + LASTING_S}.{secrets.token_urlsafe(9)}"
        return f"{signed}.{self._signature(signed)}"

    def is_session(self, cookie: str) -> bool:
        """Return whether a cookie is that of a session that lasts."""
        signed, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(signed).encode()):
            return False
        return int(signed.partition(".")[0]) > self._clock()

    def is_bearer(self, header: str) -> bool:
        """Return whether an `Authorization` header has the token."""
        scheme, _, word = header.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(word.strip())

    def _signature(self, signed: str) -> str:
        return hmac.new(self._key, signed.encode(errors="replace"), "sha256").hexdigest()
