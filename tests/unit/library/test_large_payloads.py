"""Payloads of values that are large in parts: these are stored on their own, and come back as they were."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagorama import DAGDefinition, dagorama
from dagorama.calls import payload
from dagorama.calls.large import INLINE_MAX, Content, MemoryValues, NoStore, TooLarge, inline_max
from dagorama.calls.payload import (
    Draft,
    Payload,
    decode,
    decode_value,
    draft,
    draft_arguments,
    is_stored_as,
    no_promises,
    part_in,
)
from dagorama.calls.pickling import Pickling
from dagorama.calls.references import REFERENCES_MAX, Reference, is_referring, read_references, write_references
from dagorama.errors import PayloadError
from dagorama.models.promise import new_promise
from dagorama.testing import in_process_broker

BIG = bytes(range(256)) * 300
NODE_ID = bytes(range(16))


class Table:
    """Hands its buffer out, as arrays do."""

    def __init__(self, data: Any) -> None:
        """Take the buffer."""
        self.data = data

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Pickle as a call with a buffer."""
        return Table, (pickle.PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        """Compare bytes."""
        return isinstance(other, Table) and bytes(self.data) == bytes(other.data)


class Quiet:
    """Cannot be shown."""

    def __repr__(self) -> str:
        """Fail."""
        raise AssertionError("it is not to be shown")


class Counted(MemoryValues):
    """Notes the sizes of what it is to store."""

    def __init__(self) -> None:
        super().__init__()
        self.put_sizes: list[int] = []

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Store."""
        self.put_sizes += [content.size for content in contents]
        return super().put(contents)


def kept(value: object, store: MemoryValues) -> Payload:
    """Return the payload of a value, whose large parts are stored."""
    taken = draft(value, what="a value")
    return taken.keep(store) if isinstance(taken, Draft) else taken


def again(value: object, sizes: list[int] | None = None) -> Any:
    """Return a value as it comes back, after the sizes of what was stored were looked at."""
    store = Counted()
    payload = kept(value, store)
    if sizes is not None:
        assert store.put_sizes == sizes
    assert len(payload.data) <= 2 * INLINE_MAX
    return decode(payload.data, no_promises, store=store)


@dataclass
class Record:
    """A container."""

    name: str
    table: Table


@pytest.mark.parametrize(
    ("value", "sizes"),
    [
        (BIG, [len(BIG)]),
        (bytearray(BIG), [len(BIG)]),
        ("ü" * 70_000, [140_000]),
        ("\ud800" + "x" * 70_000, [70_003]),
        (b"x" * INLINE_MAX, None),
        (Table(BIG), [len(BIG)]),
        (Table(b"small"), []),
        ([1, {"a": (BIG, "x")}, Record("one", Table(bytearray(BIG)))], None),
        (list(range(100_000)), None),
        ([list(range(100_000)), BIG], None),
        (10**100_000, []),
        (10**200_000, None),
        ([b"x" * place for place in range(1_000)], None),
        (set(), []),
        ([BIG, BIG[1:], BIG + b"1", BIG], None),
    ],
    ids=range(15),
)
def test_values_come_back_as_they_were(value: object, sizes: list[int] | None) -> None:
    """Of their types, at any depth."""
    back = again(value, sizes)
    assert back == value
    assert type(back) is type(value)


leaves = st.one_of(
    st.integers(),
    st.text(max_size=5),
    st.integers(0, 3).map(lambda seed: bytes([seed]) * (INLINE_MAX + seed)),
    st.integers(0, 3).map(lambda seed: bytearray([seed]) * INLINE_MAX),
    st.integers(0, 3).map(lambda seed: chr(97 + seed) * (INLINE_MAX + 1)),
    st.integers(0, 3).map(lambda seed: Table(bytes([seed]) * (INLINE_MAX + 1))),
    st.just(list(range(30_000))),
)


@settings(max_examples=60, deadline=None)
@given(st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner)))
def test_any_containers_come_back_as_they_were(value: object) -> None:
    """Equal buffers are stored once, and stand where they stood."""
    assert again(value) == value


def test_the_same_object_comes_back_as_one() -> None:
    """Also what is large, and what holds itself."""
    data: list[Any] = [BIG, bytearray(BIG), BIG]
    data += [data[1], data]
    back = again(data, [len(BIG), len(BIG)])
    assert back[0] is back[2]
    assert back[1] is back[3]
    assert back[4] is back


def test_small_payloads_are_what_they_were() -> None:
    """To the byte."""
    for value in (None, 1, "x", b"x" * 1000, [1, {"a": (1.5, {2})}], Table(b"abc"), "y" * 50_000, [b"z"] * 10_000):
        taken = draft(value, what="a value")
        assert isinstance(taken, Payload)
        assert taken.data == pickle.dumps(value, 5)


def test_buffers_cannot_be_written_to() -> None:
    """They may be the memory of a file that others read."""
    back = again(Table(bytearray(BIG)))
    assert memoryview(back.data).readonly
    again(bytearray(BIG)).append(1)


def test_promises_are_found_beside_and_inside_of_what_is_large() -> None:
    """Also where the pickle itself is stored elsewhere."""
    store = MemoryValues()
    for value in ([new_promise(NODE_ID), BIG], [new_promise(NODE_ID), *range(100_000)], {new_promise(NODE_ID): BIG}):
        hash(new_promise(NODE_ID))
        payload = kept(value, store)
        assert is_referring(payload.data)
        assert payload.promise_ids == (NODE_ID,)
        back = decode(payload.data, lambda node_id: "it", store=store)
        assert next(iter(back)) == "it"  # type: ignore[call-overload]


def test_promises_as_keys_are_checked() -> None:
    """Two may not become one in silence."""
    store = MemoryValues()
    one, other = new_promise(NODE_ID), new_promise(NODE_ID[::-1])
    payload = kept({one: BIG, other: "ü" * 70_000}, store)
    assert set(payload.promise_ids) == {NODE_ID, NODE_ID[::-1]}
    assert decode(payload.data, lambda node_id: node_id[0], store=store) == {0: BIG, 15: "ü" * 70_000}
    with pytest.raises(PayloadError, match="of 2 keys it would keep 1"):
        decode(payload.data, lambda node_id: 0, store=store)


def test_a_value_has_no_end_of_references() -> None:
    """Buffers that are too many stay in the stream."""
    value = [Table(bytes([place % 256, place // 256]) * INLINE_MAX) for place in range(REFERENCES_MAX + 5)]
    store = Counted()
    payload = kept(value, store)
    assert len(read_references(payload.data).references) == REFERENCES_MAX
    assert decode(payload.data, no_promises, store=store) == value


def test_large_values_need_a_store() -> None:
    """The error says so."""
    payload = kept(BIG, MemoryValues())
    for read in (decode, lambda data, resolve: decode_value(data, resolve, NODE_ID)):
        with pytest.raises(PayloadError, match="refers to 1 large values, and there is no store"):
            read(payload.data, no_promises)


class Faulty(MemoryValues):
    """Takes nothing."""

    def __init__(self, error: type[Exception], limit: int = 0) -> None:
        super().__init__()
        self.error, self.limit = error, limit

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Say no."""
        for content in contents:
            if self.error is not TooLarge:
                raise self.error
            if content.size > self.limit:
                raise TooLarge(content, self.limit)
        return super().put(contents)


def test_a_broker_without_a_store_gets_all_in_one() -> None:
    """It is of an earlier version."""
    taken = draft([BIG, list(range(100_000))], what="a value")
    assert isinstance(taken, Draft)
    assert pickle.loads(taken.keep(Faulty(NoStore)).data) == [BIG, list(range(100_000))]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (BIG, "it has 76800 bytes"),
        ({"a": [1, BIG]}, r"its part result\['a'\]\[1\] has 76800 bytes"),
        ([Record("x", Table(BIG))], r"its part result\[0\]\.table\.data has 76800 bytes"),
        ([1, "ü" * 70_000], r"its part result\[1\] has 140000 bytes"),
        (["\ud800", "\udc80" + "x" * 70_000], r"its part result\[1\] has 70003 bytes"),
        (list(range(100_000)), "it has 3"),
    ],
    ids=range(6),
)
def test_a_limit_is_told_with_the_path(value: object, path: str) -> None:
    """And what to do in its place."""
    taken = draft(value, what="the result of f")
    assert isinstance(taken, Draft)
    with pytest.raises(PayloadError, match=f"the result of f: {path}.*limit for a value is 70000 bytes.*in parts"):
        taken.keep(Faulty(TooLarge, 70_000), name="result")


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (BIG, bytes(BIG)),
        (bytearray(BIG), bytes(BIG)),
        (memoryview(BIG), bytes(BIG)),
        ("ü" * 70_000, ("ü" * 70_000).encode()),
        ("\udc80" + "x" * 70_000, b"\xed\xb2\x80" + b"x" * 70_000),
    ],
    ids=range(5),
)
def test_a_part_is_found_by_the_digest_of_its_bytes(part: object, whole: bytes) -> None:
    """As it is stored, at any depth; others of the same size are not it."""
    reference = Reference(sha256(whole).digest(), len(whole))
    others = [bytes(len(whole)), "x" * len(whole), len(whole), None]
    parts = {"argument 'rows'": [*others, {"image": part}], "argument 'last'": part}
    assert part_in(parts, partial(is_stored_as, reference)) == f"argument 'rows'[{len(others)}]['image']"
    assert part_in({"argument 'rows'": others}, partial(is_stored_as, reference)) == ""


def test_places_of_large_parts_are_told_by_their_digests() -> None:
    """Those that are soon found, in the order of their depth; no key or member of the user's is asked how it looks."""

    parts = [bytes([number]) * INLINE_MAX + b"end" for number in range(6)]
    value = {
        "frames": [0, parts[0], parts[0]],
        Quiet(): parts[1],
        "k" * 1_000: parts[2],
        "record": Record("x", Table(parts[3])),
        10**5_000: parts[4],
        7: ("a", {"b": parts[5]}),
    }
    taken = draft(value, what="a value")
    assert isinstance(taken, Draft)
    assert taken.places(name="result") == {}
    taken.keep(MemoryValues())
    found = {
        parts.index(next(one for one in parts if sha256(one).digest() == digest)): path
        for digest, path in taken.places(name="result").items()
    }
    assert found == {0: "result['frames'][1]", 3: "result['record'].table.data", 5: "result[7][1]['b']"}
    assert set(taken.places({"argument 'x'": value}).values()) == {
        path.replace("result", "argument 'x'") for path in found.values()
    }


def test_a_value_that_cannot_be_looked_at_has_no_places() -> None:
    """What a class of the user's raises does not fail the node whose result has been stored: the others are told."""

    class Closed:
        """Is pickled, but not looked into."""

        def __reduce__(self) -> tuple[object, ...]:
            """Pickle as something else."""
            return list, ()

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            """Fail."""
            raise RuntimeError("dictionary changed size during iteration")

    record = Record("x", Table(BIG[1:]))
    attributes: dict[Any, Any] = record.__dict__
    attributes[7] = 7
    taken = draft([Closed(), record, BIG], what="a value")
    assert isinstance(taken, Draft)
    taken.keep(MemoryValues())
    assert set(taken.places().values()) == {"value[1].table.data", "value[2]"}


def test_a_part_under_a_key_that_cannot_be_shown_is_named_by_the_type_of_that() -> None:
    """The error is about the part that cannot be encoded, and not about how its key looks."""
    with pytest.raises(PayloadError, match=r"a value: its part \['rows'\]\[a Quiet\], a function, cannot be encoded"):
        draft({"rows": {Quiet(): lambda: 0}}, what="a value")


def test_few_parts_are_looked_at_for_places() -> None:
    """What is behind many others is not named: to look for it would take long, and most are never told of."""
    taken = draft([*range(10_000), BIG], what="a value")
    assert isinstance(taken, Draft)
    taken.keep(MemoryValues())
    assert taken.places() == {}


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x80\x05\x97.",  # a buffer that is not there
        b"\x02",
        b"\x02\x01\x07\x80\x05\x97.",  # in an order of none
        b"\x80\x05\x97\x97.",
        pickle.dumps(1)[:-1],
    ],
)
def test_streams_that_make_no_sense_are_refused(stream: bytes) -> None:
    """With one error that names the payload."""
    store = MemoryValues()
    references = store.put([Content([BIG])])
    if stream == b"\x80\x05\x97.":
        references = store.put([Content([stream])])
        payload = write_references(references, None)
    else:
        payload = write_references(references, stream)
    with pytest.raises(PayloadError, match="the payload"):
        decode(payload, no_promises, what="the payload", store=store)


@pytest.mark.parametrize("text", ["0", "1000", "-1", "1e6", "x", str(2**30)])
def test_a_wrong_limit_for_payloads_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting."""
    monkeypatch.setenv("DAGORAMA_INLINE_MAX", text)
    with pytest.raises(ValueError, match=r"DAGORAMA_INLINE_MAX=.* is not a number of bytes from 16384"):
        inline_max()


class Large(DAGDefinition):
    """Large values go between its functions."""

    @dagorama()
    def entrypoint(self, data: bytes) -> list[Any]:
        """Pass values on."""
        table = self.table(data)
        return [self.use(table, [table, data]), table, self.use_async(table, [data])]

    @dagorama()
    def table(self, data: bytes) -> Table:
        """Give a large value."""
        return Table(bytearray(data))

    @dagorama()
    def use(self, table: Table, more: list[Any]) -> tuple[bool, int]:
        """Look at a large value."""
        return memoryview(table.data).readonly, len(more)

    @dagorama()
    def use_async(self, table: Table, more: list[Any]) -> list[Any]:
        """Give a large value."""
        return [table, *more]


def test_in_process_and_inline_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that large buffers cannot be written to."""
    with in_process_broker():
        in_process = Large()(BIG)[0].result()
    monkeypatch.setenv("DAGORAMA_INLINE", "1")
    inline = Large()(BIG)[1]
    assert in_process == inline == [(True, 2), Table(BIG), [Table(BIG), BIG]]


def test_a_value_of_many_objects_leaves_no_large_table_for_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickler that has seen many objects is dropped, and one that has seen few goes on with the next value."""
    idle: list[Pickling] = []
    monkeypatch.setattr(payload, "_idle", idle)
    draft([["few"]], what="a value")
    first, before = idle[0], idle[0].memory_bytes()
    draft([["few", "more"]], what="a value")
    assert [first] == idle
    for many in ([[number] for number in range(500)], [new_promise(NODE_ID) for _ in range(500)]):
        draft(many, what="a value")
        draft([["few"]], what="a value")
        assert [before] == [one.memory_bytes() for one in idle]


@pytest.mark.parametrize(
    ("args", "is_draft"),
    [
        ((), False),
        ((1, 2.5, None, True, "text", b"bytes"), False),
        (("x" * 20_000,), False),
        (("x" * 10_000,) * 3, False),
        ((1, BIG), True),
        (tuple("x" * 16_000 + str(number) for number in range(5)), True),
    ],
)
def test_plain_arguments_are_encoded_like_any_others(args: tuple[object, ...], is_draft: bool) -> None:
    """Small ones take a shorter way, and come out the same; many that are large together do not take it."""
    taken = draft_arguments(args, {}, what="f")
    assert is_draft == isinstance(taken, Draft)
    store = MemoryValues()
    whole = taken.keep(store) if isinstance(taken, Draft) else taken
    assert kept((args, {}), store) == whole
    assert (args, {}) == decode(whole.data, no_promises, store=store)
