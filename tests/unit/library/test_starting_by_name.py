"""Instances that are started by the names of definitions, without their code."""

from __future__ import annotations

import asyncio
import re
from collections import namedtuple
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, Required, TypedDict
from uuid import UUID

import pytest

import dagorama
from dagorama import DefinitionInfo, KeyConflict, NodeFailed, instance_options
from dagorama.calls.large import Content, MemoryValues, TooLarge
from dagorama.calls.references import Reference
from dagorama.calls.typed import Unfit, fitted
from dagorama.calls.typed_arguments import typed_arguments
from dagorama.client.asking import ask_broker
from dagorama.client.port import GetArguments
from dagorama.errors import PayloadError
from dagorama.testing import in_process_broker
from tests.unit.library import start_definitions
from tests.unit.library.start_definitions import ENDS, Colour, Customer, Order, Parcel, RushOrder

MODULE = "tests.unit.library.start_definitions"
ID = "01a2198d-1e4f-7388-9c20-dfb0513dbb11"


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """Give a broker in this process."""
    assert start_definitions
    with in_process_broker():
        yield


def info(name: str) -> DefinitionInfo:
    """Give what is told of a definition."""
    (found,) = [one for one in dagorama.definitions() if one.name == f"{MODULE}:{name}"]
    return found


def test_a_definition_tells_how_it_is_called() -> None:
    """Its parameters with kinds, hints and defaults as texts, and what its function says of itself."""
    found = info("Etl")
    assert (found.doc, found.queue, found.taint, found.timeout_s, found.max_attempts) == (
        "Load many files.",
        "etl",
        "",
        60,
        1,
    )
    assert [(one.name, one.kind, one.annotation, one.default) for one in found.parameters] == [
        ("path", "positional_or_keyword", "Path", None),
        ("orders", "positional_or_keyword", "list[Order]", None),
        ("limit", "positional_or_keyword", "int | None", "None"),
        ("more", "var_positional", "Decimal", None),
        ("mode", "keyword_only", "Literal['fast', 'safe']", "'safe'"),
        ("rest", "var_keyword", "UUID", None),
    ]
    assert found.workers == ("in-process",)
    assert str(info("Plain")) == f"{MODULE}:Plain(value: Any, tags: Sequence[str] = ())"


def test_arguments_become_what_the_hints_say() -> None:
    """Texts, numbers and objects of JSON, by name; the worker makes paths, dates, enums and dataclasses of them."""
    orders = [{"number": "7", "day": "2026-11-27"}, {"number": 8, "day": "2026-01-02", "colour": "blue"}]
    instance = dagorama.start(
        f"{MODULE}:Etl", {"path": "a/b.csv", "orders": orders, "limit": 3, "mode": "fast", "x": ID}
    )
    assert instance.result() == [
        Path("a/b.csv"),
        [Order(7, date(2026, 11, 27)), Order(8, date(2026, 1, 2), Colour.BLUE)],
        3,
        (),
        "fast",
        {"x": UUID(ID)},
    ]
    entry = next(iter(instance.nodes()))
    assert entry.label == "b"
    assert entry.inputs is not None
    assert entry.inputs.startswith("path='a/b.csv', orders=[{'number': '7', 'day': '2026-11-27'}")


@pytest.mark.parametrize("way", ["blocking", "async"])
def test_large_arguments_are_stored_and_go_by_reference(way: str) -> None:
    """The broker holds none of them; the worker makes the same of them, with edits in their place as well."""
    orders = [{"number": number, "day": "2026-11-27"} for number in range(10_000)]
    name, arguments = f"{MODULE}:Etl", {"path": "a/b.csv", "orders": orders}
    with instance_options(key="k"):
        if way == "blocking":
            instance = dagorama.start(name, arguments)
        else:
            instance = asyncio.run(dagorama.start_async(name, arguments))
        assert dagorama.start(name, arguments).id == instance.id
        with pytest.raises(KeyConflict):
            dagorama.start(name, {**arguments, "limit": 1})
    result: Any = instance.result()
    assert (result[0], len(result[1]), result[1][9_999]) == (Path("a/b.csv"), 10_000, Order(9_999, date(2026, 11, 27)))
    entry = next(iter(instance.nodes()))
    told = ask_broker(GetArguments(instance.id.bytes, entry.id.bytes))
    assert 0 < told.arguments_bytes < 200
    assert entry.label == "b"
    entry.rerun({"path": "c.csv"})
    again: Any = instance.result()
    assert again[:2] == [Path("c.csv"), result[1]]


def test_arguments_over_the_limit_are_refused_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number, before anything is made."""

    def refuse(self: MemoryValues, contents: Sequence[Content]) -> Sequence[Reference]:
        raise TooLarge(contents[0], 100_000)

    monkeypatch.setattr(MemoryValues, "put", refuse)
    problem = r"arguments of .*:Plain.* it has \d+ bytes; the limit for a value is 100000 bytes"
    with pytest.raises(PayloadError, match=problem):
        dagorama.start(f"{MODULE}:Plain", ["x" * 200_000])
    assert list(dagorama.instances()) == []


def test_arguments_may_come_in_order() -> None:
    """The definition may be named by its end, or be the one that was listed; an event loop has the twin."""
    assert dagorama.start("start_definitions:Etl", ["x", "[]", None, "1.5", 2]).result() == [
        Path("x"),
        [],
        None,
        (Decimal("1.5"), Decimal(2)),
        "safe",
        {},
    ]

    async def start() -> object:
        found = [one for one in await dagorama.definitions_async() if one.name == f"{MODULE}:Plain"]
        return await (await dagorama.start_async(found[0], [{"a": [1, None]}])).aresult()

    assert asyncio.run(start()) == [{"a": [1, None]}, ()]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"path": "x", "orders": [], "limit": "many"}, 'limit must be int or None, not "many"'),
        ({"path": 5, "orders": []}, "path must be a path, not 5"),
        ({"path": "x", "orders": [{"number": 1}]}, "orders[0] must be a Order"),
        (
            {"path": "x", "orders": [{"number": 1, "day": "soon"}]},
            'orders[0].day must be a date such as 2026-11-27, not "soon"',
        ),
        ({"path": "x", "orders": {"a": 1}}, 'orders must be a list of Order, not {"a": 1}'),
        ({"path": "x", "orders": [], "mode": "slow"}, "mode must be one of 'fast', 'safe', not \"slow\""),
        ({"path": "x", "orders": [], "other": "no id"}, 'other must be a UUID, not "no id"'),
        (
            {"path": "x", "orders": [{"number": 1, "day": "2026-01-02", "shade": 1}]},
            "orders[0] must be an object with the fields",
        ),
    ],
    ids=range(8),
)
def test_arguments_that_do_not_fit_fail_the_node(arguments: dict[str, object], problem: str) -> None:
    """Once, since another attempt or worker could not make them either; the error names the parameter."""
    instance = dagorama.start("start_definitions:Etl", arguments)
    with pytest.raises(NodeFailed) as failed:
        instance.result()
    assert f"the arguments of {MODULE}:Etl.entrypoint: {problem}" in str(failed.value)


def test_arguments_that_go_by_their_places_may_be_named() -> None:
    """The names are what is told of them."""
    arguments: tuple[dict[str, object], ...] = ({"second": 5, "first": "4"}, {"first": 4, "scale": 3}, {})
    assert [dagorama.start(f"{MODULE}:Placed", one).result() for one in arguments] == [[4, 5, 1], [4, 2, 3], [1, 2, 1]]


def deep() -> list[Any]:
    """Give a list that is deeper than JSON is written."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "arguments", "error", "problem"),
    [
        ("start_definitions:Etl", {"path": "x"}, TypeError, "missing a required argument: 'orders'"),
        ("start_definitions:Plain", {"value": 1, "more": 2}, TypeError, "got an unexpected keyword argument 'more'"),
        ("start_definitions:Placed", {"second": 5}, TypeError, "first must be given, too, where second is"),
        ("start_definitions:Plain", "text", TypeError, "arguments must be a mapping by name, or a list in order"),
        ("start_definitions:Plain", [object()], TypeError, "there is no JSON for <object"),
        ("start_definitions:Plain", [[{1: "a", "1": "b"}]], TypeError, "there is no JSON for the key 1: give keys"),
        ("start_definitions:Plain", deep(), ValueError, "the arguments are too deep in each other for JSON"),
        ("Nowhere", {}, LookupError, "no connected worker has told of a definition 'Nowhere'"),
        ("start_definitions:WithArguments", {}, ValueError, "its constructor takes url: start it from Python"),
        ("start_definitions:ByTenant", ["a"], ValueError, "its limits go by its arguments: start it from Python"),
    ],
    ids=range(10),
)
def test_a_start_that_cannot_be_is_refused_here(
    name: str, arguments: object, error: type[Exception], problem: str
) -> None:
    """Nothing is made then."""
    with pytest.raises(error, match=re.escape(problem)):
        dagorama.start(name, arguments)  # type: ignore[arg-type]
    assert list(dagorama.instances()) == []


def test_options_keys_and_hooks_go_with_a_start() -> None:
    """A key gives the instance that was started under it; a hook of the definition hears of the end."""
    ENDS.clear()
    with instance_options(key="k", tags={"customer": "c9"}, priority=4):
        one = dagorama.start(f"{MODULE}:Hooked", [7])
        assert dagorama.start(f"{MODULE}:Hooked", [7]).id == one.id
        with pytest.raises(KeyConflict):
            dagorama.start(f"{MODULE}:Hooked", [8])
    assert one.result() == 7
    for instance in dagorama.instances():
        instance.wait()
    assert [(end.instance_id, end.key, end.tags) for end in ENDS] == [(one.id, "k", {"customer": "c9"})]
    assert one.refresh().status.priority == 4


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("[" * 100_000, list[int]),
        (1e300, timedelta),
        (float("nan"), timedelta),
        pytest.param(10**400, float, id="large-float"),
        ([[1], [2]], set[list[int]]),
        ({"[1]": 2}, dict[list[int], int]),
    ],
)
def test_values_that_cannot_be_made_name_the_parameter(value: object, hint: Any) -> None:
    """Too deep, too large, or not hashable: it is the fault of the value."""
    with pytest.raises(Unfit, match=r"^it must be "):
        fitted(value, hint, "it")


def test_a_payload_too_deep_to_read_is_an_error_of_the_arguments() -> None:
    """Another worker could not read it either."""
    payload = b'{"args": [' + b"[" * 100_000
    with pytest.raises(PayloadError, match="no JSON that a worker reads"):
        typed_arguments(payload, start_definitions.Etl.entrypoint, "a:B.c", lambda _: ((), {}))


class Part(TypedDict):
    """Has a field that may be missing."""

    number: int
    day: NotRequired[date]


class Loose(TypedDict, total=False):
    """Has a field that may not be missing."""

    number: Required[int]
    day: date


@pytest.mark.parametrize("kind", [Part, Loose])
def test_typed_dictionaries_have_their_required_keys(kind: Any) -> None:
    """And their fields are what the hints within `Required` and `NotRequired` say."""
    assert fitted({"number": "1"}, kind, "it") == {"number": 1}
    assert fitted({"number": "1", "day": "2026-11-27"}, kind, "it") == {"number": 1, "day": date(2026, 11, 27)}
    with pytest.raises(Unfit, match="without number"):
        fitted({"day": "2026-11-27"}, kind, "it")


class Alias:
    """Is as an alias of Python 3.12 is."""

    __value__ = list[int]


def test_aliases_and_what_surrounds_hints_are_seen_through() -> None:
    """They say nothing of the value."""
    alias = type("TypeAliasType", (Alias,), {})()
    assert fitted("[1, 2.0]", alias, "it") == [1, 2]
    assert fitted("7", Final[int], "it") == 7


class Swapped(Enum):
    """Has the names of its members as values of others."""

    A = "B"
    B = "A"
    ONE = 1


def test_members_of_enums_are_told_by_value_first() -> None:
    """Then by name; true is not 1."""
    assert [fitted(one, Swapped, "it") for one in ("A", "B", 1, "1", "ONE")] == [
        Swapped.B,
        Swapped.A,
        *[Swapped.ONE] * 3,
    ]
    with pytest.raises(Unfit):
        fitted(True, Swapped, "it")


Point = namedtuple("Point", ["x", "y"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"number": "7", "day": "2026-11-27", "share": 1}, RushOrder(7, date(2026, 11, 27), Colour.RED, 1)),  # type: ignore[arg-type]
        ({"day": "2026-11-27", "weight": "2.5"}, Parcel(date(2026, 11, 27), Decimal("2.5"))),
        ({"name": "ann", "since": "2026-11-27"}, Customer(name="ann", since=date(2026, 11, 27))),
        ('{"name": "ann", "since": "2026-11-27"}', Customer(name="ann", since=date(2026, 11, 27))),
        ([1, "a"], Point(1, "a")),
        ({"x": 1, "y": "a"}, Point(1, "a")),
    ],
    ids=["dataclass with a base", "attrs", "pydantic", "pydantic of text", "named tuple", "named tuple by name"],
)
def test_objects_are_made_of_their_fields(value: object, expected: object) -> None:
    """By the names that the class takes, those of its bases too; any value fits a hint that cannot be told."""
    assert fitted(value, type(expected), "it") == expected


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        ({"name": "ann", "since": "soon"}, Customer, "it must be a Customer (1 validation error for Customer since"),
        ({"day": "soon"}, Parcel, 'it.day must be a date such as 2026-11-27, not "soon"'),
        ({"day": "2026-11-27", "label": "x"}, Parcel, "it must be an object with the fields day, weight, not"),
        ([1, 2, 3], Point, "it must be an object, not [1, 2, 3]"),
    ],
    ids=["pydantic", "attrs", "attrs without init", "named tuple"],
)
def test_objects_that_cannot_be_made_name_the_field(value: object, kind: type, problem: str) -> None:
    """As pydantic tells it, or by the path that leads there."""
    with pytest.raises(Unfit, match=f"^{re.escape(problem)}"):
        fitted(value, kind, "it")


def test_a_literal_is_taken_as_it_is_first() -> None:
    """Then as its text, since forms have nothing else."""
    assert [fitted(one, Literal[1, "1", 2], "it") for one in (1, "1", "2")] == [1, "1", 2]


def test_a_hint_that_is_none_is_as_no_hint() -> None:
    """Python takes anything for an annotation."""
    assert fitted("x", [int], "it") == "x"
