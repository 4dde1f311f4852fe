"""The feed of what happens: bounded, durable, resumable, and nothing where nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.values import InstanceId, WorkerId
from dagorama_broker.requests import feed as feed_module
from dagorama_broker.requests.answers import EventKind
from dagorama_broker.requests.feed import KEPT_S, ExpiredCursor, Feed


def instance(number: int) -> Instance:
    """Make an instance."""
    return Instance(seq=number, id=InstanceId(bytes(15) + bytes([number])), definition="shop:Order", created_at=1.0)


def created(number: int) -> e.InstanceCreated:
    """Make the event of a start."""
    return e.InstanceCreated(instance=instance(number))


@pytest.fixture
def feed() -> Feed:
    """A feed that has begun at second 1."""
    one = Feed()
    assert one.begin(1.0)
    assert not one.begin(1.0)
    return one


def numbers(feed: Feed, after: str, only: int | None = None) -> list[int]:
    """Give the numbers of the instances that are told of after a cursor."""
    batch = feed.read(after, None if only is None else instance(only).id)
    return [happening.instance_id[-1] for _, happening in batch.events if happening.instance_id]


def test_a_cursor_goes_on_where_it_was_given(feed: Feed) -> None:
    """That of an event and that of a batch; a batch without any event has one too."""
    begin = feed.read("", None)
    assert (begin.events, begin.skipped) == ([], 0)
    feed.take([created(1), created(2)], 2.0)
    feed.take([created(3)], 2.0)
    first = feed.read(begin.cursor, None)
    assert [happening.kind for _, happening in first.events] == [EventKind.INSTANCE_CREATED] * 3
    assert numbers(feed, begin.cursor) == [1, 2, 3]
    assert numbers(feed, first.events[0][0]) == [2, 3]
    assert first.cursor == first.events[-1][0]
    assert feed.read(first.cursor, None).events == []
    feed.take([created(4)], 2.0)
    assert numbers(feed, feed.read(first.cursor, instance(1).id).cursor) == []
    assert numbers(feed, first.cursor) == [4]


def test_one_instance_is_watched_by_itself(feed: Feed) -> None:
    """The cursor of its batch is behind what has happened to others."""
    begin = feed.read("", None).cursor
    feed.take([created(1), created(2), e.WorkerJoined(worker_id=WorkerId(b"w"), name="w1", at=1.0), created(1)], 2.0)
    assert numbers(feed, begin, only=1) == [1, 1]
    assert numbers(feed, feed.read(begin, instance(2).id).cursor) == []


def test_who_is_too_slow_is_told_how_many_were_missed(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it goes on with what is kept."""
    monkeypatch.setattr(feed_module, "KEPT_MAX", 3)
    small = Feed()
    small.begin(1.0)
    begin = small.read("", None).cursor
    small.take([created(number) for number in range(1, 6)], 2.0)
    batch = small.read(begin, None)
    assert (batch.events, batch.skipped) == ([], 2)
    assert numbers(small, batch.cursor) == [3, 4, 5]
    assert small.read(batch.cursor, None).skipped == 0


def test_a_batch_is_bounded(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next goes on behind it."""
    monkeypatch.setattr(feed_module, "TOLD_MAX", 2)
    begin = feed.read("", None).cursor
    feed.take([created(1), created(2), created(1), created(1)], 2.0)
    assert numbers(feed, begin) == [1, 2]
    assert numbers(feed, feed.read(begin, None).cursor) == [1, 1]
    second = feed.read(begin, instance(1).id)
    assert len(second.events) == 2
    assert numbers(feed, second.cursor, only=1) == [1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cursor: f"0{cursor}",
        lambda cursor: f"{cursor}0",
        lambda cursor: cursor.replace("-", ""),
        lambda cursor: f"{cursor.partition('-')[0]}-",
        lambda cursor: f"{cursor.partition('-')[0]}--1",
        lambda cursor: f"{cursor.partition('-')[0]}-{'9' * 5000}",
        lambda cursor: f"{cursor.partition('-')[0]}-²",
        lambda _: "-0",
        lambda _: "\x1b[31m",
    ],
)
def test_a_cursor_of_another_is_refused(feed: Feed, spoil: Callable[[str], str]) -> None:
    """It says how to go on; control characters in it are escaped."""
    feed.take([created(1)], 2.0)
    with pytest.raises(ExpiredCursor, match="Watch from now on, and list what there is") as caught:
        feed.read(spoil(feed.read("", None).cursor), None)
    assert "\x1b" not in str(caught.value)


def test_nothing_is_kept_when_nobody_has_watched_for_a_while(feed: Feed) -> None:
    """Ten minutes after the last look the broker need not tell the feed any more; a cursor from then is refused."""
    cursor = feed.read("", None).cursor
    feed.begin(100.0)
    assert feed.take([created(1)], 100.0 + KEPT_S)
    assert numbers(feed, cursor) == [1]
    assert not feed.take([created(2)], 101.0 + KEPT_S)
    assert feed.begin(102.0 + KEPT_S)
    with pytest.raises(ExpiredCursor):
        feed.read(cursor, None)
    assert feed.read("", None).cursor.endswith("-0")


def test_what_is_kept_has_no_payloads(feed: Feed) -> None:
    """A happening holds ids and words, not the nodes and values of its event."""
    begin = feed.read("", None).cursor
    one = instance(1)
    feed.take([e.InstanceFinished(instance=one, state=InstanceState.FAILED, at=7.0), created(2)], 8.0)
    (_, told), (_, later) = feed.read(begin, None).events
    assert told == (EventKind.INSTANCE_FINISHED, 7.0, one.id, "shop:Order", InstanceState.FAILED, 0, None)
    assert later.at == 8.0


def test_who_waits_is_woken_once(feed: Feed) -> None:
    """And not by events that nobody is told of."""
    woken = asyncio.Event()
    feed.waiting[woken] = None
    feed.take([e.InstanceReopened(instance=instance(1))][:0], 2.0)
    assert not woken.is_set()
    feed.take([created(1)], 2.0)
    assert (woken.is_set(), feed.waiting) == (True, {})
