"""Values of odd forms go through a real broker as they are, or are refused by name.

With DAGORAMA_LONG_TESTS=1 a text of a gigabyte is among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagorama import DAGDefinition, NodeFailed, dagorama, launch_workers
from dagorama.errors import PayloadError
from dagorama_broker.launch import launch_broker

LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
#: A gigabyte is copied some ten times between two processes.
WAIT_S = 600.0


class Odd(DAGDefinition):
    """Takes a value, and gives it."""

    @dagorama().syncfn
    def entrypoint(self, value: Any) -> Any:
        return self.give(value)

    @dagorama().syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama().syncfn
    def give_nested(self, depth: int) -> Any:
        return nested(depth)


def nested(depth: int) -> Any:
    """Make lists, one in the other."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def mapped(folder: Path) -> Any:
    """Make an array in a file."""
    np.arange(20_000.0).tofile(folder / "array")
    return np.memmap(folder / "array", dtype=float, mode="r")


ARRAYS: dict[str, Callable[[Path], Any]] = {
    "in a file": mapped,
    "every other": lambda folder: np.arange(90_000.0).reshape(300, 300)[::2, ::-3],
    "by columns": lambda folder: np.asfortranarray(np.arange(90_000.0).reshape(300, 300)),
    "of no size": lambda folder: np.zeros((70_000, 0)),
    "of objects": lambda folder: np.array([{"a": 1}, None, b"x" * 100_000], dtype=object),
    "of records": lambda folder: np.zeros(9_000, dtype=[("a", "i4"), ("b", "f8")]),
    "of times": lambda folder: np.array(["2026-01-01"] * 10_000, dtype="datetime64[s]"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a broker and a worker, and give a folder."""
    folder = tmp_path_factory.mktemp("odd")
    with launch_broker(port=0, storage=f"sqlite:///{folder}/broker.db"), launch_workers(1):
        yield folder


def passed(value: Any) -> Any:
    """Give what comes of a value that two nodes take and give."""
    instance, _ = Odd()(value)
    return instance.result(timeout=WAIT_S)


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_odd_arrays_arrive(folder: Path, make: Callable[[Path], Any]) -> None:
    """With their types, shapes and items."""
    value = make(folder)
    found = passed(value)
    assert (type(found), found.dtype, found.shape) == (type(value), value.dtype, value.shape)
    assert bool(np.array_equal(found, value))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "value", [7**400_000, -(1 << 8_000_000), 0], ids=["a big integer", "a negative one", "no big one"]
)
def test_integers_of_any_size_arrive(value: int) -> None:
    """None goes by way of its digits, of which Python bounds the number."""
    assert bool(passed(value) == value)


@pytest.mark.usefixtures("folder")
def test_a_value_that_contains_itself_arrives() -> None:
    """It contains itself again."""
    value: list[Any] = [b"x" * 100_000]
    value.append(value)
    found = passed(value)
    assert found[0] == value[0]
    assert found[1] is found


@pytest.mark.usefixtures("folder")
def test_values_within_each_other_arrive_or_are_named() -> None:
    """As deep as pickle goes; what is deeper is refused where it stands, with the way to it, and fails a node."""
    assert passed(nested(200)) == nested(200)
    says = r"argument 'value' of .*Odd.entrypoint: its part \[0\]\[0\].*nested deeper than pickle goes"
    with pytest.raises(PayloadError, match=says):
        passed(nested(10_000))
    instance, _ = Odd()(1)
    deep: Any = instance
    promise = deep.give_nested(10_000)
    with pytest.raises(NodeFailed, match=r"the result of .*give_nested: .*nested deeper than pickle goes"):
        instance.node(promise).result(timeout=WAIT_S)


if LONG:

    @pytest.mark.usefixtures("folder")
    @pytest.mark.timeout(2 * WAIT_S)
    def test_a_text_of_a_gigabyte_arrives() -> None:
        """Its bytes are twice as many as its characters."""
        value = "é" * 2**29
        assert bool(passed(value) == value)
