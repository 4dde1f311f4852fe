"""The page in this process, without a port and without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from dagorama.testing import in_process_broker
from dagorama.ui.app import make_app
from dagorama.ui.settings import UISettings

TOKEN = "a-token-of-the-tests"
HOME = "http://localhost:8080"

MakeBrowser = Callable[..., httpx.AsyncClient]


@pytest.fixture
def browser() -> MakeBrowser:
    """Give a way to make clients, which keep cookies: of a page without a token, or with the settings given."""

    def make(home: str = HOME, **settings: object) -> httpx.AsyncClient:
        app = make_app(UISettings(**settings))  # type: ignore[arg-type]  # the test's
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=home, headers={"Accept": "text/html"})

    return make


@pytest.fixture
def client(browser: MakeBrowser) -> httpx.AsyncClient:
    """Give a browser."""
    return browser()


@pytest.fixture
def broker() -> Iterator[None]:
    """Have a test ask a broker of its own."""
    with in_process_broker():
        yield
