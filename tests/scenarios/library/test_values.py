"""Whatever a function takes and gives arrives as that, through a real broker and real workers."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.errors import NodeFailed
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker

FALSY: list[Any] = [0, "", [], False, None, 0.0, {}, b"", ()]


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Box:
    value: Any


@attrs.define
class Crate:
    value: Any


class Parcel(pydantic.BaseModel):
    value: Any


class Bag:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and other.value == self.value


class Values(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str) -> Any:
        return getattr(self, case)()

    @dagorama().syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama().syncfn
    def describe(self, value: Any) -> str:
        return repr(value)

    @dagorama().syncfn
    def forward(self, value: Any) -> Any:
        return self.give(value)

    @dagorama().syncfn
    def several(self, count: int) -> list[Any]:
        return [self.forward(index) for index in range(count)]

    def falsy(self) -> Any:
        return [self.give(value) for value in FALSY]

    def falsy_through_a_consumer(self) -> Any:
        return [self.describe(self.give(value)) for value in FALSY]

    def consumer_of_a_promise_returning_node(self) -> Any:
        return self.describe(self.forward(self.forward(7)))

    def consumer_of_promises_in_a_result(self) -> Any:
        return self.describe(self.several(3))

    def containers(self) -> Any:
        one, two = self.give(1), self.forward(2)
        return {
            "list": [one, [two]],
            "tuple": (one, (two,)),
            "set": {one, two},
            "frozenset": frozenset({one, two}),
            "dict value": {"k": one},
            "dict key": {two: "v"},
            "ordered": OrderedDict(k=one),
            "named tuple": Pair(one, two),
            "dataclass": Box(two),
            "attrs": Crate(one),
            "pydantic": Parcel(value=two),
            "object": Bag([one]),
        }

    def containers_as_arguments(self) -> Any:
        one, two = self.give(1), self.forward(2)
        return [
            self.describe(container)
            for container in (
                [one, [two]],
                (one, (two,)),
                {one},
                {"k": one},
                {two: "v"},
                Pair(one, two),
                Box(two),
                Crate(one),
                Parcel(value=two),
            )
        ]

    def promise_twice(self) -> Any:
        one = self.give([])
        return self.is_same(one, one)

    @dagorama().syncfn
    def is_same(self, left: object, right: object) -> bool:
        return left is right

    def lifted(self) -> Any:
        config: Any = self.give({"sizes": [3, 5], "box": Box(9)})
        return [self.give(config["sizes"][1]), config["box"].value]


CONTAINERS = {
    "list": [1, [2]],
    "tuple": (1, (2,)),
    "set": {1, 2},
    "frozenset": frozenset({1, 2}),
    "dict value": {"k": 1},
    "dict key": {2: "v"},
    "ordered": OrderedDict(k=1),
    "named tuple": Pair(1, 2),
    "dataclass": Box(2),
    "attrs": Crate(1),
    "pydantic": Parcel(value=2),
    "object": Bag([1]),
}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """A broker and two workers for all tests of this file."""
    with launch_broker(port=0), launch_workers(2):
        yield


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("falsy", FALSY),
        ("falsy_through_a_consumer", [repr(value) for value in FALSY]),
        ("consumer_of_a_promise_returning_node", "7"),
        ("consumer_of_promises_in_a_result", "[0, 1, 2]"),
        ("containers", CONTAINERS),
        (
            "containers_as_arguments",
            [
                *("[1, [2]]", "(1, (2,))", "{1}", "{'k': 1}", "{2: 'v'}"),
                *map(repr, (Pair(1, 2), Box(2), Crate(1), Parcel(value=2))),
            ],
        ),
        ("promise_twice", True),
        ("lifted", [5, 9]),
    ],
)
def test_value_arrives_as_it_was_given(case: str, expected: Any) -> None:
    """A promise stands for its value everywhere, and no value is mistaken for the lack of one."""
    instance, _ = Values()(case)
    result = instance.result(timeout=60)
    assert result == expected
    assert repr(result) == repr(expected) or isinstance(result, dict | list)


class Failing(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, kind: str) -> Any:
        return self.consume(self.fail(kind))

    @dagorama().syncfn
    def fail(self, kind: str) -> Any:
        if kind == "raise":
            raise LookupError("no such thing")
        if kind == "result":
            return (value for value in [1])
        if kind == "exit":
            raise SystemExit(3)
        return self.consume(open(__file__))

    @dagorama().syncfn
    def consume(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("raise", ["LookupError", "no such thing", "Failing.fail", "in fail"]),
        ("result", ["Failing.fail", "generator"]),
        ("exit", ["SystemExit", "Failing.fail"]),
        ("argument", ["Failing.consume", "value", "TextIOWrapper"]),
    ],
)
def test_failure_names_the_function_and_the_reason(kind: str, words: list[str]) -> None:
    """Whoever waits for a dependent gets the root cause: which function, what, where."""
    instance, _ = Failing()(kind)
    with pytest.raises(NodeFailed) as raised:
        instance.result(timeout=60)
    message = str(raised.value)
    assert [word for word in words if word not in message] == []
