"""Nodes of a process that take the same value have one object of it, for as long as somebody takes it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from pickle import PickleBuffer
from random import Random
from typing import Any

import pytest

from dagorama.calls.large import Content, MemoryValues, ValueStore
from dagorama.calls.payload import Draft, decode, draft, no_promises
from dagorama.calls.pickling import _BYTES_MAKER
from dagorama.calls.references import Reference, read_references
from dagorama.client.values import mapped, spooling
from dagorama.client.values import store as stores
from dagorama.client.values.recent import Recent, RecentValues
from dagorama.client.values.store import RemoteValues
from tests.timing import until
from tests.unit.library.value_server import ValueServer

HOUR_S = 3600.0
DATA, OTHER = Random(1).randbytes(100_000), Random(2).randbytes(200_000)


class Table:
    """Hands its buffer out, as arrays do."""

    def __init__(self, data: Any) -> None:
        """Take the buffer."""
        self.data = data

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Pickle as a call with a buffer."""
        return Table, (PickleBuffer(self.data),)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep values of other tests out."""
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    stores._cache.cache_clear()
    yield
    stores._cache.cache_clear()


@pytest.fixture
def server() -> Iterator[ValueServer]:
    """A store on another host."""
    with ValueServer() as server:
        yield server


def worker(server: ValueServer, recent: RecentValues | None = None) -> RemoteValues:
    """Return a worker's store."""
    return RemoteValues("localhost", server.port, patience_s=60.0, recent=recent or RecentValues(unused_s=HOUR_S))


def kept(value: object, store: ValueStore) -> bytes:
    """Encode a value that is large."""
    taken = draft(value, what="a value")
    assert isinstance(taken, Draft)
    return taken.keep(store).data


def had(payload: bytes, store: ValueStore) -> Any:
    """Decode a value."""
    return decode(payload, no_promises, store=store)


def reference_of(data: bytes) -> Reference:
    """Return what a value is."""
    return Reference(sha256(data).digest(), len(data))


def test_nodes_of_a_worker_have_one_object(server: ValueServer) -> None:
    """Whatever it is in; a program is given one of its own each time, which nothing keeps."""
    payload = kept([DATA, {"other": OTHER}], RemoteValues("localhost", server.port))
    values, program = worker(server), RemoteValues("localhost", server.port)
    first, second = had(payload, values), had(payload, values)
    assert first == second == [DATA, {"other": OTHER}]
    assert first[0] is second[0]
    assert first[1]["other"] is second[1]["other"]
    assert had(kept(DATA, program), values) is first[0]
    assert had(payload, program)[0] is not had(payload, program)[0]


def test_in_one_process_they_have_what_is_stored() -> None:
    """There values are in memory already."""
    values = MemoryValues()
    payload = kept(DATA, values)
    assert had(payload, values) is had(payload, values)


def test_what_a_node_gives_the_next_takes(server: ValueServer) -> None:
    """The object itself, where both run in one process."""
    values = worker(server)
    given = bytes(bytearray(DATA))
    assert had(kept(given, values), values) is given


def test_an_object_that_is_passed_on_is_not_looked_at(server: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was taken or given before; the store has it, and another object with the same bytes is compared."""
    values = worker(server)
    taken = had(kept(DATA, RemoteValues("localhost", server.port)), values)
    kept(OTHER, values)
    asked = list(server.asked)
    with monkeypatch.context() as patched:
        patched.setattr(spooling, "sha256", None)
        patched.setattr(mapped, "_equals", None)
        for value in (taken, OTHER):
            for _ in range(3):
                assert read_references(kept(value, values)).references == (reference_of(value),)
    assert server.asked == [*asked, "find"]  # once for what was taken, and for what was given it was just stored
    compared: list[int] = []
    equals = mapped._equals

    def equals_counted(content: Content, mapping: Any) -> bool:
        compared.append(content.size)
        return equals(content, mapping)

    monkeypatch.setattr(mapped, "_equals", equals_counted)
    kept(bytes(bytearray(OTHER)), values)
    assert compared == [len(OTHER)]


@pytest.mark.parametrize(
    "value",
    [
        lambda: [DATA, Table(OTHER)],
        lambda: [DATA, Table(DATA)],
        lambda: [bytes(bytearray(DATA)), bytes(bytearray(DATA))],
        lambda: [DATA, bytearray(OTHER), "x" * 100_000],
        lambda: [Table(DATA), _BYTES_MAKER],
        lambda: [Table(DATA), bytearray(DATA), _BYTES_MAKER * 2],
    ],
    ids=["beside a buffer", "beside its own buffer", "equal ones", "beside others", "a text", "two texts"],
)
def test_whatever_is_beside_bytes_comes_as_it_was(server: ValueServer, value: Any) -> None:
    """Also what looks like the making of `bytes`, and is the content of some."""

    def plain(one: Any) -> Any:
        return [bytes(one.data) if isinstance(one, Table) else one for one in one] if isinstance(one, list) else one

    values, expected = worker(server), value()
    payload = kept(expected, RemoteValues("localhost", server.port))
    for _ in range(2):
        found = had(payload, values)
        assert plain(found) == plain(expected)
        assert [type(one) for one in found] == [type(one) for one in expected]
        assert all(memoryview(one.data).readonly for one in found if isinstance(one, Table))


def test_no_more_is_kept_than_some_bytes(server: ValueServer) -> None:
    """Those go that were used longest ago; a larger one is made for each node."""
    recent = RecentValues(objects_bytes_max=250_000, unused_s=HOUR_S)
    values = worker(server, recent)
    payloads = [kept(bytes([number]) + DATA, RemoteValues("localhost", server.port)) for number in range(3)]
    first, second = (had(payload, values) for payload in payloads[:2])
    assert had(payloads[0], values) is first
    had(payloads[2], values)
    assert had(payloads[0], values) is first
    assert had(payloads[1], values) is not second
    assert recent.objects.size == 2 * (len(DATA) + 1)
    large = kept(OTHER + DATA, values)
    assert had(large, values) == had(large, values) == OTHER + DATA
    assert recent.objects.size == 2 * (len(DATA) + 1)


def test_what_nobody_takes_any_more_is_let_go() -> None:
    """A worker without work keeps nothing; what comes later is kept and let go again."""
    recent: Recent[bytes] = Recent(2**20, unused_s=0.01)
    for data in (DATA, OTHER):
        assert recent.keep(reference_of(data), data) is data
        until(lambda: not recent.size)
        assert recent.get(reference_of(data).digest) is None
        assert recent.reference_of(data) is None


def test_a_value_that_is_kept_can_be_stored_anew(server: ValueServer) -> None:
    """Where a store has lost it, and no file of it is mapped any more."""
    recent = RecentValues(unused_s=HOUR_S)
    recent.objects.keep(reference_of(DATA), DATA)
    worker(server, recent).put_again([reference_of(DATA).digest])
    assert server.values == {reference_of(DATA).digest: DATA}


def test_a_mapping_is_kept_for_the_next_node(server: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would open the file, map it, and have all that it reads brought in again. Programs keep none."""
    payload = kept(Table(bytearray(DATA)), RemoteValues("localhost", server.port))
    recent = RecentValues(unused_s=HOUR_S)
    values, program = worker(server, recent), RemoteValues("localhost", server.port)
    assert bytes(had(payload, values).data) == bytes(had(payload, program).data) == DATA
    assert recent.mappings.size == len(DATA)
    monkeypatch.setattr(mapped, "mmap", None)
    assert bytes(had(payload, values).data) == DATA
    with pytest.raises(AttributeError):
        had(payload, program)


def test_no_more_files_are_open_than_some(server: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small what is mapped."""
    monkeypatch.setattr("dagorama.client.values.recent._COUNT_MAX", 2)
    recent = RecentValues(unused_s=HOUR_S)
    values = worker(server, recent)
    for number in range(5):
        payload = kept(Table(bytes([number]) + DATA), RemoteValues("localhost", server.port))
        assert bytes(had(payload, values).data) == bytes([number]) + DATA
    assert recent.mappings.size == 2 * (len(DATA) + 1)
