"""Large values on their way between a process and a broker's store."""

from __future__ import annotations

import multiprocessing
import os
from array import array
from collections.abc import Iterator
from hashlib import sha256
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import pytest

from dagorama.calls.large import Content, NoStore, TooLarge
from dagorama.calls.pickling import Buffer
from dagorama.calls.references import Reference
from dagorama.client.values import mapped, wire
from dagorama.client.values import store as stores
from dagorama.client.values.cache import Cache
from dagorama.client.values.store import RemoteValues
from dagorama.errors import BrokerRefused, PayloadError
from tests.unit.library.dag_server import DagServer
from tests.unit.library.value_server import CHUNK_BYTES, ValueServer

VALUE = Random(7).randbytes(5 * CHUNK_BYTES + 7)
REFERENCE = Reference(sha256(VALUE).digest(), len(VALUE))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(directory))
    monkeypatch.setattr(wire, "ROOM_PAUSE_S", 0.01)
    stores._cache.cache_clear()
    yield directory
    stores._cache.cache_clear()


@pytest.fixture(params=["stream", "directory"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ValueServer]:
    """A store on another host, or on this one."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory if request.param == "directory" else None) as server:
        yield server


@pytest.fixture
def far() -> Iterator[ValueServer]:
    """A store on another host."""
    with ValueServer() as server:
        yield server


def client(server: ValueServer) -> RemoteValues:
    """Return a process's client that knows nothing as yet."""
    return RemoteValues("localhost", server.port, patience_s=20.0)


def read(values: RemoteValues, reference: Reference = REFERENCE) -> bytes:
    """Return the bytes of a value."""
    (found,) = values.get([reference], "a test")
    assert memoryview(found).readonly
    return bytes(found)


def test_a_value_is_stored_and_had_again(server: ValueServer) -> None:
    """By another process it is, and by the one that stored it."""
    values = client(server)
    assert values.put([Content([VALUE])]) == [REFERENCE]
    assert server.values == {REFERENCE.digest: VALUE}
    assert read(values) == read(client(server)) == VALUE
    assert server.directory is None or not list((server.directory / "incoming").iterdir())


def test_on_the_host_of_the_broker_nothing_is_streamed(tmp_path: Path) -> None:
    """The store takes the file over, and readers map it from there."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        client(server).put([Content([VALUE])])
        assert read(client(server)) == VALUE
        assert server.asked == ["find", "adopt"]
        assert server.received_bytes == server.sent_bytes == 0


def test_a_directory_counts_by_its_proof_alone(tmp_path: Path) -> None:
    """A directory of the same name on another host has another token in it."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        (directory / "proof").write_text("of another broker")
        client(server).put([Content([VALUE])])
        assert server.asked == ["find", "put"]


def test_a_value_in_parts_is_one(server: ValueServer) -> None:
    """Its digest is that of all of them."""
    parts = [VALUE[:9], bytearray(VALUE[9:70_000]), memoryview(VALUE)[70_000:]]
    assert client(server).put([Content(parts)]) == [REFERENCE]
    assert read(client(server)) == VALUE


def test_a_value_is_sent_once(server: ValueServer) -> None:
    """The store is asked whether it has it, and by the same process not even that."""
    values = client(server)
    values.put([Content([VALUE])])
    asked = list(server.asked)
    values.put([Content([VALUE])])
    assert server.asked == asked
    client(server).put([Content([bytes(bytearray(VALUE))])])
    assert server.asked == [*asked, "find"]


def test_an_object_that_was_changed_is_another_value(server: ValueServer) -> None:
    """It is the same object, and its bytes are compared."""
    values, data = client(server), array("B", VALUE)
    (first,) = values.put([Content([data])])
    assert first == REFERENCE
    data[-1] ^= 1
    (second,) = values.put([Content([data])])
    assert second != first
    assert read(client(server), second) == data.tobytes()
    assert read(client(server), first) == VALUE


def test_a_value_that_came_from_the_store_is_not_hashed_again(
    server: ValueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that passes its argument on passes the mapping of a file on."""
    client(server).put([Content([VALUE])])
    values = client(server)
    (mapped,) = values.get([REFERENCE], "a test")
    monkeypatch.setattr(stores, "sha256", None)
    assert values.put([Content([mapped])]) == [REFERENCE]


@pytest.mark.parametrize("breaks_at", [1, 2 * CHUNK_BYTES, len(VALUE)])
def test_an_upload_goes_on_where_it_broke(far: ValueServer, breaks_at: int) -> None:
    """No byte is sent again that had arrived."""
    far.breaks_at = [breaks_at]
    assert client(far).put([Content([VALUE])]) == [REFERENCE]
    assert far.values == {REFERENCE.digest: VALUE}
    assert far.received_bytes == len(VALUE)


@pytest.mark.parametrize("breaks_at", [0, 2 * CHUNK_BYTES])
def test_a_download_goes_on_where_it_broke(far: ValueServer, breaks_at: int) -> None:
    """No byte is sent again that had arrived."""
    far.values[REFERENCE.digest] = VALUE
    far.breaks_at = [breaks_at]
    assert read(client(far)) == VALUE
    assert far.sent_bytes == len(VALUE)


def test_an_upload_waits_for_room(far: ValueServer) -> None:
    """It goes on by itself."""
    far.full = 2
    client(far).put([Content([VALUE])])
    assert far.values == {REFERENCE.digest: VALUE}


def test_an_upload_does_not_wait_for_room_for_ever(far: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's own words say what to do."""
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "0")
    far.full = 1
    with pytest.raises(BrokerRefused, match="the disk is full: make room"):
        client(far).put([Content([VALUE])])


def test_a_value_over_the_limit_is_not_sent(server: ValueServer) -> None:
    """The error has the limit."""
    server.value_max_bytes = len(VALUE) - 1
    with pytest.raises(TooLarge) as refused:
        client(server).put([Content([VALUE])])
    assert refused.value.limit == len(VALUE) - 1
    assert server.asked == []


def test_a_value_that_is_lost_is_named(server: ValueServer) -> None:
    """With who needs it, and what to do."""
    with pytest.raises(
        PayloadError, match=f"the arguments of f: .*{REFERENCE.digest.hex()[:16]}.* of {len(VALUE)} bytes"
    ):
        client(server).get([REFERENCE], "the arguments of f")


def test_a_value_with_another_digest_is_not_given(far: ValueServer, cache: Path) -> None:
    """Nor is it kept."""
    far.values[REFERENCE.digest] = VALUE[:-1] + b"!"
    with pytest.raises(PayloadError, match="another digest"):
        read(client(far))
    far.values[REFERENCE.digest] = VALUE
    assert read(client(far)) == VALUE


def test_a_part_that_was_damaged_is_fetched_anew(far: ValueServer, cache: Path) -> None:
    """It is known by its digest once all is there."""
    far.values[REFERENCE.digest] = VALUE
    cache.mkdir(mode=0o700)
    (cache / f"{REFERENCE.digest.hex()}.part").write_bytes(b"?" * 1000)
    assert read(client(far)) == VALUE


def test_files_with_other_bytes_are_not_believed(tmp_path: Path, cache: Path) -> None:
    """Neither the store's own, where the broker is asked then, nor those of the cache, which are fetched anew."""
    directory = tmp_path / "store"
    directory.mkdir()
    damaged = VALUE[:-1] + b"!"
    with ValueServer(directory) as near:
        client(near).put([Content([VALUE])])
        near.path(REFERENCE.digest).write_bytes(damaged)
        assert read(client(near)) == VALUE
        assert near.asked == ["find", "adopt", "get"]
        (kept,) = cache.iterdir()
        kept.write_bytes(damaged)
        assert read(client(near)) == VALUE
        assert kept.read_bytes() == VALUE


def test_a_file_is_hashed_once_and_again_when_it_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes map it one after the other; whoever changes it cannot hide that by the time of the file."""
    directory, hashed = tmp_path / "store", list[int]()

    def hash_counted(data: Buffer) -> Any:
        hashed.append(len(memoryview(data)))
        return sha256(data)

    monkeypatch.setattr(mapped, "sha256", hash_counted)
    directory.mkdir()
    with ValueServer(directory) as server:
        client(server).put([Content([VALUE])])
        sleep(0.1)  # for so long two changes may have the same time
        values = client(server)
        assert [read(values) for _ in range(3)] == [VALUE] * 3
        assert hashed == [len(VALUE)]
        (path,) = (path for path in directory.rglob("*") if path.is_file() and path.stat().st_size == len(VALUE))
        before = path.stat()
        path.chmod(0o600)
        path.write_bytes(bytes(len(VALUE)))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert read(values) == VALUE  # the broker sends it
        assert hashed == [len(VALUE)] * 2


def test_a_value_that_the_store_has_lost_is_stored_anew(server: ValueServer) -> None:
    """As long as its bytes are at hand."""
    values = client(server)
    values.put([Content([VALUE])])
    server.values.clear()
    server.parts.clear()
    values.put_again([REFERENCE.digest])
    assert server.values == {REFERENCE.digest: VALUE}
    with pytest.raises(PayloadError, match="run the node again"):
        client(server).put_again([REFERENCE.digest])


def test_a_broker_of_an_earlier_version_has_no_store() -> None:
    """Payloads are what they were then."""
    server = DagServer()
    server.start()
    try:
        values = RemoteValues("localhost", server.port, patience_s=20.0)
        with pytest.raises(NoStore):
            values.put([Content([VALUE])])
        with pytest.raises(PayloadError, match="no store of values"):
            values.get([REFERENCE], "a test")
    finally:
        server.stop()


def _fetch(port: int, ready: Semaphore, go: Event, results: Queue[bytes]) -> None:
    values = RemoteValues("localhost", port, patience_s=20.0)
    ready.release()
    go.wait()
    (found,) = values.get([REFERENCE], "a test")
    results.put(sha256(found).digest())


def test_the_processes_of_a_host_fetch_a_value_once(far: ValueServer) -> None:
    """Who comes while it is on its way waits for it."""
    far.values[REFERENCE.digest] = VALUE
    spawn = multiprocessing.get_context("spawn")
    ready, go, results = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    crew = [spawn.Process(target=_fetch, args=(far.port, ready, go, results)) for _ in range(3)]
    for process in crew:
        process.start()
    for _ in crew:
        ready.acquire()
    go.set()
    assert [results.get() for _ in crew] == [REFERENCE.digest] * 3
    for process in crew:
        process.join()
    assert far.sent_bytes == len(VALUE)


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    """Values that are in use may go, too: who has them keeps them."""
    kept = Cache(tmp_path / "bounded", 250)
    references = [Reference(bytes([place]) * 32, 100) for place in range(3)]
    for place, reference in enumerate(references):
        with kept.part(reference) as part:
            os.write(part.descriptor, bytes([place]) * 100)
            kept.finish(reference, part.path)
        os.utime(tmp_path / "bounded" / reference.digest.hex(), (place, place))
    kept.make_room()
    found = [kept.open(reference) for reference in references]
    assert [descriptor is not None for descriptor in found] == [False, True, True]
    kept.make_room(0)
    assert found[2] is not None
    assert os.read(found[2], 200) == b"\2" * 100
    for descriptor in found[1:]:
        os.close(descriptor or 0)


def test_a_cache_that_others_may_write_to_is_none(tmp_path: Path) -> None:
    """They could put other values there."""
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user writes"):
        Cache(tmp_path, 100)


def test_without_a_cache_values_are_in_memory(
    far: ValueServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only disk is no reason to fail."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "file"))
    values = client(far)
    assert values.put([Content([VALUE])]) == [REFERENCE]
    assert read(client(far)) == VALUE
