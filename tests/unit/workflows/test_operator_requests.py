"""Requests of operators: what goes to which server, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from dagorama.workflows.operators.http import HttpRequest, RequestFailed, ask
from tests.unit.workflows.test_downloads import CHUNKED, PLAIN, saying


class Server(ThreadingHTTPServer):
    """Answers, or sends on to where `leads_to` says, and notes the headers of what it is asked for."""

    leads_to = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers for a server of the tests."""

    server: Server

    def do_GET(self) -> None:
        """Send on, or answer in letters that nobody knows."""
        self.server.seen.append(dict(self.headers))
        is_sent_on = self.path == "/from"
        self.send_response(302 if is_sent_on else 200)
        if is_sent_on:
            self.send_header("Location", f"{self.server.leads_to}/to")
        self.send_header("Content-Type", "text/plain; charset=none-such")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """Two servers."""
    with ExitStack() as stack:
        both = Server(), Server()
        for server in both:
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            Thread(target=server.serve_forever, args=(0.05,)).start()
        yield both


@pytest.mark.parametrize("goes_elsewhere", [False, True])
def test_headers_go_to_no_other_server(servers: tuple[Server, Server], goes_elsewhere: bool) -> None:
    """A token for one server is not sent to where that one leads, but where it leads to itself it is."""
    first, second = servers
    last = second if goes_elsewhere else first
    first.leads_to = last.url
    answer = ask(HttpRequest(method="GET", url=f"{first.url}/from"), {"Authorization": "Bearer t"})
    assert (answer.status_code, answer.text) == (200, "hello")
    assert first.seen[0]["Authorization"] == "Bearer t"
    assert ("Authorization" in last.seen[-1]) != goes_elsewhere


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
def test_half_an_answer_is_none(answer: bytes) -> None:
    """Wherever the connection ends, the request has failed; the whole one is taken."""
    for end in range(len(answer)):
        with saying(answer[:end]) as (url, _), pytest.raises(RequestFailed):
            ask(HttpRequest(method="GET", url=url), {})
    with saying(answer) as (url, _):
        assert ask(HttpRequest(method="GET", url=url), {}).text == "the file"


def test_what_has_come_of_a_bad_answer_is_told() -> None:
    """Its status counts, be it that the rest is cut."""
    told = "was answered with 500 Internal Server Error: the "
    with saying(PLAIN.replace(b"200 OK", b"500 No")[:-4]) as (url, _), pytest.raises(RequestFailed, match=told):
        ask(HttpRequest(method="GET", url=url), {})
