"""Other decorators above and below `@dagorama()`: they work, or the error names what is wrong with them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, cast

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.errors import NodeFailed
from dagorama.testing import in_process_broker, inline


def timed(function: Callable[..., object]) -> Callable[..., object]:
    """Wraps as one should."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper


def careless(function: Callable[..., object]) -> Callable[..., object]:
    """Leaves functools.wraps out."""

    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper


class Proxy:
    """Wraps as wrapt does: an object that binds, and passes for the function."""

    def __init__(self, function: Any) -> None:
        self.__wrapped__ = function

    def __get__(self, obj: object, owner: type) -> Any:
        return self.__wrapped__.__get__(obj, owner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


class Around(ContextDecorator):
    """A context that is a decorator too."""

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...


def add_one(self: Any, number: int) -> int:
    """Is what the node does."""
    return number + 1


def entrypoint(self: Any) -> object:
    """Calls the node."""
    return self.step(1)


def definition_with(step: object) -> Any:
    """Makes a definition whose entrypoint calls `step`."""
    place = {"__module__": __name__, "__qualname__": "definition_with.<locals>.Decorated"}
    return type("Decorated", (DAGDefinition,), {**place, "entrypoint": dagorama()(entrypoint), "step": step})


@pytest.mark.parametrize(
    "step",
    [
        timed(dagorama()(add_one)),
        dagorama()(timed(add_one)),
        dagorama()(careless(add_one)),
        Proxy(dagorama()(add_one)),
        Around()(dagorama()(add_one)),
        dagorama()(Around()(add_one)),
        functools.cache(dagorama()(add_one)),
        functools.partialmethod(dagorama()(lambda self, more, number: number + more), 1),
        dagorama()(lambda self, number: number + 1),
    ],
    ids=["above", "below", "careless below", "proxy", "context above", "context below", "cache", "partial", "lambda"],
)
def test_a_node_runs_under_and_over_other_decorators(step: object) -> None:
    """Above, they are around the call; below, around what the node does."""
    with inline():
        assert definition_with(step)()()[1] == 2
    with in_process_broker():
        assert definition_with(step)()()[0].result() == 2


def test_properties_may_be_nodes() -> None:
    """A property above the decorator makes the node when it is read, a cached one once in each node."""

    class Priced(DAGDefinition):
        @dagorama()
        def entrypoint(self) -> Any:
            return [self.price, self.cost, self.cost]

        @property
        @dagorama()
        def price(self) -> int:
            return 3

        @functools.cached_property
        @dagorama()
        def cost(self) -> int:
            return 2

    with in_process_broker():
        assert Priced()()[0].result() == [3, 2, 2]


class Dispatching(DAGDefinition):
    """Dispatches by type to nodes."""

    @dagorama()
    def entrypoint(self) -> Any:
        """Calls each."""
        return [self.step("x"), self.step(1), self.step(b"")]

    @functools.singledispatchmethod
    @dagorama()
    def step(self, value: object) -> str:
        """Is for everything else."""
        return "anything"

    @step.register
    @dagorama()
    def _(self, value: int) -> str:
        return "int"

    @step.register
    @dagorama()
    def step_bytes(self, value: bytes) -> str:
        """Is for bytes."""
        return "bytes"


def test_singledispatch_leads_to_nodes() -> None:
    """Each implementation is a node by its own name."""
    with in_process_broker():
        assert Dispatching()()[0].result() == ["anything", "int", "bytes"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (careless(dagorama()(add_one)), "a decorator above @dagorama\\(\\) lacks functools.wraps"),
        (
            lambda self, number: Dispatching.__dict__["step"].func(self, number),
            "no name in .*Decorated leads to",
        ),
    ],
    ids=["careless above", "of another class"],
)
def test_what_no_worker_would_find_is_refused_by_its_reason(step: object, said: str) -> None:
    """The error says what stands in the way, and nothing of `super()`."""
    with in_process_broker(), pytest.raises(NodeFailed, match=said) as raised:
        definition_with(step)()()[0].result()
    assert "super()" not in raised.value.exception_message


@pytest.mark.parametrize(
    ("decorate", "said"),
    [
        (lambda: definition_with(staticmethod(dagorama()(add_one))), "leave @staticmethod out"),
        (lambda: definition_with(classmethod(dagorama()(add_one))), "leave @classmethod out"),
        (lambda: dagorama()(staticmethod(add_one)), "leave @staticmethod out"),
        (lambda: dagorama()(cast(Any, classmethod(add_one))), "leave @classmethod out"),
        (lambda: dagorama()(cast(Any, property(lambda self: 1))), "put @property above"),
        (lambda: dagorama(cast(Any, property(lambda self: 1))), "put @property above"),
        (lambda: dagorama(cast(Any, classmethod(add_one))), "leave @classmethod out"),
        (lambda: dagorama(cast(Any, functools.partialmethod(add_one))), "make the partialmethod of that"),
        (lambda: dagorama(cast(Any, functools.cached_property(lambda self: 1))), "decorates functions"),
        (lambda: vars(dagorama)["syncfn"](add_one), r"write @dagorama\(\).syncfn above"),
        (lambda: vars(dagorama)["asyncfn"](add_one), r"write @dagorama\(\).asyncfn above"),
        (lambda: dagorama()(functools.cache(add_one)), "cache what the node calls"),
        (lambda: dagorama()(cast(Any, functools.partialmethod(add_one))), "make the partialmethod of that"),
        (lambda: dagorama()(cast(Any, functools.singledispatchmethod(add_one))), "a method that calls it"),
        (lambda: dagorama()(dagorama()(add_one)), "once is enough"),
        (lambda: dagorama()(timed(dagorama()(add_one))), "once is enough"),
    ],
)
def test_what_cannot_be_a_node_is_refused_where_it_is_written(decorate: Callable[[], object], said: str) -> None:
    """The error is raised while the class is made, and names the way out."""
    with pytest.raises(ValueError, match=said):
        decorate()
