"""Files of runs in the page and in the JSON API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
import pytest
from click.testing import CliRunner

from dagorama import DAGDefinition, Instance, attach, dagorama
from dagorama.calls.large import MemoryValues
from dagorama.cli.artifacts import artifacts_command
from dagorama.client.asking import broker
from dagorama.testing import in_process_broker
from dagorama.ui.downloads import disposition_of
from dagorama.workflows.artifacts import artifacts
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import ROOT_SETTING
from tests.timing import WAIT_S
from tests.unit.ui.conftest import TOKEN, MakeBrowser

#: Small ones are in the message; what is larger than 64 KiB is in the store; of this size the rest of the value is too.
SIZES = {"none.txt": 0, "small.html": 1000, "between.bin": 65_500, "large.bin": 3_000_000}
TEXT = f"""
jobs:
- name: apple pie
  cmd: sh
  args: [-c, '{"; ".join(f"head -c {size} /dev/zero > {name}" for name, size in SIZES.items())}']
  outputs: [{", ".join(f"{{local: {name}, save: true}}" for name in SIZES)}]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Run a job that saves files to its end."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    with in_process_broker():
        workflow = read(TEXT, str(tmp_path / "jobs.yaml")).workflow
        instance = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
        instance.wait(timeout=WAIT_S)
        yield instance


@pytest.mark.asyncio
async def test_files_are_listed_and_downloaded(run: Instance, client: httpx.AsyncClient) -> None:
    """Page and API tell name, size and job, and give the bytes, by which nothing runs in a browser."""
    listed = (await client.get(f"/api/v1/instances/{run.id}/artifacts")).json()
    assert listed["next_cursor"] == ""
    assert {each["name"]: each["size_bytes"] for each in listed["artifacts"]} == {
        f"apple pie/{name}": size for name, size in SIZES.items()
    }
    assert {each["job"] for each in listed["artifacts"]} == {"apple pie"}
    page = (await client.get(f"/instances/{run.id}/artifacts")).text
    assert all(text in page for text in (">none.txt</a>", ">apple pie<", ">0 bytes<", ">2.9 MiB<", ">Artifacts<"))
    for each in listed["artifacts"]:
        for address in (f"/instances/{run.id}/artifacts/", f"/api/v1/instances/{run.id}/artifacts/"):
            assert f"/instances/{run.id}/artifacts/{each['node_id']}" in page
            got = await client.get(address + each["node_id"])
            name = each["name"].removeprefix("apple pie/")
            assert (got.status_code, got.content) == (200, bytes(SIZES[name]))
            assert got.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            assert got.headers["Content-Type"] == "application/octet-stream"
            assert got.headers["Content-Security-Policy"].startswith("sandbox;")
            assert got.headers["X-Content-Type-Options"] == "nosniff"
            head = await client.head(address + each["node_id"])
            assert (head.headers["Content-Length"], head.content) == (str(SIZES[name]), b"")


@pytest.mark.asyncio
async def test_a_lost_file_is_told_of_beside_the_others(
    run: Instance, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """One that the store has lost fails neither the list nor an answer half-way; commands name it, too."""
    store = cast(MemoryValues, broker().values())
    store._values.clear()
    listed = (await client.get(f"/api/v1/instances/{run.id}/artifacts")).json()["artifacts"]
    told = {each["name"].removeprefix("apple pie/"): each for each in listed}
    assert {name: each["size_bytes"] for name, each in told.items()} == {**SIZES, "between.bin": None}
    assert [name for name, each in told.items() if "does not have the value" in each["problem"]] == ["between.bin"]
    page = (await client.get(f"/instances/{run.id}/artifacts")).text
    assert ("It cannot be had: " in page, ">small.html</a>" in page, ">between.bin</a>" in page) == (True, True, False)
    for name, status in {"small.html": 200, "between.bin": 404, "large.bin": 404}.items():
        got = await client.get(f"/api/v1/instances/{run.id}/artifacts/{told[name]['node_id']}")
        assert (name, got.status_code) == (name, status)
        assert status == 200 or "cannot be had" in got.json()["detail"]
    written = CliRunner().invoke(artifacts_command, [str(run.id), "--output", str(tmp_path / "to")])
    files = {path.name: path.stat().st_size for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert (files, written.exit_code) == ({name: SIZES[name] for name in ("none.txt", "small.html")}, 1)
    assert all(f"the artifact apple pie/{name}" in written.output for name in ("between.bin", "large.bin"))
    lines = CliRunner().invoke(artifacts_command, [str(run.id)]).stdout.splitlines()
    assert [line.partition("  (cannot be had: ")[0] for line in lines if "(" in line] == ["apple pie/between.bin"]


@pytest.mark.asyncio
async def test_other_nodes_are_no_files(run: Instance, client: httpx.AsyncClient) -> None:
    """What is no file that a task has saved is not there."""
    (task,) = run.nodes(label="apple pie")
    for node_id in (task.id, UUID(int=1)):
        assert (await client.get(f"/instances/{run.id}/artifacts/{node_id}")).status_code == 404
        assert (await client.get(f"/api/v1/instances/{run.id}/artifacts/{node_id}")).status_code == 404


@pytest.mark.asyncio
async def test_files_are_for_those_who_are_signed_in(run: Instance, browser: MakeBrowser) -> None:
    """Nobody gets a file of a page with a token without it."""
    node_id = next(artifacts(run.id)).node.id
    client = browser(token=TOKEN)
    client.headers["Accept"] = "*/*"
    address = f"/instances/{run.id}/artifacts/{node_id}"
    assert (await client.get(address)).status_code == 401
    assert (await client.get(address, headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200


class Pretends(DAGDefinition):
    """A definition of somebody else with a function of the same name."""

    @dagorama().syncfn
    def entrypoint(self) -> str:
        """Save nothing."""
        return self.keep_artifact("x")

    @dagorama().syncfn
    def keep_artifact(self, text: str) -> str:
        """Return a text."""
        return text


@pytest.mark.asyncio
@pytest.mark.usefixtures("broker")
async def test_functions_of_others_are_no_files(client: httpx.AsyncClient) -> None:
    """A function that has the name by chance saves nothing, and only runs of workflows have the tab."""
    instance, _ = Pretends()()
    attach(instance.instance_id).wait(WAIT_S)
    listed = (await client.get(f"/api/v1/instances/{instance.instance_id}/artifacts")).json()
    assert listed == {"artifacts": [], "next_cursor": ""}
    assert ">Artifacts<" not in (await client.get(f"/instances/{instance.instance_id}")).text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a/b/out.txt", 'attachment; filename="out.txt"'),
        ("a/x\r\nSet-Cookie: b", 'attachment; filename="x_Set-Cookie_b"'),
        ('a/"; filename=evil.exe', 'attachment; filename=";_filename=evil.exe"'),
        ("a/\u202egpj.exe", 'attachment; filename="gpj.exe"'),
        ("a/..", 'attachment; filename="artifact"'),
        ("a/C:\\boot.ini", 'attachment; filename="C_boot.ini"'),
        ("a/apfel-müsli.txt", "attachment; filename=\"apfel-m_sli.txt\"; filename*=UTF-8''apfel-m%C3%BCsli.txt"),
    ],
)
def test_the_name_of_a_file_is_safe(name: str, told: str) -> None:
    """No name of a file leads elsewhere, or adds to the headers."""
    assert disposition_of(name) == told
