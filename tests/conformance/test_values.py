"""What every store of values does. `store` is each of them in turn."""

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from dagorama_broker.values.bucket import BucketStore
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import BadOffset, BadUpload, UnknownValue
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.store import ValueStore
from tests.object_stores import ObjectServer, reach

OWNER = b"o" * 16
VALUE = bytes(range(256)) * 10_000


#: A value of these tests has two parts and a bit, where it is kept in parts.
PART_BYTES = 1_000_000


@pytest.fixture(
    params=["memory", "directory", "moto in parts", "rclone", "rclone in parts", "azure in parts", "google in parts"]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValueStore]:
    """Give an empty store, open."""
    store = make_store(request, str(request.param), tmp_path, monkeypatch)
    store.open(OWNER, is_used=False)
    yield store
    store.close()


def make_store(request: pytest.FixtureRequest, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ValueStore:
    """Make an empty store."""
    if kind == "memory":
        return MemoryStore()
    if kind == "directory":
        return DirectoryStore(folder / "values")
    server: ObjectServer = request.getfixturevalue(kind.split()[0])
    reach(server, monkeypatch)
    return BucketStore(server.place(), **({"part_bytes": PART_BYTES} if "parts" in kind else {}))


def digest_of(value: bytes) -> bytes:
    """Give the digest of a value."""
    return sha256(value).digest()


def put(store: ValueStore, value: bytes, *, chunk: int = 100_000) -> bytes:
    """Put a value; give its digest."""
    writing = store.begin(digest_of(value), len(value), 0)
    for at in range(0, len(value), chunk):
        writing.write(value[at : at + chunk])
    writing.finish()
    return digest_of(value)


def read(store: ValueStore, digest: bytes) -> bytes:
    """Read a value as a whole."""
    reading = store.read(digest)
    try:
        return b"".join(reading.read(at, 70_000) for at in range(0, reading.size, 70_000))
    finally:
        reading.close()


def sizes(store: ValueStore, *digests: bytes) -> dict[bytes, int]:
    """Give the sizes of those values that are there."""
    return store.find(digests, time.time(), 0.0)


def listed(store: ValueStore) -> dict[bytes, int]:
    """Give all that a store has, by its parts."""
    return {one.digest: one.size for shard in store.shards() for one in store.list(shard)}


@pytest.mark.parametrize("value", [VALUE, b"", b"x"], ids=["large", "empty", "small"])
def test_a_value_is_read_as_it_was_put(store: ValueStore, value: bytes) -> None:
    """An empty one too; and putting it once more changes nothing."""
    digest = put(store, value)
    assert put(store, value) == digest
    assert (read(store, digest), sizes(store, digest), listed(store)) == (
        value,
        {digest: len(value)},
        {digest: len(value)},
    )


def test_nobody_finds_a_value_before_it_is_whole(store: ValueStore) -> None:
    """All but its end is nothing."""
    digest = digest_of(VALUE)
    writing = store.begin(digest, len(VALUE), 0)
    writing.write(VALUE)
    assert (sizes(store, digest), listed(store)) == ({}, {})
    with pytest.raises(UnknownValue, match=digest.hex()):
        store.read(digest)
    writing.finish()
    assert sizes(store, digest) == {digest: len(VALUE)}


def test_an_upload_that_was_broken_off_is_gone_on_with(store: ValueStore) -> None:
    """From where it was, or from before; from further than that it cannot be."""
    digest = digest_of(VALUE)
    writing = store.begin(digest, len(VALUE), 0)
    writing.write(VALUE[:1_000_000])
    writing.close()
    assert store.received(digest) == 1_000_000
    with pytest.raises(BadOffset, match="1000000 bytes are there") as caught:
        store.begin(digest, len(VALUE), 1_000_001)
    assert caught.value.received == store.received(digest) == 1_000_000
    writing = store.begin(digest, len(VALUE), 400_000)
    writing.write(VALUE[400_000:500_000])
    writing.close()
    writing = store.begin(digest, len(VALUE), store.received(digest))
    assert writing.received == 500_000
    writing.write(VALUE[500_000:])
    writing.finish()
    assert (read(store, digest), store.received(digest)) == (VALUE, 0)


def test_other_bytes_than_were_announced_are_not_kept(store: ValueStore) -> None:
    """Of the right number, in another order, or gone on with after a wrong beginning."""
    digest = digest_of(VALUE)
    for wrong in (VALUE[::-1], VALUE[1_000_000:] + VALUE[:1_000_000]):
        writing = store.begin(digest, len(VALUE), 0)
        writing.write(wrong)
        with pytest.raises(BadUpload, match=digest_of(wrong).hex()):
            writing.finish()
        assert (sizes(store, digest), store.received(digest)) == ({}, 0)


def test_a_length_that_lies_is_refused(store: ValueStore) -> None:
    """More than was announced at once, less at the end; of less it can be gone on."""
    digest = digest_of(VALUE)
    writing = store.begin(digest, len(VALUE) - 1, 0)
    with pytest.raises(BadUpload, match=f"is to have {len(VALUE) - 1} bytes, and {len(VALUE)} have come"):
        writing.write(VALUE)
    writing.close()
    writing = store.begin(digest, len(VALUE), 0)
    writing.write(VALUE[:-1])
    with pytest.raises(BadUpload, match=f"has ended after {len(VALUE) - 1}"):
        writing.finish()
    assert sizes(store, digest) == {}
    put(store, VALUE)
    assert sizes(store, digest) == {digest: len(VALUE)}


def test_a_value_that_is_deleted_is_gone_but_for_who_reads_it(store: ValueStore) -> None:
    """What is being read is read to its end."""
    digest, other = put(store, VALUE), put(store, b"other")
    reading = store.read(digest)
    assert store.delete(digest) == len(VALUE)
    assert (store.delete(digest), listed(store)) == (None, {other: 5})
    assert reading.read(0, len(VALUE)) == VALUE
    reading.close()
    assert put(store, VALUE) == digest


def test_what_is_left_of_uploads_goes_after_a_while(store: ValueStore) -> None:
    """But not of those that are under way, or were broken off just now."""
    for value in (VALUE, VALUE[1:]):
        writing = store.begin(digest_of(value), len(value), 0)
        writing.write(value[:5])
        writing.close()
    assert store.clear_incoming(time.time() - 60, []) == 0
    writing = store.begin(digest_of(VALUE), len(VALUE), 5)
    assert store.clear_incoming(time.time() + 60, [digest_of(VALUE)]) == 5
    assert store.received(digest_of(VALUE[1:])) == 0
    writing.write(VALUE[5:])
    writing.finish()
    assert sizes(store, digest_of(VALUE)) == {digest_of(VALUE): len(VALUE)}


def test_asking_for_a_value_tells_that_it_is_wanted(store: ValueStore) -> None:
    """So that it is not collected before what refers to it is committed."""
    digest = put(store, VALUE)
    now = time.time() + 5_000
    store.find([digest], now, 1.0)
    (stored,) = store.list(digest[0])
    assert stored.wanted_at == pytest.approx(now, abs=1.0)
