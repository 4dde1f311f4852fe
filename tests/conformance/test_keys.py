"""Every journal knows what was started under a key, and what people have said of instances."""

from __future__ import annotations

from dagorama_broker.core import events as e
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.values import Body, HookCall, KnownStart, NodeId, Start
from tests.conformance.conftest import Storage
from tests.conformance.graphs import FUNCTIONS, Graph

#: With all that JSON and SQL write in a way of their own.
KEY = "order \N{SNOWMAN} 'a\"b\\ \n\x7f\U0001f600"
START = Start(KEY, NodeId(b"n" * 16), Body("shop:Order", "shop:Order.entrypoint", b"\x00\xff", b""))
TAGS = (("", 'quote " and \\ and \n'), ("customer", "c9"), ("name 'of' \"it\"", "\N{SNOWMAN}"))


def test_a_start_is_found_by_its_key_as_long_as_its_instance_is_kept(storage: Storage) -> None:
    """Running, finished and reopened, before a restart and after it."""
    graph = Graph()
    other, instance = graph.instance(), graph.instance(start=START, tags=TAGS)
    storage.journal.commit([e.InstanceCreated(instance=other), e.InstanceCreated(instance=instance)])
    expected = KnownStart(instance.id, START)
    for event in (
        e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=9.0),
        e.InstanceReopened(instance=instance),
    ):
        assert (storage.journal.find_start(KEY), storage.journal.find_start("order")) == (expected, None)
        storage.journal.commit([event])
        storage.reopen()
        assert storage.journal.find_start(KEY) == expected


def test_key_and_tags_are_read_back_as_they_were(storage: Storage) -> None:
    """With the instance, without its nodes, in lists, and among those that a broker starts from."""
    graph = Graph()
    plain, instance = graph.instance(), graph.instance(start=START, tags=TAGS)
    storage.journal.commit([e.InstanceCreated(instance=plain), e.InstanceCreated(instance=instance)])
    snapshot = storage.reopen()
    assert [(one.start, one.tags) for one in snapshot.instances] == [(None, ()), (START, TAGS)]
    head = storage.journal.find_head(instance.id)
    summary = storage.journal.summarize_instance(instance.id)
    assert head is not None
    assert summary is not None
    assert (head.start, head.tags, summary.key, summary.tags) == (START, TAGS, KEY, TAGS)
    listed = storage.journal.list_instances(before_seq=None, limit=5)
    assert [(one.key, one.tags) for one in listed] == [(KEY, TAGS), ("", ())]


def test_hooks_are_read_back_in_their_order(storage: Storage) -> None:
    """With the instance, as long as it is kept, and how often it has ended; each instance has its own."""
    graph = Graph()
    specs = [function.spec for function in FUNCTIONS]
    hooks = (HookCall(specs[1], b"\x00", True), HookCall(specs[0], b"", False), HookCall(specs[1], b"2", False))
    plain, instance, other = graph.instance(), graph.instance(hooks=hooks), graph.instance(hooks=hooks[1:])
    storage.journal.commit([e.InstanceCreated(instance=one) for one in (plain, instance, other)])
    snapshot = storage.reopen()
    assert [(one.hooks, one.ends) for one in snapshot.instances] == [((), 0), (hooks, 0), (hooks[1:], 0)]
    finished = e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=9.0, ends=1)
    storage.journal.commit([finished, e.InstanceReopened(instance=instance)])
    storage.journal.commit([e.InstanceReopened(instance=instance)])
    assert [one.ends for one in storage.reopen().instances] == [0, 1, 0]
    again = e.InstanceFinished(instance=instance, state=InstanceState.CANCELLED, at=9.0, ends=2)
    storage.journal.commit([again, e.InstanceFinished(instance=plain, state=InstanceState.COMPLETED, at=9.0)])
    head = storage.journal.find_head(instance.id)
    assert head is not None
    assert (head.hooks, head.ends) == (hooks, 2)
