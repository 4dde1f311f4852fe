"""The graph and the timeline in a real browser: they grow while one watches, and large ones are quick."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from dagorama.analysis.wording import lasting
from tests.timing import WAIT_S, least_s, until
from tests.ui.definitions import Stations
from tests.ui.drawn import Growing, Wide
from tests.ui.site import Site, is_live

expect.set_options(timeout=WAIT_S * 1000)

#: The objects of the pages' scripts, in the browser.
GRAPH, TIMELINE = "document.getElementById('graph').graph", "document.getElementById('timeline').timeline"
#: A fetch that is due after so long must not hold up what the reader asks for.
NEVER_MS = 3_600_000
#: The middle of a vertex on the canvas, by its label or name.
MIDDLE = f"""(wanted) => {{
  const {{camera, vertices}} = {GRAPH};
  const one = [...vertices.values()].find(({{label, name}}) => (label || name) === wanted);
  return [(one.x + one.width / 2) * camera.scale + camera.x, (one.y + one.height / 2) * camera.scale + camera.y];
}}"""
VERTICES = f"""() => [...{GRAPH}.vertices.values()].map(
  ({{name, label, state, goal}}) => ({{name: label || name, state, ...goal}}))"""
#: Whether nothing is on its way any more.
RESTS = f"() => ![...{GRAPH}.vertices.values()].some((one) => one.from) && !{GRAPH}.camera.goal"


def open_drawing(page: Page, instance_id: UUID, name: str) -> float:
    """Open the graph or the timeline of an instance; return how long it took until it was drawn."""
    began_at = time.monotonic()
    page.goto(f"/instances/{instance_id}/{name}")
    page.wait_for_selector(f"#{name}[data-{'vertices' if name == 'graph' else 'bars'}]")
    return time.monotonic() - began_at


def vertices(page: Page) -> dict[str, Any]:
    """Return the vertices where they are to be, by label or name."""
    return {one["name"]: one for one in page.evaluate(VERTICES)}


def test_a_graph_grows_while_one_watches(site: Site, page: Page, gates: Path) -> None:
    """Nodes come, change their states, and join, without a reload; what is there keeps its place."""
    instance, _ = Growing()(gates, 2)
    page.goto(f"/instances/{instance.instance_id}/graph")
    is_live(page)
    page.evaluate("window.isTheSame = true")
    drawing, items = page.locator("#graph"), page.locator("#graph [data-graph-list] > li")
    expect(drawing).to_have_attribute("data-vertices", "2")
    expect(items.nth(1).locator(".s-leased")).to_be_visible()
    before = vertices(page)
    assert before["entrypoint"]["state"] == "joining"
    (gates / "0").touch()
    expect(drawing).to_have_attribute("data-vertices", "3")
    expect(items.nth(1).locator(".s-joining")).to_be_visible()
    after = vertices(page)
    assert [(after[name]["x"], after[name]["y"]) for name in before] == [
        (one["x"], one["y"]) for one in before.values()
    ]
    (gates / "1").touch()
    (gates / "2").touch()
    expect(drawing).to_have_attribute("data-state", "completed")
    expect(items.locator(".s-completed")).to_have_count(4)
    assert page.evaluate("window.isTheSame")


@pytest.fixture(scope="module")
def wide(site: Site) -> UUID:
    """Give an instance of 20,000 nodes that has completed."""
    instance, _ = Wide()(10, 2000)
    instance.wait(timeout=120)
    return instance.instance_id


def test_a_large_graph_is_folded_and_opens_at_once(page: Page, wide: UUID) -> None:
    """It has few vertices with counts; a group shows 500 of its nodes, then the next 500; looking around is smooth."""
    # `python -m benchmarks page` has the time for 100,000 nodes. Reading all of these would take longer than this.
    assert least_s(lambda: open_drawing(page, wide, "graph"), 15.0) < 15.0
    told = vertices(page)
    assert set(told) == {"entrypoint", "shard", "total", "row"}
    item = page.locator("#graph [data-graph-list] > li", has=page.get_by_role("link", name="row", exact=True))
    expect(item.locator(".under").first).to_contain_text("20\u202f000 completed")
    page.evaluate(f"{GRAPH}.fetching.later({NEVER_MS})")
    item.get_by_role("button", name="Open row").click()
    cells = item.locator("ol a")
    expect(cells).to_have_count(500)
    expect(cells.first).to_have_text("row 0")
    item.get_by_role("button", name="Next 500").click()
    expect(cells.first).to_have_text("row 500")
    assert vertices(page)["row"]["height"] > told["row"]["height"]
    page.locator("#graph canvas").hover()
    before = page.evaluate(f"{GRAPH}.frames")
    for _ in range(20):
        page.mouse.wheel(0, -40)
        page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    assert page.evaluate(f"{GRAPH}.frames") >= before + 10
    page.keyboard.press("0")
    until(lambda: page.evaluate(f"{GRAPH}.camera.follows"))


def test_keys_are_enough(site: Site, page: Page) -> None:
    """The list has all that is drawn, and a way to each node; what has the focus is lit up on the canvas."""
    instance, _ = Stations()(["north", "south"])
    instance.wait(timeout=WAIT_S)
    open_drawing(page, instance.instance_id, "graph")
    page.keyboard.press("/")
    page.keyboard.type("south")
    expect(page.locator("#graph [data-graph-found]")).to_have_text("1 found")
    page.keyboard.press("Escape")
    link = page.locator("#graph [data-graph-list] a:visible", has_text="south")
    link.focus()
    assert page.evaluate(f"{GRAPH}.vertices.get({GRAPH}.over).label") == "south"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("south")


def test_a_click_opens_a_node(site: Site, page: Page) -> None:
    """On its card in the graph, and anywhere near its bar in the timeline."""
    instance, _ = Stations()(["north", "south"])
    instance.wait(timeout=WAIT_S)
    open_drawing(page, instance.instance_id, "graph")
    until(lambda: page.evaluate(RESTS))
    x, y = page.evaluate(MIDDLE, "north")
    page.locator("#graph canvas").click(position={"x": x, "y": y})
    expect(page.locator("h1")).to_contain_text("north")
    open_drawing(page, instance.instance_id, "timeline")
    expect(page.locator("#timeline")).to_have_attribute("data-begun", "4")
    expect(page.locator("#timeline [data-timeline-path] a").first).to_have_text("entrypoint")
    # The first lane of the first worker, at the end of the axis: its last bar is the nearest.
    width = page.evaluate(f"{TIMELINE}.width")
    page.locator("#timeline canvas").click(position={"x": width - 12, "y": 46})
    page.wait_for_url("**/nodes/*")


def test_a_timeline_goes_on_and_is_zoomed(site: Site, page: Page, gates: Path, wide: UUID) -> None:
    """Bars of a running instance come as nodes begin; of very many there are as many as fit, and zooming shows each."""
    instance, _ = Growing()(gates, 1)
    page.goto(f"/instances/{instance.instance_id}/timeline")
    drawing = page.locator("#timeline")
    expect(drawing).to_have_attribute("data-begun", "2")
    (gates / "0").touch()
    expect(drawing).to_have_attribute("data-begun", "3")
    (gates / "1").touch()
    expect(drawing).to_have_attribute("data-state", "completed")
    open_drawing(page, wide, "timeline")
    expect(drawing).to_have_attribute("data-begun", "20022")
    assert page.evaluate(f"{TIMELINE}.bars.length") < 20_000
    whole = page.evaluate(f"{TIMELINE}.right - {TIMELINE}.left")
    page.evaluate(f"{TIMELINE}.fetching.later({NEVER_MS})")
    for _ in range(12):
        page.keyboard.press("+")
    assert page.evaluate(f"{TIMELINE}.right - {TIMELINE}.left") < whole / 50
    until(lambda: page.evaluate(f"!{TIMELINE}.fetching.isDue && !{TIMELINE}.fetching.isBusy"))
    page.keyboard.press("0")
    until(lambda: page.evaluate(f"{TIMELINE}.follows && !{TIMELINE}.fetching.isBusy"))


def test_durations_are_told_as_elsewhere(page: Page) -> None:
    """The timeline words a duration as the other pages and the terminal do."""
    seconds = [0.0, 0.00045, 0.0517, 0.5, 0.9996, 1.25, 59.96, 99.9, 119.7, 3599.7, 3661.0]
    page.goto("/workers")
    told = page.evaluate(
        "async (seconds) => seconds.map((await import('/static/js/timeline-draw.js')).lasting)", seconds
    )
    assert told == [lasting(each) for each in seconds]
