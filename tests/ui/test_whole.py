"""Each page as a whole: for people who use keys or a screen reader, and against texts that would run."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from dagorama import Instance, Queue, attach, instance_options
from tests.timing import WAIT_S
from tests.ui.definitions import Hostile, Stations
from tests.ui.hostile import TEXTS
from tests.ui.site import Site, is_live

expect.set_options(timeout=WAIT_S * 1000)

#: axe-core, and the rules that are checked: those of WCAG 2.1 AA, and in the dark the one about contrast again.
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
RUN_AXE = """async (theme) => {
  document.documentElement.dataset.theme = theme;
  const runOnly = theme === "light" ? ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] : ["color-contrast"];
  return (await axe.run(document, {runOnly, resultTypes: ["violations"]})).violations;
}"""
SERIOUS = ("serious", "critical")

#: What can be pressed, and is less than 24 pixels high or wide. Links in texts may be: they have the room of the line.
PRESSED = "button, input, select, textarea, summary, nav a, .segments a, .legend a"
SMALL = f"""() => [...document.querySelectorAll("{PRESSED}")]
  .filter((one) => one.checkVisibility() && !one.matches("[type=hidden], .crumbs a"))
  .map((one) => [one, one.getBoundingClientRect(), getComputedStyle(one, "::after")])
  .filter(([one, box, after]) => {{
    const around = one.type === "checkbox" ? -parseFloat(after.top) - parseFloat(after.bottom) : 0;
    return box.width + around < 24 || box.height + around < 24;
  }})
  .map(([one]) => one.outerHTML.slice(0, 100))"""

#: Notes each attempt of a page to do what its policy forbids.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="module")
def failed(site: Site) -> Instance:
    """Give an instance of which a node has failed."""
    with instance_options(key="march", tags={"customer": "c9"}):
        started, _ = Stations()(["good.csv", "bad.csv"], bad="bad.csv")
    instance = attach(started.instance_id)
    with pytest.raises(Exception, match=r"bad\.csv has no numbers"):
        instance.wait(timeout=WAIT_S)
    return instance


def addresses(instance: Instance) -> list[str]:
    """Return the addresses of all kinds of pages."""
    (node,) = instance.nodes(state="failed")
    at = f"/instances/{instance.id}"
    tabs = ("", "/nodes", "/failures", "/logs", "/history", "/timeline", f"/nodes/{node.id}", "/graph")
    return [
        "/instances",
        *(at + tab for tab in tabs),
        *("/workers", "/queues", "/limits", "/settings", "/start?definition=tests.ui.definitions:Stations"),
        "/instances/none",
        "/instances?q=nothing-like-it",
        "/api/v1",
    ]


def test_no_page_keeps_anybody_out(browser: Browser, site: Site, failed: Instance) -> None:
    """axe-core finds no serious fault of contrast, names, roles or order, in the light and in the dark."""
    context = browser.new_context(base_url=site.url, reduced_motion="reduce")
    page = context.new_page()
    faults: dict[str, list[str]] = {}
    for place, address in enumerate(addresses(failed)):
        page.goto(address)
        page.evaluate(AXE)
        # The colours are the same tokens everywhere: a part of the pages shows them all.
        for theme in ("light", "dark") if place % 3 == 0 else ("light",):
            for found in page.evaluate(RUN_AXE, theme):
                if found["impact"] in SERIOUS:
                    nodes = [each["html"][:120] for each in found["nodes"][:3]]
                    faults.setdefault(f"{address} {theme}", []).append(f"{found['id']}: {found['help']} {nodes}")
    page.evaluate("document.querySelector('h1').style.color = 'rgb(40, 40, 40)'")
    assert [found["id"] for found in page.evaluate(RUN_AXE, "dark")] == ["color-contrast"], "axe-core is blind"
    context.close()
    assert faults == {}


def test_every_page_fits_a_phone(browser: Browser, site: Site, failed: Instance) -> None:
    """What is wide scrolls by itself, and not the page; what is pressed has room for a finger (WCAG 2.5.8)."""
    context = browser.new_context(base_url=site.url, viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    widths, small = {}, {}
    for address in addresses(failed):
        page.goto(address)
        widths[address] = page.evaluate("document.documentElement.scrollWidth")
        small[address] = page.evaluate(SMALL)
    context.close()
    assert {address: width for address, width in widths.items() if width > 390} == {}
    assert {address: found for address, found in small.items() if found} == {}


def test_keys_lead_from_the_list_to_the_lines(page: Page, failed: Instance) -> None:
    """Without a mouse: to the instance by j and Enter, to its failure and to its node by Tab and Enter."""
    page.goto("/instances?q=customer%3Dc9")
    is_live(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="Stations", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/instances/{failed.id}")
    tab_to(page, "bad.csv")
    page.keyboard.press("Enter")
    page.wait_for_url("**/nodes/*")
    expect(page.locator(".log")).to_contain_text("bad.csv has no numbers")
    page.goto("/instances")
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    expect(page.get_by_role("heading", name="No instance matches")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert page.evaluate("document.activeElement.value") == "nothing like it"


def tab_to(page: Page, name: str) -> None:
    """Press Tab until a link has the focus, of which the ring is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not come to {name}")


def test_three_clicks_lead_to_the_line_of_the_bad_file(page: Page, failed: Instance) -> None:
    """From the list, without knowing anything: the instance that failed, the node that failed."""
    page.goto("/instances")
    is_live(page)
    page.get_by_role("link", name="Failed").click()
    page.locator(f"tr[data-id='{failed.id}'] a.row").click()
    page.locator(".failure a").first.click()
    expect(page.locator(".log")).to_contain_text("bad.csv has no numbers")


def test_everything_works_without_scripts(browser: Browser, site: Site, failed: Instance) -> None:
    """Pages, filters, actions, and the question before them."""
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/instances?state=failed")
    page.locator(f"tr[data-id='{failed.id}'] a.row").click()
    page.get_by_role("link", name="Logs", exact=True).click()
    expect(page.locator(".log")).to_contain_text("reading bad.csv")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".notice")).to_contain_text("goes on from where it failed")
    context.close()
    with pytest.raises(Exception, match=r"bad\.csv has no numbers"):
        failed.wait(timeout=WAIT_S)


def test_no_text_runs(browser: Browser, site: Site) -> None:
    """200 texts in each field that is shown: labels, inputs, errors, lines, tags, keys, queues, addresses."""
    started, _ = Hostile()(list(TEXTS))
    for place, text in enumerate(TEXTS[::20]):
        with instance_options(key=f"{place} {text}", tags={"tag": text, f"t{place}": text}):
            Hostile()([])
        Queue(f"{place} {text}"[:100]).pause()
    instance = attach(started.instance_id)
    with pytest.raises(Exception, match="of its nodes failed"):
        instance.wait(timeout=WAIT_S)
    context = browser.new_context(base_url=site.url)
    context.add_init_script(WATCH)
    page = context.new_page()
    problems: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        problems.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Refused" in said.text else None)
    page.on("popup", lambda popup: problems.append(popup.url))
    at = f"/instances/{instance.id}"
    nodes = list(instance.nodes(state="failed", limit=100))[::50]
    shown = [f"{at}{tab}" for tab in ("", "/failures", "/logs", *(f"/nodes/{node.id}" for node in nodes))]
    shown += ["/instances", "/queues", *(f"/instances?q={quote(text)}" for text in TEXTS[:25:8])]
    shown += [f"/{quote(text, safe='')}" for text in TEXTS[:10:5]]
    seen = 0
    cursor = f"{at}/nodes"
    while cursor or shown:
        page.goto(cursor or shown.pop())
        is_live(page)
        problems += page.evaluate("window.violations")
        problems += ["ran"] if page.evaluate("window.ran") else []
        seen += page.locator("tbody tr[data-id]").count() if cursor else 0
        following = page.locator("a[rel=next]")
        cursor = (following.get_attribute("href") or "") if cursor and following.count() else ""
    context.close()
    assert problems == []
    assert seen == len(TEXTS) + 2
