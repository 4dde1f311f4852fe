"""The stream of what happens, read in process: in order, resumable, and no longer than something can happen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from dagorama import (
    BrokerRefused,
    CursorExpired,
    DAGDefinition,
    Event,
    EventsSkipped,
    InstanceEvent,
    NodeEvent,
    NodeFailed,
    Queue,
    StaticRetry,
    WorkerEvent,
    attach,
    context,
    dagorama,
    events,
)
from dagorama.testing import in_process_broker, inline
from dagorama_broker.requests import feed


class Sums(DAGDefinition):
    """Adds, and fails where it is told to."""

    @dagorama().syncfn
    def entrypoint(self, numbers: list[int]) -> int:
        """Adds what each gives."""
        return self.total([self.one(number) for number in numbers])

    @dagorama(retry=StaticRetry(2, 60)).syncfn
    def one(self, number: int) -> int:
        """Gives a number, of 7 the second time."""
        if number < 0 or (number == 7 and context().attempt == 1):
            raise ValueError(f"{number} is no number" + "!" * 500)
        return number

    @dagorama().syncfn
    def total(self, numbers: list[int]) -> int:
        """Adds."""
        return sum(numbers)


@pytest.fixture(autouse=True)
def broker(request: pytest.FixtureRequest) -> Iterator[None]:
    """A broker of this process."""
    with in_process_broker():
        yield


def told(happened: list[Event]) -> list[str]:
    """Gives kinds, and the methods where they are about nodes."""
    return [
        f"{one.kind} {one.function.rpartition('.')[2]}"
        if isinstance(one, NodeEvent)
        else str(getattr(one, "kind", one))
        for one in happened
    ]


def test_a_run_is_told_in_order() -> None:
    """With the facts of each event; reading it lets nodes run, and ends when nothing more can."""
    stream = events()
    stream.begin()
    started, promise = Sums()([7])
    happened = list(stream)
    assert told(happened) == [
        "instance_created",
        "nodes_created",
        "nodes_created",
        "attempt_failed one",
        "node_completed one",
        "node_completed total",
        "node_completed entrypoint",
        "instance_finished",
    ]
    created, first, second, failed, one, *_, finished = happened
    assert isinstance(created, InstanceEvent)
    assert (created.instance_id, created.definition, created.state, created.node_count) == (
        started.instance_id,
        f"{__name__}:Sums",
        "running",
        None,
    )
    assert isinstance(first, InstanceEvent)
    assert isinstance(second, InstanceEvent)
    assert (first.node_count, second.node_count) == (1, 2)
    assert isinstance(failed, NodeEvent)
    assert (failed.attempt, failed.worker, failed.error_type) == (1, "in-process", "ValueError")
    assert failed.error_message == f"7 is no number{'!' * 283}..."
    assert isinstance(one, NodeEvent)
    assert (one.attempt, one.node_id, one.worker, one.error_type, one.cause_id) == (2, failed.node_id, "", "", None)
    assert isinstance(finished, InstanceEvent)
    assert (finished.state, finished.cursor) == ("completed", stream.cursor)
    assert (one.at - failed.at).total_seconds() >= 60
    assert started.node(promise).status.finished_at == happened[-2].at  # type: ignore[union-attr]


def test_a_stream_goes_on_after_a_cursor() -> None:
    """That of any event, in another stream; reading the same one again goes on where it was left."""
    cursor = events().begin()
    Sums()([1])
    stream = events(after=cursor)
    reading = iter(stream)
    first = [next(reading), next(reading)]
    rest = list(stream)
    everything = list(events(after=cursor))
    assert everything == [*first, *rest]
    assert list(events(after=everything[4].cursor)) == everything[5:]
    assert list(events(after=stream.cursor)) == []


def test_an_event_loop_reads_the_same() -> None:
    """With `async for`, and beginning first."""

    async def read() -> list[Event]:
        stream = events()
        cursor = await stream.abegin()
        assert (cursor, await stream.abegin()) == (stream.cursor, stream.cursor)
        Sums()([1])
        return [event async for event in stream]

    assert told(asyncio.run(read()))[-1] == "instance_finished"


def test_one_instance_is_watched() -> None:
    """By its handle, with or without its definition, or its id; others' events are left out."""
    cursor = events().begin()
    one, _ = Sums()([-1])
    other, _ = Sums()([1])
    found = attach(one.instance_id)
    with pytest.raises(NodeFailed):
        one.result()
    other.result()
    for which in (one, found, one.instance_id, str(one.instance_id)):
        happened = list(events(which, after=cursor))
        assert told(happened) == [
            "instance_created",
            "nodes_created",
            "nodes_created",
            "attempt_failed one",
            "attempt_failed one",
            "node_failed one",
            "node_dependency_failed total",
            "node_dependency_failed entrypoint",
            "instance_finished",
        ]
    failed, after = happened[5], happened[6]
    assert isinstance(failed, NodeEvent)
    assert isinstance(after, NodeEvent)
    assert (failed.attempt, failed.error_type, after.cause_id, after.attempt) == (2, "ValueError", failed.node_id, None)
    with pytest.raises(TypeError, match=r"events\(\) takes the id of an instance, a UUID or its text, or an instance"):
        events(3)  # type: ignore[arg-type]


def test_words_of_people_are_told() -> None:
    """Pauses, priorities and caps; a retry; a cancel, once for all nodes."""
    cursor = events().begin()
    one, _ = Sums()([-1])
    one.pause()
    one.cap(3)
    one.set_priority(5)
    one.resume()
    with pytest.raises(NodeFailed):
        one.result()
    one.retry()
    one.cancel()
    happened = list(events(after=cursor))
    changed = [event for event in happened if getattr(event, "kind", "") == "instance_controlled"]
    assert [(event.paused, event.running_max, event.priority) for event in changed] == [  # type: ignore[union-attr]
        (True, None, 0),
        (True, 3, 0),
        (True, 3, 5),
        (False, 3, 5),
    ]
    assert told(happened)[-3:] == ["instance_reopened", "nodes_reset", "instance_finished"]
    reset, finished = happened[-2:]
    assert isinstance(reset, InstanceEvent)
    assert isinstance(finished, InstanceEvent)
    assert (reset.node_count, finished.state) == (3, "cancelled")


@pytest.mark.parametrize("cursor", ["5f-3", "x", "-", "\x1b[31m", "0-0"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    """It says how to go on."""
    with pytest.raises(CursorExpired, match="Watch from now on, and list what there is") as caught:
        list(events(after=cursor))
    assert "\x1b" not in str(caught.value)
    assert isinstance(caught.value, BrokerRefused)


def test_the_cursor_of_another_broker_is_refused() -> None:
    """So is that from before a restart."""
    cursor = events().begin()
    with in_process_broker():
        events().begin()
        with pytest.raises(CursorExpired):
            next(iter(events(after=cursor)))


def test_a_slow_reader_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on with what is kept."""
    monkeypatch.setattr(feed, "KEPT_MAX", 3)
    with in_process_broker():
        stream = events()
        stream.begin()
        Sums()([1])[0].result()
        skipped, *rest = list(stream)
        assert isinstance(skipped, EventsSkipped)
        assert (skipped.number, len(rest)) == (4, 3)
        assert list(events(after=skipped.cursor)) == rest


def test_inline_nothing_is_watched() -> None:
    """No broker knows what happens."""
    with inline(), pytest.raises(BrokerRefused, match="nodes run inline"):
        events(uuid4())


def test_workers_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The type is that of what the broker tells; a queue's pause is told to nobody."""
    stream = events()
    stream.begin()
    Queue("x").pause()
    assert list(stream) == []
    fields: Any = WorkerEvent.__dataclass_fields__
    assert list(fields) == ["kind", "cursor", "at", "worker_id", "worker"]
