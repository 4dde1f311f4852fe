"""Requests over HTTP, as the processes of operators and sensors make them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, IncompleteRead, responses
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from dagorama.common.urls import without_secrets
from dagorama.workflows.answers import WholeHandler, WholeSecureHandler
from dagorama.workflows.problems import PlainFailure

#: A longer answer is none for a value: a file of that size is downloaded.
ANSWER_BYTES_MAX = 64 * 2**20
#: So much of the answer to a request that failed is told.
_TOLD_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """The answer to a request."""

    status_code: int
    #: By their names in small letters.
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """Return what the text says as JSON; `ValueError` where it is none."""
        return json.loads(self.text)


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request to be made."""

    method: str
    url: str
    body: bytes | None = None
    #: Seconds without a word from the server.
    silence_s: float = 60.0


class RequestFailed(PlainFailure):
    """A request was not answered, or not well."""


def request(
    asked: HttpRequest,
    headers: Mapping[str, str],
    check: Callable[[HttpResponse], object] | None,
    pick: Callable[[HttpResponse], object] | None,
) -> object:
    """Make a request, and return the text of the answer, or what `pick` makes of the answer.

    Raises `RequestFailed`, also where `check` says no.
    """
    answer = ask(asked, headers)
    if check is not None and not check(answer):
        raise RequestFailed(f"{_named(asked)} was answered, but response_check says no: {_beginning(answer.text)}")
    return answer.text if pick is None else pick(answer)


def ask(asked: HttpRequest, headers: Mapping[str, str]) -> HttpResponse:
    """Make a request, and return the answer; `RequestFailed` where there is none, or one of another status than 2xx."""
    try:
        wanted = Request(asked.url, data=asked.body, headers=dict(headers), method=asked.method)
        opener = build_opener(_Redirects, WholeHandler, WholeSecureHandler)
        with opener.open(wanted, timeout=asked.silence_s) as answer:
            data = answer.read(ANSWER_BYTES_MAX + 1)
            status, told = answer.status, answer.headers
    except HTTPError as error:
        text, reason = _body_of(error), responses.get(error.code, "")
        raise RequestFailed(f"{_named(asked)} was answered with {error.code} {reason}: {_beginning(text)}") from None
    except URLError as error:
        raise RequestFailed(f"{_named(asked)} failed: {error.reason}") from None
    except (OSError, HTTPException, socket.gaierror) as error:
        said = str(error) if isinstance(error, IncompleteRead) else f"{type(error).__name__}: {error}"
        raise RequestFailed(f"{_named(asked)} broke off: {said}") from None
    if len(data) > ANSWER_BYTES_MAX:
        raise RequestFailed(f"the answer to {_named(asked)} has more than {ANSWER_BYTES_MAX} bytes: download it")
    try:
        text = data.decode(told.get_content_charset() or "utf-8", "backslashreplace")
    except LookupError:  # it has a name for its letters that nobody knows
        text = data.decode("utf-8", "backslashreplace")
    return HttpResponse(status_code=status, headers={name.lower(): value for name, value in told.items()}, text=text)


def _body_of(error: HTTPError) -> str:
    """Return the beginning of the answer to a request that failed, as far as it has come."""
    data = b""
    with error:
        try:
            data = error.read(4 * _TOLD_CHARS)
        except IncompleteRead as cut:
            data = cut.partial
        except (OSError, HTTPException):
            pass
    return data.decode("utf-8", "backslashreplace")


class _Redirects(HTTPRedirectHandler):
    """Follows redirects. Another server gets no headers: some may be secrets of the first."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the request that follows."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            following.headers.clear()
        return following


def _named(asked: HttpRequest) -> str:
    return f"{asked.method} {without_secrets(asked.url)}"


def _beginning(text: str) -> str:
    return text if len(text) <= _TOLD_CHARS else f"{text[:_TOLD_CHARS]}..."
