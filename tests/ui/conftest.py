"""A site and a browser for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.timing import WAIT_S
from tests.ui.site import Site, launched_browser, serve


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser."""
    with launched_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a broker, two workers and the page."""
    with serve(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """Give a tab of a browser of its own; whatever it has on its console as an error fails the test."""
    context = browser.new_context(base_url=site.url)
    context.set_default_timeout(WAIT_S * 1000)
    page = context.new_page()
    problems: list[str] = []
    site.was_away = False
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    expected = ["Failed to load resource", *["Response Status Error Code 503"] * site.was_away]
    assert [problem for problem in problems if not any(each in problem for each in expected)] == []


@pytest.fixture
def gates(site: Site, tmp_path: Path) -> Path:
    """Give a folder for the files that nodes wait for."""
    return tmp_path
