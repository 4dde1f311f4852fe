"""Metrics and health over HTTP, in a thread of its own: it answers where the rest of the process hangs.

It is the standard library's server, for answers that are small and rare. It reads requests without a body, and ends
connections that take long. That of prometheus-client answers every path with metrics, whatever name it is asked by, and
knows no health.
"""

from __future__ import annotations

import ipaddress
import json
import platform
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from socketserver import TCPServer
from typing import Any, Protocol, cast

from dagorama.common.addresses import is_loopback
from dagorama.metrics.exposing import check_is_installed
from dagorama.metrics.faults import EndpointTaken

#: Listened on unless another address is named.
HOST = "localhost"
#: A request that takes longer to come is given up.
REQUEST_S = 10.0
#: So many requests are answered at once; others are refused.
REQUESTS_MAX = 32

_TEXT = "text/plain; charset=utf-8"


class Source(Protocol):
    """A process that is looked at. It is asked from threads of the endpoint."""

    def why_not_live(self) -> str:
        """Return why the process is to be killed; empty where it is well. It may take some seconds."""
        ...

    def why_not_ready(self) -> str:
        """Return why nothing is to be sent there now; empty where it may."""
        ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type. Raise `TimeoutError` where the process does not answer."""
        ...


class Endpoint:
    """The HTTP server of one process."""

    def __init__(self, program: str, source: Source, *, host: str, port: int) -> None:
        """Take the address; raise `EndpointTaken`, or `NoPrometheus` where metrics could not be written."""
        check_is_installed()
        self._program = program
        self._source = source
        try:
            ((family, _, _, _, address), *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._server = _Server(family, address, self)
        except OSError as error:
            raise EndpointTaken(host, port, error.strerror or str(error)) from error
        self.port: int = self._server.server_address[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        #: Only then a page of some other site, whose name was made to lead here, could ask through a browser.
        self._is_local = is_loopback(host)
        self._thread = threading.Thread(target=self._serve, name="dagorama-metrics", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Let the port go. Requests that are being answered end with the process."""
        self._server.is_closed = True
        # A socket that is only closed is listened on for as long as the thread waits at it.
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.socket.close()

    def _serve(self) -> None:
        with suppress(_Closed):
            self._server.serve_forever(poll_interval=3600.0)

    def answer(self, path: str, accept: str, host: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of an answer."""
        if self._is_local and not _names_this_machine(host):
            return HTTPStatus.FORBIDDEN, _TEXT, b"ask for localhost or an address: other names are refused here\n"
        answers: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
            "/metrics": lambda: self._metrics(accept),
            "/livez": lambda: _health(self._source.why_not_live()),
            "/readyz": lambda: _health(self._source.why_not_ready()),
            "/version": self._version,
        }
        answer = answers.get(path.partition("?")[0])
        if answer is None:
            return HTTPStatus.NOT_FOUND, _TEXT, f"there are {', '.join(answers)}\n".encode()
        return answer()

    def _metrics(self, accept: str) -> tuple[HTTPStatus, str, bytes]:
        try:
            body, content_type = self._source.metrics(accept)
        except TimeoutError:
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"the process does not answer\n"
        return HTTPStatus.OK, content_type, body

    def _version(self) -> tuple[HTTPStatus, str, bytes]:
        told = {"program": self._program, "version": version("dagorama"), "python": platform.python_version()}
        return HTTPStatus.OK, "application/json", json.dumps(told).encode() + b"\n"


def _names_this_machine(host: str) -> bool:
    """Return whether the Host of a request is an address or localhost: no name that somebody can lead here."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if not name or name == "localhost":
        return True
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


def _health(problem: str) -> tuple[HTTPStatus, str, bytes]:
    if problem:
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{problem}\n".encode()
    return HTTPStatus.OK, _TEXT, b"ok\n"


class _Closed(Exception):
    """The server is closed, so its thread ends."""


class _Server(ThreadingHTTPServer):
    """The standard server, which looks up no name of its own and bounds what it does at once."""

    daemon_threads = True

    def __init__(self, family: int, address: Any, endpoint: Endpoint) -> None:
        self.address_family = family
        self.endpoint = endpoint
        self.is_closed = False
        self._room = threading.Semaphore(REQUESTS_MAX)
        super().__init__(address[:2], _Handler)

    def server_bind(self) -> None:
        """Take the address, as the base class does, but for asking how this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; end the thread where none comes any more."""
        if self.is_closed:
            raise _Closed
        return super().get_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless there are many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out the traceback of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = REQUEST_S
    server_version = "dagorama"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        headers = self.headers
        endpoint = cast(_Server, self.server).endpoint
        status, content_type, body = endpoint.answer(self.path, headers.get("Accept", ""), headers.get("Host", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: somebody asks every few seconds."""
