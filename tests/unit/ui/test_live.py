"""One watch for all browsers: what each is told, and what becomes of one that reads slowly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from dagorama import BrokerUnavailable, ChangeSet, CursorExpired, InstanceChange, InstanceState
from dagorama.ui.changes import INSTANCES_MAX, MANY, NODES_MAX, Changes
from dagorama.ui.live import LINGER_S, QUIET_S, RETRY_S, Live, Viewer
from tests.unit.ui.clock import now, run

ONE, OTHER = UUID(int=1), UUID(int=2)
AWAY = BrokerUnavailable(host="b", port=1, waited_s=0.0, detail="connection refused")


def change(
    *nodes: int, of: UUID = ONE, state: str = "running", others: bool = False, grown: bool = False, completed: int = 1
) -> InstanceChange:
    """Tell that nodes of an instance have changed."""
    return InstanceChange(
        instance_id=of,
        state=InstanceState(state),
        counts={"completed": completed},
        node_ids=tuple(UUID(int=each) for each in nodes),
        others=others,
        grown=grown,
    )


def told(*instances: InstanceChange, workers: bool = False, queues: bool = True, missed: bool = False) -> ChangeSet:
    """Tell of changes."""
    return ChangeSet(instances=instances, cursor="", workers=workers, queues=queues, missed=missed)


@dataclass
class Broker:
    """A broker that tells what a test has happen, to as many streams as there are."""

    #: Sets of changes, and errors in which reading ends.
    happened: list[ChangeSet | Exception] = field(default_factory=list)
    #: While there is one, nothing can be asked.
    away: Exception | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0
    #: The instances whose nodes were to be named, each time.
    named: list[tuple[UUID, ...]] = field(default_factory=list)
    #: Begins the cursors.
    run: str = "a"

    def happen(self, *sets: ChangeSet | Exception) -> None:
        """Have something happen."""
        self.happened += sets
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
        """Give the changes after a cursor."""
        return Stream(self, after)


class Stream:
    """A stream of changes."""

    def __init__(self, broker: Broker, after: str) -> None:
        self.broker = broker
        self.cursor = after

    async def abegin(self) -> str:
        """Begin."""
        if self.broker.away:
            raise self.broker.away
        self.cursor = self.cursor or f"{self.broker.run}-{len(self.broker.happened)}"
        return self.cursor

    def name_nodes_of(self, *instances: UUID) -> None:
        """Note which."""
        self.broker.named.append(instances)

    async def __aiter__(self) -> AsyncIterator[ChangeSet]:
        """Yield what changes."""
        broker = self.broker
        broker.watches += 1
        began, _, text = self.cursor.partition("-")
        if began != broker.run:
            raise CursorExpired(request="to watch changes", code="OUT_OF_RANGE", detail="expired")
        number = int(text)
        while True:
            if broker.away:
                raise broker.away
            for each in broker.happened[number:]:
                number += 1
                if isinstance(each, Exception):
                    raise each
                yield replace(each, cursor=f"{began}-{number}")
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
        live = Live(broker.watch)
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
    """A completed node is told as soon as the broker tells of it, with its instance, and how its nodes are counted."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        began_at = now()
        broker.happen(told(change(7)))
        await asyncio.sleep(1)
        assert screen.messages[-1][0] == began_at

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


def test_what_comes_at_once_is_one_message() -> None:
    """With the last counts, and every node, or the word that they are many."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(*(told(change(step, completed=step)) for step in range(1, 11)))
        await asyncio.sleep(1)
        broker.happen(*(told(change(*range(100 * step, 100 * step + 100))) for step in range(3)))
        await asyncio.sleep(1)

    _, screen, _ = watching(story)
    few, many = screen.told("change")
    assert few["nodes"][str(ONE)] == [str(UUID(int=step)) for step in range(1, 11)]
    assert few["instances"][str(ONE)]["counts"] == {"completed": 10}
    assert many["nodes"] == {str(ONE): MANY}


def test_one_watch_serves_all_browsers() -> None:
    """Twenty browsers are one stream of changes, and each is told of its own nodes."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch)
        screens = [Screen() for _ in range(20)]

        async def look(number: int) -> None:
            with live.viewing([ONE if number % 2 else OTHER]) as viewer:
                await screens[number].read(viewer)

        readings = [asyncio.create_task(look(number)) for number in range(20)]
        await asyncio.sleep(1.3)
        assert {*broker.named[-1]} == {ONE, OTHER}
        broker.happen(told(change(7, of=ONE), change(8, of=OTHER)))
        await asyncio.sleep(1)
        live.close()
        await asyncio.gather(*readings)
        assert broker.watches == 1
        for number, screen in enumerate(screens):
            (message,) = screen.told("change")
            mine, its_node = (ONE, 7) if number % 2 else (OTHER, 8)
            assert message["nodes"] == {str(mine): [str(UUID(int=its_node))]}
            assert message["instances"].keys() == {str(ONE), str(OTHER)}

    run(main())


def test_nodes_are_named_for_as_long_as_somebody_watches_them() -> None:
    """Who comes while the watch is on has them named, and once all have gone nobody does."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch)
        with live.viewing([ONE]):
            await asyncio.sleep(1)
            with live.viewing([OTHER, ONE]):
                pass
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        live.close()
        assert [{*each} for each in broker.named] == [{ONE}, {ONE, OTHER}, {ONE}, set()]

    run(main())


def test_a_slow_browser_holds_up_nobody_and_costs_little() -> None:
    """Who does not read for minutes is told once, of what has changed since, in a message of a bounded size."""

    async def main() -> None:
        broker, fast = Broker(), Screen()
        live = Live(broker.watch)
        with live.viewing([ONE]) as quick, live.viewing([ONE]) as slow:
            reading = asyncio.create_task(fast.read(quick))
            async with aclosing(slow.messages()) as messages:
                await anext(messages)
                for step in range(300):
                    broker.happen(told(change(step), *(change(each, of=UUID(int=each)) for each in range(10))))
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
        changes.take(told(change(of=UUID(int=number), grown=True)))
    assert (changes.stale, len(changes.instances), len(changes.grown)) == (True, INSTANCES_MAX, INSTANCES_MAX)
    later = Changes()
    later.take(told(change(of=UUID(int=10**9), grown=True)))
    changes.add(later)
    assert (len(changes.instances), len(changes.grown), len(changes.counts)) == (INSTANCES_MAX,) * 3


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (told(change(grown=True)), {"grown": [str(ONE)], "nodes": {}}),
        (told(change(7, others=True)), {"nodes": {str(ONE): MANY}}),
        (told(change(*range(NODES_MAX + 1))), {"nodes": {str(ONE): MANY}}),
        (told(change()), {"nodes": {}, "queues": True, "workers": False}),
        (told(change(7)), {"nodes": {str(ONE): [str(UUID(int=7))]}}),
        (told(workers=True), {"workers": True, "queues": True, "instances": {}}),
    ],
)
def test_each_change_says_what_to_show_anew(what: ChangeSet, message: dict[str, object]) -> None:
    """The message names what a page has to read again."""
    changes = Changes()
    changes.take(what)
    found = changes.told([ONE])
    assert {name: found[name] for name in message} == message


def test_changes_that_were_missed_are_read_again() -> None:
    """Where more has changed than the broker tells of, every browser reads everything again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(told(missed=True))
        await asyncio.sleep(1)

    assert watching(story)[1].told("stale") == [{}]


@pytest.mark.parametrize("anew", [True, False])
def test_a_broker_that_goes_away_is_lost_and_comes_back(anew: bool) -> None:
    """A browser is told within a second, each time; what it may have missed of a broker started anew it reads again."""

    async def story(broker: Broker, live: Live, screen: Screen) -> None:
        broker.happen(told(change(7)))
        await asyncio.sleep(1)
        broker.go(AWAY)
        await asyncio.sleep(600)
        broker.come_back(anew=anew)
        came_at = now()
        await asyncio.sleep(RETRY_S + 0.01)
        assert [at for at, event, _ in screen.messages if event == "back"][-1] - came_at <= RETRY_S
        broker.happen(told(change(8)))
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


def test_a_browser_that_comes_back_is_told_what_it_missed() -> None:
    """It goes on after the last message that it has; where that is not known any more it reads everything again."""

    async def main() -> None:
        broker, first = Broker(), Screen()
        live = Live(broker.watch)
        with live.viewing([ONE]) as stays:
            reading = asyncio.create_task(Screen().read(stays))
            with live.viewing([ONE]) as viewer:
                task = asyncio.create_task(first.read(viewer))
                await asyncio.sleep(1)
                broker.happen(told(change(1)))
                await asyncio.sleep(1.6)
                task.cancel()
            for number in (2, 3):
                broker.happen(told(change(number)))
                await asyncio.sleep(0.25)
            heard = {}
            for cursor in (first.cursor, live.cursor, "a-nothing"):
                again = Screen()
                with live.viewing([ONE], cursor) as viewer:
                    task = asyncio.create_task(again.read(viewer))
                    await asyncio.sleep(0)
                    await asyncio.sleep(0.01)
                    task.cancel()
                heard[cursor] = [(event, data.get("nodes")) for _, event, data in again.messages if event != "back"]
            live.close()
            await reading
        assert list(heard.values()) == [
            [("change", {str(ONE): [str(UUID(int=2)), str(UUID(int=3))]})],
            [],
            [("stale", None)],
        ]

    run(main())


def test_nobody_looks_and_nothing_is_watched() -> None:
    """The watch ends a while after the last browser has gone, goes on for one that comes before, and begins again."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch)

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
        assert (broker.watches, live._task is not None) == (1, True)
        await asyncio.sleep(LINGER_S)
        assert (live._task, live.cursor) == (None, "")
        await look()
        assert broker.watches == 2
        live.close()

    run(main())


def test_a_browser_that_comes_to_a_closed_page_is_told_nothing() -> None:
    """Nothing is watched for it."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch)
        live.close()
        with live.viewing() as viewer:
            assert [message async for message in viewer.messages()] == []
            await asyncio.sleep(1)
        assert (broker.watches, live._task) == (0, None)

    run(main())


def test_a_quiet_stream_says_so() -> None:
    """A comment now and then shows to both sides that the connection is there."""

    async def main() -> None:
        broker = Broker()
        live = Live(broker.watch)
        with live.viewing() as viewer:
            async with aclosing(viewer.messages()) as messages:
                await anext(messages)
                began_at = now()
                assert (await anext(messages)).startswith(": ")
                assert now() - began_at == QUIET_S
        live.close()

    run(main())
