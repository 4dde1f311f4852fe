"""What every journal keeps of who did what. `storage` is each of them in turn."""

from __future__ import annotations

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import StoredAction
from dagorama_broker.core.model.values import Action, InstanceId
from tests.conformance.conftest import Storage
from tests.conformance.graphs import Graph

HOSTILE = "<script>alert(1)</script>\x1b[2J'\"; DROP TABLE actions; --"


def act(instance: Instance | None, verb: str, *, subject: str = "", **details: object) -> e.ActionTaken:
    """Make an event of an action."""
    return e.ActionTaken(action=Action(1_500.25, verb, HOSTILE, tuple(details.items()), subject), instance=instance)


def test_actions_are_read_back_as_they_were(storage: Storage) -> None:
    """Those on an instance in their order, page by page, also once it has ended and after a restart."""
    graph = Graph()
    instance, other = graph.instance(), graph.instance()
    created = [e.InstanceCreated(instance=one) for one in (instance, other)]
    storage.journal.commit([*created, act(instance, "pause"), act(other, "cancel")])
    finished = e.InstanceFinished(instance=instance, state=InstanceState.CANCELLED, at=1_600.0)
    storage.journal.commit([act(instance, "priority", priority=5, before=0), act(instance, "cancel"), finished])
    storage.reopen()
    journal = storage.journal
    whole = journal.list_actions(instance.id, after_seq=0, limit=10)
    assert [(one.action.verb, one.action.details) for one in whole] == [
        ("pause", ()),
        ("priority", (("priority", 5), ("before", 0))),
        ("cancel", ()),
    ]
    assert whole[0] == StoredAction(whole[0].seq, Action(1_500.25, "pause", HOSTILE), instance.id)
    assert journal.list_actions(instance.id, after_seq=0, limit=2) == whole[:2]
    assert journal.list_actions(instance.id, after_seq=whole[1].seq, limit=2) == whole[2:]
    assert journal.list_actions(InstanceId(bytes(16)), after_seq=0, limit=2) == []


def test_actions_on_anything_are_read_newest_first(storage: Storage) -> None:
    """Or those on one subject alone."""
    graph = Graph()
    instance = graph.instance()
    queue, worker = act(None, "pause", subject="queue a b"), act(None, "drain", subject="worker w")
    again = act(None, "resume", subject="queue a b")
    storage.journal.commit([e.InstanceCreated(instance=instance), queue, act(instance, "cancel"), worker, again])
    whole = storage.journal.list_all_actions("", before_seq=None, limit=10)
    assert [(one.action.verb, one.action.subject, one.instance_id) for one in whole] == [
        ("resume", "queue a b", None),
        ("drain", "worker w", None),
        ("cancel", "", instance.id),
        ("pause", "queue a b", None),
    ]
    assert storage.journal.list_all_actions("", before_seq=whole[1].seq, limit=1) == whole[2:3]
    assert storage.journal.list_all_actions("queue a b", before_seq=None, limit=10) == [whole[0], whole[3]]
    assert storage.journal.list_all_actions("queue a", before_seq=None, limit=10) == []


def test_the_starter_of_an_instance_is_read_back(storage: Storage) -> None:
    """It stands with the instance, so that a start costs no row more."""
    graph = Graph()
    instance = graph.instance()
    instance.started_by = HOSTILE
    storage.journal.commit([e.InstanceCreated(instance=instance), e.InstanceCreated(instance=graph.instance())])
    storage.reopen()
    assert [one.started_by for one in storage.journal.list_instances(before_seq=None, limit=2)] == ["", HOSTILE]
    found = storage.journal.find_head(instance.id)
    assert found is not None
    assert found.started_by == HOSTILE
