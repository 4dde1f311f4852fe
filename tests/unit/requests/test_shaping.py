"""The shape and the times of an instance: the same wherever its nodes are, read bit by bit and page by page."""

from __future__ import annotations

import pytest

from dagorama_broker.core.errors import UnknownInstance
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.requests import Requests, shaping
from dagorama_broker.requests.answers import NodeTimes, Shape
from dagorama_broker.requests.checks import MalformedRequest
from tests.unit.host.commands import instance_id, submit
from tests.unit.requests.test_requests import ORDER, Keeping, hosting, in_process, run

pytestmark = pytest.mark.asyncio

COMPLETED = NodeState.COMPLETED


@pytest.fixture(params=[hosting, in_process])
def keeping(request: pytest.FixtureRequest) -> Keeping:
    """Give each keeper in turn."""
    made: Keeping = request.param
    return made


def told(shape: Shape) -> tuple[list[dict[NodeState, int]], list[tuple[int, int, bool, int]]]:
    """Return the counts of the groups, and the edges."""
    return [{**group.counts} for group in shape.groups], [
        (edge.source, edge.target, edge.is_call, edge.count) for edge in shape.edges
    ]


async def test_a_shape_is_the_same_wherever_nodes_are(keeping: Keeping) -> None:
    """In memory, in the journal, and where an instance that has ended got further nodes, so that they are in both."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a"))
        await keeper.submit(submit("b", after=["a"]))
        await keeper.submit(submit("c", after=["a", "b"]))
        await run(keeper, "a")
        assert told(await requests.get_shape(ORDER)) == (
            [{COMPLETED: 1, NodeState.READY: 1, NodeState.WAITING: 1}],
            [(0, 0, False, 3)],
        )
        await run(keeper, "b", "c")
        assert ORDER not in keeper.scheduler.instances
        assert told(await requests.get_shape(ORDER)) == ([{COMPLETED: 3}], [(0, 0, False, 3)])
        await keeper.submit(submit("d", after=["a"]))
        assert (len(keeper.scheduler.instances[ORDER].nodes) < 4) == (keeping is hosting)
        assert told(await requests.get_shape(ORDER)) == ([{COMPLETED: 3, NodeState.READY: 1}], [(0, 0, False, 4)])
        times = await requests.list_times(ORDER)
        assert (times.states, times.dependency_counts) == ([COMPLETED] * 3 + [NodeState.READY], [0, 1, 2, 1])


async def test_others_have_their_turn_meanwhile(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many nodes that have been looked at, in memory and in the journal, others go on."""
    monkeypatch.setattr(shaping, "_FOLDED_AT_ONCE", 2)
    monkeypatch.setattr(shaping, "_READ_AT_ONCE", 2)
    turns = 0
    async with keeping() as keeper:
        requests = Requests(keeper)
        names = "abcdefg"
        await keeper.submit(submit(*names))
        flush, read = keeper.flush, keeper.read

        async def flush_and_count() -> None:
            nonlocal turns
            turns += 1
            await flush()

        async def read_and_count(function: object, *args: object) -> object:
            nonlocal turns
            turns += 1
            return await read(function, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(keeper, "flush", flush_and_count)
        monkeypatch.setattr(keeper, "read", read_and_count)
        await requests.get_shape(ORDER)
        assert turns == 4
        await run(keeper, *names)
        turns = 0
        await requests.get_shape(ORDER)
        assert turns >= 4
        turns = 0
        await requests.list_times(ORDER)
        assert turns >= 4


async def test_times_come_page_by_page(keeping: Keeping) -> None:
    """Each page says where the next begins; a token that is none, and an instance that is none, are refused."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a", "b", "c"))
        await run(keeper, "a")
        pages: list[NodeTimes] = []
        token, has_more = "", True
        while has_more:
            pages.append(await requests.list_times(ORDER, page_size=2, page_token=token))
            token = pages[-1].next_page_token
            has_more = bool(token)
        assert [[*page.states] for page in pages] == [[COMPLETED, NodeState.READY], [NodeState.READY]]
        first = pages[0]
        (worker,) = [name for name, place in first.workers.items() if place == first.worker_places[0]]
        assert (worker, first.worker_places[1]) == ("w", 0)
        assert first.granted_at[0] <= first.started_at[0] <= first.returned_at[0] == first.finished_at[0]
        with pytest.raises(MalformedRequest):
            await requests.list_times(ORDER, page_token="x")
        for ask in (requests.list_times, requests.get_shape):
            with pytest.raises(UnknownInstance):
                await ask(instance_id("?"))
