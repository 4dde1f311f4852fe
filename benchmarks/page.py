"""How soon the page shows a large instance: the looks that it rests on, its graph and timeline, and in a browser.

A broker with a file, two workers and the page run as processes of their own, as they do in production.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple
from urllib.request import urlopen

from benchmarks import graphs
from dagorama import Instance, attach
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker

CHROMIUM = Path("/usr/bin/chromium")


def measure(nodes: int, rounds: int, folder: Path) -> dict[str, float]:
    """Return the median milliseconds of each, for an instance of so many nodes that has completed."""
    with (
        TemporaryDirectory(dir=folder, prefix="dagorama-bench-") as directory,
        launch_broker(port=0, storage=f"sqlite:///{directory}/broker.sqlite3"),
        launch_workers(2),
        served() as site,
    ):
        started, _ = graphs.FanOut()(nodes)
        started.result()
        instance = attach(started.instance_id)
        page = f"{site.url}instances/{instance.id}"
        looks: dict[str, Callable[[], object]] = {
            "shape_ms": instance.shape,
            "times_ms": instance.times,
            "graph_ms": lambda: (read(f"{page}/graph"), read(f"{page}/graph.json")),
            "timeline_ms": lambda: (read(f"{page}/timeline"), read(f"{page}/timeline.json")),
        }
        numbers = {name: statistics.median(timed(look) for _ in range(rounds)) for name, look in looks.items()}
        numbers["held_up_ms"] = held_up(instance, rounds)
        if CHROMIUM.exists() and find_spec("playwright"):
            numbers |= in_a_browser(page, rounds)
    return numbers


def timed(look: Callable[[], object]) -> float:
    """Return how many milliseconds a call takes."""
    began_at = perf_counter()
    look()
    return (perf_counter() - began_at) * 1000


def read(url: str) -> object:
    """Return what an address gives; what is no JSON as it is."""
    with urlopen(url) as answer:
        body = answer.read()
    return json.loads(body) if url.endswith(".json") else body


def held_up(instance: Instance, rounds: int) -> float:
    """Return the most that a small look at the broker takes while it tells the shape of the instance."""
    takes = 0.0
    for _ in range(rounds):
        telling = threading.Thread(target=instance.shape)
        telling.start()
        while telling.is_alive():
            takes = max(takes, timed(instance.done))
        telling.join()
    return takes


def in_a_browser(page: str, rounds: int) -> dict[str, float]:
    """Return the median milliseconds from the address to the drawing, in a browser that has seen the page before."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    numbers = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = browser.new_page()
        for name, drawn in {"graph": "[data-vertices]", "timeline": "[data-bars]"}.items():

            def show(name: str = name, drawn: str = drawn) -> None:
                tab.goto(f"{page}/{name}")
                tab.wait_for_selector(f"#{name}{drawn}", timeout=60_000)

            show()
            numbers[f"browser_{name}_ms"] = statistics.median(timed(show) for _ in range(rounds))
        browser.close()
    return numbers


class Served(NamedTuple):
    """The page, as a process."""

    url: str
    pid: int


@contextmanager
def served() -> Iterator[Served]:
    """Run the page for a block, which is given when it answers."""
    ready_read, ready_write = os.pipe()
    command = [sys.executable, "-m", "dagorama", "ui", "--port", "0", "--ready-fd", str(ready_write)]
    process = subprocess.Popen(command, pass_fds=(ready_write,), stdout=subprocess.DEVNULL)
    os.close(ready_write)
    try:
        with os.fdopen(ready_read) as ready:
            kind, _, url = ready.read().partition(" ")
        if kind != "ready":
            raise RuntimeError(f"the page has not started: {url}")
        yield Served(url.strip(), process.pid)
    finally:
        process.terminate()
        process.wait()
