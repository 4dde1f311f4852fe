"""Broker, workers and page are killed again and again while something runs, and the page comes back to the truth.

`DAGORAMA_TEST_KILLS` says how often, and `DAGORAMA_TEST_TRUTH_S` within how many seconds: 5 on a machine that is calm.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect

from dagorama import attach
from tests.timing import WAIT_S, until
from tests.ui.definitions import Gated
from tests.ui.site import Site, is_live, serve

KILLS = min(int(os.environ.get("DAGORAMA_TEST_KILLS", "3")), 50)
TRUTH_S = float(os.environ.get("DAGORAMA_TEST_TRUTH_S", WAIT_S))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a site whose parts may be killed."""
    with serve(tmp_path) as site:
        yield site


def kill(site: Site, part: str) -> None:
    """Kill a part of the site, and have it started again."""
    if part == "broker":
        site.kill_broker()
        site.start_broker()
    elif part == "page":
        site.kill_page()
        site.start_page()
    else:
        site.kill_worker()


def test_the_page_comes_back_to_the_truth(site: Site, browser: Browser, tmp_path: Path) -> None:
    """Whatever was killed, without reload: the numbers of nodes, the node itself, the list, and the workers."""
    gates = tmp_path / "gates"
    gates.mkdir()
    names = [f"step {number}" for number in range(KILLS + 2)]
    instance, _ = Gated()(gates, names)
    context = browser.new_context(base_url=site.url)
    context.set_default_timeout(WAIT_S * 1000)
    nodes, listed, workers = (context.new_page() for _ in range(3))
    nodes.goto(f"/instances/{instance.instance_id}/nodes?function=tests.ui.definitions:Gated.step")  # 50 fit on a page
    listed.goto("/instances")
    workers.goto("/workers")
    for page in (nodes, listed, workers):
        is_live(page)
        page.evaluate("window.isTheSame = true")
    took_s: dict[str, float] = {}
    for number in range(KILLS):
        part = ("broker", "worker", "page")[number % 3]
        kill(site, part)
        (gates / names[number]).touch()
        (gates / f"{names[number]} ends").touch()
        until(partial(have_completed, instance.instance_id, number + 1))
        began_at = time.monotonic()
        shows(nodes, number + 1, names[number])
        row = listed.locator(f"tr[data-id='{instance.instance_id}']")
        expect(row).to_contain_text(f"{number + 1} /", timeout=left_ms(began_at))
        expect(workers.locator("tbody tr")).to_have_count(2, timeout=left_ms(began_at))
        took_s[part] = max(took_s.get(part, 0.0), time.monotonic() - began_at)
    print(f"the truth after {KILLS} kills: " + ", ".join(f"{part} {took:.1f} s" for part, took in took_s.items()))
    assert all(page.evaluate("window.isTheSame") for page in (nodes, listed, workers))
    context.close()


def have_completed(instance_id: UUID, count: int) -> bool:
    """Tell whether so many nodes of an instance have completed."""
    return attach(instance_id).status.counts.get("completed") == count


def shows(page: Page, completed: int, name: str) -> None:
    """Wait until a page shows how many nodes have completed, and that one has, and that it is live."""
    began_at = time.monotonic()
    expect(page.locator(".legend .s-completed .number")).to_have_text(str(completed), timeout=left_ms(began_at))
    row = page.locator("tr", has=page.get_by_role("link", name=name, exact=True))
    expect(row.locator("svg.mark.s-completed")).to_be_visible(timeout=left_ms(began_at))
    expect(page.locator(".link-word")).to_have_text("live", timeout=left_ms(began_at))
    expect(page.locator(".stale")).to_be_hidden(timeout=left_ms(began_at))


def left_ms(began_at: float) -> float:
    """Return how many milliseconds are left to show the truth."""
    return max(1.0, (began_at + TRUTH_S - time.monotonic()) * 1000)
