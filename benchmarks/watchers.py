"""What it costs to be looked at: CPU time of broker and workers while they are busy, with metrics, traces and pages.

Where nobody looks, that is all off and costs nothing: `tests/unit/host/test_unwatched.py` counts the calls.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

import click
import httpx

from benchmarks.cpu import cpu_s
from benchmarks.graphs import FanOut
from benchmarks.measure import as_one_object, in_folder, tell
from benchmarks.page import served
from dagorama import launch_workers
from dagorama_broker.launch import launch_broker

#: A browser fetches what it shows again no more often.
REFRESH_S = 0.4
#: Nodes of the instance that warms up workers and page.
WARM = 200


class Case(NamedTuple):
    """A way of being looked at."""

    name: str
    #: The broker has metrics.
    metrics: bool = False
    #: The workers send traces.
    traces: bool = False
    #: Browsers read the stream of changes.
    watched: bool = False
    #: They also fetch the list of instances again, as the page does in them.
    shown: bool = False


CASES = (
    Case("alone"),
    Case("metrics", metrics=True),
    Case("traces", traces=True),
    Case("watched", watched=True),
    Case("shown", watched=True, shown=True),
)


@click.command()
@as_one_object
@click.option("--nodes", default=5_000, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--browsers", default=20, show_default=True, type=click.IntRange(min=1))
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(min=1), help="Of all, for medians.")
@click.option("--only", multiple=True, type=click.Choice([case.name for case in CASES]), help="Beside `alone`.")
@in_folder
def watchers(
    as_json: bool, nodes: int, rounds: int, browsers: int, repeats: int, only: tuple[str, ...], folder: Path
) -> None:
    """Metrics, traces and open pages on a busy broker: how much of a core all takes alone, and so."""
    cases = [case for case in CASES if not only or case.name in ("alone", *only)]
    numbers = measure(cases, nodes, rounds, browsers, repeats, folder)
    tell(numbers, {"nodes": nodes, "rounds": rounds, "browsers": browsers, "repeats": repeats}, as_json=as_json)


def measure(cases: list[Case], nodes: int, rounds: int, browsers: int, repeats: int, folder: Path) -> dict[str, float]:
    """Return what each case costs, in the median of the repeats.

    `extra_percent` is what the broker takes of a core beside what as many nodes cost it alone.
    """
    found: dict[str, list[Cost]] = {case.name: [] for case in cases}
    for _ in range(repeats):  # one after the other, so that a machine that gets slower does so for all
        for case in cases:
            with TemporaryDirectory(dir=folder) as data:
                found[case.name].append(busy(case, nodes, rounds, browsers, f"sqlite:///{data}/broker.db"))
    numbers: dict[str, float] = {}
    for name, costs in found.items():
        for part in Cost._fields:
            numbers[f"{name}_{part}"] = statistics.median(getattr(cost, part) for cost in costs)
        alone_percent = numbers["alone_broker_us_per_node"] * numbers[f"{name}_nodes_per_s"] / 1e4
        numbers[f"{name}_extra_percent"] = numbers[f"{name}_broker_percent"] - alone_percent
    del numbers["alone_extra_percent"]
    return numbers


class Cost(NamedTuple):
    """The cost of a case: percents of a core, and microseconds of CPU time."""

    nodes_per_s: float
    broker_percent: float
    page_percent: float
    broker_us_per_node: float
    worker_us_per_node: float


def busy(case: Case, nodes: int, rounds: int, browsers: int, storage: str) -> Cost:
    """Run nodes, and return what that costs."""
    settings = {"DAGORAMA_METRICS_PORT": "0"} if case.metrics else {}
    with (
        launch_broker(port=0, storage=storage, environment=settings) as broker,
        traced() if case.traces else setting({}),
        launch_workers(2) as workers,
        looked_at(browsers if case.watched else 0, case.shown) as page,
    ):
        run(WARM)
        parts = [[broker.process.pid], [] if page is None else [page], [each.pid for each in workers if each.pid]]
        before = [sum(map(cpu_s, pids)) for pids in parts]
        began_at = monotonic()
        for _ in range(rounds):
            run(nodes)
        took_s = monotonic() - began_at
        broker_s, page_s, worker_s = (sum(map(cpu_s, pids)) - at for pids, at in zip(parts, before, strict=True))
    count = nodes * rounds
    return Cost(
        nodes_per_s=count / took_s,
        broker_percent=broker_s / took_s * 100,
        page_percent=page_s / took_s * 100,
        broker_us_per_node=broker_s / count * 1e6,
        worker_us_per_node=worker_s / count * 1e6,
    )


def run(nodes: int) -> None:
    """Run an instance to its end."""
    instance, _ = FanOut()(nodes)
    instance.result(timeout=600)


@contextmanager
def setting(variables: Mapping[str, str]) -> Iterator[None]:
    """Have variables in the environment for a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def traced() -> Iterator[None]:
    """Have processes that start in a block send traces, to a receiver that drops them."""

    class Sink(BaseHTTPRequestHandler):
        """Takes whatever comes."""

        def do_POST(self) -> None:
            """Drop it."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with setting({"DAGORAMA_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": url}):
            yield
        server.shutdown()


@contextmanager
def looked_at(browsers: int, refreshes: bool) -> Iterator[int | None]:
    """Have browsers look; give the id of the page's process, None for none."""
    if not browsers:
        yield None
        return
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        with served() as page:
            looking = pool.submit(asyncio.run, look(page.url, browsers, refreshes, over))
            yield page.pid
            over.set()
        looking.result()


async def look(url: str, browsers: int, refreshes: bool, over: Event) -> None:
    """Look until the page has gone; raise where that is before it is over, as then nobody has looked from there on."""
    try:
        async with (
            httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(browsers):
                group.create_task(_browser(client, refreshes))
    except* httpx.TransportError:
        if not over.is_set():
            raise


async def _browser(client: httpx.AsyncClient, refreshes: bool) -> None:
    """Read the stream of changes, and fetch the list again after one, as often as the page does."""
    fetched_at = 0.0
    async with client.stream("GET", "/live") as stream:
        stream.raise_for_status()
        async for line in stream.aiter_lines():
            if refreshes and line.startswith("event: change") and monotonic() - fetched_at > REFRESH_S:
                fetched_at = monotonic()
                answer = await client.get("/instances", headers={"HX-Request": "true"})
                answer.raise_for_status()
    raise httpx.RemoteProtocolError("the page has ended the stream")
