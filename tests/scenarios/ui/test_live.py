"""The stream of changes of a real page, whose broker is killed and started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from dagorama_broker.launch import launch_broker
from tests.ports import reserved
from tests.scenarios.ui.conftest import page_of
from tests.scenarios.ui.definitions import Held
from tests.timing import WAIT_S


@contextmanager
def watching(url: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """Read a stream, as a browser does: the name and the data of each message."""
    with httpx.stream("GET", url, timeout=WAIT_S) as answer:
        assert answer.status_code == 200
        yield messages(answer.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield the messages in lines."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("event", "change"), json.loads(fields["data"])
            fields = {}


def until(stream: Iterator[tuple[str, Any]], kind: str) -> Any:
    """Return the data of the next message of a kind."""
    return next(data for event, data in stream if event == kind)


def test_a_broker_that_is_killed_is_told_and_waited_for(tmp_path: Path) -> None:
    """Whoever looks is told that it has gone and that it is back, and of what happens then, over the same stream."""
    storage = f"sqlite:///{tmp_path}/broker.db"
    with (
        reserved() as port,
        page_of("--broker-port", str(port), DAGORAMA_HOST="localhost") as page,
        launch_broker(port=port, storage=storage) as broker,
        watching(f"{page.url}/live") as stream,
    ):
        assert until(stream, "back") == {"first": True}
        first, _ = Held()()
        told = until(stream, "change")
        assert told["instances"].keys() == {str(first.instance_id)}
        broker.process.kill()
        assert "localhost" in until(stream, "lost")["detail"]
        answer = httpx.get(f"{page.url}/api/v1/instances", timeout=WAIT_S)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        with launch_broker(port=port, storage=storage):
            assert until(stream, "back") == {"first": False}
            assert until(stream, "stale") == {}
            second, _ = Held()()
            assert str(second.instance_id) in until(stream, "change")["instances"]
            listed = httpx.get(f"{page.url}/api/v1/instances", timeout=WAIT_S).json()["instances"]
            assert [each["instance_id"] for each in listed] == [
                str(second.instance_id),
                str(first.instance_id),
            ]
