"""Every storage folds an instance, and tells the times of its nodes, as every other does."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagorama_broker.core import events as e
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import InstanceId, Note
from tests.conformance.conftest import Storage, make_storage
from tests.conformance.graphs import FUNCTIONS, KINDS, Graph, failed, history

Choices = list[tuple[int, int]]

ENTRY, CHARGE = (function.spec.name for function in FUNCTIONS)
COMPLETED, WAITING, FAILED = NodeState.COMPLETED, NodeState.WAITING, NodeState.FAILED


def test_nodes_are_folded_by_function_and_maker(storage: Storage) -> None:
    """Part by part, with the edges that lead to each part, and without those that are counted elsewhere."""
    graph = Graph()
    one, other = graph.instance(), graph.instance()
    entry, charge = FUNCTIONS
    first = graph.node(one, function=entry)
    made = [graph.node(one, function=charge, parent=first) for _ in range(2)]
    last = graph.node(one, function=charge, parent=made[0], dependencies=tuple(made))
    strange = graph.node(other, function=entry)
    storage.journal.commit([e.InstanceCreated(instance=it) for it in (one, other)])
    storage.journal.commit([e.NodesCreated(nodes=[first, *made, last]), e.NodesCreated(nodes=[strange])])
    storage.journal.commit([e.NodeCompleted(node=made[0], payload=b"1", at=1.0)])
    outside, inner, innermost = (ENTRY, ""), (CHARGE, ENTRY), (CHARGE, CHARGE)

    whole = storage.journal.fold_nodes(one.id, after_seq=0, limit=9)
    assert list(whole.counts.items()) == [
        (outside, {WAITING: 1}),
        (inner, {COMPLETED: 1, WAITING: 1}),
        (innermost, {WAITING: 1}),
    ]
    assert whole.edges == {(outside, inner, True): 2, (inner, innermost, True): 1, (inner, innermost, False): 2}
    assert whole.seq_last == last.seq

    part = storage.journal.fold_nodes(one.id, after_seq=0, limit=3, without=[made[1].seq])
    assert (part.counts, part.edges) == ({outside: {WAITING: 1}, inner: {COMPLETED: 1}}, {(outside, inner, True): 1})
    rest = storage.journal.fold_nodes(one.id, after_seq=part.seq_last, limit=3)
    assert (rest.counts, rest.seq_last) == ({innermost: {WAITING: 1}}, last.seq)
    assert storage.journal.fold_nodes(one.id, after_seq=last.seq, limit=3) == ({}, {}, 0)
    assert storage.journal.fold_nodes(InstanceId(b"?" * 16), after_seq=0, limit=9) == ({}, {}, 0)


def test_the_times_of_nodes_are_read_back(storage: Storage) -> None:
    """To the microsecond: of a node that waits, of one with a value, and of one that failed at its last attempt."""
    graph = Graph()
    it = graph.instance()
    entry, charge = FUNCTIONS
    first = graph.node(it, function=entry)
    done = graph.node(it, function=charge, parent=first)
    broken = graph.node(it, function=charge, parent=first, dependencies=(done,))
    storage.journal.commit([e.InstanceCreated(instance=it)])
    storage.journal.commit([e.NodesCreated(nodes=[first, done, broken]), e.NodesNoted(notes=[(done, Note("a", ""))])])
    earlier, attempt = failed(1, worker="w2"), failed(2)
    storage.journal.commit([e.AttemptFailed(node=one, attempt=earlier, retry_at=2_002.0) for one in (done, broken)])
    at, granted_at, ended_at = 1_000_000_000.123456, 1_000_000_000.023457, 1_000_000_000.113457
    storage.journal.commit([e.NodeCompleted(node=done, payload=b"1", at=at, run=("w1", granted_at, ended_at, 0.05))])
    storage.journal.commit(
        [e.AttemptFailed(node=broken, attempt=attempt, retry_at=None), e.NodeFailed(node=broken, at=attempt.ended_at)]
    )

    waits, ended, ill = storage.journal.list_times(it.id, after_seq=0, limit=9)
    assert (waits.seq, waits.id, waits.function, waits.parent_seq) == (first.seq, first.id, ENTRY, 0)
    assert (waits.label, waits.created_at, waits.state, waits.finished_at) == ("", first.created_at, WAITING, 0.0)
    assert (list(waits.dependency_seqs), waits.run) == ([], None)
    assert (ended.state, ended.label, ended.parent_seq) == (COMPLETED, "a", first.seq)
    assert abs(ended.finished_at - at) < 1e-5
    assert ended.run is not None
    assert list(ended.run) == ["w1", pytest.approx(granted_at, abs=1e-5), pytest.approx(ended_at, abs=1e-5), 0.05]
    assert (ill.state, list(ill.dependency_seqs)) == (FAILED, [done.seq])
    assert ill.run == (attempt.worker, attempt.granted_at, attempt.ended_at, attempt.duration_s)
    before = ("w2", earlier.granted_at, earlier.ended_at, earlier.duration_s)
    assert [list(map(tuple, one.attempts)) for one in (waits, ended, ill)] == [[], [before], [before]]
    (second,) = storage.journal.list_times(it.id, after_seq=first.seq, limit=1)
    assert second.seq == done.seq
    assert storage.journal.list_times(InstanceId(b"?" * 16), after_seq=0, limit=9) == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, KINDS - 1), st.integers(0, 20)), max_size=40))
def test_shapes_and_times_are_those_of_the_nodes(tmp_path_factory: pytest.TempPathFactory, choices: Choices) -> None:
    """Whatever has happened, both tell what the list of nodes tells, in memory and on a disk."""
    for kind in ("memory", "sqlite"):
        storage = make_storage(kind, tmp_path_factory.mktemp("shapes"))
        storage.open()
        events = history(choices)
        storage.journal.commit(events)
        for it in [one.instance for one in events if isinstance(one, e.InstanceCreated)]:
            nodes = storage.journal.list_nodes(it.id, after_seq=0, limit=1000)
            times = storage.journal.list_times(it.id, after_seq=0, limit=1000)
            assert [facts(one) for one in nodes] == [
                (one.seq, one.id, one.function, one.parent_seq, tuple(one.dependency_seqs), one.state, one.finished_at)
                for one in times
            ]
            functions = {node.seq: node.function.name for node in nodes}
            makers = {node.seq: functions.get(node.parent_seq, "") for node in nodes}
            groups = {seq: (name, makers[seq]) for seq, name in functions.items()}
            shape = storage.journal.fold_nodes(it.id, after_seq=0, limit=1000)
            assert {
                (group, state): count for group, counts in shape.counts.items() for state, count in counts.items()
            } == Counter((groups[node.seq], node.state) for node in nodes)
            assert shape.edges == Counter(
                [(groups[node.parent_seq], groups[node.seq], True) for node in nodes if node.parent_seq]
                + [(groups[seq], groups[node.seq], False) for node in nodes for seq in node.dependency_seqs]
            )
        storage.journal.close()


def facts(node: StoredNode) -> tuple[object, ...]:
    """Return the facts of a node that its times have too."""
    return (
        *(node.seq, node.id, node.function.name, node.parent_seq, node.dependency_seqs, node.state),
        node.finished_at,
    )
