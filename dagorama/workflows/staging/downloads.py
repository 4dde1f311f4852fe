"""Fetches files over HTTP.

The address that a connection is made to is the one that was checked: a name that is looked up twice may be another
machine the second time (DNS rebinding). Proxies are not used, as they would look the name up themselves.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, responses
from typing import BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

from dagorama.common.urls import without_secrets
from dagorama.workflows.answers import Unmeasured, WholeConnection, WholeSecureConnection
from dagorama.workflows.staging.addresses import is_local
from dagorama.workflows.staging.cutting import Cutter
from dagorama.workflows.staging.faults import StagingFailed, TooMuch
from dagorama.workflows.staging.limits import CHUNK_BYTES, staged_bytes_max

#: A server that says nothing for so long has gone, and so has one that has not begun with the file by then.
SILENCE_S = 60.0
REDIRECTS_MAX = 5
#: What is wrong for a moment is tried so often, after these pauses.
PAUSES_S = (0.5, 2.0)

_MOVED = frozenset({301, 302, 303, 307, 308})
#: The method stays what it was.
_SAME_METHOD = frozenset({307, 308})
_FOR_A_MOMENT = frozenset({429, 500, 502, 503, 504})
#: An origin that is not posted to says one of these.
_NO_POST = frozenset({404, 405, 501})


class _ForAMoment(StagingFailed):
    """It may go well the next time."""


class Downloads:
    """Fetches files for one job."""

    def __init__(self, *, may_be_local: bool, pause: Callable[[float], None], check: Callable[[], None]) -> None:
        """`pause` waits some seconds; `check` raises where the job is to stop, from then on in any thread."""
        self._may_be_local = may_be_local
        self._pause = pause
        self._check = check

    def fetch(self, url: str, to: BinaryIO, *, authorization: str = "", post: bool = False) -> str:
        """Write what a URL has to a file; return the content type. Raises `StagingFailed`.

        With `post` it is asked for by POST, without a body, or by GET where the server knows no POST there.
        """
        for pause_s in (*PAUSES_S, None):
            try:
                with Cutter(self._check) as cutter:
                    return self._follow(url, to, authorization, "POST" if post else "GET", cutter)
            except _ForAMoment:
                if pause_s is None:
                    raise
                self._pause(pause_s)
                self._check()
                to.seek(0)
                to.truncate()
        raise AssertionError("the last try returns or raises")

    def _follow(self, url: str, to: BinaryIO, authorization: str, method: str, cutter: Cutter) -> str:
        parts = _checked(url)
        for _ in range(REDIRECTS_MAX + 1):
            connection = self._connection(parts, cutter)
            try:
                with cutter.within(SILENCE_S):
                    response = _asked(connection, parts, method, authorization)
                with closing(response):
                    if response.status in _MOVED:
                        parts, authorization = _next(parts, response, authorization)
                        method = method if response.status in _SAME_METHOD else "GET"
                    elif method == "POST" and response.status in _NO_POST:
                        method = "GET"
                    else:
                        return self._taken(parts, response, to)
            except Unmeasured as error:
                raise _failed(
                    parts, f"was answered in a way in which nobody can tell whether all is there: {error}"
                ) from None
            except (OSError, HTTPException) as error:
                self._check()
                # What the server has said may be the header that it was sent.
                said = "" if isinstance(error, HTTPException) else f": {error}"
                raise _failed(parts, f"broke off: {type(error).__name__}{said}", again=True) from None
            finally:
                connection.close()
        raise _failed(parts, f"was sent on more than {REDIRECTS_MAX} times")

    def _connection(self, parts: SplitResult, cutter: Cutter) -> HTTPConnection:
        """Return a connection to an address that is allowed, which `parts` name."""
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        connected = self._connected(parts, host, port, cutter)
        connection: HTTPConnection = WholeConnection(host, port, timeout=SILENCE_S)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            try:
                connected = context.wrap_socket(connected, server_hostname=host, suppress_ragged_eofs=False)
            except OSError as error:
                connected.close()
                self._check()
                is_for_ever = isinstance(error, ssl.SSLError)
                problem = "cannot be trusted" if is_for_ever else "broke off"
                raise _failed(parts, f"{problem}: {error}", again=not is_for_ever) from None
            connection = WholeSecureConnection(host, port, timeout=SILENCE_S, context=context)
        connection.sock = connected
        return connection

    def _connected(self, parts: SplitResult, host: str, port: int, cutter: Cutter) -> socket.socket:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise _failed(parts, "names a host that can have no address") from None
        except OSError as error:
            raise _failed(parts, f"names a host that is not found: {error}", again=True) from None
        last: OSError | None = None
        for family, kind, protocol, _, address in found:
            if not self._may_be_local and is_local(str(address[0])):
                problem = f"is at {address[0]}, which only programs on the worker's machine may ask"
                raise _failed(parts, problem, way_out="take an origin on another machine")
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(SILENCE_S)
                cutter.watch(connected)
                connected.connect(address)
                return connected
            except OSError as error:
                connected.close()
                self._check()
                last = error
        raise _failed(parts, f"cannot be reached: {last}", again=True)

    def _taken(self, parts: SplitResult, response: HTTPResponse, to: BinaryIO) -> str:
        """Write the body of an answer to a file."""
        if response.status != 200:
            problem = f"was answered with {response.status} {responses.get(response.status, '')}".rstrip()
            raise _failed(parts, problem, again=response.status in _FOR_A_MOMENT)
        limit, taken = staged_bytes_max(), 0
        expected = response.length
        # One system call at a time: a server that gives a byte now and then does not keep from looking at the clock.
        while chunk := response.read1(CHUNK_BYTES):
            self._check()
            taken += len(chunk)
            if taken > limit:
                problem = f"has more than {limit:,} bytes"
                raise TooMuch(
                    what=without_secrets(parts.geturl()),
                    problem=problem,
                    way_out="set DAGORAMA_STAGED_MAX for the workers",
                )
            _write(chunk, to, parts)
        self._check()  # else what was broken off would seem to be all
        if expected is not None and taken < expected:
            raise _failed(parts, f"broke off after {taken:,} of {expected:,} bytes", again=True)
        return response.headers.get_content_type()


def _checked(url: str) -> SplitResult:
    """Return the parts of a URL of http or https."""
    wrong = StagingFailed(what=f"the URL {without_secrets(url)[:200]!r}", problem="is none of http or https")
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise wrong from None
    if not is_right or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    return parts


def _asked(connection: HTTPConnection, parts: SplitResult, method: str, authorization: str) -> HTTPResponse:
    # Its body is taken as it is, so it must not be packed for the way.
    headers = {"Accept-Encoding": "identity", "User-Agent": "dagorama", "Connection": "close"}
    if authorization:
        headers["Authorization"] = authorization
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    connection.request(method, target, headers=headers)
    return connection.getresponse()


def _next(parts: SplitResult, response: HTTPResponse, authorization: str) -> tuple[SplitResult, str]:
    """Return where an answer sends on to, and the authorization there: none for another server."""
    location = response.headers.get("Location", "")
    if not location:
        raise _failed(parts, f"was answered with {response.status}, and without the place to go to")
    to = _checked(urljoin(parts.geturl(), location))
    if parts.scheme == "https" and to.scheme == "http":
        raise _failed(parts, "sends on to a URL that is not encrypted")
    is_same = (parts.scheme, parts.hostname, parts.port) == (to.scheme, to.hostname, to.port)
    return to, authorization if is_same else ""


def _write(chunk: bytes, to: BinaryIO, parts: SplitResult) -> None:
    """Write to a file; a disk that is full is no fault of the server, and no less full in a moment."""
    try:
        to.write(chunk)
    except OSError as error:
        raise _failed(parts, f"cannot be written to the run's directory: {error.strerror}") from None


def _failed(parts: SplitResult, problem: str, way_out: str = "", *, again: bool = False) -> StagingFailed:
    kind = _ForAMoment if again else StagingFailed
    return kind(what=without_secrets(parts.geturl()), problem=problem, way_out=way_out)
