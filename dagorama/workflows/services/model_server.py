"""A function of Python behind HTTP and JSON: `python -m dagorama.workflows.services.model_server FILE FUNCTION`.

`GET /health` says that it is there. `POST /` with `{"data": {"x": 1}}`, or a list of arguments for `data`, calls the
function and answers `{"result": ...}`. It listens on the loopback address alone, on the port in `PORT`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

#: A larger request is refused. So much more of it is read all the same, as many clients send all before they listen.
REQUEST_BYTES_MAX, DROPPED_BYTES_MAX = 16 * 2**20, 64 * 2**20
#: A client that sends nothing, or takes nothing, for so long is left.
CLIENT_S = 60.0
_READ_BYTES, _DIGITS_MAX = 2**20, 20


class Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        """Take the status and the words for the caller."""
        self.status = status
        super().__init__(message)


def load(file: str, name: str) -> Callable[..., object]:
    """Return a function of a file; `SystemExit` with what is wrong where there is none."""
    path = Path(file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SystemExit(f"there is no Python file {file!r} in {os.getcwd()}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    # Not before: this program needs modules whose names files there may have, too.
    sys.path[:0] = [str(path.parent.resolve()), os.getcwd()]
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise SystemExit(f"{file} has no function {name!r}")
    called: Callable[..., object] = function
    return called


def handler_of(function: Callable[..., object]) -> type[BaseHTTPRequestHandler]:
    """Return the class that handles requests for a function."""

    class Handler(BaseHTTPRequestHandler):
        """Answers with what the function returns."""

        protocol_version = "HTTP/1.1"
        timeout = CLIENT_S

        def do_GET(self) -> None:
            """Say that it is there."""
            if self.path == "/health":
                self._answer(HTTPStatus.OK, b'{"status": "ok"}')
            else:
                self._answer(HTTPStatus.NOT_FOUND, _error("GET /health, or POST / with JSON"))

        def do_POST(self) -> None:
            """Call the function."""
            try:
                self._answer(HTTPStatus.OK, answer_of(function, self._body()))
            except Refused as error:
                self._answer(error.status, _error(str(error)))

        def _body(self) -> bytes:
            is_last, self.close_connection = self.close_connection, True  # until it has been read
            # A page of another site cannot send this type without asking first.
            if self.headers.get_content_type() != "application/json":
                raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the type of a request is application/json")
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and len(length) < _DIGITS_MAX):
                raise Refused(HTTPStatus.LENGTH_REQUIRED, "a request has a Content-Length")
            if int(length) > REQUEST_BYTES_MAX:
                self._drop(min(int(length), DROPPED_BYTES_MAX))
                message = f"a request has at most {REQUEST_BYTES_MAX} bytes"
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
            try:
                body = self.rfile.read(int(length))
            except TimeoutError:
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"nothing came for {CLIENT_S:g} s") from None
            self.close_connection = is_last
            return body

        def _drop(self, count: int) -> None:
            """Read so many bytes and no more, as far as they come."""
            with suppress(TimeoutError):
                while count > 0 and (data := self.rfile.read(min(count, _READ_BYTES))):
                    count -= len(data)

        def _answer(self, status: HTTPStatus, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
            except (TimeoutError, ConnectionError) as error:
                self.close_connection = True
                self.log_error("the client is gone: %s", error)

    return Handler


def answer_of(function: Callable[..., object], request: bytes) -> bytes:
    """Call a function with the arguments of a request, and return what is answered; `Refused` where it has no value."""
    args, kwargs = arguments_in(request)
    _check_arguments(function, args, kwargs)
    try:
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}") from None
    try:
        return json.dumps({"result": value}, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = f"there is no JSON for what the function returns: {error}"
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None


def _check_arguments(function: Callable[..., object], args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise `Refused` for arguments that a function does not take."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as some written in C have none
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        message = f"{error}: the function is called with {signature}"
        raise Refused(HTTPStatus.BAD_REQUEST, message) from None


def _plain(value: object) -> object:
    """Return a value that JSON has for another: lists and numbers for those of NumPy and the like."""
    if callable(as_lists := getattr(value, "tolist", None)):
        return as_lists()
    if isinstance(value, (date, time, Decimal, UUID, PurePath)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__qualname__} is no type of JSON")


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def arguments_in(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a request has; `Refused` where it has none."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the request is no JSON: {error}") from None
    data = told.get("data") if isinstance(told, dict) else None
    if isinstance(data, dict):
        return [], data
    if isinstance(data, list):
        return data, {}
    raise Refused(HTTPStatus.BAD_REQUEST, 'a request is {"data": {...}} with arguments by name, or {"data": [...]}')


class ModelServer(ThreadingHTTPServer):
    """Serves many clients at once."""

    request_queue_size = 128


def main() -> None:
    """Serve the function that the arguments name."""
    file, name = sys.argv[1:]
    server = ModelServer(("127.0.0.1", int(os.environ["PORT"])), handler_of(load(file, name)))
    server.serve_forever()


if __name__ == "__main__":
    main()
