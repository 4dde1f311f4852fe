"""No modules import each other, be it over others."""

from __future__ import annotations

import pytest

from tests.layers.circles import arrows, circles, module_of


def test_no_modules_import_each_other() -> None:
    """There is no circle, also none that closes over other modules."""
    assert circles(arrows()) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "a"}, []),
        ({"a": "b", "b": "a"}, [["a", "b"]]),
        ({"a": "b", "b": "c", "c": "ad", "d": "e", "e": "d", "f": "ade"}, [["a", "b", "c"], ["d", "e"]]),
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, []),
        ({"d": "", "a": "b", "b": "dc", "c": "b"}, [["b", "c"]]),
    ],
)
def test_circles_are_found_over_others(graph: dict[str, str], expected: list[list[str]]) -> None:
    """A circle is as large as it is, and what is on the way to it or from it is no part of it."""
    assert circles(graph) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b", "a.b"), ("a.b.Name", "a.b"), ("a.Name", "a"), ("a.bc", "a"), ("typing.Any", None)],
)
def test_a_name_belongs_to_the_innermost_module(name: str, expected: str | None) -> None:
    """A name imported from a package is its `__init__`'s, unless it is a module there."""
    assert module_of(name, {"a", "a.b"}) == expected
