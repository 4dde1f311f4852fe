"""Equal arguments have one digest, however they were built; others have others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.construction import construction_of, take_state
from dagorama.calls.digests import digest_of_call, digest_of_construction
from dagorama.calls.payload import encode


@dataclass
class Order:
    """A thing that users pass."""

    number: int
    items: Any = ()


class Size(Enum):
    """A choice."""

    SMALL = "s"
    LARGE = "l"


class Shop(DAGDefinition):
    """A definition with a constructor."""

    def __init__(self, names: Any, **options: Any) -> None:
        """Keep both."""
        self.names = names
        self.options = options

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Do nothing."""
        return 1


def digest(value: object) -> bytes:
    """Return the digest of a call with one argument; one that is that of the payload fails the test."""
    found = digest_of_call({"value": value}, b"the payload")
    assert found != digest_of_call({"value": loop()}, b"the payload"), "the value was not taken apart"
    return found


def loop() -> list[Any]:
    """Make a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


def apart(text: str) -> str:
    """Return an equal text that is another object."""
    return "".join(list(text))


SHARED = ["a list"]
NAME = "a name that is long enough"

EQUAL: list[tuple[object, object]] = [
    ([NAME, NAME], [NAME, apart(NAME)]),
    ([SHARED, SHARED], [["a list"], ["a list"]]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"b", "a", "c"}, {"c", "a", "b"}),
    (Order(1, items={"x": SHARED}), Order(1, items={"x": ["a list"]})),
    (Counter(a=1, b=2), Counter(b=2, a=1)),
    ((Order(1), Order(1)), (Order(1),) * 2),
    (partial(sorted, key=len), partial(sorted, key=len)),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_arguments_have_one_digest(one: object, other: object) -> None:
    """Neither which objects are one, nor the order of members, makes another start of it; that of payloads would."""
    assert digest(one) == digest(other)


def test_payloads_of_equal_arguments_differ() -> None:
    """So the digest of a payload would not do: these are equal, and pickle writes them in different ways."""
    one, other = EQUAL[0]
    assert one == other
    assert encode(one, what="it").data != encode(other, what="it").data


DIFFERENT: list[object] = [
    *(None, True, 1, 1.0, 1j, "1", b"1", [1], (1,), {1}, frozenset({1}), {1: None}, deque([1]), ...),
    *([1, 2], [2, 1], [[1], 2], [[1, 2]], ["a", "b"], ["ab"], {"a": "b"}, {"b": "a"}, [("a", "b")], {("a", "b")}),
    *(float("nan"), 0.0, -0.0, "", b"", bytearray(b""), [], (), {}, set()),
    *(Order(1), Order(2), Order(1, items=[]), Size.SMALL, Size.LARGE, Decimal("1.0"), Decimal("1.00")),
    *(date(2024, 1, 1), date(2024, 1, 2), UUID(int=1), UUID(int=2), PurePosixPath("a"), PurePosixPath("b")),
    *(len, sorted, Order, Size, partial(sorted, key=len), partial(sorted, key=str)),
    *(OrderedDict(a=1), deque([1], maxlen=3), "\ud800", 10**30),
]


def test_other_arguments_have_other_digests() -> None:
    """None of these passes for another."""
    digests = [digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)


@dataclass
class Packed:
    """A thing of which a part is other bytes each time."""

    version: str
    packing: bytes

    @property
    def _dagorama_compared(self) -> str:
        return self.version


def test_what_stands_for_an_object_is_compared() -> None:
    """All else of it makes it no other; nor is it equal to what stands for it."""
    assert digest(Packed("1", b"a")) == digest(Packed("1", b"b"))
    assert len({digest(Packed("1", b"")), digest(Packed("2", b"")), digest("1")}) == 3


def test_names_of_arguments_count() -> None:
    """The same value for another parameter is another start."""
    assert digest_of_call({"a": 1}, b"") != digest_of_call({"b": 1}, b"")


def test_a_digest_is_the_same_in_every_process() -> None:
    """Sets of texts are in another order in each, and addresses are others."""
    code = "from tests.unit.library.test_digests import *; print(digest([set('abcdefgh'), Order(1), len, Size]).hex())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {digest([set("abcdefgh"), Order(1), len, Size]).hex() + "\n"}


class Untakeable:
    """An object that pickle can carry in a call, and that cannot be taken apart twice."""

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Fail."""
        raise ValueError("not now")


@pytest.mark.parametrize("value", [loop(), Untakeable(), [Untakeable()]])
def test_for_what_cannot_be_taken_apart_the_payload_counts(value: object) -> None:
    """What contains itself, or fails, is told by its bytes: never taken for another, and its start is not refused."""
    assert digest_of_call({"x": value}, b"1") == digest_of_call({"x": 5, "y": loop()}, b"1")
    assert digest_of_call({"x": value}, b"1") != digest_of_call({"x": value}, b"2")


def test_what_is_shared_often_takes_no_longer() -> None:
    """Each object is taken apart once: 100 levels that each hold the next twice have 2**100 paths."""
    value: list[Any] = []
    for _ in range(100):
        value = [value, value]
    assert digest(value)


def construction_digest(definition: Shop) -> bytes:
    """Return the digest of how a definition is made."""
    take_state(definition)
    return digest_of_construction(construction_of(definition).arguments(), Shop.__init__)


def test_a_definition_is_known_by_what_it_is_made_of() -> None:
    """Its constructor's arguments, and what was set in it since."""
    made = Shop([NAME, NAME], b={1}, a=2)
    same = Shop(a=2, b={1}, names=[NAME, apart(NAME)])
    assert construction_digest(made) == construction_digest(same)
    other = Shop([NAME, NAME], a=2, b={2})
    made.names, same.names = ["x", NAME], ["x", apart(NAME)]
    digests = [construction_digest(one) for one in (made, same, other)]
    assert (digests[0] == digests[1], digests[0] == digests[2]) == (True, False)
    same.names = ["y"]
    assert construction_digest(same) not in digests
