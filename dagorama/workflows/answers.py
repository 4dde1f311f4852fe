"""Answers over HTTP that are whole: where a connection ends early, reading raises.

The standard library takes the end of a connection for the end of whatever is being read, as servers have always ended
connections without a word: of the head, of a number in it, of a body whose length was told. Half a file is a file then,
and half an answer a value. Of a body without a length the end of the connection is the end (RFC 9112, section 6.3),
unless TLS says that it was cut.
"""

from __future__ import annotations

from email.errors import MissingHeaderBodySeparatorDefect
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader
from typing import Any
from urllib.request import HTTPHandler, HTTPSHandler, Request


class Unmeasured(HTTPException):
    """Nobody could tell of an answer whether it is whole."""


class _Lines(BufferedReader):
    """The lines and bytes that a server sends; a line that the connection ends in is none."""

    #: A line has come of the head, and the head has not ended: another one has to come.
    is_in_head = False
    is_head_over = False

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line; empty where there is none, and none has to be."""
        line = super().readline(-1 if size is None else size)
        is_cut = not line.endswith(b"\n") and len(line) != size
        if is_cut and (line or self.is_in_head):
            raise IncompleteRead(line)
        self.is_in_head = not self.is_head_over
        return line


class WholeResponse(HTTPResponse):
    """An answer; reading raises `IncompleteRead` where it is not whole, but for `read1`, whose user has to count.

    `Unmeasured` for one of which nobody could tell.
    """

    def begin(self) -> None:
        """Read the head."""
        if self.headers is not None:
            return
        lines = _Lines(self.fp.detach())
        self.fp = lines
        super().begin()
        lines.is_in_head, lines.is_head_over = False, True
        told = self.msg
        if self.chunked or self.length is not None:
            return
        if told.get("Transfer-Encoding", "identity").lower() != "identity":
            raise Unmeasured("its transfer encoding is none that is known here")
        if "Content-Length" in told:
            raise Unmeasured("its length is no number")
        if any(isinstance(one, MissingHeaderBodySeparatorDefect) for one in told.defects):
            raise Unmeasured("its head has a line that is no header, and its length may be below that")

    def read(self, amt: int | None = None) -> bytes:
        """Return so many bytes of the body, fewer only at its end; all that is left without a number."""
        left = self.length
        data = super().read(amt)
        if amt is not None and left is not None and len(data) < min(amt, left):
            raise IncompleteRead(data, left - len(data))
        return data


class WholeConnection(HTTPConnection):
    """A connection whose answers are whole."""

    response_class = WholeResponse


class WholeSecureConnection(HTTPSConnection):
    """A connection by TLS whose answers are whole."""

    response_class = WholeResponse

    def connect(self) -> None:
        """Connect. An end without TLS's own is an error from then on: somebody on the way may have cut it."""
        super().connect()
        connected: Any = self.sock  # the types leave that out
        connected.suppress_ragged_eofs = False


class WholeHandler(HTTPHandler):
    """Makes requests for an opener of `urllib`."""

    def http_open(self, req: Request) -> HTTPResponse:
        """Make one."""
        return self.do_open(WholeConnection, req)


class WholeSecureHandler(HTTPSHandler):
    """Makes requests by TLS for an opener of `urllib`."""

    def https_open(self, req: Request) -> HTTPResponse:
        """Make one."""
        return self.do_open(WholeSecureConnection, req)
