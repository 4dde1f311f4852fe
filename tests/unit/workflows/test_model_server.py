"""A function behind HTTP and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dagorama.workflows.services.model_server import REQUEST_BYTES_MAX, handler_of, load
from tests.timing import WAIT_S

JSON = {"Content-Type": "application/json"}


def divide(a: float, b: float = 2) -> float:
    """Divide."""
    return a / b


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    """Give a connection to a server of the function."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(divide))
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made = HTTPConnection("127.0.0.1", server.server_port, timeout=WAIT_S)
    yield made
    made.close()
    server.shutdown()
    server.server_close()
    thread.join(WAIT_S)


def answer(connection: HTTPConnection, body: object, headers: dict[str, str] = JSON) -> tuple[int, dict[str, object]]:
    """Post a body; return the status and the answer."""
    connection.request("POST", "/", body if isinstance(body, str) else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize("data", [{"a": 6, "b": 3}, [6, 3], {"a": 4}])
def test_a_request_is_a_call(connection: HTTPConnection, data: object) -> None:
    """Arguments come by name or in order, and those with defaults may be left out."""
    assert answer(connection, {"data": data}) == (200, {"result": 2.0})


def test_it_says_that_it_is_there(connection: HTTPConnection) -> None:
    """The health check is a path of its own."""
    for path, status in (("/health", 200), ("/other", 404)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ("{", 400, "no JSON"),
        ({"a": 1}, 400, "data"),
        ({"data": {"x": 1}}, 500, "TypeError"),
        ({"data": [1, 0]}, 500, "ZeroDivisionError"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    connection: HTTPConnection, body: object, status: int, problem: str
) -> None:
    """The server goes on."""
    told, error = answer(connection, body)
    assert told == status
    assert problem in str(error["error"])
    assert answer(connection, {"data": [4]}) == (200, {"result": 2.0})


def test_pages_of_other_sites_get_no_answer(connection: HTTPConnection) -> None:
    """A browser sends other types than JSON without asking."""
    assert answer(connection, {"data": [4]}, {"Content-Type": "text/plain"})[0] == 415


def test_a_request_of_any_size_is_refused(connection: HTTPConnection) -> None:
    """Nothing of it is read."""
    headers = {**JSON, "Content-Length": str(REQUEST_BYTES_MAX + 1)}
    connection.request("POST", "/", headers=headers)
    assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    ("text", "name", "problem"), [(None, "f", "no Python file"), ("f = 3", "f", "no function"), ("", "g", "'g'")]
)
def test_what_is_no_function_is_named(text: str | None, name: str, problem: str, tmp_path: Path) -> None:
    """The file, or the function, is said."""
    file = tmp_path / "a_model_of_this_test.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit, match=problem):
        load(str(file), name)
