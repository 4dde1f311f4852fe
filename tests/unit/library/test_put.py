"""Values that are put: a promise of each, which calls and definitions take, and which answers nothing itself."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
import zlib
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dagorama import DAGDefinition, Limit, dagorama, put, put_async, resolve, resolve_async
from dagorama.calls.construction import construction_of
from dagorama.calls.large import MemoryValues
from dagorama.calls.payload import Draft, Payload, decode, draft, encode, keep_whole, no_promises
from dagorama.calls.references import REFERENCES_MAX, REFERENCES_MAX_OF_BROKER, read_references
from dagorama.calls.showing import show_arguments
from dagorama.errors import LimitKeyError, PayloadError, PromiseMisuse
from dagorama.inspection import find_promises
from dagorama.models.promise import DAGPromise, Promise, new_promise
from dagorama.testing import in_process_broker, inline
from dagorama.testing.in_process import InProcessBroker

BIG = bytes(range(256)) * 1000


class Shelf(DAGDefinition):
    """Takes values that were put, and puts some itself."""

    def __init__(self, table: Any = None) -> None:
        self.table = table

    @dagorama().syncfn
    def entrypoint(self, value: Any = None) -> Any:
        return self.give(value)

    @dagorama(label="{value.name}").syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama().syncfn
    def own(self) -> Any:
        return self.table

    @dagorama().syncfn
    def puts(self, count: int) -> Any:
        table = put(BIG[:count])
        shelf: Any = Shelf(table)()[0]
        return [self.give(table), table, self.made(table), shelf.own()]

    @dagorama().asyncfn
    async def puts_later(self, count: int) -> Any:
        return self.give(await put_async(BIG[:count]))

    @dagorama().syncfn
    def made(self, table: Any) -> int:
        return len(table)

    @dagorama(limit=Limit(key=lambda tenant: tenant, max=1)).syncfn
    def limited(self, tenant: Any) -> Any:
        return tenant


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """Have a broker in this process."""
    with in_process_broker(check=True) as broker:
        yield broker


def stored(broker: InProcessBroker) -> int:
    """Give how many values there are."""
    return len(cast(MemoryValues, broker.values())._values)


def value_of(instance: Any, promise: Any) -> Any:
    """Wait for a value."""
    return resolve(instance, promise, wait_for_results=True)


def kept(value: object, store: MemoryValues) -> Payload:
    """Give the payload of a value."""
    taken = draft(value, what="a value")
    return taken.keep(store) if isinstance(taken, Draft) else taken


CONTAINERS = [
    lambda p: p,
    lambda p: [p, p],
    lambda p: {"k": (p, {1: p})},
    lambda p: {p: 1},
    lambda p: [p, BIG[::-1]],
    lambda p: [p, ["x"] * 40_000],
]


@pytest.mark.parametrize("around", CONTAINERS)
@pytest.mark.parametrize("value", [BIG, b"small"], ids=["large", "small"])
def test_a_node_gets_the_value_in_the_place_of_its_promise(broker: InProcessBroker, value: Any, around: Any) -> None:
    """At any depth, beside other large values, and as a key; the value is there once, and is no node."""
    promise = put(value)
    before = stored(broker)
    assert before == (value is BIG)
    instance, _ = Shelf()(around(promise))
    assert instance.result() == around(value)
    other, _ = Shelf()(around(promise))
    assert other.result() == around(value)
    assert len(list(instance.nodes())) == 2


def test_many_calls_with_a_promise_store_nothing_more(broker: InProcessBroker) -> None:
    """What the value is made of is in each call by its reference."""
    promise = put(BIG)
    instance, _ = Shelf()([promise] * 3)
    instance.result()
    assert stored(broker) == 1


def test_the_value_is_what_it_was(broker: InProcessBroker) -> None:
    """Changing what was put changes nothing that calls get."""
    for size in (3, 100_000):
        table = bytearray(size)
        promise = put(table)
        table[0] = 7
        instance, _ = Shelf()(promise)
        assert instance.result() == bytearray(size)


def test_a_definition_is_made_with_a_promise(broker: InProcessBroker) -> None:
    """On a worker it has the value, also when it was changed after it was made, and in a sub-definition."""
    for value in (BIG, b"small"):
        shelf = Shelf(put(value))
        instance, _ = shelf(1)
        assert value_of(instance, cast(Any, instance).own()) == value
        shelf.table = [shelf.table, put(BIG[1:])]
        instance, _ = shelf(1)
        assert value_of(instance, cast(Any, instance).own()) == [value, BIG[1:]]


def test_a_changed_definition_refers_to_all_that_it_needs() -> None:
    """The outermost payload alone is read by a broker, which keeps what that refers to."""
    with in_process_broker():
        shelf = Shelf(put(BIG))
        shelf.extra = put(BIG[1:])  # type: ignore[attr-defined]
        instance, _ = shelf(1)
        arguments = construction_of(shelf).arguments()
        assert len(read_references(arguments).references) == 2
        within = encode([instance], what="an instance")
        assert len(read_references(within.data).references) == 2


def test_a_node_puts_values(broker: InProcessBroker) -> None:
    """They are what its calls take, and its result has."""
    for count in (5, 100_000):
        instance, _ = Shelf()(1)
        value = BIG[:count]
        assert value_of(instance, cast(Any, instance).puts(count)) == [value, value, count, value]
        later = asyncio.run(cast(Any, instance).puts_later(count))
        assert value_of(instance, later) == value


@pytest.mark.parametrize("value", [BIG, {"name": BIG, 3: [1, 2]}, 5], ids=["large", "parts", "small"])
def test_inline_it_is_the_value(value: Any) -> None:
    """As the value of a call is; it is a copy, as one that has travelled."""
    with inline():
        assert put(value) == value
        assert asyncio.run(put_async(value)) == value
        shelf = Shelf(put(value))
        instance, found = shelf(put([value]))
        assert found == [value]
        assert cast(Any, instance).puts(3)[0] == BIG[:3]
    with inline(), pytest.raises(PayloadError, match=r"dagorama\.put\(\).*cannot be encoded"):
        put(lambda: 1)


def test_a_promise_is_not_put(broker: InProcessBroker) -> None:
    """A node's value is stored already, and so is what was put."""
    promise = put(BIG)
    assert put(promise) is promise
    of_node = new_promise(bytes(16))
    assert put(of_node) is of_node
    assert asyncio.run(put_async(promise)) is promise


def test_promises_of_nodes_may_be_inside(broker: InProcessBroker) -> None:
    """A call that takes the value depends on their nodes."""
    instance, promise = Shelf()(4)
    for filled in (put([promise, 1]), put([promise, BIG])):
        later = cast(Any, instance).give([filled])
        assert value_of(instance, later)[0][0] == 4
    assert resolve(instance, put([promise, 1]), wait_for_results=True) == [4, 1]


def test_parts_of_it_are_promises(broker: InProcessBroker) -> None:
    """They are taken where they are used; one that is not there is named."""
    record: Any = put({"k": [BIG, 3], "n": 5})
    instance, _ = Shelf()([record["k"][1], record["n"].real])
    assert instance.result() == [3, 5]
    with pytest.raises(PayloadError, match=r"promise\['z'\] \(of a value that was put\)"):
        resolve(instance, record["z"])


def test_values_are_read_back(broker: InProcessBroker) -> None:
    """By any instance, waiting or not, alone and in what holds it; each time another object."""
    instance, _ = Shelf()(1)
    for value in (BIG, [1, 2]):
        promise = put(value)
        assert resolve(instance, promise) == value
        assert resolve(instance, {"a": [promise]}) == {"a": [value]}
        assert asyncio.run(resolve_async(instance, promise)) == value
        assert asyncio.run(resolve_async(instance, [promise], wait_for_results=True)) == [value]


@pytest.mark.parametrize(
    "misuse",
    [
        bool,
        len,
        iter,
        lambda p: p + 1,
        lambda p: p == 3,
        lambda p: p < 3,
        lambda p: f"{p:.2f}",
        int,
        lambda p: p in [3],
    ],
)
@pytest.mark.parametrize("value", [[BIG], 5])
def test_what_needs_the_value_is_refused(broker: InProcessBroker, misuse: Any, value: Any) -> None:
    """As for promises of nodes, with the kind of value that it is."""
    with pytest.raises(PromiseMisuse, match=r"<put (list|int) of [\d,]+ bytes> is only the promise of one"):
        misuse(put(value))
    with pytest.raises(PromiseMisuse):
        misuse(put({"k": value})["k"])


@pytest.mark.parametrize("of", [lambda: put([BIG]), lambda: put([BIG])[0]], ids=["whole", "part"])
def test_a_misuse_names_a_way_out_that_there_is(broker: InProcessBroker, of: Any) -> None:
    """No instance has the value for its result: it is resolved with any, or passed on."""
    with pytest.raises(
        PromiseMisuse, match=r"decorated method.*resolve\(instance, promise\) gives the value"
    ) as caught:
        len(of())
    assert "instance.result()" not in str(caught.value)


def test_it_is_a_promise(broker: InProcessBroker) -> None:
    """Equal promises promise the same; it can be shown, hashed, and is the promise of no node."""
    promise, same, other = put(BIG), put(bytes(BIG)), put(BIG[1:])
    assert isinstance(promise, Promise)
    assert not isinstance(promise, DAGPromise)
    assert promise == same
    assert promise != other
    assert promise[1] == same[1]
    assert promise[1] != same[2]
    assert {promise, same, other, promise[0], same[0]} == {promise, other, promise[0]}
    assert str(promise).startswith("<put bytes of 256,0")
    assert repr(cast(Any, promise)["k"].field) == f"{promise!r}['k'].field"
    assert find_promises([promise]) == []
    with pytest.raises(AttributeError):
        cast(Any, promise)._private  # noqa: B018


def test_two_promises_with_the_same_value_are_no_two_keys(broker: InProcessBroker) -> None:
    """A mapping would lose one."""
    instance, promise = Shelf()("k")
    mapping = {put("k"): 1, promise: 2}
    with pytest.raises(PayloadError, match="two promises used as keys"):
        resolve(instance, mapping, wait_for_results=True)


def test_it_travels_by_pickle(broker: InProcessBroker) -> None:
    """Also copied, and inside of an object that pickles its parts by itself."""
    promise = put(BIG)
    for again in (pickle.loads(pickle.dumps(promise)), copy.deepcopy(promise)):
        assert again == promise
        instance, _ = Shelf()(again)
        assert instance.result() == BIG
    part = pickle.loads(pickle.dumps(cast(Any, promise)[3]))
    instance, _ = Shelf()([part, Packed(promise)])
    assert instance.result() == [3, Packed(BIG)]


class Packed:
    """Pickles what it has by itself, and compresses that."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _unpacked, (zlib.compress(pickle.dumps(self.value)),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and bool(self.value == other.value)


def _unpacked(data: bytes) -> Packed:
    return Packed(pickle.loads(zlib.decompress(data)))


def test_a_promise_that_outlives_its_value_says_so() -> None:
    """So does one that is used with another broker; nothing is started."""
    with in_process_broker():
        promise = put(BIG)
    with in_process_broker():
        instance, _ = Shelf()(1)
        with pytest.raises(PayloadError, match=r"Shelf\.entrypoint: the store .* does not have the value [0-9a-f]{16}"):
            Shelf()([promise])
        with pytest.raises(PayloadError, match="does not have the value"):
            resolve(instance, promise)
        with pytest.raises(PayloadError, match="does not have the value"):
            put([promise])


def test_a_value_is_held_as_long_as_its_promise(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came from elsewhere is asked for at once."""
    held: list[tuple[Any, int, bool]] = []

    def hold(self: MemoryValues, owner: object, payload: bytes, *, at_once: bool = False) -> None:
        held.append((owner, len(read_references(payload).references), at_once))

    monkeypatch.setattr(MemoryValues, "hold", hold)
    promise = put([BIG, BIG[1:]])
    put(b"small")
    again = pickle.loads(pickle.dumps(promise))
    assert [count for _, count, _ in held] == [2, 2]
    assert [at_once for _, _, at_once in held] == [False, True]
    lives = [weakref.ref(owner) for owner, _, _ in held]
    held.clear()
    gc.collect()
    assert None not in [life() for life in lives]
    del promise, again
    gc.collect()
    assert [life() for life in lives] == [None, None]


def test_a_payload_takes_no_more_of_them_than_a_broker(broker: InProcessBroker) -> None:
    """The error says how many, and what to do."""
    many = REFERENCES_MAX_OF_BROKER - REFERENCES_MAX
    store = MemoryValues()
    values = [put(size.to_bytes(3, "big") * 30_000) for size in range(REFERENCES_MAX + 10)]
    assert len(read_references(kept(values, cast(MemoryValues, broker.values())).data).references) == len(values)
    taken = draft(values, what="a call")
    assert isinstance(taken, Draft)
    taken._stored = [values] * (many + 1)  # type: ignore[list-item]
    with pytest.raises(PayloadError, match=f"a call: it needs {many + 1} values that were put; the limit is {many}"):
        taken.keep(store)


def test_a_large_construction_goes_on_referring(broker: InProcessBroker) -> None:
    """Its stream is stored as a value, and what was put is referred to as before."""
    store = cast(MemoryValues, broker.values())
    data = encode(([put(BIG), "x" * 100_000], {}), what="a construction").data
    whole = keep_whole(data, lambda: store)
    references, stream = read_references(whole)
    assert (len(references), stream) == (2, None)
    assert decode(whole, no_promises, store=store) == ([BIG, "x" * 100_000], {})
    assert keep_whole(whole, lambda: store) == whole


def test_limits_and_labels_know_it_for_a_promise(broker: InProcessBroker) -> None:
    """A key needs a value, and a label waits for a worker, which has it."""
    instance, _ = Shelf()(put(Named("a label")))
    instance.result()
    assert [node.label for node in instance.nodes()] == ["", "a label"]
    with pytest.raises(LimitKeyError, match="argument 'tenant' is a promise"):
        cast(Any, instance).limited(put("t"))


class Named:
    """Has a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_people_are_shown_the_value(broker: InProcessBroker) -> None:
    """As it would be shown without having been put; a part of it by its path."""
    store = cast(MemoryValues, broker.values())
    promise = put({"k": [BIG, 3]})
    payload = kept(((promise, promise["k"], put("text"), new_promise(bytes(16))), {}), store).data
    assert show_arguments(payload, "a, b, c, d") == (
        "a={'k': [bytes(<256,000 bytes>), 3]}, b={'k': [bytes(<256,000 bytes>), 3]}['k'], c='text', "
        "d=<node 000000000000>"
    )
    nested: Any = "deep"
    for _ in range(8):
        nested = put([nested, BIG[: 80_000 + len(repr(nested))]])
    assert "?" in show_arguments(kept(((nested,), {}), store).data, "a")
    assert show_arguments(payload[:-30], "a, b, c, d").endswith("...")
