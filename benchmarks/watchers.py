"""What pages that are open cost the broker: its CPU time while it is busy, with and without browsers that look."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from time import monotonic

import click
import httpx

from benchmarks.cpu import cpu_s
from benchmarks.graphs import FanOut
from dagorama import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker

#: A browser fetches what it shows again no more often.
REFRESH_S = 0.4
#: Nodes of the instance that warms up workers and page.
WARM = 200


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in the last line.")
@click.option("--nodes", default=5_000, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--browsers", default=20, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--folder",
    default=gettempdir(),
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the broker keeps its file.",
)
def watchers(as_json: bool, nodes: int, rounds: int, browsers: int, folder: Path) -> None:
    """Pages that are open on a busy broker: how much of a core the broker takes alone, watched, and shown."""
    numbers = measure(nodes, rounds, browsers, folder)
    if as_json:
        click.echo(json.dumps({"nodes": nodes, "rounds": rounds, "browsers": browsers} | numbers))
        return
    for name, number in numbers.items():
        click.echo(f"{name}: {number:.1f}")


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
    command = [sys.executable, "-m", "dagorama", "ui", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3].rstrip("/,")
        thread = threading.Thread(target=asyncio.run, args=(_look(url, browsers, refreshes),))
        thread.start()
        try:
            yield process.pid
        finally:
            process.terminate()  # which ends the streams
            thread.join()


async def _look(url: str, browsers: int, refreshes: bool) -> None:
    """Look until the page has gone."""
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        looking = [_browser(client, url, refreshes) for _ in range(browsers)]
        for ended in await asyncio.gather(*looking, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, httpx.TransportError):
                raise ended


async def _browser(client: httpx.AsyncClient, url: str, refreshes: bool) -> None:
    """Read the stream of changes, and fetch the list again after one, as often as the page does."""
    fetched_at = 0.0
    async with client.stream("GET", f"{url}/live") as stream:
        async for line in stream.aiter_lines():
            if refreshes and line.startswith("event: change") and monotonic() - fetched_at > REFRESH_S:
                fetched_at = monotonic()
                await client.get(f"{url}/instances", headers={"HX-Request": "true"})
