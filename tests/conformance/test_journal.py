"""What every journal does. `storage` is each of them in turn."""

from dataclasses import replace
from pathlib import Path

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.core.model.stored import InstanceSummary, Snapshot, StoredInstance, StoredNode
from dagorama_broker.core.model.values import (
    Action,
    Control,
    InstanceId,
    LimitSpec,
    LimitWord,
    NodeId,
    Note,
    Pause,
    QueueControl,
    Request,
    RequestId,
    UndoneAttempt,
    WorkerId,
)
from tests.conformance.conftest import Storage, make_storage
from tests.conformance.graphs import FUNCTIONS, Graph, failed


def test_an_empty_storage_gives_an_empty_snapshot(kind: str, tmp_path: Path) -> None:
    """The first broker on a storage starts from nothing, in epoch 1."""
    storage = make_storage(kind, tmp_path)
    assert storage.open() == Snapshot(epoch=1, instance_seq_last=0, node_seq_last=0, instances=[], workers={})
    storage.journal.close()


def test_the_epoch_grows_with_each_opening(storage: Storage) -> None:
    """No two openings of a storage have the same epoch, and later ones have higher ones."""
    assert [storage.reopen().epoch for _ in range(3)] == [2, 3, 4]


def test_a_new_node_is_read_back_with_all_that_was_known_of_it(storage: Storage) -> None:
    """Ids, function, arguments, parent, dependencies in their order, and time survive as they were."""
    graph = Graph()
    instance = graph.instance()
    first = graph.node(instance, arguments=b"\x00\xff")
    second = graph.node(instance, arguments=b"")
    third = graph.node(instance, dependencies=(second, first), function=FUNCTIONS[1], parent=second)
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[first, second, third])])
    expected = StoredInstance(
        seq=1,
        id=instance.id,
        definition="shop:Order",
        state=InstanceState.RUNNING,
        created_at=1_001.0,
        nodes=[
            StoredNode(
                seq=1,
                id=first.id,
                function=FUNCTIONS[0].spec,
                parent_seq=0,
                arguments=b"\x00\xff",
                arguments_bytes=2,
                dependency_seqs=(),
                created_at=1_002.0,
            ),
            StoredNode(
                seq=2,
                id=second.id,
                function=FUNCTIONS[0].spec,
                parent_seq=0,
                arguments=b"",
                dependency_seqs=(),
                created_at=1_003.0,
            ),
            StoredNode(
                seq=3,
                id=third.id,
                function=FUNCTIONS[1].spec,
                parent_seq=2,
                arguments=b"arguments",
                arguments_bytes=9,
                dependency_seqs=(2, 1),
                limit_keys=("key 0 of 3", "key 1 of 3"),
                created_at=1_004.0,
            ),
        ],
    )
    snapshot = storage.reopen()
    assert (snapshot.instances, snapshot.instance_seq_last, snapshot.node_seq_last) == ([expected], 1, 3)


def test_payloads_are_read_back_as_they_were(storage: Storage) -> None:
    """An empty payload is a payload; a large one is whole."""
    graph = Graph()
    instance = graph.instance()
    payloads = [b"", b"\x00", b"x" * 3_000_000]
    nodes = [graph.node(instance) for _ in payloads]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    completions = zip(nodes, payloads, strict=True)
    storage.journal.commit([e.NodeCompleted(node=node, payload=payload, at=5.0) for node, payload in completions])
    (stored,) = storage.reopen().instances
    actual = [(node.state, node.finished_at, node.payload) for node in stored.nodes]
    assert actual == [(NodeState.COMPLETED, 5.0, payload) for payload in payloads]


def test_a_joining_node_keeps_its_payload_until_it_completes(storage: Storage) -> None:
    """`NodeCompleted` without a payload leaves what the node stored when it joined."""
    graph = Graph()
    instance = graph.instance()
    node, alias, child = (graph.node(instance) for _ in range(3))
    storage.journal.commit(
        [
            e.InstanceCreated(instance=instance),
            e.NodesCreated(nodes=[node, alias, child]),
            e.NodeJoining(node=node, payload=b"[child]", promises=(child, alias)),
            e.NodeJoining(node=alias, payload=None, promises=(child,)),
        ]
    )
    joining = storage.reopen().instances[0].nodes[:2]
    storage.journal.commit([e.NodeCompleted(node=it, payload=None, at=7.0) for it in (node, alias)])
    completed = storage.reopen().instances[0].nodes[:2]

    def shown(nodes: list[StoredNode]) -> list[object]:
        return [(it.state, it.finished_at, it.payload, it.promise_seqs) for it in nodes]

    assert (shown(joining), shown(completed)) == (
        [(NodeState.JOINING, 0.0, b"[child]", (3, 2)), (NodeState.JOINING, 0.0, None, (3,))],
        [(NodeState.COMPLETED, 7.0, b"[child]", (3, 2)), (NodeState.COMPLETED, 7.0, None, (3,))],
    )


def test_a_node_may_live_its_life_in_one_batch(storage: Storage) -> None:
    """A node that is created, joins and completes in one batch, with its whole instance, is read back as it ended."""
    graph = Graph()
    instance = graph.instance()
    node, child = graph.node(instance), graph.node(instance)
    storage.journal.commit(
        [
            e.InstanceCreated(instance=instance),
            e.NodesCreated(nodes=[node]),
            e.NodesCreated(nodes=[child]),
            e.NodeJoining(node=node, payload=b"[child]", promises=(child,)),
            e.NodeCompleted(node=child, payload=b"7", at=3.0),
            e.NodeCompleted(node=node, payload=None, at=3.0),
            e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=4.0),
        ]
    )
    assert storage.reopen().instances == []
    stored = storage.journal.find_instance(instance.id)
    assert stored is not None
    assert (stored.state, stored.finished_at) == (InstanceState.COMPLETED, 4.0)
    assert [(it.state, it.payload, it.promise_seqs) for it in stored.nodes] == [
        (NodeState.COMPLETED, b"[child]", (2,)),
        (NodeState.COMPLETED, b"7", ()),
    ]


def test_every_failed_attempt_is_kept(storage: Storage) -> None:
    """Failed and lost attempts come back in order with their evidence; a lost worker is no attempt of the node's."""
    graph = Graph()
    instance = graph.instance()
    node = graph.node(instance)
    attempts = [failed(1), failed(2, worker="w2"), failed(3, worker="w3")]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[node])])
    storage.journal.commit([e.AttemptFailed(node=node, attempt=attempts[0], retry_at=50.0)])
    (backing_off,) = storage.reopen().instances[0].nodes
    storage.journal.commit([e.LeaseLost(node=node, attempt=attempts[1], losses=1)])
    (lost,) = storage.reopen().instances[0].nodes
    storage.journal.commit(
        [e.AttemptFailed(node=node, attempt=attempts[2], retry_at=None), e.NodeFailed(node=node, at=60.0)]
    )
    (ended,) = storage.reopen().instances[0].nodes
    fresh = StoredNode(
        seq=1,
        id=node.id,
        function=FUNCTIONS[0].spec,
        parent_seq=0,
        arguments=b"arguments",
        arguments_bytes=9,
        dependency_seqs=(),
        created_at=1_002.0,
    )
    assert [backing_off, lost, ended] == [
        replace(fresh, state=NodeState.BACKOFF, attempts=1, tries=1, retry_at=50.0, failures=attempts[:1]),
        replace(fresh, state=NodeState.WAITING, attempts=1, losses=1, tries=2, failures=attempts[:2]),
        replace(
            fresh,
            state=NodeState.FAILED,
            attempts=2,
            losses=1,
            tries=3,
            finished_at=60.0,
            cause_seq=1,
            failures=attempts,
        ),
    ]


def test_a_dependent_of_a_failed_node_names_the_cause(storage: Storage) -> None:
    """A node that ended because of another one tells which."""
    graph = Graph()
    instance = graph.instance()
    bad = graph.node(instance)
    dependent = graph.node(instance, dependencies=(bad,))
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[bad, dependent])])
    storage.journal.commit(
        [e.NodeFailed(node=bad, at=8.0), e.DependencyFailed(node=dependent, cause=bad, at=9.0)],
    )
    actual = [(it.state, it.finished_at, it.cause_seq) for it in storage.reopen().instances[0].nodes]
    assert actual == [(NodeState.FAILED, 8.0, 1), (NodeState.DEPENDENCY_FAILED, 9.0, 1)]


def test_cancelled_nodes_are_read_back_with_their_instance(storage: Storage) -> None:
    """Each is cancelled by itself, what it was before and had done included; what had completed stays so."""
    graph = Graph()
    instance = graph.instance()
    done, backing_off, joining, waiting = nodes = [graph.node(instance) for _ in range(4)]
    storage.journal.commit(
        [
            e.InstanceCreated(instance=instance),
            e.NodesCreated(nodes=nodes),
            e.NodeCompleted(node=done, payload=b"7", at=5.0),
            e.AttemptFailed(node=backing_off, attempt=failed(1), retry_at=50.0),
            e.NodeJoining(node=joining, payload=b"[waiting]", promises=(waiting,)),
        ]
    )
    storage.journal.commit(
        [
            e.NodesCancelled(nodes=[backing_off, joining, waiting], at=8.0),
            e.InstanceFinished(instance=instance, state=InstanceState.CANCELLED, at=8.0),
        ]
    )
    assert storage.reopen().instances == []
    stored = storage.journal.find_instance(instance.id)
    assert stored is not None
    assert (stored.state, stored.finished_at) == (InstanceState.CANCELLED, 8.0)
    assert [(it.state, it.finished_at, it.cause_seq, it.retry_at, len(it.failures)) for it in stored.nodes] == [
        (NodeState.COMPLETED, 5.0, 0, 0.0, 0),
        (NodeState.CANCELLED, 8.0, 2, 0.0, 1),
        (NodeState.CANCELLED, 8.0, 3, 0.0, 0),
        (NodeState.CANCELLED, 8.0, 4, 0.0, 0),
    ]


def test_an_instance_may_be_made_and_cancelled_in_one_batch(storage: Storage) -> None:
    """With nodes and without, it is read back as it ended, and its nodes are counted."""
    graph = Graph()
    empty, instance = graph.instance(), graph.instance()
    nodes = [graph.node(instance) for _ in range(3)]
    storage.journal.commit(
        [
            e.InstanceCreated(instance=empty),
            e.InstanceFinished(instance=empty, state=InstanceState.CANCELLED, at=4.0),
            e.InstanceCreated(instance=instance),
            e.NodesCreated(nodes=nodes),
            e.NodesCancelled(nodes=nodes, at=5.0),
            e.InstanceFinished(instance=instance, state=InstanceState.CANCELLED, at=5.0),
        ]
    )
    assert [
        (it.state, it.finished_at, it.counts) for it in storage.journal.list_instances(before_seq=None, limit=9)
    ] == [
        (InstanceState.CANCELLED, 5.0, {NodeState.CANCELLED: 3}),
        (InstanceState.CANCELLED, 4.0, {}),
    ]


def test_only_running_instances_are_in_the_snapshot(storage: Storage) -> None:
    """A finished instance stays readable but is not brought back to life, until it is reopened."""
    graph = Graph()
    instances = [graph.instance() for _ in range(3)]
    nodes = [graph.node(instance) for instance in instances]
    storage.journal.commit([e.InstanceCreated(instance=instance) for instance in instances])
    storage.journal.commit([e.NodesCreated(nodes=[node]) for node in nodes])
    storage.journal.commit(
        [e.InstanceFinished(instance=it, state=InstanceState.FAILED, at=9.0) for it in instances[:2]]
    )
    running = [instance.seq for instance in storage.reopen().instances]
    storage.journal.commit([e.InstanceReopened(instance=instances[0])])
    reopened = [(instance.seq, instance.finished_at) for instance in storage.reopen().instances]
    assert (running, reopened) == ([3], [(1, 0.0), (3, 0.0)])


def test_the_greatest_ids_of_instances_are_in_the_snapshot(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all instances, also those that have finished: all where they are few, and the greatest where they are not."""
    graph = Graph()
    instances = [graph.instance() for _ in range(4)]
    storage.journal.commit([e.InstanceCreated(instance=instance) for instance in instances])
    storage.journal.commit([e.InstanceFinished(instance=instances[3], state=InstanceState.FAILED, at=9.0)])
    ids = sorted(instance.id for instance in instances)
    assert sorted(storage.reopen().instance_ids_last) == ids
    for storages in ("memory", "sqlite"):
        monkeypatch.setattr(f"dagorama_broker.storage.{storages}.INSTANCE_IDS_MAX", 3)
    assert sorted(storage.reopen().instance_ids_last) == ids[1:]


def test_workers_that_have_not_left_are_remembered(storage: Storage) -> None:
    """After a restart the broker knows whom to wait for."""
    first, second, third = (WorkerId(bytes([number]) * 16) for number in range(3))
    storage.journal.commit([e.WorkerJoined(worker_id=it, name="old", at=1.0) for it in (first, second)])
    storage.journal.commit(
        [
            e.WorkerLeft(worker_id=first),
            e.WorkerJoined(worker_id=third, name="brief", at=2.0),
            e.WorkerLeft(worker_id=third),
            e.WorkerLeft(worker_id=second),
            e.WorkerJoined(worker_id=second, name="new", at=3.0),
        ]
    )
    assert storage.reopen().workers == {second: "new"}


def test_summaries_count_nodes_by_state(storage: Storage) -> None:
    """An instance's summary tells how many nodes are in each state, while it runs, after it, and when reopened."""
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance) for _ in range(4)]
    events: list[list[e.DurableEvent]] = [
        [e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)],
        [
            e.NodeCompleted(node=nodes[0], payload=b"", at=5.0),
            e.NodeFailed(node=nodes[1], at=5.0),
            e.NodeJoining(node=nodes[2], payload=None, promises=(nodes[3],)),
        ],
        [
            e.NodeCompleted(node=nodes[3], payload=b"", at=6.0),
            e.NodeCompleted(node=nodes[2], payload=None, at=6.0),
            e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=6.0),
        ],
        [e.InstanceReopened(instance=instance), e.NodesCreated(nodes=[graph.node(instance)])],
    ]
    actual = []
    for batch in events:
        storage.journal.commit(batch)
        actual.append(storage.journal.summarize_instance(instance.id))
    running = InstanceSummary(
        seq=1,
        id=instance.id,
        definition="shop:Order",
        state=InstanceState.RUNNING,
        created_at=1_001.0,
        finished_at=0.0,
        counts={NodeState.WAITING: 4},
    )
    ended = {NodeState.COMPLETED: 3, NodeState.FAILED: 1}
    assert actual == [
        running,
        replace(
            running,
            counts={NodeState.COMPLETED: 1, NodeState.FAILED: 1, NodeState.JOINING: 1, NodeState.WAITING: 1},
        ),
        replace(running, state=InstanceState.FAILED, finished_at=6.0, counts=ended),
        replace(running, counts={**ended, NodeState.WAITING: 1}),
    ]
    last = actual[-1]
    assert last is not None
    assert storage.journal.list_instances(before_seq=None, limit=5) == [replace(last, counts={})]  # while it runs


def test_instances_are_listed_newest_first(storage: Storage) -> None:
    """Pages of instances go back in time and don't overlap."""
    graph = Graph()
    storage.journal.commit([e.InstanceCreated(instance=graph.instance()) for _ in range(5)])
    pages = [
        [it.seq for it in storage.journal.list_instances(before_seq=before, limit=2)] for before in (None, 4, 2, 1)
    ]
    assert pages == [[5, 4], [3, 2], [1], []]


def test_how_instances_are_to_be_run_is_read_back(storage: Storage) -> None:
    """Group and control as they were last, also of what has ended and begun again."""
    graph = Graph()
    plain = graph.instance()
    given = Control(priority=-7, running_max=3)
    options = graph.instance(group="night", control=given)
    changed = graph.instance(group="day")
    control = Control(priority=5, paused=True, running_max=2)
    storage.journal.commit(
        [
            e.InstanceCreated(instance=plain),
            e.InstanceCreated(instance=options, control=given),
            e.InstanceCreated(instance=changed),
        ]
    )
    storage.journal.commit(
        [
            e.InstanceControlled(instance=changed, control=Control(priority=1)),
            e.InstanceControlled(instance=changed, control=control),
            e.InstanceFinished(instance=changed, state=InstanceState.COMPLETED, at=2.0),
        ]
    )
    storage.journal.commit([e.InstanceReopened(instance=changed)])
    expected = [("", Control()), ("night", given), ("day", control)]
    snapshot = storage.reopen().instances
    found = [storage.journal.find_instance(it.id) for it in (plain, options, changed)]
    summaries = [storage.journal.summarize_instance(it.id) for it in (plain, options, changed)]
    listed = storage.journal.list_instances(before_seq=None, limit=3)[::-1]
    assert [[it and (it.group, it.control) for it in told] for told in (snapshot, found, summaries, listed)] == [
        expected
    ] * 4


def test_what_was_said_about_limits_is_read_back(storage: Storage) -> None:
    """What was said last, for as long as a node of a running instance has the key."""
    graph = Graph()
    instance = graph.instance()
    node = graph.node(instance, function=FUNCTIONS[1])
    key, other = (limit.key for limit in node.limits)
    first, last = LimitWord(1, LimitSpec(max=1)), LimitWord(7, LimitSpec(max=5, rate_per_s=0.5, burst=3))
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[node])])
    storage.journal.commit([e.LimitChanged(key=key, word=first), e.LimitChanged(key="nobody's", word=first)])
    storage.journal.commit([e.LimitChanged(key=key, word=last), e.LimitChanged(key=other, word=first)])
    assert storage.reopen().limits == {key: last, other: first}
    assert storage.reopen().limits == {key: last, other: first}
    storage.journal.commit([e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=3.0)])
    assert storage.reopen().limits == {}


def test_how_queues_are_to_be_run_is_read_back(storage: Storage) -> None:
    """What was said last, in whatever batches, and nothing of queues that are as if nothing had been said."""
    both, capped = QueueControl(paused=True, running_max=2), QueueControl(running_max=5)
    storage.journal.commit(
        [
            e.QueueControlled(queue="a", control=QueueControl(paused=True)),
            e.QueueControlled(queue="a", control=both),
            e.QueueControlled(queue="b", control=both),
        ]
    )
    storage.journal.commit([e.QueueControlled(queue="b", control=capped)])
    assert storage.reopen().queues == {"a": both, "b": capped}
    storage.journal.commit([e.QueueControlled(queue="c", control=both)])
    plain = [e.QueueControlled(queue=queue, control=QueueControl()) for queue in ("a", "c", "new")]
    storage.journal.commit([*plain, e.QueueControlled(queue="c", control=capped)])
    assert storage.reopen().queues == {"b": capped, "c": capped}


def test_nodes_are_listed_in_creation_order(storage: Storage) -> None:
    """Pages of an instance's nodes go on after a number, whatever else was made in between."""
    graph = Graph()
    one, other = graph.instance(), graph.instance()
    storage.journal.commit([e.InstanceCreated(instance=it) for it in (one, other)])
    storage.journal.commit([e.NodesCreated(nodes=[graph.node(it)]) for it in (one, other, one, one, other)])
    pages = [[it.seq for it in storage.journal.list_nodes(one.id, after_seq=after, limit=2)] for after in (0, 1, 3, 4)]
    assert pages == [[1, 3], [3, 4], [4], []]


def test_nodes_are_counted_by_function_and_state(storage: Storage) -> None:
    """Part by part, those of another instance and those that are to be left out not counted."""
    graph = Graph()
    one, other = graph.instance(), graph.instance()
    first, second = FUNCTIONS[:2]
    nodes = [graph.node(one, function=function) for function in (second, first, second, first, second)]
    strange = graph.node(other)
    storage.journal.commit([e.InstanceCreated(instance=it) for it in (one, other)])
    storage.journal.commit([e.NodesCreated(nodes=nodes), e.NodesCreated(nodes=[strange])])
    storage.journal.commit(
        [
            e.NodeCompleted(node=nodes[0], payload=b"1", at=1.0),
            e.AttemptFailed(node=nodes[1], attempt=failed(1), retry_at=9.0),
            e.NodeCompleted(node=nodes[2], payload=b"1", at=1.0),
        ]
    )

    def count(after_seq: int, limit: int, *without: int) -> tuple[list[tuple[str, dict[NodeState, int]]], int]:
        counts, last = storage.journal.count_nodes(one.id, after_seq=after_seq, limit=limit, without=without)
        return list(counts.items()), last

    completed, waiting, backoff = NodeState.COMPLETED, NodeState.WAITING, NodeState.BACKOFF
    a, b = second.spec.name, first.spec.name
    assert count(0, 9) == ([(a, {completed: 2, waiting: 1}), (b, {backoff: 1, waiting: 1})], 5)
    assert count(0, 2) == ([(a, {completed: 1}), (b, {backoff: 1})], 2)
    assert count(2, 2) == ([(a, {completed: 1}), (b, {waiting: 1})], 4)
    assert count(5, 2) == ([], 0)
    assert count(0, 9, 1, 2, 4) == ([(a, {completed: 1, waiting: 1})], 5)
    assert storage.journal.count_nodes(InstanceId(b"?" * 16), after_seq=0, limit=9) == ({}, 0)


def test_what_begins_anew_is_read_back(storage: Storage) -> None:
    """It has no cause and no end, calls what it calls now, and its earlier failures stay but do not count."""
    graph = Graph()
    instance = graph.instance(deadline_at=5.0)
    one, two, three = nodes = [graph.node(instance) for _ in range(3)]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    storage.journal.commit(
        [
            e.NodeJoining(node=three, payload=b"joins", promises=(one, two)),
            e.LeaseLost(node=one, attempt=failed(1), losses=1),
            e.AttemptFailed(node=one, attempt=failed(1)._replace(token=(3 << 40) + 7), retry_at=None),
            e.NodeFailed(node=one, at=3.0),
            e.DependencyFailed(node=two, cause=one, at=3.0),
            e.DependencyFailed(node=three, cause=one, at=3.0),
            e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=3.0),
        ]
    )
    resets = [e.Reset(one, FUNCTIONS[1], False), e.Reset(two, FUNCTIONS[0], False), e.Reset(three, FUNCTIONS[0], True)]
    reset = e.NodesReset(instance=instance, resets=resets, at=4.0, void_token=(3 << 40) + 9)
    storage.journal.commit([e.InstanceReopened(instance=instance), reset])
    (stored,) = storage.reopen().instances
    assert stored.void_token == (3 << 40) + 9
    assert (stored.state, stored.finished_at, stored.deadline_at) == (InstanceState.RUNNING, 0.0, 0.0)
    assert [(it.state, it.waiting_since, it.finished_at, it.cause_seq) for it in stored.nodes] == [
        (NodeState.WAITING, 4.0, 0.0, 0),
        (NodeState.WAITING, 4.0, 0.0, 0),
        (NodeState.JOINING, 0.0, 0.0, 0),
    ]
    first, _, last = stored.nodes
    assert (first.function, first.attempts, first.losses, len(first.failures)) == (FUNCTIONS[1].spec, 0, 0, 2)
    assert [failure.token for failure in first.failures] == [0, (3 << 40) + 7]
    assert (last.payload, last.promise_seqs) == (b"joins", (1, 2))
    storage.journal.commit([e.AttemptFailed(node=one, attempt=failed(1), retry_at=9.0)])
    again = storage.journal.find_nodes([1], values=True)[1]
    assert (again.attempts, again.losses, len(again.failures)) == (1, 0, 3)


def test_what_is_run_again_has_no_value_and_what_it_called_is_gone(storage: Storage) -> None:
    """The digest of the value is kept; of removed nodes nothing is left, and the others are what they were."""
    graph = Graph()
    instance = graph.instance()
    first, child, joins, last = nodes = [graph.node(instance, arguments=b"%d" % number) for number in range(4)]
    last.dependencies = (first,)
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    storage.journal.commit(
        [
            e.NodeJoining(node=first, payload=b"first", promises=(child,)),
            e.AttemptFailed(node=child, attempt=failed(1), retry_at=2.0),
            *(e.NodeCompleted(node=node, payload=b"", at=3.0) for node in (child, last)),
            e.NodeCompleted(node=first, payload=None, at=3.0),
            e.NodeJoining(node=joins, payload=None, promises=(first,)),
            e.NodeCompleted(node=joins, payload=None, at=3.0),
            e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=3.0),
        ]
    )
    resets = [
        e.Reset(first, FUNCTIONS[0], False, b"digest"),
        e.Reset(joins, FUNCTIONS[0], True, b"alias"),
        e.Reset(last, FUNCTIONS[1], False, b""),
    ]
    removal = e.NodesRemoved(instance=instance, nodes=[child])
    request = Request(RequestId(b"r" * 16), first.id, (1, 3, 4))
    reset = e.NodesReset(instance=instance, resets=resets, at=4.0, request=request)
    storage.journal.commit([e.InstanceReopened(instance=instance), removal, reset])
    (stored,) = storage.reopen().instances
    assert stored.request == request
    assert [(it.seq, it.state, it.payload, it.promise_seqs, it.previous) for it in stored.nodes] == [
        (1, NodeState.WAITING, None, (), b"digest"),
        (3, NodeState.JOINING, None, (1,), b"alias"),
        (4, NodeState.WAITING, None, (), b""),
    ]
    assert [(it.arguments, it.dependency_seqs, it.finished_at) for it in stored.nodes] == [
        (b"0", (), 0.0),
        (b"2", (), 0.0),
        (b"3", (1,), 0.0),
    ]
    assert (storage.journal.find_nodes([2], values=True), storage.journal.find_by_id(instance.id, [child.id])) == (
        {},
        {},
    )
    storage.journal.commit([e.NodeCompleted(node=last, payload=b"again", at=4.0)])
    storage.journal.commit([e.ValueCompared(node=last, change=Change.CHANGED)])
    again = storage.journal.find_nodes([1, 4], values=True)
    assert [(it.payload, it.change) for it in again.values()] == [(None, None), (b"again", Change.CHANGED)]
    reset = e.NodesReset(instance=instance, resets=[e.Reset(last, FUNCTIONS[1], True)], at=5.0)
    storage.journal.commit([reset])
    (stored,) = storage.reopen().instances
    assert (stored.request, stored.nodes[2].change, stored.nodes[2].previous) == (None, None, b"")


def test_attempts_are_kept_over_a_reset(storage: Storage) -> None:
    """One whose value is no more, with its times; numbers go on from there, and the pause is known of the instance."""
    graph = Graph()
    instance = graph.instance()
    revived_at = 1_795_834_986.1234567  # to the last bit: a node that fails at that moment began anew before
    plain, joined = nodes = [graph.node(instance) for _ in range(2)]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    storage.journal.commit(
        [
            e.AttemptFailed(node=plain, attempt=failed(1), retry_at=2.0),
            e.NodeCompleted(node=plain, payload=b"", at=5.0, run=("host:1", 3.0, 4.75, 1.5)),
            e.NodeJoining(node=joined, payload=None, promises=(plain,), at=4.0, run=("host:2", 3.5, 4.0, 0.0)),
            e.NodeCompleted(node=joined, payload=None, at=5.0),
            e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=5.0),
        ]
    )
    resets = [e.Reset(plain, FUNCTIONS[0], False, tries=2), e.Reset(joined, FUNCTIONS[0], False, tries=1)]
    deeds = [Action(5.0, "end", "", ()), Action(revived_at, "rerun", "ann", ())]
    storage.journal.commit(
        [
            *(e.ActionTaken(action=deed, instance=instance) for deed in deeds),
            e.InstanceReopened(instance=instance),
            e.NodesReset(instance=instance, resets=resets, at=revived_at),
        ]
    )
    storage.journal.commit([e.AttemptFailed(node=plain, attempt=failed(3), retry_at=70.0)])
    (stored,) = storage.reopen().instances
    assert stored.pauses == (Pause(5.0, revived_at),)
    assert [one.pauses for one in storage.journal.list_instances(before_seq=None, limit=9)] == [stored.pauses]
    assert [(one.tries, one.attempts, len(one.failures)) for one in stored.nodes] == [(3, 1, 2), (1, 0, 0)]
    assert [one.undone for one in stored.nodes] == [
        [UndoneAttempt(2, "host:1", 4.75, 3.0, 1.5)],
        [UndoneAttempt(1, "host:2", 4.0, 3.5, 0.0)],
    ]


@pytest.mark.parametrize("together", [False, True])
def test_attempts_are_kept_where_all_comes_in_one_commit(storage: Storage, together: bool) -> None:
    """A node that completes and begins anew, twice, keeps both attempts, under the number that each had."""
    graph = Graph()
    instance = graph.instance()
    plain, joined = nodes = [graph.node(instance) for _ in range(2)]
    events: list[e.DurableEvent] = [e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)]
    for number in (1, 2):
        at = 10.0 * number
        resets = [e.Reset(node, FUNCTIONS[0], False, tries=number) for node in nodes]
        events += [
            e.NodeCompleted(node=plain, payload=b"v", at=at, run=(f"host:{number}", at - 2, at - 1, 0.5)),
            e.NodeJoining(node=joined, payload=b"w", promises=(plain,), at=at, run=("host:3", at - 3, at, 2.0)),
            e.NodeCompleted(node=joined, payload=None, at=at + 1),
            e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=at + 1),
            e.InstanceReopened(instance=instance),
            e.NodesReset(instance=instance, resets=resets, at=at + 2),
        ]
    # The first completions in a commit of their own, and the rest in another, is a third case of the same.
    for batch in [events] if together else [events[:5], events[5:]]:
        storage.journal.commit(batch)
    (stored,) = storage.reopen().instances
    assert [(one.state, one.payload, one.run, one.tries) for one in stored.nodes] == [
        (NodeState.WAITING, None, None, 2),
        (NodeState.WAITING, None, None, 2),
    ]
    assert [one.undone for one in stored.nodes] == [
        [UndoneAttempt(1, "host:1", 9.0, 8.0, 0.5), UndoneAttempt(2, "host:2", 19.0, 18.0, 0.5)],
        [UndoneAttempt(1, "host:3", 10.0, 7.0, 2.0), UndoneAttempt(2, "host:3", 20.0, 17.0, 2.0)],
    ]


def test_the_attempt_that_gave_a_value_is_read_back(storage: Storage) -> None:
    """Who ran it, from when, for how long, and when that ended, before the node or with it, while the value stands."""
    graph = Graph()
    instance = graph.instance()
    plain, joins, alias, cancelled, waits = nodes = [graph.node(instance) for _ in range(5)]
    runs = [("a", 10.0, 19.5, 1.5), ("b", 11.0, 21.0, 0.0), ("a", 12.0, 22.5, 2.5), ("c", 13.0, 24.0, 4.0)]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    storage.journal.commit(
        [
            e.NodeCompleted(node=plain, payload=b"1", at=20.0, run=runs[0]),
            e.NodeJoining(node=joins, payload=b"[plain]", promises=(plain,), at=21.0, run=runs[1]),
            e.NodeCompleted(node=joins, payload=None, at=22.0),
            e.NodeJoining(node=alias, payload=None, promises=(waits,), at=23.0, run=runs[2]),
        ]
    )
    storage.reopen()
    storage.journal.commit([e.NodesCancelled(nodes=[alias, cancelled, waits], at=24.0, runs={cancelled.seq: runs[3]})])
    storage.reopen()

    def read() -> list[object]:
        found = storage.journal.list_nodes(instance.id, after_seq=0, limit=9)
        return [(it.run, it.finished_at) for it in found]

    assert read() == [
        (runs[0], 20.0),
        (runs[1], 22.0),
        (runs[2], 24.0),
        (runs[3], 24.0),
        (None, 24.0),
    ]
    resets = [e.Reset(plain, FUNCTIONS[0], False), e.Reset(joins, FUNCTIONS[0], True)]
    storage.journal.commit([e.NodesReset(instance=instance, resets=resets, at=30.0)])
    assert read()[:2] == [(None, 0.0), (runs[1], 0.0)]
    storage.journal.commit([e.NodeCompleted(node=plain, payload=b"2", at=40.0, run=("d", 31.0, 40.0, 2.0))])
    assert read()[0] == (("d", 31.0, 40.0, 2.0), 40.0)


def test_notes_are_read_back(storage: Storage) -> None:
    """Each text stays until there is another one, over restarts, and what was removed has none."""
    graph = Graph()
    instance = graph.instance()
    first, second, third = nodes = [graph.node(instance) for _ in range(3)]
    later = [graph.node(instance) for _ in range(2)]
    storage.journal.commit(
        [
            e.InstanceCreated(instance=instance),
            e.NodesCreated(nodes=nodes, labels=["label", "one", "gone"], inputs=["x=1", "", ""]),
            e.NodesNoted(notes=[(second, Note("two"))]),
            e.NodesCreated(nodes=later, inputs=["", "z=3"]),
        ]
    )
    storage.reopen()
    storage.journal.commit([e.NodesNoted(notes=[(first, Note("new")), (second, Note("", "y=2"))])])
    storage.journal.commit([e.NodesRemoved(instance=instance, nodes=[third])])
    storage.reopen()
    found = storage.journal.list_nodes(instance.id, after_seq=0, limit=9)
    assert [it.note for it in found] == [Note("new", "x=1"), Note("two", "y=2"), None, Note("", "z=3")]


def test_beginnings_of_arguments_are_read(storage: Storage) -> None:
    """As many bytes as are asked for, and how many there are; of results nothing."""
    graph = Graph()
    instance = graph.instance()
    node = graph.node(instance, arguments=b"0123456789")
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[node])])
    (found,) = storage.journal.list_nodes(instance.id, after_seq=0, limit=9, arguments_max=4)
    assert (found.arguments[:4], found.arguments_bytes) == (b"0123", 10)


def test_the_number_of_a_removed_node_is_not_given_again(storage: Storage) -> None:
    """Also the last one is remembered as given, and what is made after it is found by its own number."""
    graph = Graph()
    one, other = graph.instance(), graph.instance()
    first, kept, last = graph.node(one), graph.node(other), graph.node(one)
    created = [e.NodesCreated(nodes=[node]) for node in (first, kept, last)]
    storage.journal.commit([*(e.InstanceCreated(instance=it) for it in (one, other)), *created])
    storage.journal.commit([e.NodesRemoved(instance=one, nodes=[last])])
    assert [storage.reopen().node_seq_last for _ in range(2)] == [3, 3]
    storage.journal.commit([e.NodesRemoved(instance=one, nodes=[first])])
    assert storage.reopen().node_seq_last == 3
    new = graph.node(one)
    storage.journal.commit([e.NodesCreated(nodes=[new])])
    assert storage.reopen().node_seq_last == 4
    assert {seq: node.id for seq, node in storage.journal.find_nodes([1, 2, 3, 4], values=True).items()} == {
        2: kept.id,
        4: new.id,
    }


def test_a_deadline_is_read_back(storage: Storage) -> None:
    """It stays with its instance, which may begin, end and begin again meanwhile."""
    graph = Graph()
    one, other = graph.instance(deadline_at=1_060.5), graph.instance()
    begin = [e.InstanceCreated(instance=it) for it in (one, other)]
    end = [e.InstanceFinished(instance=it, state=InstanceState.COMPLETED, at=2.0) for it in (one, other)]
    storage.journal.commit([*begin, *end])
    storage.journal.commit([e.InstanceReopened(instance=one)])
    found = [storage.journal.find_instance(it.id) for it in (one, other)]
    summaries = storage.journal.list_instances(before_seq=None, limit=2)
    assert [it and it.deadline_at for it in found] == [1_060.5, 0.0]
    assert [it.deadline_at for it in summaries] == [0.0, 1_060.5]


def test_a_recorded_start_is_read_back(storage: Storage) -> None:
    """What a worker has is told from what none has, until it is handed back, and nothing else of it has changed."""
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance, function=FUNCTIONS[1]) for _ in range(3)]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    storage.journal.commit([e.AttemptFailed(node=nodes[1], attempt=failed(1), retry_at=9.0)])
    storage.journal.commit([e.NodesStarted(nodes=nodes[:2])])
    before = storage.reopen().instances[0].nodes
    storage.journal.commit([e.NodesHandedBack(nodes=nodes[1:2], at=3.0)])
    after = storage.reopen().instances[0].nodes
    assert [it.state for it in before] == [NodeState.STARTED, NodeState.STARTED, NodeState.WAITING]
    assert [it.state for it in after] == [NodeState.STARTED, NodeState.WAITING, NodeState.WAITING]
    assert [it.waiting_since for it in (*before, *after)] == [0.0, 0.0, 0.0, 0.0, 3.0, 0.0]
    assert [(it.attempts, it.retry_at, it.finished_at) for it in after] == [(0, 0.0, 0.0), (1, 0.0, 0.0), (0, 0.0, 0.0)]


def test_a_node_is_found_by_its_id_in_its_instance(storage: Storage) -> None:
    """The same id may stand for another node in another instance, and for none in a third."""
    graph = Graph()
    one, other, empty = (graph.instance() for _ in range(3))
    storage.journal.commit([e.InstanceCreated(instance=it) for it in (one, other, empty)])
    first, second = graph.node(one), graph.node(other)
    second.id = first.id
    storage.journal.commit([e.NodesCreated(nodes=[first]), e.NodesCreated(nodes=[second])])
    found = [storage.journal.find_by_id(it.id, [first.id], values=True).get(first.id) for it in (one, other, empty)]
    assert [it and it.seq for it in found] == [1, 2, None]


def test_nodes_are_found_by_number(storage: Storage) -> None:
    """Numbers of several instances may be asked for at once, in any order; unknown ones are left out."""
    graph = Graph()
    instances = [graph.instance(), graph.instance()]
    storage.journal.commit([e.InstanceCreated(instance=it) for it in instances])
    nodes = [graph.node(instances[place]) for place in (0, 1, 0, 1)]
    storage.journal.commit([e.NodesCreated(nodes=[it]) for it in nodes])
    storage.journal.commit([e.AttemptFailed(node=nodes[3], attempt=failed(1), retry_at=9.0)])
    found = storage.journal.find_nodes([4, 99, 1, 0, 2], values=True)
    assert {seq: (it.id, it.attempts) for seq, it in found.items()} == {
        4: (nodes[3].id, 1),
        1: (nodes[0].id, 0),
        2: (nodes[1].id, 0),
    }


def test_what_is_unknown_is_none(storage: Storage) -> None:
    """Asking for what does not exist is no error."""
    instance_id, node_id = InstanceId(b"i" * 16), NodeId(b"n" * 16)
    journal = storage.journal
    assert (
        journal.find_instance(instance_id),
        journal.summarize_instance(instance_id),
        journal.find_by_id(instance_id, [node_id]),
        journal.list_nodes(instance_id, after_seq=0, limit=9),
        journal.find_nodes([], values=True),
    ) == (None, None, {}, [], {})


@pytest.mark.parametrize("count", [1, 5, 1_023, 1_025, 2_500])
def test_batches_of_any_size_are_stored_whole(storage: Storage, count: int) -> None:
    """However many nodes a batch has, each is stored once, with its own payload and dependencies."""
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=b"%d" % number) for number in range(count)]
    gather = graph.node(instance, dependencies=nodes)
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[*nodes, gather])])
    storage.journal.commit([e.NodeCompleted(node=it, payload=b"=" + it.arguments, at=1.0) for it in nodes])
    *stored, stored_gather = storage.reopen().instances[0].nodes
    assert [(it.arguments, it.payload) for it in stored] == [(b"%d" % it, b"=%d" % it) for it in range(count)]
    assert stored_gather.dependency_seqs == tuple(range(1, count + 1))
