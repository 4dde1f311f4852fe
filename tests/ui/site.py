"""A broker, workers and the page, as processes, for tests that look at them with a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from dagorama import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
#: Waiting for anything ends after so long: a machine may be slow.
WAIT_S = 90.0


@dataclass
class Site:
    """A page with its broker and workers."""

    url: str
    folder: Path
    broker: LaunchedBroker
    storage: str
    _stack: ExitStack = field(repr=False)

    def at(self, path: str) -> str:
        """Return the address of a page."""
        return self.url + path.lstrip("/")

    def kill_broker(self) -> None:
        """End the broker as a power cut would."""
        self.broker.process.kill()
        self.broker.process.wait()

    def start_broker(self) -> None:
        """Start the broker again, at the same address with the same storage."""
        self.broker = self._stack.enter_context(launch_broker(port=self.broker.port, storage=self.storage))


@contextmanager
def serve(folder: Path, *, workers: int = 2) -> Iterator[Site]:
    """Run a broker, workers and the page for a block; the environment of this process names the broker meanwhile."""
    storage = f"sqlite:///{folder}/broker.db"
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=storage))
        stack.enter_context(launch_workers(workers))
        url = stack.enter_context(served())
        yield Site(url, folder, broker, storage, stack)


@contextmanager
def served() -> Iterator[str]:
    """Run the page for a block; return its address."""
    ready_read, ready_write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "dagorama", "ui", "--port", "0", "--ready-fd", str(ready_write)], pass_fds=(ready_write,)
    )
    os.close(ready_write)
    try:
        with os.fdopen(ready_read) as ready:
            kind, _, url = ready.read().partition(" ")
        assert kind == "ready", url
        yield url.strip()
    finally:
        process.terminate()
        process.wait(WAIT_S)


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Run a browser for a block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def until(tells: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not tells():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.05)


def is_live(page: Page) -> None:
    """Wait until a page hears of what happens."""
    page.wait_for_selector("html[data-live=live]", timeout=WAIT_S * 1000, state="attached")
