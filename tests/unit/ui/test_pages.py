"""What the pages tell, and what becomes of their forms, over a broker in this process."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from dagorama import DAGDefinition, Instance, LogLine, Queue, dagorama, instance_options, instances
from dagorama.ui.errors import BadInput
from dagorama.ui.pages import overview, words
from dagorama.ui.pages.asked import number_of
from dagorama.ui.pages.json_fields import PREFIX, BadEdits, Field, edits_in, value_in

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("broker")]

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}"


class Load(DAGDefinition):
    """Loads files, of which some are bad."""

    @dagorama(queue_name="load").syncfn
    def entrypoint(self, names: list[str]) -> int:
        """Adds what they have."""
        return self.total([self.read(name) for name in names])

    @dagorama(queue_name="load", label="{name}").syncfn
    def read(self, name: str) -> int:
        """Reads one."""
        if "bad" in name or "<" in name:
            raise ValueError(f"{name} has no numbers")
        return len(name)

    @dagorama(queue_name="load").syncfn
    def total(self, numbers: list[int]) -> int:
        """Adds."""
        return sum(numbers)


class Typed(DAGDefinition):
    """Takes all sorts of things."""

    @dagorama(queue_name="typed").syncfn
    def entrypoint(self, count: int, names: list[str], day: date, loud: bool = False) -> str:
        """Puts them together."""
        return " ".join([*(names * count), str(day)]) + ("!" if loud else "")


def loaded(*names: str, key: str | None = None, **tags: str) -> Instance:
    """Start an instance and have it end; return it."""
    with instance_options(key=key, tags=tags):
        Load()(list(names))
    (one,) = instances(limit=1)
    one.done()
    list(one.nodes())
    _ = one.state
    return one


async def post(client: httpx.AsyncClient, url: str, **fields: object) -> httpx.Response:
    """Send a form of the page."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', (await client.get("/workers")).text)
    assert found is not None
    return await client.post(url, data={"csrf": found[1], **fields})


async def page(client: httpx.AsyncClient, url: str, status: int = 200) -> str:
    """Return the text of a page."""
    answer = await client.get(url)
    assert answer.status_code == status, answer.text
    return answer.text


async def test_the_list_of_nothing_says_what_to_do(client: httpx.AsyncClient) -> None:
    """With the command to type; so do the queues."""
    assert (await client.get("/")).headers["location"] == "/instances"
    assert "dagorama start" in await page(client, "/instances")
    assert "1 connected" in await page(client, "/workers")
    assert "Nothing is queued" in await page(client, "/queues")


async def test_instances_are_searched(client: httpx.AsyncClient) -> None:
    """By state, name, key, tag and id; a list that nothing fits says so."""
    good, bad = loaded("a", key="order 17", customer="c9"), loaded("bad", customer="c12")

    async def found(query: str) -> list[str]:
        return re.findall(r'data-id="([^"]+)"', await page(client, f"/instances?{query}"))

    assert await found("") == [str(bad.id), str(good.id)]
    assert await found("state=failed") == [str(bad.id)]
    assert await found("q=customer%3Dc9") == [str(good.id)]
    assert await found("q=ORDER+17") == [str(good.id)]
    assert await found("q=load&state=completed") == [str(good.id)]
    assert "No instance matches" in await page(client, "/instances?q=nothing+like+it")
    assert (await client.get(f"/instances?q={good.id}")).headers["location"] == f"/instances/{good.id}"
    assert await found("state=none-of-ours") == [str(bad.id), str(good.id)]


async def test_a_list_is_read_page_by_page(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that is none is a page that says so."""
    monkeypatch.setattr("dagorama.ui.pages.asked.ROWS", 2)
    ids = [str(loaded("a").id) for _ in range(3)][::-1]
    first = await page(client, "/instances")
    assert re.findall(r'data-id="([^"]+)"', first) == ids[:2]
    found = re.search(r'href="([^"]+)" rel="next"', first)
    assert found is not None
    assert re.findall(r'data-id="([^"]+)"', await page(client, found[1])) == ids[2:]
    assert "Not found" not in await page(client, "/instances?cursor=none", 400)


async def test_an_instance_is_told_of(client: httpx.AsyncClient) -> None:
    """Its state, its functions, what has failed, and each tab."""
    one = loaded("good", "bad", key="order 17")
    text = await page(client, f"/instances/{one.id}")
    assert "order 17" in text
    assert "ValueError: bad has no numbers" in text
    nodes = await page(client, f"/instances/{one.id}/nodes")
    assert len(re.findall(r'data-id="', nodes)) == 4
    assert len(re.findall(r'data-id="', await page(client, f"/instances/{one.id}/nodes?state=failed"))) == 1
    assert len(re.findall(r'data-id="', await page(client, f"/instances/{one.id}/nodes?q=read+good"))) == 1
    assert "No node matches" in await page(client, f"/instances/{one.id}/nodes?q=neither")
    failures = await page(client, f"/instances/{one.id}/failures")
    assert "Traceback (most recent call last)" in failures
    assert failures.index("has no numbers") < failures.index("Could not run because of these")
    assert "Waiting for what comes next" in await page(client, f"/instances/{one.id}/logs")
    assert "no warning or error" in await page(client, f"/instances/{one.id}/warnings")


async def test_large_values_are_told_of(client: httpx.AsyncClient) -> None:
    """By the bytes that they come to, in the page and in the JSON API; an instance without any says nothing of them."""
    one, small = loaded("x" * 200_000), loaded("good")
    assert re.search(r"<dt>Large values</dt><dd[^>]*>195\.[0-9] KiB</dd>", await page(client, f"/instances/{one.id}"))
    assert "Large values" not in await page(client, f"/instances/{small.id}")
    told = [(await client.get(f"/api/v1/instances/{each.id}")).json()["held_bytes"] for each in (one, small)]
    assert (told[0] // 100_000, told[1]) == (2, 0)


async def test_failures_of_the_same_kind_are_one(client: httpx.AsyncClient) -> None:
    """The others are named beside it."""
    one = loaded("bad", "bad", "bad", "<other>")
    text = await page(client, f"/instances/{one.id}/failures")
    assert text.count("<article") == 2
    assert "2 more nodes failed in the same way" in text


async def test_a_node_is_told_of(client: httpx.AsyncClient) -> None:
    """Its attempts, inputs, failure, and the nodes beside it in the graph."""
    one = loaded("good", "bad")
    (node,) = one.nodes(state="failed")
    text = await page(client, f"/instances/{one.id}/nodes/{node.id}")
    assert "bad has no numbers" in text
    assert "name=" in text
    assert "total" in await page(client, f"/instances/{one.id}/nodes/{node.id}/dependents")
    (total,) = one.nodes(function="total")
    text = await page(client, f"/instances/{one.id}/nodes/{total.id}")
    assert "Could not run" in text
    assert "good" in text
    (good,) = one.nodes(function="read", state="completed")
    text = await page(client, f"/instances/{one.id}/nodes/{good.id}")
    assert re.search(r'aria-label="Value">4</pre><p class="[^"]*">int ', text)


@pytest.mark.parametrize(
    "url", ["/instances/xx", f"/instances/{UUID(int=7)}", f"/instances/{UUID(int=7)}/nodes", "/no"]
)
async def test_an_unknown_id_is_a_page_that_says_so(client: httpx.AsyncClient, url: str) -> None:
    """With a way on."""
    text = await page(client, url, 404)
    assert "Not found" in text
    assert 'href="/instances"' in text


async def test_actions_change_an_instance(client: httpx.AsyncClient) -> None:
    """Each leads back to it; one that is refused says why."""
    Load()(["a"])
    (one,) = instances()
    url = f"/instances/{one.id}"
    for verb, fields in (("pause", {}), ("priority", {"priority": "7"}), ("cap", {"running_max": "2"})):
        answer = await post(client, f"{url}/actions/{verb}", **fields)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{url}?done={verb}")
    about = (await one.arefresh()).status
    assert (about.paused, about.priority, about.running_max) == (True, 7, 2)
    await post(client, f"{url}/actions/cap", running_max="")
    assert (await one.arefresh()).status.running_max is None
    for fields in ({"priority": "high"}, {"priority": "5000"}, {}):
        answer = await post(client, f"{url}/actions/priority", **fields)
        assert answer.status_code == 409
        assert "Refused" in answer.text
        assert "from -1000 to 1000" in answer.text
    assert "Paused" in (await client.get(f"{url}?done=pause")).text
    assert (await post(client, f"{url}/actions/resume")).status_code == 303
    assert (await post(client, f"{url}/actions/cancel")).status_code == 303
    answer = await post(client, f"{url}/actions/cancel")
    assert answer.status_code == 409
    assert "Refused" in answer.text
    assert (await post(client, f"{url}/actions/explode")).status_code == 404
    assert "Delete this instance?" in (await client.get(url)).text
    deleted = await post(client, f"{url}/actions/delete")
    assert (deleted.status_code, deleted.headers["location"]) == (303, "/instances")
    gone = await client.get(url)
    assert (gone.status_code, "was deleted by page, from 127.0.0.1" in gone.text) == (404, True)
    assert (await client.get(f"{url}/actions/cancel")).status_code == 405


async def test_the_history_says_who_did_what(client: httpx.AsyncClient) -> None:
    """What the page does is done by the page; the node of a rerun leads to it."""
    one = loaded("a", key="order 17")
    (node,) = one.nodes(function="read")
    await post(client, f"/instances/{one.id}/nodes/{node.id}/actions/rerun")
    text = await page(client, f"/instances/{one.id}/history")
    assert "Started" in text
    assert "Ended, completed" in text
    assert "page, from 127.0.0.1" in text
    assert f'href="/instances/{one.id}/nodes/{node.id}"' in text
    assert ">History<" in text


async def test_many_are_changed_with_a_report(client: httpx.AsyncClient) -> None:
    """Of those that were refused, why."""
    ended = loaded("a")
    Load()(["b"])
    (running, _) = instances()
    answer = await post(client, "/instances/actions", verb="cancel", instance=[str(running.id), str(ended.id)])
    assert answer.status_code == 200
    assert "1 of 2 cancelled" in answer.text
    assert "completed" in answer.text
    assert (await post(client, "/instances/actions", verb="explode")).status_code == 422
    assert (await post(client, "/instances/actions", verb="pause", instance="xx")).status_code == 422
    assert "None was selected" in (await post(client, "/instances/actions", verb="pause")).text


async def test_one_of_many_that_is_gone_hides_no_others(client: httpx.AsyncClient) -> None:
    """It has a row with its id, and why."""
    gone = uuid4()
    Load()(["b"])
    (running,) = instances()
    answer = await post(client, "/instances/actions", verb="cancel", instance=[str(gone), str(running.id)])
    assert answer.status_code == 200
    assert "1 of 2 cancelled" in answer.text
    assert f'href="/instances/{gone}">{gone}<' in answer.text
    assert (await running.arefresh()).status.state == "cancelled"


async def test_a_node_is_run_again(client: httpx.AsyncClient) -> None:
    """And a refusal says why."""
    one = loaded("a")
    (node,) = one.nodes(function="read")
    url = f"/instances/{one.id}/nodes/{node.id}"
    answer = await post(client, f"{url}/actions/rerun")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{url}?done=rerun")
    assert "runs again" in (await client.get(f"{url}?done=rerun")).text
    Load()(["b"])
    (running, _) = instances()
    assert (await post(client, f"/instances/{running.id}/nodes/{uuid4()}/actions/rerun")).status_code in (404, 409)


async def test_a_queue_is_paused_and_capped(client: httpx.AsyncClient) -> None:
    """By its name, which may be any."""
    assert (await post(client, "/queues/actions/pause", queue=HOSTILE)).status_code == 303
    assert (await post(client, "/queues/actions/cap", queue=HOSTILE, running_max="3")).status_code == 303
    (status,) = Queue(HOSTILE).status()
    assert (status.paused, status.running_max) == (True, 3)
    text = await page(client, "/queues")
    assert "<script>alert" not in text
    assert "Resume" in text
    assert (await post(client, "/queues/actions/cap", queue="", running_max="3")).status_code == 409
    assert (await post(client, "/queues/actions/cap", queue="q", running_max="-3")).status_code == 409


async def test_an_instance_is_started_by_a_form(client: httpx.AsyncClient) -> None:
    """It has a field for each argument, says what is wrong in which, and leads to the instance."""
    name = "tests.unit.ui.test_pages:Typed"
    assert "Typed" in await page(client, "/start")
    form = await page(client, f"/start?definition={name}")
    assert re.findall(r'name="argument\.(\w+)"', form) == ["count", "names", "day", "loud"]
    fields = {"definition": name, "argument.count": "two", "argument.names": '["a"]', "argument.day": "2026-03-01"}
    answer = await post(client, "/start", **fields)
    assert answer.status_code == 422
    assert "count must be a number" in answer.text
    answer = await post(client, "/start", **fields | {"argument.count": "2", "argument.names": ""})
    assert "names is needed" in answer.text
    for wrong in ({"tags": "no pair"}, {"priority": "high"}, {"priority": "5000"}):
        answer = await post(client, "/start", **fields | {"argument.count": "2"} | wrong)
        assert (answer.status_code, "Refused" in answer.text) == (409, True)
    more = {"argument.count": "2", "argument.loud": "true", "key": "order 17", "tags": "customer=c9", "priority": "7"}
    answer = await post(client, "/start", **fields | more)
    assert answer.status_code == 303
    (one,) = instances(key="order 17", tags={"customer": "c9"})
    assert answer.headers["location"] == f"/instances/{one.id}?done=start"
    assert one.status.priority == 7
    assert one.result() == "a a 2026-03-01!"
    assert (await client.get("/start?definition=no.such:One")).status_code == 404


async def test_a_node_is_run_again_with_other_arguments(client: httpx.AsyncClient) -> None:
    """Its page has them as JSON, to be edited; what cannot be is refused with the reason."""
    one = loaded("bad")
    (node,) = one.nodes(function="read")
    url = f"/instances/{one.id}/nodes/{node.id}"
    assert re.search(r'name="argument.name"[^>]*>&#34;bad&#34;</textarea>', await page(client, url))
    answer = await post(client, f"{url}/actions/rerun", **{"argument.name": "no JSON"})
    assert answer.status_code == 422
    assert re.search(r'name="argument.name"[^>]*aria-invalid="true">no JSON</textarea>', answer.text)
    assert answer.text.count("name must be JSON") == 1
    assert (await post(client, f"{url}/actions/rerun", **{"argument.name": '"good"'})).status_code == 303
    assert one.result() == 4
    assert (await post(client, f"{url}/actions/rerun", **{"argument.name": '"good"'})).status_code == 303


async def test_limits_and_settings_are_told(client: httpx.AsyncClient) -> None:
    """A cap is a limit; a broker in this process has no settings."""
    assert "Nothing is limited" in await page(client, "/limits")
    Load()(["a"])
    (one,) = instances()
    one.cap(2)
    assert f"instance {one.id}" in await page(client, "/limits")
    assert "No settings" in await page(client, "/settings")


async def test_a_worker_that_is_not_there_cannot_be_drained(client: httpx.AsyncClient) -> None:
    """The page says so."""
    answer = await post(client, f"/workers/{UUID(int=7)}/actions/drain")
    assert answer.status_code == 409
    assert "Refused" in answer.text


async def test_nothing_that_is_shown_is_markup(client: httpx.AsyncClient) -> None:
    """Names, labels, inputs, errors, tags and keys are text, on each page."""
    one = loaded(HOSTILE, key=HOSTILE, tag=HOSTILE)
    (node,) = one.nodes(state="failed")
    urls = [
        "",
        "/nodes",
        "/failures",
        "/logs",
        f"/nodes/{node.id}",
        f"/nodes/{node.id}/dependents",
        "/nodes?q=%3Cscript",
    ]
    for url in [*(f"/instances/{one.id}{end}" for end in urls), "/instances", f"/instances?q={HOSTILE}"]:
        text = await page(client, url)
        assert "<script>alert" not in text, url
        assert "<img" not in text, url
        assert "49" not in re.findall(r"'\{\{(.*?)\}\}", text), url


async def test_a_part_of_a_page_comes_without_its_frame(client: httpx.AsyncClient) -> None:
    """As scripts ask for it that keep the page true."""
    text = (await client.get("/instances", headers={"HX-Request": "true"})).text
    assert "<html" not in text
    assert 'id="page"' in text


async def test_words() -> None:
    """Of times, numbers, names, and of what stands between backticks."""
    now = datetime.now(UTC)
    assert words.ago(now - timedelta(minutes=3)) == "3 min ago"
    assert words.ago(now + timedelta(hours=2, minutes=1)) == "in 2 h"
    assert words.ago(now) == "just now"
    assert words.grouped(1234567) == "1\u202f234\u202f567"
    assert (words.class_of("a.b:C.d"), words.module_of("a.b:C.d"), words.method_of("a.b:C.d")) == ("C.d", "a.b", "d")
    assert words.coded("<b> `x<y` c") == "&lt;b&gt; <code>x&lt;y</code> c"
    assert words.coded("one ` alone") == "one ` alone"
    assert words.path("/a b", q="<x>", none="", cursor=None) == "/a%20b?q=%3Cx%3E"
    parts = list(words.parts_of_bar({"completed": 999_999, "failed": 1}))
    assert [part.state for part in parts] == ["completed", "failed"]
    assert sum(part.width for part in parts) == words.BAR_UNITS
    assert parts[1].width >= words.BAR_UNITS_MIN


@pytest.mark.parametrize(
    ("before", "text", "edits"),
    [
        ("1", "true", {"it": True}),
        ("1", "1.0", {"it": 1.0}),
        ("[0]", "[false]", {"it": [False]}),
        ("NaN", "NaN", {}),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', {}),
    ],
)
async def test_edits_are_told_by_their_json(before: str, text: str, edits: dict[str, object]) -> None:
    """Values that Python takes for equal are others in JSON."""
    assert repr(edits_in({PREFIX + "it": text}, {"it": before})) == repr(edits)


async def test_json_that_is_too_deep_is_bad_input() -> None:
    """It is no defect of the page."""
    text = "[" * 100_000
    with pytest.raises(BadEdits):
        edits_in({PREFIX + "it": text}, {"it": "1"})
    with pytest.raises(BadInput):
        value_in(Field(name="it", kind="json", annotation="", default=None, is_required=True), text)


@pytest.mark.parametrize("number", ["9" * 5000, str(2**63 - 1), "-1", "\u0663", "one"])
async def test_a_number_that_is_none_is_left_out(client: httpx.AsyncClient, number: str) -> None:
    """An address that somebody has mistyped leads to the page all the same."""
    one = loaded("a")
    (node,) = one.nodes(function="read")
    for query in ("attempt", "after"):
        answer = await client.get(f"/instances/{one.id}/nodes/{node.id}/logs/more", params={query: number})
        assert answer.status_code == 200, query
    assert number_of(number, 2**31 - 1) == 0


@pytest.mark.parametrize("asked_max", [60, 0])
async def test_the_nodes_of_lines_have_their_names(asked_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are: of more than are asked for one by one, out of the columns of all nodes."""
    monkeypatch.setattr(overview, "ASKED_MAX", asked_max)
    monkeypatch.setattr(overview, "COUNT_S", 60.0)
    instance = await loaded("a.csv", "bad.csv").arefresh()
    ids = [node.id async for node in instance.nodes()]
    whose = await overview.whose_are(instance, [line_of(1, node_id) for node_id in ids])
    assert [whose.labels[one] for one in ids] == ["entrypoint", "a.csv", "bad.csv", "total"]


async def test_the_name_of_a_limit_is_that_without_its_module() -> None:
    """A name that people have given is shown whole."""
    given = ('shop.etl:Etl.load(tenant)["a:b(c"]', "licences", "gpu:a", "queue load")
    assert [words.limit_name(one) for one in given] == ['Etl.load(tenant)["a:b(c"]', *given[1:]]


def line_of(second: int, node_id: UUID) -> LogLine:
    """Make a line."""
    return LogLine(
        time=datetime(2026, 3, 2, 9, 15, second, tzinfo=UTC),
        level=0,
        source="stdout",
        is_logged=False,
        text=str(second),
        node_id=node_id,
        attempt=1,
        worker="w",
    )
