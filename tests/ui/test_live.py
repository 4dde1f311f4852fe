"""The page stays true by itself, and what is done on it is done."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from dagorama import attach, instance_options
from tests.timing import WAIT_S, until
from tests.ui.definitions import Gated, Stations
from tests.ui.site import Site, is_live

expect.set_options(timeout=WAIT_S * 1000)


def let(gates: Path, *names: str) -> None:
    """Let nodes go on."""
    for name in names:
        (gates / name).touch()


def test_a_node_changes_colour_without_reload(site: Site, page: Page, gates: Path) -> None:
    """Waiting, running, completed: the mark, the bar and the numbers."""
    instance, _ = Gated()(gates, ["one", "two", "three"])
    page.goto(f"/instances/{instance.instance_id}/nodes")
    is_live(page)
    page.evaluate("window.isTheSame = true")
    row = node_in(page, "one")
    expect(row.locator("svg.mark.s-leased")).to_be_visible()
    let(gates, "one", "one ends")
    expect(row.locator("svg.mark.s-completed")).to_be_visible()
    expect(page.locator(".legend .s-completed")).to_be_visible()
    let(gates, "two", "two ends", "three", "three ends")
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    assert page.evaluate("window.isTheSame")


def test_logs_follow(site: Site, page: Page, gates: Path) -> None:
    """A line is there soon after it was printed, once, on the page of the instance and of the node."""
    instance, _ = Gated()(gates, ["one"])
    page.goto(f"/instances/{instance.instance_id}/logs")
    expect(page.locator(".log")).to_contain_text("one has begun")
    let(gates, "one")
    expect(page.locator(".log")).to_contain_text("one goes on")
    let(gates, "one ends")
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    expect(page.locator("[data-follow]")).to_have_count(0)
    assert page.locator(".log .text").all_inner_texts() == ["one has begun", "one goes on"]
    page.locator(".log .from").first.click()
    expect(page.locator(".log")).to_contain_text("one goes on")


def test_an_instance_is_paused_and_cancelled(site: Site, page: Page, gates: Path) -> None:
    """Cancelling is asked about first; another tab hears of it."""
    instance, _ = Gated()(gates, ["one", "two"])
    page.goto(f"/instances/{instance.instance_id}")
    other = page.context.new_page()
    other.goto("/instances?state=running")
    is_live(other)
    row = other.locator(f"tr[data-id='{instance.instance_id}']")
    expect(row).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "running")
    page.get_by_role("button", name="Cancel…").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Cancel instance")).to_be_hidden()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel instance").click()
    expect(page.locator(".notice")).to_contain_text("Cancelled")
    expect(page.locator(".title .state")).to_have_attribute("data-state", "cancelled")
    expect(row).to_have_count(0)
    assert attach(instance.instance_id).state == "cancelled"


def test_a_failed_instance_is_retried_and_a_node_rerun(site: Site, page: Page, gates: Path) -> None:
    """The failure leads to its lines; mended, it goes on from there."""
    let(gates, "one", "one ends", "one fails")
    instance, _ = Gated()(gates, ["one"])
    page.goto(f"/instances/{instance.instance_id}")
    expect(page.locator(".failure .error")).to_contain_text("one was told to fail")
    page.get_by_role("link", name="Failures 1").click()
    expect(page.locator(".code")).to_contain_text("RuntimeError: one was told to fail")
    expect(page.locator(".log")).to_contain_text("one goes on")
    (gates / "one fails").unlink()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    (node,) = attach(instance.instance_id).nodes(function="step")
    page.goto(f"/instances/{instance.instance_id}/nodes/{node.id}")
    page.get_by_role("button", name="Rerun from here…").click()
    page.get_by_role("button", name="Rerun", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("runs again")
    expect(page.locator(".facts")).to_contain_text("value same since the rerun")


def test_an_instance_is_started_and_rerun_with_other_arguments(site: Site, page: Page) -> None:
    """By the form of its type hints, through a worker that has it; the history says so."""
    Stations()(["known"])[0].result(timeout=WAIT_S)  # a worker tells of what it has run
    page.goto("/start")
    is_live(page)
    page.get_by_role("link", name="Stations", exact=True).click()
    page.get_by_label("names").fill("no JSON")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".problem")).to_contain_text("names must be JSON")
    page.get_by_label("names").fill('["a.csv", "bad.csv"]')
    page.get_by_label("bad").fill("bad.csv")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "failed")
    page.locator(".failure a").first.click()
    page.get_by_role("button", name="Rerun from here…").click()
    page.get_by_label("bad").fill('""')
    page.get_by_role("button", name="Rerun", exact=True).click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    page.get_by_role("link", name="Stations").click()
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    page.get_by_role("link", name="History").click()
    expect(page.locator("tbody")).to_contain_text("Run again from a node")
    expect(page.locator("tbody")).to_contain_text("page, from")


def test_many_are_chosen_and_changed(site: Site, page: Page, gates: Path) -> None:
    """What was refused is reported with the reason."""
    with instance_options(tags={"chosen": "yes"}):
        ended, _ = Stations()(["a"])
        ended.result(timeout=WAIT_S)
        running, _ = Gated()(gates, ["one"])
    page.goto("/instances?q=chosen%3Dyes")
    is_live(page)
    expect(page.locator("[data-selection]")).to_be_hidden()
    page.get_by_role("checkbox", name="Select all on this page").check()
    expect(page.locator("[data-selection]")).to_contain_text("2 selected")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 of 2 cancelled")
    expect(page.locator("tbody tr").first).to_contain_text("completed")
    assert attach(running.instance_id).state == "cancelled"


def test_tabs_share_one_stream(site: Site, page: Page) -> None:
    """A browser has one connection for what happens, however many tabs it has."""
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    tabs = [page, page.context.new_page(), page.context.new_page()]
    for tab in tabs:
        tab.goto("/instances")
        is_live(tab)
    session = page.context.new_cdp_session(page)
    targets = session.send("Target.getTargets")["targetInfos"]
    mine = [one for one in targets if one["type"] == "shared_worker" and site.url in one["url"]]
    assert len(mine) == 1
    assert [url for url in asked if "/live?" in url] == []


def test_a_restarted_broker_is_found_again(site: Site, page: Page, gates: Path) -> None:
    """While it is away the page says that it may be old; then it shows the truth, all without reload."""
    instance, _ = Gated()(gates, ["one"])
    page.goto(f"/instances/{instance.instance_id}")
    is_live(page)
    page.evaluate("window.isTheSame = true")
    site.kill_broker()
    expect(page.locator(".stale")).to_contain_text("The broker does not answer")
    expect(page.locator(".link-word")).to_have_text("broker away")
    away = page.context.new_page()
    away.goto("/queues")
    expect(away.get_by_role("heading", level=1)).to_have_text("The broker is away")
    site.start_broker()
    expect(page.locator(".stale")).to_be_hidden()
    expect(away.get_by_role("heading", level=1)).to_have_text("Queues")
    let(gates, "one", "one ends")
    expect(page.locator(".title .state")).to_have_attribute("data-state", "completed")
    assert page.evaluate("window.isTheSame")
    until(lambda: attach(instance.instance_id).state == "completed")


def test_tabs_go_on_without_a_shared_worker(site: Site, page: Page, gates: Path) -> None:
    """As on Android: one tab hears for all, and when it is closed another one does."""
    page.context.add_init_script("delete window.SharedWorker")
    asked: list[Page] = []
    page.context.on("request", lambda sent: asked.append(sent.frame.page) if "/live?" in sent.url else None)
    instance, _ = Gated()(gates, ["one", "two"])
    page.goto("/instances")
    is_live(page)
    other = page.context.new_page()
    other.goto(f"/instances/{instance.instance_id}/nodes")
    third = page.context.new_page()
    third.goto("/queues")
    for tab in (other, third):
        is_live(tab)
        tab.evaluate("window.isTheSame = true")
    assert {*asked} == {page}
    let(gates, "one", "one ends")
    expect(node_in(other, "one").locator("svg.mark.s-completed")).to_be_visible()
    page.close()
    let(gates, "two", "two ends")
    expect(node_in(other, "two").locator("svg.mark.s-completed")).to_be_visible()
    expect(other.locator(".title .state")).to_have_attribute("data-state", "completed")
    for tab in (other, third):
        is_live(tab)
        assert tab.evaluate("window.isTheSame")


def node_in(page: Page, name: str) -> Locator:
    """Return the row of a node."""
    return page.locator("tr", has=page.get_by_role("link", name=name, exact=True))
