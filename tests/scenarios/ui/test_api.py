"""The JSON API of a real page, broker and worker."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.scenarios.ui.conftest import Started
from tests.timing import WAIT_S


def of(answer: httpx.Response, status: int = 200) -> Any:
    """Return what an answer has."""
    assert answer.status_code == status, answer.text
    return answer.json()


def test_instances_are_chosen_and_come_in_pages(api: httpx.Client, started: Started) -> None:
    """Filters fit all at once, and cursors lead through all there are, newest first."""
    by_key = of(api.get("/instances", params={"key": "order-17", "tag": "customer=c9", "definition": "Sum"}))
    assert [each["instance_id"] for each in by_key["instances"]] == [str(started.completed)]
    found: list[str] = []
    cursor = ""
    while True:
        page = of(api.get("/instances", params={"limit": 1, "cursor": cursor}))
        found += [each["instance_id"] for each in page["instances"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == [str(started.held), str(started.failed), str(started.completed)]
    failed = of(api.get("/instances", params={"state": "failed"}))["instances"]
    assert [each["instance_id"] for each in failed] == [str(started.failed)]


def test_a_failed_node_is_told_with_its_traceback_and_its_log(api: httpx.Client, started: Started) -> None:
    """From the list of an instance's failed nodes to the line that it has printed."""
    one = f"/instances/{started.failed}"
    assert of(api.get(f"{one}"))["counts"] == {"completed": 1, "failed": 1, "dependency_failed": 2}
    (node,) = of(api.get(f"{one}/nodes", params={"state": "failed", "inputs": "true"}))["nodes"]
    assert node["label"] == "number -1"
    assert node["failures"][0]["message"] == "-1 is negative: <script>alert(1)</script>"
    assert of(api.get(f"{one}/nodes/{node['node_id']}"))["failures"] == node["failures"]
    told = of(api.get(f"{one}/nodes/{node['node_id']}/logs"))
    assert [each["text"] for each in told["lines"]] == ["<b>checking</b> -1", "negative: -1"]
    (line,) = of(api.get(f"{one}/logs", params={"level": "error", "grep": "NEGATIVE"}))["lines"]
    assert (line["source"], line["text"]) == ("sum", "negative: -1")
    (reason,) = of(api.get(f"{one}/nodes/{node['node_id']}/why"))["reasons"]
    assert reason["kind"] == "ended"


def test_what_waits_says_why(api: httpx.Client, started: Started) -> None:
    """An instance without a worker names what is missing."""
    told = of(api.get(f"/instances/{started.held}/why"))
    assert told["state"] == "ready"
    assert told["reasons"][0]["kind"] == "no_worker"


def test_actions_change_what_is_told(api: httpx.Client, started: Started) -> None:
    """Each answers with how the instance or the queue stands then."""
    one = f"/instances/{started.held}"
    assert of(api.post(f"{one}/pause"))["paused"] is True
    assert of(api.post(f"{one}/resume", json={}))["paused"] is False
    assert of(api.post(f"{one}/priority", json={"priority": 7}))["priority"] == 7
    assert of(api.post(f"{one}/cap", json={"running_max": 2}))["running_max"] == 2
    assert of(api.post(f"{one}/cap", json={"running_max": None}))["running_max"] is None
    (queue,) = of(api.post("/queues/pause", json={"queue": "nobody"}))["queues"]
    assert (queue["queue"], queue["paused"], queue["ready"]) == ("nobody", True, 1)
    assert of(api.post("/queues/resume", json={"queue": "nobody"}))["queues"][0]["paused"] is False


def test_a_refusal_has_the_words_of_the_broker(api: httpx.Client, started: Started) -> None:
    """Not known is 404, and not as it stands now is 409."""
    unknown = of(api.get(f"/instances/{uuid4()}"), 404)
    assert "instance" in unknown["detail"]
    assert "completed" in of(api.post(f"/instances/{started.completed}/retry"), 409)["detail"]
    assert of(api.get("/instances", params={"cursor": "nonsense"}), 400)["status"] == 400
    assert of(api.get("/events", params={"after": "0-1"}), 410)["status"] == 410


def test_events_go_on_after_a_cursor(api: httpx.Client, started: Started) -> None:
    """Whoever asks again with the cursor misses nothing, and waits no longer than for the first."""
    begun = of(api.get("/events"))
    assert begun["events"] == []
    of(api.post(f"/instances/{started.held}/priority", json={"priority": 9}))
    told = of(api.get("/events", params={"after": begun["cursor"], "wait_s": 20}))
    assert [(each["kind"], each["priority"]) for each in told["events"]] == [("instance_controlled", 9)]
    none = of(api.get("/events", params={"after": told["cursor"], "wait_s": 0}))
    assert none == {"events": [], "cursor": told["cursor"]}


def test_a_node_is_run_again(api: httpx.Client, started: Started) -> None:
    """A node of an instance that has ended begins anew, and its instance with it."""
    (node,) = of(api.get(f"/instances/{started.completed}/nodes", params={"function": "add"}))["nodes"]
    again = of(api.post(f"/instances/{started.completed}/nodes/{node['node_id']}/rerun"))
    assert again["state"] != "completed"
    done = of(api.post("/instances/cancel", json={"key": "order-17"}))["done"]
    assert [(each["instance_id"], each["state"], each["refused"]) for each in done] == [
        (str(started.completed), "cancelled", "")
    ]


def test_the_rest_is_listed(api: httpx.Client, started: Started) -> None:
    """Workers, queues, counts by function, the version."""
    assert of(api.get("/workers", timeout=WAIT_S))["workers"] == []
    assert "nobody" in [each["queue"] for each in of(api.get("/queues"))["queues"]]
    functions = of(api.get(f"/instances/{started.failed}/progress"))["functions"]
    assert [each["function"].rpartition(".")[2] for each in functions] == ["entrypoint", "check", "add"]
    assert of(api.get("/version"))["version"]


def test_what_was_done_is_told_with_who_did_it(api: httpx.Client, started: Started) -> None:
    """Actions of people are in the history of the instance, of the queue, and of the worker."""
    of(api.post(f"/instances/{started.held}/priority", json={"priority": 3}))
    done = of(api.get(f"/instances/{started.held}/history"))["history"]
    assert (done[0]["action"], done[-1]["action"], done[-1]["details"]["priority"]) == ("start", "priority", 3)
    of(api.post("/queues/cap", json={"queue": "nobody", "running_max": 5}))
    done = of(api.get("/history", params={"queue": "nobody", "limit": 1}))["history"]
    assert [(each["action"], each["subject"]) for each in done] == [("cap", "queue nobody")]
    assert of(api.get("/history", params={"queue": "a", "worker": "b"}), 422)["field"] == "worker"


def test_limits_settings_and_definitions_are_told(api: httpx.Client, started: Started) -> None:
    """What is started by a name, drained, or not known, says so."""
    of(api.post(f"/instances/{started.held}/cap", json={"running_max": 2}))
    assert f"instance {started.held}" in [each["key"] for each in of(api.get("/limits"))["limits"]]
    assert "DAGORAMA_PORT" in [each["name"] for each in of(api.get("/settings"))["settings"]]
    assert of(api.get("/definitions"))["definitions"] == []
    assert "Nothing" in of(api.post("/instances/start", json={"definition": "Nothing"}), 404)["detail"]
    assert "nobody" in of(api.post("/workers/drain", json={"worker": "nobody"}), 404)["detail"]
    (node,) = of(api.get(f"/instances/{started.held}/nodes"))["nodes"]
    of(api.post(f"/instances/{started.held}/nodes/{node['node_id']}/retry-now"), 409)
