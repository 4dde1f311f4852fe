"""What pages that are open cost the broker: its CPU time while it is busy, with and without browsers that look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic

import click
import httpx

from benchmarks.cpu import cpu_s
from benchmarks.graphs import FanOut
from benchmarks.measure import as_one_object, in_folder, tell
from benchmarks.page import served
from dagorama import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker

#: A browser fetches what it shows again no more often.
REFRESH_S = 0.4
#: Nodes of the instance that warms up workers and page.
WARM = 200


@click.command()
@as_one_object
@click.option("--nodes", default=5_000, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--browsers", default=20, show_default=True, type=click.IntRange(min=1))
@in_folder
def watchers(as_json: bool, nodes: int, rounds: int, browsers: int, folder: Path) -> None:
    """Pages that are open on a busy broker: how much of a core the broker takes alone, watched, and shown."""
    numbers = measure(nodes, rounds, browsers, folder)
    tell(numbers, {"nodes": nodes, "rounds": rounds, "browsers": browsers}, as_json=as_json)


def measure(nodes: int, rounds: int, browsers: int, folder: Path) -> dict[str, float]:
    """Return how much of a core the broker takes while nodes go through it: as it is, and with browsers that look.

    Of these some only read the stream of changes, and the others also fetch the list of instances again, as the page
    does in them.
    """
    numbers: dict[str, float] = {}
    for name, count, refreshes in (("alone", 0, False), ("watched", browsers, False), ("shown", browsers, True)):
        with TemporaryDirectory(dir=folder) as data:
            share, page_share, per_s = _busy(nodes, rounds, count, refreshes, f"sqlite:///{data}/broker.db")
        numbers |= {f"{name}_broker_percent": share, f"{name}_page_percent": page_share, f"{name}_nodes_per_s": per_s}
        numbers[f"{name}_broker_us_per_node"] = share * 1e4 / per_s
    return numbers


def _busy(nodes: int, rounds: int, browsers: int, refreshes: bool, storage: str) -> tuple[float, float, float]:
    """Return how much of a core broker and page take, in percent, and how many nodes went through in a second."""
    with launch_broker(port=0, storage=storage) as broker, launch_workers(2), _looked_at(browsers, refreshes) as page:
        _run(WARM)
        before = _spent(broker, page)
        began_at = monotonic()
        for _ in range(rounds):
            _run(nodes)
        took_s = monotonic() - began_at
        broker_s, page_s = (after - at for after, at in zip(_spent(broker, page), before, strict=True))
    return broker_s / took_s * 100, page_s / took_s * 100, nodes * rounds / took_s


def _run(nodes: int) -> None:
    instance, _ = FanOut()(nodes)
    instance.result(timeout=600)


def _spent(broker: LaunchedBroker, page: int | None) -> tuple[float, float]:
    return cpu_s(broker.process.pid), 0.0 if page is None else cpu_s(page)


@contextmanager
def _looked_at(browsers: int, refreshes: bool) -> Iterator[int | None]:
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
