"""Every journal finds the same of many instances and nodes, and looks at so many at most."""

from __future__ import annotations

from random import Random

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Lane, Node, Timing
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, is_end
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import Body, FailedAttempt, Failure, FunctionSpec, NodeId, Note, Start
from tests.conformance.conftest import Storage
from tests.conformance.graphs import Graph

DEFINITIONS = ["shop:Order", "shop:Outer.Order", "shop:Reorder", "bank:Order", "Order"]
FUNCTIONS = [
    Function(FunctionSpec(name=name, queue="q"), lane=Lane("q", ""), timing=Timing())
    for name in ("shop:Etl.load", "shop:Etl.reload", "bank:Etl.load", "shop:Etl.entrypoint")
]
SELECTIONS = [
    InstanceSelection(states=frozenset({InstanceState.FAILED})),
    InstanceSelection(states=frozenset({InstanceState.RUNNING})),
    InstanceSelection(states=frozenset({InstanceState.CANCELLED})),
    InstanceSelection(states=frozenset({InstanceState.COMPLETED})),
    InstanceSelection(states=frozenset({InstanceState.COMPLETED, InstanceState.FAILED})),
    InstanceSelection(definition="Order"),
    InstanceSelection(definition="shop:Order"),
    InstanceSelection(definition="Outer.Order"),
    InstanceSelection(definition="order"),
    InstanceSelection(definition="%"),
    InstanceSelection(tags=(("customer", "c1"),)),
    InstanceSelection(tags=(("customer", "c1"), ("step", "2"))),
    InstanceSelection(tags=(("customer", "c1"), ("customer", "c2"))),
    InstanceSelection(tags=(("customer", "step"),)),
    InstanceSelection(key="key 7"),
    InstanceSelection(key="key"),
    InstanceSelection(key="key 7", tags=(("customer", "c1"),), states=frozenset({InstanceState.RUNNING})),
    InstanceSelection(created_since=1_100.0),
    InstanceSelection(created_since=1_050.0, created_until=1_100.0),
    InstanceSelection(created_until=1_100.0, tags=(("step", "1"),), definition="Order"),
]


def fill(storage: Storage, rng: Random, count: int = 200) -> list[Instance]:
    """Store instances in every state, of several definitions, some with keys and tags."""
    graph = Graph()
    events: list[e.DurableEvent] = []
    instances = []
    for number in range(count):
        tags = {"customer": f"c{rng.randint(1, 3)}", "step": f"{rng.randint(1, 3)}"}
        start = Start(f"key {number}", NodeId(b"n" * 16), Body("d", "f", b"", b"")) if rng.random() < 0.3 else None
        instance = graph.instance(tags=tuple(sorted(tags.items()))[: rng.randint(0, 2)], start=start)
        instance.definition = rng.choice(DEFINITIONS)
        instances.append(instance)
        events.append(e.InstanceCreated(instance=instance))
        instance.state = rng.choice(list(InstanceState))
        if instance.state is not InstanceState.RUNNING:
            events.append(e.InstanceFinished(instance=instance, state=instance.state, at=2_000.0, counts={}))
    storage.journal.commit(events)
    return instances


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda one: ",".join(n for n, v in one._asdict().items() if v))
def test_a_selection_of_instances_has_those_that_all_of_it_fits(storage: Storage, selection: InstanceSelection) -> None:
    """Page by page, newest first, each once; a page may have none, and no page takes longer than so many instances."""
    fill(storage, Random(1))
    everything = storage.journal.list_instances(before_seq=None, limit=1_000)
    expected = [summary.id for summary in everything if selection.admits(summary)]
    assert expected or selection in (SELECTIONS[8], SELECTIONS[9], SELECTIONS[12], SELECTIONS[13], *SELECTIONS[14:17])
    for limit, looked_at_max in ((1_000, 1_000), (3, 7), (1, 1), (200, 200)):
        found: list[bytes] = []
        before_seq: int | None = None
        pages = 0
        while pages == 0 or before_seq is not None:
            items, next_seq = storage.journal.select_instances(
                selection, before_seq=before_seq, limit=limit, looked_at_max=looked_at_max
            )
            assert len(items) <= limit
            assert next_seq is None or before_seq is None or next_seq < before_seq
            found += [summary.id for summary in items]
            before_seq = next_seq
            pages += 1
        assert found == expected


def test_a_selection_that_finds_little_is_read_in_steps(storage: Storage) -> None:
    """Without an index for it, so many instances are looked at and no more, and the next page goes on there."""
    fill(storage, Random(1))
    selection = InstanceSelection(definition="nowhere:Order")
    items, next_seq = storage.journal.select_instances(selection, before_seq=None, limit=10, looked_at_max=50)
    assert (list(items), next_seq) == ([], 151)


def test_what_is_found_of_an_instance_is_what_a_list_has(storage: Storage) -> None:
    """With its tags, key and counts."""
    fill(storage, Random(1))
    listed = storage.journal.list_instances(before_seq=None, limit=1_000)
    selection = InstanceSelection(created_since=1.0)
    items, next_seq = storage.journal.select_instances(selection, before_seq=None, limit=1_000, looked_at_max=1_000)
    assert (list(items), next_seq) == (listed, None)


def test_a_state_is_that_of_the_last_commit(storage: Storage) -> None:
    """An instance that ends, or is reopened, is found under its new state, and no more under the old one."""
    graph = Graph()
    instance = graph.instance()
    storage.journal.commit([e.InstanceCreated(instance=instance)])
    for event, state in (
        (e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=9.0, counts={}), InstanceState.FAILED),
        (e.InstanceReopened(instance=instance), InstanceState.RUNNING),
        (e.InstanceFinished(instance=instance, state=InstanceState.CANCELLED, at=9.0), InstanceState.CANCELLED),
    ):
        storage.journal.commit([event])
        found = [
            each
            for each in InstanceState
            if storage.journal.select_instances(
                InstanceSelection(states=frozenset({each})), before_seq=None, limit=5, looked_at_max=5
            ).items
        ]
        assert found == [state]


def _commit_nodes(storage: Storage, rng: Random) -> Instance:
    graph = Graph()
    other, instance = graph.instance(), graph.instance()
    nodes = [graph.node(rng.choice((instance, other)), function=rng.choice(FUNCTIONS)) for _ in range(120)]
    events: list[e.DurableEvent] = [e.InstanceCreated(instance=one) for one in (other, instance)]
    for node in nodes:
        events.append(e.NodesCreated(nodes=[node]))
        events += _ending(node, rng.choice(("waiting", "completed", "failed", "backoff", "cancelled", "started")))
        note = rng.choice((None, Note("", "x=1"), Note("north"), Note("north-east", "x=2")))
        if note is not None:
            events.append(e.NodesNoted(notes=[(node, note)]))
    storage.journal.commit(events)
    return instance


def _ending(node: Node, state: str) -> list[e.DurableEvent]:
    attempt = FailedAttempt(1, "w", 5.0, Failure(type="E", message="m"))
    endings: dict[str, list[e.DurableEvent]] = {
        "waiting": [],
        "completed": [e.NodeCompleted(node=node, payload=b"v", at=5.0)],
        "failed": [e.AttemptFailed(node=node, attempt=attempt, retry_at=None), e.NodeFailed(node=node, at=5.0)],
        "backoff": [e.AttemptFailed(node=node, attempt=attempt, retry_at=9.0)],
        "cancelled": [e.NodesCancelled(nodes=[node], at=5.0)],
        "started": [e.NodesStarted(nodes=[node])],
    }
    return endings[state]


NODE_SELECTIONS = [
    NodeSelection(states=frozenset({NodeState.FAILED})),
    NodeSelection(states=frozenset({NodeState.FAILED, NodeState.CANCELLED}), functions=("load",)),
    NodeSelection(states=frozenset({NodeState.READY})),
    NodeSelection(states=frozenset({NodeState.WAITING})),
    NodeSelection(functions=("shop:Etl.load",)),
    NodeSelection(functions=("Etl.load", "entrypoint")),
    NodeSelection(label="north"),
    NodeSelection(states=frozenset({NodeState.FAILED}), functions=("load",), label="north-east"),
    NodeSelection(functions=("oad",)),
]


@pytest.mark.parametrize(
    "selection",
    NODE_SELECTIONS,
    ids=lambda one: ",".join([*sorted(state.value for state in one.states), *one.functions, one.label]).rstrip(","),
)
def test_a_selection_of_nodes_has_those_that_may_be_in_it(storage: Storage, selection: NodeSelection) -> None:
    """In creation order, each once, with what a list tells of it; ready and leased nodes are stored in other states."""
    instance = _commit_nodes(storage, Random(2))
    everything = storage.journal.list_nodes(instance.id, after_seq=0, limit=1_000)
    expected = [
        node
        for node in everything
        if (not selection.states or node.state in selection.stored_states)
        and selection.admits_function(node.function.name)
        and (not selection.label or (node.note is not None and node.note.label == selection.label))
    ]
    assert bool(expected) == (selection != NODE_SELECTIONS[-1])
    for limit, looked_at_max in ((1_000, 1_000), (3, 7), (1, 1)):
        found: list[StoredNode] = []
        after_seq: int | None = 0
        while after_seq is not None:
            items, after_seq = storage.journal.select_nodes(
                instance.id, selection, after_seq=after_seq, limit=limit, looked_at_max=looked_at_max
            )
            found += items
        assert [node.seq for node in found] == [node.seq for node in expected]
        assert [node.failures for node in found] == [node.failures for node in expected]


def test_nodes_of_an_unknown_instance_are_none(storage: Storage) -> None:
    """As in a list."""
    graph = Graph()
    selection = NodeSelection(functions=("load",))
    found = storage.journal.select_nodes(graph.instance().id, selection, after_seq=0, limit=5, looked_at_max=5)
    assert (list(found.items), found.next_seq) == ([], None)


@pytest.mark.parametrize(
    ("end", "name", "is_one"),
    [
        ("shop:Etl.load", "shop:Etl.load", True),
        ("load", "shop:Etl.load", True),
        ("Etl.load", "shop:Etl.load", True),
        ("load", "load", True),
        ("load", "shop:Etl.reload", False),
        ("tl.load", "shop:Etl.load", False),
        ("hop:Etl.load", "shop:Etl.load", False),
        ("load", "shop:Etl.load.again", False),
    ],
)
def test_an_end_begins_at_a_colon_or_a_dot(end: str, name: str, is_one: bool) -> None:
    """So that "load" is not "reload"."""
    assert is_end(end, name) is is_one
