"""A function of Python behind HTTP and JSON: `python -m dagorama.workflows.services.model_server FILE FUNCTION`.

`GET /health` says that it is there. `POST /` with `{"data": {"x": 1}}`, or a list of arguments for `data`, calls the
function and answers `{"result": ...}`. It listens on the loopback address alone, on the port in `PORT`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: A larger request is refused.
REQUEST_BYTES_MAX = 16 * 2**20


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
    sys.path.insert(0, str(path.parent.resolve()))
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

        def do_GET(self) -> None:
            """Say that it is there."""
            if self.path == "/health":
                self._answer(HTTPStatus.OK, {"status": "ok"})
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "GET /health, or POST / with JSON"})

        def do_POST(self) -> None:
            """Call the function."""
            try:
                args, kwargs = arguments_in(self._body())
                self._answer(HTTPStatus.OK, {"result": function(*args, **kwargs)})
            except Refused as error:
                self._answer(error.status, {"error": str(error)})
            except Exception as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})

        def _body(self) -> bytes:
            self.close_connection = True  # until it has been read
            # A page of another site cannot send this type without asking first.
            if self.headers.get_content_type() != "application/json":
                raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the type of a request is application/json")
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and int(length) <= REQUEST_BYTES_MAX):
                message = f"a request has a Content-Length of at most {REQUEST_BYTES_MAX} bytes"
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
            body = self.rfile.read(int(length))
            self.close_connection = False
            return body

        def _answer(self, status: HTTPStatus, value: object) -> None:
            body = json.dumps(value, default=str).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    return Handler


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


def main() -> None:
    """Serve the function that the arguments name."""
    file, name = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), handler_of(load(file, name)))
    server.serve_forever()


if __name__ == "__main__":
    main()
