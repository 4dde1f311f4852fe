"""A question about a value that is put to its promise is refused; one about the promise is answered."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import pickle
import sys
import threading
from collections import ChainMap, Counter, OrderedDict
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from http import HTTPStatus
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable
from unittest.mock import ANY
from uuid import UUID, uuid4

import pydantic
import pytest

from dagorama.calls import questions
from dagorama.calls.ids import new_id
from dagorama.calls.payload import encode
from dagorama.code import parsing
from dagorama.errors import PayloadError, PromiseMisuse
from dagorama.models.arguments import DAGArguments
from dagorama.models.promise import (
    ARGUMENT_BYTES_MAX,
    Arguments,
    DAGPromise,
    LiftedPromise,
    Promise,
    new_promise,
    submitted_promise,
)
from tests.unit.library.containers import Attrs, Data, Named

TABLE = {0: "zero", 1: "one"}
KNOWN = frozenset({"a", "b"})
FIXED = MappingProxyType(TABLE)
PAIRS: dict[Any, str] = {(1, 1): "one"}
RECORDS: dict[object, str] = {Data(1): "one", Attrs(1): "one", Named(1): "one"}


class Private:
    """Is equal by a slot that only its own code can name."""

    __slots__ = ("__part",)

    def __init__(self, part: Any) -> None:
        """Keeps it."""
        self.__part = part

    def __eq__(self, other: object) -> bool:
        """Compares the part."""
        return isinstance(other, Private) and bool(self.__part == other.__part)

    def __hash__(self) -> int:
        """Hashes the part."""
        return hash(self.__part)


class Loading:
    """Runs code when it is asked for what it does not have."""

    __slots__ = ("part",)

    def __getattr__(self, name: str) -> Any:
        """Has no source."""
        raise ConnectionError(name)

    def __hash__(self) -> int:
        """Is the same for all."""
        return 1


class Shelf:
    """Has tables of its class and of its own."""

    prices: dict[str, int] = {"tea": 3}  # noqa: RUF012 - as people write it

    def __init__(self) -> None:
        """Has a set."""
        self.known = {"tea"}


SHELF = Shelf()


class Color(Enum):
    """Has a member."""

    RED = 0


@dataclasses.dataclass
class Order:
    """Has a part."""

    part: Any


class Yes:
    """Says no to whatever it does not know, as many classes do."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Yes)

    __hash__ = None  # type: ignore[assignment]


@runtime_checkable
class Closable(Protocol):
    """Is asked for by what it has."""

    def close(self) -> None:
        """Closes."""


def by_value(p: Any) -> str:
    """Has a pattern of a value."""
    match p:
        case 0:
            return "zero"
    return "other"


def by_mapping(p: Any) -> str:
    """Has a mapping pattern."""
    match p:
        case {"kind": "a"}:
            return "a"
    return "other"


def by_class(p: Any) -> str:
    """Has a class pattern."""
    match p:
        case str() | Order(part=1):
            return "text"
    return "other"


@functools.singledispatch
def describe(value: object) -> str:
    """Describes what nobody knows."""
    return "something"


class Describing:
    """Dispatches by type."""

    @functools.singledispatchmethod
    def describe(self, value: object) -> str:
        """Describes what nobody knows."""
        return "something"


def counts() -> Counter[str]:
    """Makes a table by running code."""
    return Counter("a")


QUESTIONS: list[Callable[[Any], object]] = [
    lambda p: p == 0,
    lambda p: p != 0,
    lambda p: 0 == p,  # noqa: SIM300 - it is the other way round on purpose
    lambda p: p == "x" * 1000,
    lambda p: p in [0, 1],
    lambda p: 0 in [p],
    lambda p: [0].index(p),
    lambda p: [0].count(p),
    lambda p: [p] == [0],
    lambda p: {"k": p} == {"k": 0},
    lambda p: p in range(3),
    lambda p: Order(0) == Order(p),
    lambda p: p == Order(0),
    lambda p: Order(0) == p,
    lambda p: p == Yes(),
    lambda p: Decimal(1) == p,
    lambda p: Fraction(1) == p,
    lambda p: datetime(2020, 1, 1) == p,
    lambda p: date(2020, 1, 1) == p,
    lambda p: uuid4() == p,
    lambda p: PurePath("x") == p,
    lambda p: Color.RED == p,  # noqa: SIM300 - as above
    lambda p: object() == p,
    by_value,
    by_mapping,
    by_class,
    # looking up
    lambda p: TABLE[p],
    lambda p: TABLE.get(p),
    lambda p: TABLE.get(p, "none"),
    lambda p: p in TABLE,
    lambda p: p not in KNOWN,
    lambda p: p in {"a", "b"},
    lambda p: p in TABLE.keys(),  # noqa: SIM118 - as people write it
    lambda p: p in FIXED,
    lambda p: FIXED.get(p),
    lambda p: FIXED[p],
    lambda p: {"a": 1, "b": 2}[p],
    lambda p: p in SHELF.known,
    lambda p: SHELF.prices.get(p),
    lambda p: Shelf.prices[p],
    lambda p: KNOWN.__contains__(p),
    lambda p: TABLE.setdefault(p, "new"),
    lambda p: (p, "zero") in TABLE.items(),
    lambda p: MappingProxyType(TABLE)[p],
    lambda p: MappingProxyType({1: "one"}).get(p),
    lambda p: dict(TABLE)[p],
    lambda p: {1}.isdisjoint([p]),
    lambda p: KNOWN.intersection([p]),
    lambda p: KNOWN.difference([p, 1]),
    lambda p: KNOWN.issuperset([p]),
    lambda p: KNOWN.issubset([p]),
    lambda p: (p, 1) in PAIRS,
    lambda p: PAIRS.get((1, ("a", p))),
    lambda p: RECORDS.get(Data(p)),
    lambda p: Attrs(p) in RECORDS,
    lambda p: Named(p) in RECORDS,
    lambda p: Color[p],
    # types
    lambda p: isinstance(p, int),
    lambda p: isinstance(p, (int, str)),
    lambda p: isinstance(p, Mapping),
    lambda p: isinstance(p, Closable),
    describe,
    lambda p: Describing().describe(p),
    # what numpy asks for
    lambda p: p.__array__(),
    lambda p: p.__array_ufunc__(None, "__call__", 1, p),
    lambda p: p.__array_function__(None, (), (), {}),
]


@pytest.fixture(params=["a node's", "outside", "a part"])
def promise(request: pytest.FixtureRequest) -> Any:
    """Makes a promise of each kind."""
    if request.param == "outside":
        return submitted_promise(new_id(), "m:C.f", encode(((1,), {}), what="x").data)
    whole: Any = new_promise(new_id(), "m:C.f", Arguments.OF_A_NODE)
    return whole if request.param == "a node's" else whole["k"].field


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_the_value_is_refused(promise: Any, question: Callable[[Any], object]) -> None:
    """It names the call whose value it is about, and the way out."""
    with pytest.raises(PromiseMisuse, match=r"(?s)m:C\.f.*Pass the promise to a decorated method") as raised:
        question(promise)
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_was_put_to_values_before_is_refused(promise: Any, question: Callable[[Any], object]) -> None:
    """Python has special instructions for what runs often; the same place still refuses a promise, every time."""
    for value in [0] * 30:
        with contextlib.suppress(Exception):
            question(value)
    for _ in range(30):
        with pytest.raises(PromiseMisuse):
            question(promise)


@pytest.mark.parametrize("kind", [Color, HTTPStatus])
def test_a_promise_is_no_member_of_an_enumeration(promise: Any, kind: Callable[[Any], object]) -> None:
    """From Python 3.13 on, `enum` catches the misuse and raises its own; a node still fails with the misuse."""
    with pytest.raises(PromiseMisuse if sys.version_info < (3, 13) else ValueError):
        kind(promise)


@pytest.mark.parametrize("place", ["<stdin>", "<python-input-0>", "<ipython-input-1-2b>"])
def test_a_question_that_is_typed_in_is_refused(promise: Any, place: str) -> None:
    """A prompt is as good as a file, whichever way it names what is typed."""
    with pytest.raises(PromiseMisuse):
        eval(compile("isinstance(p, int)", place, "eval"), {"p": promise})


def test_what_it_was_compared_with_is_shown(promise: Any) -> None:
    """The error says with what, so that the line is found."""
    with pytest.raises(PromiseMisuse, match="comparing with 'empty'"):
        assert promise == "empty"


def test_a_question_about_the_promise_is_answered(promise: Any) -> None:
    """Promises are equal to themselves, to their copies, and to what equals everything; they are not None."""
    again = pickle.loads(pickle.dumps(promise))
    assert promise == again
    assert [promise, 1] == [again, 1]
    assert promise == ANY
    assert ANY == promise  # noqa: SIM300 - the other way round
    assert not promise != ANY  # noqa: SIM202 - as it reads
    assert promise != new_promise(new_id())
    assert promise not in [None]
    assert isinstance(promise, DAGPromise) is not isinstance(promise, LiftedPromise)
    assert isinstance(promise, (Promise, int))
    assert promise.__class__ is type(promise)
    assert "__class__" in dir(promise)


def test_sets_and_keys_of_promises_work(promise: Any) -> None:
    """What is kept by promise is found by promise."""
    other = new_promise(new_id())
    again = copy.deepcopy(promise)
    seen: set[Any] = set()
    assert [p for p in (promise, again, other) if p not in seen and not seen.add(p)] == [promise, other]  # type: ignore[func-returns-value]
    assert promise in {again, 1}
    by_promise = {promise: "mine"}
    assert (by_promise[again], by_promise.get(other), other in by_promise) == ("mine", None, False)
    assert OrderedDict(by_promise)[again] == "mine"
    assert ChainMap(by_promise)[again] == "mine"
    assert Counter([promise, again]) == {promise: 2}
    assert len({promise, again, other}) == 2
    for made in (
        lambda p: (p, 1),
        lambda p: (0, (p,)),
        lambda p: Data((p, Data(p))),
        lambda p: frozenset({Data(p)}),
        Data,
        Attrs,
        Named,
        Private,
    ):
        kept: set[Any] = {made(promise), 1}
        assert made(again) in kept
        assert made(other) not in kept
        assert not {made(promise)}.isdisjoint([made(again)])
    assert (again, "mine") in by_promise.items()
    assert by_promise.setdefault(again, "its") == "mine"
    assert {1, 2}.union([promise]) == {promise, 1, 2}
    beside: dict[Any, str] = {Loading(): "it", promise: "mine"}
    assert beside[again] == "mine"
    empty: set[Any] = set()
    assert promise not in empty
    assert pickle.loads(pickle.dumps(by_promise)) == by_promise


def test_it_can_be_shown(promise: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`print`, log lines, and f-strings show the promise, with a width if one is given."""
    shown = repr(promise)
    assert (str(promise), f"{promise}", "%s" % promise, f"{promise!r}") == (shown,) * 4  # noqa: UP031 - the old way
    assert f"{promise:>200}" == shown.rjust(200)
    logging.getLogger("anybody").warning("got %s", promise)
    assert caplog.messages == [f"got {shown}"]


def test_what_takes_objects_apart_leaves_promises_whole() -> None:
    """Pydantic keeps them; `asdict` cannot, and says so. A part is no dataclass, so that is left."""
    whole = new_promise(new_id(), "m:C.f", Arguments.OF_A_NODE)
    for take in (dataclasses.asdict, dataclasses.astuple):
        with pytest.raises(PromiseMisuse, match="Write out the fields"):
            take(Order(whole))
    assert dataclasses.asdict(Order(whole["k"])) == {"part": whole["k"]}

    class Model(pydantic.BaseModel):
        part: Any

    assert Model(part=whole).model_dump() == {"part": whole}


def test_the_arguments_are_those_of_the_call() -> None:
    """As in 0.1: an outer call's promise has what the call was given, new each time."""
    data = encode(((1, [2]), {"k": 3}), what="x").data
    made = submitted_promise(new_id(), "m:C.f", data)
    assert made == DAGPromise(identifier=ANY, function_name="m:C.f", arguments=DAGArguments((1, [2]), {"k": 3}))
    assert made != DAGPromise(identifier=ANY, function_name="m:C.f", arguments=DAGArguments((1, [2]), {}))
    assert made.arguments == DAGArguments((1, [2]), {"k": 3})
    assert made.arguments is not made.arguments
    assert pickle.loads(pickle.dumps(made)) == made
    assert isinstance(made.identifier, UUID)


def test_arguments_that_are_too_large_to_keep_are_told_of() -> None:
    """A promise does not hold on to a large value; who asks for it is told."""
    made = submitted_promise(new_id(), "m:C.f", encode((("x" * ARGUMENT_BYTES_MAX,), {}), what="x").data)
    with pytest.raises(PayloadError, match="Keep what you passed"):
        _ = made.arguments
    assert made == pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("name", ["arguments", "identifier", "function_name"])
def test_every_field_can_be_reached(name: str) -> None:
    """To a node each name is a part; outside, `promise[...]` is the whole value, and its parts are parts."""
    inner: Any = new_promise(new_id(), "m:C.f", Arguments.OF_A_NODE)
    outer: Any = submitted_promise(new_id(), "m:C.f", b"")
    assert repr(getattr(inner, name)) == f"{inner!r}.{name}"
    assert repr(getattr(outer[...], name)) == f"{outer!r}.{name}"


def test_questions_are_looked_at_while_nobody_parses(promise: Any) -> None:
    """Python's parser fails now and then in two threads at once, and digests of code are made in others."""
    questions._table_at.cache_clear()  # each line is parsed once
    known, answers = {1, 2}, list[object]()
    begun = threading.Event()

    def ask() -> None:
        begun.set()
        try:
            answers.append(promise in known)
        except PromiseMisuse as misuse:
            answers.append(type(misuse))

    thread = threading.Thread(target=ask, daemon=True)
    with parsing._parsing:
        thread.start()
        assert begun.wait(60)
        thread.join(0.2)
        assert answers == []
    thread.join(60)
    assert answers == [PromiseMisuse]
