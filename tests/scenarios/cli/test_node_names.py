"""Nodes are named on the command line as lists and logs have them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from dagorama import attach
from dagorama.cli.failure import Refused
from dagorama.cli.node_names import find_node
from dagorama.client.status import AttemptStatus, NodeStatus, UndoneStatus
from tests.scenarios.cli.commands import dagorama
from tests.scenarios.cli.told import BEGAN, INSTANCE, Told, instance, node, telling

NODES = (
    node(0xAAAA0001, function="etl:Etl.load", label="orders-17.csv"),
    node(0xAAAA0002, function="etl:Etl.load", label="in/orders-18.csv"),
    node(0xAAAA0003, function="etl:Etl.extract", label="orders-17.csv"),
    node(0xAAAA0004, function="etl:Etl.total"),
    node(0xAAAA0005, function="other:Other.load", label="orders-19.csv"),
    node(0xAAAA0006, function="etl:Etl.check", label="two\nlines \x1b[31m"),
    node(0xAAAA0007, function="etl:Etl.check", label="same"),
    node(0xAAAA0008, function="etl:Etl.check", label="same"),
    node(0xAAAA0009, function="etl:Etl.check", label="load/orders-20.csv"),
    node(0xAAAA000A, function="etl:Etl.part", label="#2"),
    node(0xAAAA000B, function="etl:Etl.part", label="a\ttab  and\nmore"),
)


def find(text: str, nodes: Sequence[NodeStatus] = NODES) -> int:
    """Give the number of the node that a text stands for."""
    with telling(Told([instance()], nodes)):
        return find_node(attach(INSTANCE), text).int & 0xFFFF


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("load/orders-17.csv", 1),
        ("Etl.load/orders-17.csv", 1),
        ("etl:Etl.load/orders-17.csv", 1),
        ("etl:Etl.load orders-17.csv", 1),
        ("load/in/orders-18.csv", 2),
        ("extract/orders-17.csv", 3),
        ("in/orders-18.csv", 2),
        ("total", 4),
        ("check/two\nlines \x1b[31m", 6),
        ("check/two\\nlines \\x1b[31m", 6),
        ("two\\nlines \\x1b[31m", 6),
        ("check/two lines \\x1b[31m", 6),
        ("#2", 10),
        ("a\ttab  and\nmore", 11),
        ("a\ttab  and\\nmore", 11),
        ("a\\ttab  and\\nmore", 11),
        ("Etl.part a tab and more", 11),
        ("load/orders-20.csv", 9),
        ("check/load/orders-20.csv", 9),
    ],
)
def test_a_function_and_a_label_name_a_node(text: str, number: int) -> None:
    """With a slash or a space between, the function whole or by its end, the label as it is or as it is shown."""
    assert find(text) == number


@pytest.mark.parametrize(
    ("text", "complaint", "numbers"),
    [
        (
            "load",
            "3 of the nodes of instance {} are of load; say which by function/label, or by its id:",
            {1: "load/orders-17.csv", 2: "load/in/orders-18.csv", 5: "load/orders-19.csv"},
        ),
        (
            "orders-17.csv",
            "2 of the nodes of instance {} have the label orders-17.csv; say which by function/label, or by its id:",
            {1: "load/orders-17.csv", 3: "extract/orders-17.csv"},
        ),
        (
            "check/same",
            "2 of the nodes of instance {} are of check/same; say which by its id:",
            {7: "check/same", 8: "check/same"},
        ),
        (
            "check",
            "4 of the nodes of instance {} are of check; say which by its id:",
            {6: "check/two\\nlines \\x1b[31m", 7: "check/same", 8: "check/same", 9: "check/load/orders-20.csv"},
        ),
    ],
)
def test_the_candidates_for_an_ambiguous_name_are_listed(text: str, complaint: str, numbers: dict[int, str]) -> None:
    """With their ids, and by what they are named where that tells them apart."""
    with pytest.raises(Refused) as refused:
        find(text)
    named = [f"  {UUID(int=0xAAAA0000 + number)}  {name}" for number, name in numbers.items()]
    assert str(refused.value).splitlines() == [complaint.format(INSTANCE), *named]


@pytest.mark.parametrize(
    "text", ["load/orders-99.csv", "load/", "/orders-17.csv", "oad/orders-17.csv", "total/", "same/check"]
)
def test_what_names_no_node_is_refused(text: str) -> None:
    """Also a part of a name, or of a label."""
    with pytest.raises(Refused, match=r"none of the nodes of instance .* has the label"):
        find(text)


def test_a_node_lists_the_attempts_that_are_over() -> None:
    """Failed ones and those that gave a value which is no more, in the order of their numbers."""
    ended_at = BEGAN + timedelta(seconds=2)
    failed = [
        AttemptStatus(number=number, worker="w:1", ended_at=ended_at, type="OSError", message="no", traceback="")
        for number in (1, 3)
    ]
    undone = UndoneStatus(number=2, worker="w:2", ended_at=ended_at)
    known = node(1, failures=tuple(failed), undone=(undone,), attempts=4)
    with telling(Told([instance()], [known])):
        status, printed = dagorama("node", str(INSTANCE), str(known.node_id))
    lines = printed.splitlines()
    assert (status, lines[-8:]) == (
        0,
        [
            "attempt 1 on w:1, 2026-03-02 09:15:02Z:",
            "  OSError: no",
            "",
            "attempt 2 on w:2, 2026-03-02 09:15:02Z:",
            "  it gave a value, which is no more: the node began anew",
            "",
            "attempt 3 on w:1, 2026-03-02 09:15:02Z:",
            "  OSError: no",
        ],
    )
