"""A misuse of a promise that a node catches: it went on as if there were a value, so it fails with the misuse."""

import asyncio
import contextlib
import copy
import inspect
import logging
import re
from code import InteractiveInterpreter
from collections.abc import Callable
from enum import Enum
from typing import Any
from unittest.mock import ANY, Mock

import pydantic
import pytest

from dagorama import DAGDefinition, NodeFailed, StaticRetry, dagorama
from dagorama.testing import in_process_broker

tried: list[str] = []


class Size(Enum):
    """Has a member."""

    SMALL = 1


class Model(pydantic.BaseModel):
    """Tries whether it gets a number."""

    part: int | Any


def by_conversion(p: Any) -> object:
    """Converts."""
    try:
        return int(p)
    except (TypeError, ValueError):
        return -1


def by_truth(p: Any) -> object:
    """Decides."""
    with contextlib.suppress(Exception):
        return "yes" if p else "no"
    return "neither"


def by_iterating(p: Any) -> object:
    """Tells lists from other things."""
    try:
        return list(p)
    except TypeError:
        return [p]


def by_type(p: Any) -> object:
    """Asks for the type."""
    try:
        return isinstance(p, int)
    except TypeError:
        return False


def by_enum(p: Any) -> object:
    """Makes a member."""
    try:
        return Size(p)
    except (TypeError, ValueError):
        return None


def by_comparing(p: Any) -> object:
    """Compares, and fails otherwise."""
    try:
        return p == 1
    except TypeError:
        return 0


def written(name: str, path: str, module: str) -> Callable[[Any], object]:
    """Makes a function that decides, as if it were written elsewhere."""
    names: dict[str, Any] = {"__name__": module}
    text = f"def {name}(p):\n    try:\n        return 1 if p else 2\n    except TypeError:\n        return 3\n"
    exec(compile(text, path, "exec"), names)
    function: Callable[[Any], object] = names[name]
    return function


CAUGHT = {
    one.__name__: one
    for one in (
        by_conversion,
        by_truth,
        by_iterating,
        by_type,
        by_enum,
        by_comparing,
        written("in_a_module_of_enums", "/project/enums.py", "enums"),
        written("on_standard_input", "<stdin>", "__main__"),
        written("at_a_prompt", "<python-input-1>", "__main__"),
    )
}


class Catching(DAGDefinition):
    @dagorama(retry=StaticRetry(3, 0)).syncfn
    def entrypoint(self, how: str) -> Any:
        tried.append(how)
        return CAUGHT[how](self.one())

    @dagorama().syncfn
    def one(self) -> int:
        return 1


class Looking(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> Any:
        p: Any = self.one()
        logging.getLogger("anybody").warning("got %s", p)
        assert not hasattr(p, "_private")
        assert not inspect.isfunction(p)
        assert [ANY, p, None].count(p) == 2
        Mock()(p)
        for typed in ("p + 1", "[one for one in p]"):
            InteractiveInterpreter({"p": p}).runsource(typed, "<stdin>")  # as debuggers do
        copy.copy(p)
        Model(part=p)
        with contextlib.suppress(AttributeError):
            _ = p.__wrapped__
        return [repr(p)[:3], str(p)[:3], f"{p}"[:3], {p: p}]

    @dagorama().syncfn
    def one(self) -> int:
        return 1


class Waiting(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self) -> Any:
        await asyncio.sleep(0)
        return by_truth(await self.one())

    @dagorama().asyncfn
    async def one(self) -> int:
        return 1


@pytest.mark.parametrize("how", CAUGHT)
def test_a_caught_misuse_fails_the_node(how: str) -> None:
    """For good, naming the place: another attempt would take the same branch."""
    tried.clear()
    with in_process_broker():
        instance, _ = Catching()(how)
        with pytest.raises(NodeFailed, match=r"needs a value") as raised:
            instance.result()
    assert tried == [how]
    assert re.search(rf"has caught this error of \S+ in {how},", str(raised.value))


def test_so_does_one_of_an_asynchronous_function() -> None:
    """After it has waited, too."""

    async def run() -> object:
        instance, _ = await Waiting()()
        return await instance.aresult()

    with in_process_broker(), pytest.raises(NodeFailed, match="deciding by truth"):
        asyncio.run(run())


def test_looking_at_a_promise_fails_nothing() -> None:
    """What only shows it, or tries what an object can do, asks nothing about the value."""
    with in_process_broker():
        assert Looking()()[0].result() == ["DAG", "DAG", "DAG", {1: 1}]
