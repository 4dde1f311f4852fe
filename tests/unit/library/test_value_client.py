"""Large values on their way between a process and a broker's store."""

from __future__ import annotations

import multiprocessing
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from random import Random
from time import monotonic, sleep
from types import SimpleNamespace

import grpc
import pytest

from dagorama.calls.large import Content, NoStore, TooLarge
from dagorama.calls.payload import Draft, draft
from dagorama.calls.references import Reference, write_references
from dagorama.client import requests
from dagorama.client.values import cache as caches
from dagorama.client.values import mapped, spooling
from dagorama.client.values import store as stores
from dagorama.client.values.cache import Cache
from dagorama.client.values.keeping import Keeper
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
    monkeypatch.setattr(requests, "STORE_PAUSE_S", 0.01)
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


class Owner:
    """A node that runs."""


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once something holds."""
    until = monotonic() + 60
    while not holds():
        assert monotonic() < until, "it does not hold after a minute"
        sleep(0.005)


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


def test_a_broker_that_was_started_anew_is_on_this_host_still(tmp_path: Path) -> None:
    """It has another proof, which clients ask for when the one that they know is gone; nothing is streamed."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        values = client(server)
        values.put([Content([VALUE])])
        server.prove_anew()
        values.put([Content([VALUE[1:]])])
        assert server.asked == ["find", "adopt"] * 2


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
    monkeypatch.setattr(spooling, "sha256", None)
    assert values.put([Content([mapped])]) == [REFERENCE]


def test_an_upload_begins_anew_where_what_was_there_is_damaged(far: ValueServer) -> None:
    """A crash may have left zeros of one that was broken off, which is no fault of the next."""
    far.parts[REFERENCE.digest] = bytes(CHUNK_BYTES)
    client(far).put([Content([VALUE])])
    assert far.values == {REFERENCE.digest: VALUE}
    assert far.asked == ["find", "put", "find", "put"]


def test_a_value_that_was_cut_short_in_the_store_is_sent_again(far: ValueServer) -> None:
    """The store is told which size it has, so that nobody has to read it first."""
    far.values[REFERENCE.digest] = VALUE[:-1]
    client(far).put([Content([VALUE])])
    assert far.values == {REFERENCE.digest: VALUE}


@pytest.mark.parametrize("breaks_at", [1, 2 * CHUNK_BYTES, len(VALUE)])
def test_an_upload_goes_on_where_it_broke(far: ValueServer, breaks_at: int) -> None:
    """No byte is sent again that had arrived."""
    far.breaks_at = [breaks_at]
    assert client(far).put([Content([VALUE])]) == [REFERENCE]
    assert far.values == {REFERENCE.digest: VALUE}
    assert far.received_bytes == len(VALUE)


@pytest.mark.parametrize("breaks_with", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("breaks_at", [0, 2 * CHUNK_BYTES])
def test_a_download_goes_on_where_it_broke(far: ValueServer, breaks_at: int, breaks_with: grpc.StatusCode) -> None:
    """No byte is sent again that had arrived; so it is where this process was stopped for long, and read none."""
    far.values[REFERENCE.digest] = VALUE
    far.breaks_at, far.breaks_with = [breaks_at], breaks_with
    assert read(client(far)) == VALUE
    assert far.sent_bytes == len(VALUE)


def test_an_upload_waits_for_room(far: ValueServer) -> None:
    """It goes on by itself."""
    far.full = 2
    client(far).put([Content([VALUE])])
    assert far.values == {REFERENCE.digest: VALUE}


def test_a_store_that_is_away_is_waited_for(far: ValueServer) -> None:
    """By questions and uploads: the broker itself is there, and its connection is not given up."""
    far.away = ["find", "find", "put"]
    client(far).put([Content([VALUE])])
    assert (far.values, far.away) == ({REFERENCE.digest: VALUE}, [])


def test_a_value_of_a_store_that_is_away_is_waited_for(far: ValueServer) -> None:
    """And comes as it is."""
    far.values[REFERENCE.digest] = VALUE
    far.away = ["get", "get"]
    assert (read(client(far)), far.away) == (VALUE, [])


@pytest.mark.parametrize("asked", ["find", "put", "get"])
def test_a_store_is_not_waited_for_for_ever(far: ValueServer, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """The broker's own words say what is the matter."""
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "0")
    far.away = [asked]
    if asked == "get":
        far.values[REFERENCE.digest] = VALUE
    with pytest.raises(BrokerRefused, match="the store of values s3://bucket cannot be used now"):
        read(client(far)) if asked == "get" else client(far).put([Content([VALUE])])


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


def test_no_more_values_are_known_to_be_there_than_so_many(far: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are asked for again."""
    monkeypatch.setattr(stores, "_SURE_MAX", 10)
    values, contents = client(far), [Content([bytes([number]) * 100]) for number in range(11)]
    first, *others = [reference for content in contents for reference in values.put([content])]
    asked = len(far.asked)
    values.confirm(others, "a test")
    assert far.asked[asked:] == []
    values.confirm([first], "a test")
    assert far.asked[asked:] == ["find"]


def test_a_limit_that_has_changed_is_told(far: ValueServer) -> None:
    """A broker that was started anew with a lower one refuses the value, and nobody waits for room."""
    values = client(far)
    values.put([Content([VALUE[:100]])])
    far.value_max_bytes = len(VALUE) - 1
    with pytest.raises(TooLarge) as refused:
        values.put([Content([VALUE])])
    assert (refused.value.limit, far.asked.count("put")) == (len(VALUE) - 1, 2)


def test_a_value_that_was_put_anew_is_read_anew(far: ValueServer, cache: Path) -> None:
    """Another has found it damaged, too, and had it at hand. One that stays damaged is told of."""
    client(far).put([Content([VALUE])])
    (cache / REFERENCE.digest.hex()).unlink()
    far.damaged = 1
    assert read(client(far)) == VALUE
    (cache / REFERENCE.digest.hex()).unlink()
    far.damaged = 9
    with pytest.raises(PayloadError, match="has been changed"):
        read(client(far))
    assert far.damaged == 7


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
        sleep(0.1)  # for so long two changes may have the same time
        near.path(REFERENCE.digest).write_bytes(damaged)
        assert read(client(near)) == VALUE
        assert near.asked == ["find", "adopt", "get"]
        kept = cache / REFERENCE.digest.hex()
        sleep(0.1)
        kept.write_bytes(damaged)
        assert read(client(near)) == VALUE
        assert kept.read_bytes() == VALUE


def test_a_value_that_the_store_has_lost_is_stored_anew(server: ValueServer, cache: Path) -> None:
    """As long as its bytes are at hand."""
    values = client(server)
    values.put([Content([VALUE])])
    server.values.clear()
    server.parts.clear()
    values.put_again([REFERENCE.digest])
    assert server.values == {REFERENCE.digest: VALUE}
    server.values.clear()
    (cache / REFERENCE.digest.hex()).unlink(missing_ok=True)
    with pytest.raises(PayloadError, match="run the node again"):
        client(server).put_again([REFERENCE.digest])


def test_a_value_in_the_cache_of_the_host_is_at_hand(far: ValueServer, cache: Path) -> None:
    """Whichever process of the host has put or fetched it; a file that has other bytes is not stored."""
    client(far).put([Content([VALUE])])
    far.values.clear()
    far.parts.clear()
    client(far).put_again([REFERENCE.digest])
    assert far.values == {REFERENCE.digest: VALUE}
    far.values.clear()
    (cache / REFERENCE.digest.hex()).write_bytes(VALUE[:-1])
    with pytest.raises(PayloadError, match="run the node again"):
        client(far).put_again([REFERENCE.digest])
    assert far.values == {}


def test_a_value_that_is_not_at_hand_and_was_not_lost_is_no_failure(server: ValueServer) -> None:
    """A broker whose store does not answer names it missing, too."""
    client(server).put([Content([VALUE])])
    client(server).put_again([REFERENCE.digest])
    assert server.values == {REFERENCE.digest: VALUE}


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
    Cache(tmp_path / "bounded", 0).make_room()
    assert found[2] is not None
    assert os.read(found[2], 200) == b"\2" * 100
    for descriptor in found[1:]:
        os.close(descriptor or 0)


def test_the_cache_is_not_looked_through_for_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes time for each file. What comes meanwhile is a small share of what there is room for."""
    looks: list[str] = []
    listed = os.scandir

    def look(path: str) -> object:
        looks.append(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", look)
    size, count = 100, 1000
    kept = Cache(tmp_path / "bounded", size * count)
    for place in range(2 * count):
        reference = Reference(place.to_bytes(32, "big"), size)
        with kept.part(reference) as part:
            os.write(part.descriptor, bytes(size))
            kept.finish(reference, part.path)
    left = len(list((tmp_path / "bounded").iterdir()))
    assert count <= left <= count * 1.01
    assert len(looks) <= 2 * count // 3 + 1


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


def test_a_file_that_the_broker_cannot_take_is_sent(tmp_path: Path) -> None:
    """As of a worker that another user runs on the broker's host."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        server.refuses_files = True
        client(server).put([Content([VALUE])])
        assert server.asked == ["find", "adopt", "find", "put"]
        assert server.values == {REFERENCE.digest: VALUE}
        assert not list((directory / "incoming").iterdir())


def test_a_client_leaves_room_on_the_disk_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is on it, and the broker stops where that has none. What is sent waits for room."""
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory) as server:
        disk = os.statvfs(directory)
        blocks = (spooling._SPARE_BYTES + REFERENCE.size) // disk.f_frsize
        big = SimpleNamespace(f_blocks=2**40, f_frsize=disk.f_frsize, f_bavail=blocks)
        monkeypatch.setattr(os, "statvfs", lambda path: big)
        client(server).put([Content([VALUE])])
        assert server.asked == ["find", "put"]
        big.f_bavail += 1
        client(server).put([Content([VALUE[1:]])])
        assert server.asked[2:] == ["find", "adopt"]


@pytest.mark.parametrize("size", [100_000, 9 * 2**20])
def test_a_value_that_is_changed_while_it_is_stored_is_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Else it would have the digest of another one, and whoever reads it would take the store for damaged."""
    data, plain = bytearray(size), spooling.write

    def write_and_change(descriptor: int, step: memoryview) -> None:
        plain(descriptor, step)
        data[:] = bytes([data[0] + 1]) * size

    monkeypatch.setattr(spooling, "write", write_and_change)
    spooled = spooling.spool(Content([data[:0], data]), tmp_path)
    assert spooled is not None
    os.close(spooled.descriptor)
    assert spooled.reference == Reference(sha256(Path(spooled.path).read_bytes()).digest(), size)


@pytest.mark.parametrize("make", [lambda: "é" * 100_000, lambda: "x" * 200_000, lambda: bytes(200_000)])
def test_texts_and_bytes_that_are_equal_are_hashed_once(
    server: ValueServer, monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    """The same text in many calls is a copy of its bytes each time."""
    values, value = client(server), make()
    first = draft([value], what="a test")
    assert isinstance(first, Draft)
    payload = first.keep(values)
    monkeypatch.setattr(spooling, "sha256", None)
    for again in ([value], [make()]):
        later = draft(again, what="a test")
        assert isinstance(later, Draft)
        assert later.keep(values) == payload


def test_no_more_is_remembered_than_some_bytes(server: ValueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are mapped take room, also when the store or the cache has let them go."""
    monkeypatch.setattr(mapped, "_KEPT_BYTES_MAX", 2 * len(VALUE))
    values = client(server)
    for number in range(5):
        values.put([Content([bytes([number]) + VALUE[1:]])])
    assert len(values._mapped._stored) == 2


def test_a_value_is_kept_until_its_owner_is_gone(server: ValueServer) -> None:
    """A node may put it long before it reports; a broker would have dropped it by then."""

    server.unused_s = 0.03
    values, owner = client(server), Owner()
    (reference,) = values.put([Content([VALUE])])
    values.hold(owner, write_references([reference], b""))
    asked = len(server.asked)
    wait_until(lambda: server.asked[asked:].count("find") >= 3)
    assert set(server.asked[asked:]) == {"find"}
    server.values.clear()  # it has lost them
    wait_until(lambda: server.values == {REFERENCE.digest: VALUE})
    server.values[REFERENCE.digest] = VALUE[:-1]  # it was cut short
    wait_until(lambda: server.values == {REFERENCE.digest: VALUE})
    del owner
    wait_until(lambda: not values._keeper._is_asking)
    asked = len(server.asked)
    values.hold(Owner(), write_references([reference], b""))
    wait_until(lambda: not values._keeper._is_asking)
    assert len(server.asked) == asked


def test_values_are_asked_for_again_after_an_error() -> None:
    """The broker may be away for a moment."""
    asked: list[list[Reference]] = []

    def ask(references: Sequence[Reference]) -> None:
        asked.append(list(references))
        raise OSError("it is away")

    owner = Owner()
    keeper = Keeper(ask, lambda: 0.001)
    first, second = Reference(b"a" * 32, 1), Reference(b"b" * 32, 2)
    keeper.hold(owner, [second, first])
    keeper.hold(owner, [first])
    wait_until(lambda: len(asked) >= 3)
    assert asked[2] == [first, second]
    del owner
    wait_until(lambda: not keeper._is_asking)


def test_all_that_is_at_hand_is_stored_anew_before_the_rest_is_told(server: ValueServer) -> None:
    """Whoever makes the call again then stores what was not."""
    values = client(server)
    first, second = values.put([Content([VALUE]), Content([VALUE[1:]])])
    server.values.clear()
    with pytest.raises(PayloadError, match="has lost the value 6162"):
        values.put_again([b"ab" * 16, first.digest, second.digest])
    assert set(server.values) == {first.digest, second.digest}


def test_a_part_that_nothing_comes_for_is_not_waited_for(
    far: ValueServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that fetches it may be stopped. When it goes on, it takes nothing away from others."""
    monkeypatch.setattr(caches, "STALLED_S", 0.05)
    client(far).put([Content([VALUE])])
    (cache / REFERENCE.digest.hex()).unlink()
    stopped = Cache(cache, 10**9).part(REFERENCE)
    with stopped as part:
        os.write(part.descriptor, VALUE[:100])
        values = client(far)
        assert read(values) == VALUE
        assert os.fstat(part.descriptor).st_nlink == 0
    assert (cache / REFERENCE.digest.hex()).read_bytes() == VALUE
    assert not list(cache.glob("*.part"))
