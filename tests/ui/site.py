"""A broker, workers and the page, as processes, for tests that look at them with a real browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import Process
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from dagorama import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.ports import reserved
from tests.timing import WAIT_S, until

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


@dataclass
class Site:
    """A page with its broker and workers."""

    url: str
    folder: Path
    broker: LaunchedBroker
    storage: str
    workers: list[Process] = field(repr=False)
    _page: subprocess.Popen[bytes] = field(repr=False)
    _stack: ExitStack = field(repr=False)

    def at(self, path: str) -> str:
        """Return the address of a page."""
        return self.url + path.lstrip("/")

    def kill_broker(self) -> None:
        """End the broker as a power cut would."""
        self.was_away = True
        self.broker.process.kill()
        self.broker.process.wait()

    def kill_worker(self) -> None:
        """End a worker that may run something as its machine would end; another one takes its place by itself."""
        pid = self.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.workers[0].pid != pid)

    def kill_page(self) -> None:
        """End the page as a power cut would."""
        self._page.kill()
        self._page.wait()
        self._stack.enter_context(reserved(urlsplit(self.url).port or 0))  # nobody else gets it meanwhile

    def start_page(self) -> None:
        """Start the page again, at the same address."""
        port = urlsplit(self.url).port
        assert port is not None
        _, self._page = self._stack.enter_context(page_process(port))

    def start_broker(self) -> None:
        """Start the broker again, at the same address with the same storage."""
        self.broker = self._stack.enter_context(launch_broker(port=self.broker.port, storage=self.storage))


@contextmanager
def serve(folder: Path, *, workers: int = 2) -> Iterator[Site]:
    """Run a broker, workers and the page for a block; the environment of this process names the broker meanwhile."""
    storage = f"sqlite:///{folder}/broker.db"
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=storage))
        processes = stack.enter_context(launch_workers(workers)) if workers else []
        url, page = stack.enter_context(page_process())
        yield Site(url, folder, broker, storage, processes, page, stack)


@contextmanager
def page_process(port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the page for a block; return its address and its process."""
    ready_read, ready_write = os.pipe()
    command = [sys.executable, "-m", "dagorama", "ui", "--port", str(port), "--ready-fd", str(ready_write)]
    process = subprocess.Popen(command, pass_fds=(ready_write,))
    os.close(ready_write)
    try:
        with os.fdopen(ready_read) as ready:
            kind, _, url = ready.read().partition(" ")
        assert kind == "ready", url
        yield url.strip(), process
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


def is_live(page: Page) -> None:
    """Wait until a page hears of what happens."""
    page.wait_for_selector("html[data-live=live]", timeout=WAIT_S * 1000, state="attached")
