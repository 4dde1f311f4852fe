"""Effects that are guarded happen once: HTTP requests by their key, rows in PostgreSQL by key and fencing token."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast
from urllib.request import Request, urlopen

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from dagorama import DAGDefinition, NotInNode, StaticRetry, context, dagorama
from dagorama.calls.capture import Scope, current_scope
from dagorama.effects import idempotency_headers, upsert, upsert_async
from dagorama.testing import inline
from dagorama.worker.shell.held import Function, Held
from tests.postgresql import postgresql

NODE, OTHER = b"n" * 16, b"o" * 16


@contextmanager
def attempt(token: int, node_id: bytes = NODE) -> Iterator[None]:
    """Runs the block as an attempt of a node, under this fencing token."""
    held = Held(node_id, token, b"i" * 16, Function("m:C.f", b""), b"", 1, None)
    before = current_scope.set(Scope(b"i" * 16, held))
    try:
        yield
    finally:
        current_scope.reset(before)


# -- HTTP -------------------------------------------------------------------------------------------------------------


class Payments(BaseHTTPRequestHandler):
    """Charges once for each key."""

    def do_POST(self) -> None:
        server = cast(PaymentServer, self.server)
        key = self.headers["Idempotency-Key"]
        server.requests.append(key)
        server.charges.setdefault(key, self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class PaymentServer(ThreadingHTTPServer):
    """Keeps what it was asked and what it did."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Payments)
        self.requests: list[str] = []
        self.charges: dict[str, str] = {}


class Order(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, url: str) -> None:
        self.charge(url)
        self.charge(url)

    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def charge(self, url: str) -> None:
        for suffix in ("", "shipping"):
            with urlopen(Request(url, data=f"5 {suffix}".encode(), headers=idempotency_headers(suffix))):
                pass
        if context().attempt == 1:
            raise ConnectionError("lost after the charge")


def test_a_repeated_request_has_the_same_key() -> None:
    """Two nodes with two requests each, and two attempts of each, are four charges."""
    with PaymentServer() as server:
        serving = Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            with inline():
                Order()(f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            serving.join()
    assert (len(server.requests), sorted(server.charges.values())) == (8, ["5 ", "5 ", "5 shipping", "5 shipping"])


@pytest.mark.parametrize("suffix", ["two words", "line\r\nSet-Cookie: x", "ü", "\x7f", 3])
def test_a_suffix_must_fit_into_a_header(suffix: Any) -> None:
    """What would end a header, or could not be sent, is refused by name."""
    with attempt(1), pytest.raises(ValueError, match=r"^suffix must be a string of visible ASCII"):
        idempotency_headers(suffix)


def test_there_is_no_key_outside_of_nodes() -> None:
    """Neither for a request nor for a row."""
    with pytest.raises(NotInNode):
        idempotency_headers()
    with pytest.raises(NotInNode):
        upsert(cast(Any, None), "bookings", {})


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Runs one server for all tests of this module."""
    with postgresql() as running:
        yield running


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connects, with an empty table `bookings`."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bookings")
        connection.execute(
            "CREATE TABLE bookings (idempotency_key text PRIMARY KEY, fencing_token bigint NOT NULL, amount int)"
        )
        yield connection


def amounts(database: psycopg.Connection[Any]) -> list[tuple[int, int]]:
    """Gives token and amount of each row."""
    return database.execute("SELECT fencing_token, amount FROM bookings ORDER BY idempotency_key").fetchall()


def test_the_latest_holder_wins(database: psycopg.Connection[Any]) -> None:
    """A larger token, or the same again, writes; a smaller one changes nothing and is told so."""
    applied = []
    for token, amount in ((7, 1), (7, 2), (9, 3), (8, 4)):
        with attempt(token):
            applied.append(upsert(database, "bookings", {"amount": amount}))
    assert (applied, amounts(database)) == ([True, True, True, False], [(9, 3)])


def test_a_stale_holder_that_waits_for_the_row_changes_nothing(url: str, database: psycopg.Connection[Any]) -> None:
    """Both write at once: who waits for the other's commit is judged by what was committed."""
    applied = []

    def write_late() -> None:
        with psycopg.connect(url) as stale, attempt(5):
            applied.append(upsert(stale, "bookings", {"amount": 5}))

    with psycopg.connect(url) as holder, attempt(6):
        upsert(holder, "bookings", {"amount": 6})
        late = Thread(target=write_late)
        late.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while database.execute(waiting).fetchone() == (0,):
            assert late.is_alive()
    late.join()
    assert (applied, amounts(database)) == ([False], [(6, 6)])


def test_nodes_and_suffixes_have_rows_of_their_own(database: psycopg.Connection[Any]) -> None:
    """A row belongs to a node and a suffix; a row may be no more than its guard."""
    with attempt(9):
        assert upsert(database, "bookings", {"amount": 1})
        assert upsert(database, "bookings", {}, suffix="fee")
    with attempt(3, OTHER):
        assert upsert(database, ("public", "bookings"), {"amount": 3})
    assert amounts(database) == [(9, 1), (9, None), (3, 3)]


def test_an_async_connection_does_the_same(url: str, database: psycopg.Connection[Any]) -> None:
    """`upsert_async` tells the same of newer and stale holders."""

    async def write(token: int) -> bool:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            with attempt(token):
                return await upsert_async(connection, "bookings", {"amount": token})

    assert [asyncio.run(write(token)) for token in (7, 9, 8)] == [True, True, False]
    assert amounts(database) == [(9, 9)]


def test_names_are_quoted(database: psycopg.Connection[Any]) -> None:
    """Whatever a name holds, it is no more than a name."""
    names = ('odd"; DROP TABLE bookings; --', "the key", "%s", "Amount {0}")
    table, key, token, amount = map(Identifier, names)
    database.execute(SQL("DROP TABLE IF EXISTS {}").format(table))
    database.execute(SQL("CREATE TABLE {} ({} text UNIQUE, {} bigint, {} int)").format(table, key, token, amount))
    with attempt(1):
        assert upsert(database, names[0], {names[3]: 5}, key_column=names[1], token_column=names[2])
    assert database.execute(SQL("SELECT {}, {} FROM {}").format(token, amount, table)).fetchall() == [(1, 5)]


@pytest.mark.parametrize(
    ("table", "values", "complaint"),
    [
        ("", {}, "'' is no name of a schema, table or column"),
        ("bookings", {"": 1}, "'' is no name"),
        ("bookings", {3: 1}, "3 is no name"),
        ("bookings", {"fencing_token": 1}, "'idempotency_key' and 'fencing_token' must be two, and not among"),
    ],
)
def test_names_that_are_none_are_refused(table: str, values: Mapping[str, object], complaint: str) -> None:
    """Before anything is sent."""
    with attempt(1), pytest.raises(ValueError, match=complaint):
        upsert(cast(Any, None), table, values)


def test_without_psycopg_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported where it is used, so everything else works without."""
    monkeypatch.setitem(sys.modules, "psycopg.sql", None)
    with attempt(1):
        assert list(idempotency_headers()) == ["Idempotency-Key"]
        with pytest.raises(ImportError, match=r"pip install 'dagorama\[postgresql\]'"):
            upsert(cast(Any, None), "bookings", {"amount": 1})
