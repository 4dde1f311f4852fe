"""Values in a bucket: whose it is, what may be wrong with it at a start, and what happens while it is away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from unittest.mock import patch

import pytest

from dagorama_broker.values import bucket, objects
from dagorama_broker.values.bucket import BucketStore
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import StoreAway, StoreFull, StoreUnusable, UnknownValue
from dagorama_broker.values.naming import folder_of
from dagorama_broker.values.objects import Mark, Objects
from dagorama_broker.values.place import open_store
from dagorama_broker.values.wanted import Wanted
from tests.object_stores import BUCKET, Gate, ObjectServer, reach

OWNER, OTHER = b"o" * 16, b"p" * 16
VALUE = bytes(range(250)) * 10  #: two parts and a half
DIGEST = sha256(VALUE).digest()
PART_BYTES = 1_000


#: For a test of what the clouds do each in their own way.
on_each_cloud = pytest.mark.parametrize("url", ["moto", "azure", "google"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a place that nobody has used, and reach it by the environment."""
    server: ObjectServer = request.getfixturevalue(getattr(request, "param", "moto"))
    reach(server, monkeypatch)
    return server.place()


@pytest.fixture
def store(url: str) -> Iterator[BucketStore]:
    """Give a store that is open."""
    store = BucketStore(url, part_bytes=PART_BYTES)
    store.open(OWNER, is_used=False)
    yield store
    store.close()


@pytest.fixture
def gate(moto: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Give a way to the object store, by which the store goes; it is given up soon."""
    gate = Gate(moto.endpoint)
    reach(moto, monkeypatch, endpoint=gate.endpoint, retries_max=2)
    yield gate
    gate.close()


def put(store: BucketStore, value: bytes = VALUE) -> None:
    """Put a value."""
    writing = store.begin(sha256(value).digest(), len(value), 0)
    try:
        writing.write(value)
        writing.finish()
    finally:
        writing.close()


def read(store: BucketStore, digest: bytes = DIGEST) -> bytes:
    """Read a value."""
    reading = store.read(digest)
    try:
        return reading.read(0, reading.size)
    finally:
        reading.close()


def refusal(url: str, owner: bytes = OWNER, *, is_used: bool = False) -> str:
    """Give why a place cannot be taken."""
    with pytest.raises(StoreUnusable) as caught:
        BucketStore(url).open(owner, is_used=is_used)
    return str(caught.value)


def names(url: str) -> list[str]:
    """Give the names of all objects in a place."""
    return [one.name for one in Objects(url).names("")]


@on_each_cloud
def test_a_small_value_is_one_object_and_a_larger_one_is_parts(store: BucketStore, url: str) -> None:
    """All of it can be seen by listing it; nothing is left of what is deleted but whose place it is."""
    small = VALUE[:PART_BYTES]
    put(store, small)
    put(store)
    digest = sha256(small).digest()
    kept = names(url)
    assert f"{folder_of('values', digest)}/{len(small)}" in kept
    assert len([name for name in kept if name.startswith(folder_of("parts", DIGEST))]) == 3
    assert (len(kept), read(store), read(store, digest)) == (1 + 1 + 1 + 3, VALUE, small)
    assert (store.delete(DIGEST), store.delete(digest), names(url)) == (len(VALUE), len(small), ["owner"])


@on_each_cloud
def test_values_are_there_after_a_restart(store: BucketStore, url: str) -> None:
    """And what had come of an upload, part by part."""
    put(store)
    other = VALUE[::-1]
    writing = store.begin(sha256(other).digest(), len(other), 0)
    writing.write(other[:2_100])  # the process ends here, without close
    store.close()
    again = BucketStore(url, part_bytes=PART_BYTES)
    again.open(OWNER, is_used=True)
    assert (read(again), again.received(sha256(other).digest())) == (VALUE, 2_000)
    writing = again.begin(sha256(other).digest(), len(other), 1_500)
    writing.write(other[1_500:])
    writing.finish()
    assert read(again, sha256(other).digest()) == other
    again.close()


@on_each_cloud
def test_values_of_another_database_are_refused(store: BucketStore, url: str) -> None:
    """They would be collected as unused; a place without values is taken over."""
    put(store)
    assert "belong to another broker's database" in refusal(url, OTHER)
    store.delete(DIGEST)
    other = BucketStore(url)
    other.open(OTHER, is_used=False)
    put(other)
    other.close()
    assert "belong to another broker's database" in refusal(url)
    Objects(url).replace("owner", b"dagorama values 2\n")
    assert "in a form that this version of dagorama does not know" in refusal(url)


def test_a_place_of_something_else_is_refused_and_left_as_it_is(url: str) -> None:
    """Whoever has named the wrong prefix loses nothing."""
    Objects(url).create("thesis.txt", b"mine")
    assert "it is no store of values, as it has thesis.txt" in refusal(url)
    assert names(url) == ["thesis.txt"]


@on_each_cloud
def test_an_empty_place_is_refused_where_values_are_used(url: str) -> None:
    """Unless somebody says that they are lost."""
    assert "nothing is there, and the database refers to values" in refusal(url, is_used=True)
    Objects(url).create("owner", b"")
    store = BucketStore(url)
    store.open(OWNER, is_used=True)
    store.close()


@pytest.mark.parametrize(
    ("mark", "why"), [({}, "by what the content of an object is known (ETag)"), (None, "at this moment")]
)
def test_a_place_is_not_taken_blindly(
    store: BucketStore, url: str, mark: Mark | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without tags nobody sees that another broker has written, as one may have since it was looked; it stays as it is.

    Who says that there is no other takes it all the same.
    """
    owner = Objects(url).get("owner")
    with monkeypatch.context() as patched:
        patched.setattr(Objects, "mark", lambda self, name: mark)
        assert why in refusal(url)
        assert Objects(url).get("owner") == owner
        patched.setenv("AWS_CONDITIONAL_PUT", "disabled")
        if mark is not None:
            BucketStore(url).open(OWNER, is_used=False)
            assert Objects(url).get("owner") != owner


@on_each_cloud
def test_a_broker_whose_place_was_taken_deletes_nothing_from_then_on(store: BucketStore, url: str) -> None:
    """The later one may use what the earlier takes for unused; it has looked a moment ago, and looks again."""
    put(store)
    writing = store.begin(sha256(b"other").digest(), 3 * PART_BYTES, 0)
    writing.write(bytes(2 * PART_BYTES))
    writing.close()
    reading = store.read(DIGEST)
    assert store.delete(DIGEST) == len(VALUE)  # once it is read
    later = BucketStore(url, part_bytes=PART_BYTES)
    later.open(OWNER, is_used=True)
    before = names(url)
    reading.close()
    with pytest.raises(StoreAway, match="another broker has taken it"):
        store.delete(DIGEST)
    with pytest.raises(StoreAway, match="another broker has taken it"):
        store.clear_incoming(time.time() + 60, [])
    assert (names(url), read(later), later.delete(DIGEST)) == (before, VALUE, len(VALUE))
    later.close()


def test_a_broker_whose_place_was_taken_soon_puts_and_finds_no_more(
    store: BucketStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one would collect what the earlier puts; nodes wait, and are told why."""
    put(store)
    writing = store.begin(sha256(b"other").digest(), 5, 0)
    writing.write(b"other")
    later = BucketStore(url, part_bytes=PART_BYTES)
    later.open(OWNER, is_used=True)
    monkeypatch.setattr(bucket, "_OURS_S", 0.0)
    for refused in (
        writing.finish,
        lambda: store.begin(DIGEST, len(VALUE), 0),
        lambda: store.find([DIGEST], time.time(), 60),
    ):
        with pytest.raises(StoreAway, match="Stop one of the two"):
            refused()
    assert (later.find([DIGEST, sha256(b"other").digest()], time.time(), 60), read(store)) == (
        {DIGEST: len(VALUE)},
        VALUE,
    )
    later.close()


@pytest.mark.parametrize("offset", [1_000, 1_500, 2_000])
def test_an_upload_that_another_broker_may_be_at_is_not_touched(store: BucketStore, url: str, offset: int) -> None:
    """The next one goes on with copies of its parts: both may end it, and each finds all of its own there."""
    writing = store.begin(DIGEST, len(VALUE), 0)
    writing.write(VALUE[:2_100])
    before = set(names(url))
    later = BucketStore(url, part_bytes=PART_BYTES)
    later.open(OWNER, is_used=False)
    assert later.received(DIGEST) == 2_000
    other = later.begin(DIGEST, len(VALUE), offset)
    other.write(VALUE[offset:])
    assert before <= set(names(url))
    writing.write(VALUE[2_100:])
    writing.finish()
    other.finish()
    (first, _) = sorted(name for name in names(url) if name.startswith("values/"))
    for gone in ([], [first]):
        Objects(url).delete(gone)
        assert read(later) == VALUE
    later.close()


def test_an_upload_of_this_broker_goes_on_in_its_place(store: BucketStore, url: str) -> None:
    """Nothing is copied, and what is behind the place where it goes on is written anew."""
    writing = store.begin(DIGEST, len(VALUE), 0)
    writing.write(VALUE[:2_300])
    writing.close()
    assert (len(names(url)), store.received(DIGEST)) == (1 + 3, 2_300)
    writing = store.begin(DIGEST, len(VALUE), 1_500)
    assert len(names(url)) == 1 + 1
    writing.write(VALUE[1_500:])
    writing.finish()
    assert (read(store), len(names(url))) == (VALUE, 1 + 1 + 3)


@on_each_cloud
def test_parts_of_a_value_that_is_deleted_while_it_is_read_are_not_gone_on_with(store: BucketStore, url: str) -> None:
    """They are read still, so the next upload of it has copies."""
    put(store)
    reading = store.read(DIGEST)
    store.delete(DIGEST)
    assert store.received(DIGEST) == len(VALUE)
    writing = store.begin(DIGEST, len(VALUE), 1_500)
    assert reading.read(0, reading.size) == VALUE
    writing.write(VALUE[1_500:])
    writing.finish()
    reading.close()
    assert read(store) == VALUE


@on_each_cloud
def test_a_bucket_that_is_missing_is_told(url: str) -> None:
    """With the place, and the setting that names it."""
    missing = url.replace(BUCKET, "missing", 1)
    said = refusal(missing)
    assert said.startswith(f"{missing}: there is no such bucket (")
    assert said.endswith("Make it, or name another one in DAGORAMA_VALUES.")


@on_each_cloud
def test_a_bucket_that_goes_away_is_told(store: BucketStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is missing only where the bucket is there; else nodes wait, as for any store that is away."""
    gone = Objects(url.replace(BUCKET, "missing", 1))
    monkeypatch.setattr(store, "_objects", gone)
    for ask in (lambda: store.find([DIGEST], 0.0, 0.0), lambda: store.read(DIGEST), lambda: put(store)):
        with pytest.raises(StoreAway, match="missing") as caught:
            ask()
        assert caught.value.is_missing


@pytest.mark.parametrize(
    ("kind", "secret"), [("azure", "AZURE_STORAGE_ACCOUNT_KEY"), ("rclone", "AWS_SECRET_ACCESS_KEY")]
)
def test_credentials_that_are_wrong_are_told(
    kind: str, secret: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their settings; of the servers here, these look at them."""
    server: ObjectServer = request.getfixturevalue(kind)
    reach(server, monkeypatch)
    monkeypatch.setenv(secret, "d3Jvbmc=")
    place = server.place()
    said = refusal(place)
    assert said.startswith(f"{place}: the object store does not let us (")
    assert secret in said.partition("Look whether the credentials are right")[2]


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("az://bucket", {}, "Account must be specified). Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
        ("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/file"}, "/no/file: No such file or directory"),
        ("s3://bucket?region=x", {}, "as '?region=x' would not count. Leave it out; set AWS_ACCESS_KEY_ID"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_told(
    url: str, settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL is not blamed for them, nor they for it."""
    for name in [name for name in os.environ if name.startswith(tuple(objects.SCHEMES.values()))]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnusable) as caught:
        open_store(url, "memory:")
    assert said in str(caught.value)


@pytest.mark.parametrize("values", ["s3:/bucket", "S3:bucket/prefix", "gs:/", "az:bucket"])
def test_a_url_with_too_few_slashes_is_no_directory(values: str) -> None:
    """It is refused: a directory of that name would be made, and fill the broker's disk."""
    with pytest.raises(StoreUnusable, match=r"a URL has two slashes, as (s3|S3|gs|az)://bucket/prefix"):
        open_store(values, "memory:")
    assert type(open_store(f"./{values}", "memory:")) is DirectoryStore


def test_what_is_away_is_told_and_goes_on_later(gate: Gate, moto: ObjectServer) -> None:
    """Nothing that was acknowledged is lost, and an upload goes on from what was written."""
    store = BucketStore(moto.place(), part_bytes=PART_BYTES)
    store.open(OWNER, is_used=False)
    put(store, VALUE[:700])
    writing = store.begin(DIGEST, len(VALUE), 0)
    writing.write(VALUE[:1_200])
    gate.shut()
    with pytest.raises(StoreAway, match="Nothing that was acknowledged is lost"):
        writing.write(VALUE[1_200:])
    writing.close()
    for ask in (
        lambda: store.find([DIGEST], 0.0, 0.0),
        lambda: store.find([DIGEST, sha256(VALUE[:700]).digest()], 0.0, 0.0),
        lambda: store.received(DIGEST),
        lambda: store.read(DIGEST),
        lambda: store.list(DIGEST[0]),
        store.shards,
    ):
        with pytest.raises(StoreAway):
            ask()
    gate.open()
    assert (store.received(DIGEST), read(store, sha256(VALUE[:700]).digest())) == (1_000, VALUE[:700])
    writing = store.begin(DIGEST, len(VALUE), 1_000)
    writing.write(VALUE[1_000:])
    writing.finish()
    assert read(store) == VALUE
    store.close()


def test_an_upload_whose_end_did_not_come_through_is_put_again(gate: Gate, moto: ObjectServer) -> None:
    """Its value is there or not; both are mended by the same."""
    store = BucketStore(moto.place(), part_bytes=PART_BYTES)
    store.open(OWNER, is_used=False)
    for value in (VALUE, VALUE[:500]):
        digest = sha256(value).digest()
        writing = store.begin(digest, len(value), 0)
        writing.write(value)
        gate.shut()
        with pytest.raises(StoreAway):
            writing.finish()
        writing.close()
        gate.open()
        assert store.find([digest], 0.0, 0.0) == {}
        put(store, value)
        assert read(store, digest) == value
    store.close()


def test_a_value_that_misses_a_part_ends_where_that_is(store: BucketStore, url: str) -> None:
    """So whoever checks its digest finds out."""
    put(store)
    missing = sorted(name for name in names(url) if name.startswith("parts/"))[1]
    Objects(url).delete([missing])
    assert read(store) == VALUE[:PART_BYTES]


@on_each_cloud
def test_a_damaged_value_is_replaced_while_somebody_reads_it(store: BucketStore, url: str) -> None:
    """Whoever reads the old one goes on; the new one is found."""
    for value in (VALUE, VALUE[:500]):
        digest = sha256(value).digest()
        put(store, value)
        reading = store.read(digest)
        assert store.delete(digest) == len(value)
        with pytest.raises(UnknownValue):
            store.read(digest)
        put(store, value)
        assert (read(store, digest), reading.read(0, reading.size)) == (value, value)
        reading.close()
        assert (read(store, digest), store.find([digest], 0.0, 0.0)) == (value, {digest: len(value)})


def test_a_small_value_that_was_changed_is_written_anew(store: BucketStore, url: str) -> None:
    """An object that is there is compared, not believed."""
    value = VALUE[:500]
    put(store, value)
    (name,) = (name for name in names(url) if name.startswith("values/"))
    Objects(url).replace(name, value[::-1])
    put(store, value)
    assert read(store, sha256(value).digest()) == value


@on_each_cloud
def test_parts_of_values_and_of_uploads_under_way_are_no_remains(store: BucketStore) -> None:
    """Only what belongs to neither is removed."""
    put(store)
    other, left = VALUE[1:], VALUE[2:]
    writing = store.begin(sha256(other).digest(), len(other), 0)
    writing.write(other[:2_200])
    broken = store.begin(sha256(left).digest(), len(left), 0)
    broken.write(left[:2_200])
    broken.close()
    assert store.clear_incoming(time.time() + 60, []) == 2_200
    writing.write(other[2_200:])
    writing.finish()
    assert (read(store), read(store, sha256(other).digest())) == (VALUE, other)


def test_a_bucket_that_is_full_refuses_what_has_no_room(store: BucketStore) -> None:
    """By the error that clients wait for; what has come of it is removed."""
    writing = store.begin(DIGEST, len(VALUE), 0)
    writing.write(VALUE[:1_200])
    with (
        patch.object(Objects, "create", side_effect=objects.NoRoom),
        pytest.raises(StoreFull, match="there is no room for the 2500 bytes"),
    ):
        writing.write(VALUE[1_200:])
    writing.close()
    assert store.received(DIGEST) == 0


def test_all_that_is_there_may_be_wanted_at_a_start(store: BucketStore, url: str) -> None:
    """Nobody has written down who asked for it before; it is kept as long as if somebody just had."""
    put(store)
    store.close()
    began_at = time.time()
    again = BucketStore(url)
    again.open(OWNER, is_used=False)
    (stored,) = again.list(DIGEST[0])
    assert stored.wanted_at >= began_at
    again.close()


def test_times_that_are_forgotten_count_as_later() -> None:
    """So that nothing is collected too early."""
    wanted = Wanted(5.0, count_max=10)
    for number in range(11):
        wanted.note(bytes([number]), 10.0 + number)
    assert [wanted.at(bytes([number])) for number in (0, 1, 2, 10)] == [11.0, 11.0, 12.0, 20.0]
    wanted.forget(bytes([10]))
    assert wanted.at(bytes([10])) == 11.0


def test_many_values_are_looked_for_at_once(store: BucketStore) -> None:
    """Each is asked for by itself, and several are on their way together."""
    values = [os.urandom(20) for _ in range(20)]
    for value in values[::2]:
        put(store, value)
    digests = [sha256(value).digest() for value in values]
    assert store.find(digests, time.time(), 0.0) == dict.fromkeys(digests[::2], 20)
