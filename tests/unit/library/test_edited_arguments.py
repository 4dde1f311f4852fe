"""Nodes that are run again with other arguments."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

import dagorama as api
from dagorama import DAGDefinition, NodeFailed, dagorama
from dagorama.calls.edits import ArgumentsTold, NodeArguments, arguments_told
from dagorama.calls.inert import Items, Unknown
from dagorama.calls.json_form import encode_arguments, encode_edits
from dagorama.calls.showing import arguments_in, show_arguments
from dagorama.calls.typed_arguments import typed_arguments
from dagorama.testing import in_process_broker
from tests.unit.library.start_definitions import Order


class Report(DAGDefinition):
    """Makes a report of orders."""

    @dagorama().syncfn
    def entrypoint(self, day: str) -> Any:
        """Load and add up."""
        return self.total(self.load(day, 2, Order(1, date(2026, 1, 2)), scale=3), rate=10)

    @dagorama().syncfn
    def load(self, day: str, count: int, order: Order, *rest: int, scale: float = 1.0) -> Any:
        """Give what came."""
        return [day, count, order, rest, scale]

    @dagorama().syncfn
    def total(self, loaded: list[Any], rate: int) -> Any:
        """Give all."""
        return [*loaded, rate]


class Sum(DAGDefinition):
    """Adds up."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Add a value of another node, and a number."""
        return self.add(1, 2, self.one())

    @dagorama().syncfn
    def one(self) -> int:
        """Give one."""
        return 1

    @dagorama().syncfn
    def add(self, first: int, *rest: int) -> int:
        """Give the sum."""
        return sum([first, *rest])


class Secret(DAGDefinition):
    """Calls a function with a secret."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Give the length."""
        return self.secret("hunter2")

    @dagorama(inputs=False).syncfn
    def secret(self, password: str) -> Any:
        """Give its length."""
        return len(password)


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """Give a broker in this process."""
    with in_process_broker():
        yield


def node(instance: Any, function: str) -> api.Node:
    """Give the only node of a function."""
    (found,) = instance.nodes(function=function)
    return found  # type: ignore[no-any-return]


def test_arguments_are_told_one_by_one() -> None:
    """With their names, as texts, and as JSON where that holds them; the values of other nodes are marked."""
    instance, _ = Report()("monday")
    instance.wait()
    told = node(instance, "load").arguments()
    assert [(one.name, one.json, one.is_promise) for one in told] == [
        ("day", '"monday"', False),
        ("count", "2", False),
        ("order", None, False),
        ("scale", "3", False),
    ]
    assert told[2].text.startswith("Order(number=1, day=date(2026-01-02)")
    assert told.is_whole
    loaded, rate = asyncio.run(node(instance, "total").aarguments())
    assert (loaded.is_promise, loaded.json, rate.json) == (True, None, "10")


def test_a_node_runs_again_with_other_arguments() -> None:
    """By name, typed as the hints say; the others stay, the dependents run again, and the history tells."""
    instance, _ = Report()("monday")
    assert instance.result() == ["monday", 2, Order(1, date(2026, 1, 2)), (), 3, 10]
    with api.acting_as("ann"):
        instance.rerun(node(instance, "load"), {"count": "7", "order": {"number": 5, "day": "2026-02-03"}})
    assert instance.result() == ["monday", 7, Order(5, date(2026, 2, 3)), (), 3, 10]
    node(instance, "load").rerun({"scale": 0.5, "rest": [1, "2"]})
    assert instance.result() == ["monday", 7, Order(5, date(2026, 2, 3)), (1, 2), 0.5, 10]
    asyncio.run(instance.arerun(node(instance, "load"), arguments={"count": 8}))
    assert instance.result() == ["monday", 8, Order(5, date(2026, 2, 3)), (1, 2), 0.5, 10]
    shown = node(instance, "load").refresh().inputs or ""
    assert "count=8" in shown
    assert "scale=0.5" in shown
    edits = [entry.details.get("arguments") for entry in instance.history() if entry.action == "rerun"]
    assert edits[0] == 'count="7", order={"number": 5, "day": "2026-02-03"}'
    instance.rerun(node(instance, "load"))
    assert instance.result()[1] == 8


def test_a_value_of_another_node_is_not_edited() -> None:
    """Nor is what is no parameter, or no JSON: nothing begins anew then."""
    instance, _ = Report()("monday")
    instance.wait()
    total = node(instance, "total")
    with pytest.raises(ValueError, match=r"loaded is the value of another node, <node .*>, so it cannot be edited"):
        total.rerun({"loaded": []})
    with pytest.raises(TypeError, match=re.escape("there is no parameter 'ratio'; it has loaded, rate")):
        total.rerun({"ratio": 1})
    with pytest.raises(TypeError, match="there is no JSON for <object"):
        total.rerun({"rate": object()})
    assert instance.state == "completed"
    total.rerun({"rate": 11})
    assert instance.result()[-1] == 11


def test_a_value_of_another_node_among_further_arguments_is_not_edited() -> None:
    """They are edited as one."""
    instance, _ = Sum()()
    instance.wait()
    with pytest.raises(ValueError, match="one of rest is the value of another node"):
        node(instance, "add").rerun({"rest": [2, 3]})
    node(instance, "add").rerun({"first": 5})
    assert instance.result() == 8


def test_an_edit_goes_to_its_parameter_whatever_was_left_out() -> None:
    """Not to the `**` parameter by its name, nor to the place of another."""

    def further(self: Any, path: str, limit: int = 3, *more: int, **rest: int) -> None: ...

    def placed(self: Any, first: int = 1, second: int = 2, /) -> None: ...

    def arguments(function: Any, edits: dict[str, object], *args: object) -> object:
        payload = encode_edits(edits) + encode_arguments(args, {})
        return typed_arguments(payload, function, "a:B.c", lambda _: ((), {}))

    assert arguments(further, {"more": [1, "2"]}, "a") == (("a", 3, 1, 2), {})
    assert arguments(further, {"other": 4}, "a") == (("a", 3), {"other": 4})
    assert arguments(placed, {"second": 5}) == ((1, 5), {})


def test_arguments_that_do_not_fit_fail_the_node() -> None:
    """It can be run again with such as do."""
    instance, _ = Report()("monday")
    instance.wait()
    instance.rerun(node(instance, "load"), {"count": "many"})
    with pytest.raises(NodeFailed, match='count must be an integer, not "many"'):
        instance.result()
    instance.rerun(node(instance, "load"), {"count": 3})
    assert instance.result()[1] == 3


def test_hidden_arguments_are_edited_unseen() -> None:
    """The history has their names only."""
    instance, _ = Secret()()
    assert instance.result() == 7
    assert node(instance, "secret").arguments() == ()
    node(instance, "secret").rerun({"password": "hunter"})
    assert instance.result() == 6
    (entry,) = [one for one in instance.history() if one.action == "rerun"]
    assert entry.details["arguments"] == "password=..."


def told(payload: bytes) -> NodeArguments:
    """Give what is told of the arguments of a payload."""
    return arguments_told(ArgumentsTold(arguments=payload, arguments_bytes=len(payload), parameters="a"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("depth", [10, 20])
def test_shared_parts_are_looked_at_once(depth: int) -> None:
    """A short payload may hold more paths than anybody can walk."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value] * 10
    (argument,) = told(pickle.dumps(((value,), {})))
    assert (argument.json, argument.is_promise) == (None, False)


@pytest.mark.parametrize("depth", [60, 900])
def test_deep_json_is_shown_without_its_depths(depth: int) -> None:
    """It is told of as what cannot be edited."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    payload = encode_arguments([value], {})
    (argument,) = told(payload)
    assert (argument.json, argument.is_promise) == (None, False)
    ((part,), _, _) = arguments_in(payload)
    found = 0
    while isinstance(part, Items):
        (part,), found = part.items or [None], found + 1
    assert (type(part), found) == (Unknown, 50)


def test_json_that_is_too_deep_to_read_is_shown_by_its_beginning() -> None:
    """Whatever depth it has, nothing is raised."""
    payload = b'{"args": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    assert not told(payload).is_whole
    assert show_arguments(payload, "a").startswith('a=\'{"args": [[[')
    with pytest.raises(RecursionError):
        json.loads(payload)
