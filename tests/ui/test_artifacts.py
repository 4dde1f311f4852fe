"""Files that a workflow has saved, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dagorama import Instance, attach
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import ROOT_SETTING
from tests.timing import WAIT_S
from tests.ui.site import Site, serve

expect.set_options(timeout=WAIT_S * 1000)

#: What a page of ours would let run, and what runs nowhere.
SCRIPT = "<script>document.title = 17</script>"
TEXT = f"""
jobs:
- name: apple pie
  cmd: sh
  args: [-c, "echo '{SCRIPT}' > pie.html; head -c 3000000 /dev/zero > 'two words.bin'"]
  outputs: [{{local: pie.html, save: true}}, {{local: two words.bin, save: true}}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a site whose workers keep the directories of runs in a folder of the tests."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_SETTING, str(folder / "runs"))
        with serve(folder) as site:
            yield site


@pytest.fixture
def run(site: Site) -> Instance:
    """Run a job that saves files to its end."""
    workflow = read(TEXT, str(site.folder / "pie.yaml")).workflow
    instance = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
    instance.wait(timeout=WAIT_S)
    return instance


def test_a_file_is_downloaded_by_a_click(page: Page, run: Instance, tmp_path: Path) -> None:
    """The tab of a run has its files; a click saves one, under its own name, and leaves the page as it is."""
    page.goto(f"/instances/{run.id}")
    page.get_by_role("link", name="Artifacts").click()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("row").nth(2)).to_contain_text("2.9 MiB")
    for name, content in (("pie.html", f"{SCRIPT}\n".encode()), ("two words.bin", bytes(3_000_000))):
        with page.expect_download() as downloading:
            page.get_by_role("link", name=name).click()
        assert downloading.value.suggested_filename == name.replace(" ", "_")
        downloading.value.save_as(tmp_path / "it")
        assert (tmp_path / "it").read_bytes() == content
    expect(page).to_have_url(f"{page.url.partition('/instances')[0]}/instances/{run.id}/artifacts")
    assert page.title() != "17"
