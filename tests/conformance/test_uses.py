"""Every journal knows which values its payloads refer to, and what it knows is what its payloads have."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.references import MARK, SIZE_END, Reference, write_references
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import ValueUse
from dagorama_broker.core.model.values import FailedAttempt, Failure, HookCall, PruneReason
from dagorama_broker.storage.auditing import HeldFault, UseFault, audit_uses
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.storage.uses import recount_uses
from tests.conformance.conftest import Storage
from tests.conformance.graphs import FUNCTIONS, Graph


def referring(*names: str, stream: bytes | None = b"\x80\x05K\x01.") -> bytes:
    """Give a payload that refers to the values of these names."""
    return write_references([reference(name) for name in names], stream)


def reference(name: str) -> Reference:
    """Give the reference of the value of a name."""
    return Reference(sha256(name.encode()).digest(), 100_000 + len(name))


def uses(journal: Journal) -> list[tuple[int, int, str, str]]:
    """Give the uses that a journal has, read bit by bit, and see that the recount comes to the same."""
    found: list[ValueUse] = []
    while some := journal.list_uses(after=found[-1] if found else None, limit=2):
        found += some
    instances = [journal.find_instance(one.id) for one in journal.list_instances(before_seq=None, limit=100)]
    assert set(found) == {use for one in instances if one is not None for use in recount_uses(one)}
    assert list(audit_uses(journal)) == []
    digests = {reference(name).digest: name for name in "abcdefgh"}
    assert journal.find_used(list(digests)) == {use.digest for use in found}
    return sorted((one, node, part, digests[digest]) for one, node, part, digest, _ in found)


def make(storage: Storage, graph: Graph, payloads: Sequence[bytes]) -> tuple[Instance, list[Node]]:
    """Make an instance with a node for each of these arguments."""
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=payload) for payload in payloads]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    return instance, nodes


def failed(exception: bytes) -> FailedAttempt:
    """Give an attempt that failed with an exception."""
    return FailedAttempt(1, "w", 5.0, Failure(type="E", message="m", exception=exception), 3, 4.0, 1.0)


def test_arguments_and_results_use_values_over_restarts(storage: Storage) -> None:
    """Each payload that refers has a use for each value; no other payload has one."""
    graph = Graph()
    _, nodes = make(storage, graph, [referring("a", "b"), b"\x80\x05K\x01.", referring("a"), b""])
    storage.journal.commit(
        [
            e.NodeCompleted(node=nodes[0], payload=b"plain", at=5.0),
            e.NodeCompleted(node=nodes[1], payload=referring("c", stream=None), at=5.0),
            e.NodeJoining(node=nodes[2], payload=referring("d"), promises=(nodes[0],)),
        ]
    )
    storage.journal.commit([e.NodeCompleted(node=nodes[2], payload=None, at=6.0)])
    expected = [
        (1, 1, "arguments", "a"),
        (1, 1, "arguments", "b"),
        (1, 2, "result", "c"),
        (1, 3, "arguments", "a"),
        (1, 3, "result", "d"),
    ]
    assert uses(storage.journal) == expected
    storage.reopen()
    assert uses(storage.journal) == expected


def test_definitions_exceptions_and_hooks_use_values(storage: Storage) -> None:
    """They are kept with the nodes, and with the instance, that they belong to."""
    graph = Graph()
    spec = replace(FUNCTIONS[0].spec, definition_arguments=referring("a"))
    hook = HookCall(replace(spec, definition_arguments=referring("b")), referring("c"), False)
    instance = graph.instance(hooks=(hook,))
    function = Function(spec, lane=FUNCTIONS[0].lane, timing=FUNCTIONS[0].timing)
    nodes = [graph.node(instance, function=function), graph.node(instance)]
    storage.journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    failures = [failed(referring("d")), failed(referring("d")), failed(b"plain")]
    storage.journal.commit(
        [e.AttemptFailed(node=nodes[1], attempt=attempt, retry_at=9.0) for attempt in failures],
    )
    expected = [
        (1, 0, "hook", "b"),
        (1, 0, "hook", "c"),
        (1, 1, "definition", "a"),
        (1, 2, "exception", "d"),
    ]
    storage.reopen()
    assert uses(storage.journal) == expected


def test_the_use_of_a_result_goes_when_its_node_begins_anew(storage: Storage) -> None:
    """What joins again with what it had returned keeps it; other arguments keep those that they are put before."""
    graph = Graph()
    instance, nodes = make(storage, graph, [referring("a"), b"", b""])
    storage.journal.commit(
        [
            *(e.NodeCompleted(node=nodes[place], payload=referring(name), at=5.0) for place, name in enumerate("bc")),
            e.NodeJoining(node=nodes[2], payload=referring("d"), promises=(nodes[0],)),
            e.NodeCompleted(node=nodes[2], payload=None, at=5.0),
        ]
    )
    edited = b'{"edits": {"x": 1}}\n' + nodes[0].arguments
    storage.journal.commit(
        [
            e.InstanceReopened(instance=instance),
            e.NodesReset(
                instance=instance,
                resets=[
                    e.Reset(nodes[0], nodes[0].function, joins=False, previous=b"p", arguments=edited),
                    e.Reset(nodes[2], nodes[2].function, joins=True, previous=b"p"),
                ],
                at=6.0,
            ),
        ]
    )
    expected = [(1, 1, "arguments", "a"), (1, 2, "result", "c"), (1, 3, "result", "d")]
    assert uses(storage.journal) == expected
    storage.journal.commit([e.NodeCompleted(node=nodes[0], payload=referring("e"), at=7.0)])
    assert uses(storage.journal) == sorted([*expected, (1, 1, "result", "e")])


def test_a_result_that_comes_and_goes_in_one_batch_is_not_used(storage: Storage) -> None:
    """The last that a batch says of a node counts, as it does for its payload."""
    graph = Graph()
    instance, nodes = make(storage, graph, [b"", b""])
    reset = e.Reset(nodes[0], nodes[0].function, joins=False)
    storage.journal.commit(
        [
            *(e.NodeCompleted(node=node, payload=referring("a"), at=5.0) for node in nodes),
            e.NodesReset(instance=instance, resets=[reset], at=6.0),
            e.NodeCompleted(node=nodes[0], payload=referring("b"), at=5.0),
        ]
    )
    assert uses(storage.journal) == [(1, 1, "result", "b"), (1, 2, "result", "a")]


def test_nodes_that_are_removed_use_nothing(storage: Storage) -> None:
    """All uses of a removed node go with it, those of others stay."""
    graph = Graph()
    instance, nodes = make(storage, graph, [referring("a"), referring("a", "b")])
    storage.journal.commit(
        [
            e.NodeCompleted(node=nodes[1], payload=referring("c"), at=5.0),
            e.AttemptFailed(node=nodes[1], attempt=failed(referring("d")), retry_at=None),
        ]
    )
    storage.journal.commit([e.InstanceReopened(instance=instance), e.NodesRemoved(instance=instance, nodes=[nodes[1]])])
    assert uses(storage.journal) == [(1, 1, "arguments", "a")]


def test_an_instance_that_has_ended_tells_what_it_holds(storage: Storage) -> None:
    """The bytes of its large values are stored with its end, and are there no more when it goes on."""
    graph = Graph()
    instance, nodes = make(storage, graph, [referring("a", "b"), referring("a")])
    others, _ = make(storage, graph, [referring("c")])
    storage.journal.commit([e.NodeCompleted(node=node, payload=b"plain", at=5.0) for node in nodes])
    held_bytes = reference("a").size + reference("b").size
    end = e.InstanceFinished(instance=instance, state=InstanceState.COMPLETED, at=5.0, held_bytes=held_bytes)
    storage.journal.commit([end])
    storage.reopen()
    assert told(storage.journal, instance) == (held_bytes, held_bytes)
    assert told(storage.journal, others) == (0, 0)
    digests = {reference(name).digest: name for name in "abcd"}
    for seq, names in ((instance.seq, "ab"), (others.seq, "c"), (7, "")):
        assert {digests[digest] for digest in storage.journal.find_held(seq, list(digests))} == set(names)
    storage.journal.commit([e.InstanceReopened(instance=instance)])
    assert told(storage.journal, instance) == (0, 0)


def told(journal: Journal, instance: Instance) -> tuple[int, int]:
    """Give the bytes that a journal tells of an instance; see that a check has nothing against them."""
    head, summary = journal.find_head(instance.id), journal.summarize_instance(instance.id)
    assert head is not None
    assert summary is not None
    assert list(audit_uses(journal)) == []
    return head.held_bytes, summary.held_bytes


def test_an_audit_finds_bytes_that_are_not_as_they_are_written(storage: Storage) -> None:
    """Whatever was stored when the instance ended, its payloads are counted anew."""
    graph = Graph()
    instance, _ = make(storage, graph, [referring("a")])
    storage.journal.commit([e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=5.0, held_bytes=7)])
    size = reference("a").size
    faults = list(audit_uses(storage.journal))
    assert faults == [HeldFault(1, 7, size)]
    assert str(faults[0]) == f"of the large values of instance 1, 7 bytes are written, and they come to {size}"


def test_bytes_beyond_the_largest_number_are_as_many_as_that(storage: Storage) -> None:
    """Clients of the API of dagorama 0.1 may store bytes that read as references to values of any size."""
    graph = Graph()
    huge = [Reference(sha256(name).digest(), SIZE_END - 1) for name in (b"a", b"b", b"c")]
    instance, nodes = make(storage, graph, [write_references(huge, b"")])
    end = e.InstanceFinished(instance=instance, state=InstanceState.FAILED, at=5.0, held_bytes=SIZE_END - 1)
    storage.journal.commit([e.NodeCompleted(node=nodes[0], payload=b"plain", at=5.0), end])
    assert told(storage.journal, instance) == (SIZE_END - 1, SIZE_END - 1)
    ended = storage.journal.find_ended([instance.id])
    gone = e.InstancesPruned(instances=ended, at=9.0, lived_s=9.0, reason=PruneReason.REQUEST, by="me")
    storage.journal.commit([gone])
    assert storage.journal.measure_freed([instance.seq]) in (0, SIZE_END - 1)  # memory frees no room on a disk


def test_bytes_that_only_begin_like_references_use_nothing(storage: Storage) -> None:
    """Clients of the API of dagorama 0.1 store any bytes; no broker stumbles over them."""
    graph = Graph()
    make(
        storage, graph, [MARK, MARK + b"\0", MARK + b"\xff\xff\xff", MARK + b"\1\0" + bytes(31), b"{\n{", b"{\n" + MARK]
    )
    assert uses(storage.journal) == []


def test_values_belong_to_one_storage(storage: Storage) -> None:
    """The owner of the values is the same after a restart, and known once the storage is open."""
    first = storage.journal.owner_id
    storage.reopen()
    assert (storage.journal.owner_id, len(first)) == (first, 16)


def test_an_audit_finds_each_use_that_is_not_as_it_is_written(tmp_path: Path) -> None:
    """One that is missing, one too many, and one of an instance that is not there."""
    journal = SqliteJournal(tmp_path / "broker.db")
    journal.open()
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=referring("a")), graph.node(instance)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    journal.close()
    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection, connection:
        connection.execute("UPDATE value_uses SET node = 2")
        connection.execute("INSERT INTO value_uses SELECT 7, node, part, digest, size FROM value_uses")
    journal.open()
    digest, size = reference("a")
    faults = [
        UseFault(ValueUse(1, 1, "arguments", digest, size), is_written=False),
        UseFault(ValueUse(1, 2, "arguments", digest, size), is_written=True),
        UseFault(ValueUse(7, 2, "arguments", digest, size), is_written=True),
    ]
    assert list(audit_uses(journal)) == faults
    assert str(faults[0]) == f"the use of value {digest.hex()} by the arguments of node 1 of instance 1 is not written"
    journal.close()
