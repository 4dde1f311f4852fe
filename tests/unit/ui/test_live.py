"""One watch for all browsers: how often each is told of what, and what becomes of one that reads slowly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dagorama import (
    BrokerUnavailable,
    CursorExpired,
    Event,
    EventKind,
    EventsSkipped,
    InstanceEvent,
    InstanceState,
    InstanceStatus,
    NodeEvent,
    WorkerEvent,
)
from dagorama.ui import live as module
from dagorama.ui.changes import INSTANCES_MAX, MANY, NODES_MAX, Changes
from dagorama.ui.live import COUNT_S, COUNTED_MAX, INTERVAL_S, LINGER_S, LOOK_S, QUIET_S, RETRY_S, Live, Viewer
from tests.unit.ui.clock import now, run

AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
ONE, OTHER = UUID(int=1), UUID(int=2)
AWAY = BrokerUnavailable(host="b", port=1, waited_s=0.0, detail="connection refused")


def node(number: int, instance_id: UUID = ONE, kind: EventKind = EventKind.NODE_COMPLETED) -> NodeEvent:
    """Tell of a node."""
    return NodeEvent(
        kind=kind,
        cursor="",
        at=AT,
        instance_id=instance_id,
        node_id=UUID(int=number),
        function="m:C.f",
        attempt=1,
        worker="",
        error_type="",
        error_message="",
        cause_id=None,
    )


def instance(kind: EventKind, state: str = "running", instance_id: UUID = ONE) -> InstanceEvent:
    """Tell of an instance."""
    return InstanceEvent(
        kind=kind,
        cursor="",
        at=AT,
        instance_id=instance_id,
        definition="m:C",
        state=InstanceState(state),
        node_count=None,
        priority=0,
        paused=False,
        running_max=None,
    )


def status(instance_id: UUID, **counts: int) -> InstanceStatus:
    """Tell how an instance stands."""
    return InstanceStatus(
        instance_id=instance_id,
        definition="m:C",
        state=InstanceState.RUNNING,
        created_at=AT,
        finished_at=None,
        deadline_at=None,
        counts=counts,
        priority=0,
        group="",
        paused=False,
        running_max=None,
        key="",
        tags={},
    )


@dataclass
class Broker:
    """A broker that tells what a test has happen, to as many streams as there are."""

    #: Events, and errors in which reading ends.
    happened: list[Event | Exception] = field(default_factory=list)
    #: While there is one, nothing can be asked.
    away: Exception | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0
    looks: list[UUID] = field(default_factory=list)
    #: Begins the cursors.
    run: str = "a"
    #: The instances that run, and the counts of those that no event tells of.
    standing: list[UUID] = field(default_factory=lambda: [ONE])
    counts: dict[UUID, dict[str, int]] = field(default_factory=dict)

    def happen(self, *events: Event | Exception) -> None:
        """Have something happen."""
        self.happened += events
        self.news.set()

    def go(self, error: Exception) -> None:
        """Go away."""
        self.away = error
        self.news.set()

    def come_back(self, *, anew: bool) -> None:
        """Be there again: started anew, or after a broken connection."""
        if anew:
            self.run, self.happened = "b", []
        self.away = None

    def watch(self, after: str) -> Stream:
        """Give the events after a cursor."""
        return Stream(self, after)

    async def look_at(self, instance_id: UUID) -> InstanceStatus:
        """Tell how an instance stands."""
        self.looks.append(instance_id)
        return self._told(instance_id)

    async def running(self) -> list[InstanceStatus]:
        """Tell of the instances that run."""
        return [self._told(each) for each in self.standing]

    def _told(self, instance_id: UUID) -> InstanceStatus:
        done = [each for each in self.happened if isinstance(each, NodeEvent) and each.instance_id == instance_id]
        return status(instance_id, **(self.counts.get(instance_id) or ({"completed": len(done)} if done else {})))


class Stream:
    """A stream of events."""

    def __init__(self, broker: Broker, after: str) -> None:
        self.broker = broker
        self.cursor = after

    async def abegin(self) -> str:
        """Begin."""
        if self.broker.away:
            raise self.broker.away
        self.cursor = self.cursor or f"{self.broker.run}-{len(self.broker.happened)}"
        return self.cursor

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield what happens."""
        broker = self.broker
        broker.watches += 1
        began, _, text = self.cursor.partition("-")
        if began != broker.run:
            raise CursorExpired(request="to watch events", code="OUT_OF_RANGE", detail="expired")
        number = int(text)
        while True:
            if broker.away:
                raise broker.away
            for event in broker.happened[number:]:
                number += 1
                if isinstance(event, Exception):
                    raise event
                yield replace(event, cursor=f"{began}-{number}")
            broker.news.clear()
            await broker.news.wait()


@dataclass
class Screen:
    """A browser that reads at once, with the times at which it was told something."""

    messages: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    cursor: str = ""

    async def read(self, viewer: Viewer) -> None:
        """Read until the page stops."""
        async for text in viewer.messages():
            for event, cursor, data in parsed(text):
                self.messages.append((now(), event, data))
                self.cursor = cursor or self.cursor

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of the messages of a kind."""
        return [data for _, event, data in self.messages if event == kind]


def parsed(text: str) -> list[tuple[str, str, Any]]:
    """Return the name, the id and the data of each message, read as browsers do."""
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "event" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


def watching(
    story: Callable[[Broker, Live, Screen], Any], watched: Sequence[UUID] = (ONE,)
) -> tuple[Broker, Screen, float]:
    """Have a browser watch while something happens, and return what it was told; the time is a number."""

    async def main() -> tuple[Broker, Screen, float]:
        broker, screen = Broker(), Screen()
        live = Live(broker.watch, broker.look_at, broker.running)
        with live.viewing(watched) as viewer:
            reading = asyncio.create_task(screen.read(viewer))
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            await story(broker, live, screen)
            live.close()
            await reading
        return broker, screen, now()

    return run(main())


def test_a_change_is_told_at_once() -> None:
    """A completed node is told within one message's time, with its instance, and how its nodes are counted."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(node(7))
        await asyncio.sleep(INTERVAL_S)

    _, screen, _ = watching(story)
    assert screen.told("back") == [{"first": True}]
    assert screen.told("change") == [
        {
            "instances": {str(ONE): {"state": "running", "counts": {"completed": 1}}},
            "nodes": {str(ONE): [str(UUID(int=7))]},
            "grown": [],
            "workers": False,
            "queues": True,
        }
    ]


def test_messages_are_four_a_second_whatever_happens() -> None:
    """10,000 events in 10 seconds are 41 messages at most, in which every node is told of or said to be many."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        for step in range(1000):
            broker.happen(*(node(step * 10 + each) for each in range(10)))
            await asyncio.sleep(0.01)
        await asyncio.sleep(INTERVAL_S)

    _, screen, _ = watching(story)
    changes = screen.told("change")
    assert 38 <= len(changes) <= 42
    named = [each["nodes"][str(ONE)] for each in changes if each["nodes"]]
    assert MANY in named
    assert sum(len(each) for each in named if each != MANY) + 10_000 * (MANY in named) >= 10_000
    assert all(len(each) <= NODES_MAX for each in named if each != MANY)


def test_nodes_are_counted_once_a_second_and_at_the_end() -> None:
    """Counting costs the broker little however much happens, and the last counts are told."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        for step in range(500):
            broker.happen(node(step))
            await asyncio.sleep(0.01)
        await asyncio.sleep(2 * COUNT_S)

    broker, screen, _ = watching(story)
    assert 5 <= len(broker.looks) <= 7
    counted = [each["instances"][str(ONE)]["counts"] for each in screen.told("change")]
    assert [each for each in counted if each][-1] == {"completed": 500}


def test_a_node_that_a_worker_has_begun_is_told() -> None:
    """No event tells of that, so it is looked at; while nothing changes nothing is told."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.counts[ONE] = {"ready": 1}
        await asyncio.sleep(5)
        before = len(screen.told("change"))
        broker.counts[ONE] = {"leased": 1}
        began_at = now()
        await asyncio.sleep(60)
        at, _, told = screen.messages[-1]
        assert at - began_at <= LOOK_S + INTERVAL_S
        assert told["instances"] == {str(ONE): {"state": "running", "counts": {"leased": 1}}}
        assert told["nodes"] == {str(ONE): MANY}
        assert (before, len(screen.told("change"))) == (1, 2)

    broker, _, _ = watching(story)
    assert broker.looks == []


def test_a_watched_instance_is_looked_at_that_is_none_of_the_newest() -> None:
    """Who looks at an old instance is told of its nodes, too."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.counts[OTHER] = {"ready": 1}
        await asyncio.sleep(2)
        broker.counts[OTHER] = {"leased": 1}
        await asyncio.sleep(2)

    _, screen, _ = watching(story, [OTHER])
    assert [each["instances"][str(OTHER)]["counts"] for each in screen.told("change") if each["nodes"]] == [
        {"ready": 1},
        {"leased": 1},
    ]


def test_of_many_instances_some_are_counted_with_each_message() -> None:
    """The broker is asked about a bounded number at a time, and in the end about all."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        everything = [UUID(int=each) for each in range(100)]
        broker.counts |= {each: {"ready": 1} for each in everything}
        broker.happen(*(instance(EventKind.INSTANCE_CREATED, instance_id=each) for each in everything))
        await asyncio.sleep(INTERVAL_S)
        assert len(broker.looks) <= 2 * COUNTED_MAX
        await asyncio.sleep(10 * INTERVAL_S)

    broker, screen, _ = watching(story)
    assert set(broker.looks) | {ONE} == {UUID(int=each) for each in range(100)}
    assert len(broker.looks) < 110
    counted = {id_ for each in screen.told("change") for id_, told in each["instances"].items() if told["counts"]}
    assert len(counted) == 100


def test_of_more_than_can_be_counted_the_newest_are() -> None:
    """Those that wait to be counted stay bounded, and for what is left out all is read again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        for step in range(4):
            ids = [UUID(int=1000 * step + each) for each in range(2, INSTANCES_MAX + 2)]
            broker.happen(*(instance(EventKind.INSTANCE_CREATED, instance_id=each) for each in ids))
            await asyncio.sleep(INTERVAL_S)
            assert len(live._uncounted) <= INSTANCES_MAX
        assert len(screen.told("stale")) >= 2
        assert {*live._uncounted} <= {*ids}

    watching(story)


def test_one_watch_serves_all_browsers() -> None:
    """Twenty browsers are one stream of events and one count, and each is told of its own nodes."""

    async def main() -> None:
        broker = Broker(standing=[ONE, OTHER])
        live = Live(broker.watch, broker.look_at, broker.running)
        screens = [Screen() for _ in range(20)]

        async def look(number: int) -> None:
            with live.viewing([ONE if number % 2 else OTHER]) as viewer:
                await screens[number].read(viewer)

        readings = [asyncio.create_task(look(number)) for number in range(20)]
        await asyncio.sleep(1.3)
        broker.happen(node(7, ONE), node(8, OTHER))
        await asyncio.sleep(1)
        live.close()
        await asyncio.gather(*readings)
        assert broker.watches == 1
        assert len(broker.looks) <= 2
        for number, screen in enumerate(screens):
            change = screen.told("change")[-1]
            mine, its_node = (ONE, 7) if number % 2 else (OTHER, 8)
            assert change["nodes"] == {str(mine): [str(UUID(int=its_node))]}
            assert change["instances"].keys() == {str(ONE), str(OTHER)}

    run(main())


def test_a_slow_browser_holds_up_nobody_and_costs_little() -> None:
    """Who does not read for minutes is told once, of what has changed since, in a message of a bounded size."""

    async def main() -> None:
        broker, fast = Broker(), Screen()
        live = Live(broker.watch, broker.look_at, broker.running)
        with live.viewing([ONE]) as quick, live.viewing([ONE]) as slow:
            reading = asyncio.create_task(fast.read(quick))
            async with aclosing(slow.messages()) as messages:
                await anext(messages)
                for step in range(300):
                    broker.happen(node(step), *(node(each, UUID(int=each)) for each in range(10)))
                    await asyncio.sleep(1)
                text = await anext(messages)
            live.close()
            await reading
        (event, _, data) = parsed(text)[0]
        assert (event, data["nodes"]) == ("change", {str(ONE): MANY})
        assert len(text) < 5000
        assert len(fast.told("change")) >= 300

    run(main())


def test_more_than_can_be_told_is_read_again() -> None:
    """With too many instances a browser is told to read everything again, and the set of changes stays bounded."""
    changes = Changes()
    for number in range(2 * INSTANCES_MAX):
        changes.take(instance(EventKind.NODES_CREATED, instance_id=UUID(int=number)))
    assert (changes.stale, len(changes.instances), len(changes.grown)) == (True, INSTANCES_MAX, INSTANCES_MAX)
    later = Changes()
    later.take(instance(EventKind.NODES_CREATED, instance_id=UUID(int=10**9)))
    changes.add(later)
    assert (len(changes.instances), len(changes.grown)) == (INSTANCES_MAX, INSTANCES_MAX)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (instance(EventKind.NODES_CREATED), {"grown": [str(ONE)], "nodes": {}}),
        (instance(EventKind.NODES_RESET), {"nodes": {str(ONE): MANY}}),
        (instance(EventKind.INSTANCE_FINISHED, "cancelled"), {"nodes": {str(ONE): MANY}, "queues": True}),
        (instance(EventKind.INSTANCE_CONTROLLED), {"nodes": {}, "queues": True, "workers": False}),
        (node(7, kind=EventKind.ATTEMPT_FAILED), {"nodes": {str(ONE): [str(UUID(int=7))]}}),
        (
            WorkerEvent(kind=EventKind.WORKER_LOST, cursor="", at=AT, worker_id=ONE, worker="w"),
            {"workers": True, "queues": True, "instances": {}},
        ),
    ],
)
def test_each_event_says_what_to_show_anew(event: Event, told: dict[str, object]) -> None:
    """The message names what a page has to read again."""
    changes = Changes()
    changes.take(event)
    message = changes.told([ONE], {})
    assert {name: message[name] for name in told} == told


def test_events_that_were_skipped_are_read_again() -> None:
    """A watch that was too slow has every browser read everything again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(EventsSkipped(number=5, cursor=""))
        await asyncio.sleep(INTERVAL_S)

    assert watching(story)[1].told("stale") == [{}]


@pytest.mark.parametrize("anew", [True, False])
def test_a_broker_that_goes_away_is_lost_and_comes_back(anew: bool) -> None:
    """A browser is told within a second, each time; what it may have missed of a broker started anew it reads again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(node(7))
        await asyncio.sleep(1)
        broker.go(AWAY)
        await asyncio.sleep(600)
        broker.come_back(anew=anew)
        came_at = now()
        await asyncio.sleep(RETRY_S + 0.01)
        assert [at for at, event, _ in screen.messages if event == "back"][-1] - came_at <= RETRY_S
        broker.happen(node(8))
        await asyncio.sleep(1)

    _, screen, _ = watching(story)
    assert screen.told("lost") == [{"detail": str(AWAY)}]
    assert screen.told("back") == [{"first": True}, {"first": False}]
    assert screen.told("stale") == [{}] * anew
    assert screen.told("change")[-1]["nodes"] in ({str(ONE): [str(UUID(int=8))]}, {})


def test_a_defect_of_the_watch_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """What breaks is logged, told without its words, and tried again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.go(ValueError("a secret"))
        await asyncio.sleep(1)
        broker.come_back(anew=False)
        await asyncio.sleep(2)

    _, screen, _ = watching(story)
    assert screen.told("lost") == [{"detail": "the page has a defect"}]
    assert len(screen.told("back")) == 2
    assert "a secret" in caplog.text


@pytest.mark.parametrize("part", ["look_at", "running"])
def test_a_defect_of_a_look_does_not_end_it(part: str, caplog: pytest.LogCaptureFixture) -> None:
    """Looking and telling go on after what breaks them; of changes that were not told a browser reads all again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broken = True

        async def fails(*_: object) -> Any:
            if broken:
                raise ValueError("a secret")
            return status(OTHER, ready=1) if part == "look_at" else [status(OTHER, ready=1)]

        setattr(live, f"_{part}", fails)
        broker.happen(node(7, OTHER))
        await asyncio.sleep(5)
        assert [event for _, event, _ in screen.messages if event in ("lost", "back")] == ["back", "lost"]
        broken = False
        await asyncio.sleep(5)
        broker.happen(node(8, OTHER))
        await asyncio.sleep(2)

    _, screen, _ = watching(story)
    assert screen.told("lost") == [{"detail": "the page has a defect"}]
    assert screen.told("back") == [{"first": True}, {"first": False}]
    assert bool(screen.told("stale")) == (part == "look_at")
    assert screen.told("change")[-1]["instances"].keys() == {str(OTHER)}
    assert "a secret" in caplog.text


def test_a_browser_that_comes_back_is_told_what_it_missed() -> None:
    """It goes on after the last message that it has; where that is not known any more it reads everything again."""

    async def main() -> None:
        broker, first = Broker(), Screen()
        live = Live(broker.watch, broker.look_at, broker.running)
        with live.viewing([ONE]) as stays:
            reading = asyncio.create_task(Screen().read(stays))
            with live.viewing([ONE]) as viewer:
                task = asyncio.create_task(first.read(viewer))
                await asyncio.sleep(1)
                broker.happen(node(1))
                await asyncio.sleep(1.6)
                task.cancel()
            for number in (2, 3):
                broker.happen(node(number))
                await asyncio.sleep(INTERVAL_S)
            told = {}
            for cursor in (first.cursor, live.cursor, "a-nothing"):
                again = Screen()
                with live.viewing([ONE], cursor) as viewer:
                    task = asyncio.create_task(again.read(viewer))
                    await asyncio.sleep(0)
                    await asyncio.sleep(0.01)
                    task.cancel()
                told[cursor] = [(event, data.get("nodes")) for _, event, data in again.messages if event != "back"]
            live.close()
            await reading
        assert list(told.values()) == [
            [("change", {str(ONE): [str(UUID(int=2)), str(UUID(int=3))]})],
            [],
            [("stale", None)],
        ]

    run(main())


def test_nobody_looks_and_nothing_is_watched() -> None:
    """The watch ends a while after the last browser has gone, goes on for one that comes before, and begins again."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch, broker.look_at, broker.running)

        async def look() -> None:
            with live.viewing() as viewer:
                async with aclosing(viewer.messages()) as messages:
                    assert "event: back" in await anext(messages)

        await asyncio.sleep(1)
        assert broker.watches == 0
        await look()
        await asyncio.sleep(LINGER_S / 2)
        await look()
        await asyncio.sleep(LINGER_S / 2 + 1)
        assert (broker.watches, len(live._tasks)) == (1, 3)
        await asyncio.sleep(LINGER_S)
        assert (live._tasks, live.cursor) == ([], "")
        await look()
        assert broker.watches == 2
        live.close()

    run(main())


def test_a_browser_that_comes_to_a_closed_page_is_told_nothing() -> None:
    """Nothing is watched for it."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch, broker.look_at, broker.running)
        live.close()
        with live.viewing() as viewer:
            assert [message async for message in viewer.messages()] == []
            await asyncio.sleep(1)
        assert (broker.watches, live._tasks) == (0, [])

    run(main())


def test_a_quiet_stream_says_so() -> None:
    """A comment now and then shows to both sides that the connection is there."""

    async def main() -> None:
        broker = Broker(standing=[])
        live = Live(broker.watch, broker.look_at, broker.running)
        with live.viewing() as viewer:
            async with aclosing(viewer.messages()) as messages:
                await anext(messages)
                began_at = now()
                assert (await anext(messages)).startswith(": ")
                assert now() - began_at == QUIET_S
        live.close()

    run(main())


def test_an_instance_that_does_not_answer_is_told_without_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes too long, or is refused, holds up no message for longer than its time."""
    monkeypatch.setattr(module, "COUNT_S", 1.0)

    async def main() -> None:
        broker, screen = Broker(), Screen()

        async def never(instance_id: UUID) -> InstanceStatus:
            await asyncio.sleep(3600)
            raise AssertionError

        broker.standing = []
        live = Live(broker.watch, never, broker.running)
        with live.viewing() as viewer:
            reading = asyncio.create_task(screen.read(viewer))
            await asyncio.sleep(1)
            broker.happen(instance(EventKind.INSTANCE_FINISHED, "failed"))
            await asyncio.sleep(2)
            live.close()
            await reading
        assert screen.told("change")[0]["instances"] == {str(ONE): {"state": "failed", "counts": None}}

    run(main())
