"""The arguments of a call are shown from its payload: to the point, bounded, and without running anything of it."""

from __future__ import annotations

import enum
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagorama.calls.inert import Global, Items, Made, Mapping, read_inert
from dagorama.calls.payload import encode
from dagorama.calls.showing import CHARS_MAX, inputs_in, parse_parameters, show_arguments, show_value
from dagorama.models.promise import DAGPromise

NODE = UUID(int=0x0123456789ABCDEF)


class Color(enum.Enum):
    """A color."""

    RED = "red"


@dataclass
class Order:
    """An ordinary dataclass."""

    id: int
    name: str


@dataclass(slots=True)
class Slotted:
    """One whose state is a pair."""

    id: int


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int


def shown(value: object) -> str:
    """Show one argument."""
    return show_arguments(encode(((value,), {}), what="it").data, "value").removeprefix("value=")


def recursive() -> list[object]:
    """Make a list that is its own last item."""
    made: list[object] = [1]
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (-3, "-3"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        ("it's", '"it\'s"'),
        ("\x1b[31m\n\u202e", r"'\x1b[31m\n\u202e'"),
        ("\ud800", r"'\ud800'"),
        ("a" * 300, f"'{'a' * 60}...220 more...{'a' * 20}'"),
        (b"\x00a", r"b'\x00a'"),
        (b"z" * 300, f"b'{'z' * 30}...260 more...{'z' * 10}'"),
        (10**500, "<an integer of 1,661 bits>"),
        ([1, [2]], "[1, [2]]"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, ...92 more..., 98, 99]"),
        ({n: n for n in range(50)}, "{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, ...42 more..., 48: 48, 49: 49}"),
        ((1,), "(1,)"),
        ((), "()"),
        ({1}, "{1}"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": {}}, "{'a': {}}"),
        ([[[[[[[1]]]]]]], "[[[[[[...]]]]]]"),
        (recursive(), "[1, ...]"),
        (Order(3, "x"), "Order(id=3, name='x')"),
        (Slotted(3), "Slotted(id=3)"),
        (Point(1, 2), "Point(1, 2)"),
        (Color.RED, "Color('red')"),
        (ValueError("no"), "ValueError('no')"),
        (Decimal("1.50"), "Decimal('1.50')"),
        (UUID(int=5), "UUID('00000000-0000-0000-0000-000000000005')"),
        (PurePosixPath("/data/a.csv"), "PurePosixPath('/data/a.csv')"),
        (PurePosixPath("a/b"), "PurePosixPath('a/b')"),
        (PurePosixPath(), "PurePosixPath('.')"),
        (PureWindowsPath(r"C:\x\y"), r"PureWindowsPath('C:\\x\\y')"),
        (date(2026, 3, 1), "date(2026-03-01)"),
        (time(1, 2, 3), "time(01:02:03)"),
        (datetime(2026, 3, 1, 12, 0, 5, 7), "datetime(2026-03-01 12:00:05.000007)"),
        (datetime(2026, 3, 1, tzinfo=UTC), "datetime(2026-03-01 00:00:00 UTC)"),
        (datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=2))), "datetime(2026-03-01 00:00:00 UTC+02:00)"),
        (datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")), "datetime(2026-03-01 00:00:00 Europe/Berlin)"),
        (timedelta(1, 2), "timedelta(1 day, 0:00:02)"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (Counter("aa"), "Counter({'a': 2})"),
        (defaultdict(list, {1: [2]}), "defaultdict(list, {1: [2]})"),
        (deque([1, 2]), "deque([1, 2])"),
        (Order, f"{__name__}.Order"),
    ],
)
def test_values_are_shown(value: object, expected: str) -> None:
    """As Python would write them where pickle says enough for that, shortened, with nothing that moves a cursor."""
    assert shown(value) == expected


def test_promises_are_shown_by_their_nodes() -> None:
    """With the end of the id, as commands print it, and the path to a part."""
    promise: Any = DAGPromise(NODE, "m:C.f")
    name = f"<node {NODE.hex[-12:]}>"
    assert [shown(promise), shown(promise["rows"].first), shown([{promise: 1}])] == [
        name,
        f"{name}['rows'].first",
        f"[{{{name}: 1}}]",
    ]


def array(data: bytes, shape: tuple[int, ...], dtype: str) -> Made:
    """Make the description of an array, as numpy has pickle write it."""
    kind = Made(Global("numpy", "dtype"), Items("tuple", [dtype, False, True]))
    args = [data, kind, Items("tuple", list(shape)), "C"]
    return Made(Global("numpy._core.numeric", "_frombuffer"), Items("tuple", args))


def test_arrays_are_shown_by_their_shapes() -> None:
    """Whichever way numpy has written them; of a number of its own, the number."""
    old = Made(Global("numpy.core.multiarray", "_reconstruct"), Items("tuple", [Global("numpy", "ndarray")]))
    kind = Made(Global("numpy", "dtype"), Items("tuple", ["i4", False, True]))
    old.state = Items("tuple", [1, Items("tuple", [7]), kind, False, b""])
    number = Made(Global("numpy._core.multiarray", "scalar"), Items("tuple", [kind, b"\x07\x00\x00\x00"]))
    assert [show_value(it, 99) for it in (array(b"", (3, 4), "f8"), old, number)] == [
        "ndarray(shape=(3, 4), dtype=float64)",
        "ndarray(shape=(7,), dtype=int32)",
        "int32(7)",
    ]


@pytest.mark.parametrize(
    ("parameters", "args", "kwargs", "expected"),
    [
        ("", (), {}, ""),
        ("a, b", (1,), {"b": 2}, "a=1, b=2"),
        ("a, *rest, k", (1, 2, 3), {"k": 4}, "a=1, *rest=(2, 3), k=4"),
        ("a, *, k", (1,), {"k": 4}, "a=1, k=4"),
        ("a, **more", (1,), {"k\n": 4}, r"a=1, k\n=4"),
        ("a", (1, 2), {}, "a=1, 2"),
        ("", (1,), {"k": 2}, "1, k=2"),
    ],
)
def test_arguments_have_their_names(parameters: str, args: Any, kwargs: Any, expected: str) -> None:
    """Positional ones those of the parameters, and none where there is no such parameter."""
    assert show_arguments(pickle.dumps((args, kwargs), 5), parameters) == expected


def test_redacted_arguments_are_not_shown() -> None:
    """By place, by name, and among further ones; and nothing at all where it is not sure what is what."""
    payload = pickle.dumps(((1, "s3cret", 3), {"token": "s3cret"}), 5)
    text = show_arguments(payload, "a, password, *rest, **more", redact={"password", "rest", "token"})
    assert text == "a=1, password=..., *rest=..., token=..."
    for end in range(len(payload)):
        assert "s3cret" not in show_arguments(payload[:end], "a, password, *rest", redact={"password", "token"})


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        pytest.param("user, *, limit, **options", "options", id="all that ** takes"),
        pytest.param(f"user, {'p' * 90}", "p" * 90, id="a name longer than is shown"),
        pytest.param("", "user", id="names that are too many to travel"),
    ],
)
def test_no_redacted_argument_slips_through(parameters: str, name: str) -> None:
    """Neither one that a ** parameter takes, nor one whose name is not there as it was given."""
    if parameters:
        given = "password" if name == "options" else name
        payload = encode((("ann",), {"limit": 3, given: "s3cret"}), what="a call").data
    else:
        payload = encode((("s3cret", "ann"), {}), what="a call").data
    text = show_arguments(payload, parameters, redact={name})
    assert "s3cret" not in text
    assert not parameters or text.startswith("user='ann', limit=3, p")


@pytest.mark.parametrize("protocol", range(6))
def test_any_protocol_is_read(protocol: int) -> None:
    """Payloads have protocol 5; what objects pickle by themselves may have another."""
    payload = pickle.dumps(((Order(3, "é"), [1, 2.5, None, True], {"k": (1, 2, 3, 4)}), {"b": b"\x01"}), protocol)
    text = show_arguments(payload, "order, numbers, more")
    assert text.startswith("order=Order(id=3, name='é'), numbers=[1, 2.5, None, True], more={'k': (1, 2, 3, 4)}, b=")


def test_what_was_cut_off_shows_what_came_before() -> None:
    """In the order of the arguments, with dots for the rest."""
    payload = pickle.dumps((("abc", [1, 2, 3], {"x": "y" * 500}), {"k": 5}), 5)
    texts = [show_arguments(payload[:end], "a, b, c, k") for end in range(len(payload) + 1)]
    assert texts[-1] == f"a='abc', b=[1, 2, 3], c={{'x': '{'y' * 60}...420 more...{'y' * 20}'}}, k=5"
    assert all(text.endswith("...") for text in texts[:-1])
    assert "a='abc', b=[1, 2, 3], ..." in [text.replace(", c={}", "") for text in texts]


def test_nothing_of_a_payload_is_run(tmp_path: Any) -> None:
    """What a hostile pickle would call is only named, and no module of its is imported."""
    path = tmp_path / "written"

    class Hostile:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
            return open, (str(path), "w")

    payload = pickle.dumps(((Hostile(),), {}), 5)
    elsewhere = b"\x80\x05cthis_module_is_not_there\nThing\n)R."
    assert show_arguments(payload, "it").startswith("it=open(")
    assert show_arguments(elsewhere, "it") == "it=Thing(), ..."
    assert not path.exists()


def test_much_of_little_is_bounded() -> None:
    """Many arguments share the room; one that is nested without end, or said again and again, ends."""
    payload = pickle.dumps((tuple("x" * 70 for _ in range(500)), {}), 5)
    again = b"\x80\x05]\x94" + b"h\x00h\x00\x86h\x00\x86" * 5_000
    texts = [show_arguments(data, "a, b") for data in (payload, again, b"(" * 65_536, b"]" * 65_536, b"((t" * 20_000)]
    assert [len(text) <= CHARS_MAX for text in texts] == [True] * 5
    assert texts[0].startswith("a='x")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=40,
)


@settings(max_examples=100)
@given(value=ANYTHING, chars_max=st.integers(10, 200), cut=st.integers(0, 2_000))
def test_any_value_is_shown_in_bounds(value: object, chars_max: int, cut: int) -> None:
    """Whatever it is, whole or cut off, in one line that holds nothing that moves a cursor."""
    payload = pickle.dumps(((value,), {"k": value}), 5)
    for data in (payload, payload[:cut]):
        text = show_arguments(data, "first", chars_max=chars_max)
        assert len(text) <= chars_max
        assert text.isprintable()


@settings(max_examples=200)
@given(data=st.binary(max_size=400))
@example(b"\x80\x05(((((K\x01.")
@example(b"0")
@example(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_any_bytes_are_shown_in_bounds(data: bytes) -> None:
    """Bytes that are no pickle, too, without an error and without an import."""
    before = set(sys.modules)
    text = show_arguments(data, "a, b")
    assert len(text) <= CHARS_MAX
    assert text.isprintable()
    assert set(sys.modules) == before


def test_parameters_are_read() -> None:
    """Those after a star come by name, so that no place is theirs."""
    assert parse_parameters("a, b, *rest, k, **more").places == ("a", "b")
    assert [parse_parameters(it).further for it in ("a, *rest", "a, *, k", "**more", "")] == ["rest", "", "", ""]


def test_an_inert_value_names_what_it_would_be_made_of() -> None:
    """Objects are told by their class, arguments and state."""
    (value,), is_whole = read_inert(pickle.dumps(Order(1, "x"), 5))
    assert isinstance(value, Made)
    assert isinstance(value.function, Global)
    assert isinstance(value.state, Mapping)
    assert (is_whole, value.function.name, value.state.pairs) == (True, "Order", [("id", 1), ("name", "x")])


@dataclass
class Told:
    """What a broker tells of arguments."""

    inputs: str = ""
    arguments: bytes = b""
    arguments_bytes: int = 0
    parameters: str = "a"


def test_inputs_are_those_that_the_broker_tells() -> None:
    """A text that came with the call, or that of the payload, or none where it tells nothing."""
    payload = pickle.dumps(((1,), {}), 5)
    assert inputs_in(Told()) is None
    assert inputs_in(Told(inputs="a=...\x1b")) == "a=...?"
    assert inputs_in(Told(arguments=payload, arguments_bytes=len(payload))) == "a=1"
