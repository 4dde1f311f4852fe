"""Takes every page in every light: `python -m tests.ui.sheets docs/images/pages`, or some of them, by their names.

A sheet is one page: with no data, little and much of it, one below the other; and beside each other in the light and
the dark, on a desktop and a phone. They look best where the font Inter is installed (Debian: fonts-inter).
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import pytest
from playwright.sync_api import Browser

from dagorama import attach, instance_options, instances
from dagorama.workflows.staging.runs import ROOT_SETTING
from tests.ui.demo import Etl, NightlyReport, ended, fill, maps
from tests.ui.screenshots import DESKTOP, PHONE, RUN_S, Picture, take
from tests.ui.site import Site, launched_browser, serve

#: Of the pictures, on a sheet.
SCALE = 0.5
QUALITY = 85
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SHEET = """<!doctype html><style>
  body {{ margin: 0; padding: 24px; width: max-content; background: #d8d8dc; font: 600 15px Inter, sans-serif; }}
  div {{ display: flex; gap: 16px; margin: 8px 0 24px; }} img {{ border-radius: 4px; zoom: {scale}; }}
</style>{rows}"""

#: The pages of a broker, and those of an instance, which begin in its address.
OF_BROKER = {
    "instances": "/instances",
    "workers": "/workers",
    "queues": "/queues",
    "limits": "/limits",
    "settings": "/settings",
    "start": "/start",
    "start-form": "/start?definition=tests.ui.demo:Etl",
    "api": "/api/v1",
    "unknown": "/instances/00000000-0000-0000-0000-000000000000",
}
OF_INSTANCE = {
    "instance": "",
    "graph": "/graph",
    "timeline": "/timeline",
    "nodes": "/nodes",
    "failures": "/failures",
    "logs": "/logs",
    "history": "/history",
}
#: Those that a run of a workflow file has, or shows in its own way.
OF_RUN = {"run": "", "artifacts": "/artifacts"}


class Shown(NamedTuple):
    """What the pages of instances show, by its ids."""

    instance: str
    run: str


def addresses(show: Callable[[], Shown]) -> Iterator[tuple[str, str]]:
    """Yield the names and addresses of all pages, those that show no instance first."""
    yield from OF_BROKER.items()
    instance, run = show()
    yield from ((name, f"/instances/{run}{tab}") for name, tab in OF_RUN.items())
    yield from ((name, f"/instances/{instance}{tab}") for name, tab in OF_INSTANCE.items())
    node = next(iter(attach(instance).nodes(state="failed")), None) or next(iter(attach(instance).nodes()))
    yield "node", f"/instances/{instance}/nodes/{node.id}"


@contextmanager
def served(workers: int) -> Iterator[Site]:
    """Run a broker, workers that keep the directories of runs apart, and the page."""
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_SETTING, f"{place}/runs")
        with serve(Path(place), workers=workers) as site:
            yield site


@contextmanager
def nothing() -> Iterator[tuple[Site, Callable[[], Shown]]]:
    """Run a broker without workers. What is started last has one node, which waits for a worker."""
    with served(workers=0) as site:
        yield site, lambda: Shown(str(NightlyReport()("2026-03-01")[0].instance_id), maps(1))


@contextmanager
def little() -> Iterator[tuple[Site, Callable[[], Shown]]]:
    """Run a broker with two workers, and a few short instances, of which one has failed."""
    with served(workers=2) as site:
        NightlyReport()("2026-03-01")
        with instance_options(key="readings of march", tags={"customer": "c12"}):
            failed, _ = Etl()(5, 3)
        run = maps(2)
        for one in instances():
            ended(str(one.id))
        yield site, lambda: Shown(str(failed.instance_id), run)


@contextmanager
def much() -> Iterator[tuple[Site, Callable[[], Shown]]]:
    """Run a broker with four workers, and all that the pictures of the docs show."""
    with served(workers=4) as site:
        run = maps(20, bad=17)
        ended(run)
        ids = fill()
        time.sleep(RUN_S)
        yield site, lambda: Shown(ids["running"], run)


def sheet(browser: Browser, rows: dict[str, list[Path]], to: Path) -> None:
    """Put pictures on a sheet, with a word above each row."""

    def row(word: str, paths: list[Path]) -> str:
        taken = (base64.b64encode(path.read_bytes()).decode() for path in paths)
        images = "".join(f"<img src='data:image/png;base64,{one}'>" for one in taken)
        return f"{word}<div>{images}</div>"

    page = browser.new_page(viewport={"width": 1800, "height": 800})
    page.set_content(SHEET.format(scale=SCALE, rows="".join(row(*each) for each in rows.items())))
    page.screenshot(path=to, full_page=True, type="jpeg", quality=QUALITY)
    page.close()


def main(folder: Path, names: Collection[str] = ()) -> None:
    """Make the sheets of these names in a folder; without any, all."""
    folder.mkdir(parents=True, exist_ok=True)
    taken: dict[str, dict[str, list[Path]]] = {}
    with launched_browser() as browser, TemporaryDirectory() as place:
        for word, run in (("no data", nothing), ("little", little), ("much", much)):
            with run() as (site, show):
                for name, path in addresses(show):
                    if names and name not in names:
                        continue
                    pictures = [
                        Picture(f"{name}-{word}-{theme}-{size[0]}", path, theme, size)
                        for size, theme in product((DESKTOP, PHONE), THEMES)
                    ]
                    take(browser, site, pictures, Path(place))
                    taken.setdefault(name, {})[word] = [Path(place) / f"{one.name}.png" for one in pictures]
        for name, rows in taken.items():
            sheet(browser, rows, folder / f"{name}.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
