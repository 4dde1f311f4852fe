"""Arrays of numpy as large values: whatever they are like, they come back as they were."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagorama.calls.large import MemoryValues, ValueStore
from dagorama.calls.payload import Draft, Payload, decode, draft, no_promises
from dagorama.calls.references import read_references
from dagorama.client.values import spooling
from dagorama.client.values import store as stores
from dagorama.client.values.store import RemoteValues
from dagorama.models.promise import DAGPromise, new_promise
from tests.unit.library.value_server import ValueServer

COUNT = 100_000
PLAIN = np.arange(COUNT, dtype=np.float64)


def on_disk(folder: Path) -> Any:
    """Make an array that is a mapped file."""
    array = np.memmap(folder / "array", dtype=np.float64, mode="w+", shape=(COUNT,))
    array[:] = PLAIN
    array.flush()
    return array


ARRAYS: dict[str, Callable[[Path], Any]] = {
    "plain": lambda _: PLAIN.copy(),
    "of two dimensions": lambda _: PLAIN.reshape(100, -1).copy(),
    "in the order of Fortran": lambda _: np.asfortranarray(PLAIN.reshape(100, -1)),
    "transposed": lambda _: PLAIN.reshape(100, -1).T,
    "every second": lambda _: PLAIN[::2],
    "a column": lambda _: PLAIN.reshape(-1, 4)[:, 1:3],
    "backwards": lambda _: PLAIN[::-1],
    "repeated without memory of its own": lambda _: np.broadcast_to(np.float64(3.0), (COUNT,)),
    "read-only": lambda _: np.frombuffer(PLAIN.tobytes()),
    "mapped": on_disk,
    "a part of what is mapped": lambda folder: on_disk(folder)[5:-5],
    "of objects": lambda _: np.array([{"a": number} for number in range(20_000)], dtype=object),
    "of bytes": lambda _: np.frombuffer(PLAIN.tobytes(), dtype=np.uint8).copy(),
    "of truths": lambda _: PLAIN % 3 == 0,
    "of texts": lambda _: np.array([f"{number:08}" for number in range(20_000)]),
    "of times": lambda _: np.arange(COUNT).astype("datetime64[s]"),
    "of records": lambda _: np.zeros(COUNT, dtype=[("x", "i4"), ("y", "f8")]),
    "of the other byte order": lambda _: PLAIN.astype(">f8"),
    "masked": lambda _: np.ma.masked_array(PLAIN, mask=PLAIN % 2 == 0),
    "of no dimension": lambda _: np.array(3.0),
    "of no element": lambda _: np.zeros((0, 5)),
    "of elements without bytes": lambda _: np.zeros(COUNT, dtype="S0"),
    "of no element, beside a large one": lambda _: [np.zeros((3, 0)), PLAIN.copy(), np.zeros(0, dtype=object)],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep values of other tests out."""
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    stores._cache.cache_clear()
    yield
    stores._cache.cache_clear()


@pytest.fixture(params=["memory", "stream", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], ValueStore]]:
    """Give the store as one process after the other uses it."""
    if request.param == "memory":
        kept = MemoryValues()
        yield lambda: kept
        return
    directory = tmp_path / "store"
    directory.mkdir()
    with ValueServer(directory if request.param == "directory" else None) as server:
        yield lambda: RemoteValues("localhost", server.port, patience_s=60.0)


def kept(value: object, store: ValueStore) -> bytes:
    """Encode a value."""
    taken = draft(value, what="a value")
    return (taken.keep(store) if isinstance(taken, Draft) else taken).data


def items(value: object) -> list[Any]:
    """Take a value for a list."""
    assert isinstance(value, list)
    return value


def check_same(found: Any, expected: Any) -> None:
    """Compare arrays by all that numpy knows of them."""
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
        return
    assert type(found) is type(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert bool(np.all(np.ma.getmaskarray(found) == np.ma.getmaskarray(expected)))
    assert bool(np.all(found == expected))


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_arrays_come_back_as_they_were(
    make: Callable[[Path], Any], store: Callable[[], ValueStore], tmp_path: Path
) -> None:
    """In another process, and when that passes them on; the payload stays small where what is in it is not."""
    value = make(tmp_path)
    payload = kept({"a": [value]}, store())
    assert len(payload) < 64 * 1024
    reader = store()
    found: Any = decode(payload, no_promises, store=reader)
    check_same(found["a"][0], value)
    again: Any = decode(kept(found, reader), no_promises, store=store())
    check_same(again["a"][0], value)


def test_an_array_that_is_passed_on_is_not_hashed(
    store: Callable[[], ValueStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the node looks at it; a part of it is another value."""
    payload = kept([PLAIN.copy()], store())
    (reference,) = read_references(payload).references
    reader = store()
    if isinstance(reader, MemoryValues):
        return
    (found,) = items(decode(payload, no_promises, store=reader))
    monkeypatch.setattr(spooling, "sha256", None)
    for same in (found, found[:], found.reshape(50, -1), found.reshape(50, -1).T, found.view(np.uint8)):
        assert read_references(kept([same], reader)).references == (reference,)
    monkeypatch.undo()
    for other in (found[1:], found[::-1], found[:-1].reshape(-1, 3), found * 2):
        others = read_references(kept([other], reader)).references
        assert reference not in others
        check_same(items(decode(kept([other], reader), no_promises, store=store()))[0], other)


def test_large_arrays_cannot_be_written_to(store: Callable[[], ValueStore]) -> None:
    """They are a file's, or another node's too. A copy can."""
    (found,) = items(decode(kept([PLAIN.copy()], store()), no_promises, store=store()))
    with pytest.raises(ValueError, match="read-only"):
        found += 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.flags.writeable = True
    copied = found.copy()
    copied += 1
    assert float(copied[0]) == 1.0
    assert float(found[0]) == 0.0


def test_an_array_outlives_its_store(store: Callable[[], ValueStore]) -> None:
    """And what is made of it, too."""
    (found,) = items(decode(kept([PLAIN.copy()], store()), no_promises, store=store()))
    part = found[10:20]
    del found
    gc.collect()
    check_same(part, PLAIN[10:20])


def test_promises_stand_in_arrays_of_objects(store: Callable[[], ValueStore]) -> None:
    """They are found there as anywhere else, beside what is large."""
    promise = new_promise(b"p" * 16)
    array = np.array([None, 1], dtype=object)
    array[0] = promise  # an array made of promises is refused
    taken = draft([array, PLAIN.copy()], what="a value")
    assert not isinstance(taken, Payload)
    payload = taken.keep(store())
    assert payload.promise_ids == (b"p" * 16,)
    objects, plain = items(decode(payload.data, lambda node_id: ("of", node_id), store=store()))
    assert list(objects) == [("of", b"p" * 16), 1]
    assert not isinstance(objects[0], DAGPromise)
    check_same(plain, PLAIN)


def test_one_array_in_many_places_is_one(store: Callable[[], ValueStore]) -> None:
    """Also in what refers to itself."""
    array = PLAIN.copy()
    value: list[Any] = [array, {"same": array}]
    value.append(value)
    payload = kept(value, store())
    assert len(read_references(payload).references) == 1
    found = items(decode(payload, no_promises, store=store()))
    assert found[0] is found[1]["same"]
    assert found[2] is found
