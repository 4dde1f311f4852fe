"""The latest of what has changed: each thing once, as it stands, bounded, and read from any cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Lane, Node, Timing, Worker
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NodeId, PruneReason, WorkerId
from dagorama_broker.requests.answers import ChangeBatch
from dagorama_broker.requests.feed import ExpiredCursor
from dagorama_broker.requests.latest import KEPT_MAX, KEPT_S, LOOK_S, NAMED_MAX, NAMED_S, Latest

FUNCTION = Function(FunctionSpec(name="f", queue="f"), lane=Lane("f", ""), timing=Timing())
Instances = dict[InstanceId, Instance]


def instance(number: int) -> Instance:
    """Make an instance."""
    return Instance(seq=number, id=InstanceId(number.to_bytes(16, "big")), definition="shop:Order", created_at=1.0)


def node(number: int, of: Instance) -> Node:
    """Make a node."""
    return Node(
        seq=number,
        id=NodeId(number.to_bytes(16, "big")),
        instance=of,
        function=FUNCTION,
        arguments=b"",
        dependencies=(),
        parent_seq=0,
        created_at=1.0,
    )


def completed(number: int, of: Instance) -> e.NodeCompleted:
    """Make the event of a node that has completed."""
    return e.NodeCompleted(node=node(number, of), payload=b"", at=2.0)


@pytest.fixture
def instances() -> Instances:
    """Two instances in memory."""
    return {one.id: one for one in (instance(1), instance(2))}


@pytest.fixture
def latest(instances: Instances) -> Latest:
    """The latest, kept from second 1 on."""
    one = Latest()
    assert one.begin(instances, 1.0)
    assert not one.begin(instances, 1.0)
    return one


class Reader:
    """Reads on from where it has read to."""

    def __init__(self, latest: Latest, instances: Instances, *named: int) -> None:
        """Begin now, and have the nodes of these instances named."""
        self._latest, self._instances = latest, instances
        self.named: Sequence[InstanceId] = [instance(each).id for each in named]
        self.cursor = ""
        self.read(1.0)

    def read(self, now: float = 2.0) -> ChangeBatch:
        """Return what has changed since."""
        batch = self._latest.read(self.cursor, self.named, self._instances, now)
        self.cursor = batch.cursor
        return batch

    def nodes(self, now: float = 2.0) -> dict[int, tuple[list[int], bool]]:
        """Return, for each changed instance, the nodes that are named, and whether there may be others."""
        number = {each.id: each.seq for each in self._instances.values()}
        return {
            number[change.instance_id]: ([each[-1] for each in change.node_ids], change.others)
            for change in self.read(now).instances
        }


def test_each_instance_is_told_once_as_it_stands(latest: Latest, instances: Instances) -> None:
    """However often it has changed, with how its nodes are counted when that is asked, in the order of the changes."""
    one, two = instances.values()
    reader = Reader(latest, instances)
    assert not reader.read()
    for number in range(100):
        latest.take([completed(number, two), completed(number, one)], 2.0)
        one.counts[NodeState.COMPLETED] += 1
    batch = reader.read()
    assert [change.instance_id for change in batch.instances] == [two.id, one.id]
    assert batch.instances[1]._replace(instance_id=one.id) == (
        one.id,
        InstanceState.RUNNING,
        {NodeState.COMPLETED: 100},
        [],
        True,
        False,
    )
    assert (batch.queues, batch.workers, batch.missed) == (True, False, False)
    assert not reader.read()


def test_changed_nodes_are_named_for_who_wants_them(latest: Latest, instances: Instances) -> None:
    """From when they want it; each watcher has the nodes since its own cursor, and too many are only said to be."""
    one, two = instances.values()
    reader, other = Reader(latest, instances, 1), Reader(latest, instances)
    latest.take([completed(7, one), completed(8, two)], 2.0)
    assert reader.nodes() == {1: ([7], False), 2: ([], True)}
    latest.take([completed(9, one)], 2.0)
    assert (reader.nodes(), other.nodes()) == ({1: ([9], False)}, {2: ([], True), 1: ([], True)})
    other.named = [two.id]
    other.read()
    latest.take([completed(10, two)], 2.0)
    assert other.nodes() == {2: ([10], False)}
    latest.take([completed(number, one) for number in range(NAMED_MAX + 1)], 2.0)
    (told, others) = reader.nodes()[1]
    assert len(told) <= 1
    assert others
    latest.take([completed(11, one)], 2.0)
    assert reader.nodes() == {1: ([11], False)}


def test_nobody_names_what_nobody_wants_any_more(latest: Latest, instances: Instances) -> None:
    """A while after the last request the names are let go; who comes back later is told that there may be others."""
    one, _ = instances.values()
    reader, other = Reader(latest, instances, 1), Reader(latest, instances)
    latest.take([completed(7, one)], 2.0)
    other.read(NAMED_S + 3.0)
    assert reader.nodes(NAMED_S + 4.0) == {1: ([], True)}


def test_what_a_worker_is_given_is_a_change(latest: Latest, instances: Instances) -> None:
    """Of the node, and of the workers."""
    one, _ = instances.values()
    reader = Reader(latest, instances, 1)
    worker = cast(Worker, None)  # which one makes no difference
    latest.take([e.WorkGranted(worker=worker, leases=[(node(7, one), 1)])], 2.0)
    batch = reader.read()
    assert ([change.node_ids for change in batch.instances], batch.workers) == ([[node(7, one).id]], True)


def test_an_instance_that_has_ended_is_told_as_it_ended(latest: Latest, instances: Instances) -> None:
    """Though it has left memory; one whose end is not durable yet is told of without a state."""
    one, _ = instances.values()
    reader = Reader(latest, instances, 1)
    latest.take([completed(7, one)], 2.0)
    del instances[one.id]
    (change,) = reader.read().instances
    assert (change.state, change.counts) == (None, {})
    ended = e.InstanceFinished(instance=one, state=InstanceState.FAILED, at=2.0, counts={NodeState.FAILED: 3})
    latest.take([ended], 2.0)
    (change,) = reader.read().instances
    assert (change.state, change.counts, change.others) == (InstanceState.FAILED, {NodeState.FAILED: 3}, True)
    instances[one.id] = one
    latest.take([e.InstanceReopened(instance=one)], 3.0)
    (change,) = reader.read().instances
    assert change.state is InstanceState.RUNNING


def test_what_no_event_tells_of_is_seen_by_the_numbers(latest: Latest, instances: Instances) -> None:
    """A node whose backoff is over, say: within a second where else nothing happens to its instance, and once."""
    one, _ = instances.values()
    reader = Reader(latest, instances, 1)
    latest.look(instances, 1.0 + LOOK_S / 2)
    latest.look(instances, 1.0 + LOOK_S)
    assert not reader.read()
    one.counts[NodeState.READY] += 1
    latest.look(instances, 1.0 + 2 * LOOK_S)
    assert reader.nodes() == {1: ([], True)}
    latest.look(instances, 1.0 + 3 * LOOK_S)
    assert not reader.read()
    latest.take([completed(7, one)], 5.0)
    one.counts[NodeState.READY] -= 1
    latest.look(instances, 5.0 + LOOK_S / 2)
    assert reader.nodes() == {1: ([7], False)}
    latest.look(instances, 5.0 + 2 * LOOK_S)
    assert reader.nodes() == {1: ([], True)}


def test_of_very_many_instances_the_last_are_kept(latest: Latest, instances: Instances) -> None:
    """A watcher who has read less far is told that there were more, and one who has read on is not."""
    slow, quick = Reader(latest, instances), Reader(latest, instances)
    for number in range(10, KEPT_MAX + 10):
        one = instance(number)
        instances[one.id] = one
        latest.take([e.InstanceCreated(instance=one)], 2.0)
    assert not quick.read().missed
    last = instance(9_999)
    latest.take([e.InstanceCreated(instance=last)], 2.0)
    batch = slow.read()
    assert (len(batch.instances), batch.missed) == (KEPT_MAX, True)
    batch = quick.read()
    assert ([change.instance_id for change in batch.instances], batch.missed) == ([last.id], False)


def test_older_changes_that_go_hide_no_pruning(latest: Latest, instances: Instances) -> None:
    """A watcher is told that there was more, though what makes room for a later change is from before."""
    for number in range(10, KEPT_MAX + 10):
        latest.take([e.InstanceCreated(instance=instance(number))], 2.0)
    reader = Reader(latest, instances)
    gone = EndedInstance(5, instance(5).id, "shop:Order", InstanceState.COMPLETED, 1.0, 1.0, None, "")
    latest.take([e.InstancesPruned(instances=[gone], at=2.0, lived_s=2.0, reason=PruneReason.AGE, by="")], 2.0)
    latest.take([e.InstanceCreated(instance=instance(9_999))], 2.0)
    assert reader.read().missed


def test_nothing_is_kept_when_nobody_has_asked_for_long(latest: Latest, instances: Instances) -> None:
    """The onlooker goes, and cursors from before mean nothing."""
    reader = Reader(latest, instances)
    assert latest.take([completed(7, instance(1))], KEPT_S)
    assert not latest.take([], KEPT_S + 2.0)
    for cursor in (reader.cursor, "x-1", "nothing", f"{reader.cursor}0000"):
        reader.cursor = cursor
        with pytest.raises(ExpiredCursor):
            reader.read()


def test_who_waits_is_woken_by_what_concerns_somebody(latest: Latest, instances: Instances) -> None:
    """A batch in which nothing is that anybody shows wakes nobody."""

    class News:
        is_set = False

        def set(self) -> None:
            self.is_set = True

    news = News()
    latest.waiting[news] = None
    latest.take([], 2.0)
    assert not news.is_set
    latest.take([e.WorkerLeft(worker_id=WorkerId(b"w" * 16))], 2.0)
    assert (news.is_set, latest.waiting) == (True, {})
