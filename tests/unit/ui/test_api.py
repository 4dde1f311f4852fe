"""The JSON API over a broker that tells what a test has made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from dagorama.client.port import Cancel, GetInstance, GetNode, ListInstances, ListNodes, Page
from dagorama.errors import BrokerRefused, BrokerUnavailable, refusal
from dagorama.settings import actor
from dagorama.ui.api import serving
from dagorama.ui.api.openapi import OPERATIONS, document
from dagorama.ui.api.rows import PREFIX
from dagorama.ui.api.schemas import COMPONENTS, components
from tests.docs import json_api
from tests.docs.pages import ROOT
from tests.scenarios.cli.told import INSTANCE, Told, instance, node, telling
from tests.unit.ui.conftest import MakeBrowser

COMMANDS = json.loads((ROOT / "docs/reference/commands.schema.json").read_text())
ONE = f"{PREFIX}/instances/{INSTANCE}"
NODE = f"{ONE}/nodes/{UUID(int=1)}"


@pytest.fixture
def told() -> Iterator[Told]:
    """Give a broker with one instance of two nodes."""
    with telling(Told([instance(counts={"completed": 1})], nodes=[node(1), node(2, state="failed")])) as told:
        yield told


@pytest.fixture
def client(told: Told, browser: MakeBrowser) -> httpx.AsyncClient:
    """Give a program that asks the API."""
    client = browser()
    client.headers["Accept"] = "*/*"
    return client


def test_the_words_are_those_of_the_commands() -> None:
    """Each shape that a command prints with --json is told by the API in the same words."""
    text = json.dumps(components()).replace("#/components/schemas/", "#/$defs/")
    mine = json.loads(text)
    shared = mine.keys() & COMMANDS["$defs"].keys()
    assert {"instance", "node", "failure", "progress", "reason", "why", "worker", "queue", "done"} <= shared
    for name in shared:
        assert mine[name] == COMMANDS["$defs"][name], name
    events = {each["properties"]["kind"]["enum"][0]: each for each in COMMANDS["properties"]["events"]["anyOf"]}
    for name in ("instance_event", "node_event", "worker_event", "events_skipped"):
        assert mine[name] == events[mine[name]["properties"]["kind"]["enum"][0]], name
    assert [mine["log_line"], mine["log_gap"]] == COMMANDS["properties"]["logs"]["anyOf"]


def test_the_page_of_the_reference_is_that_of_the_code() -> None:
    """The page has every operation, field and shape."""
    assert (ROOT / "docs/reference/json-api.md").read_text() == json_api.page()


def test_every_component_is_referred_to_and_there() -> None:
    """No reference leads nowhere, and no component is left over."""
    text = json.dumps(document())
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named == components().keys()
    assert COMPONENTS.keys() <= named
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.asyncio
async def test_the_description_is_served(client: httpx.AsyncClient) -> None:
    """As JSON for programs, and as a page for people."""
    assert (await client.get(f"{PREFIX}/openapi.json")).json() == json.loads(json.dumps(document()))
    page = await client.get(PREFIX)
    assert (page.status_code, "List instances, newest first" in page.text) == (200, True)


@pytest.mark.asyncio
async def test_a_list_is_asked_for_by_pages(told: Told, client: httpx.AsyncClient) -> None:
    """The selection, the size and the cursor go to the broker, and its cursor comes back."""
    told.more = {ListInstances: lambda asked: Page(told.instances, "further")}
    answer = await client.get(
        f"{PREFIX}/instances?state=failed&state=running&definition=Etl&tag=a%3Db&tag=c%3Dd%3De&key=k"
        "&since=2026-03-01T00:00:00Z&until=2026-03-02T02:00:00%2B02:00&limit=7&cursor=c1"
    )
    assert answer.json()["next_cursor"] == "further"
    (asked,) = told.asked
    since = datetime(2026, 3, 1, tzinfo=UTC)
    assert asked == ListInstances(
        7,
        "c1",
        states=("failed", "running"),
        definition="Etl",
        tags={"a": "b", "c": "d=e"},
        key="k",
        created_since=since.timestamp(),
        created_until=(since + timedelta(days=1)).timestamp(),
    )


@pytest.mark.asyncio
async def test_an_answer_has_the_words_of_the_command(told: Told, client: httpx.AsyncClient) -> None:
    """Ids, times, states and what is not known are written as the commands do."""
    answer = (await client.get(f"{NODE}")).json()
    assert answer["node_id"] == str(UUID(int=1))
    assert answer["created_at"] == "2026-03-02T09:15:00.000Z"
    assert answer["parent_id"] is None
    assert answer["taint"] == ""
    nodes = (await client.get(f"{ONE}/nodes?state=failed&inputs=true&limit=5")).json()
    assert [each["node_id"] for each in nodes["nodes"]] == [str(UUID(int=2))]
    assert told.asked[-1] == ListNodes(INSTANCE.bytes, 5, states=("failed",), with_inputs=True)


ERRORS: list[tuple[Exception, int, str]] = [
    (refusal(request="a look", code="NOT_FOUND", detail="unknown instance"), 404, "unknown instance"),
    (refusal(request="r", code="OUT_OF_RANGE", detail="cursor 'x' is not known any more"), 410, "not known any more"),
    (BrokerRefused(request="r", code="INVALID_ARGUMENT", detail="no page token"), 400, "no page token"),
    (BrokerRefused(request="r", code="FAILED_PRECONDITION", detail="it is running"), 409, "it is running"),
    (BrokerRefused(request="r", code="RESOURCE_EXHAUSTED", detail="too many"), 429, "too many"),
    (BrokerRefused(request="r", code="PERMISSION_DENIED", detail="not yours"), 403, "not yours"),
    (
        BrokerRefused(request="r", code="UNIMPLEMENTED", detail="Method not found!; is it of this version?"),
        502,
        "Install the same version of dagorama",
    ),
    (BrokerRefused(request="r", code="INTERNAL", detail="it broke"), 502, "it broke"),
    (
        BrokerUnavailable(host="h", port=5, waited_s=0.0, detail="connection refused"),
        503,
        "no broker answers at h:5 (connection refused): start one with `dagorama broker`",
    ),
    (KeyError("<a defect>"), 500, "report it"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("error", "status", "words"), ERRORS, ids=[f"{each[1]}-{each[2][:8]}" for each in ERRORS])
async def test_errors_are_told_in_their_own_words(
    told: Told, client: httpx.AsyncClient, error: Exception, status: int, words: str
) -> None:
    """A program gets problem+json, a person a page, with the same status."""

    def fail(request: object) -> Any:
        raise error

    told.more = dict.fromkeys((GetInstance, ListInstances, GetNode), fail)
    answer = await client.get(ONE)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert "defect>" not in answer.text
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    page = await client.get(f"/instances/{INSTANCE}", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert page.headers.get("retry-after") == ("2" if status == 503 else None)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/instances?state=done", "state"),
        ("/instances?limit=0", "limit"),
        ("/instances?limit=1001", "limit"),
        ("/instances?limit=1.5", "limit"),
        ("/instances?limit=\u0663", "limit"),
        ("/instances?limit=5&limit=6", "limit"),
        ("/instances?tag=a", "tag"),
        ("/instances?tag=%3Db", "tag"),
        ("/instances?key=", "key"),
        ("/instances?definition=", "definition"),
        (f"/instances?definition={'x' * 1001}", "definition"),
        ("/instances?since=yesterday", "since"),
        ("/instances?since=2026-03-01", "since"),
        ("/instances?until=2026-02-30T00:00:00Z", "until"),
        ("/instances?page=2", "page"),
        ("/instances/x", "instance_id"),
        (f"/instances/{INSTANCE.hex}", "instance_id"),
        (f"/instances/{INSTANCE}/nodes/x", "node_id"),
        (f"/instances/{INSTANCE}/nodes?inputs=yes", "inputs"),
        (f"/instances/{INSTANCE}/logs?cursor=-1", "cursor"),
        (f"/instances/{INSTANCE}/logs?level=loud", "level"),
        (f"/instances/{INSTANCE}/logs?attempt=0", "attempt"),
        ("/events?wait_s=31", "wait_s"),
        ("/events?wait_s=nan", "wait_s"),
    ],
)
async def test_bad_input_is_named(told: Told, client: httpx.AsyncClient, path: str, field: str) -> None:
    """A parameter that cannot be, or that there is not, is refused by its name, and nothing is asked."""
    answer = await client.get(f"{PREFIX}{path}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert told.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/priority", {}, 422, "priority"),
        ("/priority", {"priority": 1001}, 422, "priority"),
        ("/priority", {"priority": True}, 422, "priority"),
        ("/priority", {"priority": "1"}, 422, "priority"),
        ("/priority", {"priority": 1, "other": 1}, 422, "other"),
        ("/cap", {"running_max": 0}, 422, "running_max"),
        ("/cancel", [], 422, "body"),
        ("/cancel", {"\ud800": 1}, 422, "?"),
        ("/cancel", b"{", 400, None),
        ("/cancel", b"\xff", 400, None),
        ("/cancel", b"[" * 100_000, 400, None),
    ],
)
async def test_a_bad_body_is_refused(
    told: Told, client: httpx.AsyncClient, path: str, body: object, status: int, field: str | None
) -> None:
    """A field that cannot be, is missing, or that there is not is named; nothing is done."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(f"{ONE}{path}", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert told.asked == []


@pytest.mark.asyncio
async def test_a_body_that_is_not_json_is_refused(told: Told, client: httpx.AsyncClient) -> None:
    """A form, such as another site could send, does nothing."""
    answer = await client.post(f"{ONE}/cancel", data={"a": "b"})
    assert (answer.status_code, told.asked) == (415, [])


@pytest.mark.asyncio
async def test_an_action_tells_how_the_instance_stands_then(told: Told, client: httpx.AsyncClient) -> None:
    """It is done first, and needs no body."""
    told.more = {Cancel: lambda asked: told.put(asked.instance_id, state="cancelled")}
    answer = await client.post(f"{ONE}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert [type(each) for each in told.asked] == [Cancel, GetInstance]


@pytest.mark.asyncio
async def test_an_action_is_done_by_who_asks(told: Told, client: httpx.AsyncClient) -> None:
    """The history tells of the machine that asked, not of the user that serves the page."""
    by: list[str] = []
    told.more = {Cancel: lambda asked: by.append(actor())}
    await client.post(f"{ONE}/cancel")
    await client.post(f"{PREFIX}/instances/cancel", json={"state": ["running", "completed"]})
    assert by == ["API, from 127.0.0.1"] * 2


@pytest.mark.asyncio
async def test_many_are_chosen_by_what_they_are(told: Told, client: httpx.AsyncClient) -> None:
    """A wish for many says which, and tells for each whether it was refused."""
    other = UUID(int=9)
    told.instances.append(instance(instance_id=other))

    def cancel(asked: Cancel) -> None:
        if asked.instance_id == other.bytes:
            raise BrokerRefused(request="r", code="FAILED_PRECONDITION", detail="it has ended")
        told.put(asked.instance_id, state="cancelled")

    told.more = {Cancel: cancel}
    none = await client.post(f"{PREFIX}/instances/cancel", json={"limit": 5})
    assert (none.status_code, none.json()["field"], told.asked) == (422, "state", [])
    answer = await client.post(f"{PREFIX}/instances/cancel", json={"since": "2020-01-01T00:00:00Z"})
    done = {each["instance_id"]: (each["state"], each["refused"]) for each in answer.json()["done"]}
    assert done == {str(INSTANCE): ("cancelled", ""), str(other): ("running", "it has ended")}
    assert told.asked[0].states == ("running",)  # type: ignore[attr-defined]  # a ListInstances


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [f"/instances/{INSTANCE}/cancel", "/instances/cancel", "/queues/pause"])
async def test_looking_at_an_action_does_nothing(told: Told, client: httpx.AsyncClient, path: str) -> None:
    """GET never acts."""
    answer = await client.get(f"{PREFIX}{path}")
    assert answer.status_code in (405, 422)
    assert told.asked == []


@pytest.mark.asyncio
async def test_a_broker_that_does_not_answer_holds_nobody_for_long(
    told: Told, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits too long is given up, with the status of a broker that is away."""

    async def never(*args: object) -> object:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr("dagorama.client.steps.run_async", never)
    monkeypatch.setattr("dagorama.instance.twins.run_async", never)
    monkeypatch.setattr(serving, "ANSWER_S", 0.05)
    answer = await client.get(ONE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


@pytest.mark.asyncio
async def test_what_is_not_there_is_said_in_json(client: httpx.AsyncClient) -> None:
    """Below /api/ a program is told in problem+json."""
    for path in ("/api/v1/nothing", "/api/v2/instances", "/api/"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
