"""The history in Python: who did what to an instance, a queue and a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import dagorama
from dagorama import (
    BrokerRefused,
    DAGDefinition,
    HistoryEntry,
    Queue,
    StaticRetry,
    UnknownId,
    acting_as,
    attach,
)
from dagorama import dagorama as node
from dagorama.client.history import details_in
from dagorama.settings import ACTOR_LENGTH_MAX, actor
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e"


#: Not the definition's: each node would have its own.
FAILS: list[bool] = []


class Flaky(DAGDefinition):
    """Fails as often as the list says."""

    @node(queue_name="shop").syncfn
    def entrypoint(self) -> Any:
        """Raises the first time."""
        if FAILS:
            FAILS.pop()
            raise RuntimeError("once")
        return 1


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessBroker]:
    """Give a broker in this process, and a name to ask by."""
    monkeypatch.setenv("DAGORAMA_ACTOR", "tests")
    with in_process_broker() as broker:
        yield broker


def told(entries: Any) -> list[tuple[str, str]]:
    """Give the actions and names of a history."""
    return [(entry.action, entry.by) for entry in entries]


def test_an_instance_tells_who_did_what(broker: InProcessBroker) -> None:
    """From its start over each control to its last end; the ends between stand where they were."""
    FAILS[:] = [True]
    instance, _ = Flaky()()
    instance.set_priority(3)
    with acting_as("ann"):
        instance.pause()
        with acting_as("page: bob"):
            instance.resume()
        instance.cap(2)
    assert instance.state == "failed"
    instance.retry()
    assert instance.result() == 1
    instance.rerun(next(iter(instance.nodes())))
    assert instance.result() == 1
    history = list(instance.history())
    assert told(history) == [
        ("start", "tests"),
        ("priority", "tests"),
        ("pause", "ann"),
        ("resume", "page: bob"),
        ("cap", "ann"),
        ("end", ""),
        ("retry", "tests"),
        ("end", ""),
        ("rerun", "tests"),
        ("end", ""),
    ]
    assert [entry.details for entry in history if entry.action == "end"] == [
        {"state": "failed"},
        {"state": "completed"},
        {"state": "completed"},
    ]
    assert history[1].details == {"priority": 3, "before": 0}
    assert history[8].details["function"] == "tests.unit.library.test_history:Flaky.entrypoint"
    assert {entry.instance_id for entry in history} == {instance.instance_id}
    assert history == sorted(history, key=lambda entry: entry.at)
    assert told(instance.history(limit=2)) == told(history[:2])
    assert attach(instance.instance_id).refresh().status.started_by == "tests"


def test_a_history_is_read_page_by_page(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start stands on the first page and the end on the last, in both forms."""
    monkeypatch.setattr("dagorama.instance.looks.PAGE_SIZE", 2)
    monkeypatch.setattr("dagorama.instance.listing.PAGE_SIZE", 2)
    instance, _ = Flaky()()
    for _ in range(2):
        instance.pause()
        instance.resume()
    instance.cancel()
    expected = ["start", "pause", "resume", "pause", "resume", "cancel", "end"]
    assert [entry.action for entry in instance.history()] == expected

    async def read() -> list[str]:
        return [entry.action async for entry in instance.history()]

    assert asyncio.run(read()) == expected


def test_the_history_of_all_is_newest_first(broker: InProcessBroker) -> None:
    """It has what was done to queues and workers; the name of one chooses."""
    instance, _ = Flaky()()
    Queue("shop").pause()
    instance.cancel()
    Queue("shop").cap(3)
    (worker,) = dagorama.workers()
    dagorama.drain(worker)
    dagorama.drain(worker.name)
    asyncio.run(dagorama.drain_async(str(worker.worker_id)))
    assert [(entry.subject, entry.action) for entry in dagorama.history()] == [
        ("worker in-process", "drain"),
        ("queue shop", "cap"),
        ("", "cancel"),
        ("queue shop", "pause"),
    ]
    assert [entry.action for entry in dagorama.history(queue="shop", limit=1)] == ["cap"]
    assert [entry.action for entry in dagorama.history(worker="in-process")] == ["drain"]
    assert dagorama.workers()[0].draining
    with pytest.raises(ValueError, match="give one of them"):
        dagorama.history(queue="shop", worker="w")
    with pytest.raises(LookupError, match="no connected worker has the name 'nobody'"):
        dagorama.drain("nobody")
    with pytest.raises(UnknownId):
        dagorama.drain("01a2198d-1e4f-7388-9c20-dfb0513dbb11")
    with pytest.raises(UnknownId):
        list(attach("01a2198d-1e4f-7388-9c20-dfb0513dbb11").history())


class Later(DAGDefinition):
    """Is tried again in an hour."""

    @node(retry=StaticRetry(max_attempts=2, interval=3600)).syncfn
    def entrypoint(self) -> Any:
        """Raises each time."""
        raise RuntimeError("always")


def test_a_node_that_backs_off_is_tried_at_once(broker: InProcessBroker) -> None:
    """It does not wait for its time; one that does not back off is refused, with its state."""
    instance, _ = Later()()
    (found,) = instance.nodes()
    with pytest.raises(BrokerRefused, match="is ready, so it cannot be tried at once"):
        found.retry_now()
    assert broker.elapsed_s == 0
    watched = iter(dagorama.events(instance, after=dagorama.events(instance).begin()))
    while getattr(next(watched), "kind", "") != "attempt_failed":
        pass
    found = next(iter(instance.nodes()))
    assert (found.state, found.retry_at is not None) == ("backoff", True)
    found.retry_now()
    assert found.refresh().state == "failed"
    assert broker.elapsed_s == 0
    assert [entry.action for entry in instance.history()] == ["start", "retry_now", "end"]
    with pytest.raises(BrokerRefused, match="is failed, so it cannot be tried at once"):
        found.retry_now()


def test_names_of_people_are_bounded_and_any_text(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept as they are, and no longer than the broker takes them."""
    with acting_as(HOSTILE):
        instance, _ = Flaky()()
    assert told(instance.history()) == [("start", HOSTILE)]
    for name in ("", "x" * (ACTOR_LENGTH_MAX + 1), "a\0b", None):
        with pytest.raises(ValueError, match="name must be a text of 1 to 200 characters"), acting_as(name):  # type: ignore[arg-type]
            pass
    monkeypatch.setenv("DAGORAMA_ACTOR", "y" * 500)
    assert actor() == "y" * ACTOR_LENGTH_MAX
    monkeypatch.delenv("DAGORAMA_ACTOR")
    assert "@" in actor()
    instance.cancel()
    assert told(instance.history())[1] == ("cancel", actor())


def test_an_entry_tells_itself_in_one_line(broker: InProcessBroker) -> None:
    """For logs and terminals of programs that look back."""
    instance, _ = Flaky()()
    instance.set_priority(7)
    entry: HistoryEntry = list(instance.history())[1]
    whose = f"instance {instance.instance_id}"
    assert str(entry) == f"{whose} was given another priority by tests (priority=7, before=0)"


@pytest.mark.parametrize("text", ["no JSON", "[1]", "[" * 100_000], ids=["none", "list", "deep"])
def test_details_that_cannot_be_read_are_left_out(text: str) -> None:
    """One entry does not hide all others."""
    assert details_in(text) == {}
