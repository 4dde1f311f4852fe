"""Takes the pictures of the docs: `python -m tests.ui.screenshots docs/images`, or some of them, by their names.

They look best where the font Inter is installed (Debian: fonts-inter).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from playwright.sync_api import Browser, Page

from dagorama import attach
from tests.ui.demo import fill
from tests.ui.site import Site, is_live, launched_browser, serve

DESKTOP, PHONE = (1280, 800), (390, 844)
#: What a page fetches after it was loaded is there after so long.
SETTLE_S = 1.5
#: Running nodes are under way after so long.
RUN_S = 8.0
ROOT = Path(__file__).parents[2]
#: Has texts stand in a page for others: paths of this machine are in no picture.
REPLACE = """(texts) => {
  const found = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (found.nextNode()) {
    const node = found.currentNode;
    for (const [one, other] of texts) node.data = node.data.replaceAll(one, other);
  }
}"""


class Picture(NamedTuple):
    """A page as somebody sees it."""

    name: str
    path: str
    theme: Literal["light", "dark"] = "light"
    size: tuple[int, int] = DESKTOP


def pictures(ids: dict[str, str]) -> Iterator[Picture]:
    """Yield the pictures of the docs."""
    failed, many, running = (f"/instances/{ids[name]}" for name in ("failed", "many", "running"))
    (node,) = attach(ids["failed"]).nodes(state="failed")
    # Those of the running one first.
    yield Picture("instance-running", running)
    yield Picture("limits", "/limits")
    yield Picture("workers", "/workers")
    yield Picture("timeline-dark", f"{running}/timeline", "dark")
    yield Picture("logs", f"{running}/logs")
    yield Picture("history", f"{running}/history")
    yield Picture("instances", "/instances")
    yield Picture("instances-dark", "/instances", "dark")
    yield Picture("instances-phone", "/instances", size=PHONE)
    yield Picture("instance-failed-phone", failed, "dark", PHONE)
    yield Picture("graph", f"{failed}/graph")
    yield Picture("nodes", f"{many}/nodes")
    yield Picture("failures", f"{failed}/failures")
    yield Picture("node-dark", f"{failed}/nodes/{node.id}", "dark")
    yield Picture("start", "/start")
    yield Picture("start-phone", "/start?definition=tests.ui.demo:Etl", size=PHONE)
    yield Picture("queues-phone", "/queues", size=PHONE)
    yield Picture("settings-dark", "/settings", "dark")


def take(browser: Browser, site: Site, pictures: Sequence[Picture], folder: Path) -> None:
    """Take pictures of pages, also of one that says that there is none."""
    pages = [opened(browser, site, picture) for picture in pictures]
    time.sleep(SETTLE_S)
    for picture, page in zip(pictures, pages, strict=True):
        page.evaluate(REPLACE, [(f"{ROOT}/", ""), (str(site.folder), "/var/lib/dagorama")])
        page.screenshot(path=folder / f"{picture.name}.png")
        page.context.close()


def opened(browser: Browser, site: Site, picture: Picture) -> Page:
    """Open a page as somebody sees it."""
    width, height = picture.size
    context = browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": height},
        color_scheme=picture.theme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(picture.path)
    is_live(page)
    return page


def main(folder: Path, names: Collection[str] = ()) -> None:
    """Take the pictures of these names into a folder; without any, all."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, launched_browser() as browser, serve(Path(place), workers=4) as site:
        if not names or "empty" in names:
            take(browser, site, [Picture("empty", "/instances")], folder)
        ids = fill()
        time.sleep(RUN_S)
        for picture in pictures(ids):
            if not names or picture.name in names:
                take(browser, site, [picture], folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
