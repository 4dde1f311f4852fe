"""Lists of some: what memory knows counts, and a page that has looked at enough goes on later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import FunctionSpec, NewCall, RetryPolicy
from dagorama_broker.requests import Requests, looking
from dagorama_broker.requests.checks import MalformedRequest
from dagorama_broker.requests.keeper import Keeper
from tests.unit.host.commands import WORKER, fail, instance_id, node_id, submit
from tests.unit.requests.test_requests import ORDER, Keeping, hosting, in_process, run

pytestmark = pytest.mark.asyncio

T = TypeVar("T")


@pytest.fixture(params=[hosting, in_process])
def keeping(request: pytest.FixtureRequest) -> Keeping:
    """Give each keeper in turn."""
    made: Keeping = request.param
    return made


async def ids(requests: Requests, **selection: Any) -> list[str]:
    """Return the instances of a selection, from all pages."""
    found, token = [], ""
    while True:
        page = await requests.list_instances(page_token=token, **selection)
        found += [summary.id.decode().strip() for summary in page.items]
        token = page.next_token
        if not token:
            return found


async def test_states_of_nodes_are_those_that_memory_knows(keeping: Keeping) -> None:
    """Storage knows ready and leased nodes as waiting or backing off; a list of some tells them apart."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a", "b", retry=RetryPolicy(max_attempts=2, interval_s=60.0)))
        await keeper.submit(submit("c", after=["b"]))
        await keeper.submit(submit("d"))
        await run(keeper, "a", result=fail)
        await keeper.commit(c.PullNode(worker_id=WORKER))

        async def named(*states: str) -> list[str]:
            page = await requests.list_nodes(ORDER, states=states)
            assert all(info.state in states for info in page.items)
            return [info.id.decode().strip() for info in page.items]

        found = {state.value: await named(state) for state in NodeState if await named(state)}
        assert found == {"backoff": ["a"], "leased": ["b"], "waiting": ["c"], "ready": ["d"]}
        assert await named("leased", "backoff", "ready") == ["a", "b", "d"]
        assert (await requests.list_nodes(ORDER, states=["ready"], functions=["g"])).items == []


async def test_nodes_are_found_by_function_and_state() -> None:
    """Page by page; the instance has to be known."""
    async with hosting() as keeper:
        requests = Requests(keeper)
        specs = [FunctionSpec(name=f"shop:Etl.{name}", queue="q") for name in ("load", "store")]
        calls = [NewCall(node_id(f"n{at}"), specs[at % 2], b"", ()) for at in range(10)]
        await requests.submit(ORDER, "shop:Etl", calls)
        first = await requests.list_nodes(ORDER, page_size=3, functions=["load"])
        rest = await requests.list_nodes(ORDER, page_size=3, page_token=first.next_token, functions=["load"])
        assert [info.id.decode().strip() for info in (*first.items, *rest.items)] == ["n0", "n2", "n4", "n6", "n8"]
        with pytest.raises(Exception, match="no instance"):
            await requests.list_nodes(instance_id("x"), functions=["load"])


async def test_an_instance_that_ends_while_it_is_read_is_not_told_as_running(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was in that state when it was read, and is not in it when the answer is made."""
    async with keeping() as keeper:
        requests = Requests(keeper)
        await keeper.submit(submit("a"))
        await keeper.submit(submit("b", instance="j"))
        assert await ids(requests, states=["running"]) == ["j", "i"]
        read = keeper.read
        ended: list[None] = []

        async def end_after(function: Callable[..., T], *args: object) -> T:
            answer = await read(function, *args)
            if not ended:
                ended.append(None)
                await keeper.commit(c.CancelInstance(instance_id=ORDER))
            return answer

        monkeypatch.setattr(keeper, "read", end_after)
        assert await ids(requests, states=["running"]) == ["j"]
        assert await ids(requests, states=["cancelled"]) == ["i"]


async def test_a_page_that_has_looked_at_enough_is_not_the_last(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be empty: the rest comes with the pages after it, of instances and of nodes."""
    monkeypatch.setattr(looking, "_LOOKED_AT_MAX", 2)
    async with keeping() as keeper:
        requests = Requests(keeper)
        await _start_many(keeper, requests)
        page = await requests.list_instances(definition="Rare")
        assert (page.items, bool(page.next_token)) == ([], True)
        assert await ids(requests, definition="Rare") == ["i0"]
        assert await ids(requests, tags={"customer": "c1"}, page_size=2) == [
            "i19",
            "i16",
            "i13",
            "i10",
            "i7",
            "i4",
            "i1",
        ]
        calls = [NewCall(node_id(f"m{at}"), FunctionSpec(name="f", queue="f"), b"", ()) for at in range(20)]
        last = NewCall(node_id("last"), FunctionSpec(name="g", queue="g"), b"", ())
        await requests.submit(instance_id("many"), "d", [*calls, last])
        found, token, pages = [], "", 0
        while token or not pages:
            nodes = await requests.list_nodes(instance_id("many"), page_token=token, functions=["g"])
            found += [info.id for info in nodes.items]
            token, pages = nodes.next_token, pages + 1
        assert (found, pages) == ([node_id("last")], 3)


async def _start_many(keeper: Keeper, requests: Requests) -> None:
    spec = FunctionSpec(name="f", queue="f")
    for at in range(20):
        options = c.InstanceOptions(tags=(("customer", f"c{at % 3}"),))
        call = NewCall(node_id(f"n{at}"), spec, b"", ())
        await requests.submit(instance_id(f"i{at}"), "shop:Order" if at else "shop:Rare", [call], options)


async def test_parts_of_a_selection_have_to_fit_together() -> None:
    """State, definition, tags, key and time."""
    async with hosting() as keeper:
        requests = Requests(keeper)
        await _start_many(keeper, requests)
        options = c.InstanceOptions(key="order-17", tags=(("customer", "c1"),))
        call = NewCall(node_id("n"), FunctionSpec(name="f", queue="f"), b"", ())
        await requests.submit(instance_id("keyed"), "shop:Order", [call], options)
        await requests.cancel_instance(instance_id("i4"))
        created_at = (await requests.get_instance(instance_id("i10"))).created_at
        customer = {"customer": "c1"}
        assert await ids(requests, key="order-17", tags=customer, definition="Order") == ["keyed"]
        assert await ids(requests, key="order-17", tags={"customer": "c2"}) == []
        assert await ids(requests, tags=customer, states=["cancelled"]) == ["i4"]
        since = await ids(requests, tags=customer, created_since=created_at)
        until = await ids(requests, tags=customer, created_until=created_at)
        assert (since, until) == (["keyed", "i19", "i16", "i13", "i10"], ["i7", "i4", "i1"])
        assert await ids(requests, states=list(InstanceState), page_size=7) == await ids(requests)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"states": ["ready"]}, "states has 'ready'; the states are running, completed, failed, cancelled"),
        ({"tags": {"": "c9"}}, "a name in tags, '', has 0 characters; it must have 1 to 100"),
        ({"tags": {"customer": "\0"}}, "tag 'customer' in tags"),
        ({"key": "k" * 201}, "key, 'kkkkkkkkkkkkkkkkkkkk', has 201 characters"),
        ({"created_since": float("nan")}, "created_since is nan"),
        ({"definition": "d" * 3000}, "definition 'ddd"),
    ],
)
async def test_a_selection_that_cannot_be_is_refused(selection: dict[str, Any], message: str) -> None:
    """The error names the part, and what is wrong with it."""
    async with hosting() as keeper:
        with pytest.raises(MalformedRequest) as caught:
            await Requests(keeper).list_instances(**selection)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"states": ["done"]}, "states has 'done'; the states are waiting, ready, leased"),
        ({"functions": [""]}, "one of the functions has no name"),
        ({"functions": ["f"] * 101}, "functions has 101 names; the limit is 100"),
    ],
)
async def test_a_selection_of_nodes_that_cannot_be_is_refused(selection: dict[str, Any], message: str) -> None:
    """As of instances."""
    async with hosting() as keeper:
        await keeper.submit(submit("a"))
        with pytest.raises(MalformedRequest) as caught:
            await Requests(keeper).list_nodes(ORDER, **selection)
        assert str(caught.value).startswith(message)
