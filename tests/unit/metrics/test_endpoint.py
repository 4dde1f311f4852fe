"""The HTTP server of metrics and health, and a broker's health behind it."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dagorama.metrics.endpoint import Endpoint
from dagorama.metrics.faults import EndpointTaken, NoPrometheus
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.logs.store import LogStore
from dagorama_broker.metrics import serving
from dagorama_broker.metrics.serving import BrokerMetrics
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.timing import WAIT_S


class Stand:
    """A process that is looked at: it says what the test wants."""

    problem = ""
    unready = "loading"

    def why_not_live(self) -> str:
        return self.problem

    def why_not_ready(self) -> str:
        return self.unready

    def metrics(self, accept: str) -> tuple[bytes, str]:
        if self.problem:
            raise TimeoutError
        return b"a 1\n", "text/plain"


@pytest.fixture
def stand() -> Stand:
    """Give the process."""
    return Stand()


@pytest.fixture
def endpoint(stand: Stand) -> Iterator[Endpoint]:
    """Give a server of it."""
    endpoint = Endpoint("stand", stand, host="localhost", port=0)
    endpoint.start()
    yield endpoint
    endpoint.close()


def ask(endpoint: Endpoint, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return status and body of an answer."""
    connection = http.client.HTTPConnection("localhost", endpoint.port, timeout=WAIT_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_health_says_why_not(endpoint: Endpoint, stand: Stand) -> None:
    """It is 200 where all is well, else 503 with the reason."""
    assert (ask(endpoint, "/livez"), ask(endpoint, "/readyz")) == ((200, "ok\n"), (503, "loading\n"))
    stand.problem, stand.unready = "hangs", ""
    assert (ask(endpoint, "/livez"), ask(endpoint, "/readyz?verbose")) == ((503, "hangs\n"), (200, "ok\n"))
    assert ask(endpoint, "/metrics")[0] == 503


def test_the_version_is_json(endpoint: Endpoint) -> None:
    """It names the program and what runs it."""
    status, body = ask(endpoint, "/version")
    assert (status, sorted(json.loads(body))) == (200, ["program", "python", "version"])


def test_other_paths_and_methods_are_refused(endpoint: Endpoint) -> None:
    """A path that is none says which there are; nothing is taken."""
    status, body = ask(endpoint, "/")
    assert (status, "/metrics" in body) == (404, True)
    assert ask(endpoint, "/metrics", method="POST")[0] == 501
    assert ask(endpoint, "/livez", method="HEAD") == (200, "")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:9464", 200), ("[::1]:9464", 200), ("evil.example", 403), ("evil.example:80", 403)],
)
def test_a_name_that_was_led_here_is_refused_on_loopback(endpoint: Endpoint, host: str, status: int) -> None:
    """A page of another site cannot read what is served for this machine alone."""
    assert ask(endpoint, "/metrics", Host=host)[0] == status


def test_any_name_will_do_on_another_address(stand: Stand) -> None:
    """Who listens on all addresses may be called anything, as in a cluster."""
    endpoint = Endpoint("stand", stand, host="0.0.0.0", port=0)
    endpoint.start()
    assert ask(endpoint, "/metrics", Host="broker.example") == (200, "a 1\n")
    endpoint.close()


def test_a_port_that_is_taken_is_told(endpoint: Endpoint, stand: Stand) -> None:
    """The error names the address and the way out."""
    with pytest.raises(EndpointTaken, match=f"localhost:{endpoint.port}.*--metrics-port"):
        Endpoint("stand", stand, host="localhost", port=endpoint.port)


def test_without_prometheus_client_it_is_told_what_to_install(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra, before anything is listened on."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(NoPrometheus, match=r"dagorama\[metrics\]"):
        Endpoint("stand", stand, host="localhost", port=0)


def test_a_client_that_says_nothing_holds_up_no_other(endpoint: Endpoint) -> None:
    """Open connections are bounded, and each has a thread of its own."""
    silent = [socket.create_connection(("localhost", endpoint.port)) for _ in range(5)]
    assert ask(endpoint, "/livez")[0] == 200
    for connection in silent:
        connection.close()


def test_a_closed_endpoint_listens_no_more(endpoint: Endpoint) -> None:
    """Its port is free at once, and its thread ends."""
    assert ask(endpoint, "/livez")[0] == 200
    endpoint.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("localhost", endpoint.port))
    endpoint._thread.join(WAIT_S)
    assert not endpoint._thread.is_alive()


def test_a_broker_tells_that_it_loads_runs_drains_and_fails(tmp_path: Path) -> None:
    """Nothing is to be sent to a broker that is not through with loading, or is about to end."""

    async def live() -> list[str]:
        host = Host(MemoryJournal(), settings=Settings(), rng=Random(0))
        logs = Logs(LogStore(tmp_path / "logs.db"), is_running=lambda _: True, now=host.now)
        metrics = BrokerMetrics(host, logs, Values(MemoryStore()), address=("localhost", 0))
        metrics.begin()
        told = [metrics.why_not_ready()]
        await host.start()
        running = asyncio.create_task(host.run())
        metrics.is_loaded()
        told.append(metrics.why_not_ready())
        host.stop()
        await running
        told.append(metrics.why_not_ready())
        metrics.drain()
        told.append(metrics.why_not_ready())
        metrics.endpoint.close()
        await logs.close()
        return told

    assert asyncio.run(live()) == ["loading", "", "failing", "draining"]


def test_a_broker_whose_event_loop_hangs_is_not_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers all the same, and says so; once the loop goes on, all is well again."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    monkeypatch.setattr(serving, "LIVE_S", 0.05)
    monkeypatch.setattr(serving, "SCRAPE_S", 0.05)
    hangs, go_on = threading.Event(), threading.Event()
    told: list[tuple[int, str]] = []

    def look(endpoint: Endpoint) -> None:
        hangs.wait(WAIT_S)
        told.extend([ask(endpoint, "/livez"), ask(endpoint, "/metrics")])
        go_on.set()

    async def live() -> tuple[int, str]:
        host = Host(MemoryJournal(), settings=Settings(), rng=Random(0))
        logs = Logs(LogStore(None), is_running=lambda _: True, now=host.now)
        metrics = BrokerMetrics(host, logs, Values(MemoryStore()), address=("localhost", 0))
        metrics.begin()
        await host.start()
        metrics.is_loaded()
        looking = asyncio.create_task(asyncio.to_thread(look, metrics.endpoint))
        await asyncio.sleep(0)
        hangs.set()
        go_on.wait(WAIT_S)  # in the loop's own thread
        await looking
        monkeypatch.setattr(serving, "LIVE_S", WAIT_S)
        alive = await asyncio.to_thread(ask, metrics.endpoint, "/livez")
        metrics.endpoint.close()
        await logs.close()
        return alive

    assert asyncio.run(live()) == (200, "ok\n")
    assert [status for status, _ in told] == [503, 503]
    assert "event loop" in told[0][1]
