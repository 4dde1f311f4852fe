"""Messages that workflows leave, on a real broker: durable, each once, in their order, until they are acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import dagorama
from dagorama.hooks import started_hooks
from dagorama.workflows import events as workflow_events
from dagorama.workflows.events import Message, publish, subscribe
from dagorama.workflows.operations.exit_notices import QueueNotice
from dagorama_broker.launch import launch_broker
from tests.scenarios.library.kept_definitions import Plain
from tests.timing import WAIT_S, until


@pytest.fixture(scope="module")
def _broker() -> Iterator[None]:
    """Run a broker and a worker for all tests here."""
    with launch_broker(port=0), dagorama.launch_workers(1):
        yield


def bodies(messages: Iterator[Message]) -> list[object]:
    """Return what messages say, and acknowledge each."""
    found: list[object] = []
    for message in messages:
        found.append(message.body)
        message.acknowledge()
    return found


@pytest.mark.usefixtures("_broker")
def test_message_is_told_until_it_is_acknowledged() -> None:
    """Each group of readers gets every message, in the order in which they came, until it has acknowledged it."""
    for number in range(3):
        publish("numbers", {"number": number})
    first = next(subscribe("numbers", follow=False))
    assert first.body == {"number": 0}
    assert bodies(subscribe("numbers", follow=False)) == [{"number": number} for number in range(3)]
    first.acknowledge()  # again, which changes nothing
    assert bodies(subscribe("numbers", follow=False)) == []
    assert len(bodies(subscribe("numbers", follow=False, group="others"))) == 3


@pytest.mark.usefixtures("_broker")
def test_acknowledgements_are_asked_for_where_there_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that waits does not read what its group has acknowledged at each change of anything."""
    asked: list[str] = []

    def acknowledged(queue: str, group: str) -> set[object]:
        asked.append(queue)
        return set()

    monkeypatch.setattr(workflow_events, "_acknowledged", acknowledged)
    publish("some", {})
    assert [len(list(subscribe(queue, follow=False))) for queue in ("none", "some")] == [0, 1]
    assert asked == ["some"]


@pytest.mark.usefixtures("_broker")
def test_latest_tells_only_what_comes_after() -> None:
    """A reader of the latest waits for what is published after it has subscribed."""
    publish("late", {"number": 1})
    messages = subscribe("late", "latest")
    found: list[object] = []
    reader = Thread(target=lambda: found.append(next(messages).body), daemon=True)
    reader.start()
    publish("other", {})
    publish("late", {"number": 2})
    reader.join(WAIT_S)
    assert found == [{"number": 2}]


@pytest.mark.usefixtures("_broker")
def test_message_under_a_key_is_there_once() -> None:
    """What is published again under its key is no second message; another message under it is refused."""
    for _ in range(2):
        publish("once", {"a": 1}, key="the only one")
    with pytest.raises(dagorama.KeyConflict):
        publish("once", {"a": 2}, key="the only one")
    assert bodies(subscribe("once", follow=False)) == [{"a": 1}]


@pytest.mark.parametrize(("queue", "start"), [("", "earliest"), ("q" * 101, "earliest"), ("q", "newest")])
def test_wrong_words_are_refused(queue: str, start: str) -> None:
    """A name that is none, and a start that there is not, are told when one subscribes."""
    with pytest.raises(ValueError, match=r"queue must be|start must be"):
        subscribe(queue, start)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"at": datetime(2026, 1, 1)}, r"body\['at'\] is of type datetime"),
        ({"a": [1, {"b": {2, 3}}]}, r"body\['a'\]\[1\]\['b'\] is of type set"),
        ({"a": {1: 2}}, r"body\['a'\] has the key 1"),
        ({"a": float("nan")}, r"body\['a'\] is nan"),
        ([1], "it is no mapping, but of type list"),
    ],
)
def test_what_json_does_not_have_is_refused(body: Any, problem: str) -> None:
    """A message that readers could not read without code of its publisher's is refused, naming the part."""
    with pytest.raises(ValueError, match=f"a message must be what JSON has: {problem}"):
        publish("refused", body)


class HereOnly:
    """Is read by no process but that of its id, or by all but that."""

    def __init__(self, process_id: int, *, only: bool) -> None:
        self.state = process_id, only

    def __reduce__(self) -> tuple[object, ...]:
        return _made, self.state


def _made(process_id: int, only: bool) -> HereOnly:
    if (os.getpid() == process_id) is only:
        return HereOnly(process_id, only=only)
    raise ValueError("the class of it is not here")


@pytest.mark.usefixtures("_broker")
def test_message_that_cannot_be_read_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """One that no worker, or no reader, can decode is passed over, and the log names it; those after it are told."""
    publish("odd", {"number": 1})
    odd = []
    for only in (True, False):
        with dagorama.instance_options(tags={workflow_events.QUEUE_TAG: "odd"}):
            odd.append(workflow_events.Notice()("odd", {"a": HereOnly(os.getpid(), only=only)})[0])
    publish("odd", {"number": 2})
    assert bodies(subscribe("odd", follow=False)) == [{"number": 1}, {"number": 2}]
    warnings = [record.message for record in caplog.records if "cannot be read and is passed over" in record.message]
    assert [str(each.instance_id) in warning for each, warning in zip(odd, warnings, strict=True)] == [True, True]


def told(queue: str) -> list[object]:
    """Return the messages of a queue, none of which is acknowledged."""
    return [message.body for message in subscribe(queue, follow=False)]


def test_end_is_told_once_whatever_crashes(tmp_path: Path) -> None:
    """Hooks of a start outlive a broker that is killed with the end; each end is one message, its payload as it was."""
    payload = '{"ä": "\\u00e4"}\n'
    url = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=url) as broker:
        with started_hooks(on_end=[QueueNotice("ends", payload)]), dagorama.instance_options(key="run-1"):
            stopped, _ = Plain()(1)
        stopped.cancel()
        broker.process.kill()
        broker.process.wait(WAIT_S)
    with launch_broker(broker.port, storage=url), dagorama.launch_workers(1):
        with started_hooks(on_end=[QueueNotice("ends", payload)]), dagorama.instance_options(key="run-2"):
            done, _ = Plain()(2)
        done.wait(WAIT_S)
        until(lambda: len(told("ends")) >= 2)
        for hooks in dagorama.instances(definition="hooks of tests.scenarios.library.kept_definitions:Plain"):
            hooks.wait(WAIT_S)
        assert sorted(told("ends"), key=str) == [
            {"status": "Cancelled", "payload": payload, "workflow": "run-1"},
            {"status": "Succeeded", "payload": payload, "workflow": "run-2"},
        ]
