"""Values travel as payloads; promises in them are found and replaced at any depth."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import zlib
from collections import Counter, OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagorama import DAGDefinition, NodeFailed, StaticRetry, dagorama
from dagorama.calls import payload
from dagorama.calls.ids import new_id
from dagorama.calls.payload import decode, decode_value, encode, no_promises
from dagorama.errors import BrokerUnavailable, PayloadError
from dagorama.models.promise import DAGPromise, new_promise, node_id_of
from dagorama.testing import in_process_broker
from tests.unit.library.containers import AROUND, Plain


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_promises_become_values_in_every_kind_of_object(around: Callable[[object], object]) -> None:
    """A promise is found wherever it is, and its value stands in its place after decoding."""
    promise = new_promise(new_id(), "m:C.f")
    data, promise_ids = encode(around(promise), what="x")
    assert promise_ids == (node_id_of(promise),)
    assert decode(data, {node_id_of(promise): "the value"}.__getitem__) == around("the value")


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_parts_of_promises_become_parts_of_values(around: Callable[[object], object]) -> None:
    """A lifted promise costs no node: it depends on the node itself."""
    promise = new_promise(new_id())
    data, promise_ids = encode(around(promise["k"][1]), what="x")
    assert promise_ids == (node_id_of(promise),)
    assert decode(data, lambda _: {"k": [5, 6]}) == around(6)


@dataclass(frozen=True)
class Part:
    """Can be a key that holds a promise."""

    part: object


class Table(dict[object, object]):
    """Is a dictionary of the user's own."""


KEYED: list[Callable[[Any, Any], Any]] = [
    lambda p, q: {p: "a", q: "b"},
    lambda p, q: {p: "a", 1: "b", 2: "c", "q": q},
    lambda p, q: Counter([p, q]),
    lambda p, q: defaultdict(list, {p: [1], q: [2]}),
    lambda p, q: OrderedDict({p: "a", q: "b"}),
    lambda p, q: Table({p: "a", q: "b"}),
    lambda p, q: UserDict({p: "a", q: "b"}).data,
    lambda p, q: {(p, 1): "a", (q, 1): "b"},
    lambda p, q: {Part(p): "a", Part(q): "b"},
    lambda p, q: {p[...]: "a", q[...]: "b"},
    lambda p, q: copy.deepcopy({p: "a", q: "b"}),
    lambda p, q: {"k": {p: "a", q: "b"}},
    lambda p, q: {Part((1, Part((p,)))): "a", Part((1, Part((q,)))): "b"},
    lambda p, q: dict.fromkeys({p, q}),
]


@pytest.mark.parametrize("make", KEYED)
@pytest.mark.parametrize("around", [lambda table: table, lambda table: ([Plain(table)], {"k": table})])
def test_promises_as_keys_stay_as_many(make: Callable[[Any, Any], Any], around: Callable[[Any], Any]) -> None:
    """Two keys with one value cannot be one key in silence: what went under the first would be lost."""
    promises = [new_promise(new_id(), "m:C.f") for _ in range(2)]
    data, ids = encode(around(make(*promises)), what="x")
    assert sorted(ids) == sorted(map(node_id_of, promises))
    differ = dict(zip(map(node_id_of, promises), ("one", "two"), strict=True))
    assert decode(data, differ.__getitem__) == around(make(*map(Value, differ.values())))
    refused = pytest.raises(PayloadError, match=r"two promises used as keys have the same value: .*inside a decorated")
    with refused:
        decode(data, lambda _: 1)
    with refused:
        decode_value(data, lambda _: 1, new_id())


class Counting(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, *values: Any) -> Any:
        return self.total({self.give(value): 1 for value in values})

    @dagorama().syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama(retry=StaticRetry(3, 0)).syncfn
    def total(self, counts: dict[int, int]) -> int:
        return sum(counts.values())


@pytest.mark.parametrize(
    ("values", "problem"),
    [((1, 1), "have the same value"), (([],), "of a promise cannot be what the promise is, a key")],
)
def test_what_cannot_be_keys_cannot_for_any_attempt(values: tuple[object, ...], problem: str) -> None:
    """So there is one only."""
    with in_process_broker(), pytest.raises(NodeFailed, match=f"failed after 1 attempt: .*{problem}"):
        Counting()(*values)[0].result()


class Value(str):
    """Stands where a promise does."""

    def __getitem__(self, key: object) -> Any:
        """Gives all of it."""
        return self


def test_equal_members_of_a_set_are_one() -> None:
    """A set has each value once, and nothing is lost by that; nor do equal keys of two mappings hurt."""
    p, q = new_promise(new_id()), new_promise(new_id())
    data, _ = encode([{p, q}, frozenset({p, q}), {p: p}, {q: q}], what="x")
    assert decode(data, lambda _: 1) == [{1}, frozenset({1}), {1: 1}, {1: 1}]


def test_a_promise_that_was_hashed_travels_as_deep_as_others() -> None:
    """It may be anywhere, and the value may be as deep as pickle goes."""
    promise = new_promise(new_id())
    value: object = {promise}
    for _ in range(sys.getrecursionlimit() * 2 // 5):
        value = [value]
    data, ids = encode(value, what="x")
    assert ids == (node_id_of(promise),)
    assert decode(data, lambda _: 1) is not None


class Bag(dict[object, Any]):
    """Has a length that its values decide."""

    def __len__(self) -> int:
        """Adds them."""
        return sum(self.values())


def test_the_length_that_a_dictionary_gives_itself_does_not_count() -> None:
    """Its keys do."""
    p, q = new_promise(new_id()), new_promise(new_id())
    data, _ = encode(Bag({p: q, 1: 1}), what="x")
    assert dict.__len__(cast(Bag, decode(data, lambda node_id: 2 if node_id == node_id_of(p) else 0))) == 2


class Shared(dict[object, Any]):
    """Is looked up where it arrives, where it may have fewer items."""

    def __reduce__(self) -> Any:
        """Names it."""
        return Shared, ()


class Emptying:
    """Takes what it needs out of its state."""

    def __init__(self) -> None:
        """Has one thing."""
        self.things: dict[object, object] = {(1, 2): 3}

    def __getstate__(self) -> Any:
        """Gives them."""
        return dict(self.things)

    def __setstate__(self, state: dict[object, object]) -> None:
        """Takes them."""
        self.things = {(1, 2): state.pop((1, 2))}


def test_mappings_without_promises_as_keys_arrive_as_they_will() -> None:
    """They may have fewer items than were sent."""
    value = [{new_promise(new_id())}, Shared({(1, 2): 3}), Emptying()]
    _, shared, emptying = cast(Any, decode(encode(value, what="x").data, lambda _: 1))
    assert (shared, emptying.things) == ({}, {(1, 2): 3})


PROMISES = [new_promise(new_id(), f"m:C.f{number}") for number in range(5)]

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(PROMISES)
nests = st.recursive(
    leaves,
    lambda part: (
        st.lists(part, max_size=4)
        | st.tuples(part, part)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(PROMISES), part, max_size=3)
        | st.sets(leaves, max_size=4)
        | part.map(Plain)
    ),
    max_leaves=20,
)


def replaced(value: Any) -> Any:
    """Puts the value of each promise in its place, the slow way."""
    if isinstance(value, DAGPromise):
        return value_of(node_id_of(value))
    if isinstance(value, dict):
        return {replaced(key): replaced(part) for key, part in value.items()}
    if isinstance(value, Plain):
        return Plain(replaced(value.part))
    if isinstance(value, (list, tuple, set)):
        return type(value)(replaced(part) for part in value)
    return value


def value_of(node_id: bytes) -> str:
    """Returns the value of a node."""
    return f"value of {node_id.hex()}"


@given(nests)
def test_any_nest_decodes_to_its_values(nest: object) -> None:
    """Whatever the nest, decoding it gives what replacing each promise by hand gives."""
    data, promise_ids = encode(nest, what="x")
    assert decode(data, value_of) == replaced(nest)
    assert len(set(promise_ids)) == len(promise_ids)


def test_each_promise_is_listed_once_in_order() -> None:
    """A promise that occurs often is one dependency."""
    first, second = new_promise(new_id()), new_promise(new_id())
    again = new_promise(node_id_of(first))
    payload = encode([second, first, again, {"k": second[0]}], what="x")
    assert payload.promise_ids == (node_id_of(second), node_id_of(first))


def test_one_promise_is_one_object() -> None:
    """The value of a promise that occurs twice is the same object twice, asked for once."""
    node_id = new_id()
    asked = []

    def resolve(wanted: bytes) -> list[int]:
        asked.append(wanted)
        return [1]

    data, _ = encode([new_promise(node_id), new_promise(node_id), new_promise(node_id)[0]], what="x")
    decoded: Any = decode(data, resolve)
    first, second, part = decoded
    assert first is second
    assert (first, part, asked) == ([1], 1, [node_id])


def test_a_path_may_hold_a_promise() -> None:
    """An item may be chosen by a promised key; both promises are dependencies."""
    table, key = new_promise(new_id()), new_promise(new_id())
    data, promise_ids = encode(table[key], what="x")
    assert promise_ids == (node_id_of(table), node_id_of(key))
    assert decode(data, {node_id_of(table): {"a": 1}, node_id_of(key): "a"}.__getitem__) == 1


class EncodesWithin:
    """Encodes something else while it is itself encoded."""

    def __init__(self, inner: object, outer: object) -> None:
        """Holds two promises."""
        self.inner = inner
        self.outer = outer

    def __reduce__(self) -> tuple[object, ...]:
        """Keeps the promise ids of the encoding within."""
        return list, ((encode(self.inner, what="within").promise_ids, self.outer),)


def test_encoding_within_encoding_keeps_apart() -> None:
    """A nested encode finds its own promises and leaves the outer one's alone."""
    inner, outer = new_promise(new_id()), new_promise(new_id())
    data, promise_ids = encode([EncodesWithin(inner, outer)], what="x")
    assert promise_ids == (node_id_of(outer),)
    assert decode(data, lambda _: "value") == [[(node_id_of(inner),), "value"]]


def test_threads_encode_apart() -> None:
    """Encoding in one thread does not show in another."""
    promise = new_promise(new_id())
    reached, go_on = threading.Event(), threading.Event()

    class Waits:
        def __reduce__(self) -> tuple[object, ...]:
            reached.set()
            go_on.wait(60)
            return int, ()

    found = []
    thread = threading.Thread(target=lambda: found.append(encode([Waits()], what="x").promise_ids))
    thread.start()
    reached.wait(60)
    assert encode(promise, what="y").promise_ids == (node_id_of(promise),)
    go_on.set()
    thread.join()
    assert found == [()]


def test_what_does_not_encode_is_named() -> None:
    """The error names the value, the way to the part that does not encode, and what to do."""
    value = {"jobs": [1, Plain({"lock": threading.Lock()})]}
    with pytest.raises(PayloadError) as raised:
        encode(value, what="argument 'x' of m:C.f")
    assert raised.value.what == "argument 'x' of m:C.f"
    assert "['jobs'][1].part['lock'], a lock" in raised.value.problem
    assert str(raised.value).startswith("argument 'x' of m:C.f: its part")
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("value", [lambda: 1, (str(n) for n in range(3)), threading.Lock()])
def test_bare_values_that_do_not_encode_are_refused(value: object) -> None:
    """A local function, a generator and a lock are no values that can travel."""
    with pytest.raises(PayloadError, match="the value: cannot be encoded"):
        encode(value, what="the value")


def test_a_cycle_around_a_lock_is_refused() -> None:
    """Looking for the part that does not encode ends, also in an object that holds itself."""
    value: dict[str, object] = {"lock": threading.Lock()}
    value["self"] = value
    with pytest.raises(PayloadError, match="lock"):
        encode(value, what="x")


class Compressed:
    """Pickles its content by itself, and compressed, so that no promise in it is to be seen."""

    def __init__(self, content: object) -> None:
        self.content = content

    def __reduce__(self) -> tuple[object, ...]:
        return _unpacked, (zlib.compress(pickle.dumps(self.content)),)


def _unpacked(data: bytes) -> Compressed:
    return Compressed(pickle.loads(zlib.decompress(data)))


def test_promises_in_what_an_object_compresses_are_found() -> None:
    """They are met while it is encoded and decoded, whatever it does with the bytes, as a value of a value too."""
    promise = new_promise(new_id())
    data, promise_ids = encode(Compressed([promise]), what="x")
    assert promise_ids == (node_id_of(promise),)
    assert cast(Any, decode(data, lambda _: "value")).content == ["value"]
    assert cast(Any, decode_value(data, lambda _: "value", new_id())).content == ["value"]


def test_after_a_failure_promises_are_ordinary_again() -> None:
    """A failed encode leaves nothing behind in its thread."""
    with pytest.raises(PayloadError):
        encode(threading.Lock(), what="x")
    promise = new_promise(new_id())
    assert decode(encode(1, what="x").data, no_promises) == 1
    assert promise.__reduce_ex__(5)[0] is DAGPromise


def test_what_does_not_decode_is_named() -> None:
    """Bytes that lead nowhere here give an error that names the payload and says what is missing."""
    data = encode(Plain(1), what="x").data.replace(b"containers", b"disappears")
    with pytest.raises(PayloadError, match=r"the result of m:C\.f: .*ModuleNotFoundError.*disappears"):
        decode(data, no_promises, what="the result of m:C.f")


def test_a_promise_without_a_value_is_named() -> None:
    """A payload that refers to a value that isn't here does not decode."""
    with pytest.raises(PayloadError, match="the value of node"):
        decode(encode(new_promise(new_id()), what="x").data, no_promises)


def test_own_errors_of_resolving_pass_through() -> None:
    """What dagorama itself has to say while a value is fetched is not hidden in another error."""

    def resolve(node_id: bytes) -> object:
        raise BrokerUnavailable(host="h", port=1, waited_s=1, detail="d")

    with pytest.raises(BrokerUnavailable):
        decode(encode(new_promise(new_id()), what="x").data, resolve)


def test_a_coroutine_is_to_be_awaited() -> None:
    """Who forgets to await a call is told that, and not that coroutines cannot be encoded."""

    async def call() -> None: ...

    coroutine = call()
    with pytest.raises(PayloadError, match=r"its part \[1\], a coroutine, .* Await it: the call of an asynchronous"):
        encode([1, coroutine], what="x")
    coroutine.close()


def test_what_no_message_can_hold_is_refused_where_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the value, its size, the limit and the way out; what just fits is encoded."""
    size = len(encode(b"12345", what="it").data)
    monkeypatch.setattr(payload, "MESSAGE_BYTES_MAX", size)
    assert encode(b"12345", what="it")
    with pytest.raises(PayloadError, match=f"the result of f: it has {size + 1} bytes; the limit is {size} bytes"):
        encode(b"123456", what="the result of f")
