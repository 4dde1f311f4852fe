"""Instances, nodes, workers and queues, looked at from Python: the same sync and async, inline refused."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import AsyncIterable, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

import dagorama
from dagorama import (
    BrokerRefused,
    BrokerUnavailable,
    DAGDefinition,
    Instance,
    InstanceCancelled,
    InstanceFailed,
    InstanceState,
    Node,
    NodeFailed,
    NodeState,
    Queue,
    StaticRetry,
    UnknownId,
    attach,
    context,
    find,
    find_async,
    generate_instance_id,
    instance_options,
    instances,
)
from dagorama.client import port, requests
from dagorama.client.asking import ask_broker
from dagorama.client.messages import instance_status
from dagorama.instance import listing as listing_module
from dagorama.instance.looks import InstanceLooks
from dagorama.instance.methods import LOOKS
from dagorama.testing import in_process_broker, inline
from dagorama.testing.in_process import InProcessBroker
from dagorama.v1 import dag_pb2, graph_pb2
from tests import queries

T = TypeVar("T")


class Sums(DAGDefinition):
    """Adds, and fails where it is told to."""

    @dagorama.dagorama(queue_name="sums").syncfn
    def entrypoint(self, numbers: list[int]) -> int:
        """Adds what each gives."""
        return self.total([self.one(number) for number in numbers])

    @dagorama.dagorama(queue_name="sums", retry=StaticRetry(2, 60), label="number {number}").syncfn
    def one(self, number: int) -> int:
        """Gives a number."""
        if number < 0 or (number == 7 and context().attempt == 1):
            raise ValueError(f"{number} is\nno number")
        return number

    @dagorama.dagorama(queue_name="sums").syncfn
    def total(self, numbers: list[int]) -> int:
        """Adds."""
        return sum(numbers)


class Looks(DAGDefinition):
    """Looks at the instance that it belongs to."""

    @dagorama.dagorama().syncfn
    def entrypoint(self) -> list[object]:
        """Tells what it sees."""
        itself: Any = self
        mine = attach(context().instance_id)
        with pytest.raises(ValueError, match="cannot be waited for by one of its own nodes"):
            mine.wait()
        return [
            getattr(itself, "done", "none"),
            getattr(itself, "nodes", "none"),
            [node.state.value for node in mine.nodes()],
        ]


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """A broker of this process."""
    with in_process_broker() as one:
        yield one


async def read(items: AsyncIterable[T]) -> list[T]:
    """Reads a list on an event loop."""
    return [item async for item in items]


def both(items: Any) -> list[Any]:
    """Reads a list in both ways, which has to give the same."""
    found = list(items)
    assert asyncio.run(read(items)) == found
    return found


@pytest.mark.usefixtures("broker")
def test_instances_are_listed_newest_first() -> None:
    """With how they stood; reading the list again asks again."""
    first, _ = Sums()([1])
    second, _ = Looks()()
    listed = instances()
    assert [one.id for one in both(listed)] == [second.instance_id, first.instance_id]
    assert [one.definition for one in listed] == [f"{__name__}:Looks", f"{__name__}:Sums"]
    assert {one.status.state for one in listed} == {"running"}
    first.result()
    assert [one.status.state for one in listed] == ["running", "completed"]


@pytest.mark.usefixtures("broker")
def test_instances_are_filtered() -> None:
    """By state, definition and time, and no more than are wanted."""
    began_at = datetime.now(UTC)
    done, _ = Sums()([1])
    done.result()
    failed, _ = Sums()([-1])
    with pytest.raises(NodeFailed):
        failed.result()
    runs, _ = Looks()()

    def ids(**wanted: Any) -> list[UUID]:
        return [one.id for one in both(instances(**wanted))]

    everything = [runs.instance_id, failed.instance_id, done.instance_id]
    assert ids() == everything
    assert ids(state="failed") == [failed.instance_id]
    assert ids(state=InstanceState.RUNNING) == [runs.instance_id]
    assert ids(state={"completed", InstanceState.FAILED}) == everything[1:]
    assert ids(since=timedelta(days=10**8)) == ids(until=timedelta(days=-(10**8))) == everything
    assert ids(definition=Looks) == ids(definition="Looks") == ids(definition=f"{__name__}:Looks") == [runs.instance_id]
    assert ids(definition="ooks") == []
    with instance_options(tags={"customer": "c9", "kind": "a"}, key="order-17"):
        tagged, _ = Looks()()
    assert (
        ids(tags={"customer": "c9"}) == ids(tags={"kind": "a", "customer": "c9"}, key="order-17") == ids(key="order-17")
    )
    assert ids(key="order-17") == [tagged.instance_id]
    assert ids(tags={"customer": "c8"}) == ids(key="order-1") == []
    (found,) = instances(key="order-17")
    assert (found.key, found.tags) == ("order-17", {"customer": "c9", "kind": "a"})
    everything.insert(0, tagged.instance_id)
    assert ids(limit=2) == everything[:2]
    assert ids(limit=0) == []
    assert ids(definition="Sums", limit=1) == [failed.instance_id]
    assert ids(since=timedelta(minutes=5)) == ids(until=datetime.now(UTC) + timedelta(hours=1)) == everything
    assert ids(until=timedelta(minutes=5)) == ids(since=datetime.now(UTC) + timedelta(hours=1)) == []
    zone = timezone(timedelta(hours=5))
    assert ids(since=began_at.astimezone(zone) - timedelta(seconds=1)) == everything


@pytest.mark.parametrize(
    ("wanted", "kind", "message"),
    [
        ({"state": "done"}, ValueError, "no state 'done'; the states are running, completed, failed, cancelled"),
        ({"state": ["failed", "waiting"]}, ValueError, "no state 'waiting'"),
        ({"state": 3}, TypeError, "state must be a state, or several in a list, not 3"),
        ({"definition": Sums()}, TypeError, "must be a class of definitions, or the name of one"),
        ({"definition": int}, TypeError, "must be a class of definitions, or the name of one"),
        ({"since": datetime(2026, 1, 1)}, ValueError, "since must be a time with its zone.* has no zone"),
        ({"until": 3}, TypeError, "until must be a time with its zone.*, not 3"),
        ({"tags": {"customer": 9}}, ValueError, "tag"),
        ({"key": ""}, ValueError, "key"),
        ({"definition": ""}, ValueError, "definition must be a name"),
        ({"limit": -1}, ValueError, "limit must be a whole number from 0, or None for all, not -1"),
        ({"limit": True}, ValueError, "limit must be a whole number"),
    ],
)
@pytest.mark.usefixtures("broker")
def test_filters_that_cannot_be_are_refused_at_once(wanted: Any, kind: type[Exception], message: str) -> None:
    """With the argument's name, before the list is read."""
    with pytest.raises(kind, match=message):
        instances(**wanted)


def test_lists_are_read_page_by_page(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page is asked for before it is needed, and none is larger than what is wanted."""
    monkeypatch.setattr(listing_module, "PAGE_SIZE", 2)
    for _ in range(5):
        generate_instance_id()
    asked: list[port.ListInstances] = []
    ask = broker.ask

    def note(request: Any) -> Any:
        asked.append(request)
        return ask(request)

    monkeypatch.setattr(broker, "ask", note)
    listed = instances()
    assert asked == []
    assert len(list(listed)) == 5
    assert [one.page_size for one in asked] == [2, 2, 2]
    asked.clear()
    reading = iter(instances(limit=3))
    assert [next(reading).definition for _ in range(2)] == ["", ""]
    assert [one.page_size for one in asked] == [2]
    assert len(list(reading)) == 1
    assert [one.page_size for one in asked] == [2, 1]
    asked.clear()
    assert len(asyncio.run(read(instances(limit=4)))) == 4
    assert [one.page_size for one in asked] == [2, 2]


@pytest.mark.usefixtures("broker")
def test_a_list_is_read_in_parts_that_follow_a_cursor() -> None:
    """So that a page in a browser can end where the next begins, in another process."""
    ids = [generate_instance_id() for _ in range(5)][::-1]
    first = instances().page(size=2)
    second = asyncio.run(instances().apage(first.next_cursor, 2))
    last = instances().page(second.next_cursor, 2)
    assert [one.id for part in (first, second, last) for one in part.items] == ids
    assert [bool(part.next_cursor) for part in (first, second, last)] == [True, True, False]
    with pytest.raises(ValueError, match="size must be a whole number from 1 to 1000, not 0"):
        instances().page(size=0)
    with pytest.raises(BrokerRefused):
        instances().page("none of ours")


@pytest.mark.usefixtures("broker")
def test_an_instance_is_attached_to_without_its_definition() -> None:
    """By its id alone; what it says of itself is asked for when it is needed."""
    started, _ = Sums()([1, 2])
    found = attach(str(started.instance_id))
    assert repr(found) == f"<Instance {started.instance_id}>"
    assert (found.id, found) == (started.instance_id, Instance(started.instance_id))
    assert found != attach(uuid4())
    assert found.result() == 3
    assert (found.definition, found.state, found.done()) == (f"{__name__}:Sums", "completed", True)
    assert repr(found) == f"<Instance {started.instance_id} {__name__}:Sums completed>"
    assert found.created_at == found.status.created_at
    again = pickle.loads(pickle.dumps(found))
    assert (again, hash(again), again.status) == (found, hash(found), found.status)
    found.wait()


def test_nodes_are_chosen_by_label_at_the_broker(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is rare is not looked for here in all that there are."""
    answers: list[port.Page[Any]] = []
    ask = InProcessBroker.ask

    def listen(self: InProcessBroker, request: Any, deadline: Any = None) -> Any:
        answer = yield from ask(self, request, deadline)
        answers.append(answer)
        return answer

    started, _ = Sums()(list(range(1, 6)))
    started.result()
    monkeypatch.setattr(InProcessBroker, "ask", listen)
    (node,) = attach(started.instance_id).nodes(label="number 4")
    assert (node.label, [len(one.items) for one in answers]) == ("number 4", [1])


@pytest.mark.usefixtures("broker")
def test_an_instance_is_found_by_its_key() -> None:
    """With how it stood; a key that nobody has started with is an error that names it."""
    with instance_options(key="order-17"):
        started, _ = Sums()([1])
    Sums()([2])
    found = find("order-17")
    assert (found.id, found.key, asyncio.run(find_async("order-17"))) == (started.instance_id, "order-17", found)
    with pytest.raises(UnknownId, match=r"to find the instance with key 'order-18' \(NOT_FOUND\): it knows of no"):
        find("order-18")
    with pytest.raises(ValueError, match="key must have 1 to 200 characters"):
        find("")


@pytest.mark.usefixtures("broker")
def test_an_instance_tells_how_it_changes() -> None:
    """From how it stands now to its end; one that has ended has no more to tell."""
    started, _ = Sums()([1, 2])
    found = attach(started.instance_id)
    assert [one.state for one in found.changes()] == ["running", "completed"]
    assert [one.counts for one in found.changes()] == [{"completed": 4}]


@pytest.mark.usefixtures("broker")
def test_a_rerun_tells_which_nodes_begin_anew() -> None:
    """The node, and all that its value went into, by their ids; of a node and of its instance, sync and async."""
    started, _ = Sums()([1, 2])
    found = attach(started.instance_id)
    assert found.result() == 3
    (total,) = found.nodes(function="total")
    first, _ = found.nodes(function="one")
    assert total.id in found.rerun(total.id)
    assert found.result() == 3
    anew = first.rerun()
    assert {first.id, total.id} <= set(anew)
    assert found.result() == 3
    assert set(asyncio.run(first.arerun())) == set(anew)


@pytest.mark.usefixtures("broker")
def test_an_event_loop_asks_the_same() -> None:
    """Each verb has a twin with the same answer."""

    async def ask() -> None:
        started, _ = Sums()([1, 2])
        found = attach(started.instance_id)
        await found.apause()
        assert await found.arefresh() is found
        assert (found.status.paused, await found.astate(), await found.adone()) == (True, "running", False)
        assert (await found.awhy()).reasons[0].kind == "paused"
        await found.aresume()
        assert await found.aresult() == 3
        await found.wait_async()
        (total,) = await read(found.nodes(function="total"))
        node = await found.anode(total.id)
        assert (await node.aresult(), await node.arefresh(), (await node.awhy()).state) == (3, node, "completed")
        parent = await node.aparent()
        assert parent is not None
        assert parent.function.endswith("Sums.entrypoint")
        await node.arerun()
        assert [one.queue for one in await dagorama.queues_async()] == ["sums"]
        assert [one.name for one in await dagorama.workers_async()] == ["in-process"]
        assert await started.adone()
        assert await started.anode(node.id) == node

    asyncio.run(ask())


@pytest.mark.usefixtures("broker")
def test_verbs_change_an_instance() -> None:
    """Those of an instance with its definition, by the same names."""
    started, _ = Sums()([-1, 2])
    found = attach(started.instance_id)
    found.set_priority(5)
    found.cap(3)
    found.pause()
    assert (found.refresh().status.priority, found.status.running_max, found.status.paused) == (5, 3, True)
    found.resume()
    with pytest.raises(InstanceFailed, match="1 of its nodes failed"):
        found.wait()
    with pytest.raises(NodeFailed, match="-1 is\nno number"):
        found.result()
    assert found.state == "failed"
    found.retry()
    assert found.status.state == "failed"  # as it was read
    found.cancel()
    assert found.state == found.status.state == "cancelled"
    with pytest.raises(InstanceCancelled):
        found.wait()


@pytest.mark.usefixtures("broker")
def test_nodes_are_listed_in_creation_order_and_filtered() -> None:
    """By state and function, of an instance with or without its definition."""
    started, _ = Sums()([1, -1])
    with pytest.raises(NodeFailed):
        started.result()
    for whose in (started, attach(started.instance_id)):
        nodes = both(whose.nodes())
        assert [node.function.rpartition(".")[2] for node in nodes] == ["entrypoint", "one", "one", "total"]
        assert both(whose.nodes(state="failed")) == [nodes[2]]
        assert both(whose.nodes(state=[NodeState.DEPENDENCY_FAILED, "completed"], limit=2)) == [nodes[0], nodes[1]]
        assert both(whose.nodes(function="one")) == both(whose.nodes(function="Sums.one")) == nodes[1:3]
        assert both(whose.nodes(function=f"{__name__}:Sums.one", state="failed")) == [nodes[2]]
        assert both(whose.nodes(function="ne")) == []
        assert both(whose.nodes(label="number -1")) == both(whose.nodes(label="number -1", limit=1)) == [nodes[2]]
        assert both(whose.nodes(label="number")) == []
        with pytest.raises(ValueError, match="label must be a name, not ''"):
            whose.nodes(label="")
        assert [(node.label, node.inputs) for node in nodes[:2]] == [("", "numbers=[1, -1]"), ("number 1", "number=1")]
        assert [node.inputs for node in whose.nodes(inputs=False, limit=2)] == [None, None]
        assert whose.node(nodes[1]).inputs == "number=1"
        with pytest.raises(ValueError, match="there is no state 'done'; the states are waiting, ready"):
            whose.nodes(state="done")


@pytest.mark.usefixtures("broker")
def test_progress_counts_by_function_and_state() -> None:
    """In the order in which each function was first called; nothing runs for it."""
    started, _ = Sums()([1, -1, 2])
    found = attach(started.instance_id)
    assert [str(one) for one in found.progress().functions] == [f"{__name__}:Sums.entrypoint 0/1 (1 ready)"]
    with pytest.raises(NodeFailed):
        started.result()
    for told in (started.progress(), found.progress(), asyncio.run(found.aprogress())):
        entrypoint, one, total = told.functions
        assert [each.function.rpartition(".")[2] for each in told.functions] == ["entrypoint", "one", "total"]
        assert (one.counts, one.total, one.ended, one.completed) == ({"completed": 2, "failed": 1}, 3, 3, 2)
        assert (entrypoint.failed, one.failed, total.failed) == (1, 1, 1)
        assert (told.counts, told.total) == ({"completed": 2, "failed": 1, "dependency_failed": 2}, 5)
        assert (told.ended, told.completed, told.failed, told.running, told.fraction) == (5, 2, 3, 0, 1.0)
        assert str(told).splitlines()[1] == f"{__name__}:Sums.one 3/3 (2 completed, 1 failed)"
    empty = attach(generate_instance_id()).progress()
    assert (empty.functions, empty.total, empty.fraction, repr(empty)) == ((), 0, 0.0, "<InstanceProgress 0/0>")


@pytest.mark.usefixtures("broker")
def test_a_shape_folds_nodes_by_function_and_maker() -> None:
    """Its groups have their counts by state, and the numbers of the edges between them; nothing runs for it."""
    started, _ = Sums()([1, -1, 2])
    found = attach(started.instance_id)
    (alone,) = found.shape().groups
    assert (alone.function, alone.maker, alone.counts) == (f"{__name__}:Sums.entrypoint", "", {"ready": 1})
    with pytest.raises(NodeFailed):
        started.result()
    for told in (started.shape(), found.shape(), asyncio.run(found.ashape())):
        names = [(group.function.rpartition(".")[2], group.maker.rpartition(".")[2]) for group in told.groups]
        assert names == [("entrypoint", ""), ("one", "entrypoint"), ("total", "entrypoint")]
        assert told.groups[1].counts == {"completed": 2, "failed": 1}
        assert (told.groups[1].total, told.groups[1].failed, told.total) == (3, 1, 5)
        edges = {(edge.source, edge.target, edge.is_call): edge.count for edge in told.edges}
        assert edges == {(0, 1, True): 3, (0, 2, True): 1, (1, 2, False): 3}


@pytest.mark.usefixtures("broker")
def test_times_tell_all_nodes_in_columns() -> None:
    """They say of each node what the node says of itself."""
    started, _ = Sums()([1, -1, 2])
    with pytest.raises(NodeFailed):
        started.result()
    nodes = list(started.nodes())
    for times in (started.times(), asyncio.run(attach(started.instance_id).atimes())):
        assert [times.node_id(place) for place in range(len(times))] == [node.id for node in nodes]
        assert (times.functions, times.states) == ([one.function for one in nodes], [one.state for one in nodes])
        assert (times.labels, times.workers) == ([one.label for one in nodes], [one.worker or "" for one in nodes])
        ids = [node.id for node in nodes]
        assert [ids[place] if place >= 0 else None for place in times.parents] == [one.parent_id for one in nodes]
        assert [[ids[place] for place in each] for each in times.dependencies] == [
            [*one.dependency_ids] for one in nodes
        ]
        assert [*times.finished_at] == pytest.approx([time_of(one.finished_at) for one in nodes], abs=1e-5)
        assert [*times.started_at] == pytest.approx([time_of(one.started_at) for one in nodes], abs=1e-5)
        assert repr(times) == "<InstanceTimes of 5 nodes>"
        with pytest.raises(IndexError, match="there is no node at 5 of 5"):
            times.node_id(5)


def time_of(time: datetime | None) -> float:
    """Return the seconds of a time; 0 for none."""
    return 0.0 if time is None else time.timestamp()


@pytest.mark.usefixtures("broker")
def test_a_node_tells_how_it_stood() -> None:
    """Its attempts with their errors, its place in the graph, and its value."""
    started, promise = Sums()([7])
    assert started.node(promise).refresh().state == "completed"
    found = attach(started.instance_id)
    top, seven, total = found.nodes()
    assert (top.parent(), top.done(), top.error) == (None, True, None)
    assert (seven.parent(), seven.parent_id, seven.queue, seven.taint) == (top, top.id, "sums", "")
    assert list(total.dependencies()) == asyncio.run(read(total.dependencies())) == [seven]
    assert list(seven.dependencies()) == []
    first, second = seven.attempts
    assert (first.number, first.worker, second.number) == (1, "in-process", 2)
    assert first.error is not None
    assert (first.error.type, first.error.message, str(first.error)) == (
        "ValueError",
        "7 is\nno number",
        "ValueError: 7 is no number",
    )
    assert "raise ValueError" in first.error.traceback
    assert second.error is None
    assert first.started_at is not None
    assert second.started_at is not None
    assert second.ended_at is not None
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at  # type: ignore[operator]
    assert (second.worker, second.started_at, second.duration_s) == (seven.worker, seven.started_at, seven.duration_s)
    assert seven.created_at <= (seven.ready_at or seven.created_at) <= (seven.granted_at or second.started_at)
    assert (seven.error, seven.result(), seven.state) == (None, 7, "completed")
    assert repr(seven) == f"<Node {__name__}:Sums.one {seven.id} completed>"
    assert (found.node(seven.id), found.node(str(seven.id)), found.node(seven)) == (seven, seven, seven)
    assert {seven, found.node(seven)} == {seven}
    assert pickle.loads(pickle.dumps(seven)).attempts == seven.attempts


@pytest.mark.usefixtures("broker")
def test_a_node_that_failed_says_how() -> None:
    """Its dependents have no error of their own, but the node that is to blame; rerunning needs no id."""
    started, _ = Sums()([-1])
    with pytest.raises(NodeFailed):
        started.result()
    (bad,) = started.nodes(state="failed")
    (after,) = started.nodes(state="dependency_failed", function="total")
    assert bad.error is not None
    assert (bad.error.message, len(bad.attempts)) == ("-1 is\nno number", 2)
    assert [attempt.error is not None for attempt in bad.attempts] == [True, True]
    assert (after.error, after.attempts, after.cause_id, after.why().reasons[0].kind) == (
        None,
        (),
        bad.id,
        "ended",
    )
    with pytest.raises(NodeFailed, match="-1 is\nno number"):
        after.result()
    bad.rerun()
    assert started.why(bad).state == "ready"
    attach(started.instance_id).cancel()
    with pytest.raises(BrokerRefused, match="cancelled"):
        attach(started.instance_id).rerun(bad)


@pytest.mark.usefixtures("broker")
def test_a_node_looks_at_its_own_instance_by_its_id() -> None:
    """Its `self` has none of the looks: `getattr(self, "done", None)` asks what the definition has."""
    started, _ = Looks()()
    assert started.result() == ["none", "none", ["leased"]]
    assert started.done()


@pytest.mark.usefixtures("broker")
def test_a_queue_is_paused_and_capped_by_its_name() -> None:
    """Whether it has nodes or not."""
    queue = Queue("sums")
    assert queue.status() == []
    Sums()([1])
    (one,) = queue.status()
    assert (one.ready, one.paused, repr(queue)) == (1, False, "Queue('sums')")
    assert [(one.paused, one.running_max) for one in [*queue.pause(), *queue.cap(2)]] == [(True, None), (True, 2)]
    assert [(one.paused, one.running_max) for one in [*queue.resume(), *queue.cap(None)]] == [(False, 2), (False, None)]

    async def later() -> list[bool]:
        return [one.paused for one in [*await queue.apause(), *await queue.astatus(), *await queue.aresume()]]

    assert asyncio.run(later()) == [True, True, False]
    with pytest.raises(ValueError, match="running_max must be from 1"):
        queue.cap(0)
    with pytest.raises(ValueError, match="name must be a name, not ''"):
        Queue("")


UNKNOWN: list[Callable[[Instance], object]] = [
    lambda one: one.state,
    lambda one: one.status,
    lambda one: one.definition,
    lambda one: one.done(),
    lambda one: one.progress(),
    lambda one: one.shape(),
    lambda one: one.times(),
    lambda one: one.wait(),
    lambda one: one.result(),
    lambda one: list(one.nodes()),
    lambda one: one.node(uuid4()),
    lambda one: one.why(),
    lambda one: one.cancel(),
    lambda one: asyncio.run(one.adone()),
]


@pytest.mark.parametrize("look", UNKNOWN)
@pytest.mark.usefixtures("broker")
def test_an_unknown_instance_is_an_error_of_its_own(look: Callable[[Instance], object]) -> None:
    """It names the id, and is a `BrokerRefused` and a `LookupError`."""
    unknown = attach("0190a000-0000-7000-8000-000000000001")
    with pytest.raises(UnknownId, match="0190a000-0000-7000-8000-000000000001") as caught:
        look(unknown)
    assert isinstance(caught.value, LookupError)


@pytest.mark.usefixtures("broker")
def test_an_unknown_node_is_an_error_of_its_own() -> None:
    """So is an id that is none, before anything is asked."""
    started, _ = Sums()([1])
    with pytest.raises(UnknownId, match="no node"):
        started.node("0190a000-0000-7000-8000-000000000001")
    with pytest.raises(ValueError, match=r"node\(\) takes a node, its id, or its promise.*, not 'x'"):
        started.node("x")
    with pytest.raises(TypeError, match=r"why\(\) takes a node, its id, or its promise.*, not 3"):
        started.why(3)
    empty = attach(generate_instance_id())
    with pytest.raises(ValueError, match="has no nodes as yet, so it has no result"):
        empty.result()
    assert list(empty.nodes()) == []


INLINE: list[Callable[[Instance], object]] = [
    *UNKNOWN,
    lambda _: instances(),
    lambda _: dagorama.workers(),
    lambda _: dagorama.queues(),
    lambda _: dagorama.events(),
    lambda _: Queue("x").pause(),
    lambda _: Queue("x").status(),
    lambda _: asyncio.run(dagorama.workers_async()),
    lambda _: asyncio.run(dagorama.queues_async()),
]


@pytest.mark.parametrize("look", INLINE)
def test_inline_there_is_no_broker_to_ask(look: Callable[[Instance], object]) -> None:
    """It is refused, and says where instances can be seen."""
    with inline(), pytest.raises(BrokerRefused, match=r"nodes run inline.*dagorama\.testing\.in_process_broker"):
        look(attach(uuid4()))


def test_an_instance_with_its_definition_is_done_inline() -> None:
    """It has run when its call has returned."""
    with inline():
        started, value = Sums()([1])
        assert (value, started.done(), asyncio.run(started.adone())) == (1, True, True)
        with pytest.raises(BrokerRefused, match="nodes run inline"):
            started.nodes()


def test_an_instance_with_its_definition_has_every_look() -> None:
    """They are named where they are loaded from."""
    assert sorted(LOOKS) == sorted(name for name in vars(InstanceLooks) if not name.startswith("_"))


@pytest.mark.usefixtures("broker")
def test_every_verb_explains_itself() -> None:
    """Its twin bears its own name; both say what they return, and not how they are made."""
    assert (Instance.adone.__name__, Instance.wait_async.__name__) == ("adone", "wait_async")
    assert Instance.adone.__doc__ == "Do as `done`, without blocking the event loop."
    assert Instance.done.__annotations__["return"] == "bool"
    assert Instance.cancel.__annotations__["return"] == "None"
    assert Instance.why.__annotations__["return"] == "Why"
    assert Node.result.__annotations__["return"] == "object"


@pytest.mark.usefixtures("broker")
def test_the_status_is_what_the_port_gives() -> None:
    """Nothing is lost between the port and people."""
    started, _ = Sums()([1])
    (node, *_) = started.nodes()
    (status, *_) = ask_broker(port.ListNodes(started.instance_id.bytes, 10, with_inputs=True)).items
    assert node.status == status


def test_a_broker_that_is_away_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where none answers."""
    monkeypatch.setattr(requests, "ABSENT_S", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DAGORAMA_HOST", "127.0.0.1")
        monkeypatch.setenv("DAGORAMA_PORT", str(free.getsockname()[1]))
        with pytest.raises(BrokerUnavailable, match="no broker answers at 127"):
            list(instances())
        with pytest.raises(BrokerUnavailable, match="no broker answers at 127"):
            asyncio.run(attach(uuid4()).adone())


def test_an_earlier_broker_that_gives_all_has_nothing_else_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not know what is asked for answers with all there is: only what fits is given."""
    with in_process_broker() as broker:
        with instance_options(key="order-17", tags={"customer": "c9"}):
            kept, _ = Sums()([1])
        Sums()([2])[0].result()
        everything = {
            port.ListInstances: port.ListInstances(port.PAGE_SIZE),
            port.ListNodes: port.ListNodes(kept.instance_id.bytes, port.PAGE_SIZE),
        }
        ask = type(broker).ask

        def ask_earlier(self: Any, request: Any) -> Any:
            return ask(self, everything.get(type(request), request))

        kept.result()
        monkeypatch.setattr(type(broker), "ask", ask_earlier)
        for asked in ({"key": "order-17"}, {"tags": {"customer": "c9"}}, {"key": "order-17", "definition": "Sums"}):
            assert [one.id for one in instances(**asked)] == [kept.instance_id]
            assert [one.instance_id for one in queries.list_instances(**asked)] == [kept.instance_id]
        for nobody in ({"key": "order-18"}, {"state": "failed"}, {"definition": "ums"}, {"until": timedelta(days=1)}):
            assert not list(instances(**nobody))
        assert find("order-17").id == kept.instance_id
        with pytest.raises(UnknownId):
            find("order-18")
        assert [one.function for one in kept.nodes(function="total")] == [f"{__name__}:Sums.total"]
        assert [one.function for one in kept.nodes(label="number 1")] == [f"{__name__}:Sums.one"]
        assert not list(queries.list_nodes(kept.instance_id.bytes, states=["failed"]))


@pytest.mark.parametrize("seconds", [1795805892.9821358, 1795805892.9821353, 1795805892.5, 0.0, 1e-7])
def test_a_time_is_not_told_as_later_than_it_is(seconds: float) -> None:
    """So `since=` with the time of an instance lists that instance."""
    info = dag_pb2.InstanceInfo(
        instance_id=bytes(15) + b"\1", state=graph_pb2.INSTANCE_STATE_RUNNING, created_at=seconds
    )
    told = instance_status(info).created_at.timestamp()
    assert told <= seconds < told + 1.5e-6
