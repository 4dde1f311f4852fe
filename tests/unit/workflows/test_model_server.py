"""A function behind HTTP and JSON."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from dagorama.workflows.services.model_server import (
    REQUEST_BYTES_MAX,
    ModelServer,
    Refused,
    answer_of,
    handler_of,
    load,
)
from tests.timing import WAIT_S

JSON = {"Content-Type": "application/json"}


class Array:
    """Stands for an array of NumPy."""

    def tolist(self) -> list[int]:
        """Return its numbers."""
        return [1, 2]


def divide(a: float, b: float = 2) -> float:
    """Divide."""
    return a / b


@contextmanager
def connected(handler: type[BaseHTTPRequestHandler]) -> Iterator[HTTPConnection]:
    """Give a connection to a server that handles requests."""
    server = ModelServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made = HTTPConnection("127.0.0.1", server.server_port, timeout=WAIT_S)
    yield made
    made.close()
    server.shutdown()
    server.server_close()
    thread.join(WAIT_S)


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    """Give a connection to a server of the function."""
    with connected(handler_of(divide)) as made:
        yield made


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
        ({"data": {"a": 1, "x": 1}}, 400, "argument 'x': the function is called with (a: 'float', b: 'float' = 2)"),
        ({"data": [1, 2, 3]}, 400, "too many positional arguments"),
        ({"data": ["a"]}, 500, "TypeError"),
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


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (date(2025, 7, 1), "2025-07-01"),
        (Decimal("1.10"), "1.10"),
        ({7}, [7]),
        (Array(), [1, 2]),
        ({"deep": [Array()]}, {"deep": [[1, 2]]}),
    ],
)
def test_a_value_is_told_as_json_has_it(value: object, result: object) -> None:
    """Arrays and their numbers become lists and numbers, and dates texts."""
    assert json.loads(answer_of(lambda: value, b'{"data": []}')) == {"result": result}


@pytest.mark.parametrize("value", [object(), float("nan"), {(1, 2): 3}, b"bytes"])
def test_a_value_that_json_has_not_is_refused(value: object) -> None:
    """No reader of JSON would understand it, or it would mean something else."""
    with pytest.raises(Refused, match="there is no JSON for what the function returns") as caught:
        answer_of(lambda: value, b'{"data": {}}')
    assert caught.value.status == 500


def test_an_async_function_is_awaited() -> None:
    """Its value is answered, not the coroutine."""

    async def later(a: int) -> int:
        return a + 1

    assert answer_of(later, b'{"data": [1]}') == b'{"result": 2}'


def test_a_function_that_ends_its_thread_is_answered(capfd: pytest.CaptureFixture[str]) -> None:
    """So is one that raises; the traceback is in the output of the service, for its author, and not in the answer."""
    with pytest.raises(Refused, match=r"^SystemExit: bye$"):
        answer_of(lambda: sys.exit("bye"), b'{"data": []}')
    assert "Traceback" in capfd.readouterr().err


def test_a_function_without_a_signature_is_called() -> None:
    """Those of C may have none."""
    assert answer_of(max, b'{"data": [1, 3, 2]}') == b'{"result": 3}'


def test_a_slow_client_is_left() -> None:
    """It is told so, and holds nobody up."""
    handler = handler_of(divide)
    handler.timeout = 0.1
    with connected(handler) as connection:
        connection.putrequest("POST", "/")
        for name, value in {**JSON, "Content-Length": "20"}.items():
            connection.putheader(name, value)
        connection.endheaders(b'{"data"')
        response = connection.getresponse()
        assert (response.status, "nothing came" in response.read().decode()) == (408, True)


def test_a_client_that_sends_too_much_hears_it(connection: HTTPConnection) -> None:
    """Most send all before they listen, and would see a broken connection else."""
    status, told = answer(connection, "x" * (REQUEST_BYTES_MAX + 1))
    assert (status, told["error"]) == (413, f"a request has at most {REQUEST_BYTES_MAX} bytes")
    assert answer(connection, {"data": [4]}) == (200, {"result": 2.0})


def test_a_request_without_a_length_is_refused(connection: HTTPConnection) -> None:
    """Where it ends is not to be seen."""
    connection.putrequest("POST", "/")
    for name, value in {**JSON, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()  # nothing follows: it is answered, and closed, at once
    assert connection.getresponse().status == 411


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST / HTTP/1.0\r\nContent-Length: 13", b"200"),
        ("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 13", b"200"),
        (f"POST / HTTP/1.1\r\nContent-Length: {'1' * 5000}", b"411"),
    ],
    ids=["1.0", "close", "digits"],
)
def test_a_connection_ends_where_its_client_wants_it(connection: HTTPConnection, head: str, status: bytes) -> None:
    """One that reads to the end would wait for it, and after a length that is none nobody knows what comes."""
    with socket.create_connection((connection.host, connection.port), timeout=WAIT_S) as client:
        client.sendall(f'{head}\r\nContent-Type: application/json\r\n\r\n{{"data": [4]}}'.encode())
        told = b"".join(iter(lambda: client.recv(4096), b""))
    assert (told.split()[1], b"\r\nConnection: close\r\n" in told) == (status, True)


def test_pages_of_other_sites_get_no_answer(connection: HTTPConnection) -> None:
    """A browser sends other types than JSON without asking."""
    assert answer(connection, {"data": [4]}, {"Content-Type": "text/plain"})[0] == 415


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
