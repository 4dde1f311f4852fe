"""Runs of operations over HTTP, by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from dagorama.testing import in_process_broker
from dagorama.workflows import operations, tasks
from dagorama.workflows.staging.runs import ROOT_SETTING
from tests.timing import WAIT_S
from tests.unit.ui.conftest import HOME, TOKEN, MakeBrowser


@pytest.fixture(autouse=True)
def _broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the tests here ask a broker of their own."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    with in_process_broker():
        yield


@pytest.fixture
def client(browser: MakeBrowser) -> httpx.AsyncClient:
    """Give a program."""
    client = browser()
    client.headers["Accept"] = "*/*"
    return client


def run(source: str = "echo one; echo two", name: str = "told-") -> operations.Execution:
    """Run an operation to its end."""
    task = tasks.BashTask("t", source=source)
    execution: operations.Execution = operations.SingleTaskOperation(name, task).execute()
    return execution.wait(WAIT_S)


@pytest.mark.asyncio
async def test_runs_are_told_as_in_python(client: httpx.AsyncClient) -> None:
    """Lists, runs and logs are those of the functions; parts of a list follow each other."""
    first, failed, last = run(), run("echo three; exit 3"), run()
    listed = (await client.get("/operations", params={"status": "Succeeded", "limit": 1})).json()
    assert [each["name"] for each in listed["items"]] == [last.name]
    after = {"status": "Succeeded", "continue_token": listed["continue_token"]}
    following = (await client.get("/operations", params=after)).json()
    assert ([each["name"] for each in following["items"]], following["continue_token"]) == ([first.name], "")
    told = (await client.get(f"/operations/{failed.name}")).json()
    assert told == {
        "name": failed.name,
        "status": "Failed",
        "instance_id": str(failed.instance_id),
        "raw": operations.get_workflow(failed.name).raw.to_dict(),
    }
    logs = await client.get(f"/operations/{first.name}/logs")
    assert logs.headers["content-type"].startswith("text/plain")
    assert logs.text.splitlines() == operations.get_workflow_logs(first.name).splitlines()
    assert "two" in logs.text


@pytest.mark.asyncio
async def test_a_run_is_removed(client: httpx.AsyncClient) -> None:
    """A run is gone after it was deleted, and the answer says how it stood; an unknown one is told as a problem."""
    execution = run()
    gone = await client.delete(f"/operations/{execution.name}")
    assert (gone.status_code, gone.json()["status"]) == (200, "Succeeded")
    for method, address in (("GET", ""), ("GET", "/logs"), ("DELETE", "")):
        answer = await client.request(method, f"/operations/{execution.name}{address}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert f"there is no run '{execution.name}'" in answer.json()["detail"]


@pytest.mark.asyncio
async def test_a_run_is_known_by_its_whole_name(client: httpx.AsyncClient) -> None:
    """Digits that an id ends with are no name, though commands take them."""
    execution = run()
    assert (await client.get(f"/operations/{str(execution.instance_id)[-12:]}")).status_code == 404


@pytest.mark.asyncio
async def test_bad_input_is_refused(client: httpx.AsyncClient) -> None:
    """A status, a number and a parameter that there is not are named."""
    for query, field in (({"status": "Done"}, "status"), ({"limit": 0}, "limit"), ({"state": "x"}, "state")):
        answer = await client.get("/operations", params=query)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await client.post("/operations")).status_code == 405


@pytest.mark.asyncio
async def test_no_other_site_removes_a_run(client: httpx.AsyncClient, browser: MakeBrowser) -> None:
    """Of browsers a run is removed for the page itself alone, and where there is a token for those who have it."""
    execution = run()
    address = f"/operations/{execution.name}"
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": HOME}):
        assert (await client.delete(address, headers=headers)).status_code == 403
    guarded = browser(token=TOKEN)
    guarded.headers["Accept"] = "*/*"
    for method in ("GET", "DELETE"):
        assert (await guarded.request(method, address)).status_code in (401, 403)
    assert (await client.get(address)).status_code == 200
    assert (await guarded.delete(address, headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["50%2F\u00fc?a=b&c#d;e+f'\"\\", "..", "n" * 190], ids=["odd", "dots", "long"])
async def test_any_name_of_an_operation_is_one_in_an_address(client: httpx.AsyncClient, name: str) -> None:
    """Percent-encoded, as addresses have it; a slash is in none."""
    execution = run(name=name)
    address = f"/operations/{quote(execution.name, safe='')}"
    assert (await client.get(address)).json()["name"] == execution.name
    assert "two" in (await client.get(f"{address}/logs")).text
    assert (await client.delete(address)).json()["name"] == execution.name
