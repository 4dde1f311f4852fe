"""What is shown of values: never more than a little, and nothing of them runs."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.previews import preview_value
from dagorama.testing import in_process_broker

RAN: list[str] = []


@dataclass
class Order:
    """A class of the user's."""

    number: int
    customer: str


class Hostile:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        """Name a function that would tell."""
        return RAN.append, ("ran",)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (17, "int", "17"),
        (None, "NoneType", "None"),
        ("a\x1b[31m<b>", "str", "'a\\x1b[31m<b>'"),
        ([1, 2], "list", "[1, 2]"),
        ({"a": 1}, "dict", "{'a': 1}"),
        ({3}, "set", "{3}"),
        (Order(3, "ann"), "Order", "Order(number=3, customer='ann')"),
        (Counter("aab"), "Counter", "Counter({'a': 2, 'b': 1})"),
        (Decimal("1.50"), "Decimal", "Decimal('1.50')"),
        (PurePosixPath("/a/b.c"), "PurePosixPath", "PurePosixPath('/a/b.c')"),
        (datetime(2026, 1, 2), "datetime", "datetime(2026-01-02 00:00:00)"),
        (int, "type", "int"),
    ],
    ids=lambda one: one if isinstance(one, str) and one.isalnum() else "",
)
def test_a_value_is_shown_as_python_would_write_it(value: object, kind: str, text: str) -> None:
    """With its type and its size as it is stored."""
    payload = pickle.dumps(value, 5)
    found = preview_value(payload, len(payload))
    assert (found.type, found.bytes, found.text) == (kind, len(payload), text)


@pytest.mark.parametrize(
    "value",
    ["x" * 100_000, b"y" * 100_000, "ä€" * 70_000, list(range(100_000)), [Order(1, "a")] * 9],
    ids=["text", "bytes", "wide text", "numbers", "objects"],
)
def test_of_a_large_value_the_beginning_is_shown(value: object) -> None:
    """Also where only that is there, and whatever it is cut off in."""
    payload = pickle.dumps(value, 5)
    for length in (16384, 100, 20, 3):
        found = preview_value(payload[:length], len(payload))
        assert found.bytes == len(payload)
        assert len(found.text) <= 1000
    assert preview_value(payload[:16384], len(payload)).type == type(value).__name__


@pytest.mark.parametrize("value", [("x" * 100_000, 5), ("x" * 20_000,), (b"y" * 100_000, 1, 2)], ids=range(3))
def test_a_tuple_that_is_cut_off_in_its_first_item_is_not_told_as_that(value: object) -> None:
    """Its type stands at the end, which is not there."""
    payload = pickle.dumps(value, 5)
    found = preview_value(payload[:16384], len(payload))
    assert (found.type, found.text) == ("", "...")


@pytest.mark.parametrize("payload", [b"", b"\x80\x05", b"garbage", bytes(range(256)), b"\x80\x05X\xff\xff\xff\xff"])
def test_any_bytes_are_shown_somehow(payload: bytes) -> None:
    """Nothing is raised."""
    assert len(preview_value(payload, len(payload) + 9).text) <= 1000


def test_nothing_of_a_value_runs() -> None:
    """A pickle that calls something is shown as that call."""
    found = preview_value(pickle.dumps([Hostile()], 5), 9)
    assert RAN == []
    assert found.type == "list"


class Values(DAGDefinition):
    """Gives values of each kind."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Gives what another gives."""
        return self.make(2)

    @dagorama().syncfn
    def make(self, number: int) -> Any:
        """Gives an order."""
        return Order(number, "ann")

    @dagorama(inputs=False).syncfn
    def secret(self) -> Any:
        """Gives what nobody is to see."""
        return "hunter2"

    @dagorama(redact=("password",)).syncfn
    def login(self, password: str) -> Any:
        """Gives what is made of a secret."""
        return password


class Hidden(Values):
    """Passes a secret on as an alias."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Gives the secret."""
        self.login("hunter2")
        return self.secret()


def test_a_node_shows_its_value() -> None:
    """Also one that gave the promise of another; while it has none there is nothing to show."""
    with in_process_broker():
        instance, _ = Values()()
        (entry,) = instance.nodes()
        assert entry.value_preview is None
        instance.wait()
        found = [node.refresh().value_preview for node in instance.nodes()]
        assert [one and (one.type, str(one)) for one in found] == [("Order", "Order(number=2, customer='ann')")] * 2


def test_a_hidden_value_is_not_given_out() -> None:
    """Nor is its size, nor by the node that it is the value of as well."""
    with in_process_broker():
        instance, _ = Hidden()()
        instance.wait()
        assert [node.refresh().value_preview for node in instance.nodes()] == [None, None, None]
        assert instance.result() == "hunter2"
