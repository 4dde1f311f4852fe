"""What every journal does with instances that are pruned. `storage` is each of them in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.selections import InstanceSelection
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import EndedInstance, Lived, Tombstone
from dagorama_broker.core.model.values import Action, Body, HookCall, InstanceId, Keep, NodeId, PruneReason, Start
from dagorama_broker.storage.auditing import audit_uses
from dagorama_broker.storage.journal import Journal
from tests.conformance.conftest import Storage
from tests.conformance.graphs import FUNCTIONS, Graph, failed
from tests.conformance.test_uses import reference, referring

COMPLETED, FAILED, CANCELLED = InstanceState.COMPLETED, InstanceState.FAILED, InstanceState.CANCELLED


def end(
    storage: Storage,
    graph: Graph,
    *,
    state: InstanceState = COMPLETED,
    on: float = 10.0,
    until: float | None = None,
    key: str = "",
    nodes: int = 2,
) -> Instance:
    """Have an instance with a bit of everything end."""
    hook = HookCall(FUNCTIONS[0].spec, referring("h"), False)
    start = Start(key, NodeId(bytes(16)), Body("d", "f", b"d", b"a")) if key else None
    instance = graph.instance(start=start, tags=(("a", "b"), ("c", "d")), hooks=(hook,))
    made = [graph.node(instance, arguments=referring("a"), function=FUNCTIONS[1]) for _ in range(nodes)]
    action = e.ActionTaken(action=Action(1.0, "pause", "me"), instance=instance)
    events: list[e.DurableEvent] = [e.InstanceCreated(instance=instance), action]
    if made:
        events.append(e.NodesCreated(nodes=made, labels=["label"] * nodes))
        events += [e.AttemptFailed(node=node, attempt=failed(1), retry_at=5.0) for node in made]
        events += [
            e.NodeCompleted(node=node, payload=referring("r"), at=7.0, run=("w", 1.0, 3.0, 2.0)) for node in made
        ]
    storage.journal.commit(events)
    held_bytes = sum(reference(name).size for name in ("arh" if made else "h"))
    storage.journal.commit([finished(instance, state=state, on=on, until=until, held_bytes=held_bytes)])
    instance.nodes.update({node.id: node for node in made})
    return instance


def finished(
    instance: Instance,
    *,
    state: InstanceState = COMPLETED,
    on: float = 10.0,
    until: float | None = None,
    held_bytes: int = 0,
) -> e.InstanceFinished:
    """Give the event of an end."""
    return e.InstanceFinished(
        instance=instance, state=state, at=8.0, counts={}, lived_s=on, kept_until=until, held_bytes=held_bytes
    )


def prune(storage: Storage, *instances: Instance, lived_s: float = 50.0) -> list[EndedInstance]:
    """Prune instances, as the journal has them."""
    ended = storage.journal.find_ended([instance.id for instance in instances])
    pruned = e.InstancesPruned(instances=ended, at=99.0, lived_s=lived_s, reason=PruneReason.REQUEST, by="me")
    storage.journal.commit([pruned])
    return ended


def sweep(journal: Journal, rows_max: int = 3) -> int:
    """Remove what is left, in slices; return how many these were."""
    slices = 0
    while sweeps := journal.list_sweeps(10):
        slices += 1
        journal.sweep([seq for seq, _ in sweeps], rows_max=rows_max)
    return slices


def ids(found: Iterable[EndedInstance]) -> list[int]:
    """Give the numbers of some instances."""
    return [ended.seq for ended in found]


def uses(journal: Journal) -> set[int]:
    """Give the numbers of the instances that values are used by, and see that the recount comes to the same."""
    assert list(audit_uses(journal)) == []
    return {use.instance_seq for use in journal.list_uses(after=None, limit=1000)}


def test_nothing_of_a_pruned_instance_is_found(storage: Storage) -> None:
    """From the commit on, before any of its rows is removed and after, over restarts; all else is as it was."""
    graph = Graph()
    gone, other = end(storage, graph, key="k"), end(storage, graph)
    nodes: Sequence[Node] = [*gone.nodes.values()]
    prune(storage, gone)
    for _ in range(2):
        journal = storage.journal
        assert journal.find_instance(gone.id) is journal.find_head(gone.id) is None
        assert journal.find_start("k") is None
        assert journal.summarize_instance(gone.id) is None
        assert [one.seq for one in journal.list_instances(before_seq=None, limit=9)] == [other.seq]
        tagged = InstanceSelection(tags=(("a", "b"),))
        found = journal.select_instances(tagged, before_seq=None, limit=9, looked_at_max=9)
        assert [one.seq for one in found.items] == [other.seq]
        assert journal.list_nodes(gone.id, after_seq=0, limit=9) == []
        assert journal.find_by_id(gone.id, [nodes[0].id]) == {}
        assert journal.count_nodes(gone.id, after_seq=0, limit=9).counts == {}
        assert journal.list_actions(gone.id, after_seq=0, limit=9) == []
        assert [one.instance_id for one in journal.list_all_actions("", before_seq=None, limit=9)] == [other.id]
        assert journal.find_ended([gone.id, other.id]) == journal.find_oldest(9) != []
        assert uses(journal) == {other.seq}
        assert journal.find_used([reference("a").digest]) == {reference("a").digest}
        sweep(journal)
        storage.reopen()
    found_instance = storage.journal.find_instance(other.id)
    assert found_instance is not None
    assert [len(node.failures) for node in found_instance.nodes] == [1, 1]


def test_what_is_left_goes_in_slices(storage: Storage) -> None:
    """No slice removes more rows than it may, however many an instance has; afterwards nothing uses its values."""
    graph = Graph()
    gone, empty = end(storage, graph, nodes=20), end(storage, graph, nodes=0)
    prune(storage, gone, empty)
    assert storage.journal.list_sweeps(1) == [(gone.seq, gone.id)]
    assert storage.journal.list_sweeps(9) == [(gone.seq, gone.id), (empty.seq, empty.id)]
    assert not storage.journal.sweep([gone.seq], rows_max=3)
    storage.reopen()  # the rest is still known of
    assert sweep(storage.journal) >= 20 // 3
    assert storage.journal.list_sweeps(9) == []
    assert storage.journal.find_used([reference(name).digest for name in "arh"]) == set()
    assert storage.journal.find_nodes([node.seq for node in gone.nodes.values()]) == {}
    assert storage.journal.sweep([gone.seq, 77], rows_max=3), "nothing is left of either"


def test_numbers_are_not_given_again(storage: Storage) -> None:
    """Those of the last instance, of its nodes and of what was done to it are remembered without it."""
    graph = Graph()
    first, last = end(storage, graph), end(storage, graph)
    (before, *_) = storage.journal.list_all_actions("", before_seq=None, limit=1)
    prune(storage, first, last)
    sweep(storage.journal)
    snapshot = storage.reopen()
    assert (snapshot.instance_seq_last, snapshot.node_seq_last) == (2, 4)
    assert {first.id, last.id} <= set(snapshot.instance_ids_last)
    storage.journal.commit([e.ActionTaken(action=Action(2.0, "prune", "me", (), "instances"))])
    (after,) = storage.journal.list_all_actions("", before_seq=None, limit=9)
    assert after.seq > before.seq


def test_tombstones_tell_what_was_there(storage: Storage) -> None:
    """By id and by key, until they are so old that they are forgotten, the oldest first."""
    graph = Graph()
    one, two, three = end(storage, graph, key="k"), end(storage, graph, key="m", state=FAILED), end(storage, graph)
    prune(storage, one, lived_s=50.0)
    prune(storage, two, lived_s=60.0)
    storage.reopen()
    journal = storage.journal
    told = Tombstone(one.id, "shop:Order", COMPLETED, 8.0, 99.0, PruneReason.REQUEST, "me", "k")
    assert journal.find_tombstone(one.id) == journal.find_tombstone_of_key("k") == told
    assert journal.find_tombstone(three.id) is journal.find_tombstone_of_key("x") is None
    assert journal.forget_tombstones(pruned_until=49.0, limit=9) == 0
    assert journal.forget_tombstones(pruned_until=60.0, limit=1) == 1
    assert journal.find_tombstone(one.id) is journal.find_tombstone_of_key("k") is None
    found = journal.find_tombstone(two.id)
    assert found is not None
    assert (found.state, found.key) == (FAILED, "m")
    assert journal.forget_tombstones(pruned_until=60.0, limit=9) == 1
    assert journal.find_tombstone(two.id) is None


def test_what_is_due_is_found_by_how_and_when_it_ended(storage: Storage) -> None:
    """Each state has its own cutoff; an option of the instance goes before; what runs is never due."""
    graph = Graph()
    end(storage, graph, on=10.0)
    end(storage, graph, on=20.0)
    end(storage, graph, on=11.0, state=FAILED)
    end(storage, graph, on=12.0, state=CANCELLED)
    end(storage, graph, on=1.0, until=90.0)
    end(storage, graph, on=1.0, until=inf)
    revived = end(storage, graph, on=1.0)
    storage.journal.commit([e.InstanceReopened(instance=revived)])
    storage.reopen()

    def due(completed: float, failed: float, cancelled: float, *, lived_s: float = 50.0, limit: int = 9) -> list[int]:
        cutoffs = {COMPLETED: completed, FAILED: failed, CANCELLED: cancelled}
        return sorted(ids(storage.journal.find_due(cutoffs, lived_s=lived_s, limit=limit)))

    assert due(9.0, 10.0, 11.0) == []
    assert due(10.0, 11.0, 11.0) == [1, 3]
    assert due(20.0, -inf, 12.0, lived_s=90.0) == [1, 2, 4, 5]
    assert due(-inf, -inf, -inf) == []
    assert len(due(20.0, 20.0, 20.0, limit=2)) == 2
    assert ids(storage.journal.find_oldest(3)) == [5, 1, 3]
    assert ids(storage.journal.find_oldest(9)) == [5, 1, 3, 4, 2]
    storage.journal.commit([finished(revived, on=30.0)])
    assert due(29.0, -inf, -inf) == [1, 2]
    assert due(30.0, -inf, -inf) == [1, 2, 7]


def test_the_option_of_an_instance_is_read_back(storage: Storage) -> None:
    """For ever included; so an instance that is brought back ends under it again."""
    graph = Graph()
    instance = graph.instance()
    instance.keep = Keep(5.0, inf, 0.5)
    storage.journal.commit([e.InstanceCreated(instance=instance)])
    storage.reopen()
    found = storage.journal.find_head(instance.id)
    assert found is not None
    assert found.keep == instance.keep


def test_lived_time_is_read_back(storage: Storage) -> None:
    """The last that was noted counts."""
    assert storage.reopen().lived is None
    storage.journal.commit([e.LifeNoted(at=5.0, lived_s=1.0), e.LifeNoted(at=6.0, lived_s=2.0)])
    storage.journal.commit([e.LifeNoted(at=7.0, lived_s=3.0)])
    assert storage.reopen().lived == Lived(7.0, 3.0)


def test_an_id_may_be_used_again_once_it_is_forgotten(storage: Storage) -> None:
    """The new instance has nothing of the old one."""
    graph = Graph()
    first = end(storage, graph)
    prune(storage, first)
    sweep(storage.journal)
    storage.journal.forget_tombstones(pruned_until=inf, limit=9)
    second = graph.instance()
    again = Instance(seq=second.seq, id=InstanceId(first.id), definition="new", created_at=5.0)
    storage.journal.commit([e.InstanceCreated(instance=again)])
    found = storage.journal.find_instance(first.id)
    assert found is not None
    assert (found.seq, found.definition, found.nodes) == (2, "new", [])


def test_the_room_of_a_storage_is_measured_and_given_back(storage: Storage, kind: str) -> None:
    """Rows that are gone leave room that is free, and then no room at all; a value that is used counts once."""
    graph = Graph()
    gone, other = end(storage, graph, nodes=300), end(storage, graph)
    journal = storage.journal
    sizes = sum(reference(name).size for name in "arh")
    first, digest = journal.measure_values(after=b"", limit=2)
    second, _ = journal.measure_values(after=digest, limit=9)
    before = journal.measure()
    prune(storage, gone)
    sweep(journal, rows_max=100)
    after = journal.measure()
    if kind == "memory":
        assert (first, second, before, after) == (0, 0, (0, 0, True), (0, 0, True))
        assert journal.give_back(1) == 0
        return
    assert first + second == sizes
    assert (before.gives_back, after.used < before.used, after.free > before.free) == (True, True, True)
    assert journal.give_back(8192 * 4) == after.free - 8192 * 4
    assert journal.give_back(after.free) == journal.give_back(0) == 0
    assert journal.measure().used <= after.used
    storage.reopen()
    assert storage.journal.find_instance(other.id) is not None


def test_functions_that_nothing_calls_go(storage: Storage, kind: str) -> None:
    """There is one for each set of arguments of a definition, so they would pile up; those in use stay."""
    graph = Graph()
    gone, other = graph.instance(), graph.instance()

    def made_with(number: int) -> Function:
        spec = replace(FUNCTIONS[0].spec, definition_arguments=b"%d" % number)
        return Function(spec, lane=FUNCTIONS[0].lane, timing=FUNCTIONS[0].timing)

    def add(instance: Instance, *numbers: int) -> list[e.DurableEvent]:
        return [e.NodesCreated(nodes=[graph.node(instance, function=made_with(number)) for number in numbers])]

    storage.journal.commit([e.InstanceCreated(instance=gone), *add(gone, *range(700))])
    hook = HookCall(made_with(1001).spec, b"", False)
    other.hooks = (hook,)
    kept = [graph.node(other, function=made_with(1000)), graph.node(other)]
    storage.journal.commit([e.InstanceCreated(instance=other), e.NodesCreated(nodes=kept), finished(gone)])
    prune(storage, gone)
    sweep(storage.journal, rows_max=100)
    storage.reopen()  # what was written before is not known by heart any more
    storage.journal.commit(add(other, *range(2000, 2600)))
    slices = 1
    while not storage.journal.tidy(rows_max=50):
        slices += 1
        if slices == 5:  # what nothing calls so far, as the look has found, is called again
            storage.journal.commit(add(other, 3))
    found = storage.journal.find_instance(other.id)
    assert found is not None
    assert found.hooks == (hook,)
    made = [node.function.definition_arguments for node in found.nodes]
    assert made == [b"1000", b"", *(b"%d" % number for number in range(2000, 2600)), *([b"3"] if slices > 5 else [])]
    if kind == "sqlite":
        assert slices > 700 // 50
        (count,) = storage.journal._connection.execute("SELECT count(*) FROM functions").fetchone()  # type: ignore[attr-defined]
        assert count <= len(made) + 1
    assert storage.journal.tidy(rows_max=50), "there is nothing new to look at"
